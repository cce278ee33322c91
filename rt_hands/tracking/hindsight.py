"""Hands of a recording read anew, each in the crop that its past and its future give.

A tracker knows the past alone: it takes some frames to find a hand, loses it where hands cross, and cuts its crop where
it guesses the hand to be. Of a recording the future is known too: two trackers, one of them backwards in time, say
where each hand was; their path, filled and smoothed, gives the crops of a second reading, as they are and mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.inference.cpm import Cpm, Read, Told
from rt_hands.layout import N_HAND, N_HANDS, N_JOINTS
from rt_hands.tracking.both_ways import two_sizes
from rt_hands.tracking.crops import box_of, crop_round
from rt_hands.tracking.readings import HandsBuilder, Sighting, distance, sightings, spots
from rt_hands.tracking.thresholds import Thresholds
from rt_hands.tracking.tracker import OWN_CHANNELS
from rt_hands.tracking.two_way import HandPath, fill_gaps, smooth_two_way
from rt_hands.types import Hands2D, Image

Points = NDArray[np.float32]
LOOKED_FOR_MS: Final = 400.0
"""A hand that both trackers miss is looked for, on the way from where it was to where it comes back, for so long."""
ASTRAY: Final = 0.6
"""A reading so far from where the hand was expected, in sizes of the hand, is another thing."""
TRACKERS: Final = 2
UNSURE: Final = 1e-3
"""Evidence for a hand that was not read again: less than any reading has."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a hand (0 right, 1 left) is expected in a view: points_px (85, 3). seen_by: so many trackers saw it."""

    view: int
    hand: int
    points_px: Points
    seen_by: int

    def as_sighting(self) -> Sighting:
        """The expected hand in the form of a reading."""
        box = box_of(self.points_px, Thresholds().point_in_box) or box_of(self.points_px, -np.inf)
        assert box is not None  # for all 85 points there is one
        return Sighting(self.hand, self.points_px, 1.0, 1.0, box)


@dataclass(frozen=True, slots=True)
class Found:
    """A hand found in its place. evidence: for its side, 0..1."""

    place: Place
    sighting: Sighting
    evidence: float


def places(
    forward_px: Points, backward_px: Points, t_ns: NDArray[np.int64], there: NDArray[np.bool_]
) -> list[list[Place]]:
    """Where to look in each of T sets, from both trackers' hands (T, V, 170, 3).

    t_ns, there: (T, V) times of the pictures, and whether there is one. A hand that the two follow in different places
    is looked for in both.
    """
    found: list[list[Place]] = [[] for _ in t_ns]
    for view in range(t_ns.shape[1]):
        at = np.flatnonzero(there[:, view])
        for hand in range(N_HANDS):
            mine = slice(hand * N_HAND, (hand + 1) * N_HAND)
            forward, backward = forward_px[at, view, mine], backward_px[at, view, mine]
            path, other = _paths(forward, backward, t_ns[at, view])
            seen_by = np.isfinite(forward[:, 0, 0]) * 1 + np.isfinite(backward[:, 0, 0])
            seen_by[np.isfinite(other[:, 0, 0])] = 1  # each is seen by one of them
            for points in (path, other):
                for i in np.flatnonzero(np.isfinite(points[:, 0, 0])).tolist():
                    found[at[i]].append(Place(view, hand, points[i], int(seen_by[i])))
    return found


def _paths(forward: Points, backward: Points, t_ns: NDArray[np.int64]) -> tuple[Points, Points]:
    """One hand's path (T, 85, 3) by both trackers, and the other path where they follow different things."""
    seen_forward, seen_backward = (np.isfinite(points[:, 0, 0]) for points in (forward, backward))
    apart_px = np.linalg.norm((forward - backward)[:, :N_JOINTS, :2], axis=2).mean(1)
    size_px = np.ptp(np.nan_to_num(forward[:, :N_JOINTS, :2]), axis=1).max(1)
    agree = apart_px < Thresholds().same_hand * size_px
    path = np.where(seen_forward[:, None, None], forward, backward)
    path[agree] = (forward[agree] + backward[agree]) / 2
    other = backward.copy()
    other[~(seen_forward & seen_backward) | agree] = np.nan
    known = np.isfinite(path[:, 0, 0])
    hand = HandPath(t_ns, path[..., :2].astype(np.float64), path[..., 2], known, np.zeros(len(t_ns), bool))
    hand = smooth_two_way(fill_gaps(hand, LOOKED_FOR_MS))
    return np.concatenate([hand.points, hand.score[..., None]], 2).astype(np.float32), other


