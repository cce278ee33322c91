"""A deserialised plan: its tensors, and contexts bound once to fixed addresses. Used in the owner thread only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from rt_hands.errors import InvalidInput, RtHandsError
from rt_hands.inference.engine import TensorSpec
from rt_hands.inference.tensorrt.cuda import Device
from rt_hands.inference.tensorrt.graph import GraphRefused
from rt_hands.inference.tensorrt.trt_api import last_error, make_logger

_DTYPES: Final = {
    "FLOAT": "float32", "HALF": "float16", "INT8": "int8", "UINT8": "uint8", "INT32": "int32", "INT64": "int64",
    "BOOL": "bool",
}  # fmt: skip


class PlanRefused(RtHandsError):
    """TensorRT does not take this plan; building it anew may mend that."""


class Network:
    """A plan ready to run. inputs, outputs: its tensors. max_batch: the largest batch of its profile."""

    def __init__(self, trt: Any, device: Device, plan: bytes, name: str) -> None:
        self._device, self.name = device, name
        self._logger = make_logger(trt)
        self._runtime = trt.Runtime(self._logger)
        engine = self._runtime.deserialize_cuda_engine(plan) if self._runtime is not None else None
        if engine is None:
            raise PlanRefused(f"TensorRT refused the plan of {name}: {last_error(self._logger)}.")
        self._engine = engine
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        is_input = {n: engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT for n in names}
        self.inputs = tuple(_spec(engine, n) for n in names if is_input[n])
        self.outputs = tuple(_spec(engine, n) for n in names if not is_input[n])
        first = self.inputs[0]
        free = first.shape[0] is None
        self.max_batch = (
            int(engine.get_tensor_profile_shape(first.name, 0)[2][0]) if free else int(first.shape[0] or 1)
        )

    def nbytes(self, spec: TensorSpec, batch: int) -> int:
        """Bytes of a tensor for a batch."""
        return int(np.prod(spec.sized(batch))) * np.dtype(spec.dtype).itemsize

    def bind(self, batch: int, addresses: Mapping[str, int]) -> Any:
        """A context for one batch size and one set of addresses, which a graph may freeze.

        One context for each, since changing a context invalidates the graphs recorded from it.
        """
        if batch > self.max_batch:
            raise InvalidInput(
                f"{self.name} was built for up to {self.max_batch} crops at once, got {batch}. "
                f"Open the engine with max_batch={batch}."
            )
        context = self._engine.create_execution_context()
        if context is None:
            raise InvalidInput(
                f"{self._device.gpu.name} has no room for another context of {self.name} "
                f"({last_error(self._logger)}). Close other programs on it or lower max_batch."
            )
        self._choose_profile(context)
        for spec in self.inputs:
            if not context.set_input_shape(spec.name, spec.sized(batch)):
                raise InvalidInput(
                    f"TensorRT refused batch {batch} for {self.name}: {last_error(self._logger)}."
                )
        for spec in self.inputs + self.outputs:
            if not context.set_tensor_address(spec.name, addresses[spec.name]):
                raise InvalidInput(
                    f"TensorRT refused the buffer of '{spec.name}': {last_error(self._logger)}."
                )
        return context

    def _choose_profile(self, context: Any) -> None:
        """Profile 0 for a context that has none: in 8.6, every one after an engine's first."""
        if getattr(context, "active_optimization_profile", 0) >= 0:
            return
        if not context.set_optimization_profile_async(0, self._device.stream):
            raise InvalidInput(
                f"TensorRT refused the batch sizes of {self.name}: {last_error(self._logger)}."
            )
        self._device.synchronise()

    def enqueue(self, context: Any) -> None:
        """Queue one inference. Raises GraphRefused where TensorRT says no: under capture that means an empty graph."""
        if not context.execute_async_v3(self._device.stream):
            raise GraphRefused(f"TensorRT refused to run {self.name}: {last_error(self._logger)}")

    def layers(self, trt: Any) -> str:
        """What was chosen for each layer, one a line; needs a plan built with verbose."""
        inspector = self._engine.create_engine_inspector()
        return str(inspector.get_engine_information(trt.LayerInformationFormat.ONELINE))

    def close(self) -> None:
        """Free engine and runtime, in that order."""
        self._engine = None
        self._runtime = None


def _spec(engine: Any, name: str) -> TensorSpec:
    kind = engine.get_tensor_dtype(name).name
    if kind not in _DTYPES:
        raise InvalidInput(f"Tensor '{name}' has TensorRT type {kind}; known: {', '.join(_DTYPES)}.")
    shape = tuple(None if n == -1 else int(n) for n in engine.get_tensor_shape(name))
    return TensorSpec(name, shape, _DTYPES[kind])


__all__ = ["Network", "PlanRefused"]
