"""An ONNX network in 8 bits: Q/DQ pairs round its convolutions, ranges and weights fitted on pictures, layer by layer.

Plain rounding loses this project's networks: a depthwise filter that takes differences of bright pixels multiplies
their rounding by 70. So channels are first made equally large where a ReLU lets a factor pass (`equalise`), weights
are rounded so that a layer's answers stay rather than the weights (`rounding`), and the mean of what is left goes into
the biases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput
from rt_hands.inference.quantise.equalise import equalise
from rt_hands.inference.quantise.graph import Graph, Layer, patches, read_tensors
from rt_hands.inference.quantise.rounding import Scale, Weights, best_scale, round_weights

Floats = NDArray[np.float32]
PLACES: Final = 64
"""Places of a layer's input that are looked at in each picture."""
AT_ONCE: Final = 6
"""Layers fitted from one pass over the pictures; the later of them don't see the roundings of the earlier."""
FIRST_LAYERS: Final = ("trunk.stem",)
"""Of the `hand` network, left in float32: an eighth of the error for no time (their 24 channels fill no vector)."""
_SAMPLES: Final = 4000  # values of a tensor that are kept of each batch to find its range
_MOST_INPUTS: Final = 2500  # of one output: beyond, a covariance is too large to invert
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Plan:
    """What is 8-bit so far: tensors by name, weights by the name of what their layer gives."""

    tensors: dict[str, Scale] = field(default_factory=dict)
    weights: dict[str, Weights] = field(default_factory=dict)


def quantise(
    data: bytes,
    name: str,
    images: Floats,
    *,
    signed: bool = False,
    keep_float: Sequence[str] = FIRST_LAYERS,
    progress: Progress = lambda done, of: None,
) -> bytes:
    """A float32 ONNX file whose first input is a picture to its int8 form.

    images: (N, 3, h, w) float32 pictures as the network meets them, a hundred or more. signed: activations symmetric
    about 0, as TensorRT wants them; CPUs are best with unsigned ones. keep_float: parts of the names of weights whose
    layers stay float32; only layers before the first 8-bit one. progress: told how many layers are done.
    Raises InvalidInput for a damaged file, or a float layer that reads 8 bits.
    """
    graph = Graph(data, name, aligned=not signed)
    equalise(graph, images)
    kept = {layer.output for layer in graph.layers if any(part in layer.weight for part in keep_float)}
    layers = [layer for layer in graph.layers if layer.output not in kept]
    plan = Plan(_ranges(graph, layers, images, signed))
    _check_kept(graph, kept, plan)
    for at in range(0, len(layers), AT_ONCE):
        _fit(graph, layers[at : at + AT_ONCE], plan, images)
        progress(min(at + AT_ONCE, len(layers)), len(layers))
    model = written(graph, plan)
    graph.onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _check_kept(graph: Graph, kept: set[str], plan: Plan) -> None:
    for layer in graph.layers:
        if layer.output in kept and layer.source in plan.tensors:
            # onnxruntime would round its weights by itself, one scale for all channels: far worse than int8 here.
            raise InvalidInput(
                f"Layer '{layer.name}' reads 8 bits; only layers before the first 8-bit one can stay."
            )


def _ranges(graph: Graph, layers: list[Layer], images: Floats, signed: bool) -> dict[str, Scale]:
    """Scales of all tensors that 8-bit layers read or give."""
    read = [name for layer in layers for name in (layer.source, *graph.joined(layer.source))]
    given = [layer.activated for layer in layers if graph.is_read(layer.activated)]
    names = list(dict.fromkeys(read + given))
    rng = np.random.default_rng(0)
    samples: dict[str, list[Floats]] = {name: [] for name in names}
    for tensors in read_tensors(graph.model, names, images):
        for name, values in zip(names, tensors, strict=True):
            flat = values.ravel()
            samples[name] += [flat[rng.integers(0, flat.size, _SAMPLES)], np.array([flat.min(), flat.max()])]
    scales = {name: best_scale(np.concatenate(values), signed) for name, values in samples.items()}
    # Between the same codes engines resize in 8 bits.
    return scales | {given: scales[read] for read, given in graph.resized() if read in scales}


