"""Int8 the way TensorRT wants it: Q/DQ pairs round convolutions, symmetric, weights per channel, biases alone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rt_hands.inference.tensorrt.onnx_types import import_onnx, load_onnx


def quantise(
    model: bytes, name: str, batches: Sequence[NDArray[np.float32]], activations: Any | None = None
) -> bytes:
    """A float32 ONNX file with one image input to its int8 form, ranges measured on batches (n, 3, h, w) of crops.

    activations: onnxruntime's QuantType; None is signed, as TensorRT wants it.
    """
    import_onnx()
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    graph = load_onnx(model, name).graph
    with tempfile.TemporaryDirectory() as folder:
        source, ready, out = (Path(folder) / f"{part}.onnx" for part in ("float", "ready", "int8"))
        source.write_bytes(model)
        quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
        quantize_static(
            str(ready),
            str(out),
            _Reader(graph.input[0].name, batches),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=activations or QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            # TensorRT takes zero points of 0 only, and adds biases in float32 itself.
            extra_options={
                "ActivationSymmetric": activations is None,
                "WeightSymmetric": True,
                "QuantizeBias": False,
            },
        )
        return out.read_bytes()


class _Reader:
    """onnxruntime's calibration reader: one feed after another, then None."""

    def __init__(self, name: str, batches: Sequence[NDArray[np.float32]]) -> None:
        self._feeds: Iterator[dict[str, Any]] = iter([{name: batch} for batch in batches])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


__all__ = ["quantise"]
