"""Hands on a picture: joints, bones and the surface cage. Pure: picture in, picture out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.layout import (
    HANDS,
    JOINT_BONES,
    N_HANDS,
    N_JOINTS,
    PART_COLOURS_RGB,
    PART_OF_POINT,
    SURFACE_BONES,
)
from rt_hands.types import Hands2D, Image

SHIFT: Final = 4
"""OpenCV draws at sixteenths of a pixel: whole pixels make still hands tremble."""
FINE_PX: Final = 130.0
"""Hands smaller than this are drawn without the dots, which would run into each other; views tiled are faster so."""
DARK: Final = (24, 20, 18)
N_PARTS: Final = len(PART_COLOURS_RGB)
Lines = NDArray[np.int32]


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
    style = style or Style()
    out = np.ascontiguousarray(image_bgr[:, ::-1]) if mirrored else image_bgr.copy()
    for side in range(N_HANDS):
        if hands.present[side]:
            points = hands.hand(side).copy()
            if mirrored:
                points[:, 0] = out.shape[1] - 1 - points[:, 0]
            _draw_hand(out, points, side, style)
    return out


def _draw_hand(out: Image, points: NDArray[np.float32], side: int, style: Style) -> None:
    shown = np.isfinite(points[:, 0]) & np.isfinite(points[:, 1]) & (points[:, 2] >= style.least_score)
    # Wild coordinates would overflow the fixed-point drawing.
    shown &= np.abs(np.nan_to_num(points[:, :2])).max(1) < 30_000
    if not shown.any():
        return
    size_px = float(np.ptp(points[shown, :2], axis=0).max())
    scale = style.scale or float(np.clip(size_px / 190, 0.6, 2.5))
    at = _at(points, shown)
    if style.dense:
        _cage(out, at, shown, scale, dots=size_px >= FINE_PX)
    _skeleton(out, at, shown, scale, fine=size_px >= FINE_PX)
    if style.labels and shown[0]:
        _label(out, points, shown, HANDS[side], scale)


def _at(points: NDArray[np.float32], shown: NDArray[np.bool_]) -> Lines:
    return np.round(np.where(shown[:, None], points[:, :2], 0) * (1 << SHIFT)).astype(np.int32)


def _cage(out: Image, at: Lines, shown: NDArray[np.bool_], scale: float, dots: bool) -> None:
    """Thin lines between neighbouring surface points, a small dot on each point if asked for."""
    for part, bones in enumerate(_CAGE_BY_PART):
        _lines(out, at, bones[shown[bones].all(1)], _soft(part), max(1, round(0.8 * scale)))
    for part, members in enumerate(_SURFACE_BY_PART if dots else ()):
        _dots(out, at, members[shown[members]], _colour(part), 1.6 * scale)


def _skeleton(out: Image, at: Lines, shown: NDArray[np.bool_], scale: float, fine: bool) -> None:
    """Bones over a dark edge, so that they show on light and dark; joints as dots with a light core, if fine."""
    bones = _JOINT_BONES[shown[_JOINT_BONES].all(1)]
    _lines(out, at, bones, DARK, max(3, round(4.6 * scale)))
    for part, members in enumerate(_BONES_BY_PART):
        _lines(out, at, members[shown[members].all(1)], _colour(part), max(2, round(2.4 * scale)))
    joints = np.flatnonzero(shown[:N_JOINTS])
    if not fine:
        _dots(out, at, joints, (255, 255, 255), 1.3 * scale)
        return
    _dots(out, at, joints, DARK, 4.1 * scale)
    for part in range(N_PARTS):
        members = joints[PART_OF_POINT[joints] == part]
        _dots(out, at, members, _colour(part), 3.2 * scale)
    _dots(out, at, joints, (255, 255, 255), 1.3 * scale)


def _lines(out: Image, at: Lines, bones: NDArray[np.int64], colour: tuple[int, ...], width: int) -> None:
    # One call for all lines of a colour: a call each costs more than the drawing.
    if len(bones):
        cv2.polylines(out, list(at[bones]), False, colour, width, cv2.LINE_AA, SHIFT)


def _dots(
    out: Image, at: Lines, members: NDArray[np.int64], colour: tuple[int, ...], radius_px: float
) -> None:
    radius = round(radius_px * (1 << SHIFT))
    for centre in at[members].tolist():
        cv2.circle(out, centre, radius, colour, cv2.FILLED, cv2.LINE_AA, SHIFT)


def _label(
    out: Image, points: NDArray[np.float32], shown: NDArray[np.bool_], text: str, scale: float
) -> None:
    """The side's name beyond the wrist, away from the fingers."""
    wrist, middle = points[0, :2], points[shown, :2].mean(0)
    away = wrist - middle
    away /= max(float(np.hypot(*away)), 1.0)
    put_text(out, text, tuple(wrist + away * 26 * scale), 0.55 * max(scale, 0.8), centred=True)


def put_text(
    out: Image, text: str, at_px: tuple[float, ...], size: float = 0.55, centred: bool = False
) -> tuple[int, int]:
    """White text with a dark edge, readable on anything; returns its (width, height) px. at_px: its lower left."""
    font = cv2.FONT_HERSHEY_SIMPLEX
    (width, height), _ = cv2.getTextSize(text, font, size, 1)
    x, y = (round(float(v)) for v in at_px)
    if centred:
        x, y = x - width // 2, y + height // 2
    x = int(np.clip(x, 2, max(out.shape[1] - width - 2, 2)))
    y = int(np.clip(y, height + 2, max(out.shape[0] - 4, height + 2)))
    # The edge is the same text moved about: OpenCV 5 sets thicker text wider, so it would not lie underneath.
    for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        cv2.putText(out, text, (x + dx, y + dy), font, size, DARK, 1, cv2.LINE_AA)
    cv2.putText(out, text, (x, y), font, size, (255, 255, 255), 1, cv2.LINE_AA)
    return width, height


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


@cache
def _colour(part: int) -> tuple[int, ...]:
    return tuple(int(c) for c in PART_COLOURS_RGB[part][::-1])


@cache
def _soft(part: int) -> tuple[int, ...]:
    """The part's colour towards grey, for the cage."""
    return tuple(int(0.7 * c + 0.3 * 90) for c in _colour(part))


def _by_part(bones: NDArray[np.int64], of_end: int) -> list[NDArray[np.int64]]:
    return [bones[PART_OF_POINT[bones[:, of_end]] == part] for part in range(N_PARTS)]


_JOINT_BONES: Final = np.array(JOINT_BONES)
_BONES_BY_PART: Final = _by_part(_JOINT_BONES, 1)
_CAGE_BY_PART: Final = _by_part(np.array(SURFACE_BONES), 1)
_SURFACE_BY_PART: Final = [
    N_JOINTS + np.flatnonzero(PART_OF_POINT[N_JOINTS:] == part) for part in range(N_PARTS)
]
