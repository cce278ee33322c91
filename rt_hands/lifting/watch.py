"""A camera that was moved, swapped or set to another lens, noticed by how far its rays miss the hands."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Rig
from rt_hands.layout import JOINT_ORDERS, N_HANDS
from rt_hands.lifting.lift import MAX_RESIDUAL_OF_SIDE
from rt_hands.lifting.moment import middle
from rt_hands.lifting.unit_watch import UnitWatch
from rt_hands.types import Hands2D, Hands3D

WINDOW = 45
"""FrameSets looked back on: 1.5 s at 30 fps, so that a hand hidden for a moment accuses nobody."""
MOST_SHARE = 0.5
"""A camera is named when its median miss is beyond this share of what triangulation rejects, and ..."""
TIMES_OTHERS = 3.0
"""... this many times that of the better cameras."""
LEAST_MISSES, MOST_AGREE = 15, 0.1
"""A view that lost the hands, as one of two that were exchanged does, is named after so many misses where it agreed in
at most this share of the last `WINDOW` moments at which the hands lay in its picture."""
LEAST_JOINTS = 10
"""A view must see so many joints of both hands to have a say."""
TWO_WINDOW = 70
"""Moments at which two views of a rig of two see a hand: they can't be told apart, so it takes more of them, and ..."""
TWO_SHARE = 0.35
"""... where this share of them fit, the rest is what one of them mistook, as of hands that hide each other."""
TWO_MISS_OF_SIDE = 0.012
"""What both miss together, of the picture's longer side. Seen: at most 0.9 % in twelve good pairs of a rendered and a
real rig, at least 1.8 % where their cameras were exchanged or given the same pictures."""
SWAP_EXPLAINS = 0.5
"""Two cameras look swapped where each, given the other's pictures, misses by at most this share: 0.1 to 0.25 seen."""
LAGS_MS = range(-300, 301, 20)
LAG_EXPLAINS = 0.5
"""A lag is named where it leaves at most this share of the miss, or ..."""
LAG_LIKE_OTHERS = 1.5, 0.75
"""... at most so many times what the better cameras miss by, and less than this share of the miss: what a network errs
by stays, however well the stamps are put right."""
LAG_JOINTS = 200
"""Joints that must say so: some ten moments of one hand."""


