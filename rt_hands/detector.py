"""Hands in single pictures: `Detector()(image_bgr) -> Hands2D`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rt_hands.clock import StageClock
from rt_hands.errors import InvalidInput
from rt_hands.inference.cpm import Cpm
from rt_hands.inference.preprocess import Crop
from rt_hands.tracking.crops import Box, crop_round, fine_search_crops, search_crops, share_crop
from rt_hands.tracking.readings import HandsBuilder, Sighting, Spot, assign_sides, sightings, spots
from rt_hands.tracking.thresholds import Bar, Thresholds
from rt_hands.types import Hands2D, Image


class Detector:
    """Finds up to one right and one left hand in a picture of any size.

    A coarse pass over the whole picture and large windows of it, in one batch; small windows if that finds nothing.
    Then crops round what was found, again in one batch, until they sit well. A hand is present only where the
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
            found = found or self._look(image_bgr, windows(size_px), limits.hinted, clock)
        for bar in (limits.hinted, limits.found):
            hands = assign_sides(found, limits)
            if not hands:
                break
            crops = crops_for([spot.best.box for spot in hands.values()])
            found = self._look(image_bgr, crops, bar.shared_by(2 if len(crops) < len(hands) else 1), clock)
        return _settle(assign_sides(found, limits))

    def close(self) -> None:
        """Free the engine."""
        self.cpm.close()

    def _look(self, image: Image, crops: Sequence[Crop], bar: Bar, clock: StageClock | None) -> list[Spot]:
        read = self.cpm([(image, crop) for crop in crops], clock)
        found: list[Sighting] = []
        for i in range(len(crops)):
            found += sightings(read, i, bar, self.limits)
        return spots(found, self.limits)


def crops_for(boxes: Sequence[Box]) -> list[Crop]:
    """One crop a hand, or one for both where two hands meet."""
    if len(boxes) == 2 and share_crop(*boxes):
        return [crop_round(boxes[0].joined(boxes[1]))]
    return [crop_round(box) for box in boxes]


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
