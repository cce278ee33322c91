"""Hands over time in a calibrated rig: smoothed in 3D, held through a blink, sides kept, drawn back into every view."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Rig
from rt_hands.layout import MIRROR, N_HAND, N_HANDS, N_JOINTS, hand_slice
from rt_hands.lifting.chirality import right_handedness
from rt_hands.lifting.lift import dressed, lift
from rt_hands.lifting.moment import OneMoment, middle
from rt_hands.lifting.rtc import Surface
from rt_hands.lifting.shape_prior import BONES, bone_lengths
from rt_hands.tracking.one_euro import OneEuro, Smoothing
from rt_hands.tracking.track import LEAST_STEP_S
from rt_hands.tracking.tracker import HELD_SCORE, Tracker
from rt_hands.types import Frame, Hands2D, Hands3D

SMOOTHING_3D = Smoothing(min_cutoff_hz=2.0, beta=24.0, d_cutoff_hz=4.0)
"""On train people's takes hands of 0.3 to 0.6 m/s are lifted to 4.4 mm, come out at 4.6, and at 5.1 with a beta of 12
and a d_cutoff_hz of 2; resting ones tremble by 0.73 mm instead of 0.98, and 0.72."""
HOLD_MS = 200.0
"""A hand that can't be lifted for this long is gone; as in one view."""
EXCHANGE_RATIO = 0.5
"""A view's hands are renamed where they lie this much nearer to the rig's other hand."""
ELSEWHERE = 0.6
"""A view whose hand is this far from where the rig sees it, in sizes of the hand, follows another thing: a face."""
LEAST_INSIDE = 0.5
"""A view is told of a hand only where at least this share of it is in the picture."""
MEMORY_MS = 500.0
"""For this long a hand's last place says which hand is which."""
NEW_HAND_MM = 300.0
"""What a hand without a past costs against one that keeps its place: a lone hand within half of it of where the other
one just was is that other one."""
BONES_FROM, BONES_KEPT = 20, 90
"""Hands that a hand's own bone lengths are known from, and how many are kept: a median over 3 s at 30 fps."""
BONES_EVERY = 10
BONE_VIEWS = 17
"""So many joints must be seen by two views for a hand to say what its bones measure."""
TURN_FRAMES = 15
"""So many frames in a row must name the hands the other way round before they turn, where their shapes say nothing:
half a second at 30 fps ..."""
TURN_SHAPE = 1.5
"""... and at once when the shapes of the hands in those frames speak for it by this much, see `chirality`; one frame of
two bent hands says about 1."""


@dataclass(frozen=True, slots=True)
class RigTracked:
    """hands: smoothed, with held hands in it. measured: this moment alone. agreed: {camera: `hands` drawn back}."""

    hands: Hands3D
    measured: Hands3D
    agreed: Mapping[str, Hands2D]


