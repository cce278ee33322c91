"""From pictures to observations: which layout the board has, what each camera saw, and what to show it next."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from rt_hands.calibration.board import Board
from rt_hands.calibration.detection import BoardDetector, Detection, looks_mirrored
from rt_hands.calibration.observations import (
    CameraCount,
    Observations,
    View,
    at_common_times,
    coverage,
    stacked_corners,
    with_velocities,
)
from rt_hands.errors import InvalidInput
from rt_hands.types import Image

_LAYOUT_LEAD = 60  # corners by which one layout must lead before the other is no longer tried
_MIRROR_EVERY = 6  # of the pictures without a board, how many apart are looked at in the mirror
_PLACES = (
    ("top left", "top", "top right"),
    ("left", "middle", "right"),
    ("bottom left", "bottom", "bottom right"),
)


@dataclass
class _Tally:
    size_px: tuple[int, int]
    pictures: int = 0
    found: int = 0
    foreign: int = 0
    misfits: int = 0
    mirrored: int = 0
    ratios: list[float] = field(default_factory=list)

    def count(self) -> CameraCount:
        """The sums, with the median ratio of markers to squares."""
        ratio = float(np.median(self.ratios)) if self.ratios else float("nan")
        return CameraCount(self.pictures, self.found, self.foreign, self.misfits, self.mirrored, ratio)


class Collector:
    """Takes pictures one by one, in any order of cameras and moments.

    one_clock: all cameras' times are of one clock, so corners are moved to one time of their set. Otherwise times only
    tell how fast the corners move.
    """

    def __init__(self, board: Board, one_clock: bool = True) -> None:
        self._one_clock = one_clock
        self._detectors = [BoardDetector(layout) for layout in board.layouts()]
        self._lead = [0] * len(self._detectors)
        self._views: list[list[View]] = [[] for _ in self._detectors]
        self._tallies: dict[str, _Tally] = {}

    def add(self, camera: str, moment: int, image: Image, t_s: float = float("nan")) -> Detection:
        """Look for the board in a (h, w, 3) or (h, w) uint8 picture grabbed at t_s.

        Raises InvalidInput when the camera's pictures change their size.
        """
        grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        size = (grey.shape[1], grey.shape[0])
        tally = self._tallies.setdefault(camera, _Tally(size))
        if size != tally.size_px:
            raise InvalidInput(
                f"Camera '{camera}' changes its picture from {tally.size_px[0]}x{tally.size_px[1]} to "
                f"{size[0]}x{size[1]}: calibrate one size at a time."
            )
        best = self._detect(camera, moment, grey, t_s)
        tally.pictures += 1
        tally.foreign += best.foreign
        tally.misfits += best.misfit
        if best.found:
            tally.found += 1
            tally.ratios.append(best.marker_ratio)
        elif (tally.pictures - tally.found) % _MIRROR_EVERY == 1:
            tally.mirrored += looks_mirrored(self._detectors[self._best()], grey)
        return best

    def _best(self) -> int:
        return int(np.argmax(self._lead))

    def _detect(self, camera: str, moment: int, grey: np.ndarray, t_s: float) -> Detection:
        """Every layout still in the race; the answer is the leader's."""
        decided = max(self._lead) - min(self._lead) >= _LAYOUT_LEAD
        results: dict[int, Detection] = {}
        for i, detector in enumerate(self._detectors):
            if decided and i != self._best():
                continue
            found = results[i] = detector(grey)
            if found.found:
                self._lead[i] += len(found.ids)
                self._views[i].append(View(camera, moment, found.ids, found.corners_px, t_s))
        return results[self._best()] if self._best() in results else next(iter(results.values()))

    def observations(self) -> Observations:
        """Everything so far, in the layout that fits best, cameras in the order in which they came."""
        best = self._best()
        sizes = {c: t.size_px for c, t in self._tallies.items()}
        counts = {c: t.count() for c, t in self._tallies.items()}
        views = with_velocities(self._views[best])
        views = at_common_times(views) if self._one_clock else views
        return Observations(self._detectors[best].board, sizes, views, counts)


def hint(seen: Observations, camera: str, wanted: int = 15) -> str:
    """What to show this camera next, in a few words; "" when it has enough."""
    views = seen.of(camera)
    cells = coverage(stacked_corners(views), seen.sizes_px[camera], (3, 3))
    if len(views) and cells.min() == 0:
        row, column = np.unravel_index(int(np.argmin(cells)), cells.shape)
        return f"board to the {_PLACES[row][column]} of the picture"
    if len(views) < wanted:
        return f"{wanted - len(views)} more views, tilted this way and that"
    shared = set(seen.shared())
    if len(seen.cameras) > 1 and sum(v.moment in shared for v in views) < wanted:
        return "board where another camera sees it too"
    return ""
