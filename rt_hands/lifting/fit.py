"""The joints of a hand that fit all views, the lengths of bones and the shapes of hands best at once.

Triangulation looks at each joint alone, so a joint that few views see well flies off. Here all 21 are moved together:
least squares over reprojection (views that miss count less, by Cauchy's weights), bone lengths and the shape prior, by
Gauss and Newton's method in the canonical frame. How much the views are trusted follows from how well their rays met,
so exact views give the exact joints. A joint that no view sees well comes from the rest of its hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands import _core
from rt_hands.camera import Rig
from rt_hands.layout import N_HANDS
from rt_hands.lifting.canonical import MIN_PALM_JOINTS, MIN_SCALE_MM, MIN_SPREAD, PALM_JOINTS, PALM_TEMPLATE
from rt_hands.lifting.moment import middle
from rt_hands.lifting.shape_prior import BONES, bone_lengths, shape_prior
from rt_hands.lifting.trust import trust

Floats = NDArray[np.float64]

STEPS: Final = 8
ARRIVED: Final = 0.003
"""In palms: a step of a quarter of a millimetre ends the search."""
LEAST_NOISE_PX: Final = 0.02
BONE_STD: Final = 0.10
"""Of a bone's length: people's differ by so much from the mean, as a share; made-up people's by 0.05."""
OWN_BONE_STD: Final = 0.04
"""The same once the lengths of this hand are known from its past."""
LONGEST_STEP: Final = 0.3
"""Palms that a joint moves in one step: further, and the Jacobian is not the one it was."""
NOISE_TIMES: Final = 1.5
CAUCHY: Final = 1.0
"""Noises at which a view counts half."""
MISS: Final = 3.0
"""Noises from which on a view is said to miss a joint."""
IMPOSSIBLE: Final = (0.4, 1.8)
"""A triangulated bone beyond these shares of its usual length is no bone: its outer joint is dropped."""
_AT_WRIST: Final = np.flatnonzero(BONES[:, 0] == 0)
_MIRRORED: Final = np.array([False, True])
_NO_BONES: Final = np.full((N_HANDS, len(BONES)), np.nan)
_OPTIONS: Final = _core.FitOptions(
    steps=STEPS,
    arrived=ARRIVED,
    longest_step=LONGEST_STEP,
    cauchy=CAUCHY,
    bone_std=BONE_STD,
    own_bone_std=OWN_BONE_STD,
    least_palm_joints=MIN_PALM_JOINTS,
    least_spread=MIN_SPREAD,
    least_scale_mm=MIN_SCALE_MM,
)


@dataclass(frozen=True, slots=True)
class Fitted:
    """joints_mm: (2, 21, 3), NaN for hands that can't be fitted. agree: (V, 2, 21) bool: which views do.

    rms_px: (2, 21) of the views that agree, NaN where none does.
    miss: (2,) how far the joints of the second best view lie from the fitted ones drawn back, in the median, as a share
    of the palm's length there: two views must agree, others may see another thing.
    """

    joints_mm: Floats
    agree: NDArray[np.bool_]
    rms_px: Floats
    miss: Floats


def drop_impossible(joints_mm: Floats, bones_mm: Floats) -> Floats:
    """Joints (2, 21, 3) with NaN where a bone's length can't be; bones_mm: (2, 20), what is usual."""
    share = bone_lengths(joints_mm) / bones_mm
    wrong = (share < IMPOSSIBLE[0]) | (share > IMPOSSIBLE[1])
    out = joints_mm.copy()
    lost_wrists = wrong[:, _AT_WRIST].sum(1) >= 3
    out[lost_wrists, 0] = np.nan
    for hand, bone in np.argwhere(wrong).tolist():
        parent, child = BONES[bone]
        # From the wrist outwards: a joint that is dropped has no say on the next one.
        if np.isfinite(out[hand, parent, 0]):
            out[hand, child] = np.nan
    return out


def fit_joints(
    points_px: NDArray[np.floating],
    scores: NDArray[np.floating],
    joints_mm: Floats,
    noise_px: Floats,
    rig: Rig,
    bones_mm: Floats | None = None,
) -> Fitted:
    """Both hands, right and left.

    points_px: (V, 2, 21, 2), NaN where unseen; scores: (V, 2, 21). joints_mm: (2, 21, 3) to start from, NaN where
    unknown. noise_px: (2,) of the views' points of the usual score. bones_mm: (2, 20) lengths known from the past, NaN
    where not.
    """
    usable = np.isfinite(points_px[..., 0]) & (scores > 0)
    weight = np.where(usable, trust(scores), 0.0)
    noise_px = np.maximum(NOISE_TIMES * noise_px, LEAST_NOISE_PX)
    world_mm, apart_px = _fitter()(
        points_px,
        weight,
        noise_px,
        _NO_BONES if bones_mm is None else bones_mm,
        _MIRRORED,
        joints_mm,
        rig.K,
        rig.distortion,
        rig.cam_from_world,
        _OPTIONS,
    )
    agree = apart_px * np.sqrt(weight) < MISS * noise_px[:, None]
    square = np.where(agree, apart_px, 0.0) ** 2
    rms_px = np.sqrt(square.sum(0) / np.where(agree.any(0), agree.sum(0), np.nan))
    return Fitted(world_mm, agree, rms_px, _miss(apart_px, world_mm, rig))


@cache
def _fitter() -> _core.HandFitter:
    prior = shape_prior()
    return _core.HandFitter(
        mean=prior.mean,
        precision=prior.precision,
        bones=prior.bones,
        pairs=BONES,
        palm_joints=np.array(PALM_JOINTS),
        palm_template=PALM_TEMPLATE,
    )


def _miss(apart_px: Floats, world_mm: Floats, rig: Rig) -> Floats:
    """(2,) each view's median miss, in palms as the view shows them at the hand's distance; of the second best view."""
    if len(rig) < 2:
        return np.full(N_HANDS, np.inf)
    palm_mm = np.linalg.norm(world_mm[:, 9] - world_mm[:, 0], axis=1)
    rows = rig.cam_from_world[:, 2]
    far_mm = np.maximum(world_mm.mean(1) @ rows[:, :3].T + rows[:, 3], 1.0).T
    palm_px = rig.K[:, :1, 0] * palm_mm / far_mm
    return np.asarray(np.sort(middle(apart_px / palm_px[..., None]), axis=0)[1], np.float64)
