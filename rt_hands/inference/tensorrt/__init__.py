"""TensorRT (or TensorRT-RTX) with pycuda: plans built from the ONNX files, cached, run from one owner thread.

    probe -> trt_api -> onnx_types -> build -> plan            an ONNX file to a plan in the user's cache
    owner, cuda, graph -> network -> engine                    a plan to the `Engine` interface
    kernels -> reader                                          uint8 pictures up, points down

Nothing here imports tensorrt or pycuda at module level; without a GPU nothing imports tensorrt at all.
"""

from __future__ import annotations

import importlib.util

from rt_hands.errors import MissingPart
from rt_hands.inference.tensorrt.probe import find_gpu, load_libcuda
from rt_hands.inference.tensorrt.trt_api import PIP_LINE, installed_module


def is_installed() -> bool:
    """Whether TensorRT or TensorRT-RTX can be imported."""
    return installed_module() is not None


def why_not() -> str | None:
    """Why TensorRT can't be used here, as a sentence with the way out; None where it can."""
    if installed_module() is None:
        return f"TensorRT is not installed ({PIP_LINE})."
    try:
        find_gpu()
    except MissingPart as error:
        return str(error)
    if importlib.util.find_spec("pycuda") is None:
        return "TensorRT is installed, but pycuda is not (pip install pycuda)."
    return None


def has_driver() -> bool:
    """Whether NVIDIA's driver is on this machine; without it nobody waits for TensorRT."""
    try:
        load_libcuda()
    except MissingPart:
        return False
    return True


__all__ = ["has_driver", "is_installed", "why_not"]
