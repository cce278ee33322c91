"""A TensorRT and a GPU for tests: plans that hold an ONNX file, run by onnxruntime; device memory that is NumPy's.

Addresses are real host addresses, so the shipped kernels, compiled for the CPU, can run on them too. The device
checks that one thread uses it, and records graphs the way CUDA does: work queued under capture is not run.
"""

from __future__ import annotations

import ctypes
import enum
import json
import threading
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

from rt_hands.inference.tensorrt.graph import GraphRefused
from rt_hands.inference.tensorrt.probe import Gpu

GPU = Gpu(0, "Test GPU", (9, 0), 13000)
DEVICES: dict[int, NumpyDevice] = {}


class NumpyGraph:
    def __init__(self, device: NumpyDevice, work: list[Callable[[], None]]) -> None:
        self.device, self.work, self.open = device, work, True

    def launch(self) -> None:
        assert self.open
        self.device.launches += 1
        for step in self.work:
            step()

    def close(self) -> None:
        self.open = False


class NumpyDevice:
    """See `rt_hands.inference.tensorrt.cuda.Device`. launch_kernel(name, grid, block, arguments) runs kernels."""

    def __init__(
        self, gpu: Gpu, launch_kernel: Callable[..., None] | None = None, limit_bytes: int = 1 << 32
    ) -> None:
        self.gpu, self.thread, self.launches = gpu, threading.get_ident(), 0
        self.stream = len(DEVICES) + 1
        self.memory: dict[int, np.ndarray] = {}
        self.limit_bytes, self.closed = limit_bytes, False
        self._launch_kernel, self._recording = launch_kernel, None
        DEVICES[self.stream] = self

    def queue(self, step: Callable[[], None]) -> None:
        self._own()
        if self._recording is None:
            step()
        else:
            self._recording.append(step)

    def alloc(self, nbytes: int) -> int:
        from rt_hands.errors import InvalidInput

        self._own()
        assert self._recording is None, "allocating under capture is an error in CUDA"
        if sum(m.nbytes for m in self.memory.values()) + nbytes > self.limit_bytes:
            raise InvalidInput(f"{self.gpu.name} is out of memory.")
        block = np.zeros(max(nbytes, 1) + 64, np.uint8)
        address = block.ctypes.data + (-block.ctypes.data % 64)
        self.memory[address] = block
        return address

    def free(self, address: int) -> None:
        self._own()
        del self.memory[address]

    def pinned(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        self._own()
        return np.zeros(shape, dtype)

    def upload(self, address: int, array: np.ndarray) -> None:
        assert array.flags.c_contiguous
        self.queue(lambda: ctypes.memmove(address, array.ctypes.data, array.nbytes))

    def download(self, array: np.ndarray, address: int) -> None:
        assert array.flags.c_contiguous
        self.queue(lambda: ctypes.memmove(array.ctypes.data, address, array.nbytes))

    def fill(self, address: int, value: int, nbytes: int) -> None:
        self.queue(lambda: ctypes.memset(address, value, nbytes))

    def mark(self) -> object:
        self._own()
        return object()

    def wait(self, mark: object) -> None:
        self._own()
        assert mark is not None

    def synchronise(self) -> None:
        self._own()

    def capture(self, work: Callable[[], None]) -> NumpyGraph:
        self._own()
        self._recording = steps = []
        try:
            work()
        finally:
            self._recording = None
        return NumpyGraph(self, steps)

    def load_kernels(self, image: bytes) -> Callable[..., None]:
        assert self._launch_kernel is not None
        run = self._launch_kernel

        def launch(name: str, grid: Any, block: Any, arguments: Sequence[Any]) -> None:
            self.queue(lambda: run(name, grid, block, arguments))

        return launch

    def close(self) -> None:
        self._own()
        self.memory.clear()
        self.closed = True

    def _own(self) -> None:
        assert threading.get_ident() == self.thread, "CUDA called outside the owner thread"
        assert not self.closed


def _enum(name: str, *members: str) -> Any:
    return enum.IntEnum(name, {m: i for i, m in enumerate(members)})


class FakeTrt:
    """The module. typed: as from 10 (else as 8.6). fault: what goes wrong, see `_Context` and `_Runtime`."""

    def __init__(self, version: str = "10.3.0.26", typed: bool = True, fault: str = "") -> None:
        self.__name__, self.__version__, self.fault = "tensorrt", version, fault
        self.builds, self.typed, self.building = 0, typed, threading.Event()
        self.flags_set: list[str] = []
        self.timings_offered: list[bytes] = []
        self.network_flags = 0
        creation = ("EXPLICIT_BATCH", "STRONGLY_TYPED") if typed else ("EXPLICIT_BATCH",)
        self.NetworkDefinitionCreationFlag = _enum("Creation", *creation)
        self.BuilderFlag = _enum("BuilderFlag", "TF32") if typed else _enum("BuilderFlag", "FP16", "INT8")
        self.TacticSource = _enum(
            "T", "CUBLAS", "CUBLAS_LT", "CUDNN", "EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"
        )
        self.TensorIOMode = _enum("Mode", "NONE", "INPUT", "OUTPUT")
        self.ILogger = _Logger
        if typed:
            self.IProgressMonitor = _Monitor
        self.Builder = lambda logger: _Builder(self, logger)
        self.OnnxParser = _Parser
        self.Runtime = lambda logger: _Runtime(self, logger)


class _Logger:
    ERROR, INTERNAL_ERROR, WARNING = "ERROR", "INTERNAL_ERROR", "WARNING"


class _Monitor:
    pass


class _Parser:
    def __init__(self, network: Any, logger: Any) -> None:
        self.network, self.errors = network, []

    num_errors = property(lambda self: len(self.errors))

    def get_error(self, i: int) -> Any:
        return SimpleNamespace(desc=lambda: self.errors[i])

    def parse(self, data: bytes) -> bool:
        model = onnx.load_model_from_string(data)
        if any(node.op_type == "NonZero" for node in model.graph.node):
            self.errors.append("No importer registered for op: NonZero")
            return False
        weights = {t.name for t in model.graph.initializer}
        self.network.data = data
        self.network.inputs = [v for v in model.graph.input if v.name not in weights]
        return True


class _FakeNetwork:
    inputs: list[Any]
    data: bytes
    num_inputs = property(lambda self: len(self.inputs))

    def get_input(self, i: int) -> Any:
        value = self.inputs[i]
        shape = tuple(
            d.dim_value if d.HasField("dim_value") else -1 for d in value.type.tensor_type.shape.dim
        )
        return SimpleNamespace(name=value.name, shape=shape)


class _Config:
    def __init__(self, trt: FakeTrt) -> None:
        self.trt, self.profiles, self.max_aux_streams, self.progress_monitor = trt, [], 7, None
        self.timings, self.cache = b"", None

    def create_timing_cache(self, content: bytes) -> Any:
        """Takes nothing, or what it serialised itself; a file of anything else is refused."""
        known = content.startswith(b"timings") or not content
        return SimpleNamespace(content=bytes(content), serialize=lambda: self.timings) if known else None

    def set_timing_cache(self, cache: Any, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.trt.timings_offered.append(cache.content)
        self.timings, self.cache = cache.content or b"timings of " + self.trt.__version__.encode(), cache
        return True

    def get_timing_cache(self) -> Any:
        return self.cache

    def clear_flag(self, flag: Any) -> None:
        self.trt.flags_set.append(f"no {flag.name}")

    def set_flag(self, flag: Any) -> None:
        self.trt.flags_set.append(flag.name)

    def set_tactic_sources(self, mask: int) -> None:
        self.trt.flags_set.append(f"tactics {mask:#x}")

    def add_optimization_profile(self, profile: Any) -> None:
        self.profiles.append(profile.shapes)


class _Builder:
    def __init__(self, trt: FakeTrt, logger: Any) -> None:
        self.trt, self.logger = trt, logger

    def create_network(self, flags: int) -> _FakeNetwork:
        self.trt.network_flags = flags
        return _FakeNetwork()

    def create_builder_config(self) -> _Config:
        return _Config(self.trt)

    def create_optimization_profile(self) -> Any:
        shapes: dict[str, Any] = {}
        return SimpleNamespace(
            shapes=shapes, set_shape=lambda name, *low_opt_high: shapes.__setitem__(name, low_opt_high)
        )

    def build_serialized_network(self, network: _FakeNetwork, config: _Config) -> bytes | None:
        """fault 'slow build': one step after the other for half a second, unless the monitor ends it."""
        self.trt.builds += 1
        self.trt.building.set()
        for step in range(50 if self.trt.fault == "slow build" else 0):
            time.sleep(0.01)
            if config.progress_monitor is not None and not config.progress_monitor.step_complete(
                "Slow", step
            ):
                return None
        if config.progress_monitor is not None:
            config.progress_monitor.phase_start("Building", None, 1)
            config.progress_monitor.step_complete("Building", 0)
            config.progress_monitor.phase_finish("Building")
        if self.trt.fault in ("build", "build memory"):
            word = "out of memory" if "memory" in self.trt.fault else "no implementation of node conv"
            self.logger.log(_Logger.ERROR, f"[optimizer] {word}")
            return None
        head = {"version": self.trt.__version__, "profiles": config.profiles, "aux": config.max_aux_streams}
        return json.dumps(head).encode() + b"\n" + network.data


class _Runtime:
    """fault 'none engine': refuses every plan. 'none engine once': refuses the first one it is given."""

    def __init__(self, trt: FakeTrt, logger: Any) -> None:
        self.trt, self.logger = trt, logger

    def deserialize_cuda_engine(self, plan: bytes) -> Any:
        if self.trt.fault.startswith("none engine"):
            self.logger.log(
                _Logger.ERROR, "Serialization assertion stdVersionRead == kSERIALIZATION_VERSION failed"
            )
            if self.trt.fault == "none engine once":
                self.trt.fault = ""
            return None
        head, data = plan.split(b"\n", 1)
        return _Engine(self.trt, json.loads(head), data)


class _Engine:
    def __init__(self, trt: FakeTrt, head: dict[str, Any], data: bytes) -> None:
        self.trt, self.head = trt, head
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        self.session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self.ins, self.outs = self.session.get_inputs(), self.session.get_outputs()
        self.tensors = {t.name: t for t in (*self.ins, *self.outs)}
        self.num_io_tensors = len(self.tensors)
        self.contexts = 0

    def get_tensor_name(self, i: int) -> str:
        return list(self.tensors)[i]

    def get_tensor_mode(self, name: str) -> Any:
        mode = self.trt.TensorIOMode
        return mode.INPUT if name in {t.name for t in self.ins} else mode.OUTPUT

    def get_tensor_dtype(self, name: str) -> Any:
        names = {"tensor(float)": "FLOAT", "tensor(float16)": "HALF"}
        return SimpleNamespace(name=names.get(self.tensors[name].type, "FP8"))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(n if isinstance(n, int) else -1 for n in self.tensors[name].shape)

    def get_tensor_profile_shape(self, name: str, profile: int) -> Any:
        return self.head["profiles"][profile][name]

    def create_execution_context(self) -> Any:
        self.contexts += 1
        return None if self.trt.fault == "none context" else _Context(self)


class _Context:
    """fault 'refuse': every enqueue under capture answers False. 'stale': under capture it queues nothing, silently."""

    def __init__(self, engine: _Engine) -> None:
        self.engine, self.shapes, self.addresses = engine, {}, {}
        # As 8.6 has it: only an engine's first context takes a profile by itself.
        self.active_optimization_profile = 0 if engine.trt.typed or engine.contexts == 1 else -1

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        assert self.active_optimization_profile < 0 and not self.shapes and stream in DEVICES
        self.active_optimization_profile = profile
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if self.active_optimization_profile < 0:
            return False
        low, _, high = self.engine.get_tensor_profile_shape(name, 0)
        self.shapes[name] = tuple(shape)
        return all(a <= n <= b for a, n, b in zip(low, shape, high, strict=True))

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        device = DEVICES[stream]
        fault = self.engine.trt.fault if device._recording is not None else ""
        if fault == "refuse":
            return False
        if fault == "graph":
            raise GraphRefused("recording failed (CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED)")
        if fault != "stale":
            shapes, addresses = dict(self.shapes), dict(self.addresses)  # as a graph freezes them
            device.queue(lambda: self._compute(shapes, addresses))
        return True

    def _compute(self, shapes: dict[str, Any], addresses: dict[str, int]) -> None:
        kinds = {"FLOAT": np.float32, "HALF": np.float16}
        feed = {
            n: _view(addresses[n], s, kinds[self.engine.get_tensor_dtype(n).name]).copy()
            for n, s in shapes.items()
        }
        for tensor, value in zip(self.engine.outs, self.engine.session.run(None, feed), strict=True):
            _view(addresses[tensor.name], value.shape, value.dtype)[...] = value


def _view(address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer((ctypes.c_uint8 * nbytes).from_address(address), dtype).reshape(shape)