class _Statistics:
    """Mean (C, k) and covariance of what a layer reads, gathered patch by patch."""

    def __init__(self, layer: Layer) -> None:
        self.layer, self.count = layer, 0
        self.origin: Any = (
            None  # the first patches' mean: far from it, float32 products cancel each other out
        )
        self.sum: Any = 0.0
        self.squares: Any = 0.0
        self.has_spread = layer.inputs <= _MOST_INPUTS

    def add(self, read: Floats) -> None:
        """Take up patches (P, C, k)."""
        if self.origin is None:
            self.origin = read.mean(0)
        read = read - self.origin
        self.count += len(read)
        self.sum = self.sum + read.sum(0, dtype=np.float64)
        if not self.has_spread:
            return
        if self.layer.is_depthwise:
            by_channel = np.ascontiguousarray(read.transpose(1, 2, 0))
            self.squares = self.squares + (by_channel @ by_channel.swapaxes(1, 2)).astype(np.float64)
        else:
            flat = read.reshape(len(read), -1)
            self.squares = self.squares + (flat.T @ flat).astype(np.float64)

    @property
    def mean(self) -> NDArray[np.float64]:
        return np.asarray(self.sum / self.count + self.origin)

    @property
    def spread(self) -> NDArray[np.float64]:
        """(n, n), or (C, k, k) of a depthwise layer; of too many inputs as if they were all alike and unrelated."""
        if not self.has_spread:
            return np.eye(self.layer.inputs)
        mean = self.sum / self.count
        mean = mean if self.layer.is_depthwise else mean.reshape(-1)
        return np.asarray(self.squares / self.count - mean[..., :, None] * mean[..., None, :])

    def answer(self, weight: Floats) -> NDArray[np.float64]:
        """Mean of what the layer gives without its bias: (out,)."""
        rows = weight.reshape(len(weight), -1)
        mean = self.mean if self.layer.is_depthwise else self.mean.reshape(1, -1)
        return np.asarray((rows * mean).sum(1))


def _gather(model: Any, layers: list[Layer], names: list[str], images: Floats) -> list[_Statistics]:
    """Statistics of layers whose inputs are the named tensors of a model."""
    found = [_Statistics(layer) for layer in layers]
    rng = np.random.default_rng(1)
    for tensors in read_tensors(model, names, images):
        places = rng.random((PLACES, 2))
        for statistics, values in zip(found, tensors, strict=True):
            statistics.add(patches(values, statistics.layer, places))
    return found


def _fit(graph: Graph, layers: list[Layer], plan: Plan, images: Floats) -> None:
    """Round the weights of a few layers, each for what it reads in the network as it is by now."""
    names = [_rounded(layer.source) for layer in layers]
    for statistics in _gather(written(graph, plan), layers, names, images):
        layer = statistics.layer
        weight = graph.get(layer.weight)
        plan.weights[layer.output] = rounded = round_weights(weight, statistics.spread)
        graph.put(layer.bias, graph.get(layer.bias) + statistics.answer(weight - rounded.values()))


def _rounded(tensor: str) -> str:
    return f"{tensor}_rounded"


def written(graph: Graph, plan: Plan) -> Any:
    """The network with Q/DQ pairs for all that the plan holds."""
    return _Writer(graph, plan).model()


class _Writer:
    """Builds the nodes of `written`."""

    def __init__(self, graph: Graph, plan: Plan) -> None:
        self.graph, self.plan, self.helper = graph, plan, graph.onnx.helper
        self.nodes: list[Any] = []
        self.initialisers: list[Any] = []

    def model(self) -> Any:
        """The whole network."""
        graph = self.graph
        for value in graph.model.graph.input:
            self._pair(value.name)
        for node in graph.model.graph.node:
            self._copy(node)
        used = {name for node in self.nodes for name in node.input}
        kept = [t for t in graph.model.graph.initializer if t.name in used]
        model = graph.onnx.ModelProto()
        model.CopyFrom(graph.model)
        for part, values in (("node", self.nodes), ("initializer", [*kept, *self.initialisers])):
            del getattr(model.graph, part)[:]
            getattr(model.graph, part).extend(values)
        del model.graph.value_info[:]
        return model

    def _copy(self, node: Any) -> None:
        """One node, reading 8-bit tensors, and the pairs behind it."""
        copy = self.graph.onnx.NodeProto()
        copy.CopyFrom(node)
        for i, name in enumerate(copy.input):
            if name in self.plan.tensors:
                copy.input[i] = _rounded(name)
        if copy.output[0] in self.plan.weights:
            copy.input[1] = self._weight(self.plan.weights[copy.output[0]], node.input[1])
        self.nodes.append(copy)
        for name in node.output:
            self._pair(name)

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        self.initialisers.append(self.graph.onnx.numpy_helper.from_array(values, name))
        return name

    def _pair(self, tensor: str) -> None:
        """Q and DQ of a tensor, where it is 8-bit."""
        if tensor not in self.plan.tensors:
            return
        scale = self.plan.tensors[tensor]
        dtype = np.int8 if scale.signed else np.uint8
        constants = [
            self._constant(f"{tensor}_step", np.array(scale.step, np.float32)),
            self._constant(f"{tensor}_zero", np.array(scale.zero, dtype)),
        ]
        codes = f"{tensor}_codes"
        self._node("QuantizeLinear", [tensor, *constants], codes)
        self._node("DequantizeLinear", [codes, *constants], _rounded(tensor))

    def _weight(self, weights: Weights, name: str) -> str:
        inputs = [
            self._constant(f"{name}_codes", weights.codes),
            self._constant(f"{name}_step", weights.steps),
            self._constant(f"{name}_zero", np.zeros(len(weights.steps), np.int8)),
        ]
        self._node("DequantizeLinear", inputs, _rounded(name), axis=0)
        return _rounded(name)

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(self.helper.make_node(kind, inputs, [output], f"{output}_{kind}", **attributes))


__all__ = ["Plan", "quantise", "written"]
