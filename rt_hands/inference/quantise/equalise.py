"""Channels made equally large where a ReLU lets a factor pass, so that one 8-bit scale fits all of them.

A factor s on a channel before a ReLU and 1 / s on the weights that read it change nothing; before a ReLU6, as long as
the channel stays below 6. Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV
2019; depthwise readers have a weight scale for each channel, so there it costs nothing at all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rt_hands.inference.quantise.graph import Graph, Layer, read_tensors

Floats = NDArray[np.float32]
ROOM = 1.1
"""Kept below a ReLU6's limit: pictures not seen here may reach higher."""
_MOST = 64.0


def equalise(graph: Graph, images: Floats) -> int:
    """Rescale channels in place, by how large they get on pictures (N, 3, h, w); gives how many pairs of layers."""
    pairs = _pairs(graph)
    if not pairs:
        return 0
    largest = _largest(graph, [first.activated for first, _ in pairs], images)
    for first, second in pairs:
        weight = graph.get(second.weight)
        factor = _factors(largest[first.activated], weight, second.is_depthwise, first.reach or np.inf)
        graph.put(first.weight, graph.get(first.weight) * factor[:, None, None, None])
        graph.put(first.bias, graph.get(first.bias) * factor)
        by_input = factor[:, None, None, None] if second.is_depthwise else factor[None, :, None, None]
        graph.put(second.weight, weight / by_input)
        largest[first.activated] *= factor
    return len(pairs)


def _pairs(graph: Graph) -> list[tuple[Layer, Layer]]:
    """Layers with a ReLU that one other layer alone reads."""
    by_source: dict[str, list[Layer]] = {}
    for layer in graph.layers:
        by_source.setdefault(layer.source, []).append(layer)
    found = []
    for first in graph.layers:
        seconds = by_source.get(first.activated, [])
        alone = len(seconds) == 1 and len(graph.readers(first.activated)) == 1
        if alone and first.reach is not None:
            found.append((first, seconds[0]))
    return found


def _largest(graph: Graph, names: list[str], images: Floats) -> dict[str, Floats]:
    """The largest value of each channel: (C,) by tensor."""
    found: dict[str, Floats] = {}
    for tensors in read_tensors(graph.model, names, images):
        for name, values in zip(names, tensors, strict=True):
            peak = values.max((0, 2, 3))
            found[name] = np.maximum(found[name], peak) if name in found else peak
    return found


def _factors(largest: Floats, weight: Floats, is_depthwise: bool, reach: float) -> Floats:
    """What each channel is multiplied by: (C,)."""
    largest = np.maximum(largest, np.float32(1e-3))
    if is_depthwise:
        factor = (reach if np.isfinite(reach) else np.median(largest)) / (largest * ROOM)
    else:
        # Half of the difference goes to the weights, which have one scale for all that they read.
        reading = np.maximum(np.abs(weight).reshape(*weight.shape[:2], -1).max((0, 2)), 1e-6)
        factor = np.sqrt(reading / largest)
        factor = factor / np.median(factor)
    if np.isfinite(reach):
        # Larger only, and only below the limit: where a channel meets the limit, a factor would change the answer.
        factor = np.maximum(np.minimum(factor, reach / (largest * ROOM)), 1.0)
    return np.asarray(np.clip(factor, 1 / _MOST, _MOST), np.float32)
