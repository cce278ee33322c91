"""Builds rt_hands._core from csrc/, and the CUDA kernels where nvcc is; everything else is in pyproject.toml."""

from __future__ import annotations

import os
import runpy
from glob import glob
from pathlib import Path

from pybind11.setup_helpers import ParallelCompile, Pybind11Extension, build_ext
from setuptools import setup

# RT_HANDS_SANITIZE=1 builds the core with AddressSanitizer and UndefinedBehaviorSanitizer, for the fuzz run.
sanitize = os.environ.get("RT_HANDS_SANITIZE") == "1"
flags = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer", "-g", "-O1"] if sanitize else []
# -fno-math-errno and -fno-trapping-math let loops over lanes become vector code; neither changes a result.
# -Wno-psabi: vector types only ever cross inlined calls, so the ABI note does not apply.
UNIX_FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi"]

ParallelCompile("NPY_NUM_BUILD_JOBS", default=0).install()
core = Pybind11Extension(
    "rt_hands._core",
    sorted(glob("csrc/*.cpp")),
    include_dirs=["csrc"],
    depends=sorted(glob("csrc/*.hpp") + glob("csrc/*.inl")),
    cxx_std=17,
    # No -march flag: wheels must run on any x86-64 or ARM64 machine; the SIMD level is chosen at run time.
    extra_compile_args=flags or (["/O2"] if os.name == "nt" else UNIX_FLAGS),
    extra_link_args=flags,
)


class BuildExt(build_ext):  # type: ignore[misc]
    """The core, then csrc/cuda/*.cu into fatbins beside the engine that loads them.

    RT_HANDS_CUDA=0 compiles none: of earlier ones only those that are current stay.
    """

    def run(self) -> None:
        super().run()
        package = Path(self.get_ext_fullpath("rt_hands._core")).resolve().parent
        compiler = runpy.run_path(str(Path(__file__).resolve().parent / "csrc" / "cuda" / "compile.py"))
        wanted = "remove_outdated" if os.environ.get("RT_HANDS_CUDA") == "0" else "compile_all"
        compiler[wanted](package / "inference" / "cuda")


setup(ext_modules=[core], cmdclass={"build_ext": BuildExt})
