"""A recorded session as a source: one MP4 a camera, bundled by grab time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from itertools import dropwhile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Rig
from rt_hands.capture.bundle import ABSENT, bundle
from rt_hands.capture.offsets import offsets_ns
from rt_hands.capture.session_info import TIME_BASE, SessionInfo
from rt_hands.capture.session_times import (
    VideoTimes,
    first_grab_ns,
    open_videos,
    session_times,
)
from rt_hands.capture.source import Notice, Source, to_stderr
from rt_hands.capture.steady import steady_times
from rt_hands.capture.video import decode, picture
from rt_hands.errors import RECORDED, SourceError
from rt_hands.types import Frame, FrameSet

__all__ = ["SessionSource", "is_session"]
NEAR_NS: Final = 500_000
"""A picture this near to a time is the one meant; cameras up to 1000 Hz."""
LONGEST_STEP_NS: Final = (2**31 - 1_000_000) * 1000
"""Two pictures further apart, 35.8 min, have other times in an MP4; a second less, for what the muxer rounds."""


def is_session(folder: Path) -> bool:
    """Whether a folder holds a session: session.json, frames.csv or timestamps.csv beside MP4 files."""
    marked = any((folder / name).is_file() for name in RECORDED)
    return marked and any(folder.glob("*.mp4"))


class SessionSource(Source):
    """FrameSets of a session folder, every frame once. A camera that ends early is told of and absent from then on.

    info: what session.json says. times_ns: grab times by camera, clocks put right by the offsets of rig.toml; those of
    clock_offset_ms go before. sets: (S, V) indices of frames, -1 absent. first, last: only the sets
    first <= index < last are given; all, but for a `part`.
    """

    def __init__(
        self,
        folder: Path,
        notice: Notice = to_stderr,
        clock_offset_ms: Mapping[str, float] | None = None,
    ) -> None:
        self.name = str(folder)
        self._notice = notice
        self.info = SessionInfo.load(folder)
        self._containers = open_videos(folder, notice)
        self.cameras = tuple(self._containers)
        self.clock_offset_ms = _own_offsets(folder) | dict(clock_offset_ms or {})
        offset_ns = offsets_ns(self.clock_offset_ms, self.cameras)
        stamps = session_times(folder, self.info, self._containers, notice)
        self.times_ns = {
            camera: steady_times(times, camera, notice) + offset_ns[camera]
            for camera, times in stamps.items()
        }
        self.sets: NDArray[np.int64] = bundle([self.times_ns[camera] for camera in self.cameras])
        if not len(self.sets):
            raise SourceError(f"{folder} holds no picture: the recording ended before the first was written.")
        # A hand is confirmed by its second frame, which there is not.
        self.still = len(self.sets) == 1
        self.first: int = 0
        self.last: int | None = None
        self._read = False

    def part(self, first: int, last: int | None) -> SessionSource:
        """Some of the sets, read from files opened anew."""
        part = copy(self)
        part._containers = open_videos(Path(self.name), lambda _: None)
        part.first, part.last, part._read = first, last, False
        return part

    @property
    def length(self) -> int:  # type: ignore[override]
        """Count of the sets that are given."""
        return len(range(len(self.sets))[self.first : self.last])

    def __iter__(self) -> Iterator[FrameSet]:
        rows = self.sets[self.first : self.last]
        views = [self._view(camera, rows[:, v]) for v, camera in enumerate(self.cameras)]
        self._read = True
        for index, row in enumerate(rows, start=self.first):
            frames = [view.frame(int(i)) for view, i in zip(views, row, strict=True) if i != ABSENT]
            present = tuple(frame for frame in frames if frame is not None)
            if present:
                yield FrameSet(present, index)

    def frames_of(self, camera: str) -> Iterator[Frame]:
        """Every picture of one camera that its video has; `index` is its place in times_ns."""
        indices = np.arange(len(self.times_ns[camera]))
        view = self._view(camera, indices)
        self._read = True
        for index in indices:
            frame = view.frame(int(index))
            if frame is not None:
                yield frame

    def _view(self, camera: str, indices: NDArray[np.int64]) -> _View:
        """A camera's pictures from the first wanted one on."""
        used = indices[indices != ABSENT]
        start = int(used[0]) if len(used) else 0
        view = _View(f"{self.name}/{camera}.mp4", camera, self.times_ns[camera], self._notice)
        view.open_at(start, self._containers[camera], wind=start > 0 or self._read)
        return view

    def close(self) -> None:
        """Close the files."""
        for container in self._containers.values():
            container.close()


def _own_offsets(folder: Path) -> dict[str, float]:
    path = folder / "rig.toml"
    return Rig.load(path).clock_offset_ms if path.is_file() else {}


class _View:
    """One camera's pictures in order of time."""

    def __init__(self, address: str, camera: str, times_ns: NDArray[np.int64], notice: Notice) -> None:
        self._address = address
        self._camera = camera
        self._times_ns = times_ns
        self._notice = notice
        self._ended = self._exact = False
        self._waiting: tuple[int, Any] | None = None
        self._pictures: Iterator[tuple[int, Any]] = iter(())

    def open_at(self, start: int, container: Any, wind: bool) -> None:
        """Begin with the picture of an index. wind: the file must be wound there or back."""
        stream = container.streams.video[0]
        # Files that rt_hands wrote hold the grab times, so a damaged picture can't shift those after it. After a long
        # break of the camera they don't: then pictures are counted, as in other programs' files.
        held = not (np.diff(self._times_ns) > LONGEST_STEP_NS).any()
        self._exact = held and first_grab_ns(container) is not None and stream.time_base == TIME_BASE
        if not wind or not len(self._times_ns):
            self._pictures = decode(container, self._address, self._notice)
            return
        if self._exact:
            pts, near_ns = int(self._times_ns[start] - self._times_ns[0]) // 1000, float(NEAR_NS)
        else:
            # Pictures may be a tick apart.
            pts, near_ns = int(VideoTimes.of(container).pts[start]), 0.5e9 * float(stream.time_base)
        container.seek(pts, stream=stream, backward=True)
        from_ns = float(pts * stream.time_base) * 1e9 - near_ns
        pictures = decode(container, self._address, self._notice, partly=True)
        self._pictures = dropwhile(lambda timed: timed[0] < from_ns, pictures)

    def frame(self, index: int) -> Frame | None:
        """The picture of an index, rising from call to call; None where the video lacks it."""
        found = self._find(index)
        if found is not None:
            return Frame(picture(found), self._camera, index, int(self._times_ns[index]))
        if self._waiting is None and not self._ended:
            self._ended = True
            self._notice(
                f"{self._address} ends early: {index} of {len(self._times_ns)} frames that have a time."
            )
        return None

    def _find(self, index: int) -> Any:
        expected_ns = int(self._times_ns[index] - self._times_ns[0])
        while True:
            if self._waiting is None:
                self._waiting = next(self._pictures, None)
            if self._waiting is None:
                return None
            t_ns, frame = self._waiting
            if self._exact and t_ns > expected_ns + NEAR_NS:
                return None
            self._waiting = None
            if not self._exact or t_ns >= expected_ns - NEAR_NS:
                return frame
