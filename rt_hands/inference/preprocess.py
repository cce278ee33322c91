"""Square crops of pictures into the network's input, and the way back from belief maps to the picture."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.types import Image


@dataclass(frozen=True, slots=True)
class Crop:
    """A square of a picture, upright or turned about its centre; it may hang over the edge, what lies outside is black.

    left, top, side in px: before it is turned it covers pixels left .. left + side - 1. Whole numbers, so that cutting
    an upright one needs no warp. turn_rad: the direction in the picture, clockwise from up, that is up in the crop.
    """

    left: int
    top: int
    side: int
    turn_rad: float = 0.0

    @staticmethod
    def around(centre_px: tuple[float, float], side_px: float, turn_rad: float = 0.0) -> Crop:
        """The crop whose centre is nearest to a point (pixel centres at whole numbers), at least 8 px wide."""
        side = max(round(float(side_px)), 8)
        left, top = (round(float(c) - (side - 1) / 2) for c in centre_px)
        return Crop(left, top, side, turn_rad)

    @property
    def centre_px(self) -> tuple[float, float]:
        """(x, y) of the centre, pixel centres at whole numbers."""
        return self.left + (self.side - 1) / 2, self.top + (self.side - 1) / 2

    def mirrored(self, width_px: int) -> Crop:
        """The same place in the mirrored picture."""
        return Crop(width_px - self.left - self.side, self.top, self.side, -self.turn_rad)

    @property
    def rotation(self) -> NDArray[np.float64]:
        """(2, 2): directions in the crop to directions in the picture."""
        c, s = np.cos(self.turn_rad), np.sin(self.turn_rad)
        return np.array([[c, -s], [s, c]])

    def picture_from(self, step: float, start: float) -> NDArray[np.float64]:
        """(2, 3) affine from a grid to the picture; index i of the grid lies at i * step + start px of the crop."""
        rotation = self.rotation
        corner = np.asarray(self.centre_px) + rotation @ np.full(2, start - (self.side - 1) / 2)
        return np.column_stack([rotation * step, corner])

    def picture_from_map(self, input_px: int, map_px: int) -> NDArray[np.float64]:
        """(2, 3) affine from belief-map cells to the picture.

        Cell i lies at i * input_px / map_px of the input (the source's rule); input pixel u at (u + 0.5) * zoom - 0.5
        of the crop, as cv2.resize has it.
        """
        zoom = self.side / input_px
        return self.picture_from(zoom * input_px / map_px, 0.5 * zoom - 0.5)

    def holds(self, points_px: NDArray[np.floating]) -> bool:
        """Whether all points (N, 2) lie inside."""
        away = (points_px - np.asarray(self.centre_px)) @ self.rotation
        return bool(np.abs(away).max() <= (self.side - 1) / 2)


def cut(image_bgr: Image, crop: Crop, out_bgr: Image) -> None:
    """Resize one crop of a picture into out_bgr (n, n, 3) uint8, black where it hangs over the edge.

    Bilinear; halved by area first while it shrinks more than twofold, against moire in whole-picture passes.
    """
    if crop.turn_rad:
        _cut_turned(image_bgr, crop, out_bgr)
        return
    height, width = image_bgr.shape[:2]
    right, bottom = crop.left + crop.side, crop.top + crop.side
    x0, x1, y0, y1 = max(crop.left, 0), min(right, width), max(crop.top, 0), min(bottom, height)
    if x0 >= x1 or y0 >= y1:
        out_bgr[:] = 0
        return
    inside = image_bgr[y0:y1, x0:x1]
    if inside.shape[:2] != (crop.side, crop.side):
        # Padding before resizing keeps the two grids aligned to the sub-pixel; 0.1 ms for a hand, 1 for a picture.
        borders = (y0 - crop.top, bottom - y1, x0 - crop.left, right - x1)
        inside = cv2.copyMakeBorder(inside, *borders, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    _shrink(inside, out_bgr)


def _cut_turned(image: Image, crop: Crop, out: Image) -> None:
    """The same for a turned crop, by a warp of the part of the picture that it touches."""
    zoom = crop.side / out.shape[0]
    matrix = crop.picture_from(zoom, 0.5 * zoom - 0.5)
    reach = crop.side / 2 * float(np.abs(crop.rotation[0]).sum()) + 2
    (x0, x1), (y0, y1) = (
        (max(int(centre - reach), 0), min(int(centre + reach) + 2, length))
        for centre, length in zip(crop.centre_px, image.shape[1::-1], strict=True)
    )
    if x0 >= x1 or y0 >= y1:
        out[:] = 0
        return
    part = image[y0:y1, x0:x1]
    matrix[:, 2] -= x0, y0
    while zoom > 2 and min(part.shape[:2]) > 1:
        # An odd last row or column is left out: halves must be exact for the places to stay true.
        half = (part.shape[1] // 2, part.shape[0] // 2)
        part = cv2.resize(part[: 2 * half[1], : 2 * half[0]], half, interpolation=cv2.INTER_AREA)
        matrix[:, 2] -= 0.5
        matrix /= 2
        zoom /= 2
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cv2.warpAffine(part, matrix, (out.shape[1], out.shape[0]), dst=out, flags=flags)


def _shrink(image: Image, out: Image) -> None:
    while image.shape[0] > 2 * out.shape[0] and image.shape[1] > 2 * out.shape[1]:
        half = (image.shape[1] // 2, image.shape[0] // 2)
        image = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
    cv2.resize(image, (out.shape[1], out.shape[0]), dst=out, interpolation=cv2.INTER_LINEAR)


def to_input(crop_bgr: Image, out_rgb: NDArray[np.float32]) -> None:
    """(n, n, 3) uint8 BGR -> (3, n, n) float32 RGB in 0..1, written into out_rgb."""
    # Planes one by one: 0.10 ms at 368 px against 1.6 for cv2.dnn.blobFromImage and a copy.
    for plane, out in zip(cv2.split(crop_bgr), out_rgb[::-1], strict=True):
        np.multiply(plane, np.float32(1 / 255), out=out)


__all__ = ["Crop", "cut", "to_input"]
