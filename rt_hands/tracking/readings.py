"""From what the network says of some crops to hands: which channels are a hand, which side, which are the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import inf

import numpy as np
from numpy.typing import NDArray

from rt_hands import _core
from rt_hands.inference.cpm import Read
from rt_hands.inference.preprocess import Crop
from rt_hands.layout import N_HAND, N_HANDS, N_JOINTS, N_POINTS, hand_slice
from rt_hands.tracking.crops import MARGIN, Box, box_of, crop_round
from rt_hands.tracking.thresholds import Bar, Thresholds
from rt_hands.types import Hands2D

APART = 0.08
"""Readings of a point that lie further apart than this, in crop sides, are of different things: no mean of them."""

HINT_SLACK = 0.15
"""Least margin of a closer look, of the side of the crop that hinted at it: small hands are read as clumps."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """One side's channels of one crop, taken as a hand.

    side: 0 right, 1 left. points_px: (85, 3) x, y, peak. presence, peak: see `Thresholds`. box: round the points.
    crop_px: side of the crop.
    """

    side: int
    points_px: NDArray[np.float32]
    presence: float
    peak: float
    box: Box
    crop_px: float = 0.0

    @property
    def evidence(self) -> float:
        """Ranks sightings: presence times median peak, both in 0..1."""
        return self.presence * min(self.peak, 1.0)

    def reaches(self, bar: Bar) -> bool:
        """Whether presence and peak reach a bar."""
        return bar.reached(self.presence, self.peak)

    def closer(self, limits: Thresholds) -> Crop:
        """The crop for a closer look."""
        slack_px = max(HINT_SLACK * self.crop_px - MARGIN * self.box.size_px, 0.0)
        return crop_round(self.points_px, limits.point_in_box, slack_px / 2)


@dataclass(frozen=True, slots=True)
class Spot:
    """One hand in the picture, with its best reading as a right and as a left hand (at least one of them)."""

    by_side: tuple[Sighting | None, Sighting | None]

    @property
    def presence(self) -> float:
        """That a hand is here, be it a right or a left one: a probability."""
        right, left = (0.0 if s is None else s.presence for s in self.by_side)
        return 1 - (1 - right) * (1 - left)

    def reaches(self, bar: Bar) -> bool:
        """Whether presence and peak of a hand of either side reach a bar."""
        return bar.reached(self.presence, sum(s.peak for s in self.by_side if s is not None))

    def evidence(self, side: int) -> float:
        """Evidence for a side, 0 where it was not read so."""
        sighting = self.by_side[side]
        return 0.0 if sighting is None else sighting.evidence

    @property
    def best(self) -> Sighting:
        """The likelier reading."""
        found = [sighting for sighting in self.by_side if sighting is not None]
        return max(found, key=lambda sighting: sighting.evidence)

    def as_side(self, side: int) -> Sighting:
        """The hand as one of a side; where it was not read so, the other side's points under this side's name."""
        read = self.by_side[side] or self.best
        return replace(read, side=side, presence=self.presence)

    def is_of(self, hand: Sighting, limits: Thresholds) -> bool:
        """Whether one of the readings is this hand or a part of it."""
        return any(s is not None and is_of(s, hand, limits) for s in self.by_side)

    def joined(self, other: Spot) -> Spot:
        """Both as one spot: the stronger reading of each side."""
        pairs = [(self.by_side[side], other.by_side[side]) for side in range(N_HANDS)]
        right, left = (max(filter(None, pair), key=lambda s: s.evidence, default=None) for pair in pairs)
        return Spot((right, left))


def median_peak(points_px: NDArray[np.floating]) -> float:
    """Median peak of a hand's belief maps: (85, 3) x, y, peak."""
    # The median of 85 is the 43rd; np.partition is ten times faster than np.median.
    return float(np.partition(points_px[:, 2], N_HAND // 2)[N_HAND // 2])


def longest_bone(points_px: NDArray[np.floating], least_score: float) -> float:
    """The longest bone of a finger, px, of a hand (85, 3) x, y, peak: between joints whose peaks reach least_score."""
    return _core.longest_way(points_px[1:N_JOINTS], 4, least_score)


def sightings(read: Read, crop: int, bar: Bar, limits: Thresholds, longest: float = inf) -> list[Sighting]:
    """The hands in one crop of a `Read` that reach a bar: 0, 1 or 2 sightings, one a side at most.

    longest: the most that a bone of a finger may measure, in sizes of the hand, see `Thresholds.bone`.
    """
    found = []
    for side in range(N_HANDS):
        points = read.points_px[crop, side]
        presence = float(read.presence[crop, side])
        peak = median_peak(points)
        if not bar.reached(presence, peak):
            continue
        box = box_of(points, limits.point_in_box)
        # The other way round a NaN would pass.
        if box is None or not box.size_px >= bar.share * read.crops[crop].side:
            continue
        if longest == inf or longest_bone(points, limits.point_in_box) <= longest * box.size_px:
            found.append(Sighting(side, points, presence, peak, box, read.crops[crop].side))
    return found


def hands_in(read: Read, crop: int, bar: Bar, limits: Thresholds, longest: float = inf) -> list[Spot]:
    """The hands in one crop of a `Read` that reach a bar, a hand that could be either side by both sides together.

    longest: see `sightings`.
    """
    return [s for s in spots(sightings(read, crop, bar.half, limits, longest), limits) if s.reaches(bar)]


def distance(a: Sighting, b: Sighting) -> float:
    """Mean distance of corresponding joints, in sizes of the smaller hand."""
    *_, apart = _core.mean_step(a.points_px[:N_JOINTS], b.points_px[:N_JOINTS])
    return apart / max(min(a.box.size_px, b.box.size_px), 1.0)


def are_two(a: Sighting, b: Sighting, limits: Thresholds) -> bool:
    """Whether two readings are a right and a left hand, each all but certain, however near they lie."""
    certain = a.side != b.side and a.reaches(limits.certain) and b.reaches(limits.certain)
    return certain and distance(a, b) >= limits.same_hand_certain


def is_same(a: Sighting, b: Sighting, limits: Thresholds) -> bool:
    """Whether two readings are of one hand."""
    return distance(a, b) < limits.same_hand and not are_two(a, b, limits)


def is_of(reading: Sighting, hand: Sighting, limits: Thresholds) -> bool:
    """Whether a reading is this hand, or so small and so far inside its box that it must be some of its fingers."""
    near = distance(reading, hand) < limits.same_hand or _is_part(reading.box, hand.box, limits)
    return near and not are_two(reading, hand, limits)


def spots(found: Iterable[Sighting], limits: Thresholds) -> list[Spot]:
    """Sightings of the same hand brought together, likeliest first; parts of hands left out."""
    gathered: list[Spot] = []
    for sighting in sorted(found, key=lambda s: -s.evidence):
        new = Spot((sighting, None) if sighting.side == 0 else (None, sighting))
        near = next((i for i, spot in enumerate(gathered) if _same(spot, sighting, limits)), None)
        if near is None:
            gathered.append(new)
        else:
            gathered[near] = gathered[near].joined(new)
    return _without_parts(gathered, limits)


def _same(spot: Spot, sighting: Sighting, limits: Thresholds) -> bool:
    return any(other is not None and is_same(other, sighting, limits) for other in spot.by_side)


def _is_part(small: Box, large: Box, limits: Thresholds) -> bool:
    return small.size_px < limits.part_size * large.size_px and small.overlap(large) > limits.part_inside


def _without_parts(found: list[Spot], limits: Thresholds) -> list[Spot]:
    """Without those that are a part of another one."""
    best = [spot.best for spot in found]
    return [
        spot
        for spot in found
        if not any(
            _is_part(spot.best.box, other.box, limits) and not are_two(spot.best, other, limits)
            for other in best
        )
    ]


def joined(a: Read, b: Read) -> Read:
    """Two readings of the same crops as one: points by their scores, but the surer where they lie apart."""
    first, second = np.maximum(a.points_px[..., 2:], 1e-3), np.maximum(b.points_px[..., 2:], 1e-3)
    points = (a.points_px * first + b.points_px * second) / (first + second)
    sides = np.array([crop.side for crop in a.crops], np.float32).reshape(-1, 1, 1)
    apart = np.hypot(*np.moveaxis(a.points_px[..., :2] - b.points_px[..., :2], -1, 0)) > APART * sides
    surer = np.where(first > second, a.points_px, b.points_px)
    mean = np.where(apart[..., None], surer, points).astype(np.float32)
    mean[..., 2] = (a.points_px[..., 2] + b.points_px[..., 2]) / 2
    presence = ((a.presence + b.presence) / 2).astype(np.float32)
    return Read(mean, presence, a.crops, a.belief_maps)


def assign_sides(found: Sequence[Spot], limits: Thresholds) -> dict[int, Spot]:
    """At most one spot per side: the choice with the most evidence in all. Keys are sides."""
    best: dict[int, Spot] = {}
    best_evidence = 0.0
    options: list[Spot | None] = [None, *found]
    for right in options:
        for left in options:
            chosen = {side: spot for side, spot in enumerate((right, left)) if spot is not None}
            if right is left or not all(_may_be(spot, side, limits) for side, spot in chosen.items()):
                continue
            evidence = sum(spot.evidence(side) for side, spot in chosen.items())
            if evidence > best_evidence:
                best, best_evidence = chosen, evidence
    return best


def _may_be(spot: Spot, side: int, limits: Thresholds) -> bool:
    return spot.evidence(side) >= max(limits.side_ratio * spot.evidence(1 - side), 1e-9)


@dataclass(slots=True)
class HandsBuilder:
    """Collects hands, then gives a `Hands2D`."""

    points_px: NDArray[np.float32] = field(default_factory=lambda: Hands2D.empty().points_px)
    presence: NDArray[np.float32] = field(default_factory=lambda: np.zeros(N_HANDS, np.float32))
    present: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(N_HANDS, bool))

    def put(self, side: int, points_px: NDArray[np.floating], presence: float) -> None:
        """Set one hand: (85, 3) x, y, score."""
        self.points_px[hand_slice(side)] = points_px
        self.presence[side] = presence
        self.present[side] = True

    def build(self) -> Hands2D:
        """The hands put so far; scores in 0..1."""
        points = self.points_px.reshape(N_POINTS, 3)
        # A third of the time of np.clip.
        np.maximum(points[:, 2], 0, out=points[:, 2])
        np.minimum(points[:, 2], 1, out=points[:, 2])
        return Hands2D(points, self.present, self.presence)
