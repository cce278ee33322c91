"""How the offline pass reads a part of a session: as live would, or twice, with the past and the future known.

A part begins with a lead-in of earlier frames and forgets them (and ends with later ones, where the future counts), so
it is the same whichever parts were read before: a pass that was cut off and goes on gives what an unbroken one does.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Rig
from rt_hands.capture.source import Notice, Source
from rt_hands.errors import InvalidInput
from rt_hands.inference.cpm import Cpm
from rt_hands.layout import N_HAND, N_HANDS, N_JOINTS
from rt_hands.paths import write_atomically
from rt_hands.pipeline import Pipeline, Result
from rt_hands.session import Session
from rt_hands.tracking.hindsight import Found, look_again, places, settled, unsettled
from rt_hands.tracking.rig import RigTracker
from rt_hands.tracking.thresholds import Thresholds
from rt_hands.types import FrameSet, Hands2D, Hands3D

LEAD: Final = 45
"""FrameSets: a hand is found and its side settled within these 1.5 s; they cost 8 % more work a chunk and side."""
NO_FRAME: Final = -1
SAME_MM: Final = 20.0
"""Both passes over a session see a hand alike where its joints lie this near; the network is told of such hands."""
BLOCK_BYTES: Final = 200_000_000
"""Of decoded pictures, kept to be given backwards in time."""
Row: TypeAlias = tuple[NDArray[np.generic], ...]
Advance: TypeAlias = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Readings:
    """What was measured in n FrameSets by V cameras; NaN and 0 where absent, frame NO_FRAME where a camera has none.

    index, t_ns: (n,). frame, frame_t_ns: (n, V). points_px: (n, V, 170, 3). presence: (n, V, 2). present: (n, V, 2).
    world_mm: (n, 170, 3), score, residual_px, views: (n, 170), present_3d: (n, 2): nothing in them without a rig.
    """

    index: NDArray[np.int64]
    t_ns: NDArray[np.int64]
    frame: NDArray[np.int64]
    frame_t_ns: NDArray[np.int64]
    points_px: NDArray[np.float32]
    presence: NDArray[np.float32]
    present: NDArray[np.bool_]
    world_mm: NDArray[np.float64]
    score: NDArray[np.float32]
    residual_px: NDArray[np.float32]
    views: NDArray[np.int32]
    present_3d: NDArray[np.bool_]

    @staticmethod
    def of(rows: Sequence[Row]) -> Readings:
        """Rows of `_row`, in order."""
        return Readings(*(np.stack(column) for column in zip(*rows, strict=True)))

    @staticmethod
    def joined(parts: Sequence[Readings]) -> Readings:
        """One after the other."""
        return Readings(
            *(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Readings))
        )

    def at(self, index: NDArray[np.int64]) -> Readings:
        """Those of FrameSets that are all there, in their order."""
        order = np.argsort(self.index)
        rows = order[np.searchsorted(self.index[order], index)]
        return Readings(*(getattr(self, f.name)[rows] for f in fields(self)))

    def save(self, path: Path) -> None:
        """As .npz, atomically."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{f.name: getattr(self, f.name) for f in fields(self)})
        write_atomically(path, buffer.getvalue())

    @staticmethod
    def load(path: Path) -> Readings:
        """Read what `save` wrote. Raises InvalidInput for a damaged file, FileNotFoundError where there is none."""
        try:
            with np.load(path) as data:
                return Readings(*(data[f.name] for f in fields(Readings)))
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            raise InvalidInput(f"{path} is damaged.") from None


PARTS: Final = ("forwards", "backwards")
"""Of the work on a part of a session, each kept when it is done."""


class Keep(Protocol):
    """Gives a part of the work that an earlier run did, or makes and keeps it."""

    def __call__(self, part: str, make: Callable[[], Readings | None], /) -> Readings | None:
        """part: one of PARTS."""


def as_made(_: str, make: Callable[[], Readings | None]) -> Readings | None:
    """Keeps nothing."""
    return make()


class Reader(Protocol):
    """Reads a part of a session. advance: told of work done, in FrameSets; in all last - first."""

    def read(
        self, session: Session, first: int, last: int, advance: Advance, keep: Keep = as_made
    ) -> Readings | None:
        """FrameSets first <= index < last; None where no picture of them can be decoded."""


