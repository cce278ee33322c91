"""Hands over time in a calibrated rig: smoothed in 3D, held through a blink, sides kept, drawn back into every view."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Rig
from rt_hands.layout import MIRROR, N_HAND, N_HANDS, N_JOINTS, hand_slice
from rt_hands.lifting.lift import lift
from rt_hands.lifting.rtc import Rtc
from rt_hands.tracking.one_euro import OneEuro, Smoothing
from rt_hands.tracking.tracker import Tracker
from rt_hands.types import Hands2D, Hands3D

SMOOTHING_3D = Smoothing(min_cutoff_hz=2.0, beta=12.0, d_cutoff_hz=2.0)
HOLD_MS = 200.0
"""A hand that can't be lifted for this long is gone; as in one view."""
HELD_SCORE = 0.5
EXCHANGE_RATIO = 0.5
"""A view's hands are renamed where they lie this much nearer to the rig's other hand."""
LEAST_INSIDE = 0.5
"""A view is told of a hand only where at least this share of it is in the picture."""
MEMORY_MS = 500.0
"""For this long a hand's last place says which hand is which."""
NEW_HAND_MM = 300.0
"""What a hand without a past costs against one that keeps its place: a lone hand within half of it of where the other
one just was is that other one."""
TURN_FRAMES = 15
"""So many frames in a row must name the hands the other way round before they turn: half a second at 30 fps."""


@dataclass(frozen=True, slots=True)
class RigTracked:
    """hands: smoothed, with held hands in it. measured: this moment alone. agreed: {camera: `hands` drawn back}."""

    hands: Hands3D
    measured: Hands3D
    agreed: Mapping[str, Hands2D]


class RigTracker:
    """Call `update` once a FrameSet with what each view measured, times in order; ns."""

    def __init__(self, rig: Rig, rtc: Rtc | None = None, smooth: bool = True) -> None:
        self.rig = rig
        self.smooth = smooth
        self._rtc = rtc
        self._filters = tuple(OneEuro(SMOOTHING_3D) for _ in range(N_HANDS))
        self._last = Hands3D.empty()
        self._seen_ns = [-(10**18)] * N_HANDS
        self._against = 0

    def update(self, views: Mapping[str, Hands2D], t_ns: int) -> RigTracked:
        """Lift the hands of the views that are there: {camera id: measured hands}."""
        measured = self._keep_sides(lift(views, self.rig, rtc=self._rtc), t_ns)
        hands = self._hold_and_smooth(measured, t_ns)
        return RigTracked(hands, measured, reproject(hands, self.rig))

    def _keep_sides(self, hands: Hands3D, t_ns: int) -> Hands3D:
        """Exchange right and left where that fits the hands' last places much better, unless it has long been so."""
        fresh = [t_ns - seen <= MEMORY_MS * 1e6 for seen in self._seen_ns]
        stay, turn = (_distance_mm(self._last, hands, fresh, order) for order in ((0, 1), (1, 0)))
        if not turn < 0.5 * stay:
            self._against = 0
            return hands
        self._against += 1
        if self._against >= TURN_FRAMES:
            self._against = 0
            for one_euro in self._filters:
                one_euro.reset()
            return hands
        return exchanged(hands)

    def _hold_and_smooth(self, measured: Hands3D, t_ns: int) -> Hands3D:
        points = measured.points_world_mm.copy()
        score, present = measured.score.copy(), measured.present.copy()
        for hand in range(N_HANDS):
            at = hand_slice(hand)
            if present[hand]:
                self._seen_ns[hand] = t_ns
                if self.smooth:
                    points[at] = self._smoothed(hand, points[at], t_ns)
            elif t_ns - self._seen_ns[hand] <= HOLD_MS * 1e6 and self._last.present[hand]:
                points[at], present[hand] = self._last.hand_mm(hand), True
                score[at] = HELD_SCORE * self._last.score[at]
            else:
                self._filters[hand].reset()
        hands = replace(measured, points_world_mm=points, score=score, present=present)
        self._last = hands if self._all_measured(measured, hands) else self._remember(hands, measured)
        return hands

    def _smoothed(self, hand: int, points_mm: NDArray[np.float64], t_ns: int) -> NDArray[np.float64]:
        """Missing joints stay missing; a hand whose missing joints change starts its filter anew."""
        there = np.isfinite(points_mm[:, 0])
        palm_mm = float(np.nan_to_num(np.linalg.norm(points_mm[9] - points_mm[0]), nan=85.0))
        if not there.all():
            self._filters[hand].reset()
            return points_mm
        return self._filters[hand](points_mm, t_ns, 2 * palm_mm)

    @staticmethod
    def _all_measured(measured: Hands3D, hands: Hands3D) -> bool:
        return bool((measured.present == hands.present).all())

    def _remember(self, hands: Hands3D, measured: Hands3D) -> Hands3D:
        """`hands` with held hands at their full score, so that holding does not halve it again and again."""
        score = hands.score.copy()
        for hand in np.flatnonzero(hands.present & ~measured.present).tolist():
            score[hand_slice(hand)] = self._last.score[hand_slice(hand)]
        return replace(hands, score=score)


