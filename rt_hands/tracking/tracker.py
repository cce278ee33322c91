"""Two hands followed through one camera's pictures: where to look next, which hand is which, seen or lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rt_hands.inference.cpm import Read
from rt_hands.inference.preprocess import Crop
from rt_hands.layout import N_HANDS
from rt_hands.tracking.crops import (
    SMALL_HAND,
    Box,
    crop_round,
    crops_beside,
    extent_of,
    fine_search_crops,
    search_crops,
)
from rt_hands.tracking.readings import (
    HandsBuilder,
    Spot,
    assign_sides,
    distance,
    hands_in,
    is_same,
)
from rt_hands.tracking.thresholds import Thresholds, Timing
from rt_hands.tracking.track import SIDE_TURN, State, Track
from rt_hands.types import Hands2D

HELD_SCORE = 0.5
"""Scores of a held hand are halved: its points are a memory."""
OWN_CHANNELS = 0.5
"""A hand is read from its own side's channels while these have this share of the other side's evidence: points must not
hop between two readings of one hand whenever these are about even."""
WINDOW_MS, MOST_WINDOWS = 40.0, 4
"""Where hands are searched for, one window for so much time since the last frame."""
LARGE, SMALL, BESIDE = "large", "small", "beside"
NONE_FOLLOWED = (LARGE, LARGE, SMALL)
LARGE_FOLLOWED = (LARGE, BESIDE, LARGE, BESIDE, SMALL, BESIDE)
SMALL_FOLLOWED = (SMALL, SMALL, BESIDE, SMALL, SMALL, LARGE)
"""Kinds of search windows in turn. A small hand is of a person who stands back: the other one is as small."""
MOST_CLOSER = 2
"""Looks at a hint, each round what the one before saw."""
STILL = 0.06
"""A crop is kept while the hand stays this close to its middle, in crop sides: moving it adds jitter of its own."""
STILL_TURN_RAD = 0.15


@dataclass(frozen=True, slots=True)
class Look:
    """One crop to be read, and why: the hand followed in it; none for a search or a closer look at a hint.

    closer: which look at the hint it is, 0 for a search.
    """

    crop: Crop
    hand: int | None = None
    closer: int = 0


@dataclass(frozen=True, slots=True)
class Tracked:
    """Both hands in one frame of one camera.

    hands: smoothed (unless smoothing is off), with held hands in it. measured: this frame's reading, seen hands only.
    states: right, left.
    """

    hands: Hands2D
    measured: Hands2D
    states: tuple[State, State]


class Tracker:
    """Call `plan`, have the crops read in one batch, then `update`; once a frame, times in order.

    A hand is found by a pass over the picture (in turn the whole and windows of it) and looked at in its own crop in
    the next frame; if all but certain it is shown then, else when the one after confirms it; then it is followed crop
    to crop. Times are in ns: frame rates may vary.
    """

    def __init__(self) -> None:
        self.limits, self.timing = Thresholds(), Timing()
        self.smooth = True
        self._tracks = [Track(), Track()]
        self._crops: dict[int, Crop] = {}
        self._hints: list[Look] = []
        self._searches = 0
        self._turns = dict.fromkeys((LARGE, SMALL, BESIDE), 0)
        self._searched_ns: int | None = None
        self._changed_ns: int | None = None
        self._last_ns: int | None = None

    @property
    def states(self) -> tuple[State, State]:
        """Right, left; a hand not yet confirmed counts as lost."""
        right, left = (track.state if track.confirmed else State.LOST for track in self._tracks)
        return right, left

    def reset(self) -> None:
        """Forget both hands, as for another video."""
        for track in self._tracks:
            track.lose()
        self._crops, self._hints, self._last_ns = {}, [], None
        self._searched_ns = self._changed_ns = None

    def adopt(self, hands: Hands2D, t_ns: int) -> Tracked:
        """Follow a Detector's hands in this frame from now on, and no others."""
        self.reset()
        self._last_ns = t_ns
        for hand in np.flatnonzero(hands.present).tolist():
            track = self._tracks[hand]
            track.hold_at(hands.hand(hand), t_ns, self.limits.point_in_box)
            if track.alive:
                track.state, track.presence = State.SEEN, float(hands.presence[hand])
        return self._report(t_ns)

    def tell(self, hand: int, points_px: NDArray[np.float32], t_ns: int) -> None:
        """Place a lost hand where the other views of a rig see it: (85, 3). The next frames confirm or drop it."""
        if not self._tracks[hand].alive:
            self._tracks[hand].hold_at(points_px, t_ns, self.limits.point_in_box)

    def follows(self, hand: int) -> bool:
        """Whether a hand is seen or held."""
        return self._tracks[hand].alive

    def lapsed(self, t_ns: int) -> bool:
        """Whether a frame of this time comes too long after the last one, or before it: `plan` then starts anew."""
        longest_ns = self.timing.longest_step_ms * 1e6
        return self._last_ns is not None and not 0 <= t_ns - self._last_ns <= longest_ns

    def forget(self, hand: int) -> None:
        """Give up a hand: the other views of a rig see it elsewhere."""
        self._tracks[hand].lose()

    def exchange(self) -> None:
        """Right and left under each other's name, as the other views of a rig say."""
        self._tracks.reverse()
        self._crops = {1 - hand: crop for hand, crop in self._crops.items()}
        for track in self._tracks:
            track.side_log_ratio *= -1

    # --- where to look ------------------------------------------------------------------------------------

    def plan(self, size_px: tuple[int, int], t_ns: int) -> list[Look]:
        """The crops to read in the frame of time t_ns: (width, height) px. One in the steady state."""
        if self.lapsed(t_ns):
            self.reset()
        interval_ms = 0.0 if self._last_ns is None else (t_ns - self._last_ns) * 1e-6
        self._last_ns = t_ns
        looks = self._follow(t_ns)
        if all(track.alive for track in self._tracks):
            return looks
        if self._hints:
            return looks + self._hints
        if not looks or self._search_is_due(t_ns):
            self._searched_ns = t_ns
            # A slow camera leaves time for more: at 6 fps one window a frame would take a second and a half.
            windows = int(min(max(interval_ms / WINDOW_MS, 1), MOST_WINDOWS))
            looks += [Look(self._next_window(size_px)) for _ in range(windows)]
        return looks

    def _follow(self, t_ns: int) -> list[Look]:
        self._crops = {hand: crop for hand, crop in self._crops.items() if self._tracks[hand].alive}
        return [self._look(hand, t_ns) for hand, track in enumerate(self._tracks) if track.alive]

    def _look(self, hand: int, t_ns: int) -> Look:
        track, least = self._tracks[hand], self.limits.point_in_box
        points, last = track.predicted(t_ns), self._crops.get(hand)
        crop = crop_round(points, least, track.motion_px(t_ns))
        if last is not None and _nearly(crop, last) and last.holds(*extent_of(points, least, last.turn_rad)):
            crop = last
        self._crops[hand] = crop
        return Look(crop, hand)

    def _search_is_due(self, t_ns: int) -> bool:
        timing = self.timing
        soon = self._changed_ns is not None and t_ns - self._changed_ns < timing.soon_for_ms * 1e6
        every_ms = timing.search_soon_ms if soon else timing.search_every_ms
        return self._searched_ns is None or t_ns - self._searched_ns >= every_ms * 1e6

    def _next_window(self, size_px: tuple[int, int]) -> Crop:
        """The search windows of each kind in turn, the kinds in the order that suits what is followed."""
        followed = next((t for t in self._tracks if t.confirmed and t.box is not None), None)
        of_kind = {LARGE: search_crops(size_px), SMALL: fine_search_crops(size_px)}
        order: tuple[str, ...] = NONE_FOLLOWED if len(of_kind[LARGE]) > 1 else NONE_FOLLOWED[1:]
        if followed is not None and followed.box is not None:
            is_small = followed.box.size_px < SMALL_HAND * min(size_px)
            order = SMALL_FOLLOWED if is_small else LARGE_FOLLOWED
            of_kind[BESIDE] = tuple(crops_beside(followed.points_px, self.limits.point_in_box)[1:])
        kinds = [kind for kind in order if of_kind[kind]]
        kind = kinds[self._searches % len(kinds)]
        self._searches += 1
        turn, self._turns[kind] = self._turns[kind], self._turns[kind] + 1
        return of_kind[kind][turn % len(of_kind[kind])]

    # --- what was seen ------------------------------------------------------------------------------------

    def update(self, looks: Sequence[Look], read: Read, t_ns: int) -> Tracked:
        """Take in what the network says of the crops of `plan`, in the same order."""
        before = self.states
        seen: set[int] = set()
        spare: list[Spot] = []
        for i, look in enumerate(looks):
            if look.hand is not None and self._take_followed(
                look.hand, self._spots(read, i, look), t_ns, spare
            ):
                seen.add(look.hand)
        seen -= self._drop_double(seen)
        self._hold_or_lose(seen, t_ns)
        self._turn_sides()
        self._hints = []
        for i, look in enumerate(looks):
            if look.hand is None:
                found = self._spots(read, i, look)
                spare += found if look.closer else []
                if look.closer < MOST_CLOSER:
                    self._hint(found, look)
        self._start_new(spare, t_ns)
        if [state is State.LOST for state in before] != [state is State.LOST for state in self.states]:
            self._changed_ns = t_ns
        return self._report(t_ns)

    def _spots(self, read: Read, crop: int, look: Look) -> list[Spot]:
        """The hands in a crop, by the thresholds of what it was read for."""
        bar = self.limits.found
        if look.hand is not None:
            bar = self.limits.kept
        elif not look.closer:
            bar = self.limits.hinted
        return hands_in(read, crop, bar, self.limits, self.limits.bone)

    def _is_strong(self, spot: Spot, hand: int | None = None) -> bool:
        """Whether a spot is sure enough for a new hand: surer beside one that is there, all but certain upon it.

        Two readings of one hand that share its fingers look like a second one now and then.
        """
        limits = self.limits
        if not self._boxes(hand):
            return spot.reaches(limits.found)
        # The side is known then, so one side's reading must reach the bar alone.
        return spot.best.reaches(limits.certain if self._is_upon(spot, hand) else limits.second)

    def _boxes(self, hand: int | None) -> list[Box]:
        """Of the hands that are there, but for one."""
        return [t.box for h, t in enumerate(self._tracks) if h != hand and t.confirmed and t.box is not None]

    def _is_upon(self, spot: Spot, hand: int | None = None) -> bool:
        """Whether a spot lies upon a hand that is there, other than the given one."""
        return any(spot.best.box.overlap(box) > self.limits.upon for box in self._boxes(hand))

    def _take_followed(self, hand: int, found: list[Spot], t_ns: int, spare: list[Spot]) -> bool:
        """Give a followed hand the spot of its crop nearest to it, whatever side it looks like; the rest is spare."""
        track = self._tracks[hand]
        spot = min(found, key=lambda spot: self._far(hand, spot), default=None)
        spare += [other for other in found if other is not spot]
        if spot is None or (not track.confirmed and not self._is_strong(spot, hand)):
            return False
        track.weigh_side(spot, hand)
        # Its own channels while they are anywhere near as sure; else the other side's, under this hand's name.
        own_is_good = spot.evidence(hand) >= OWN_CHANNELS * spot.best.evidence
        track.follow(spot.as_side(hand if own_is_good else spot.best.side), t_ns)
        return True

    def _far(self, hand: int, spot: Spot) -> float:
        """Distance of a spot from a hand's last place, in hand sizes; 0 for a hand without a past."""
        last = self._tracks[hand].as_sighting(hand)
        if last is None:
            return 0.0
        return min(distance(last, sighting) for sighting in spot.by_side if sighting is not None)

    def _drop_double(self, seen: set[int]) -> set[int]:
        """The hand to give up where both tracks sit on one hand: the one whose side is less sure."""
        if len(seen) < 2:
            return set()
        right, left = (track.as_sighting(hand) for hand, track in enumerate(self._tracks))
        if right is None or left is None or not is_same(right, left, self.limits):
            return set()
        weaker = min(seen, key=lambda hand: self._tracks[hand].side_log_ratio)
        self._tracks[weaker].lose()
        return {weaker}

    def _hold_or_lose(self, seen: set[int], t_ns: int) -> None:
        for hand, track in enumerate(self._tracks):
            if hand in seen or not track.alive:
                continue
            track.state = State.HELD
            if not track.confirmed or t_ns - track.seen_ns > self.timing.hold_ms * 1e6:
                track.lose()

    def _turn_sides(self) -> None:
        """Swap the places where the evidence has long been for the other side, and nothing stands against it."""
        wrong = [track.alive and track.side_log_ratio < SIDE_TURN for track in self._tracks]
        if all(wrong) or any(wrong[h] and not self._tracks[1 - h].alive for h in range(N_HANDS)):
            self.exchange()

    def _hint(self, found: list[Spot], look: Look) -> None:
        """Remember hands seen in a search, away from those followed, for a closer look in the next frame.

        So are those that a closer look does not show well enough: a search may have placed them beside themselves.
        """
        free = sum(not track.alive for track in self._tracks)
        fresh = [spot for spot in found if not self._is_followed(spot)]
        if look.closer:
            fresh = [spot for spot in fresh if not self._is_strong(spot)]
        fresh.sort(key=self._is_upon)
        kept = fresh[: free - len(self._hints)]
        self._hints += [Look(spot.best.closer(self.limits), closer=look.closer + 1) for spot in kept]

    def _is_followed(self, spot: Spot) -> bool:
        """Whether a spot is a hand already followed, or a part of one."""
        followed = (track.as_sighting(hand) for hand, track in enumerate(self._tracks) if track.alive)
        return any(hand is not None and spot.is_of(hand, self.limits) for hand in followed)

    def _start_new(self, spare: list[Spot], t_ns: int) -> None:
        """Start hands in free places with spots that are strong enough to be found."""
        limits = self.limits
        strong = [spot for spot in spare if self._is_strong(spot) and not self._is_followed(spot)]
        # Beside a hand that is there a second one must be seen twice.
        at_once = not any(track.confirmed for track in self._tracks)
        for side, spot in assign_sides(strong[:4], limits).items():
            place = side if not self._tracks[side].alive else 1 - side
            allowed = place == side or spot.evidence(place) >= limits.side_ratio * spot.evidence(side)
            if self._tracks[place].alive or not allowed:
                continue
            self._tracks[place].start(spot.as_side(place), t_ns)
            self._tracks[place].weigh_side(spot, place)
            self._tracks[place].confirmed = at_once and spot.reaches(limits.certain)

    def _report(self, t_ns: int) -> Tracked:
        hands, measured = HandsBuilder(), HandsBuilder()
        for hand, track in enumerate(self._tracks):
            if not track.confirmed or track.box is None:
                continue
            points = track.points_px.copy()
            if track.state is State.SEEN:
                measured.put(hand, points, track.presence)
            smoothed = track.filter(points[:, :2], t_ns, track.box.size_px)
            if self.smooth:
                points[:, :2] = smoothed
            points[:, 2] *= 1.0 if track.state is State.SEEN else HELD_SCORE
            hands.put(hand, points, track.presence)
        return Tracked(hands.build(), measured.build(), self.states)


def _nearly(a: Crop, b: Crop) -> bool:
    """Whether two crops show about the same: centres within `STILL` of a side, sides within a tenth, turned alike."""
    apart = max(abs(p - q) for p, q in zip(a.centre_px, b.centre_px, strict=True))
    turned = abs((a.turn_rad - b.turn_rad + np.pi) % (2 * np.pi) - np.pi)
    return apart < STILL * b.side and abs(a.side - b.side) < 0.1 * b.side and turned < STILL_TURN_RAD
