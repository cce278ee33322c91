"""Text on pictures: white with a dark edge, readable on anything. What was written once is kept as a stamp."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.types import Image

DARK: Final = (24, 20, 18)
FONT: Final = cv2.FONT_HERSHEY_SIMPLEX
MARGIN: Final = 3


@dataclass(frozen=True, slots=True)
class _Stamp:
    """Text ready to be laid on a picture: picture * keep / 256 + add. keep (h, w, 1), add (h, w, 3), both uint16.

    size_px: (width, height) of the text itself; its lower left lies at origin_px of the stamp.
    """

    keep: NDArray[np.uint16]
    add: NDArray[np.uint16]
    size_px: tuple[int, int]
    origin_px: tuple[int, int]


def put_text(
    out: Image, text: str, at_px: tuple[float, ...], size: float = 0.55, centred: bool = False
) -> tuple[int, int]:
    """White text with a dark edge, inside the picture; returns its (width, height) px. at_px: its lower left."""
    stamp = _stamp(text, size)
    width, height = stamp.size_px
    x, y = (round(v) for v in at_px)
    if centred:
        x, y = x - width // 2, y + height // 2
    x = min(max(x, 2), max(out.shape[1] - width - 2, 2))
    y = min(max(y, height + 2), max(out.shape[0] - 4, height + 2))
    _lay(out, stamp, x - stamp.origin_px[0], y - stamp.origin_px[1])
    return width, height


def text_width(text: str, size: float) -> int:
    """How wide a text comes out, px."""
    return _stamp(text, size).size_px[0]


@lru_cache(256)
def _stamp(text: str, size: float) -> _Stamp:
    (width, height), below = cv2.getTextSize(text, FONT, size, 1)
    origin = (MARGIN, height + MARGIN)
    body = np.zeros((height + below + 2 * MARGIN, width + 2 * MARGIN), np.uint8)
    cv2.putText(body, text, origin, FONT, size, 255, 1, cv2.LINE_AA)
    white = body / 255
    # The edge is the same text moved about: OpenCV 5 sets thicker text wider, so it would not lie underneath.
    clear = np.ones_like(white)
    for step in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        clear *= 1 - np.roll(white, step, (0, 1))
    dark = (1 - clear) * (1 - white)
    keep = 256 * (1 - white - dark)[..., None]
    add = 255 * white[..., None] + dark[..., None] * np.array(DARK)
    return _Stamp(keep.round().astype(np.uint16), add.round().astype(np.uint16), (width, height), origin)


def _lay(out: Image, stamp: _Stamp, left: int, top: int) -> None:
    """The part of a stamp that lies in the picture."""
    height, width = stamp.keep.shape[:2]
    x0, y0, x1, y1 = (
        max(left, 0),
        max(top, 0),
        min(left + width, out.shape[1]),
        min(top + height, out.shape[0]),
    )
    if x0 >= x1 or y0 >= y1:
        return
    part, inner = out[y0:y1, x0:x1], (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
    mixed = part * stamp.keep[inner]
    mixed >>= 8
    mixed += stamp.add[inner]
    part[:] = mixed