class RigTracker:
    """Call `update` once a FrameSet with what each view measured, times in order; ns."""

    def __init__(self, rig: Rig, rtc: Surface | None = None, smooth: bool = True) -> None:
        self.rig = rig
        self.smooth = smooth
        self._rtc = rtc
        self._filters = tuple(OneEuro(SMOOTHING_3D) for _ in range(N_HANDS))
        self._bones_kept = tuple(deque[NDArray[np.float64]](maxlen=BONES_KEPT) for _ in range(N_HANDS))
        self._bones_mm = np.full((N_HANDS, len(BONES)), np.nan)
        self._learned = [0] * N_HANDS
        self._start()

    def _start(self) -> None:
        """Forget the past, but for the bones."""
        self._last = Hands3D.empty()
        self._seen_ns = [-(10**18)] * N_HANDS
        self._against = 0.0
        self._last_ns: int | None = None
        self._one_moment = OneMoment()
        self._velocity_mm_s = np.zeros((N_HANDS, 3))
        for one_euro in self._filters:
            one_euro.reset()

    @property
    def hands(self) -> Hands3D:
        """The last ones, with held hands in them."""
        return self._last

    def update(
        self, views: Mapping[str, Hands2D], t_ns: int, times_ns: Mapping[str, int] | None = None
    ) -> RigTracked:
        """Lift the hands of the views that are there: {camera id: measured hands}.

        t_ns: of the set; times_ns: of each view's picture where they differ, none earlier than t_ns. A time before the
        last one starts anew.
        """
        if self._last_ns is not None and t_ns < self._last_ns:
            self._start()
        self._last_ns = t_ns
        times_ns = times_ns or dict.fromkeys(views, t_ns)
        at_once = self._one_moment(views, times_ns)
        # Pictures may be missing from a set; one view alone gives absent hands.
        every = dict.fromkeys(self.rig.ids, Hands2D.empty()) | at_once
        measured = lift(every, self.rig, rtc=self._rtc, bones_mm=self._bones_mm)
        measured = self._keep_sides(measured, t_ns)
        self._learn_bones(measured)
        hands = self._hold_and_smooth(measured, t_ns)
        late_s = {camera: (times_ns.get(camera, t_ns) - t_ns) * 1e-9 for camera in self.rig.ids}
        return RigTracked(hands, measured, reproject(hands, self.rig, late_s, self._velocity_mm_s))

    def _learn_bones(self, measured: Hands3D) -> None:
        for hand, kept in enumerate(self._bones_kept):
            if (measured.views[hand_slice(hand)][:N_JOINTS] >= 2).sum() < BONE_VIEWS:
                continue
            kept.append(bone_lengths(measured.hand_mm(hand)[:N_JOINTS]))
            self._learned[hand] += 1
            if len(kept) >= BONES_FROM and self._learned[hand] % BONES_EVERY == 0:
                self._bones_mm[hand] = np.median(kept, axis=0)

    def _keep_sides(self, hands: Hands3D, t_ns: int) -> Hands3D:
        """Exchange right and left where that fits the hands' last places much better, unless it has long been so."""
        fresh = [t_ns - seen <= MEMORY_MS * 1e6 for seen in self._seen_ns]
        stay, turn = (_distance_mm(self._last, hands, fresh, order) for order in ((0, 1), (1, 0)))
        if not turn < 0.5 * stay:
            self._against = 0.0
            return hands
        self._against += 1 / TURN_FRAMES + max(_shapes_agree(hands), 0.0) / TURN_SHAPE
        if self._against >= 1:
            self._turn()
            return hands
        return exchanged(hands, self._rtc)

    def _turn(self) -> None:
        """The past under the hands' other names; filters start anew, as a hand of the other side has another skin."""
        self._against = 0.0
        self._last = exchanged(self._last, self._rtc)
        self._seen_ns.reverse()
        self._velocity_mm_s = self._velocity_mm_s[::-1].copy()
        for one_euro in self._filters:
            one_euro.reset()

    def _hold_and_smooth(self, measured: Hands3D, t_ns: int) -> Hands3D:
        points = measured.points_world_mm.copy()
        score, present = measured.score.copy(), measured.present.copy()
        for hand in range(N_HANDS):
            at = hand_slice(hand)
            if present[hand]:
                self._note_velocity(hand, points[at], t_ns)
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

    def _note_velocity(self, hand: int, points_mm: NDArray[np.float64], t_ns: int) -> None:
        """Of the whole hand: fingers that open and close move its points apart, which noise does too."""
        dt = (t_ns - self._seen_ns[hand]) * 1e-9
        step_mm = np.mean(points_mm[:N_JOINTS] - self._last.hand_mm(hand)[:N_JOINTS], axis=0)
        known = 0 < dt <= MEMORY_MS * 1e-3 and np.isfinite(step_mm).all()
        now = step_mm / max(dt, LEAST_STEP_S) if known else np.zeros(3)
        self._velocity_mm_s[hand] = 0.5 * (self._velocity_mm_s[hand] + now) if known else now

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


def _shapes_agree(hands: Hands3D) -> float:
    """How much the hands' shapes speak for their names, in palms; negative against them."""
    joints_mm = hands.points_world_mm.reshape(N_HANDS, N_HAND, 3)[:, :N_JOINTS]
    right, left = np.nan_to_num(right_handedness(joints_mm))
    return float(right - left)


def exchanged(hands: Hands3D, rtc: Surface | None = None) -> Hands3D:
    """Right and left under each other's name, each with the skin of its new side, see `dressed`."""
    points_mm, score = dressed(hands.points_world_mm[MIRROR], hands.score[MIRROR], rtc)
    return Hands3D(
        points_mm,
        score,
        hands.residual_px[MIRROR],
        hands.views[MIRROR],
        hands.present[::-1].copy(),
    )


