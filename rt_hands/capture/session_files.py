"""A recorded session as a source: one MP4 a camera, bundled by grab time."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rt_hands.capture.bundle import ABSENT, bundle
from rt_hands.capture.images import natural_key
from rt_hands.capture.source import Notice, Source, to_stderr
from rt_hands.capture.video import decode, open_container, picture
from rt_hands.errors import SourceError
from rt_hands.types import Frame, FrameSet


def is_session(folder: Path) -> bool:
    """Whether a folder holds a session: session.json or frames.csv beside MP4 files."""
    marked = any((folder / name).is_file() for name in ("session.json", "frames.csv"))
    return marked and any(folder.glob("*.mp4"))


def grab_times_ns(folder: Path) -> dict[str, NDArray[np.int64]]:
    """Grab times by camera from frames.csv, in order of frames. Raises SourceError for a file that isn't one.

    Columns used: `camera` and `t_ns`; one line a frame of that camera's MP4, other columns are left alone.
    """
    path = folder / "frames.csv"
    times: dict[str, list[int]] = {}
    try:
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                times.setdefault(row["camera"], []).append(int(row["t_ns"]))
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"{path} wants the columns camera and t_ns, whole numbers of ns: {error}."
        ) from error
    except OSError as error:
        raise SourceError(f"{path} can't be opened: {error.strerror}.") from error
    return {camera: np.array(values, np.int64) for camera, values in times.items()}


class SessionSource(Source):
    """FrameSets of a session folder, every frame once. A camera that ends early is told of and absent from then on."""

    def __init__(self, folder: Path, notice: Notice = to_stderr) -> None:
        self.name = str(folder)
        self._notice = notice
        paths = sorted(folder.glob("*.mp4"), key=natural_key)
        times = grab_times_ns(folder)
        self.cameras = tuple(path.stem for path in paths)
        unknown = [camera for camera in self.cameras if camera not in times]
        if unknown:
            raise SourceError(f"{folder}/frames.csv has no lines for camera {', '.join(unknown)}.")
        self._times_ns = [times[camera] for camera in self.cameras]
        self._sets = bundle(self._times_ns)
        self.length = len(self._sets)
        self._ended: set[int] = set()
        self._containers: list[Any] = []
        for path in paths:
            self._containers.append(open_container(str(path)))

    def __iter__(self) -> Iterator[FrameSet]:
        pictures = [
            decode(container, f"{self.name}/{camera}.mp4", self._notice)
            for container, camera in zip(self._containers, self.cameras, strict=True)
        ]
        index = 0
        for row in self._sets:
            frames = [self._next(pictures[v], v, int(i)) for v, i in enumerate(row) if i != ABSENT]
            present = tuple(frame for frame in frames if frame is not None)
            if present:
                yield FrameSet(present, index)
                index += 1

    def _next(self, pictures: Iterator[tuple[int, Any]], view: int, index: int) -> Frame | None:
        found = next(pictures, None)
        if found is None:
            if view not in self._ended:
                self._ended.add(view)
                of = len(self._times_ns[view])
                self._notice(
                    f"{self.name}/{self.cameras[view]}.mp4 ends early: {index} of {of} frames in frames.csv."
                )
            return None
        return Frame(picture(found[1]), self.cameras[view], index, int(self._times_ns[view][index]))

    def close(self) -> None:
        """Close the files."""
        for container in self._containers:
            container.close()
