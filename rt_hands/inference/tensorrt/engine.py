"""The TensorRT engine behind the `Engine` interface."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rt_hands.errors import InvalidInput, MissingPart
from rt_hands.inference.engine import Array, TensorSpec, check_arrays
from rt_hands.inference.models import precision_of, read_model
from rt_hands.inference.tensorrt.build import Progress, build_plan
from rt_hands.inference.tensorrt.cuda import CudaFailed, Device, PycudaDevice
from rt_hands.inference.tensorrt.graph import GraphRefused, Replay
from rt_hands.inference.tensorrt.network import Network, PlanRefused
from rt_hands.inference.tensorrt.onnx_types import PRECISIONS
from rt_hands.inference.tensorrt.owner import Owner
from rt_hands.inference.tensorrt.plan import PlanKey, discard, load_plan, plan_path, save_plan, sha256
from rt_hands.inference.tensorrt.probe import Gpu, find_gpu
from rt_hands.inference.tensorrt.timing_cache import timing_cache_path
from rt_hands.inference.tensorrt.trt_api import build_name, import_trt
from rt_hands.layout import N_HANDS

if TYPE_CHECKING:
    from rt_hands.camera import Rig
    from rt_hands.inference.tensorrt.reader import CropReader
    from rt_hands.lifting.rtc import Surface

MAX_BATCH = 16  # eight views of two hands


@dataclass(frozen=True, slots=True)
class Runtime:
    """What an engine stands on; tests put fakes here. trt: the TensorRT module. device: makes a `Device`."""

    gpu: Gpu
    trt: Any
    device: Callable[[Gpu], Device] = PycudaDevice

    @staticmethod
    def find() -> Runtime:
        """The GPU of this machine and the TensorRT installed. Raises MissingPart; asks for the GPU first."""
        gpu = find_gpu()
        return Runtime(gpu, import_trt())


@dataclass(frozen=True, slots=True)
class _Bound:
    """One batch size: pinned arrays, and the work of one run on them."""

    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    replay: Replay


class TensorRtEngine:
    """See `Engine`. Any thread may call it, one at a time; CUDA sees only the owner thread.

    model: an ONNX file. The plan comes from the user's cache, or is built (seconds to minutes, said on stderr).
    threads: without meaning here. precision: `float16`, `float32`, `int8` (a file with Q/DQ layers) or `auto`: int8
    where the file is, float16 for networks that take pictures, float32 for the rest (RTC in half moves 0.13 mm).
    max_batch: the most crops in one call. verbose, rebuild: print TensorRT's log and keep layer names; build anew.
    Raises MissingPart without GPU, TensorRT or pycuda.
    """

    name = "tensorrt"

    def __init__(
        self,
        model: Path,
        threads: int | None = None,
        precision: str = "auto",
        max_batch: int = MAX_BATCH,
        use_graphs: bool = True,
        runtime: Runtime | None = None,
        progress: Progress | None = None,
        verbose: bool = False,
        rebuild: bool = False,
    ) -> None:
        del threads
        self.runtime = runtime or Runtime.find()
        self.device = self.runtime.gpu.label
        self.precision = choose_precision(model, precision)
        self.notes: list[str] = []
        self.use_graphs, self.max_batch = use_graphs, max_batch
        self._model, self._progress, self._verbose, self._rebuild = model, progress, verbose, rebuild
        self._bound: dict[int, _Bound] = {}
        self._longer: dict[int, tuple[tuple[Array, ...], tuple[Array, ...]]] = {}
        self.before_close: list[Callable[[], None]] = []
        self._surface: Surface | None = None
        self._cancelled, self._opened = threading.Event(), False
        self.owner = Owner(f"The TensorRT engine of {model.name}")
        try:
            self.owner.call(self._open)
        except BaseException:
            # After Ctrl-C the owner goes on, with minutes of building a plan perhaps, and must be waited for.
            self._cancelled.set()
            self.close()
            raise
        self.inputs: tuple[TensorSpec, ...] = self.network.inputs
        self.outputs: tuple[TensorSpec, ...] = self.network.outputs

    def buffers(self, batch: int) -> tuple[Array, ...]:
        """The pinned input arrays of a batch size, to be filled in place."""
        return self._long(batch)[0] if batch > self.max_batch else self._bind(batch).inputs

    def run(self, *arrays: Array) -> tuple[Array, ...]:
        """One inference; the arrays returned hold until the next run of the same batch size."""
        batch = check_arrays(self.name, self.inputs, arrays)
        if batch > self.max_batch:
            return self._run_in_parts(batch, arrays)
        bound = self._bind(batch)
        for own, given in zip(bound.inputs, arrays, strict=True):
            if own is not given:
                np.copyto(own, given)
        self.owner.call(self._step, bound)
        return bound.outputs

    def _run_in_parts(self, batch: int, arrays: tuple[Array, ...]) -> tuple[Array, ...]:
        """A batch beyond max_batch (a search over many windows), in runs of at most that."""
        outputs = self._long(batch)[1]
        for first in range(0, batch, self.max_batch):
            part = slice(first, min(first + self.max_batch, batch))
            for whole, piece in zip(outputs, self.run(*(array[part] for array in arrays)), strict=True):
                whole[part] = piece
        return outputs

    def _long(self, batch: int) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Ordinary arrays for a batch beyond max_batch: inputs, outputs."""
        if batch not in self._longer:
            self._longer[batch] = (
                tuple(np.zeros(s.sized(batch), s.dtype) for s in self.inputs),
                tuple(np.zeros(s.sized(batch), s.dtype) for s in self.outputs),
            )
        return self._longer[batch]

    def crop_reader(self) -> CropReader | None:
        """Crop, network and decode on the GPU, for a CPM; None, said once, where no kernels are that load."""
        from rt_hands.inference.tensorrt.reader import CropReader

        try:
            return CropReader(self)
        except MissingPart as error:
            self.note(f"crops and decodes on the CPU: {error}")
            return None

    def surface_reader(self, rig: Rig) -> Surface | None:
        """RTC and the frames round it on the GPU, in an engine of its own that closes with this one.

        Surfaces do not depend on the rig: one reader serves all. None, said once, where no kernels are that load.
        """
        if self._surface is None:
            self._surface = self._open_surface(rig)
        return self._surface

    def _open_surface(self, rig: Rig) -> Surface | None:
        from rt_hands.inference.tensorrt.lifter import RtcLifter
        from rt_hands.lifting.rtc import Rtc

        rtc = Rtc()
        engine = TensorRtEngine(rtc.path, max_batch=N_HANDS, use_graphs=self.use_graphs, runtime=self.runtime)
        try:
            lifter = RtcLifter(engine, rig, rtc.normalised)
        except MissingPart as error:
            engine.close()
            self.note(f"runs RTC on the CPU: {error}")
            return None
        except BaseException:
            engine.close()
            raise
        self.before_close.append(engine.close)
        return lifter.surface

    def warm_up(self, batches: Iterable[int] = (1,)) -> None:
        """Run each batch size twice on zeros; the first run records the graph."""
        for batch in batches:
            for _ in range(2):
                self.run(*self.buffers(batch))

    def close(self) -> None:
        """Free the network, its memory and its thread; a later `run` raises."""
        if not self.owner.usable:
            return
        try:
            self.owner.call(self._free)
        except CudaFailed:
            pass  # the driver frees everything with the context
        finally:
            self.owner.close()

    def layers(self) -> str:
        """What TensorRT chose for each layer, one a line; names and tactics only in a plan built with verbose."""
        return self.owner.call(lambda: self.network.layers(self.runtime.trt))

    def note(self, sentence: str) -> None:
        """Say something once, and keep it."""
        if sentence not in self.notes:
            self.notes.append(sentence)
            print(f"tensorrt: {sentence}", file=sys.stderr)

    def replays(self) -> dict[int, Replay]:
        """The work of each batch size bound so far: whether it runs from a graph, and if not, why."""
        return {batch: bound.replay for batch, bound in self._bound.items()}

    # Everything below runs in the owner thread.

    def _open(self) -> None:
        self.cuda = self.runtime.device(self.runtime.gpu)
        try:
            self.network = self._load()
            self._opened = True
        except BaseException:
            self.cuda.close()
            raise

    def _load(self) -> Network:
        """The network from the cached plan, or from a new one: a plan that TensorRT refuses is built once more."""
        data = read_model(self._model)
        trt, gpu = self.runtime.trt, self.runtime.gpu
        key = PlanKey(
            sha256(data), build_name(trt), gpu.name, f"{gpu.capability[0]}.{gpu.capability[1]}",
            self.precision, self.max_batch,
        )  # fmt: skip
        path = plan_path(self._model, key)
        plan, why = (None, "A new plan was asked for.") if self._rebuild else load_plan(path, key)
        if plan is not None:
            try:
                return Network(trt, self.cuda, plan, self._model.name)
            except PlanRefused as error:
                discard(path)
                why = str(error)
        self.note(f"{why} Building {self._model.name} in {self.precision} for {gpu.name}, once.")
        plan = build_plan(
            trt,
            data,
            self._model.name,
            self.precision,
            self.max_batch,
            progress=self._progress,
            cancelled=self._cancelled,
            verbose=self._verbose,
            timings=timing_cache_path(key.tensorrt, key.gpu, key.capability),
        )
        save_plan(path, key, plan)
        try:
            return Network(trt, self.cuda, plan, self._model.name)
        except PlanRefused as error:
            discard(path)
            raise InvalidInput(
                f"{error} It was built just now, so TensorRT and the driver don't fit."
            ) from error

    def _bind(self, batch: int) -> _Bound:
        if batch not in self._bound:
            self._bound[batch] = self.owner.call(self._new_binding, batch)
        return self._bound[batch]

    def _new_binding(self, batch: int) -> _Bound:
        cuda, network = self.cuda, self.network
        specs = network.inputs + network.outputs
        addresses = {s.name: cuda.alloc(network.nbytes(s, batch)) for s in specs}
        context = network.bind(batch, addresses)
        inputs = tuple(cuda.pinned(s.sized(batch), s.dtype) for s in network.inputs)
        outputs = tuple(cuda.pinned(s.sized(batch), s.dtype) for s in network.outputs)

        def enqueue() -> None:
            for spec, array in zip(network.inputs, inputs, strict=True):
                cuda.upload(addresses[spec.name], array)
            network.enqueue(context)
            for spec, array in zip(network.outputs, outputs, strict=True):
                cuda.download(array, addresses[spec.name])

        wipe = tuple((addresses[s.name], network.nbytes(s, batch)) for s in network.outputs)
        return _Bound(inputs, outputs, Replay(cuda, enqueue, outputs, wipe, self.use_graphs))

    def _step(self, bound: _Bound) -> None:
        start(self, bound.replay)
        self.cuda.synchronise()

    def _free(self) -> None:
        if not self._opened:
            return
        for callback in self.before_close:
            callback()
        for bound in self._bound.values():
            bound.replay.retire()
        self._bound.clear()
        self.network.close()
        self.cuda.close()


def start(engine: TensorRtEngine, replay: Replay) -> None:
    """Start work; say once where it runs without a graph, and turn a refused enqueue into an error."""
    try:
        replay.start()
    except GraphRefused as error:
        raise InvalidInput(f"{error}.") from error
    if replay.reason is not None and engine.use_graphs:
        engine.note(f"runs without a CUDA graph: {replay.reason}.")


def choose_precision(model: Path, asked: str) -> str:
    """What `auto` means for a file; see TensorRtEngine. Raises InvalidInput for a name that is none."""
    if asked not in ("auto", *PRECISIONS):
        raise InvalidInput(
            f"No precision is called '{asked}'. TensorRT takes: auto, {', '.join(PRECISIONS)}."
        )
    if asked != "auto":
        return asked
    if precision_of(model) == "int8":
        return "int8"
    return "float32" if model.stem.startswith("rtc") else "float16"


__all__ = ["MAX_BATCH", "Runtime", "TensorRtEngine", "choose_precision", "read_model", "start"]
