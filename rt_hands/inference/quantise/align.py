"""Channels filled up to what CPU kernels take at once: 171 maps cost twice the time of 176 in 8 bits.

A convolution gets empty channels behind its own; readers get empty weights for them, and what is no convolution gets
the first channels alone, so the network's answers stay exactly the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from rt_hands.inference.quantise.graph import Graph

AT_ONCE: Final = 16
"""Channels that AVX-512 kernels in 8 bits take at once."""
FEWEST: Final = 33
"""Tensors with fewer channels stay: what is saved there is less than the larger copies cost."""

_ALIKE: Final = ("Relu", "Clip", "Add", "Resize")


def align(graph: Graph) -> None:
    """Fill up channels in place, before the layers of a graph are listed."""
    convolutions = [node for node in graph.model.graph.node if _is_plain(graph, node)]
    made = {node.output[0]: len(graph.get(node.input[1])) for node in convolutions}
    filled = {t: count for t, count in made.items() if _missing(count) and None not in graph.readers(t)}
    _spread(graph, filled)
    read = {node.input[0]: graph.get(node.input[1]).shape[1] for node in convolutions}
    padded = {tensor: count for tensor, count in read.items() if tensor not in filled and _missing(count)}
    for node in convolutions:
        more_out, more_in = (
            _missing(filled.get(node.output[0], 0)),
            _missing((filled | padded).get(node.input[0], 0)),
        )
        if more_out or more_in:
            weight = np.pad(graph.get(node.input[1]), ((0, more_out), (0, more_in), (0, 0), (0, 0)))
            node.input[1] = graph.add(f"{node.input[1]}_filled_{node.name}", weight.astype(np.float32))
        if more_out and len(node.input) > 2:
            bias = np.pad(graph.get(node.input[2]), (0, more_out))
            node.input[2] = graph.add(f"{node.input[2]}_filled_{node.name}", bias.astype(np.float32))
    between: dict[str, Any] = {}
    for tensor, count in filled.items():
        others = [n for n in graph.readers(tensor) if n not in convolutions and n.output[0] not in filled]
        _through(between, tensor, others, _first(graph, tensor, count))
    for tensor, count in padded.items():
        readers = [n for n in graph.readers(tensor) if n in convolutions]
        _through(between, tensor, readers, _fill(graph, tensor, count))
    graph.put_behind(between)


def _missing(count: int) -> int:
    return -count % AT_ONCE if count >= FEWEST else 0


def _is_plain(graph: Graph, node: Any) -> bool:
    groups = [a.i for a in node.attribute if a.name == "group"]
    return node.op_type == "Conv" and groups in ([], [1]) and node.input[1] in graph.weights


def _spread(graph: Graph, filled: dict[str, int]) -> None:
    """Add what is made of filled tensors alone and read by a convolution, in the end; not what the network gives."""
    for node in graph.model.graph.node:
        readers = graph.readers(node.output[0])
        goes_on = any(reader is not None and reader.op_type in ("Conv", *_ALIKE) for reader in readers)
        counts = {filled.get(name, 0) for name in node.input if name and name not in graph.weights}
        if (
            _keeps_channels(graph, node)
            and len(counts) == 1
            and 0 not in counts
            and goes_on
            and None not in readers
        ):
            filled[node.output[0]] = counts.pop()


def _keeps_channels(graph: Graph, node: Any) -> bool:
    if node.op_type == "Resize":
        return len(node.input) < 4  # the fourth input are sizes, those of the channels among them
    if node.op_type == "Add":
        return not any(name in graph.weights for name in node.input)
    return node.op_type in _ALIKE


def _first(graph: Graph, tensor: str, count: int) -> Any:
    ends = [
        graph.add(f"{tensor}_{k}", np.array([v], np.int64))
        for k, v in (("at", 0), ("end", count), ("axis", 1))
    ]
    return graph.onnx.helper.make_node("Slice", [tensor, *ends], [f"{tensor}_first"], f"{tensor}_Slice")


def _fill(graph: Graph, tensor: str, count: int) -> Any:
    sizes = graph.add(f"{tensor}_sizes", np.array([0, 0, 0, 0, 0, _missing(count), 0, 0], np.int64))
    return graph.onnx.helper.make_node("Pad", [tensor, sizes], [f"{tensor}_filled"], f"{tensor}_Pad")


def _through(between: dict[str, Any], tensor: str, readers: list[Any], node: Any) -> None:
    """Let readers read a tensor by way of a new node, noted in `between` under the tensor's name."""
    for reader in readers:
        names = [node.output[0] if name == tensor else name for name in reader.input]
        del reader.input[:]
        reader.input.extend(names)
        between[tensor] = node
