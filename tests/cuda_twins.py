"""NumPy twins of the CUDA kernels, and the kernels themselves compiled for the CPU by the C++ compiler."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rt_hands.inference.tensorrt.kernels import CROP_DTYPE

REPOSITORY = Path(__file__).resolve().parent.parent


def crop_rgb(image: np.ndarray, crop: np.ndarray, side_px: int) -> np.ndarray:
    """Twin of `crop_rgb`: one picture (h, w, 3) and its () CROP_DTYPE -> (3, side, side) float64."""
    m = crop["block_from_crop"].astype(np.float32).reshape(2, 3)
    height, width, block = int(crop["height"]), int(crop["width"]), int(crop["block"])

    def mean(column: np.ndarray, row: np.ndarray) -> np.ndarray:
        column, row = np.clip(column, 0, (width - 1) // block), np.clip(row, 0, (height - 1) // block)
        total = np.zeros((*column.shape, 3))
        for dy in range(block):
            for dx in range(block):
                x = np.minimum(column.astype(int) * block + dx, width - 1)
                y = np.minimum(row.astype(int) * block + dy, height - 1)
                total += image[y, x]
        return np.floor(total / block**2 + 0.5)

    def sample(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        bx, by = m[0, 0] * u + m[0, 1] * v + m[0, 2], m[1, 0] * u + m[1, 1] * v + m[1, 2]
        px, py = (bx + np.float32(0.5)) * block, (by + np.float32(0.5)) * block
        inside = (px >= 0) & (py >= 0) & (px < width) & (py < height)
        x0, y0 = np.floor(np.where(inside, bx, 0)), np.floor(np.where(inside, by, 0))
        fx, fy = (bx - x0)[..., None], (by - y0)[..., None]
        upper = mean(x0, y0) * (1 - fx) + mean(x0 + 1, y0) * fx
        lower = mean(x0, y0 + 1) * (1 - fx) + mean(x0 + 1, y0 + 1) * fx
        return np.where(inside[..., None], (upper * (1 - fy) + lower * fy) / 255, 0.0)

    v, u = np.mgrid[:side_px, :side_px].astype(np.float32)
    quarter = np.float32(0.25)
    apart = [(-quarter, -quarter), (quarter, -quarter), (-quarter, quarter), (quarter, quarter)]
    samples = [sample(u + x, v + y) for x, y in (apart if crop["taps"] == 4 else [(0, 0)])]
    return np.mean(samples, axis=0)[..., ::-1].transpose(2, 0, 1)


def decode(maps: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Twin of `decode`: (B, K, h, w), (B, 2, 3) -> (B, K, 3) float64, one map after another."""
    points = np.full((*maps.shape[:2], 3), np.nan)
    for b, k in np.ndindex(*maps.shape[:2]):
        one = maps[b, k].astype(np.float64)
        peak = np.unravel_index(np.argmax(one), one.shape) if not np.isnan(one).any() else (0, 0)
        if np.isnan(one).any() or not 0 < one[peak] < np.inf:
            points[b, k, 2] = 0
            continue
        y, x = (slice(max(p - 4, 0), p + 5) for p in peak)
        rows, columns = np.mgrid[y.start : min(y.stop, one.shape[0]), x.start : min(x.stop, one.shape[1])]
        weight = (np.maximum(one[y, x], 0) / one[peak]) ** 2
        place = np.array([(weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum(), 1.0])
        points[b, k] = *(affine[b] @ place), one[peak]
    return points


Launcher = Callable[..., None]


def compile_for_cpu(folder: Path) -> Launcher | None:
    """launch(name, grid, block, arguments, backwards=False) of the shipped sources; None without a compiler.

    Compiled once a test run, into the first folder given.
    """
    if not _compiled:
        _compiled.append(_compile(folder))
    return _compiled[0]


_compiled: list[Launcher | None] = []


def _compile(folder: Path) -> Launcher | None:
    compiler = shutil.which("g++")
    if compiler is None:
        return None
    library = folder / "cuda_on_cpu.so"
    command = [
        compiler,
        "-std=c++17",
        "-O2",
        "-U_FORTIFY_SOURCE",
        "-shared",
        "-fPIC",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-x",
        "c++",
    ]
    source = REPOSITORY / "tests" / "cuda_on_cpu.cpp"
    subprocess.run([*command, str(source), "-o", str(library)], check=True)
    cpu_launch = ctypes.CDLL(str(library)).cpu_launch

    def launch(
        name: str,
        grid: Sequence[int],
        block: Sequence[int],
        arguments: Sequence[np.generic],
        backwards: bool = False,
    ) -> None:
        held = [np.array(a) for a in arguments]
        pointers = (ctypes.c_void_p * len(held))(*(a.ctypes.data for a in held))
        sizes = ((ctypes.c_uint * 3)(*s) for s in (grid, block))
        assert cpu_launch(name.encode(), *sizes, pointers, int(backwards)) == 0, f"no kernel {name}"

    return launch


def address(array: np.ndarray) -> np.uint64:
    """Where an array lies, as a kernel argument."""
    assert array.flags.c_contiguous
    return np.uint64(array.ctypes.data)


__all__ = ["CROP_DTYPE", "REPOSITORY", "address", "compile_for_cpu", "crop_rgb", "decode"]
