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
    """Write a module as ONNX with a dynamic first axis, checked by `onnx.checker`.

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
    if half_storage:
        store_as_half(model)
    helper.set_model_props(model, dict(metadata or {}))
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


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
