"""The canonical hand frame: every hand becomes a right hand, centred, palm-aligned and scale-free, and comes back.

Axes of the canonical frame: +x to the thumb's side, +y to the fingers, +z out of the palm. Unit: one palm length
(wrist to middle knuckle) of the template. The frame is the similarity (rotation, scale, shift) that best takes
`PALM_TEMPLATE` to the palm joints that are there, so one noisy or missing joint turns it little.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands import _core
from rt_hands.errors import InvalidInput
from rt_hands.layout import N_JOINTS

Floats = NDArray[np.floating]

PALM_JOINTS: Final = (0, 1, 5, 9, 13, 17)
"""Wrist, thumb base and the four knuckles: they move least against each other."""

_PALM: Final = np.array(PALM_JOINTS)

PALM_TEMPLATE: Final = np.array(
    [
        [0.00, 0.00, 0.00],
        [0.21, 0.32, -0.03],
        [0.24, 0.97, 0.05],
        [0.00, 1.00, 0.00],
        [-0.23, 0.92, 0.01],
        [-0.40, 0.81, 0.05],
    ]
)
"""(6, 3) mean right palm over the data engine's training subjects, palm lengths."""

MIN_PALM_JOINTS: Final = 3
MIN_SCALE_MM: Final = 15.0  # an infant's palm is 40 mm long: anything shorter is a collapsed triangulation
METRES_SCALE_MM: Final = (0.015, 0.3)  # palm lengths of real hands when metres are passed as millimetres
METRIC_UNIT_MM: Final = 100.0
MIN_SPREAD: Final = (
    1e-3  # second over first singular value of the fit: below it the palm joints lie on a line
)


@dataclass(frozen=True, slots=True)
class CanonicalFrame:
    """One similarity per hand. world_mm = mirror(origin_mm + scale_mm * rotation @ canonical).

    rotation: (N, 3, 3), origin_mm: (N, 3), scale_mm: (N,), mirrored: (N,) bool (left hands; x is negated),
    present: (N,) bool, False where no frame could be fitted (NaN there).
    """

    rotation: NDArray[np.float64]
    origin_mm: NDArray[np.float64]
    scale_mm: NDArray[np.float64]
    mirrored: NDArray[np.bool_]
    present: NDArray[np.bool_]

    def to_canonical(self, points_mm: Floats) -> NDArray[np.float64]:
        """World to canonical: (N, P, 3) mm -> (N, P, 3)."""
        centred = _mirror(points_mm, self.mirrored) - self.origin_mm[:, None]
        return np.asarray(centred @ self.rotation / self.scale_mm[:, None, None])

    def to_world(self, points: Floats) -> NDArray[np.float64]:
        """Canonical to world, the inverse of `to_canonical`: (N, P, 3) -> (N, P, 3) mm."""
        return _core.out_of_frames(points, self.mirrored, self.rotation, self.origin_mm, self.scale_mm)


def _mirror(points_mm: Floats, mirrored: NDArray[np.bool_]) -> NDArray[np.float64]:
    sign = np.ones((len(mirrored), 1, 3))
    sign[mirrored, 0, 0] = -1.0
    return points_mm * sign


def check_joints(joints_mm: Floats, side: NDArray[np.integer]) -> None:
    """Shapes of a batch of hands: joints (N, 21, 3) mm, side (N,) of 0 and 1; InvalidInput names what is wrong."""
    if joints_mm.ndim != 3 or joints_mm.shape[1:] != (N_JOINTS, 3):
        raise InvalidInput(f"joints_mm has shape {joints_mm.shape}; wanted (N, {N_JOINTS}, 3).")
    if side.shape != (len(joints_mm),):
        raise InvalidInput(
            f"side has shape {side.shape}; wanted ({len(joints_mm)},), one of 0 (right), 1 (left) a hand."
        )
    if not ((side == 0) | (side == 1)).all():  # np.isin costs 14 us, a tenth of the whole
        raise InvalidInput(f"side holds {np.unique(side).tolist()}; 0 is a right hand, 1 a left one.")


def canonical_frame(joints_mm: Floats, side: NDArray[np.integer]) -> CanonicalFrame:
    """Fit the canonical frame of each hand: joints (N, 21, 3) mm with NaN where missing, side (N,) 0 right, 1 left.

    A hand with fewer than 3 palm joints, with palm joints on a line, or smaller than 15 mm is not present.
    Raises InvalidInput when hands have the size of hands measured in metres. Fit: Umeyama 1991.
    """
    mirrored = np.asarray(side) == 1
    rotation, origin, scale, present, measured = _core.hand_frames(
        joints_mm,
        mirrored,
        palm=_PALM,
        template=PALM_TEMPLATE,
        least_palm_joints=MIN_PALM_JOINTS,
        least_spread=MIN_SPREAD,
        least_scale_mm=MIN_SCALE_MM,
    )
    if not present.any():
        _refuse_metres(measured[np.isfinite(measured)])
    return CanonicalFrame(rotation, origin, scale, mirrored, present)


def _refuse_metres(scale_mm: NDArray[np.float64]) -> None:
    """Raise where every hand that could be fitted has the size of a hand in metres."""
    low, high = METRES_SCALE_MM
    if len(scale_mm) and ((scale_mm > low) & (scale_mm < high)).all():
        raise InvalidInput(
            f"The joints give a palm {np.median(scale_mm):.3f} mm long, the size of a hand in metres. "
            "Multiply by 1000: joints_mm are millimetres."
        )


def canonicalise(
    joints_mm: Floats, side: NDArray[np.integer], normalise: bool = True
) -> tuple[NDArray[np.float32], NDArray[np.float32], CanonicalFrame]:
    """Joints as a network wants them.

    joints_mm: (N, 21, 3), NaN where missing; side: (N,). Gives joints (N, 21, 3) float32 with 0 where missing,
    valid (N, 21) float32 0 or 1, and the frame that takes the answer back. Absent hands are all 0.
    normalise False is for networks trained without it: world axes in units of 100 mm, left hands still mirrored.
    """
    check_joints(joints_mm, side)
    frame = canonical_frame(joints_mm, side)
    if not normalise:
        frame = _metric_frame(frame)
    joints, valid = _core.into_frames(
        joints_mm, frame.mirrored, frame.rotation, frame.origin_mm, frame.scale_mm
    )
    return joints, valid, frame


def _metric_frame(frame: CanonicalFrame) -> CanonicalFrame:
    """The same hands in world axes."""
    n = len(frame.present)
    rotation, origin_mm = np.tile(np.eye(3), (n, 1, 1)), np.zeros((n, 3))
    unit_mm = np.where(frame.present, METRIC_UNIT_MM, np.nan)
    return CanonicalFrame(rotation, origin_mm, unit_mm, frame.mirrored, frame.present)