@dataclass(frozen=True, slots=True)
class QuickReader:
    """As live does: each hand read once, in the crop that its past gives."""

    cpm: Cpm
    rig: Rig | None
    notice: Notice
    lead: int = LEAD

    def read(
        self, session: Session, first: int, last: int, advance: Advance, keep: Keep = as_made
    ) -> Readings | None:
        """See `Reader`."""
        with session.replay(realtime=False, first=max(first - self.lead, 0), last=last) as source:
            rows = _followed(
                Pipeline(source, self.cpm, False, rig=self.rig, notice=self.notice), session.cameras
            )
            kept = []
            for index, row in rows:
                if index >= first:
                    kept.append(row)
                    advance(1)
        return Readings.of(kept) if kept else None


@dataclass(frozen=True, slots=True)
class BestReader:
    """Hands followed forwards and backwards in time, then read anew; see `tracking.hindsight`."""

    cpm: Cpm
    rig: Rig | None
    notice: Notice
    lead: int = LEAD

    def read(
        self, session: Session, first: int, last: int, advance: Advance, keep: Keep = as_made
    ) -> Readings | None:
        """See `Reader`."""
        begin, end = max(first - self.lead, 0), min(last + self.lead, len(session))
        share = (last - first) / (2 * (end - begin) + last - begin)
        sources: tuple[Callable[[], Source], ...] = (
            lambda: session.replay(realtime=False, first=begin, last=end),
            lambda: Backwards(session, begin, end),
        )
        ways = []
        for part, opened, notice in zip(PARTS, sources, (self.notice, _silent), strict=True):
            way = _Way(self, session.cameras, opened, notice, lambda: advance(share))
            found = keep(part, way.follow)
            if found is None:
                return None
            advance(share * (len(found.index) - way.steps))  # of an earlier run
            ways.append(found)
        common = np.intersect1d(ways[0].index, ways[1].index)
        if not len(common):
            return None
        forward, backward = (way.at(common) for way in ways)
        again = self._again(session, begin, last, forward, backward, lambda: advance(share))
        kept = [row for index, row in again if index >= first]
        return Readings.of(kept) if kept else None

    def _again(
        self,
        session: Session,
        begin: int,
        last: int,
        forward: Readings,
        backward: Readings,
        advance: Callable[[], None],
    ) -> Iterator[tuple[int, Row]]:
        cameras, limits = session.cameras, Thresholds()
        expected = places(
            forward.points_px, backward.points_px, forward.frame_t_ns, forward.frame != NO_FRAME
        )
        by_index = dict(zip(forward.index.tolist(), expected, strict=True))
        told = self._told(cameras, forward, backward)
        moments: list[_Moment] = []
        found: list[list[Found]] = []
        with session.replay(realtime=False, first=begin, last=last) as source:
            for frames in source:
                images = [frame.image_bgr if (frame := frames.get(c)) is not None else None for c in cameras]
                joints = told.get(frames.index)
                found.append(look_again(self.cpm, images, by_index.get(frames.index, []), limits, joints))
                moments.append(_Moment.of(frames))
                advance()
        tracker = RigTracker(self.rig, smooth=False) if self.rig is not None else None
        views, as_read = settled(found, len(cameras), limits), unsettled(found, len(cameras))
        for moment, hands, both in zip(moments, views, as_read, strict=True):
            lifted = None
            if tracker is not None:
                to_lift = moment.by_camera(cameras, both)
                lifted = tracker.update(to_lift, moment.t_ns, moment.times_ns).measured
            yield moment.index, _row(moment, moment.by_camera(cameras, hands), lifted, cameras)

    def _told(
        self, cameras: Sequence[str], forward: Readings, backward: Readings
    ) -> dict[int, list[NDArray[np.float64]]]:
        """{index: by view (2, 21, 2)} where both passes lifted the joints, drawn into the views; NaN: they differ."""
        if self.rig is None or not self.cpm.takes_joints:
            return {}
        shape = (-1, N_HANDS, N_HAND, 3)
        both = np.stack([r.world_mm.reshape(shape)[:, :, :N_JOINTS] for r in (forward, backward)])
        t_s = (forward.t_ns - forward.t_ns[0]) * 1e-9
        late_s = np.where(forward.frame == NO_FRAME, 0, forward.frame_t_ns - forward.t_ns[:, None]) * 1e-9
        # Backwards a set begins with its last picture.
        both[1] -= _speed(both[1], t_s) * late_s.max(1)[:, None, None, None]
        apart_mm = np.linalg.norm(both[0] - both[1], axis=-1).mean(-1)
        one_sided = np.isnan(both).any(-1).all(-1).any(0)
        mean = np.where(np.isnan(both[0]), both[1], np.where(np.isnan(both[1]), both[0], both.mean(0)))
        mean[~(one_sided | (apart_mm < SAME_MM))] = np.nan
        speed = _speed(mean, t_s)
        drawn = []
        for v, camera in enumerate(cameras):
            then = mean + speed * late_s[:, v, None, None, None]  # when that camera took its picture
            px = self.rig.subset([camera]).project(then.reshape(-1, 3))
            drawn.append(px.reshape(-1, N_HANDS, N_JOINTS, 2))
        return {index: [px[t] for px in drawn] for t, index in enumerate(forward.index.tolist())}


