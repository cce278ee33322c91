"""What stands beside the hands in a picture: status line, help, several views tiled."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Final

import cv2
import numpy as np

from rt_hands.display.text import put_text, text_width
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
    width = max((text_width(line, size) for line in lines), default=0)
    _darken(image, 0, 0, width + 2 * step // 2, step * len(lines) + step // 3)
    for i, line in enumerate(lines):
        put_text(image, line, (step / 2, step * (i + 0.8)), size)


def draw_help(image: Image) -> None:
    """The keys, in the middle of the picture; drawn in place."""
    size = text_size(image) * 1.1
    step = round(40 * size)
    widest = max(text_width(what, size) for _, what in HELP)
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


@dataclass(frozen=True, slots=True)
class Tiling:
    """Where so many views lie side by side; they never exceed `TILED_PX` together. width, height: of each, px."""

    columns: int
    rows: int
    width: int
    height: int

    @staticmethod
    def of(views: int, size_px: tuple[int, int], columns: int | None = None) -> Tiling:
        """size_px: (width, height) of the first view; a single view keeps it."""
        columns = columns or ceil(sqrt(views))
        rows = -(-views // columns)
        width, height = size_px
        scale = min(1.0, TILED_PX[0] / (columns * width), TILED_PX[1] / (rows * height)) if views > 1 else 1.0
        return Tiling(columns, rows, max(round(width * scale), 1), max(round(height * scale), 1))

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of all of them together."""
        width, height = self.width + GAP_PX, self.height + GAP_PX
        return self.columns * width - GAP_PX, self.rows * height - GAP_PX

    def part(self, picture: Image, view: int) -> Image:
        """The place of one view in the picture of all."""
        y, x = view // self.columns * (self.height + GAP_PX), view % self.columns * (self.width + GAP_PX)
        return picture[y : y + self.height, x : x + self.width]

    def blank(self, picture: Image, except_views: Collection[int]) -> None:
        """Black into the gaps and into every place but those of some views."""
        for column in range(1, self.columns):
            x = column * (self.width + GAP_PX)
            picture[:, x - GAP_PX : x] = 0
        for row in range(1, self.rows):
            y = row * (self.height + GAP_PX)
            picture[y - GAP_PX : y] = 0
        for view in set(range(self.columns * self.rows)).difference(except_views):
            self.part(picture, view)[:] = 0


def tile(images: Sequence[Image], columns: int | None = None) -> Image:
    """Several views side by side, as large as the first one while all fit `TILED_PX`; one view comes out as it is."""
    if len(images) == 1:
        return images[0]
    tiling = Tiling.of(len(images), (images[0].shape[1], images[0].shape[0]), columns)
    out = np.zeros((tiling.size_px[1], tiling.size_px[0], 3), np.uint8)
    for i, image in enumerate(images):
        fit_into(tiling.part(out, i), image)
    return out


def fit(image: Image, width: int, height: int) -> Image:
    """The whole picture in a box of a size, proportions kept, black beside it."""
    if image.shape[:2] == (height, width):
        return image
    out = np.empty((height, width, 3), np.uint8)
    fit_into(out, image)
    return out


def fit_into(out: Image, image: Image) -> tuple[Image, float]:
    """The whole picture written into a box in place, proportions kept, black beside it.

    Returns the part of the box that it fills, and by how much it was scaled.
    """
    height, width = out.shape[:2]
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = (max(round(image.shape[1] * scale), 1), max(round(image.shape[0] * scale), 1))
    y, x = (height - inner[1]) // 2, (width - inner[0]) // 2
    if inner != (width, height):
        out[:] = 0
    part = out[y : y + inner[1], x : x + inner[0]]
    if part.shape == image.shape:
        np.copyto(part, image)
    else:
        _shrink(image, part)
    return part, scale


def _shrink(image: Image, out: Image) -> None:
    """Means of squares of whole pixels, as far as they go; what is left is less than a half, which needs no care.

    OpenCV is quick at whole ratios alone: by area, 1280 to 480 px takes five times as long.
    """
    height, width = image.shape[:2]
    times = max(width // out.shape[1], 1)
    while height % times or width % times:
        times -= 1
    size, wanted = (width // times, height // times), (out.shape[1], out.shape[0])
    if times > 1 and size != wanted:
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    # Sides that no whole number divides are left large: then by area, at its price.
    by_area = size == wanted or size[0] >= 2 * wanted[0]
    cv2.resize(image, wanted, dst=out, interpolation=cv2.INTER_AREA if by_area else cv2.INTER_LINEAR)


def _darken(image: Image, left: int, top: int, width: int, height: int, keep: float = 0.55) -> None:
    part = image[top : top + height, left : left + width]
    if part.size:
        cv2.convertScaleAbs(part, dst=part, alpha=keep)
