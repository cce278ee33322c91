"""Where to look: a square round each hand, turned so that it points up, and windows over the whole picture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import atan2, cos, sin
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands import _core
from rt_hands.inference.preprocess import Crop

MARGIN: Final = 0.35
"""Margin round a hand, as a share of its longer side, both edges together: fingers that open stay inside, and the
networks fail on tighter crops."""
BESIDE: Final = 1.5
"""How much wider than a hand's own crop those are in which the other hand is looked for."""
MIDDLE_MCP: Final = 9
SMALL_HAND: Final = 0.25
"""Of the picture's shorter side: where one hand is smaller, the other one may be too small for the large windows."""
TILE_OVERLAP: Final = 0.4
"""Overlap of neighbouring search windows: a hand as wide as this share of a window lies whole in one of them."""


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle round a hand, px."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def size_px(self) -> float:
        """The longer side."""
        return max(self.x1 - self.x0, self.y1 - self.y0)

    @property
    def centre_px(self) -> tuple[float, float]:
        """(x, y)."""
        return (self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2

    def overlap(self, other: Box) -> float:
        """Area shared with another box as a share of the smaller one, 0..1."""
        width = min(self.x1, other.x1) - max(self.x0, other.x0)
        height = min(self.y1, other.y1) - max(self.y0, other.y0)
        smaller = min((b.x1 - b.x0) * (b.y1 - b.y0) for b in (self, other))
        return max(width, 0.0) * max(height, 0.0) / smaller if smaller > 0 else 0.0


def box_of(points_px: NDArray[np.floating], least_score: float) -> Box | None:
    """Box round the points (N, 3: x, y, score) that score at least so much; None for fewer than four of them."""
    *box, count = _core.extent(points_px, least_score)
    return Box(*box) if count >= 4 else None


def turn_of(points_px: NDArray[np.floating]) -> float:
    """Where a hand (85, 2 or 3) points, from the wrist to the middle knuckle: rad clockwise from up."""
    (x0, y0), (x1, y1) = points_px[[0, MIDDLE_MCP], :2].tolist()
    return atan2(x1 - x0, y0 - y1)


def crop_round(points_px: NDArray[np.floating], least_score: float, motion_px: float = 0.0) -> Crop:
    """The crop for a hand (85, 3: x, y, score), turned so that it points up: the network errs less on upright hands.

    It holds the points that score enough, with a margin, and is wider by how far the hand may have moved.
    """
    turn = turn_of(points_px)
    c, s = cos(turn), sin(turn)
    x0, y0, x1, y1 = extent_of(points_px, least_score, turn)
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    side = max(x1 - x0, y1 - y0) * (1 + MARGIN) + 2 * motion_px
    return Crop.around((c * x - s * y, s * x + c * y), side, turn)


def extent_of(
    points_px: NDArray[np.floating], least_score: float, turn_rad: float
) -> tuple[float, float, float, float]:
    """Box along turned axes, see `_core.extent`, of the points (85, 3) that score enough; all where hardly any do."""
    *box, count = _core.extent(points_px, least_score, turn_rad)
    if count < 4:
        *box, _ = _core.extent(points_px, -np.inf, turn_rad)
    x0, y0, x1, y1 = box
    return x0, y0, x1, y1


def crops_beside(points_px: NDArray[np.floating], least_score: float) -> list[Crop]:
    """Where the other hand may be seen of two that meet: the hand's own crop, and wider ones turned by quarters.

    One of the four has the other hand within an eighth of a turn of upright.
    """
    own = crop_round(points_px, least_score)
    return [own] + [
        Crop.around(own.centre_px, BESIDE * own.side, own.turn_rad + quarter * np.pi / 2)
        for quarter in range(4)
    ]


@lru_cache(64)
def search_crops(size_px: tuple[int, int]) -> tuple[Crop, ...]:
    """Windows that find a hand of ordinary size: the whole picture as a square, then squares of its shorter side.

    size_px: (width, height). A picture that is about square has the one window. Nearest to the middle first.
    """
    width, height = size_px
    whole = Crop.around(((width - 1) / 2, (height - 1) / 2), max(size_px))
    if max(size_px) <= 1.25 * min(size_px):
        return (whole,)
    # Bounded for strips, which would be cut into thousands.
    return (whole, *_tiles(size_px, max(min(size_px), max(size_px) // 3)))


@lru_cache(64)
def fine_search_crops(size_px: tuple[int, int]) -> tuple[Crop, ...]:
    """Windows for small hands: squares of 0.6 of the shorter side in a grid; none for small pictures."""
    if min(size_px) <= 200:
        return ()
    return tuple(_tiles(size_px, max(round(0.6 * min(size_px)), max(size_px) // 6)))


def _tiles(size_px: tuple[int, int], side: int) -> list[Crop]:
    """Squares that cover the picture with some overlap, nearest to the middle first."""
    lefts, tops = (_starts(length, side) for length in size_px)
    tiles = [Crop(left, top, side) for left in lefts for top in tops]
    middle = np.array(size_px) / 2
    return sorted(tiles, key=lambda tile: float(np.hypot(*(np.array(tile.centre_px) - middle))))


def _starts(length: int, side: int) -> list[int]:
    if length <= side:
        return [(length - side) // 2]
    count = 1 + int(np.ceil((length - side) / (side * (1 - TILE_OVERLAP))))
    return [round(start) for start in np.linspace(0, length - side, count)]
