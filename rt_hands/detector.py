"""Hands in single pictures: `Detector()(image_bgr) -> Hands2D`."""

from __future__ import annotations

import numpy as np

from rt_hands.clock import StageClock
from rt_hands.errors import InvalidInput
from rt_hands.inference.cpm import Cpm, Read
from rt_hands.tracking.crops import crop_round, fine_search_crops, search_crops, without_hands
from rt_hands.tracking.readings import (
    HandsBuilder,
    Sighting,
    Spot,
    assign_sides,
    distance,
    is_part,
    joined,
    sightings,
    spots,
)
from rt_hands.tracking.thresholds import Bar, Thresholds
from rt_hands.types import Hands2D, Image


class Detector:
    """Finds up to one right and one left hand in a picture of any size.

    A coarse pass over the whole picture and large windows of it, in one batch; small windows if that finds nothing.
    Then a crop round each hand found, turned so that it points up, read as it is and mirrored, and once more from
    there: each pass sees the hand more as the network knows hands. Where one hand is found, it is painted over and the
    other is looked for: two that meet draw the network's first look to one of them. A hand is present only where the
    presence head and the belief maps agree in its own crop; otherwise its points are NaN with score 0.

    engine, model, threads: see `open_engine` and `find_model`; cpm: a network already loaded, used instead.
    mirror: read crops mirrored, too: nearly twice the time for a tenth less error.
    """

    def __init__(
        self,
        engine: str = "auto",
        model: str = "default",
        threads: int | None = None,
        limits: Thresholds | None = None,
        cpm: Cpm | None = None,
        mirror: bool = True,
    ) -> None:
        self.cpm = cpm or Cpm.load(model, engine, threads)
        self.limits = limits or Thresholds()
        self.mirror = mirror

    def __call__(self, image_bgr: Image, clock: StageClock | None = None) -> Hands2D:
        """The hands in a picture: (h, w, 3) uint8 BGR. Raises InvalidInput for anything else."""
        _check(image_bgr)
        clock = clock or StageClock()
        hands = self._close_looks(image_bgr, self._search(image_bgr, clock), clock)
        if len(hands) == 1:
            hands += self._other(image_bgr, hands[0], clock)
        return _settle(assign_sides(hands, self.limits))

    def close(self) -> None:
        """Free the engine."""
        self.cpm.close()

    def _search(self, image: Image, clock: StageClock) -> list[Spot]:
        """What a pass over the picture hints at, likeliest first; at most three."""
        limits, size_px = self.limits, (image.shape[1], image.shape[0])
        for windows in (search_crops, fine_search_crops):
            read = self.cpm([(image, crop) for crop in windows(size_px)], clock)
            seen = (s for i in range(len(read.crops)) for s in sightings(read, i, limits.hinted, limits))
            found = spots(seen, limits)
            if found:
                return found[:3]
        return []

    def _close_looks(
        self, image: Image, found: list[Spot], clock: StageClock, known: Sighting | None = None
    ) -> list[Spot]:
        """Hints looked at twice in crops of their own; hands that are none, or `known` already, are left out."""
        for bar in (self.limits.hinted, self.limits.found):
            hands = [spot.best for spot in found]
            read = self._both_ways(image, hands, clock)
            nearest = (self._nearest(read, i, hand, bar, known) for i, hand in enumerate(hands))
            found = spots((s for spot in nearest if spot for s in spot.by_side if s), self.limits)
        return found

    def _both_ways(self, image: Image, hands: list[Sighting], clock: StageClock) -> Read:
        """Crops round hands read as they are and mirrored, and both readings joined."""
        crops = [crop_round(hand.points_px, self.limits.point_in_box) for hand in hands]
        if not self.mirror:
            return self.cpm([(image, crop) for crop in crops], clock)
        width = image.shape[1]
        flipped = np.ascontiguousarray(image[:, ::-1])
        jobs = [(image, crop) for crop in crops] + [(flipped, crop.mirrored(width)) for crop in crops]
        read = self.cpm(jobs, clock)
        return joined(read.part(0, len(crops)), read.part(len(crops), len(jobs)).mirrored(width))

    def _nearest(
        self, read: Read, crop: int, hand: Sighting, bar: Bar, known: Sighting | None
    ) -> Spot | None:
        """The readings of a hand in the crop made for it; other hands in there are cut off and left out."""
        found = spots(sightings(read, crop, bar, self.limits), self.limits)
        if known is not None:
            found = [spot for spot in found if not self._is(spot, known)]
        return min(found, default=None, key=lambda spot: distance(spot.best, hand))

    def _is(self, spot: Spot, hand: Sighting) -> bool:
        """Whether one of a spot's readings is this hand or a part of it."""
        limits = self.limits
        return any(
            distance(s, hand) < limits.same_hand or is_part(s.box, hand.box, limits)
            for s in spot.by_side
            if s is not None
        )

    def _other(self, image: Image, first: Spot, clock: StageClock) -> list[Spot]:
        """The other hand, looked for where the first is painted over: one spot or none."""
        known, bar = first.best, self.limits.painted_over
        alone = without_hands(image, [known.points_px])
        hints = [spot for spot in self._search(alone, clock) if not self._is(spot, known)]
        found = self._close_looks(image, hints[:2], clock, known)[:1]
        return [s for s in found if s.best.presence >= bar.presence and s.best.peak >= bar.peak]


def _settle(hands: dict[int, Spot]) -> Hands2D:
    builder = HandsBuilder()
    for side, spot in hands.items():
        sighting = spot.as_side(side)
        builder.put(side, sighting.points_px, sighting.presence)
    return builder.build()


def _check(image: Image) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InvalidInput(f"The picture is {got}; wanted uint8 (h, w, 3) in BGR order, as cv2.imread gives.")
    if image.size == 0:
        raise InvalidInput(f"The picture is empty: {image.shape}.")