def exchanged(hands: Hands3D) -> Hands3D:
    """Right and left under each other's name."""
    return Hands3D(
        hands.points_world_mm[MIRROR],
        hands.score[MIRROR],
        hands.residual_px[MIRROR],
        hands.views[MIRROR],
        hands.present[::-1].copy(),
    )


def _distance_mm(last: Hands3D, now: Hands3D, fresh: list[bool], order: tuple[int, int]) -> float:
    """Mean distance of the joints of hand h now from hand order[h] then, over hands known both times; NaN for none."""
    apart = []
    for hand, before in enumerate(order):
        if now.present[hand] and fresh[before] and last.present[before]:
            joints = now.hand_mm(hand)[:N_JOINTS] - last.hand_mm(before)[:N_JOINTS]
            apart.append(float(np.nanmean(np.linalg.norm(joints, axis=1))))
    return float(np.mean(apart)) if apart else (NEW_HAND_MM if order == (0, 1) else np.nan)


def advise(tracker: Tracker, measured: Hands2D, agreed: Hands2D, t_ns: int, size_px: tuple[int, int]) -> None:
    """Tell a view's own tracker what the rig knows: which hand is which, and where a hand is that it lost.

    measured: what the view saw itself; agreed: the rig's hands drawn back into it; size_px: (width, height).
    """
    joints = [(h.points_px.reshape(N_HANDS, N_HAND, 3)[:, :N_JOINTS, :2]) for h in (measured, agreed)]
    stay, turn = (np.linalg.norm(joints[0] - joints[1][order], axis=2) for order in ([0, 1], [1, 0]))
    if np.isfinite(turn).any() and (
        not np.isfinite(stay).any() or np.nanmedian(turn) < EXCHANGE_RATIO * np.nanmedian(stay)
    ):
        tracker.exchange()
    for hand in range(N_HANDS):
        points = agreed.hand(hand)
        inside = ((points[:, :2] >= 0) & (points[:, :2] < size_px)).all(1)
        # A track steps on from all its joints: a hand with one that could not be triangulated is no place to start.
        whole = bool(np.isfinite(points[:, :2]).all())
        if agreed.present[hand] and whole and inside.mean() > LEAST_INSIDE:
            tracker.tell(hand, points, t_ns)


def reproject(hands: Hands3D, rig: Rig) -> dict[str, Hands2D]:
    """The hands drawn back into every view: {camera: Hands2D}; absent where all of a hand lies outside the picture."""
    points_px = np.full((len(rig), N_HANDS * N_HAND, 3), np.nan, np.float32)
    points_px[..., :2] = rig.project(hands.points_world_mm)
    inside = ((points_px[..., :2] >= -0.5) & (points_px[..., :2] < rig.size_px[:, None] - 0.5)).all(2)
    seen = inside.reshape(len(rig), N_HANDS, N_HAND).any(2) & hands.present
    gone = np.repeat(~seen, N_HAND, axis=1) | ~np.isfinite(points_px[..., 0])
    points_px[..., 2] = hands.score
    points_px[gone] = (np.nan, np.nan, 0)
    presence = hands.score.reshape(N_HANDS, N_HAND).max(1)
    return {
        camera: Hands2D(points_px[v], seen[v], (presence * seen[v]).astype(np.float32))
        for v, camera in enumerate(rig.ids)
    }
