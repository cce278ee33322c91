"""How far one engine's answers lie from another's, in the units a user cares for."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rt_hands import _core
from rt_hands.errors import InvalidInput
from rt_hands.inference.cpm import Cpm, inputs_for
from rt_hands.inference.engine import Array, Engine
from rt_hands.inference.preprocess import PEAK_METHOD
from rt_hands.layout import N_POINTS

SEEN = 0.3  # peaks below it are no points of a hand; where they lie is noise


@dataclass(frozen=True, slots=True)
class Parity:
    """Distances of the decoded points, px of the network's input, over the points that the reference sees.

    crops, points: how many. worst_presence: the largest difference of the presence probabilities.
    """

    crops: int
    points: int
    mean_px: float
    p50_px: float
    p99_px: float
    max_px: float
    worst_presence: float


def compare(reference: Engine, other: Engine, batches: Sequence[NDArray[np.float32]]) -> Parity:
    """Two engines with a CPM on the same crops, batches of (n, 3, s, s) RGB 0..1."""
    distances, presences = [], []
    for batch in batches:
        (points, presence), (other_points, other_presence) = (_read(e, batch) for e in (reference, other))
        apart = np.linalg.norm(points[..., :2] - other_points[..., :2], axis=-1)
        # A point the other engine does not see at all is as far off as the crop is wide.
        apart = np.where(np.isfinite(apart), apart, batch.shape[-1])
        distances.append(apart[points[..., 2] >= SEEN])
        presences.append(np.abs(presence - other_presence).max())
    apart = np.concatenate(distances)
    if not len(apart):
        raise InvalidInput(
            f"No point scores {SEEN} on these crops, so there is nothing to compare. Take others."
        )
    p50, p99 = np.percentile(apart, (50, 99))
    return Parity(
        sum(map(len, batches)), len(apart), float(apart.mean()), float(p50), float(p99), float(apart.max()),
        float(max(presences)),
    )  # fmt: skip


def largest_difference(reference: Engine, other: Engine, seed: int = 0, batch: int = 8) -> dict[str, float]:
    """Largest difference of every output on random inputs (0..1): for networks that are no CPM, in their units."""
    rng = np.random.default_rng(seed)
    arrays = tuple(rng.random(spec.sized(batch)).astype(spec.dtype) for spec in reference.inputs)
    wanted = [array.copy() for array in reference.run(*arrays)]
    got = other.run(*arrays)
    names = [spec.name for spec in reference.outputs]
    return {
        n: float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())
        for n, a, b in zip(names, wanted, _ordered(other, got, names), strict=True)
    }


def latency_ms(engine: Engine, arrays: tuple[Array, ...], runs: int = 100) -> tuple[float, float]:
    """p50 and p99 of one run from arrays to arrays, ms, after five that don't count."""
    times = np.empty(runs + 5)
    for i in range(len(times)):
        start = time.perf_counter()
        engine.run(*arrays)
        times[i] = time.perf_counter() - start
    p50, p99 = 1000 * np.percentile(times[5:], (50, 99))
    return float(p50), float(p99)


def is_cpm(engine: Engine) -> bool:
    """Whether an engine holds a CPM of 170 points."""
    try:
        Cpm(engine)
    except InvalidInput:
        return False
    return True


def _ordered(engine: Engine, arrays: tuple[Array, ...], names: Sequence[str]) -> list[Array]:
    """Outputs by name: engines may list them in another order."""
    by_name = {spec.name: array for spec, array in zip(engine.outputs, arrays, strict=True)}
    return [by_name[name] for name in names]


def _read(engine: Engine, batch: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    names = [spec.name for spec in engine.outputs]
    arrays = inputs_for(engine, len(batch))
    arrays[0][...] = batch
    maps, presence = _ordered(engine, engine.run(*arrays), names)[:2]
    side = batch.shape[-1]
    size = np.full((len(batch), 2), side, np.float32)
    points = _core.decode_heatmaps(maps[:, :N_POINTS].astype(np.float32), size, method=PEAK_METHOD)
    return points, presence.astype(np.float32)


__all__ = ["SEEN", "Parity", "compare", "is_cpm", "largest_difference", "latency_ms"]
