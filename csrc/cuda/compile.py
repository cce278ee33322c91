"""Compiles the CUDA kernels to fatbins where nvcc is; setup.py and the tests use it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ARCHITECTURES = (75, 80, 86, 89, 90, 100, 120)
"""Machine code for these (RTX 20 .. 50, A100, H100, B200); any other GPU of sm_75 or later compiles the PTX at load."""

SOURCES = sorted(Path(__file__).resolve().parent.glob("*.cu"))


def find_nvcc() -> str | None:
    """nvcc from CUDA_HOME, the PATH or its usual place."""
    home = os.environ.get("CUDA_HOME")
    places = [str(Path(home) / "bin")] if home else []
    return next(
        (n for p in (*places, None, "/usr/local/cuda/bin") if (n := shutil.which("nvcc", path=p))), None
    )


def architectures(nvcc: str) -> list[int]:
    """Those of ARCHITECTURES that this nvcc knows: 12.x before 12.8 lacks 120."""
    listed = subprocess.run(
        [nvcc, "--list-gpu-code"], capture_output=True, text=True, check=True
    ).stdout.split()
    return [a for a in ARCHITECTURES if f"sm_{a}" in listed]


def compile_kernel(nvcc: str, source: Path, fatbin: Path) -> None:
    """One .cu to one fatbin. Raises CalledProcessError with nvcc's words on stderr.

    One front-end pass for the oldest architecture: these kernels gain nothing from newer ones, and it is 4 x quicker.
    """
    codes = ",".join(["compute_75", *(f"sm_{a}" for a in architectures(nvcc))])
    flags = [
        "-std=c++17",
        "-O3",
        "-Werror",
        "all-warnings",
        "--gpu-architecture=compute_75",
        f"--gpu-code={codes}",
    ]
    fatbin.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([nvcc, "--fatbin", *flags, str(source), "-o", str(fatbin)], check=True)


def is_current(source: Path, fatbin: Path) -> bool:
    """Whether a fatbin is younger than all that it is made from."""
    made_from = (source, *source.parent.glob("*.cuh"), Path(__file__))
    return fatbin.is_file() and fatbin.stat().st_mtime > max(p.stat().st_mtime for p in made_from)


def remove_outdated(folder: Path) -> None:
    """Remove the fatbins that aren't current: an old kernel would be launched with arguments it doesn't have."""
    current = {source.stem for source in SOURCES if is_current(source, folder / f"{source.stem}.fatbin")}
    for fatbin in folder.glob("*.fatbin"):
        if fatbin.stem not in current:
            fatbin.unlink()


def compile_all(folder: Path) -> bool:
    """Every kernel into a folder; False, with one sentence, where nvcc is not here or fails: the rest works without.

    Whatever comes, no outdated one is left there.
    """
    remove_outdated(folder)
    nvcc = find_nvcc()
    if nvcc is None:
        print(
            "No nvcc: the CUDA kernels are left out; TensorRT then crops and decodes on the CPU.",
            file=sys.stderr,
        )
        return False
    for source in SOURCES:
        fatbin = folder / f"{source.stem}.fatbin"
        if is_current(source, fatbin):
            continue
        try:
            compile_kernel(nvcc, source, fatbin)
        except subprocess.CalledProcessError as error:
            fatbin.unlink(missing_ok=True)  # what it may have written so far would pass for current
            print(
                f"{nvcc} failed on {source.name} ({error}); TensorRT then crops and decodes on the CPU.",
                file=sys.stderr,
            )
            return False
    return True


if __name__ == "__main__":
    compile_all(Path(__file__).resolve().parents[2] / "rt_hands" / "inference" / "cuda")
