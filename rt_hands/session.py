"""A recorded capture session: read, seek, iterate as it was bundled, replay. Recorded by `python -m rt_hands.capture`.

A session is a folder: one MP4 a camera with the grab times in it, frames.csv (camera, index, t_ns, dropped),
session.json (versions, clock anchor, what cameras were asked for and gave) and, for a calibrated rig, rig.toml.
Another program's MP4 files with a timestamps.csv, as `calibrate rig` reads it, are one too.

with Session("session_20260102_120000") as session:
    for frames in session: ...                       # FrameSets, cameras bundled by grab time
    frames = session[300]                            # one of them
    for frames in session.frames(300, 600): ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Rig
from rt_hands.capture.offsets import kept_offsets, told_offsets
from rt_hands.capture.paced import Played, ReadAhead
from rt_hands.capture.session_files import SessionSource, is_session
from rt_hands.capture.session_info import SessionInfo
from rt_hands.capture.source import Notice, Source, to_stderr
from rt_hands.errors import InvalidInput, SourceError
from rt_hands.paths import session_folder
from rt_hands.recording import SessionWriter
from rt_hands.types import FrameSet

__all__ = ["Session", "SessionWriter"]


class Session:
    """A session's folder, opened. Every correction of damaged or missing files is told through `notice`.

    folder: its path, or `sample`, the bundled one.
    rig: goes before the session's own rig.toml, with its clock offsets; one that has none (other programs' files know
    none) leaves the session's own, told. clock_offset_ms: by camera, goes before both. Pictures are bundled by them.
    Raises SourceError where the folder holds no session or nothing in it can be read, InvalidInput for what is no path.
    """

    def __init__(
        self,
        folder: str | Path,
        notice: Notice = to_stderr,
        rig: Rig | None = None,
        clock_offset_ms: Mapping[str, float] | None = None,
    ) -> None:
        if not isinstance(folder, str | Path):
            raise InvalidInput(f"A session is opened by its folder's path; got {folder!r}.")
        self.folder = session_folder(folder)
        self._notice = notice
        if self.folder.is_file():
            raise SourceError(f"{self.folder} is a file; a session is a folder, as `capture` makes it.")
        if not self.folder.is_dir():
            raise SourceError(f"There is no folder {self.folder}.")
        if not is_session(self.folder):
            raise SourceError(
                f"{self.folder} holds no session: it wants session.json, frames.csv or timestamps.csv beside MP4 files."
            )
        own = self.folder / "rig.toml"
        self.rig: Rig | None = rig or (Rig.load(own) if own.is_file() else None)
        if rig is None and self.rig is not None and self.rig.unreached:
            notice(self.rig.unreached)
        given = told_offsets(rig) | dict(clock_offset_ms or {})
        self._source = SessionSource(self.folder, notice, clock_offset_ms=given)
        in_use = self._source.clock_offset_ms
        if self.rig is not None:
            known = {c: ms for c, ms in in_use.items() if c in self.rig.ids}
            self.rig = self.rig.with_clock_offsets(known | dict(clock_offset_ms or {}))
        if sentence := kept_offsets(rig, given, in_use):
            notice(sentence)

    @property
    def cameras(self) -> tuple[str, ...]:
        """Ids, cam_2 before cam_10."""
        return self._source.cameras

    @property
    def info(self) -> SessionInfo:
        """Versions, clock anchor, settings, counts; empty where another program wrote the session."""
        return self._source.info

    @property
    def times_ns(self) -> dict[str, NDArray[np.int64]]:
        """Grab times of each camera's pictures."""
        return self._source.times_ns

    @property
    def set_times_ns(self) -> NDArray[np.int64]:
        """(S,) time of each FrameSet: the earliest grab in it."""
        far = np.iinfo(np.int64).max
        columns = [
            np.where(self._source.sets[:, v] >= 0, times[self._source.sets[:, v]], far)
            for v, times in enumerate(self.times_ns.values())
            if len(times)
        ]
        return np.asarray(np.min(columns, axis=0), np.int64)

    @property
    def dropped(self) -> int | None:
        """Frames that the recorder dropped, over all cameras; None for a session that was not finished."""
        info = self.info
        return sum(camera.dropped for camera in info.cameras.values()) if info.finished else None

    def __len__(self) -> int:
        return len(self._source.sets)

    def __iter__(self) -> Iterator[FrameSet]:
        return self.frames()

    @overload
    def __getitem__(self, index: int) -> FrameSet: ...

    @overload
    def __getitem__(self, index: slice) -> Iterator[FrameSet]: ...

    def __getitem__(self, index: int | slice) -> FrameSet | Iterator[FrameSet]:
        """One FrameSet, from the end with a negative index; a slice gives them one by one, as `frames` does."""
        if isinstance(index, slice):
            return self._part(index)
        number = _whole(index)
        at = number + len(self) if number < 0 else number
        if not 0 <= at < len(self):
            raise IndexError(f"{self.folder} has {len(self)} FrameSets; there is no {index}.")
        found = next(self.frames(at, at + 1), None)
        if found is None:
            raise SourceError(f"The pictures of FrameSet {at} of {self.folder} are damaged.")
        return found

    def _part(self, part: slice) -> Iterator[FrameSet]:
        if part.step not in (None, 1):
            raise InvalidInput(
                f"A part of a session goes on by single FrameSets; leave the step {part.step} out."
            )
        start, stop = (end if end is None else _whole(end) for end in (part.start, part.stop))
        first, last, _ = slice(start, stop).indices(len(self))
        return self.frames(first, last) if first < last else iter(())

    def frames(self, first: int = 0, last: int | None = None) -> Iterator[FrameSet]:
        """FrameSets first <= index < last, by winding the videos there. Each call reads files of its own.

        Raises InvalidInput, here and in `replay`, for a part that begins after the last FrameSet.
        """
        with self._opened(first, last) as source:
            yield from source

    def index_at(self, t_ns: int) -> int:
        """Index of the last FrameSet that began at a time or before; 0 for times before the session."""
        return max(int(np.searchsorted(self.set_times_ns, t_ns, side="right")) - 1, 0)

    def replay(self, realtime: bool = True, first: int = 0, last: int | None = None) -> Source:
        """The session as a source for `Pipeline`: at true speed like cameras, or every frame as fast as it is taken."""
        source = self._opened(first, last)
        return Played(source) if realtime else ReadAhead(source)

    def _opened(self, first: int, last: int | None) -> SessionSource:
        if _whole(first) < 0 or (last is not None and _whole(last) < first):
            raise InvalidInput(f"FrameSets {first} to {last} are no part of a session; count from 0.")
        if first >= len(self) and last != first:
            raise InvalidInput(f"{self.folder} has {len(self)} FrameSets; none from {first} on.")
        return self._source.part(first, last)

    def close(self) -> None:
        """Close the files."""
        self._source.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _whole(number: object) -> int:
    """The number of a FrameSet. Raises InvalidInput for what is none."""
    if isinstance(number, bool) or not isinstance(number, int | np.integer):
        raise InvalidInput(f"FrameSets have whole numbers, from 0 on; got {number!r}.")
    return int(number)
