"""An ONNX graph as its quantiser sees it: convolutions with the activation behind each, and runs that read tensors."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput
from rt_hands.inference.quantise.align import align
from rt_hands.inference.tensorrt.onnx_types import import_onnx, load_onnx
from rt_hands.layout import NOT_GIVEN

Floats = NDArray[np.float32]
BATCH = 4


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution. weight, bias: names of its initialisers. source: the tensor that it reads.

    output: what it gives; activated: the same after its ReLU, or output where it has none. reach: the most that can
    come out: 6 after a ReLU6, infinite after a ReLU, None without either. inputs: how many numbers make one output.
    """

    name: str
    source: str
    weight: str
    bias: str
    output: str
    activated: str
    reach: float | None
    inputs: int
    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    is_depthwise: bool


class Graph:
    """A float32 network, folded by onnxruntime so that nothing but arithmetic on the input is left in it.

    aligned: with channels filled up to what CPU kernels take at once, see `align`.
    Raises InvalidInput for bytes that are no ONNX network.
    """

    def __init__(self, data: bytes, name: str, aligned: bool = False) -> None:
        source = load_onnx(data, name)
        self.onnx = import_onnx()
        self.model: Any = _folded(data, self.onnx)
        del self.model.metadata_props[:]
        self.model.metadata_props.extend(source.metadata_props)
        self.weights = {t.name: t for t in self.model.graph.initializer}
        self._readers: dict[str, list[Any]] = {}
        self.refresh()
        self._fold_gains()
        if aligned:
            align(self)
        self.layers = [self._layer(node) for node in self.model.graph.node if node.op_type == "Conv"]

    def refresh(self) -> None:
        """Note anew who reads what, after nodes have changed."""
        self._readers.clear()
        for node in self.model.graph.node:
            for source in node.input:
                self._readers.setdefault(source, []).append(node)
        for value in self.model.graph.output:
            self._readers.setdefault(value.name, []).append(None)

    def put_behind(self, nodes: dict[str, Any]) -> None:
        """Add nodes behind those that make the tensors by whose names they are given."""
        old = list(self.model.graph.node)
        del self.model.graph.node[:]
        for node in old:
            self.model.graph.node.extend([node, *(nodes[name] for name in node.output if name in nodes)])
        self.refresh()

    def get(self, name: str) -> NDArray[Any]:
        """A weight or bias, to be changed by `put` alone."""
        return np.array(self.onnx.numpy_helper.to_array(self.weights[name]))

    def put(self, name: str, values: NDArray[Any]) -> None:
        """Set a weight or bias."""
        self.weights[name].CopyFrom(self.onnx.numpy_helper.from_array(values.astype(np.float32), name))

    def readers(self, tensor: str) -> list[Any]:
        """Nodes that read a tensor; None stands for the network's output."""
        return self._readers.get(tensor, [])

    def is_read(self, tensor: str) -> bool:
        """Whether any node reads a tensor, rather than that it only leaves the network."""
        return any(node is not None for node in self.readers(tensor))

    def resized(self) -> list[tuple[str, str]]:
        """What each Resize reads and gives: bilinear ones stay in the range of what they read."""
        nodes = [node for node in self.model.graph.node if node.op_type == "Resize"]
        return [(node.input[0], node.output[0]) for node in nodes]

    def joined(self, tensor: str) -> list[str]:
        """The tensors that a Concat makes this one of, none for another; then it can be joined in 8 bits, too."""
        makers = [
            node for node in self.model.graph.node if tensor in node.output and node.op_type == "Concat"
        ]
        return [name for node in makers for name in node.input]

    def _fold_gains(self) -> None:
        """Move one number times all that convolutions read into their weights: then it needs no 8 bits of its own."""
        for node in list(self.model.graph.node):
            readers = self.readers(node.output[0])
            gains = [name for name in node.input if name in self.weights and self.get(name).size == 1]
            only_convs = all(reader is not None and reader.op_type == "Conv" for reader in readers)
            if node.op_type != "Mul" or len(gains) != 1 or not readers or not only_convs:
                continue
            source = next(name for name in node.input if name != gains[0])
            for reader in readers:
                scaled = self.get(reader.input[1]) * self.get(gains[0]).reshape(())
                reader.input[1] = self.add(f"{reader.input[1]}_of_{reader.name}", scaled)
                reader.input[0] = source
            self.model.graph.node.remove(node)
        self.refresh()

    def _layer(self, node: Any) -> Layer:
        if len(node.input) < 3:
            node.input.append(
                self.add(f"{node.input[1]}_bias", np.zeros(len(self.get(node.input[1])), np.float32))
            )
        for i in (1, 2):
            if len(self.readers(node.input[i])) > 1:
                node.input[i] = self.add(f"{node.input[i]}_of_{node.name}", self.get(node.input[i]))
        attributes = {a.name: self.onnx.helper.get_attribute_value(a) for a in node.attribute}
        weight = self.get(node.input[1])
        activated, reach = self._activation(node.output[0])
        kernel = weight.shape[2:]
        pads = attributes.get("pads", [0, 0, 0, 0])
        groups = int(attributes.get("group", 1))
        is_depthwise = weight.shape[1] == 1 and groups == len(weight) > 1
        if (groups > 1 and not is_depthwise) or any(n > 1 for n in attributes.get("dilations", [])):
            raise InvalidInput(
                f"Layer '{node.name}' is grouped or dilated; 8 bits are for plain and depthwise ones."
            )
        return Layer(
            node.name, node.input[0], node.input[1], node.input[2], node.output[0], activated, reach,
            weight[0].size, (kernel[0], kernel[1]), tuple(attributes.get("strides", [1, 1])), tuple(pads),
            is_depthwise,
        )  # fmt: skip

    def add(self, name: str, values: NDArray[Any]) -> str:
        """A new weight or bias; gives its name."""
        self.model.graph.initializer.append(self.onnx.numpy_helper.from_array(values, name))
        self.weights[name] = self.model.graph.initializer[-1]
        return name

    def _activation(self, output: str) -> tuple[str, float | None]:
        """The tensor behind the ReLU that alone reads a convolution, and the most that it lets through."""
        readers = self.readers(output)
        if len(readers) == 1 and readers[0] is not None:
            node = readers[0]
            if node.op_type == "Relu":
                return node.output[0], np.inf
            if node.op_type == "Clip" and len(node.input) == 3 and not self.get(node.input[1]).any():
                return node.output[0], float(self.get(node.input[2]))
        return output, None


