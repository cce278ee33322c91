"""What stands beside the hands in a picture: status line, help, several views tiled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np

from rt_hands.display.draw import put_text
from rt_hands.types import Image

HELP: Final = (
    ("m", "mirror the picture (display only)"),
    ("s", "smoothing on / off"),
    ("d", "surface points on / off"),
    ("b", "belief maps on / off"),
    ("v", "with a rig: what all views agree on / each its own"),
    ("3", "with a rig: the hands in 3D"),
    ("p", "pause the picture"),
    ("c", "save a screenshot"),
    ("r", "record a session, again to stop"),
    ("h", "this help"),
    ("q", "quit"),
)
"""Keys of the window and what they do."""
GAP_PX: Final = 4
TILED_PX: Final = (1920, 1080)
"""Views tiled never exceed this together: what a screen shows, and what an encoder keeps up with."""


def draw_status(image: Image, lines: Sequence[str]) -> None:
    """Lines of text in the upper left corner, on a darkened strip; drawn in place."""
    size = text_size(image)
    step = round(34 * size)
    width = max((cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0] for line in lines), default=0)
    _darken(image, 0, 0, width + 2 * step // 2, step * len(lines) + step // 3)
    for i, line in enumerate(lines):
        put_text(image, line, (step / 2, step * (i + 0.8)), size)


def draw_help(image: Image) -> None:
    """The keys, in the middle of the picture; drawn in place."""
    size = text_size(image) * 1.1
    step = round(40 * size)
    widest = max(cv2.getTextSize(what, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0] for _, what in HELP)
    width, height = widest + 3 * step, step * (len(HELP) + 1)
    left, top = max((image.shape[1] - width) // 2, 0), max((image.shape[0] - height) // 2, 0)
    _darken(image, left, top, width, height, 0.35)
    for i, (key, what) in enumerate(HELP):
        y = top + step * (i + 1)
        put_text(image, key, (left + step * 0.7, y), size)
        put_text(image, what, (left + step * 1.7, y), size)


def text_size(image: Image) -> float:
    """Font scale that reads alike on small and large pictures."""
    return float(np.clip(image.shape[0] / 1100, 0.35, 1.2))


def tile_size(views: int, size_px: tuple[int, int], columns: int | None = None) -> tuple[int, int]:
    """(width, height) of each of so many tiled views; size_px: of the first view."""
    columns = columns or int(np.ceil(np.sqrt(views)))
    rows = -(-views // columns)
    width, height = size_px
    scale = min(1.0, TILED_PX[0] / (columns * width), TILED_PX[1] / (rows * height)) if views > 1 else 1.0
    return max(round(width * scale), 1), max(round(height * scale), 1)


def tile(images: Sequence[Image], columns: int | None = None) -> Image:
    """Several views side by side, as large as the first one while all fit `TILED_PX`; one view comes out as it is."""
    if len(images) == 1:
        return images[0]
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    rows = -(-len(images) // columns)
    width, height = tile_size(len(images), (images[0].shape[1], images[0].shape[0]), columns)
    out = np.zeros((rows * (height + GAP_PX) - GAP_PX, columns * (width + GAP_PX) - GAP_PX, 3), np.uint8)
    for i, image in enumerate(images):
        y, x = i // columns * (height + GAP_PX), i % columns * (width + GAP_PX)
        out[y : y + height, x : x + width] = fit(image, width, height)
    return out


def fit(image: Image, width: int, height: int) -> Image:
    """The whole picture in a box of a size, proportions kept, black beside it."""
    if image.shape[:2] == (height, width):
        return image
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    shrunk = cv2.resize(image, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    out = np.zeros((height, width, 3), np.uint8)
    y, x = (height - inner[1]) // 2, (width - inner[0]) // 2
    out[y : y + inner[1], x : x + inner[0]] = shrunk
    return out


def _darken(image: Image, left: int, top: int, width: int, height: int, keep: float = 0.55) -> None:
    part = image[top : top + height, left : left + width]
    if part.size:
        cv2.convertScaleAbs(part, dst=part, alpha=keep)