@dataclass(slots=True)
class _Way:
    """Hands followed through a source from end to end. steps: so many FrameSets were."""

    reader: BestReader
    cameras: Sequence[str]
    opened: Callable[[], Source]
    notice: Notice
    advance: Callable[[], None]
    steps: int = 0

    def follow(self) -> Readings | None:
        """None where no picture can be decoded."""
        rows = []
        with self.opened() as source:
            pipeline = Pipeline(source, self.reader.cpm, False, rig=self.reader.rig, notice=self.notice)
            for _, row in _followed(pipeline, self.cameras):
                rows.append(row)
                self.steps += 1
                self.advance()
        return Readings.of(rows) if rows else None


def _speed(points: NDArray[np.float64], t_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Change a second of points (T, ...) at rising times; 0 where it is not known."""
    return np.nan_to_num(np.gradient(points, t_s, axis=0)) if len(t_s) > 1 else np.zeros_like(points)


class Backwards(Source):
    """A part of a session from its end to its beginning, times negative and rising; every frame once."""

    def __init__(self, session: Session, first: int, last: int) -> None:
        self._session, self._first, self._last = session, first, last
        self.name, self.cameras, self.length = session.folder.name, session.cameras, last - first
        self.still = len(session) == 1

    def __iter__(self) -> Iterator[FrameSet]:
        end, size = self._last, 1
        while end > self._first:
            begin = max(end - size, self._first)
            block = list(self._session.frames(begin, end))
            for frames in reversed(block):
                yield FrameSet(
                    tuple(replace(frame, t_ns=-frame.t_ns) for frame in frames.frames), frames.index
                )
            # Short blocks would wind the videos more often than needed.
            a_set = max((sum(f.image_bgr.nbytes for f in frames.frames) for frames in block), default=1)
            end, size = begin, max(BLOCK_BYTES // a_set, 1)


# --- rows of a table of readings ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Moment:
    """A FrameSet without its pictures, which would fill the memory."""

    index: int
    t_ns: int
    frame: dict[str, int]
    times_ns: dict[str, int]

    @staticmethod
    def of(frames: FrameSet) -> _Moment:
        """What is kept of a set."""
        numbers = {frame.camera: frame.index for frame in frames.frames}
        return _Moment(
            frames.index, frames.t_ns, numbers, {frame.camera: frame.t_ns for frame in frames.frames}
        )

    def by_camera(self, cameras: Sequence[str], views: Sequence[Hands2D]) -> dict[str, Hands2D]:
        """Hands of those cameras that have a picture."""
        return {c: hands for c, hands in zip(cameras, views, strict=True) if c in self.times_ns}


def _followed(pipeline: Pipeline, cameras: Sequence[str]) -> Iterator[tuple[int, Row]]:
    """(index of the FrameSet, its row) of what a pipeline measures."""
    for result in pipeline:
        yield result.frames.index, _row_of(result, cameras)


def _row_of(result: Result, cameras: Sequence[str]) -> Row:
    seen = {c: view.measured for c, view in zip(result.frames.cameras, result.views, strict=True)}
    lifted = result.rig.measured if result.rig is not None else None
    return _row(_Moment.of(result.frames), seen, lifted, cameras)


def _row(moment: _Moment, seen: dict[str, Hands2D], lifted: Hands3D | None, cameras: Sequence[str]) -> Row:
    frame = np.array([moment.frame.get(camera, NO_FRAME) for camera in cameras], np.int64)
    frame_t_ns = np.array([moment.times_ns.get(camera, NO_FRAME) for camera in cameras], np.int64)
    views = [seen.get(camera) or Hands2D.empty() for camera in cameras]
    hands = lifted or Hands3D.empty()
    return (
        np.array(moment.index, np.int64),
        np.array(moment.t_ns, np.int64),
        frame,
        frame_t_ns,
        np.stack([view.points_px for view in views]),
        np.stack([view.presence for view in views]),
        np.stack([view.present for view in views]),
        hands.points_world_mm,
        hands.score.astype(np.float32),
        hands.residual_px.astype(np.float32),
        hands.views.astype(np.int32),
        hands.present,
    )


def _silent(_: str) -> None:
    """The second of two passes that would say the same."""
