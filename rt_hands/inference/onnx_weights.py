"""What an ONNX file holds beside its graph, without the onnx package: of its messages only the fields that matter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from numpy.typing import NDArray

_DTYPES: Final = {1: np.float32, 10: np.float16}
"""TensorProto.DataType: float and float16."""
_FIELDS: Final = {
    "Tensor": (("dims", 1, "INT64", True), ("data_type", 2, "INT32", False), ("name", 8, "STRING", False))
    + (("raw_data", 9, "BYTES", False),),
    "Graph": (("initializer", 5, ".weights.Tensor", True),),
    "Entry": (("key", 1, "STRING", False), ("value", 2, "STRING", False)),
    "Model": (("graph", 7, ".weights.Graph", False), ("metadata_props", 14, ".weights.Entry", True)),
}
"""Message: (field, number in onnx.proto, type, repeated)."""


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """arrays: the float arrays stored in it, as float32, by name. metadata: its notes."""

    arrays: dict[str, NDArray[np.float32]]
    metadata: dict[str, str]


def read_onnx(path: Path) -> OnnxFile:
    """Parse a file; one that is no ONNX gives nothing: whoever runs its graph says what is wrong with it."""
    model = _model_class()()
    try:
        model.ParseFromString(path.read_bytes())
    except message.DecodeError:
        return OnnxFile({}, {})
    arrays = {
        tensor.name: np.frombuffer(tensor.raw_data, _DTYPES[tensor.data_type])
        .astype(np.float32)
        .reshape(tuple(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.data_type in _DTYPES and tensor.raw_data
    }
    return OnnxFile(arrays, {entry.key: entry.value for entry in model.metadata_props})


def _model_class() -> Any:
    kind = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="weights.proto", package="weights")
    for name, fields in _FIELDS.items():
        described = file.message_type.add(name=name)
        for field, number, type_name, repeated in fields:
            label = kind.LABEL_REPEATED if repeated else kind.LABEL_OPTIONAL
            added = described.field.add(name=field, number=number, label=label)
            if type_name.startswith("."):
                added.type, added.type_name = kind.TYPE_MESSAGE, type_name
            else:
                added.type = kind.Type.Value(f"TYPE_{type_name}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("weights.Model"))
