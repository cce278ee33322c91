"""Types written into the ONNX file, the one way that every TensorRT understands: float16 weights, int8 as Q/DQ."""

from __future__ import annotations

import importlib
from typing import Any, Final

import numpy as np

from rt_hands.errors import InvalidInput, MissingPart

PRECISIONS: Final = ("float16", "float32", "int8")
_KEEP_FLOAT: Final = {"Resize": (1, 2), "Upsample": (1,), "Range": (0, 1, 2)}
"""Inputs that stay float32: Resize's roi and scales by ONNX's own rules, Range because TensorRT has no half one."""

_QUANTISED: Final = ("QuantizeLinear", "DequantizeLinear")
_HALF_SCALES_OPSET: Final = 19  # from here on a float16 tensor may be quantised
_SMALLEST_HALF: Final = 6e-8


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


def with_types(data: bytes, precision: str, name: str, typed: bool = True) -> bytes:
    """The ONNX file with the types of a precision; its inputs and outputs stay float32.

    float16: weights and layers. int8: the file must hold Q/DQ pairs; they become signed, and the layers between them
    float16. typed: whether TensorRT takes all types from the file; otherwise (8.6) those layers are left to its flags.
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
    if precision == "int8":
        to_signed(model)
        if typed:
            model = _newer_opset(model)
            to_half(model, name)
    return bytes(model.SerializeToString())


def to_half(model: Any, name: str) -> None:
    """Turn a float32 network into float16 in place, with Casts at its inputs and outputs."""
    onnx = import_onnx()
    graph = model.graph
    ranges = _float_ranges(onnx, model)
    del graph.value_info[:]
    kept = _kept_float(graph)
    _split_kept(onnx, graph, kept)
    scales = {node.input[1] for node in graph.node if node.op_type in _QUANTISED}
    for tensor in graph.initializer:
        if tensor.name not in kept:
            _halve(onnx, tensor, name, _SMALLEST_HALF if tensor.name in scales else 0.0)
    for node in graph.node:
        if not set(node.output) & kept:
            _halve_attributes(onnx, node, name)
    _cast_ranges(onnx, graph, ranges)
    _cast_edges(onnx, graph)
    onnx.checker.check_model(model)


def _float_ranges(onnx: Any, model: Any) -> set[str]:
    """Outputs of the Range nodes that count in float32."""
    known = {
        info.name: info.type.tensor_type.elem_type
        for info in onnx.shape_inference.infer_shapes(model).graph.value_info
    }
    outputs = {node.output[0] for node in model.graph.node if node.op_type == "Range"}
    return {name for name in outputs if known.get(name) == onnx.TensorProto.FLOAT}


def _cast_ranges(onnx: Any, graph: Any, ranges: set[str]) -> None:
    """Their float32 numbers become float16 where the network takes them up."""
    nodes = []
    for node in graph.node:
        nodes.append(node)
        if node.op_type == "Range" and node.output[0] in ranges:
            name = node.output[0]
            node.output[0] = f"{name}_float"
            nodes.append(
                onnx.helper.make_node("Cast", [f"{name}_float"], [name], to=onnx.TensorProto.FLOAT16)
            )
    del graph.node[:]
    graph.node.extend(nodes)


def to_signed(model: Any) -> int:
    """Make 8-bit layers signed and symmetric, in place; returns how many were not.

    CPU engines want unsigned activations with a zero point; TensorRT takes neither. The same range of values is kept:
    real = scale (q - zero) over 0 .. 255 becomes scale' q' over -127 .. 127, at the price of one bit where all values
    are positive.
    """
    onnx = import_onnx()
    values = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    changed = {}
    for node in model.graph.node:
        if node.op_type in _QUANTISED and len(node.input) == 3:
            scale, zero = node.input[1:]
            if zero in values and values[zero].dtype == np.uint8:
                reach = np.maximum(values[zero].astype(np.float32), 255.0 - values[zero])
                # Named after the pair: two tensors may share a zero point but not a scale.
                changed[f"{scale}_signed"] = (values[scale] * reach / 127).astype(np.float32)
                changed[f"{zero}_signed"] = np.zeros_like(values[zero], np.int8)
                node.input[1], node.input[2] = f"{scale}_signed", f"{zero}_signed"
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend([*kept, *(onnx.numpy_helper.from_array(v, k) for k, v in changed.items())])
    return len(changed) // 2


def _newer_opset(model: Any) -> Any:
    """The model in an opset that knows float16 scales."""
    now = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    if now >= _HALF_SCALES_OPSET:
        return model
    # Exporters import domains that no node uses; the converter refuses some of them.
    used = {node.domain for node in model.graph.node}
    for i in reversed(range(len(model.opset_import))):
        if model.opset_import[i].domain not in used:
            del model.opset_import[i]
    converter = importlib.import_module("onnx.version_converter")
    return converter.convert_version(model, _HALF_SCALES_OPSET)


def _kept_float(graph: Any) -> set[str]:
    """Names that must stay float32."""
    return {
        node.input[i]
        for node in graph.node
        for i in _KEEP_FLOAT.get(node.op_type, ())
        if i < len(node.input) and node.input[i]
    }


def _split_kept(onnx: Any, graph: Any, kept: set[str]) -> None:
    """Numbers cast to float32 for a Range, halved for other nodes that read them: onnxruntime merges such Casts."""
    nodes = []
    shared = {
        node.output[0]: f"{node.output[0]}_halved"
        for node in graph.node
        if node.op_type == "Cast" and node.output[0] in kept
    }
    for node in graph.node:
        stays = _KEEP_FLOAT.get(node.op_type, ())
        for i, name in enumerate(node.input):
            if name in shared and i not in stays:
                node.input[i] = shared[name]
        nodes.append(node)
        if node.op_type == "Cast" and node.output[0] in shared:
            name = node.output[0]
            half = onnx.TensorProto.FLOAT16
            nodes.append(onnx.helper.make_node("Cast", [name], [shared[name]], f"{name}_halving", to=half))
    del graph.node[:]
    graph.node.extend(nodes)


def _halve_attributes(onnx: Any, node: Any, name: str) -> None:
    """Constants held in a node, and the target of Casts to float32."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR:
            _halve(onnx, attribute.t, name)
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT:
            attribute.i = onnx.TensorProto.FLOAT16


def _halve(onnx: Any, tensor: Any, name: str, floor: float = 0.0) -> None:
    """One tensor to float16. floor: for scales, which may not round to 0 even where a channel is all but empty."""
    if tensor.data_type != onnx.TensorProto.FLOAT:
        return
    values = onnx.numpy_helper.to_array(tensor)
    values = np.maximum(values, np.float32(floor)) if floor else values
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


__all__ = ["PRECISIONS", "import_onnx", "load_onnx", "to_half", "to_signed", "with_types"]
