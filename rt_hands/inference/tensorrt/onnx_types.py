"""Types written into the ONNX file, the one way that every TensorRT understands: float16 weights, int8 as Q/DQ."""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

from rt_hands.errors import InvalidInput, MissingPart

PRECISIONS: Final = ("float16", "float32", "int8")
_KEEP_FLOAT: Final = {"Resize": (1, 2), "Upsample": (1,), "QuantizeLinear": (1,), "DequantizeLinear": (1,)}
"""Inputs that stay float32 by ONNX's own rules: Resize's roi and scales, quantisation scales."""


def import_onnx() -> Any:
    """The onnx package; MissingPart with the pip line. Only building needs it, running a cached plan does not."""
    try:
        import onnx
    except ImportError as error:
        raise MissingPart(
            f"Building a TensorRT engine needs the onnx package ({error}). pip install onnx"
        ) from error
    return onnx


def load_onnx(data: bytes, name: str) -> Any:
    """Parse and check an ONNX file. Raises InvalidInput with a sentence for a damaged or truncated one."""
    onnx = import_onnx()
    damaged = importlib.import_module("google.protobuf.message").DecodeError
    try:
        model = onnx.load_model_from_string(data)
        onnx.checker.check_model(model)
    except (damaged, onnx.checker.ValidationError, ValueError) as error:
        line = (str(error).splitlines() or ["no reason given"])[0]
        raise InvalidInput(f"{name} is no ONNX network, or is damaged or cut short: {line}") from error
    return model


def with_types(data: bytes, precision: str, name: str) -> bytes:
    """The ONNX file with the types of a precision; its inputs and outputs stay float32.

    float16: weights and layers. int8: the file must hold Q/DQ pairs with zero points of 0 already.
    """
    if precision not in PRECISIONS:
        raise InvalidInput(
            f"No precision is called '{precision}'. TensorRT takes: auto, {', '.join(PRECISIONS)}."
        )
    model = load_onnx(data, name)
    quantised = any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    if quantised != (precision == "int8"):
        has = "holds 8-bit layers" if quantised else "holds no 8-bit layers"
        raise InvalidInput(
            f"{name} {has}, so it can't be built in {precision}. "
            + (
                "Use --precision int8."
                if quantised
                else "Make one: python -m rt_hands.build_engine --precision int8"
            )
        )
    if precision == "float16":
        to_half(model, name)
    return bytes(model.SerializeToString())


def to_half(model: Any, name: str) -> None:
    """Turn a float32 network into float16 in place, with Casts at its inputs and outputs."""
    onnx = import_onnx()
    graph = model.graph
    del graph.value_info[:]
    kept = _kept_float(graph)
    for tensor in graph.initializer:
        if tensor.name not in kept:
            _halve(onnx, tensor, name)
    for node in graph.node:
        if not set(node.output) & kept:
            _halve_attributes(onnx, node, name)
    _cast_edges(onnx, graph)
    onnx.checker.check_model(model)


def _kept_float(graph: Any) -> set[str]:
    """Names that must stay float32."""
    return {
        node.input[i]
        for node in graph.node
        for i in _KEEP_FLOAT.get(node.op_type, ())
        if i < len(node.input) and node.input[i]
    }


def _halve_attributes(onnx: Any, node: Any, name: str) -> None:
    """Constants held in a node, and the target of Casts to float32."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR:
            _halve(onnx, attribute.t, name)
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT:
            attribute.i = onnx.TensorProto.FLOAT16


def _halve(onnx: Any, tensor: Any, name: str) -> None:
    if tensor.data_type != onnx.TensorProto.FLOAT:
        return
    values = onnx.numpy_helper.to_array(tensor)
    largest = float(np.abs(values).max(initial=0.0))
    # Infinity is a constant's meaning (the start of a maximum), a finite value beyond the range is a lost weight.
    if np.isfinite(largest) and largest > float(np.finfo(np.float16).max):
        raise InvalidInput(
            f"{name}: '{tensor.name}' holds {largest:.0f}, beyond float16. Use --precision float32."
        )
    with np.errstate(over="ignore"):
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), tensor.name))


def _cast_edges(onnx: Any, graph: Any) -> None:
    """Inputs and outputs stay float32 under their names; the network works on the cast ones."""
    weights = {tensor.name for tensor in graph.initializer}
    is_float = {
        value.name
        for value in (*graph.input, *graph.output)
        if value.name not in weights and value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    for node in graph.node:
        for names in (node.input, node.output):
            for i, used in enumerate(names):
                if used in is_float:
                    names[i] = f"{used}_half"
    ins = [value.name for value in graph.input if value.name in is_float]
    outs = [value.name for value in graph.output if value.name in is_float]
    cast = onnx.helper.make_node
    nodes = [cast("Cast", [n], [f"{n}_half"], to=onnx.TensorProto.FLOAT16) for n in ins]
    nodes += [*graph.node, *(cast("Cast", [f"{n}_half"], [n], to=onnx.TensorProto.FLOAT) for n in outs)]
    del graph.node[:]
    graph.node.extend(nodes)


__all__ = ["PRECISIONS", "import_onnx", "load_onnx", "to_half", "with_types"]
