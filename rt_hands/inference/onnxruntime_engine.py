"""onnxruntime on the CPU, bound once per batch size, all in the room of the largest: no allocation per frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from rt_hands.errors import InvalidInput
from rt_hands.inference.engine import Array, TensorSpec, check_arrays, first_rows
from rt_hands.inference.forks import keep_in_children
from rt_hands.inference.models import precision_of

_DTYPES: Final = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


@dataclass(frozen=True, slots=True)
class _Bound:
    """Buffers of one batch size, the first rows of the engine's, and the binding that points at them."""

    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    binding: Any


class OnnxRuntimeEngine:
    """See `Engine`. threads: None lets onnxruntime use every core. precision: `auto` or the file's own."""

    name = "onnxruntime"
    device = "CPU"

    def __init__(self, model: Path, threads: int | None = None, precision: str = "auto") -> None:
        self.precision = precision_of(model)
        if precision not in ("auto", self.precision):
            raise InvalidInput(
                f"onnxruntime runs {model.name} in {self.precision}, not {precision}. "
                "Try --engine openvino for bfloat16, or --model int8."
            )
        self._session: Any = load_session(model, threads)
        self.inputs = tuple(_spec(tensor) for tensor in self._session.get_inputs())
        self.outputs = tuple(_spec(tensor) for tensor in self._session.get_outputs())
        self._bound: dict[int, _Bound] = {}
        self._room = 0
        self._inputs: tuple[Array, ...] = ()
        self._outputs: tuple[Array, ...] = ()

    def buffers(self, batch: int) -> tuple[Array, ...]:
        """The input arrays of a batch size, to be filled in place."""
        return self._bind(batch).inputs

    def run(self, *arrays: Array) -> tuple[Array, ...]:
        """One inference; the arrays returned hold until the next run."""
        bound = self._bind(check_arrays(self.name, self.inputs, arrays))
        for own, given in zip(bound.inputs, arrays, strict=True):
            if own is not given:
                np.copyto(own, given)
        self._session.run_with_iobinding(bound.binding)
        return bound.outputs

    def warm_up(self, batches: Iterable[int] = (1,)) -> None:
        """Run each batch size twice on zeros."""
        for batch in batches:
            for _ in range(2):
                self.run(*self.buffers(batch))

    def close(self) -> None:
        """Free the session and its buffers."""
        self._bound.clear()
        self._inputs = self._outputs = ()
        self._session = None

    def _bind(self, batch: int) -> _Bound:
        if self._session is None:
            raise InvalidInput("This onnxruntime engine was closed; open another one.")
        if batch > self._room:
            self._make_room(batch)
        if batch not in self._bound:
            self._bound[batch] = self._new_binding(batch)
        return self._bound[batch]

    def _make_room(self, batch: int) -> None:
        """Buffers for up to so many. Of every size its own, a rig of 16 views came to 2 GB."""
        self._bound.clear()
        self._inputs = tuple(np.zeros(spec.sized(batch), spec.dtype) for spec in self.inputs)
        # An exporter may leave sizes open that are fixed in truth, so one plain run tells the shapes of the outputs.
        feed = {spec.name: array for spec, array in zip(self.inputs, self._inputs, strict=True)}
        self._outputs = tuple(np.ascontiguousarray(array) for array in self._session.run(None, feed))
        self._room = batch

    def _new_binding(self, batch: int) -> _Bound:
        binding = self._session.io_binding()
        inputs = tuple(
            first_rows(array, spec, batch) for spec, array in zip(self.inputs, self._inputs, strict=True)
        )
        outputs = tuple(
            first_rows(array, spec, batch) for spec, array in zip(self.outputs, self._outputs, strict=True)
        )
        for spec, array in zip(self.inputs, inputs, strict=True):
            binding.bind_input(spec.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        for spec, array in zip(self.outputs, outputs, strict=True):
            binding.bind_output(spec.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        return _Bound(inputs, outputs, binding)


def load_session(model: Path, threads: int | None) -> Any:
    """An onnxruntime session on the CPU; raises InvalidInput for a file that it refuses. threads: None is all cores."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    # Else its threads go on spinning after each call, against the ones that capture, track and draw.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    unloadable: tuple[type[BaseException], ...] = (RuntimeError, ValueError, *_load_errors())
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except unloadable as error:
        raise InvalidInput(
            f"{model} is no ONNX network that onnxruntime can load: {_first_line(error)}"
        ) from error
    keep_in_children(session)
    return session


def _load_errors() -> tuple[type[BaseException], ...]:
    # onnxruntime's own exceptions share no public base below Exception.
    state = onnxruntime.capi.onnxruntime_pybind11_state
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented")
    return tuple(getattr(state, name) for name in names)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _spec(tensor: Any) -> TensorSpec:
    if tensor.type not in _DTYPES:
        raise InvalidInput(f"Tensor '{tensor.name}' has type {tensor.type}; known: {', '.join(_DTYPES)}.")
    return TensorSpec(
        tensor.name, tuple(n if isinstance(n, int) else None for n in tensor.shape), _DTYPES[tensor.type]
    )
