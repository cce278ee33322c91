"""The offline pass over a session in two steps: read every frame, in chunks that are kept; then smooth both ways.

How a chunk is read: `offline_reading`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Rig
from rt_hands.capture.source import Notice
from rt_hands.errors import InvalidInput, SourceError
from rt_hands.file_lock import FolderLock
from rt_hands.formats import HandsSample
from rt_hands.layout import MIRROR, N_HAND, N_HANDS, N_JOINTS
from rt_hands.lifting.lift import dressed
from rt_hands.offline_reading import NO_FRAME, PARTS, Reader, Readings
from rt_hands.paths import write_atomically
from rt_hands.session import Session
from rt_hands.tracking.naming import exchanged, views_exchanged
from rt_hands.tracking.two_way import HandPath, fill_gaps, smooth_two_way
from rt_hands.types import Hands2D, Hands3D

T = TypeVar("T", bound=np.generic)
SIDES: Final = np.array([1, 0])
"""The hands' order after an exchange."""
CHUNK: Final = 600
"""FrameSets, 20 s at 30 fps. The run-in at both borders (`offline_reading.LEAD`) costs `BestReader` 12 % more work a
chunk of this length, of 60 FrameSets 125 %: so chunks stay long, and what was followed of one is kept apart."""


# --- the first step: every frame, in chunks -----------------------------------------------------------------


class Work:
    """The folder of finished chunks. Another model, rig, or length of the session starts it anew, told.

    key: what the readings depend on. One process at a time has it, until `close` or `remove`; raises SourceError in
    another, or where the folder can't be written.
    """

    def __init__(self, folder: Path, key: str, notice: Notice, chunk: int = CHUNK) -> None:
        self.folder = folder
        self.chunk = chunk
        self._notice = notice
        self._whole: set[int] = set()
        marked = folder / "made_by.json"
        wanted = json.dumps({"key": key, "chunk": chunk})
        try:
            self._lock = FolderLock(folder)
            if not self._lock.held:
                notice(f"{folder} can't be locked on this disk: start no second run with the same --out.")
            old = [path for path in folder.iterdir() if path != self._lock.path]
            if old and (not marked.is_file() or marked.read_text() != wanted):
                notice(f"{folder} is of another model, rig or version: its chunks are made anew.")
                for path in old:
                    path.unlink()
            write_atomically(marked, wanted.encode())
        except BlockingIOError:
            raise SourceError(
                f"Another run is at work in {folder}. Wait for its end, or give another --out."
            ) from None
        except OSError as error:
            raise SourceError(
                f"{folder} can't be written: {error.strerror}. Give --out in another place."
            ) from error

    def path(self, first: int, part: str = "") -> Path:
        """Of the chunk that begins with a FrameSet, or of a part of the work on it."""
        return self.folder / f"chunk_{first:08d}{part}.npz"

    def done(self, sets: int) -> int:
        """Count of FrameSets that are in finished chunks."""
        starts = range(0, sets, self.chunk)
        return sum(min(self.chunk, sets - first) for first in starts if self._is_whole(first))

    def kept(self, sets: int) -> str:
        """What a run that goes on needs not do again, in words; "" for nothing."""
        done = self.done(sets)
        begun = " and ".join(part for part in PARTS if any(self.folder.glob(f"chunk_*_{part}.npz")))
        words = [f"{done} of {sets} FrameSets"] * bool(done)
        words += [f"hands followed {begun} through the next part"] * bool(begun)
        return ", ".join(words)

    def run(self, session: Session, reader: Reader, advance: Callable[[float], None]) -> Readings:
        """Make the chunks that are absent, give all. advance: told of work done, in FrameSets."""
        made = []
        for first in range(0, len(session), self.chunk):
            if not self._is_whole(first):
                keep = partial(self._keep, first)
                readings = reader.read(session, first, min(first + self.chunk, len(session)), advance, keep)
                if readings is None:
                    continue
                readings.save(self.path(first))
                for part in PARTS:
                    self.path(first, f"_{part}").unlink(missing_ok=True)
            made.append(first)
        if not made:
            raise SourceError(f"No picture of {session.folder} can be decoded.")
        parts = [(first, self._load(self.path(first))) for first in made]
        gone = [first for first, part in parts if part is None]
        if gone:
            raise SourceError(f"{self.path(gone[0])} was taken away. The same command makes it anew.")
        return Readings.joined([part for _, part in parts if part is not None])

    def _keep(self, first: int, part: str, make: Callable[[], Readings | None]) -> Readings | None:
        """A part of the work on a chunk, made where it is absent."""
        path = self.path(first, f"_{part}")
        found = self._load(path)
        if found is None and (found := make()) is not None:
            found.save(path)
        return found

    def _is_whole(self, first: int) -> bool:
        """Whether a chunk is there and can be read, asked once."""
        if first not in self._whole and self._load(self.path(first)) is not None:
            self._whole.add(first)
        return first in self._whole

    def _load(self, path: Path) -> Readings | None:
        """None for a file that is absent, or damaged: told."""
        try:
            return Readings.load(path)
        except FileNotFoundError:
            return None
        except InvalidInput as error:
            self._notice(f"{error} It is made anew.")
            path.unlink()
            return None

    def close(self) -> None:
        """Let another process in; the chunks stay."""
        self._lock.release()

    def remove(self) -> None:
        """Remove the folder, once its result is written."""
        self._lock.remove()

    def __enter__(self) -> Work:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
        points_px=_skin_drawn(_exchanged(r.points_px, in_view, MIRROR), world_mm, in_view, rig),
        presence=_exchanged(r.presence, in_view, SIDES),
        present=_exchanged(r.present, in_view, SIDES),
        world_mm=world_mm,
        score=score,
        residual_px=_exchanged(r.residual_px, turn, MIRROR),
        views=_exchanged(r.views, turn, MIRROR),
        present_3d=_exchanged(r.present_3d, turn, SIDES),
    )


def _skin_drawn(
    points_px: NDArray[np.float32], world_mm: NDArray[np.float64], in_view: NDArray[np.bool_], rig: Rig
) -> NDArray[np.float32]:
    """Points (T, V, 170, 3), in place, with the skin of the hands in 3D (T, 170, 3) in the pictures in_view (T, V).

    A network that takes a hand for the other one sees its palm's points on the back.
    """
    skin = np.arange(points_px.shape[2]) % N_HAND >= N_JOINTS
    for moment, view in np.argwhere(in_view):
        drawn = rig.subset([rig.ids[view]]).project(world_mm[moment])[0]
        there = skin & np.isfinite(points_px[moment, view, :, 0]) & np.isfinite(drawn[:, 0])
        points_px[moment, view, there, :2] = drawn[there]
    return points_px


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
