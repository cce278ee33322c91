"""Ways to read a point off a belief map, to be compared on a trained network. The shipped ones are in C++.

Each takes maps (K, n, n) float32 and gives (K, 2) x, y in cells.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands import _core

Maps = NDArray[np.float32]
Cells = NDArray[np.float64]


def argmax(maps: Maps) -> Cells:
    """The highest cell."""
    n = maps.shape[-1]
    at = maps.reshape(len(maps), -1).argmax(1)
    return np.stack([at % n, at // n], 1).astype(float)


def bicubic_argmax(maps: Maps, size: int = 512) -> Cells:
    """The source's other rule: maps blown up by bicubic interpolation, then the highest pixel."""
    n = maps.shape[-1]
    found = []
    for one in maps:
        large = cv2.resize(one, (size, size), interpolation=cv2.INTER_CUBIC)
        found.append(np.unravel_index(int(large.argmax()), large.shape)[::-1])
    return (np.array(found, float) + 0.5) * (n / size) - 0.5


def _slope(maps: Maps, at: Cells) -> tuple[Cells, Cells, Cells]:
    """First and second differences at whole cells (K, 2), and the mixed one (K,); zero on the border."""
    n = maps.shape[-1]
    x, y = at.astype(int).T
    k, inner = np.arange(len(maps)), (x > 0) & (x < n - 1) & (y > 0) & (y < n - 1)
    x, y = x.clip(1, n - 2), y.clip(1, n - 2)
    right, left, down, up = maps[k, y, x + 1], maps[k, y, x - 1], maps[k, y + 1, x], maps[k, y - 1, x]
    first = np.stack([right - left, down - up], 1) / 2
    second = np.stack([right + left - 2 * maps[k, y, x], down + up - 2 * maps[k, y, x]], 1)
    mixed = (
        maps[k, y + 1, x + 1] + maps[k, y - 1, x - 1] - maps[k, y + 1, x - 1] - maps[k, y - 1, x + 1]
    ) / 4
    return first * inner[:, None], second, mixed


def quarter_shift(maps: Maps) -> Cells:
    """The highest cell, moved a quarter towards its higher neighbours (Newell et al., ECCV 2016)."""
    at = argmax(maps)
    return at + 0.25 * np.sign(_slope(maps, at)[0])


def dark(maps: Maps, sigma: float = 1.2) -> Cells:
    """Blur, logarithm, one Newton step at the peak (DARK: Zhang et al., CVPR 2020); a step is one cell at most."""
    blurred = np.stack([cv2.GaussianBlur(one, (0, 0), sigma) for one in maps])
    logs = np.log(np.maximum(blurred, 1e-10))
    at = argmax(blurred)
    first, second, mixed = _slope(logs, at)
    det = second[:, 0] * second[:, 1] - mixed**2
    safe = np.where(np.abs(det) > 1e-9, det, np.inf)
    step = np.stack(
        [second[:, 1] * first[:, 0] - mixed * first[:, 1], second[:, 0] * first[:, 1] - mixed * first[:, 0]],
        1,
    )
    return at - np.clip(step / safe[:, None], -1, 1)


def _shipped(method: _core.PeakMethod) -> Callable[[Maps], Cells]:
    def decode(maps: Maps) -> Cells:
        n = maps.shape[-1]
        points = _core.decode_heatmaps(maps[None], size=np.array([[n, n]], np.float32), method=method)[0]
        return np.where(np.isfinite(points[:, :2]), points[:, :2], (n - 1) / 2).astype(float)

    return decode


DECODERS: dict[str, Callable[[Maps], Cells]] = {
    "9x9 mean by squares": _shipped("squares9x9"),
    "5x5 weighted mean": _shipped("mean5x5"),
    "5x5 mean, 0.2 max off": _shipped("mean5x5_sub"),
    "log-parabola": _shipped("log_parabola"),
    "bicubic + argmax": bicubic_argmax,
    "argmax": argmax,
    "quarter shift": quarter_shift,
    "DARK": dark,
}
