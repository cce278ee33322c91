"""One interface to every inference engine, and the choice among them."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput, MissingPart, check_least
from rt_hands.inference import tensorrt
from rt_hands.inference.preprocess import Crop

if TYPE_CHECKING:  # they load onnxruntime and the core
    from rt_hands.camera import Rig
    from rt_hands.lifting.rtc import Surface

Array = NDArray[np.generic]

PIP_LINES: Final = {"onnxruntime": "pip install onnxruntime", "openvino": "pip install openvino"}
ENGINES: Final = ("openvino", "onnxruntime")
"""Those of the CPU, in the order `auto` tries them after TensorRT: OpenVINO runs the default network about twice as
fast."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output. shape: None where the size is free (the batch). dtype: a NumPy name."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str

    def sized(self, batch: int) -> tuple[int, ...]:
        """The shape for a batch; only the first axis may be free."""
        if any(n is None for n in self.shape[1:]):
            raise InvalidInput(
                f"Tensor '{self.name}' has shape {self.shape}; only its first axis may be free."
            )
        first = self.shape[0] if self.shape and self.shape[0] is not None else batch
        return (first, *(n for n in self.shape[1:] if n is not None))


class Engine(Protocol):
    """A loaded network.

    `run` takes one array per input, batch first, and returns one array per output. The arrays it returns are its own
    buffers: they hold until the next `run`. Filling `buffers(batch)` and passing them saves a copy, if they are asked
    for anew before each run: a larger batch may have moved them. One thread at a time.
    """

    name: str
    device: str
    precision: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def buffers(self, batch: int) -> tuple[Array, ...]:
        """The engine's own input arrays for a batch size, to be filled in place."""
        ...

    def run(self, *arrays: Array) -> tuple[Array, ...]:
        """One inference."""
        ...

    def warm_up(self, batches: Iterable[int] = (1,)) -> None:
        """Run each batch size twice on zeros, so that the first frame isn't the slow one."""
        ...

    def close(self) -> None:
        """Free the network; a later `run` raises."""
        ...


CropReader = Callable[
    [Sequence[tuple[NDArray[np.uint8], Crop]], NDArray[np.float32] | None],
    tuple[NDArray[np.float32], NDArray[np.float32]],
]
"""(picture, crop) pairs, and joints that the network is told of or None (see `cpm.inputs_for`) -> points (B, 170, 3) in
each picture's px, presence (B, 2)."""


@runtime_checkable
class CropReading(Protocol):
    """An engine that can do a CPM's pre- and postprocessing on its device too."""

    def crop_reader(self) -> CropReader | None:
        """The way to read crops there; None, told why on stderr, where that can't be done."""
        ...


@runtime_checkable
class SurfaceReading(Protocol):
    """An engine that can do the rig's RTC on its device too."""

    def surface_reader(self, rig: Rig) -> Surface | None:
        """RTC there; None, told why on stderr, where that can't be done."""
        ...


def check_arrays(engine: str, specs: tuple[TensorSpec, ...], arrays: tuple[Array, ...]) -> int:
    """The batch size of the arrays given to `run`; raises InvalidInput where they don't fit the specs."""
    if len(arrays) != len(specs) or arrays[0].ndim == 0:
        raise InvalidInput(
            f"{engine} wants {len(specs)} arrays ({', '.join(s.name for s in specs)}), got {len(arrays)}."
        )
    batch = len(arrays[0])
    for spec, array in zip(specs, arrays, strict=True):
        if array.shape != spec.sized(batch) or array.dtype != spec.dtype or batch == 0:
            raise InvalidInput(
                f"Input '{spec.name}' is {array.dtype} {array.shape}; wanted {spec.dtype} {spec.sized(max(batch, 1))}."
            )
    return batch


def first_rows(array: Array, spec: TensorSpec, batch: int) -> Array:
    """What a smaller batch takes of a buffer: all of it where its first axis isn't the batch."""
    return array[:batch] if spec.shape and spec.shape[0] is None else array


def is_installed(engine: str) -> bool:
    """Whether the engine's package can be imported."""
    return importlib.util.find_spec(engine) is not None


def choose(engine: str) -> tuple[str, str]:
    """The engine to use and the reason, for `auto` or a name. Raises where a named engine is unknown or missing."""
    if engine in ("auto", "tensorrt"):
        problem = tensorrt.why_not()
        if problem is None:
            return "tensorrt", "asked for" if engine == "tensorrt" else "TensorRT and an NVIDIA GPU are here"
        if engine == "tensorrt":
            raise MissingPart(problem)
    if engine == "auto":
        here = [name for name in ENGINES if is_installed(name)]
        if not here:
            raise MissingPart(f"No inference engine is installed. {PIP_LINES['onnxruntime']}")
        # Who has no TensorRT, or no GPU, needn't hear of it on every start; who has both must know why it isn't used.
        unused = (
            [problem.rstrip(".")] if problem and tensorrt.is_installed() and tensorrt.has_driver() else []
        )
        missing = unused + [
            f"{name} is not installed ({PIP_LINES[name]})" for name in ENGINES if name not in here
        ]
        return here[0], "; ".join(missing) or "the fastest one installed"
    if engine not in ENGINES:
        raise InvalidInput(f"No engine is called '{engine}'. Known: auto, tensorrt, {', '.join(ENGINES)}.")
    if not is_installed(engine):
        raise MissingPart(f"Engine '{engine}' is not installed. {PIP_LINES[engine]}")
    return engine, "asked for"


def open_engine(
    model: Path,
    engine: str = "auto",
    threads: int | None = None,
    precision: str = "auto",
    quiet: bool = False,
) -> Engine:
    """Load an ONNX file.

    engine: `auto`, `tensorrt`, `openvino` or `onnxruntime`; never another one than asked for. threads: None = the
    engine's own choice. precision: `auto`, `float32`, `bfloat16` (OpenVINO only; `auto` takes it where the CPU computes
    in it), `float16` or `int8` (TensorRT only).
    The choice and its reason are printed once to stderr unless quiet.
    Raises MissingPart, or InvalidInput for a file that is no ONNX network.
    """
    _check_threads(threads)
    name, reason = choose(engine)
    if name == "tensorrt":
        from rt_hands.inference.tensorrt.engine import TensorRtEngine

        loaded: Engine = TensorRtEngine(model, threads, precision)
    elif name == "openvino":
        from rt_hands.inference.openvino_engine import OpenVinoEngine

        loaded = OpenVinoEngine(model, threads, precision)
    else:
        from rt_hands.inference.onnxruntime_engine import OnnxRuntimeEngine

        loaded = OnnxRuntimeEngine(model, threads, precision)
    if not quiet:
        _say_once(f"engine: {loaded.name} on {loaded.device}, {loaded.precision}, {model.name} ({reason})")
    return loaded


def _check_threads(threads: int | None) -> None:
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int | np.integer)):
        raise InvalidInput(f"--threads is {threads!r}; give a whole number, 1 or more.")
    check_least("--threads", threads)
    most = 4 * (os.cpu_count() or 16)
    if threads is not None and threads > most:
        raise InvalidInput(f"--threads is {threads}; give {most} or fewer on this machine.")


_said: set[str] = set()


def _say_once(line: str) -> None:
    if line not in _said:
        _said.add(line)
        print(line, file=sys.stderr)
