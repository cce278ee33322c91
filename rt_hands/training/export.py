"""torch -> ONNX: export, half-precision storage, parity with torch, checksum and model card."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from torch import Tensor, nn

from rt_hands.errors import InvalidInput

OPSET = 17
_SMALLEST_HALVED = 1024  # values; smaller tensors save nothing worth a Cast node


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def export_onnx(
    module: nn.Module,
    inputs: Sequence[Tensor],
    path: Path,
    input_names: Sequence[str],
    output_names: Sequence[str],
    *,
    half_storage: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a module as ONNX with a dynamic first axis, checked by `onnx.checker`; `split_joins` is done to it.

    half_storage keeps large weights as float16 and casts them once at load: half the file, float32 arithmetic.
    metadata lands in the file's `metadata_props`, where the run time reads it. Returns `path`.
    """
    module = module.eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [*input_names, *output_names]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer warns of constants that are meant to be constant
        torch.onnx.export(
            module, tuple(inputs), str(path), input_names=list(input_names), output_names=list(output_names),
            dynamic_axes={name: {0: "batch"} for name in names}, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    model = onnx.load(str(path))
    split_joins(model)
    if half_storage:
        store_as_half(model)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def split_joins(model: onnx.ModelProto) -> int:
    """Turn 1x1 convolutions of joined tensors into sums of one for each, in place; returns how many there were.

    The same function without the joined copy: 3 to 16 % of a CPM's time on a CPU, measured. Weight `w` becomes
    `w.part0`, `w.part1`, ..., which `checkpoint.weights_of_onnx` puts together again. Needs shapes of the tensors.
    """
    graph = onnx.shape_inference.infer_shapes(model).graph
    shapes = {v.name: v.type.tensor_type.shape.dim for v in (*graph.input, *graph.value_info)}
    channels = {name: dims[1].dim_value for name, dims in shapes.items() if len(dims) == 4}
    weights = {t.name: t for t in model.graph.initializer}
    joins = {node.output[0]: node for node in model.graph.node if node.op_type == "Concat"}
    nodes, done = [], set()
    for node in model.graph.node:
        join = joins.get(node.input[0]) if node.op_type == "Conv" else None
        weight = numpy_helper.to_array(weights[node.input[1]]) if join is not None else None
        widths = [channels.get(name, 0) for name in join.input] if join is not None else []
        if join is None or weight is None or weight.shape[1:] != (sum(widths), 1, 1) or not all(widths):
            nodes.append(node)
            continue
        done.add(join.output[0])
        nodes += _parts(model, node, join, np.split(weight, np.cumsum(widths)[:-1], axis=1))
    read = {name for node in nodes for name in node.input}
    del model.graph.node[:]
    model.graph.node.extend(node for node in nodes if not done.intersection(node.output) - read)
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return len(done)


def _parts(
    model: onnx.ModelProto, node: onnx.NodeProto, join: onnx.NodeProto, weights: Sequence[NDArray[np.float32]]
) -> list[onnx.NodeProto]:
    """A convolution for each of the joined tensors, the first with the bias, and the nodes that add them up."""
    made: list[onnx.NodeProto] = []
    so_far = ""
    for number, (source, weight) in enumerate(zip(join.input, weights, strict=True)):
        name, given = f"{node.input[1]}.part{number}", f"{node.output[0]}_{number}"
        model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(weight), name))
        bias = list(node.input[2:]) if number == 0 else []
        made.append(helper.make_node("Conv", [source, name, *bias], [given], f"{node.name}_{number}"))
        if so_far:
            is_last = number == len(weights) - 1
            total = node.output[0] if is_last else f"{given}_sum"
            made.append(helper.make_node("Add", [so_far, given], [total], f"{node.name}_add{number}"))
            given = total
        so_far = given
    return made


def store_as_half(model: onnx.ModelProto) -> int:
    """Turn large float32 initialisers into float16 + Cast, in place; returns how many. onnxruntime folds the Casts."""
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _SMALLEST_HALVED:
            continue
        if float(np.abs(values).max()) > float(np.finfo(np.float16).max):
            raise InvalidInput(
                f"Weight '{tensor.name}' of the network exceeds the range of float16; store it whole."
            )
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return len(casts)


def run_onnx(path: Path, inputs: Mapping[str, NDArray[np.generic]]) -> dict[str, NDArray[np.float32]]:
    """Outputs of an ONNX file by name, on one CPU thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def parity(module: nn.Module, path: Path, inputs: Mapping[str, Tensor]) -> dict[str, float]:
    """Largest absolute difference between torch and the ONNX file, per output; inputs in the module's order."""
    with torch.no_grad():
        wanted = module.eval()(*inputs.values())
    wanted = (wanted,) if isinstance(wanted, Tensor) else wanted
    got = run_onnx(path, {name: value.numpy() for name, value in inputs.items()})
    return {name: float(np.abs(got[name] - w.numpy()).max()) for name, w in zip(got, wanted, strict=True)}


def write_card(
    path: Path, title: str, summary: str, facts: Mapping[str, str], notes: Sequence[str] = ()
) -> Path:
    """Write the model card `<name>.md` beside the ONNX file `path`: a table of facts, then notes; returns it."""
    card = path.with_suffix(".md")
    table = {
        "file": f"`{path.name}`, {path.stat().st_size / 1e6:.2f} MB",
        **facts,
        "sha256": f"`{sha256_of(path)}`",
    }
    rows = [f"| {name} | {value} |" for name, value in table.items()]
    text = [f"# {title}", "", summary, "", "| | |", "|---|---|", *rows]
    if notes:
        text += ["", *[f"- {note}" for note in notes]]
    card.write_text("\n".join(text) + "\n", encoding="utf-8")
    return card
