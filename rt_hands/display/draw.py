"""Hands on a picture: joints, bones and the surface cage. Pure: picture in, picture out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import hypot, isfinite
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands import _core
from rt_hands.display.text import DARK, put_text
from rt_hands.layout import (
    HANDS,
    JOINT_BONES,
    N_HAND,
    N_HANDS,
    N_JOINTS,
    PART_COLOURS_RGB,
    PART_OF_POINT,
    SURFACE_BONES,
)
from rt_hands.types import Hands2D, Image

FINE_PX: Final = 130.0
"""Hands smaller than this are drawn without the dots, which would run into each other."""
LABEL_STEP: Final = 0.05
LEAST_SCORE: Final = 1e-9
"""Absent points score 0: they have no part in a hand's size."""
FARTHEST_PX: Final = 1e6
WHITE: Final = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Style:
    """What is drawn. dense: the surface cage as well. labels: the side's name at the wrist. least_score: points of a
    hand below it are left out. scale: line widths; None fits them to the hand's size."""

    dense: bool = True
    labels: bool = True
    least_score: float = 0.0
    scale: float | None = None


def draw_hands(image_bgr: Image, hands: Hands2D, style: Style | None = None, mirrored: bool = False) -> Image:
    """A copy of the picture with the hands on it; NaN points are left out.

    mirrored: the picture comes out flipped left to right, labels readable; the hands keep their names.
    """
    out = np.ascontiguousarray(image_bgr[:, ::-1]) if mirrored else image_bgr.copy()
    paint_hands(out, hands, style, mirrored)
    return out


def paint_hands(out: Image, hands: Hands2D, style: Style | None = None, mirrored: bool = False) -> None:
    """Draw the hands on a picture in place; mirrored: on one that was flipped already."""
    style = style or Style()
    for side in range(N_HANDS):
        if hands.present[side]:
            points = hands.hand(side).copy()
            if mirrored:
                points[:, 0] = out.shape[1] - 1 - points[:, 0]
            _paint_hand(out, points, side, style)


def _paint_hand(out: Image, points: NDArray[np.float32], side: int, style: Style) -> None:
    if style.least_score > 0:
        points[points[:, 2] < style.least_score] = np.nan
    x0, y0, x1, y1, count = _core.extent(points, LEAST_SCORE)
    if count and not isfinite(x0):
        points[~np.isfinite(points).all(1)] = np.nan
        x0, y0, x1, y1, count = _core.extent(points, LEAST_SCORE)
    if not count:
        return
    size_px = max(x1 - x0, y1 - y0)
    scale = style.scale or min(max(size_px / 190, 0.6), 2.5)
    plan = _plan(style.dense, size_px >= FINE_PX)
    _core.draw(out, plan.strokes(points, scale), plan.colours)
    if style.labels:
        x, y, _ = points[0].tolist()
        if abs(x) < FARTHEST_PX and abs(y) < FARTHEST_PX:
            _label(out, (x, y), ((x0 + x1) / 2, (y0 + y1) / 2), HANDS[side], scale)


@dataclass(frozen=True, slots=True)
class _Plan:
    """The strokes of one hand in the order they are drawn. start, end: (N,) point indices, the same for dots;
    width: (N,) px in a hand of scale 1, never less than least: (N,). colours: (N, 3) uint8 BGR."""

    start: NDArray[np.intp]
    end: NDArray[np.intp]
    width: NDArray[np.float32]
    least: NDArray[np.float32]
    colours: Image

    def strokes(self, points: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
        """(N, 5) for `_core.draw`, which leaves out those at NaN points."""
        out = np.empty((len(self.start), 5), np.float32)
        out[:, :2] = points[self.start, :2]
        out[:, 2:4] = points[self.end, :2]
        np.maximum(self.width * np.float32(scale), self.least, out=out[:, 4])
        return out


@cache
def _plan(dense: bool, fine: bool) -> _Plan:
    """dense: with the surface cage. fine: with its dots, and joints as dots with a light core on a dark edge.

    Bones lie over a dark edge, so that they show on light and dark.
    """
    bones, cage = np.array(JOINT_BONES), np.array(SURFACE_BONES)
    joints, surface = np.arange(N_JOINTS).repeat(2), np.arange(N_JOINTS, N_HAND).repeat(2)
    of_joint, of_bone = _bgr(PART_OF_POINT[:N_JOINTS]), _bgr(PART_OF_POINT[bones[:, 1]])
    layers: list[tuple[NDArray[np.intp], float, float, NDArray[np.float64]]] = []
    if dense:
        layers.append((cage, 0.8, 1.0, 0.7 * _bgr(PART_OF_POINT[cage[:, 1]]) + 0.3 * 90))
    if dense and fine:
        layers.append((surface.reshape(-1, 2), 3.2, 0.0, _bgr(PART_OF_POINT[N_JOINTS:])))
    layers += [(bones, 5.4, 4.0, _flat(DARK, len(bones))), (bones, 3.2, 2.4, of_bone)]
    dots = joints.reshape(-1, 2)
    if fine:
        layers += [(dots, 8.2, 0.0, _flat(DARK, N_JOINTS)), (dots, 6.4, 0.0, of_joint)]
    layers.append((dots, 3.0, 2.4, _flat(WHITE, N_JOINTS)))
    ends = np.concatenate([pairs for pairs, *_ in layers]).astype(np.intp)
    counts = [len(pairs) for pairs, *_ in layers]
    width, least = (np.repeat([layer[i] for layer in layers], counts).astype(np.float32) for i in (1, 2))
    colours = np.concatenate([colour for *_, colour in layers]).round().astype(np.uint8)
    return _Plan(ends[:, 0].copy(), ends[:, 1].copy(), width, least, colours)


def _bgr(part: NDArray[np.int64]) -> NDArray[np.float64]:
    return PART_COLOURS_RGB[part][:, ::-1].astype(float)


def _flat(colour: tuple[int, int, int], count: int) -> NDArray[np.float64]:
    return np.tile(np.array(colour, float), (count, 1))


def _label(
    out: Image, wrist: tuple[float, float], middle: tuple[float, float], text: str, scale: float
) -> None:
    """The side's name beyond the wrist, away from the fingers."""
    (x, y), (dx, dy) = wrist, (wrist[0] - middle[0], wrist[1] - middle[1])
    reach = 26 * scale / max(hypot(dx, dy), 1.0)
    # In steps, so that a few sizes serve every hand.
    size = round(0.55 * max(scale, 0.8) / LABEL_STEP) * LABEL_STEP
    put_text(out, text, (x + dx * reach, y + dy * reach), size, centred=True)


def draw_belief_maps(
    image_bgr: Image, belief: NDArray[np.float32], picture_from_map: NDArray[np.float64]
) -> Image:
    """The picture with one crop's strongest belief at each place laid over it in warm colours.

    belief: (K, n, n) belief maps without background; picture_from_map: (2, 3), see `Crop.picture_from_map`.
    """
    peak = np.clip(belief.max(0), 0, 1)
    size = (image_bgr.shape[1], image_bgr.shape[0])
    strength = cv2.warpAffine(peak, picture_from_map, size, flags=cv2.INTER_LINEAR)
    warm = cv2.applyColorMap((strength * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    share = 0.75 * strength[..., None]
    return np.asarray(image_bgr * (1 - share) + warm * share, np.uint8)
