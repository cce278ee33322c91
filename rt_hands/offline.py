"""The offline pass over a session in two steps: read every frame, in chunks that are kept; then smooth both ways.

How a chunk is read: `offline_reading`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Rig
from rt_hands.capture.source import Notice
from rt_hands.errors import SourceError
from rt_hands.formats import HandsSample
from rt_hands.layout import MIRROR, N_HAND, N_HANDS
from rt_hands.lifting.lift import dressed
from rt_hands.offline_reading import NO_FRAME, Reader, Readings
from rt_hands.paths import write_atomically
from rt_hands.session import Session
from rt_hands.tracking.naming import exchanged, views_exchanged
from rt_hands.tracking.two_way import HandPath, fill_gaps, smooth_two_way
from rt_hands.types import Hands2D, Hands3D

T = TypeVar("T", bound=np.generic)
SIDES: Final = np.array([1, 0])
"""The hands' order after an exchange."""
CHUNK: Final = 600
"""FrameSets: 20 s at 30 fps are lost at most when the pass is cut off."""


# --- the first step: every frame, in chunks -----------------------------------------------------------------


class Work:
    """The folder of finished chunks. Another model, rig, or length of the session starts it anew, told.

    key: what the readings depend on.
    """

    def __init__(self, folder: Path, key: str, notice: Notice, chunk: int = CHUNK) -> None:
        self.folder = folder
        self.chunk = chunk
        marked = folder / "made_by.json"
        wanted = json.dumps({"key": key, "chunk": chunk})
        try:
            if folder.is_dir() and (not marked.is_file() or marked.read_text() != wanted):
                notice(f"{folder} is of another model, rig or version: its chunks are made anew.")
                shutil.rmtree(folder)
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(marked, wanted.encode())
        except OSError as error:
            raise SourceError(
                f"{folder} can't be written: {error.strerror}. Give --out in another place."
            ) from error

    def path(self, first: int) -> Path:
        """Of the chunk that begins with a FrameSet."""
        return self.folder / f"chunk_{first:08d}.npz"

    def done(self, sets: int) -> int:
        """Count of FrameSets that are in finished chunks."""
        starts = range(0, sets, self.chunk)
        return sum(min(self.chunk, sets - first) for first in starts if self.path(first).is_file())

    def run(self, session: Session, reader: Reader, advance: Callable[[float], None]) -> Readings:
        """Make the chunks that are absent, give all. advance: told of work done, in FrameSets."""
        for first in range(0, len(session), self.chunk):
            if not self.path(first).is_file():
                readings = reader.read(session, first, min(first + self.chunk, len(session)), advance)
                if readings is not None:
                    readings.save(self.path(first))
        parts = [Readings.load(path) for path in sorted(self.folder.glob("chunk_*.npz"))]
        if not parts:
            raise SourceError(f"No picture of {session.folder} can be decoded.")
        return Readings.joined(parts)


def fingerprint(model: Path, rig: Rig | None, session: Session, precision: str) -> str:
    """Names everything that the readings depend on."""
    from rt_hands import __version__

    digest = hashlib.sha256(model.read_bytes())
    for camera in rig or ():
        for array in (camera.K, camera.distortion, camera.cam_from_world):
            digest.update(array.tobytes())
    for times in session.times_ns.values():
        digest.update(times.tobytes())
    return f"{__version__} {precision} {','.join(session.cameras)} {digest.hexdigest()}"


# --- the second step: both ways in time ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Span:
    """A gap that was filled: hand 0 right, 1 left; frames first..last of a camera ("": FrameSets, 3D)."""

    camera: str
    hand: int
    first: int
    last: int


def settled_names(readings: Readings, rig: Rig) -> Readings:
    """The readings with the hands' names settled over all moments, in 3D and, after it, in each picture.

    rig: of the readings' cameras, in their order.
    """
    r = readings
    turn = exchanged(r.world_mm, r.present_3d, r.t_ns, r.points_px, rig)
    world_mm, score = _exchanged(r.world_mm, turn, MIRROR), _exchanged(r.score, turn, MIRROR)
    world_mm[turn], score[turn] = dressed(world_mm[turn], score[turn])
    in_view = views_exchanged(world_mm, r.points_px, rig)
    return replace(
        r,
        points_px=_exchanged(r.points_px, in_view, MIRROR),
        presence=_exchanged(r.presence, in_view, SIDES),
        present=_exchanged(r.present, in_view, SIDES),
        world_mm=world_mm,
        score=score,
        residual_px=_exchanged(r.residual_px, turn, MIRROR),
        views=_exchanged(r.views, turn, MIRROR),
        present_3d=_exchanged(r.present_3d, turn, SIDES),
    )


