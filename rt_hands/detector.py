"""Hands in single pictures: `Detector()(image_bgr) -> Hands2D`."""

from __future__ import annotations

import numpy as np

from rt_hands.clock import StageClock
from rt_hands.errors import InvalidInput
from rt_hands.inference.cpm import Cpm, Read
from rt_hands.tracking.crops import crop_round, fine_search_crops, search_crops
from rt_hands.tracking.readings import HandsBuilder, Sighting, Spot, assign_sides, distance, sightings, spots
from rt_hands.tracking.thresholds import Bar, Thresholds
from rt_hands.types import Hands2D, Image


class Detector:
    """Finds up to one right and one left hand in a picture of any size.

    A coarse pass over the whole picture and large windows of it, in one batch; small windows if that finds nothing.
    Then a crop round each hand found, turned so that it points up, and once more from there: each pass sees the hand
    more as the network knows hands. A hand is present only where the
    presence head and the belief maps agree in its own crop; otherwise its points are NaN with score 0.

    engine, model, threads: see `open_engine` and `find_model`; cpm: a network already loaded, used instead.
    """

    def __init__(
        self,
        engine: str = "auto",
        model: str = "default",
        threads: int | None = None,
        limits: Thresholds | None = None,
        cpm: Cpm | None = None,
    ) -> None:
        self.cpm = cpm or Cpm.load(model, engine, threads)
        self.limits = limits or Thresholds()

    def __call__(self, image_bgr: Image, clock: StageClock | None = None) -> Hands2D:
        """The hands in a picture: (h, w, 3) uint8 BGR. Raises InvalidInput for anything else."""
        _check(image_bgr)
        size_px = (image_bgr.shape[1], image_bgr.shape[0])
        limits = self.limits
        found: list[Spot] = []
        for windows in (search_crops, fine_search_crops):
            if not found:
                read = self.cpm([(image_bgr, crop) for crop in windows(size_px)], clock)
                found = self._all(read)
        for bar in (limits.hinted, limits.found):
            hands = [spot.best for spot in assign_sides(found, limits).values()]
            crops = [crop_round(hand.points_px, limits.point_in_box) for hand in hands]
            read = self.cpm([(image_bgr, crop) for crop in crops], clock)
            found = spots(
                (s for i, hand in enumerate(hands) for s in self._nearest(read, i, hand, bar)), limits
            )
        return _settle(assign_sides(found, limits))

    def close(self) -> None:
        """Free the engine."""
        self.cpm.close()

    def _all(self, read: Read) -> list[Spot]:
        """What a pass over the picture hints at."""
        limits = self.limits
        return spots(
            (s for i in range(len(read.crops)) for s in sightings(read, i, limits.hinted, limits)), limits
        )

    def _nearest(self, read: Read, crop: int, hand: Sighting, bar: Bar) -> list[Sighting]:
        """The readings of a hand in the crop made for it; other hands in there are cut off and left out."""
        found = spots(sightings(read, crop, bar, self.limits), self.limits)
        nearest = min(found, default=None, key=lambda spot: distance(spot.best, hand))
        return [] if nearest is None else [s for s in nearest.by_side if s is not None]


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
