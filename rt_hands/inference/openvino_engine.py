"""OpenVINO on the CPU: latency mode, bfloat16 where the CPU has it, compiled models cached on disk."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import openvino

from rt_hands.errors import InvalidInput
from rt_hands.inference.engine import Array, TensorSpec, check_arrays, first_rows
from rt_hands.inference.forks import keep_in_children
from rt_hands.inference.models import precision_of
from rt_hands.paths import cache_dir

_HINTS: Final = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEngine:
    """See `Engine`. threads: None lets OpenVINO choose. precision: `auto`, `float32` or `bfloat16`."""

    name = "openvino"
    device = "CPU"

    def __init__(self, model: Path, threads: int | None = None, precision: str = "auto") -> None:
        core = openvino.Core()
        self.precision = _precision(core, precision, precision_of(model))
        self._compiled: Any = _compile(core, model, _options(self.precision, threads))
        self.inputs = tuple(_spec(port) for port in self._compiled.inputs)
        self.outputs = tuple(_spec(port) for port in self._compiled.outputs)
        # One for all batch sizes, like the arrays: of every size its own, a rig of 16 views came to 2 GB.
        self._request: Any = self._compiled.create_infer_request()
        keep_in_children(core, self._compiled, self._request)
        self._arrays: tuple[Array, ...] = ()
        self._inputs: tuple[Array, ...] = ()
        self._room = self._batch = 0

    def buffers(self, batch: int) -> tuple[Array, ...]:
        """The input arrays of a batch size, to be filled in place."""
        return self._bind(batch)

    def run(self, *arrays: Array) -> tuple[Array, ...]:
        """One inference; the arrays returned hold until the next run."""
        inputs = self._bind(check_arrays(self.name, self.inputs, arrays))
        for own, given in zip(inputs, arrays, strict=True):
            if own is not given:
                np.copyto(own, given)
        # Views, no copies: `infer` on its own copies all outputs into the dictionary that it returns, 4 % of the time.
        self._request.infer(share_outputs=True)
        # OpenVINO writes into arrays of ours 2 to 3 % slower at batch 4 and 8.
        return tuple(self._request.get_output_tensor(i).data for i in range(len(self.outputs)))

    def warm_up(self, batches: Iterable[int] = (1,)) -> None:
        """Run each batch size twice on zeros."""
        for batch in batches:
            for _ in range(2):
                self.run(*self.buffers(batch))

    def close(self) -> None:
        """Free the compiled network and its buffers."""
        self._arrays = self._inputs = ()
        self._request = self._compiled = None

    def _bind(self, batch: int) -> tuple[Array, ...]:
        if self._compiled is None:
            raise InvalidInput("This OpenVINO engine was closed; open another one.")
        if batch > self._room:
            self._arrays = tuple(np.zeros(spec.sized(batch), spec.dtype) for spec in self.inputs)
            self._room, self._batch = batch, 0
        if batch != self._batch:
            pairs = zip(self.inputs, self._arrays, strict=True)
            self._inputs = tuple(first_rows(array, spec, batch) for spec, array in pairs)
            for index, array in enumerate(self._inputs):
                self._request.set_input_tensor(index, openvino.Tensor(array, shared_memory=True))
            self._batch = batch
        return self._inputs


def _precision(core: Any, asked: str, of_file: str) -> str:
    """What the network will compute in. Raises InvalidInput where that can't be had."""
    native = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if asked == "auto":
        return "bfloat16" if native and of_file == "float32" else of_file
    if asked == of_file:
        return asked
    if asked not in _HINTS or of_file == "int8":
        raise InvalidInput(
            f"OpenVINO runs this {of_file} file in float32, bfloat16 or as it is, not in '{asked}'."
        )
    if asked == "bfloat16" and not native:
        raise InvalidInput("This CPU does not compute in bfloat16; leave the precision on auto.")
    return asked


def _options(precision: str, threads: int | None) -> dict[str, Any]:
    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
    try:
        options["CACHE_DIR"] = str(cache_dir() / "openvino")
    except InvalidInput as error:
        print(f"{error} Until then OpenVINO compiles the network at every start.", file=sys.stderr)
    # The float layers left in an int8 file stay float32: bfloat16 there costs accuracy and gains nothing.
    options["INFERENCE_PRECISION_HINT"] = _HINTS.get(precision, "f32")
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    return options


def _compile(core: Any, model: Path, options: dict[str, Any]) -> Any:
    try:
        return core.compile_model(core.read_model(str(model)), "CPU", options)
    except RuntimeError as error:
        line = (str(error).splitlines() or [""])[-1].strip() or "the file is damaged or of another kind."
        raise InvalidInput(f"{model} is no ONNX network that OpenVINO can load: {line}") from error


def _spec(port: Any) -> TensorSpec:
    shape = tuple(n.get_length() if n.is_static else None for n in port.get_partial_shape())
    return TensorSpec(port.get_any_name(), shape, np.dtype(port.get_element_type().to_dtype()).name)
