"""A rig file whose lengths were read in a wrong unit: the views' rays meet, in hands that nobody has."""

from __future__ import annotations

from collections import deque
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands import _core
from rt_hands.camera import Rig
from rt_hands.layout import N_HANDS, N_JOINTS
from rt_hands.lifting.lift import MAX_RESIDUAL_OF_SIDE, PALM_MM

MOMENTS: Final = 30
"""In a row without a hand in 3D, in which two views or more see one."""
USUAL_PALM_MM: Final = 85.0
UNITS: Final = {"cm": 10.0, "inches": 25.4}
"""By how much too short lengths in them are that were read as mm; a rig in m is refused before."""
NEAR: Final = 1.5
"""Palms differ by less than this factor from the usual one."""


class UnitWatch:
    """Feed it moments at which no hand was lifted; it answers a sentence, once, when the rig's size is to blame."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._palms_mm = deque[float](maxlen=MOMENTS)
        self._told = False

    def lifted(self) -> None:
        """A hand was lifted: the unit is right."""
        self._palms_mm.clear()

    def update(self, seen_px: NDArray[np.float32], cameras: list[int]) -> str | None:
        """seen_px: (V, 42, 3) both hands' joints in MediaPipe's order, of the rig's cameras with these numbers."""
        if self._told or len(cameras) < 2:
            return None
        rig = self._rig.subset([self._rig.ids[v] for v in cameras]).level
        points_px = self._rig.subset(rig.ids).levelled(seen_px)
        limit_px = MAX_RESIDUAL_OF_SIDE * rig.side_px
        score = np.where(np.isfinite(points_px[..., 0]), points_px[..., 2], 0).astype(np.float64)
        joints_mm, *_ = _core.triangulate(
            points_px[..., :2], score, rig.K, rig.distortion, rig.cam_from_world, max_residual_px=limit_px
        )
        palms = joints_mm.reshape(N_HANDS, N_JOINTS, 3)
        palms_mm = np.linalg.norm(palms[:, 9] - palms[:, 0], axis=1)
        if np.isfinite(palms_mm).any():
            self._palms_mm.append(float(np.nanmax(palms_mm)))
        return self._sentence()

    def _sentence(self) -> str | None:
        if len(self._palms_mm) < MOMENTS:
            return None
        low_mm, palm_mm, high_mm = np.percentile(self._palms_mm, (20, 50, 80)).tolist()
        if PALM_MM[0] / NEAR < palm_mm < PALM_MM[1] * NEAR or high_mm > NEAR * low_mm:
            return None
        self._told = True
        times = USUAL_PALM_MM / palm_mm
        unit = next((name for name, mm in UNITS.items() if max(times / mm, mm / times) < NEAR), None)
        why = f"lengths in {unit} were read as mm" if unit else "check the unit of its lengths"
        to = "cm" if unit == "cm" else "UNIT"
        return (
            f"The views see hands, but by the rig their palms are {palm_mm:.3g} mm long, so none is lifted: {why}. "
            f"Convert the calibration: python -m rt_hands.formats OLD rig.toml --unit {to}."
        )
