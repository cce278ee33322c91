"""A hand seen from both sides, its surface points coloured by error."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.layout import JOINT_BONES, N_JOINTS, SURFACE_BONES, SURFACE_NAMES
from rt_hands.lifting.canonical import PALM_JOINTS, PALM_TEMPLATE

Points = NDArray[np.floating]
Picture = NDArray[np.uint8]
_SIDE_PX: Final = 640
_INK: Final = (70, 70, 78)
_BACK: Final = (250, 250, 250)


_SPREAD: Final = ((0.75, 0.8, 0.15), (0.22, 1, 0.08), (0.02, 1, 0.08), (-0.2, 1, 0.08), (-0.42, 1, 0.08))
_LENGTHS: Final = (
    (0.48, 0.38, 0.32),
    (0.46, 0.28, 0.25),
    (0.5, 0.32, 0.26),
    (0.46, 0.3, 0.26),
    (0.36, 0.22, 0.24),
)
"""Directions and bone lengths of the open fingers, thumb first, palm lengths."""


def neutral_joints() -> NDArray[np.float64]:
    """An open right hand with spread fingers, canonical frame: (21, 3)."""
    joints = np.zeros((N_JOINTS, 3))
    joints[list(PALM_JOINTS)] = PALM_TEMPLATE
    for f, (way, lengths) in enumerate(zip(_SPREAD, _LENGTHS, strict=True)):
        reach = np.cumsum(lengths)[:, None] * np.array(way) / np.linalg.norm(way)
        joints[2 + 4 * f : 5 + 4 * f] = joints[1 + 4 * f] + reach
    return joints


def colour_of(error_mm: Points, low_mm: float, high_mm: float) -> NDArray[np.uint8]:
    """Colours (N, 3) BGR of errors (N,), dark violet at `low_mm` to yellow at `high_mm`."""
    share = np.clip((np.asarray(error_mm) - low_mm) / max(high_mm - low_mm, 1e-9), 0, 1)
    return np.asarray(cv2.applyColorMap((share * 255).astype(np.uint8)[:, None], cv2.COLORMAP_PLASMA)[:, 0])


def _facing(surface: Points, towards: float) -> NDArray[np.bool_]:
    """Points to draw when looked at from the palm (+1) or the back (-1): the other side's are hidden."""
    hidden = ("dorsal", "back") if towards > 0 else ("palmar", "palm")
    return np.array([not any(part in hidden for part in name.split("_")) for name in SURFACE_NAMES])


def _view(
    joints: Points, surface: Points, error_mm: Points, towards: float, limits: tuple[float, float]
) -> Picture:
    image = np.full((_SIDE_PX, _SIDE_PX, 3), _BACK, np.uint8)
    both = np.concatenate([joints, surface])
    flat = both[:, :2] * [towards, -1.0]  # seen from the back the thumb changes sides; y points up
    low, high = flat.min(0), flat.max(0)
    scale = (_SIDE_PX - 120) / (high - low).max()
    at = np.rint((flat - (low + high) / 2) * scale + _SIDE_PX / 2).astype(int)
    for a, b in JOINT_BONES:
        cv2.line(image, at[a].tolist(), at[b].tolist(), (222, 222, 226), 9, cv2.LINE_AA)
    shown = _facing(surface, towards)
    for a, b in SURFACE_BONES:
        if shown[a - N_JOINTS] and shown[b - N_JOINTS]:
            cv2.line(image, at[a].tolist(), at[b].tolist(), (190, 190, 196), 1, cv2.LINE_AA)
    colours = colour_of(error_mm, *limits)
    for i in np.argsort(surface[:, 2] * towards):
        if shown[i]:
            cv2.circle(image, at[N_JOINTS + i].tolist(), 9, colours[i].tolist(), -1, cv2.LINE_AA)
            cv2.circle(image, at[N_JOINTS + i].tolist(), 9, _INK, 1, cv2.LINE_AA)
    return image


def _label(image: Picture, text: str, x: int, y: int) -> None:
    cv2.putText(image, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.55, _INK, 1, cv2.LINE_AA)


def _scale_bar(width: int, limits: tuple[float, float]) -> Picture:
    bar = np.full((70, width, 3), _BACK, np.uint8)
    ramp = colour_of(np.linspace(*limits, width - 240), *limits)
    bar[12:34, 120 : width - 120] = ramp[None]
    for share in np.linspace(0, 1, 5):
        x = int(120 + share * (width - 240))
        _label(bar, f"{limits[0] + share * (limits[1] - limits[0]):.2f} mm", x - 32, 56)
    return bar


def draw_errors(joints: Points, surface: Points, error_mm: Points) -> Picture:
    """Hand from the palm and from the back, points coloured by error, with a scale: (h, w, 3) uint8 BGR.

    joints (21, 3) and surface (64, 3) of one right hand in the canonical frame, error_mm (64,).
    """
    limits = (float(np.min(error_mm)), float(np.max(error_mm)))
    views = [_view(joints, surface, error_mm, towards, limits) for towards in (1.0, -1.0)]
    for view, title in zip(views, ("palm", "back"), strict=True):
        _label(view, title, 20, 30)
    picture = np.hstack(views)
    return np.vstack([picture, _scale_bar(picture.shape[1], limits)])
