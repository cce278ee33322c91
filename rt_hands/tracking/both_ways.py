"""Crops read as they are and mirrored: the network errs differently on the two, so their mean errs less."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rt_hands.clock import StageClock
from rt_hands.inference.cpm import Cpm, Read
from rt_hands.inference.preprocess import Crop
from rt_hands.tracking.readings import joined
from rt_hands.types import Image


def both_ways(cpm: Cpm, jobs: Sequence[tuple[Image, Crop]], clock: StageClock | None = None) -> Read:
    """One joined reading a crop, of one engine call for all; pictures may be of several sizes."""
    flipped = {id(image): np.ascontiguousarray(image[:, ::-1]) for image, _ in jobs}
    mirrored = [(flipped[id(image)], crop.mirrored(image.shape[1])) for image, crop in jobs]
    read, count = cpm([*jobs, *mirrored], clock), len(jobs)
    back = [read.part(count + i, count + i + 1).mirrored(image.shape[1]) for i, (image, _) in enumerate(jobs)]
    return joined(read.part(0, count), _one_after_another(back)) if jobs else read


def _one_after_another(reads: Sequence[Read]) -> Read:
    points = np.concatenate([read.points_px for read in reads])
    presence = np.concatenate([read.presence for read in reads])
    crops = tuple(crop for read in reads for crop in read.crops)
    return Read(points, presence, crops, reads[0].belief_maps[:0])
