"""The project's own CUDA kernels: crops of uint8 pictures to network input, belief maps to points.

Sources in csrc/cuda, compiled to fatbins when the package is built where nvcc is.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, floor, sin
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import MissingPart
from rt_hands.inference.preprocess import Crop
from rt_hands.inference.tensorrt.cuda import Device, Launch
from rt_hands.types import Image

CROP_DTYPE: Final = np.dtype(
    [
        ("bgr", "u8"),
        ("width", "i4"),
        ("height", "i4"),
        ("block", "i4"),
        ("taps", "i4"),
        ("block_from_crop", "f4", 6),
    ]
)
"""`struct Crop` of csrc/cuda/preprocess.cu, 48 bytes."""

_FOLDER: Final = Path(__file__).resolve().parent.parent / "cuda"


def fatbin(name: str) -> bytes:
    """A compiled kernel file. Raises MissingPart where the package was built without nvcc."""
    path = _FOLDER / f"{name}.fatbin"
    if not path.is_file():
        raise MissingPart(
            f"The CUDA kernels are not in this installation ({path.name} is absent): it was built without nvcc. "
            "Install the CUDA toolkit and rebuild rt_hands: pip install --no-build-isolation -e ."
        )
    return path.read_bytes()


class Kernels:
    """The kernels loaded on a device; each call queues one launch on its stream."""

    def __init__(self, device: Device) -> None:
        self._crop: Launch = device.load_kernels(fatbin("preprocess"))
        self._decode: Launch = device.load_kernels(fatbin("decode"))

    def crop_rgb(self, crops: int, out: int, dtype: str, batch: int, side_px: int) -> None:
        """Crops (B,) at address `crops` -> (B, 3, side, side) RGB 0..1 of `dtype` at `out`, black outside."""
        grid = (-(-side_px // 32), -(-side_px // 8), batch)
        arguments = (np.uint64(crops), np.uint64(out), np.int32(side_px))
        self._crop(f"crop_rgb_{dtype}", grid, (32, 8, 1), arguments)

    def decode(
        self, maps: int, dtype: str, shape: tuple[int, int, int, int], points: int, affine: int, out: int
    ) -> None:
        """Belief maps (B, C, h, w) at `maps`, affine (B, 2, 3) -> the first `points`, (B, points, 3) at `out`."""
        batch, channels, height, width = shape
        sizes = (np.int32(channels), np.int32(height), np.int32(width))
        arguments = (np.uint64(maps), *sizes, np.uint64(affine), np.uint64(out))
        self._decode(f"decode_{dtype}", (points, batch, 1), (128, 1, 1), arguments)


def block_px(zoom: float) -> int:
    """Of the blocks that a crop is read in: 1, 2, 4 .. 128, doubled while a crop pixel is over four of them wide."""
    block = 1
    while zoom > 4 * block and block < 128:
        block *= 2
    return block


def visible_rect(image: Image, crop: Crop, side_px: int) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the part of the picture that a crop covers; empty (all 0) where it misses it.

    In whole blocks, counted from the picture's corner, with those that are mixed in at the crop's edge; of a turned
    crop the box round it. side_px: of the network's input.
    """
    height, width = image.shape[:2]
    block = block_px(crop.side / side_px)
    reach = crop.side / 2 * (abs(cos(crop.turn_rad)) + abs(sin(crop.turn_rad)))
    (x0, x1), (y0, y1) = (
        (floor((c + 0.5 - reach) / block - 0.5) * block, floor((c + 0.5 + reach) / block + 1.5) * block)
        for c in crop.centre_px
    )
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else (0, 0, 0, 0)


def describe_crop(
    crop: Crop, rect: tuple[int, int, int, int], address: int, side_px: int
) -> NDArray[np.void]:
    """The kernel's view of a crop, upright or turned, whose visible part lies at a device address: () CROP_DTYPE.

    As `_core.crop_rgb` has it: four samples a crop pixel where it shrinks, of blocks, see `block_px`.
    """
    x0, y0, x1, y1 = rect
    zoom = crop.side / side_px
    block = block_px(zoom)
    matrix = crop.picture_from(zoom, 0.5 * zoom - 0.5)
    matrix[:, 2] += 0.5 - x0, 0.5 - y0
    matrix /= block
    matrix[:, 2] -= 0.5
    taps = 4 if zoom > 1 else 1
    return np.array((address, x1 - x0, y1 - y0, block, taps, matrix.ravel()), CROP_DTYPE)


def bytes_needed(rects: Sequence[tuple[int, int, int, int]]) -> int:
    """Bytes of the visible parts, packed."""
    return sum(3 * (x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in rects)


__all__ = ["CROP_DTYPE", "Kernels", "bytes_needed", "describe_crop", "fatbin", "visible_rect"]
