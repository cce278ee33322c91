"""Hands in single pictures: `Detector()(image_bgr) -> Hands2D`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rt_hands.clock import StageClock
from rt_hands.errors import InvalidInput
from rt_hands.inference.cpm import Cpm, Read, Told
from rt_hands.inference.preprocess import Crop
from rt_hands.tracking.both_ways import both_ways, two_sizes
from rt_hands.tracking.crops import SMALL_HAND, crops_beside, fine_search_crops, search_crops
from rt_hands.tracking.readings import (
    HandsBuilder,
    Sighting,
    Spot,
    assign_sides,
    distance,
    hands_in,
    is_of,
    sightings,
    spots,
)
from rt_hands.tracking.thresholds import Bar, Thresholds
from rt_hands.types import Hands2D, Image


class Detector:
    """Finds up to one right and one left hand in a picture of any size.

    A coarse pass over the whole picture and large windows of it, in one batch; small windows if that finds nothing.
    Then a crop round each hand found, turned so that it points up, read as it is and mirrored, and once more from
    there: each pass sees the hand more as the network knows hands. Where one hand is found, the other is looked for in
    wider crops round it, for two that meet draw the network's first look to one of them; then, where it is small, in
    the small windows. A hand is present only where the presence head and the belief maps agree in its own crop;
    otherwise its points are NaN with score 0.

    Use as a context manager, or close it.
    engine, model, threads: see `open_engine` and `find_model`; cpm: a network already loaded, used instead; closing
    that is the caller's.
    alone: one camera's pictures; in a rig, False, a second hand must be surer, for other views show one that is missed.
    mirror: read crops mirrored, too, the last time in two sizes: over twice the time for a seventh less error.
    """

    def __init__(
        self,
        engine: str = "auto",
        model: str | Path = "default",
        threads: int | None = None,
        limits: Thresholds | None = None,
        cpm: Cpm | None = None,
        mirror: bool = True,
        alone: bool = True,
    ) -> None:
        if not isinstance(model, str | Path):
            raise InvalidInput(f"The model is {model!r}; give a name or the path of an .onnx file.")
        self.cpm = cpm or Cpm.load(str(model), engine, threads)
        self._owned = cpm is None
        self.limits = limits or Thresholds()
        self.mirror = mirror
        self._surer = self.limits.second_alone if alone else self.limits.second

    def __call__(self, image_bgr: Image, clock: StageClock | None = None) -> Hands2D:
        """The hands in a picture: (h, w, 3) uint8 BGR. Raises InvalidInput for anything else."""
        check_picture(image_bgr)
        clock = clock or StageClock()
        hands = self._close_looks(image_bgr, self._search(image_bgr, clock), clock)
        hands = hands[:1] + [spot for spot in hands[1:] if self._may_lie_there(spot, hands[0])]
        if len(hands) == 1:
            hands += self._other(image_bgr, hands[0].best, clock)
        return _settle(assign_sides(hands, self.limits))

    def read(self, jobs: Sequence[tuple[Image, Crop]], clock: StageClock, told: Told | None = None) -> Read:
        """Crops of hands, in two sizes and mirrored, too, unless that is switched off. told: see `Cpm`."""
        return two_sizes(self.cpm, jobs, clock, told) if self.mirror else self.cpm(jobs, clock, told=told)

    def close(self) -> None:
        """Free the engine that it opened."""
        if self._owned:
            self.cpm.close()

    def __enter__(self) -> Detector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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

    def _close_looks(self, image: Image, found: list[Spot], clock: StageClock) -> list[Spot]:
        """Hints looked at twice in crops of their own; those that are no hands are left out."""
        for bar in (self.limits.hinted, self.limits.found):
            hands = [spot.best for spot in found]
            read = self._read_hands(image, hands, clock, last=bar is self.limits.found)
            nearest = (self._nearest(read, i, hand, bar) for i, hand in enumerate(hands))
            found = spots((s for spot in nearest if spot for s in spot.by_side if s), self.limits)
        return found

    def _read_hands(self, image: Image, hands: list[Sighting], clock: StageClock, last: bool) -> Read:
        """Crops round hands; the last look is the one that counts, see `read`."""
        jobs = [(image, hand.closer(self.limits)) for hand in hands]
        if last or not self.mirror:
            return self.read(jobs, clock)
        return both_ways(self.cpm, jobs, clock)

    def _nearest(self, read: Read, crop: int, hand: Sighting, bar: Bar) -> Spot | None:
        """The readings of a hand in the crop made for it; other hands in there are cut off and left out."""
        found = hands_in(read, crop, bar, self.limits)
        return min(found, default=None, key=lambda spot: distance(spot.best, hand))

    def _may_lie_there(self, spot: Spot, first: Spot) -> bool:
        """Upon the first hand, where its own parts look like hands, another one must be all but certain."""
        upon = spot.best.box.overlap(first.best.box) > self.limits.part_inside
        return not upon or spot.best.reaches(self.limits.certain)

    def _other(self, image: Image, known: Sighting, clock: StageClock) -> list[Spot]:
        """The hand of the other side, looked for round the first, then among small ones: one spot or none."""
        found = self._second(image, known, crops_beside(known.points_px, self.limits.point_in_box), clock)
        shorter = min(image.shape[:2])
        if not found and known.box.size_px < SMALL_HAND * shorter:
            found = self._second(image, known, fine_search_crops((image.shape[1], image.shape[0])), clock)
        return found

    def _second(
        self, image: Image, known: Sighting, windows: Sequence[Crop], clock: StageClock
    ) -> list[Spot]:
        """The best hand of the other side that windows hint at: one spot or none."""
        limits, side = self.limits, 1 - known.side
        read = self.cpm([(image, crop) for crop in windows], clock)
        seen = (s for i in range(len(windows)) for s in sightings(read, i, limits.hinted, limits))
        hints = [spot.best for spot in spots((s for s in seen if s.side == side), limits)[:3]]
        for bar in (limits.hinted, self._surer):
            read = self._read_hands(image, hints, clock, last=bar is self._surer)
            found = [s for i in range(len(hints)) for s in sightings(read, i, bar, limits) if s.side == side]
            hints = [s for s in found if not is_of(s, known, limits)]
        best = max(hints, key=lambda s: s.evidence, default=None)
        return [] if best is None else [Spot((best, None) if side == 0 else (None, best))]


def _settle(hands: dict[int, Spot]) -> Hands2D:
    builder = HandsBuilder()
    for side, spot in hands.items():
        sighting = spot.as_side(side)
        builder.put(side, sighting.points_px, sighting.presence)
    return builder.build()


def check_picture(image: Image) -> None:
    """Raises InvalidInput for what is no picture, such as the None of cv2.imread."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        got = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InvalidInput(f"The picture is {got}; wanted uint8 (h, w, 3) in BGR order, as cv2.imread gives.")
    if image.size == 0:
        raise InvalidInput(f"The picture is empty: {image.shape}.")
