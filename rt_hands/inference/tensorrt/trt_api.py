"""What differs between TensorRT 8.6, 10.3 .. 11 and TensorRT-RTX, found by looking for attributes.

Version strings are never compared: RTX counts its own versions, and JetPack ships mixtures.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any, Final

from rt_hands.errors import MissingPart

MODULES: Final = ("tensorrt", "tensorrt_rtx")
PIP_LINE: Final = (
    "pip install 'rt_hands[tensorrt]'; on RTX cards also: pip install tensorrt-rtx-cu13 pycuda onnx"
)


def installed_module() -> str | None:
    """Name of the TensorRT module that is installed, found without importing it."""
    return next((name for name in MODULES if importlib.util.find_spec(name) is not None), None)


def import_trt(name: str | None = None) -> ModuleType:
    """Import TensorRT. Only after `find_gpu`, except to build for RTX cards. Raises MissingPart with the pip line."""
    name = name or installed_module()
    if name is None:
        raise MissingPart(f"TensorRT is not installed. {PIP_LINE}")
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise MissingPart(
            f"{name} is installed but does not load ({error}). Reinstall it: {PIP_LINE}"
        ) from error


def build_name(trt: Any) -> str:
    """Module and exact version: plans hold only for this."""
    return f"{trt.__name__} {trt.__version__}"


def member(trt: Any, enum: str, name: str) -> Any | None:
    """An enum's member, or None where this TensorRT lacks the enum or the member."""
    return getattr(getattr(trt, enum, None), name, None)


def is_typed(trt: Any) -> bool:
    """Whether layer types come from the ONNX file alone (from 10.0; always so in 11 and RTX)."""
    return member(trt, "NetworkDefinitionCreationFlag", "STRONGLY_TYPED") is not None


def is_rtx(trt: Any) -> bool:
    """Whether this is TensorRT-RTX. By its name, where its API keeps what no longer does anything."""
    return bool(trt.__name__ == "tensorrt_rtx")


def make_logger(trt: Any, verbose: bool = False) -> Any:
    """A logger that keeps what TensorRT says of errors in `.errors`, since its API only answers None."""

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message.strip())
            elif verbose:
                print(f"{trt.__name__}: {message}", file=sys.stderr)

    return Logger()


def last_error(logger: Any) -> str:
    """The first line of TensorRT's last complaint, for the end of a sentence."""
    return logger.errors[-1].splitlines()[0][:300] if logger.errors else "it gave no reason"


__all__ = [
    "MODULES",
    "PIP_LINE",
    "build_name",
    "import_trt",
    "installed_module",
    "is_rtx",
    "is_typed",
    "last_error",
    "make_logger",
    "member",
]
