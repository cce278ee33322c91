"""Which hand is the right one: left/right settled across the views of a rig.

One camera confuses the sides now and then; two views that name the same hand differently can't be triangulated.
So each view may have its two hands exchanged, and the choice is the one whose rays meet best.
"""

from __future__ import annotations

from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands import _core
from rt_hands.camera import Rig
from rt_hands.layout import JOINT_ORDERS, MIRROR, N_HAND

_JOINTS: Final = JOINT_ORDERS["mediapipe"]
MAX_EXHAUSTIVE_VIEWS: Final = (
    5  # 2^4 choices of 42 points are one 0.1 ms call; above, one view at a time is changed
)
POINT: Final = 0.5
"""Cost of a point, whether one view sees it or many, in units of a view that misses it: naming one hand in two ways
makes two hands of it, whose rays meet the better the fewer they are."""
AGREED: Final = 0.05
"""Cost of a view whose joints lie within a quarter of the limit of where the others see them."""
EXCHANGE: Final = 0.02  # cost of overruling one view's own naming, so that ties keep it


def exchange_hands(points_px: NDArray[np.float32], exchange: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The points with right and left exchanged in the views marked: (V, 170, 3), (V,) bool -> (V, 170, 3)."""
    out = points_px.copy()
    out[exchange] = points_px[exchange][:, MIRROR]
    return out


def settle_sides(points_px: NDArray[np.float32], rig: Rig, max_residual_px: float) -> NDArray[np.bool_]:
    """Which views must have their hands exchanged so that all views mean the same hand: (V,) bool.

    points_px: (V, 170, 3) x, y, score. max_residual_px: where a ray stops counting as a meeting.
    When as many views must change as stay, the naming of higher joint scores stays.
    """
    seen = np.flatnonzero(np.isfinite(points_px[:, _JOINTS, 0]).any(1))
    exchange = np.zeros(len(points_px), bool)
    if len(seen) < 2:
        return exchange
    if _costs(points_px, exchange[None], rig, max_residual_px)[0] <= _agreed_cost(points_px):
        return exchange
    if len(seen) <= MAX_EXHAUSTIVE_VIEWS:
        choices = np.zeros((2 ** (len(seen) - 1), len(points_px)), bool)
        choices[:, seen[1:]] = list(product([False, True], repeat=len(seen) - 1))
        best = choices[np.argmin(_costs(points_px, choices, rig, max_residual_px))]
    else:
        best = _descend(points_px, seen, rig, max_residual_px)
    certainty = np.nansum(points_px[:, _JOINTS, 2], 1)
    exchange[seen] = best[seen] if certainty[best].sum() <= certainty[seen].sum() / 2 else ~best[seen]
    return exchange


def _agreed_cost(points_px: NDArray[np.float32]) -> float:
    """What views cost whose naming is plainly right: nothing is gained by trying others."""
    available = np.isfinite(points_px[:, _JOINTS, 0]).sum(0)
    return float((POINT * (available > 0) + AGREED * available * (available > 1)).sum())


def _descend(
    points_px: NDArray[np.float32], seen: NDArray[np.intp], rig: Rig, max_residual_px: float
) -> NDArray[np.bool_]:
    """Change the one view that helps most until none helps."""
    best = np.zeros(len(points_px), bool)
    for _ in range(len(seen)):
        choices = np.repeat(best[None], len(seen) + 1, 0)
        choices[np.arange(len(seen)), seen] ^= True
        winner = int(np.argmin(_costs(points_px, choices, rig, max_residual_px)))
        if winner == len(seen):
            break
        best = choices[winner]
    return best


def _costs(
    points_px: NDArray[np.float32], choices: NDArray[np.bool_], rig: Rig, max_residual_px: float
) -> NDArray[np.float64]:
    """Truncated squared residuals of each choice (C, V) of exchanged views, in units of a rejected view: (C,)."""
    joints = points_px[:, _JOINTS]
    exchanged = points_px[:, (_JOINTS + N_HAND) % len(MIRROR)]
    views, count = joints.shape[:2]
    stacked = np.where(choices.T[:, :, None, None], exchanged[:, None], joints[:, None])  # (V, C, 42, 3)
    stacked = stacked.reshape(views, -1, 3)
    usable = np.isfinite(stacked[..., 0]) & (stacked[..., 2] > 0)
    world_mm, _, _, _ = _core.triangulate(
        stacked[..., :2],
        np.where(usable, stacked[..., 2], 0),
        rig.K,
        rig.distortion,
        rig.cam_from_world,
        max_residual_px=max_residual_px,
    )
    drawn_px, _, _ = _core.project(world_mm, rig.K, rig.distortion, rig.cam_from_world, None)
    miss = np.square((stacked[..., :2] - drawn_px) / max_residual_px).sum(2)
    # All views count, not only those that triangulation used: it leaves out honest ones where all are noisy.
    miss = np.where(usable, np.nan_to_num(np.minimum(miss, 1), nan=1), 0).sum(0)
    available = usable.sum(0)
    cost = np.where(available == 1, 0, miss) + POINT * (available > 0)
    return np.asarray(cost.reshape(len(choices), count).sum(1) + EXCHANGE * count * choices.sum(1))