class RigWatch:
    """Feed it what every view measured and the hands lifted from them; it answers a sentence when a camera is off."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self._scale = rig.level_scale[:, 0]
        self._misses_px = {camera: deque[float](maxlen=WINDOW) for camera in rig.ids}
        self._agreed = {camera: deque[bool](maxlen=WINDOW) for camera in rig.ids}
        self._two_miss_px = deque[float](maxlen=TWO_WINDOW)
        self._unit = UnitWatch(rig)
        self._told: set[str] = set()
        self._moments: deque[tuple[dict[str, NDArray[np.float32]], NDArray[np.float64]]] = deque(
            maxlen=WINDOW
        )
        self._hands: deque[tuple[int, NDArray[np.float64]]] = deque(maxlen=WINDOW)
        self._seen: dict[str, deque[tuple[int, NDArray[np.float32]]]] = {
            camera: deque(maxlen=WINDOW) for camera in rig.ids
        }

    def misses_px(self) -> dict[str, float]:
        """Median distance of each camera's joints from the hands drawn back, px of the rig's largest pictures; NaN
        before it has any."""
        return {
            camera: sorted(misses)[len(misses) // 2] if misses else np.nan
            for camera, misses in self._misses_px.items()
        }

    def update(
        self, measured: Mapping[str, Hands2D], hands: Hands3D, times_ns: Mapping[str, int] | None = None
    ) -> str | None:
        """Take in one FrameSet. A sentence the first time that a camera looks wrong, else None.

        times_ns: of the views' pictures; without them a camera that lags is taken for one that was moved.
        """
        if not measured:
            return None
        joints = JOINT_ORDERS["mediapipe"]
        joints_mm = hands.points_world_mm[joints]
        seen = np.stack([view.points_px for view in measured.values()])[:, joints]
        at = [self.rig.ids.index(camera) for camera in measured]
        if hands.present.any():
            self._unit.lifted()
        elif sentence := self._unit.update(seen, at):
            self._told.update(self.rig.ids)  # what the views miss by is then the unit's fault
            return sentence
        if times_ns:
            self._hands.append((min(times_ns[c] for c in measured), joints_mm))
            for camera, points in zip(measured, seen, strict=True):
                self._seen[camera].append((times_ns[camera], points[:, :2]))
        drawn = self.rig.project(joints_mm)[at]
        # In the largest view's pixels, of which all limits are shares.
        apart_px = np.linalg.norm(seen[..., :2] - drawn, axis=2) * self._scale[at, None]
        known = np.isfinite(apart_px).sum(1) >= LEAST_JOINTS
        misses_px = middle(apart_px)
        self._moments.append((dict(zip(measured, seen, strict=True)), joints_mm))
        for camera, miss_px, is_known in zip(measured, misses_px, known, strict=True):
            if is_known:
                self._misses_px[camera].append(float(miss_px))
        inside = ((drawn >= 0) & (drawn < self.rig.size_px[at][:, None])).all(2).sum(1) >= LEAST_JOINTS
        for camera, agrees, is_inside in zip(
            measured, known & (misses_px <= self._limit_px), inside, strict=True
        ):
            if is_inside:
                self._agreed[camera].append(bool(agrees))
        if len(self.rig) == 2:
            return self._disagree(seen, misses_px, known)
        # Whom the window accuses misses most of the time: one such moment is enough to look.
        return self._accuse() if (misses_px[known] > self._limit_px).any() else None

    @property
    def _limit_px(self) -> float:
        return MOST_SHARE * MAX_RESIDUAL_OF_SIDE * self.rig.side_px

    def _disagree(
        self, seen: NDArray[np.float32], misses_px: NDArray[np.floating], known: NDArray[np.bool_]
    ) -> str | None:
        """For a rig of two: nobody can say which of them is wrong, but that they don't fit.

        seen: (V, 42, 3); misses_px (V,) of the lifted hands, known (V,) where there are such.
        """
        there = np.isfinite(seen[..., 0]).reshape(len(seen), N_HANDS, -1).any(2)
        if len(seen) < 2 or not there.all(0).any() or self._told:
            return None
        self._two_miss_px.append(float(misses_px.sum()) if known.all() else np.inf)
        full = len(self._two_miss_px) == TWO_WINDOW
        miss_px = sorted(self._two_miss_px)[int(TWO_SHARE * TWO_WINDOW)] if full else 0.0
        if miss_px <= TWO_MISS_OF_SIDE * self.rig.side_px:
            return None
        self._told.update(self.rig.ids)
        a, b = self.rig.ids
        how = (
            f"the hands that fit both best miss by {miss_px / 2:.0f} px"
            if miss_px < np.inf
            else "no hands fit both"
        )
        return (
            f"Cameras '{a}' and '{b}' don't agree, {how}: one was moved or lags, they are swapped, or the rig file is "
            "of other cameras. Check the sources, or calibrate again."
        )

    def _accuse(self) -> str | None:
        misses = self.misses_px()
        limit_px = self._limit_px
        # The better cameras set the measure: with two of four swapped the median is half wrong itself.
        known = sorted(miss for miss in misses.values() if np.isfinite(miss))
        others = known[(len(known) - 1) // 4] if known else np.nan
        suspects = [
            c for c in misses if misses[c] > max(limit_px, TIMES_OTHERS * others) and c not in self._told
        ]
        wrong = [c for c in suspects if len(self._misses_px[c]) == WINDOW or self._lost(c)]
        if not wrong:
            return None
        self._told.update(wrong)
        # Their windows are seldom full at one moment: the first one to be told has the other for a suspect.
        swapped = self._swapped(suspects)
        if swapped:
            # What the others miss by is then the swap's fault.
            self._told.update(self.rig.ids)
            return f"Cameras '{swapped[0]}' and '{swapped[1]}' look swapped: exchanged, their hands fit the rest."
        lags = {c: self._lag(c, others) for c in wrong}
        moved = [c for c in wrong if not lags[c]]
        own_px = {c: miss / self._scale[self.rig.ids.index(c)] for c, miss in misses.items()}
        return " ".join([*filter(None, lags.values()), *([_moved(moved, own_px)] if moved else [])])

    def _lost(self, camera: str) -> bool:
        agreed = self._agreed[camera]
        full = len(agreed) == WINDOW and len(self._misses_px[camera]) >= LEAST_MISSES
        return full and sum(agreed) <= MOST_AGREE * WINDOW

    def _lag(self, camera: str, others_px: float) -> str:
        """The sentence on a camera that lags: its hands fit those of another moment; empty for another fault.

        others_px: what the better cameras miss by, in the largest view's pixels.
        """
        by_lag_px = {lag_ms: self._miss_at(camera, lag_ms) for lag_ms in LAGS_MS}
        lag_ms = min(by_lag_px, key=lambda lag: by_lag_px[lag])
        times, share = LAG_LIKE_OTHERS
        like_others = times * others_px / self._scale[self.rig.ids.index(camera)]
        left_px, now_px = by_lag_px[lag_ms], by_lag_px[0]
        if lag_ms and left_px < max(LAG_EXPLAINS * now_px, min(share * now_px, like_others)):
            offset_ms = lag_ms + self.rig[camera].clock_offset_ms
            age = "older" if lag_ms < 0 else "younger"
            return (
                f"Camera '{camera}' lags: its pictures are some {abs(lag_ms)} ms {age} than the others' of the same "
                f"stamp. Write clock_offset_ms = {offset_ms:g} for it in the rig file, or give "
                f"--clock-offset-ms {camera}={offset_ms:g}; `python -m rt_hands.evaluate clocks` measures it better."
            )
        return ""

    def _miss_at(self, camera: str, lag_ms: int) -> float:
        """Median miss if the camera's pictures were taken so much later than stamped; infinity where too few say."""
        if len(self._hands) < 2:
            return np.inf
        at_ns = np.array([t for t, _ in self._hands])
        misses = []
        for t_ns, points_px in self._seen[camera]:
            taken_ns = t_ns + lag_ms * 1_000_000
            after = int(np.searchsorted(at_ns, taken_ns))
            if not 0 < after < len(at_ns):
                continue
            (t0, a), (t1, b) = self._hands[after - 1], self._hands[after]
            share = (taken_ns - t0) / max(t1 - t0, 1)
            drawn_px = self.rig[camera].project((1 - share) * a + share * b)
            misses.append(np.linalg.norm(points_px - drawn_px, axis=1))
        known = np.concatenate(misses or [np.zeros(0)])
        known = known[np.isfinite(known)]
        return float(np.median(known)) if len(known) >= LAG_JOINTS else np.inf

    def _swapped(self, suspects: list[str]) -> tuple[str, str] | None:
        for a, b in combinations(suspects, 2):
            if all(self._miss(x, y) < SWAP_EXPLAINS * self._miss(x, x) for x, y in ((a, b), (b, a))):
                return a, b
        return None

    def _miss(self, camera: str, pictures_of: str) -> float:
        """Median miss, over the window, of one camera's pictures as if another one had taken them; px."""
        pairs = [(views[pictures_of], hands) for views, hands in self._moments if pictures_of in views]
        if not pairs:
            return np.inf
        seen_px, joints_mm = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
        apart = np.linalg.norm(seen_px[:, :2] - self.rig[camera].project(joints_mm), axis=1)
        return float(np.nanmedian(apart)) if np.isfinite(apart).any() else np.inf


def _moved(cameras: Sequence[str], misses_px: Mapping[str, float]) -> str:
    """The sentence on cameras that see the hands elsewhere."""
    if len(cameras) == 1:
        return (
            f"Camera '{cameras[0]}' misses the hands of the other views by {misses_px[cameras[0]]:.0f} px: it was "
            "moved, swapped or set to another picture size since the calibration, or its clock is off "
            "(`python -m rt_hands.evaluate clocks` tells). Calibrate again or leave it out."
        )
    names = " and ".join(f"'{camera}'" for camera in cameras)
    amounts = " and ".join(f"{misses_px[camera]:.0f}" for camera in cameras)
    return (
        f"Cameras {names} miss the hands of the other views by {amounts} px: they were swapped, moved or set to "
        "another picture size since the calibration. Check which source is which, calibrate again or leave them out."
    )
