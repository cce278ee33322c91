"""OpenCV's five distortion terms backwards: from pixels to rays, as far as the lens model has any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HALVINGS: Final = 30
STEPS: Final = 20
"""Of Newton, from where the radial terms alone put the ray: 2 to 4 are the rule; at the fold the slope goes to 0."""
ARRIVED: Final = 1e-10
"""In focal lengths: a ray that the lens puts so near to its pixel is the one. cv2.undistortPoints does not look."""
NOTED_SHARE: Final = 0.02
"""Of a picture: more beyond the fold than the last pixels of its corners is worth a word."""
GRID: Final = (32, 18)


def fold_radius2(distortion: Floats) -> float:
    """Squared radius (x/z)^2 + (y/z)^2 at which the radial model stops growing, or infinity; as in the core."""
    k1, k2, _, _, k3 = distortion
    roots = np.roots([7 * k3, 5 * k2, 3 * k1, 1])
    real = roots.real[(np.abs(roots.imag) < 1e-9) & (roots.real > 0)]
    return float(real.min()) if len(real) else np.inf


def directions(points_px: Floats, k: Floats, distortion: Floats) -> Floats:
    """x/z and y/z of the rays that a lens puts to pixels: (N, 2) -> (N, 2).

    NaN where there is none: beyond the fold the polynomial turns back, and no ray within it reaches the pixel.
    """
    goal = (points_px - k[:2, 2]) / k[[0, 1], [0, 1]]
    if not distortion.any():
        return goal
    fold = float(np.sqrt(fold_radius2(distortion)))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        at = _radially(goal, distortion, fold)
        for _ in range(STEPS):
            step = _step(at, goal, distortion)
            at = at + step
            if not (np.abs(step) > ARRIVED).any():
                break
        off = np.abs(_distorted(at, distortion)[0] - goal).max(axis=1)
        at[~((off <= ARRIVED) & (np.hypot(*at.T) <= fold))] = np.nan
    return at


def _radially(goal: Floats, distortion: Floats, fold: float) -> Floats:
    """The directions (N, 2) that the radial terms alone would have, within the fold: halving can't leave it."""
    k1, k2, _, _, k3 = distortion
    radius = np.hypot(*goal.T)

    def short(r: Floats) -> NDArray[np.bool_]:
        return np.asarray(r * (1 + r * r * (k1 + r * r * (k2 + r * r * k3))) < radius)

    low, high = np.zeros_like(radius), radius.copy()
    while (grows := short(high) & (high < fold)).any():
        high = np.where(grows, 2 * high, high)
    high = np.minimum(high, fold)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        is_short = short(middle)
        low, high = np.where(is_short, middle, low), np.where(is_short, high, middle)
    return goal * (low / np.maximum(radius, np.finfo(float).tiny))[:, None]


def _distorted(at: Floats, distortion: Floats) -> tuple[Floats, Floats]:
    """Where the lens puts directions (N, 2), and its Jacobian there, xx, xy, yy (3, N): it is symmetric."""
    (k1, k2, p1, p2, k3), (x, y) = distortion, at.T
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    slope = 2 * (k1 + r2 * (2 * k2 + r2 * 3 * k3))
    xd = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    yd = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    xx = radial + slope * x * x + 2 * p1 * y + 6 * p2 * x
    xy = slope * x * y + 2 * p1 * x + 2 * p2 * y
    yy = radial + slope * y * y + 6 * p1 * y + 2 * p2 * x
    return np.stack([xd, yd], axis=1), np.stack([xx, xy, yy])


def _step(at: Floats, goal: Floats, distortion: Floats) -> Floats:
    """Newton's, (N, 2)."""
    drawn, (xx, xy, yy) = _distorted(at, distortion)
    x, y = (goal - drawn).T
    scale = 1 / (xx * yy - xy * xy)
    return np.stack([(yy * x - xy * y) * scale, (xx * y - xy * x) * scale], axis=1)


def unreached_words(shares: Mapping[str, float]) -> str:
    """A sentence on the cameras whose `unreached_share` is worth one; empty for none."""
    noted = [f"{share:.0%} of '{camera}'" for camera, share in shares.items() if share > NOTED_SHARE]
    if not noted:
        return ""
    return (
        f"Lens models turn back before the pictures' corners: no ray reaches {', '.join(noted)}, and what is seen "
        "there gives no depth. Calibrate again with the board in all corners and all five distortion terms."
    )


def unreached_share(size_px: tuple[int, int], k: Floats, distortion: Floats) -> float:
    """Share of a picture, 0 .. 1, that no ray of the lens model reaches."""
    if not np.isfinite(fold_radius2(distortion)):
        return 0.0
    across, down = (
        (np.arange(count) + 0.5) * n / count - 0.5 for n, count in zip(size_px, GRID, strict=True)
    )
    pixels = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
    return float(np.isnan(directions(pixels, k, distortion)[:, 0]).mean())