def _folded(data: bytes, onnx: Any) -> Any:
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "folded.onnx"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(out)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return onnx.load(str(out))


def read_tensors(model: Any, names: Sequence[str], images: Floats) -> Iterator[list[Floats]]:
    """The named tensors of a network for a few pictures at a time; images: (N, 3, h, w).

    A CPM that can be told of joints is told of none.
    """
    import onnx
    import onnxruntime

    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    del asked.graph.output[:]
    wanted = list(dict.fromkeys(names))
    inputs = {value.name for value in asked.graph.input}
    inner = [name for name in wanted if name not in inputs]
    asked.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    # That optimizer would round float weights between 8-bit tensors by itself, one scale for all channels.
    session = onnxruntime.InferenceSession(
        asked.SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=["WeightBiasQuantization"],
    )
    for at in range(0, len(images), BATCH):
        part = images[at : at + BATCH]
        feed = {asked.graph.input[0].name: part}
        for value in asked.graph.input[1:]:
            shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim[1:]]
            feed[value.name] = np.full((len(part), *shape), NOT_GIVEN, np.float32)
        found = dict(zip(inner, session.run(inner, feed), strict=True)) | feed
        yield [found[name] for name in names]


def patches(source: Floats, layer: Layer, places: NDArray[np.float64]) -> Floats:
    """What a layer reads at some places: (B, C, h, w) -> (B * places, C, kernel), margins as zeros.

    places: (P, 2) shares of the output's height and width in 0 .. 1, so that one draw fits every size.
    """
    top, left, bottom, right = layer.pads
    padded = np.pad(source, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, layer.kernel, (2, 3))
    windows = windows[:, :, :: layer.strides[0], :: layer.strides[1]]
    y, x = ((places * windows.shape[2:4]).astype(int)).T
    picked = windows[:, :, y, x]  # (B, C, P, kh, kw)
    picked = picked.reshape(*picked.shape[:3], -1).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(picked.reshape(-1, *picked.shape[2:]), np.float32)