def _distance_mm(last: Hands3D, now: Hands3D, fresh: list[bool], order: tuple[int, int]) -> float:
    """Mean distance of the joints of hand h now from hand order[h] then, over hands known both times; NaN for none."""
    apart = []
    for hand, before in enumerate(order):
        if now.present[hand] and fresh[before] and last.present[before]:
            step = now.hand_mm(hand)[:N_JOINTS] - last.hand_mm(before)[:N_JOINTS]
            step_mm = np.sqrt(np.einsum("ij,ij->i", step, step))
            apart.append(float(step_mm[np.isfinite(step_mm)].mean()))
    return sum(apart) / len(apart) if apart else (NEW_HAND_MM if order == (0, 1) else np.nan)


def advise(
    trackers: Mapping[str, Tracker],
    measured: Mapping[str, Hands2D],
    agreed: Mapping[str, Hands2D],
    frames: Sequence[Frame],
) -> None:
    """Tell each view's own tracker what the rig knows: which hand is which, and where a hand is that it lost.

    By camera: measured, what the view saw itself; agreed, the rig's hands drawn back into it. frames: the pictures.
    """
    own, rigs = (
        np.stack([of[f.camera].points_px for f in frames]).reshape(-1, N_HANDS, N_HAND, 3)[
            :, :, :N_JOINTS, :2
        ]
        for of in (measured, agreed)
    )
    stay, turn = (np.linalg.norm(own - rigs[:, order], axis=3) for order in ([0, 1], [1, 0]))
    # Infinite where a hand is missing on either side.
    stay_px, turn_px = middle(stay.reshape(len(frames), -1)), middle(turn.reshape(len(frames), -1))
    exchange = turn_px < EXCHANGE_RATIO * stay_px
    apart_px = middle(np.where(exchange[:, None, None], turn, stay))
    sizes_px = np.ptp(np.where(np.isnan(rigs), 0, rigs), axis=2).max(2)
    for view, frame in enumerate(frames):
        # By the view's own hands above, by the rig's from here on.
        apart = apart_px[view, ::-1] if exchange[view] else apart_px[view]
        elsewhere = apart > ELSEWHERE * sizes_px[view]
        saw, drawn = measured[frame.camera], agreed[frame.camera]
        _advise(trackers[frame.camera], saw, drawn, bool(exchange[view]), elsewhere, frame)


def _advise(
    tracker: Tracker,
    measured: Hands2D,
    agreed: Hands2D,
    exchange: bool,
    elsewhere: NDArray[np.bool_],
    frame: Frame,
) -> None:
    """One view. exchange: its hands are under each other's name; elsewhere: (2,) where the rig sees its hands."""
    if exchange:
        tracker.exchange()
    for hand in np.flatnonzero(agreed.present).tolist():
        if elsewhere[hand] and measured.present[1 - hand if exchange else hand]:
            tracker.forget(hand)
        if tracker.follows(hand):
            continue
        points = agreed.hand(hand)
        inside = ((points[:, :2] >= 0) & (points[:, :2] < frame.size_px)).all(1)
        # A track steps on from all its joints: a hand with one that could not be triangulated is no place to start.
        whole = bool(np.isfinite(points[:, :2]).all())
        if whole and inside.mean() > LEAST_INSIDE:
            tracker.tell(hand, points, frame.t_ns)


def reproject(
    hands: Hands3D,
    rig: Rig,
    late_s: Mapping[str, float] | None = None,
    velocity_mm_s: NDArray[np.float64] | None = None,
) -> dict[str, Hands2D]:
    """The hands drawn back into every view: {camera: Hands2D}; absent where all of a hand lies outside the picture.

    late_s: how much later than the hands each view's picture was taken, with the velocity (2, 3) of each hand.
    """
    points_px = np.full((len(rig), N_HANDS * N_HAND, 3), np.nan, np.float32)
    points_px[..., :2] = rig.project(hands.points_world_mm)
    if late_s is not None and velocity_mm_s is not None and (latest_s := max(late_s.values())) > 0:
        moved_mm = np.repeat(velocity_mm_s * latest_s, N_HAND, axis=0)
        share = np.array([late_s[camera] for camera in rig.ids]) / latest_s
        # Half a period is a straight line in the picture too.
        step_px = rig.project(hands.points_world_mm + moved_mm) - points_px[..., :2]
        points_px[..., :2] += share[:, None, None] * step_px
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