def _exchanged(values: NDArray[T], turn: NDArray[np.bool_], order: NDArray[np.integer]) -> NDArray[T]:
    """A copy in which the points or hands of the rows of `turn` are in another order."""
    values = values.copy()
    values[turn] = values[turn][:, order]
    return values


def finish_2d(
    readings: Readings, cameras: Sequence[str], fill_ms: float, smooth: bool = True
) -> tuple[list[HandsSample], list[Span]]:
    """Each camera's hands, filled and smoothed, in order of FrameSets; and which gaps were filled.

    A filled hand is present with presence 0.
    """
    samples: list[HandsSample] = []
    spans: list[Span] = []
    for v, camera in enumerate(cameras):
        at = np.flatnonzero(readings.frame[:, v] != NO_FRAME)
        points, present = readings.points_px[at, v].copy(), readings.present[at, v].copy()
        presence, frame, t_ns = (
            readings.presence[at, v].copy(),
            readings.frame[at, v],
            readings.frame_t_ns[at, v],
        )
        for hand in range(N_HANDS):
            mine = slice(hand * N_HAND, (hand + 1) * N_HAND)
            path = _path(t_ns, points[:, mine, :2], points[:, mine, 2], present[:, hand])
            path = _finished(path, fill_ms, smooth)
            points[:, mine, :2], points[:, mine, 2] = path.points, path.score
            present[:, hand] = path.present
            presence[path.filled, hand] = 0
            spans += _spans(camera, hand, frame, path.filled)
        samples += [
            HandsSample(int(frame[i]), int(t_ns[i]), Hands2D(points[i], present[i], presence[i]), camera)
            for i in range(len(at))
        ]
    return sorted(samples, key=lambda s: (s.t_ns, cameras.index(s.camera))), spans


def finish_3d(
    readings: Readings, fill_ms: float, smooth: bool = True
) -> tuple[list[HandsSample], list[Span]]:
    """The rig's hands, filled and smoothed, one sample a FrameSet. A filled hand is present with no views."""
    points, present = readings.world_mm.copy(), readings.present_3d.copy()
    score, residual_px, views = readings.score.copy(), readings.residual_px.copy(), readings.views.copy()
    spans: list[Span] = []
    for hand in range(N_HANDS):
        mine = slice(hand * N_HAND, (hand + 1) * N_HAND)
        path = _path(readings.t_ns, points[:, mine], score[:, mine], present[:, hand])
        path = _finished(path, fill_ms, smooth)
        points[:, mine], score[:, mine], present[:, hand] = path.points, path.score, path.present
        views[path.filled, mine], residual_px[path.filled, mine] = 0, np.nan
        spans += _spans("", hand, readings.index, path.filled)
    hands = [Hands3D(points[i], score[i], residual_px[i], views[i], present[i]) for i in range(len(points))]
    return [
        HandsSample(int(index), int(t_ns), hand)
        for index, t_ns, hand in zip(readings.index, readings.t_ns, hands, strict=True)
    ], spans


def _path(
    t_ns: NDArray[np.int64],
    points: NDArray[np.floating],
    score: NDArray[np.float32],
    present: NDArray[np.bool_],
) -> HandPath:
    return HandPath(t_ns, points.astype(np.float64), score, present, np.zeros(len(t_ns), bool))


def _finished(path: HandPath, fill_ms: float, smooth: bool) -> HandPath:
    path = fill_gaps(path, fill_ms)
    return smooth_two_way(path) if smooth else path


def _spans(camera: str, hand: int, index: NDArray[np.int64], filled: NDArray[np.bool_]) -> Iterator[Span]:
    at = 0
    for is_filled, group in groupby(filled.tolist()):
        length = len(list(group))
        if is_filled:
            yield Span(camera, hand, int(index[at]), int(index[at + length - 1]))
        at += length
