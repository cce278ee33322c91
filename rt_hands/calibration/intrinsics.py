"""One camera's lens from views of the board: cv2.calibrateCamera on well-spread views, bad views dropped."""

from __future__ import annotations

import cv2
import numpy as np

from rt_hands.calibration.geometry import Array, Lens
from rt_hands.calibration.observations import View
from rt_hands.errors import InvalidInput

MIN_VIEWS = 6
MOST_VIEWS = 40  # calibrateCamera takes time with their cube; more add little
_MIN_CORNERS = 6


def spread_views(views: list[View], size_px: tuple[int, int]) -> list[View]:
    """Up to MOST_VIEWS views that differ in place, size and slant of the board: farthest points in those features."""
    if len(views) <= MOST_VIEWS:
        return views
    features = np.stack([_feature(v, size_px) for v in views])
    chosen = [int(np.argmax([len(v.ids) for v in views]))]
    gap = np.linalg.norm(features - features[chosen[0]], axis=1)
    while len(chosen) < MOST_VIEWS:
        chosen.append(int(np.argmax(gap)))
        gap = np.minimum(gap, np.linalg.norm(features - features[chosen[-1]], axis=1))
    return [views[i] for i in sorted(chosen)]


def _feature(view: View, size_px: tuple[int, int]) -> Array:
    p = view.corners_px / max(size_px)
    axes, directions = np.linalg.eigh(np.cov(p.T))
    lean = np.sqrt(np.maximum(axes, 0)) * np.sign(directions[0])
    return np.concatenate([p.mean(axis=0), 3 * lean, [2 * np.sqrt(np.prod(np.ptp(p, axis=0)))]])


def calibrate_lens(views: tuple[View, ...], size_px: tuple[int, int], model_mm: Array) -> Lens:
    """The lens of one camera. Raises InvalidInput when there are too few views."""
    good = [v for v in views if len(v.ids) >= _MIN_CORNERS]
    if len(good) < MIN_VIEWS:
        name = views[0].camera if views else "?"
        raise InvalidInput(
            f"Camera '{name}' saw the board in {len(good)} pictures; its lens needs at least {MIN_VIEWS}."
        )
    chosen = spread_views(good, size_px)
    for _ in range(3):
        lens, errors = _solve(chosen, size_px, model_mm)
        keep = errors < max(3 * float(np.median(errors)), 0.3)
        if keep.all() or keep.sum() < MIN_VIEWS:
            break
        chosen = [v for v, k in zip(chosen, keep, strict=True) if k]
    return lens


def _solve(views: list[View], size_px: tuple[int, int], model_mm: Array) -> tuple[Lens, Array]:
    """The lens, and each view's error in px."""
    objects = [model_mm[v.ids].astype(np.float32) for v in views]
    images = [v.corners_px.astype(np.float32) for v in views]
    # A third radial term is left to the bundle adjustment: alone it is often far off on few views.
    _, k, lens, _, _, _, _, errors = cv2.calibrateCameraExtended(
        objects, images, size_px, None, None, flags=cv2.CALIB_FIX_K3
    )
    distortion = np.zeros(5)
    flat = np.ravel(lens)[:5]
    distortion[: len(flat)] = flat
    return Lens(np.asarray(k, np.float64), distortion), np.ravel(errors)
