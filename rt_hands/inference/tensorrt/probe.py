"""Which NVIDIA GPU is there, asked of the driver itself.

TensorRT segfaults where there is none (8.6 and 11.4, `Runtime(logger)`), so nothing of it is imported before this.
"""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from typing import Any, Final

from rt_hands.errors import MissingPart

_NOT_INITIALISED: Final = 3  # what cuInit answers in a child forked after its parent's cuInit
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76

_pid: int | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. capability: (major, minor), (9, 0) for an H200. driver: the newest CUDA it supports, 13000 = 13.0."""

    index: int
    name: str
    capability: tuple[int, int]
    driver: int

    @property
    def label(self) -> str:
        """For people: name and compute capability."""
        return f"{self.name} (sm_{self.capability[0]}{self.capability[1]})"


def load_libcuda() -> Any:
    """The driver's library by ctypes; MissingPart where there is no driver."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        return ctypes.CDLL(name)
    except OSError:
        raise MissingPart(
            f"TensorRT needs an NVIDIA GPU and its driver; {name} is not on this machine. Use --engine onnxruntime."
        ) from None


def find_gpu(index: int = 0, libcuda: Any = None) -> Gpu:
    """The GPU of that index, without making a context on it. Raises MissingPart that says what is missing."""
    global _pid
    cuda = load_libcuda() if libcuda is None else libcuda
    code = cuda.cuInit(0)
    if code == _NOT_INITIALISED or (_pid is not None and _pid != os.getpid()):
        raise MissingPart(
            "CUDA was started before this process was forked, and a fork can't use it. "
            "Start worker processes with multiprocessing.get_context('spawn')."
        )
    if code:
        raise MissingPart(
            f"The NVIDIA driver finds no GPU it can use ({error_name(cuda, code)}). Use --engine onnxruntime."
        )
    _pid = os.getpid()
    count = _integer(cuda, cuda.cuDeviceGetCount)
    if index >= count:
        raise MissingPart(
            f"There is no GPU {index}: the NVIDIA driver finds {count}. Use --engine onnxruntime."
        )
    device = _integer(cuda, cuda.cuDeviceGet, index)
    name = ctypes.create_string_buffer(256)
    _check(cuda, cuda.cuDeviceGetName(name, 256, device))
    major, minor = (
        _integer(cuda, cuda.cuDeviceGetAttribute, key, device)
        for key in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR)
    )
    return Gpu(index, name.value.decode(), (major, minor), _integer(cuda, cuda.cuDriverGetVersion))


def error_name(cuda: Any, code: int) -> str:
    """The driver's own name of an error code, such as CUDA_ERROR_NO_DEVICE."""
    text = ctypes.c_char_p()
    cuda.cuGetErrorName(code, ctypes.byref(text))
    return text.value.decode() if text.value else f"CUDA error {code}"


def _integer(cuda: Any, function: Any, *arguments: int) -> int:
    value = ctypes.c_int()
    _check(cuda, function(ctypes.byref(value), *arguments))
    return value.value


def _check(cuda: Any, code: int) -> None:
    if code:
        raise MissingPart(
            f"The NVIDIA driver does not answer ({error_name(cuda, code)}). Use --engine onnxruntime."
        )


__all__ = ["Gpu", "error_name", "find_gpu", "load_libcuda"]