def look_again(
    cpm: Cpm,
    images: Sequence[Image | None],
    expected: Sequence[Place],
    limits: Thresholds,
    told: Told | None = None,
) -> list[Found]:
    """The hands in the crops round their places, all views in one engine call; images, told (see `Cpm`) by view."""
    shown = [(image, place) for place in expected if (image := images[place.view]) is not None]
    jobs = [(image, crop_round(place.points_px, limits.point_in_box)) for image, place in shown]
    read = two_sizes(cpm, jobs, told=[told[place.view] for _, place in shown] if told is not None else None)
    found = (_found(read, i, place, limits) for i, (_, place) in enumerate(shown))
    return [hand for hand in found if hand is not None]


def _found(read: Read, crop: int, place: Place, limits: Thresholds) -> Found | None:
    was = place.as_sighting()
    near = [
        (min(distance(s, was) for s in spot.by_side if s is not None), spot)
        for spot in spots(sightings(read, crop, limits.kept, limits), limits)
    ]
    far, spot = min(near, key=lambda pair: pair[0], default=(np.inf, None))
    if spot is None or far > ASTRAY:
        # Both trackers saw it, in crops of their own, so it stays where they did: as surely as a hand is kept.
        kept = replace(was, presence=limits.kept.presence)
        return Found(place, kept, UNSURE) if place.seen_by == TRACKERS else None
    evidence = spot.evidence(place.hand)
    own_is_good = evidence >= OWN_CHANNELS * spot.best.evidence
    sighting = spot.as_side(place.hand) if own_is_good else spot.best
    return Found(place, replace(sighting, side=place.hand), evidence)


def unsettled(found: Sequence[Sequence[Found]], views: int) -> list[list[Hands2D]]:
    """Both hands of each of T sets in each view as they were read, though both names may lie on one hand.

    For lifting, where the other views' rays say which name it is: on a rendered session 5.8 mm mean error against 7.2.
    """
    return [[_built(_strongest(hands, view)) for view in range(views)] for hands in found]


def settled(found: Sequence[Sequence[Found]], views: int, limits: Thresholds) -> list[list[Hands2D]]:
    """Both hands of each of T sets in each view.

    Where both names lie on one hand, the likelier over that time stays; the other falls back to what its tracker saw,
    if that was elsewhere: close hands draw a crop round one of them to the other.
    """
    sets = [[_strongest(hands, view) for view in range(views)] for hands in found]
    for view in range(views):
        column = [row[view] for row in sets]
        doubled = [len(pair) == N_HANDS and _is_one(pair, limits) for pair in column]
        first = 0
        for is_double, group in groupby(doubled):
            end = first + len(list(group))
            if is_double:
                total = [sum(pair[hand].evidence for pair in column[first:end]) for hand in range(N_HANDS)]
                for pair in column[first:end]:
                    _part(pair, int(np.argmin(total)), limits)
            first = end
    return [[_built(pair) for pair in row] for row in sets]


def _part(pair: dict[int, Found], weaker: int, limits: Thresholds) -> None:
    """Take one of two names from a hand."""
    hand = pair.pop(weaker)
    was = hand.place.as_sighting()
    if hand.place.seen_by and distance(was, pair[1 - weaker].sighting) >= limits.same_hand:
        pair[weaker] = replace(hand, sighting=replace(was, presence=hand.sighting.presence))


def _strongest(hands: Sequence[Found], view: int) -> dict[int, Found]:
    """By side: a hand looked for in two places counts where it is surer."""
    best: dict[int, Found] = {}
    for hand in hands:
        side = hand.sighting.side
        if hand.place.view == view and (side not in best or hand.evidence > best[side].evidence):
            best[side] = hand
    return best


def _is_one(pair: dict[int, Found], limits: Thresholds) -> bool:
    return distance(pair[0].sighting, pair[1].sighting) < limits.same_hand


def _built(pair: dict[int, Found]) -> Hands2D:
    builder = HandsBuilder()
    for side, hand in pair.items():
        builder.put(side, hand.sighting.points_px, hand.sighting.presence)
    return builder.build()
