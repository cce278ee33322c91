"""Board corners of a whole recording: per camera and set of simultaneous pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rt_hands.calibration.board import Board

LONGEST_S = 0.5  # over which a corner's velocity is measured


@dataclass(frozen=True)
class View:
    """One picture in which the board was found.

    camera: its id. moment: index of the set of simultaneous pictures. ids: (n,) corners. corners_px: (n, 2) px, where
    they were at t_s. t_s: the stamp in s, NaN where unknown. velocity_px_s: (n, 2) px/s of the corners, None where
    unknown.
    """

    camera: str
    moment: int
    ids: NDArray[np.int64]
    corners_px: NDArray[np.float64]
    t_s: float = float("nan")
    velocity_px_s: NDArray[np.float64] | None = None

    def picked(self, good: NDArray[np.bool_]) -> View:
        """The view with some of its corners."""
        velocity = None if self.velocity_px_s is None else self.velocity_px_s[good]
        return replace(self, ids=self.ids[good], corners_px=self.corners_px[good], velocity_px_s=velocity)

    def earlier(self, offset_s: float) -> View:
        """Where the corners were offset_s before, by their velocity."""
        if self.velocity_px_s is None:
            return self
        return replace(self, corners_px=self.corners_px - offset_s * self.velocity_px_s)

    def at(self, t_s: float) -> View:
        """Where the corners were at t_s, by their velocity, which must be known."""
        return replace(self.earlier(self.t_s - t_s), t_s=t_s)


@dataclass(frozen=True)
class CameraCount:
    """What detection met in one camera's pictures; marker_ratio is the median, NaN without markers."""

    pictures: int
    found: int
    foreign: int
    misfits: int
    mirrored: int
    marker_ratio: float


@dataclass(frozen=True)
class Observations:
    """Views of one board (its layout resolved). sizes_px: {camera: (width, height)}. counts: {camera: CameraCount}."""

    board: Board
    sizes_px: dict[str, tuple[int, int]]
    views: tuple[View, ...]
    counts: dict[str, CameraCount] = field(default_factory=dict)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Ids, in the order given."""
        return tuple(self.sizes_px)

    @property
    def moments(self) -> tuple[int, ...]:
        """Sets in which at least one camera saw the board."""
        return tuple(sorted({v.moment for v in self.views}))

    def of(self, camera: str) -> tuple[View, ...]:
        """Views of one camera."""
        return tuple(v for v in self.views if v.camera == camera)

    def shared(self) -> tuple[int, ...]:
        """Sets in which at least two cameras saw the board."""
        cameras_at: dict[int, int] = {}
        for view in self.views:
            cameras_at[view.moment] = cameras_at.get(view.moment, 0) + 1
        return tuple(sorted(m for m, n in cameras_at.items() if n >= 2))

    def only(self, moments: Sequence[int]) -> Observations:
        """The same, of some sets only."""
        wanted = set(moments)
        return replace(self, views=tuple(v for v in self.views if v.moment in wanted))

    def without_offsets(self, offsets_s: Mapping[str, float]) -> Observations:
        """Corners moved to where they were when all cameras' clocks agree."""
        return replace(self, views=tuple(v.earlier(offsets_s[v.camera]) for v in self.views))

    def split(self, every: int) -> tuple[Observations, Observations]:
        """(to fit, held out): every n-th shared set is held out."""
        out = self.shared()[every // 2 :: every]
        return self.only([m for m in self.moments if m not in out]), self.only(out)


def with_velocities(views: Sequence[View]) -> tuple[View, ...]:
    """Each view with its corners' velocities: central differences over the views before and after, same camera.

    Corners that a neighbour does not show move as the mean of those that it does. Where the neighbours are more than
    LONGEST_S apart, or times are unknown, the velocity stays None.
    """
    done = list(views)
    by_camera: dict[str, list[int]] = {}
    for i, view in enumerate(views):
        if np.isfinite(view.t_s):
            by_camera.setdefault(view.camera, []).append(i)
    for numbers in by_camera.values():
        numbers.sort(key=lambda i: views[i].t_s)
        for before, at, after in zip(numbers, numbers[1:], numbers[2:], strict=False):
            velocity = _velocity(views[before], views[at], views[after])
            done[at] = replace(views[at], velocity_px_s=velocity)
    return tuple(done)


def _velocity(before: View, at: View, after: View) -> NDArray[np.float64] | None:
    both = np.intersect1d(before.ids, after.ids)
    span_s = after.t_s - before.t_s
    if len(both) == 0 or not 0 < span_s <= LONGEST_S:
        return None
    moved = after.corners_px[np.isin(after.ids, both)] - before.corners_px[np.isin(before.ids, both)]
    velocity = np.tile(moved.mean(axis=0), (len(at.ids), 1))
    velocity[np.isin(at.ids, both)] = moved[np.isin(both, at.ids)]
    return np.asarray(velocity / span_s, np.float64)


def at_common_times(views: Sequence[View]) -> tuple[View, ...]:
    """Corners moved by their velocities to one time of each set, as cameras that run freely stamp it differently.

    That time is the mean stamp of the views that can't be moved, as their velocity is unknown; of all where none is.
    """
    moved: dict[int, list[float]] = {}
    fixed: dict[int, list[float]] = {}
    for view in views:
        if np.isfinite(view.t_s):
            (fixed if view.velocity_px_s is None else moved).setdefault(view.moment, []).append(view.t_s)
    common_s = {moment: float(np.mean(stamps)) for moment, stamps in (moved | fixed).items()}
    return tuple(v if v.velocity_px_s is None else v.at(common_s[v.moment]) for v in views)


def coverage(
    corners_px: NDArray[np.float64], size_px: tuple[int, int], grid: tuple[int, int] = (6, 4)
) -> NDArray[np.int64]:
    """Corners in each cell of the picture: (rows, columns) int for a grid of (columns, rows)."""
    columns, rows = grid
    x = np.clip((corners_px[:, 0] + 0.5) / size_px[0] * columns, 0, columns - 1).astype(int)
    y = np.clip((corners_px[:, 1] + 0.5) / size_px[1] * rows, 0, rows - 1).astype(int)
    cells = np.zeros((rows, columns), np.int64)
    np.add.at(cells, (y, x), 1)
    return cells


def stacked_corners(views: Sequence[View]) -> NDArray[np.float64]:
    """All corners of some views: (N, 2) px."""
    return np.concatenate([v.corners_px for v in views]) if views else np.zeros((0, 2))
