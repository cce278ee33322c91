"""Pictures for calibration: a folder with one video or folder of pictures a camera, a session, or live cameras.

Which pictures belong together: grab times of a timestamps.csv, a session, or a frames.csv where there is one, else the
n-th picture of each camera. Pictures taken more than `max_spread_ms` after the first of their set stay alone.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rt_hands.capture.bundle import ABSENT, bundle
from rt_hands.capture.images import SUFFIXES, ImageSource
from rt_hands.capture.session_files import SessionSource
from rt_hands.capture.session_times import video_paths
from rt_hands.capture.source import Notice, Source, to_stderr
from rt_hands.capture.video import VideoSource
from rt_hands.errors import InvalidInput, SourceError
from rt_hands.paths import natural_key
from rt_hands.types import Frame, Image

VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v")
_CAMERA = ("camera", "cam_id", "camera_id", "port")
_TIMES = {"t_ns": 1e-9, "frame_time": 1.0, "t_s": 1.0, "time_s": 1.0, "timestamp": 1.0}


@dataclass(frozen=True)
class Picture:
    """camera: id. moment: index of its set. t_s: grab time, NaN where unknown. image: (h, w, 3) uint8 BGR."""

    camera: str
    moment: int
    t_s: float
    image: Image


class Recording:
    """A folder with one video, or one folder of pictures, for each camera.

    first, last: only sets first <= moment < last. Raises InvalidInput or SourceError that names the file.
    """

    def __init__(
        self,
        folder: str | Path,
        timestamps: str | Path | None = None,
        first: int = 0,
        last: int | None = None,
        max_spread_ms: float = 25.0,
        notice: Notice = to_stderr,
    ) -> None:
        self.folder = Path(folder)
        self._notice = notice
        found = [self.folder / name for name in ("timestamps.csv", "session.json", "frames.csv")]
        path = Path(timestamps) if timestamps else next((p for p in found if p.is_file()), None)
        self._session: SessionSource | None = None
        self._times_s: dict[str, NDArray[np.float64]] | None = None
        if path == self.folder / "session.json":
            self._session = _session(self.folder, notice)
            times_ns = {c: t for c, t in self._session.times_ns.items() if len(t)}
            self._times_s = {c: np.asarray(1e-9 * t, np.float64) for c, t in times_ns.items()}
            self._paths = {c: self.folder / f"{c}.mp4" for c in self._times_s}
        else:
            self._paths = _cameras(self.folder)
            self._times_s = read_times_s(path, list(self._paths)) if path else None
        self._sets: dict[str, NDArray[np.int64]] | None = None
        self._n_sets = 0
        if self._times_s is not None:
            self._sets, self._n_sets = _sets(self._times_s, max_spread_ms)
        self._first, self._last = first, last

    @property
    def cameras(self) -> tuple[str, ...]:
        """Ids: the names of the videos and folders."""
        return tuple(self._paths)

    @property
    def one_clock(self) -> bool:
        """Whether grab times are known; a video's own times begin where it does."""
        return self._times_s is not None

    def pictures(self, camera: str) -> Iterator[Picture]:
        """All pictures of one camera that lie in the wanted sets, in order."""
        count = 0
        with closing(self._open(camera)) as source:
            for frame in _frames(source, camera):
                count = frame.index + 1
                moment, t_s = self._place(camera, frame.index, frame.t_ns, source.still)
                if self._wanted(moment):
                    yield Picture(camera, moment, t_s, frame.image_bgr)
        times = None if self._times_s is None else self._times_s[camera]
        if self._session is None and times is not None and len(times) != count:
            raise InvalidInput(
                f"Camera '{camera}' has {count} pictures but {len(times)} times: the file of times is of another take, "
                "or the video is cut short."
            )

    def _open(self, camera: str) -> Source:
        if self._session is not None:
            return self._session.part(0, None)
        path = self._paths[camera]
        return ImageSource(path, self._notice) if path.is_dir() else VideoSource(path, camera, self._notice)

    def _wanted(self, moment: int) -> bool:
        """Whether the set, or the one that a late picture came from, is asked for."""
        if self._times_s is not None:
            moment %= max(self._n_sets, 1)
        return moment >= self._first and (self._last is None or moment < self._last)

    def length(self, camera: str) -> int | None:
        """Count of pictures, where it is known without decoding."""
        return None if self._times_s is None else len(self._times_s[camera])

    def _place(self, camera: str, index: int, t_ns: int, still: bool) -> tuple[int, float]:
        """Set and time of a camera's n-th picture."""
        if self._times_s is None or self._sets is None:
            return index, float("nan") if still else 1e-9 * t_ns
        times, sets = self._times_s[camera], self._sets[camera]
        if index >= len(times):
            raise InvalidInput(f"Camera '{camera}' has more pictures than times ({len(times)}).")
        return int(sets[index]), float(times[index])


def _cameras(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise SourceError(f"There is no folder '{folder}'.")
    entries = sorted(folder.iterdir(), key=lambda path: natural_key(path.name))
    videos = [p for p in entries if p.is_file() and p.suffix.lower() in VIDEOS]
    folders = [p for p in entries if p.is_dir() and any(q.suffix.lower() in SUFFIXES for q in p.iterdir())]
    if videos and folders:
        raise InvalidInput(f"'{folder}' holds both videos and folders of pictures; keep one kind.")
    if not videos and not folders:
        raise SourceError(
            f"'{folder}' holds no video ({', '.join(VIDEOS)}) and no folder of pictures. Put one for each camera there."
        )
    cameras = {p.stem if p.is_file() else p.name: p for p in videos or folders}
    if len(cameras) < len(videos or folders):
        raise InvalidInput(f"Two videos in '{folder}' have the same name but for the ending.")
    return cameras


def _session(folder: Path, notice: Notice) -> SessionSource:
    """A session for its times, by the stamps: offsets that its own rig.toml tells are not added."""
    by_stamps = {path.stem: 0.0 for path in video_paths(folder)}
    with closing(SessionSource(folder, notice, clock_offset_ms=by_stamps)) as session:
        return session


def _frames(source: Source, camera: str) -> Iterator[Frame]:
    if isinstance(source, SessionSource):
        return source.frames_of(camera)
    return (frames.frames[0] for frames in source)


def read_times_s(path: Path, cameras: list[str]) -> dict[str, NDArray[np.float64]]:
    """Grab times of each camera's pictures, s, rising. Raises InvalidInput that names the file.

    Columns: camera (or cam_id: 0 is the camera `0` or `cam_0`), and t_ns, or frame_time / t_s in seconds.
    """
    times: dict[str, list[float]] = {c: [] for c in cameras}
    rows, columns = _table(path)
    who = next((c for c in _CAMERA if c in columns), None)
    when = next((c for c in _TIMES if c in columns), None)
    if len(columns) == 1 and ";" in columns[0]:
        raise InvalidInput(f"'{path}' has semicolons between its columns; save it separated by commas.")
    if who is None or when is None:
        raise InvalidInput(
            f"'{path}' has the columns {', '.join(columns)}; wanted a camera ({', '.join(_CAMERA)}) and "
            f"a time ({', '.join(_TIMES)})."
        )
    for row in rows:
        name = _named(str(row[who]), cameras)
        if name is not None:
            try:
                times[name].append(float(row[when] or "nan") * _TIMES[when])
            except ValueError:
                raise InvalidInput(f"'{path}': the time '{row[when]}' is not a number.") from None
    missing = [c for c, t in times.items() if not t]
    if missing:
        raise InvalidInput(f"'{path}' has no times of camera '{missing[0]}'.")
    sorted_times = {c: np.sort(np.array(t)) for c, t in times.items()}
    if not all(np.isfinite(t).all() for t in sorted_times.values()):
        raise InvalidInput(f"'{path}' has a picture without a time.")
    return sorted_times


def _table(path: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Rows and column names of a CSV file."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # Excel begins with a byte order mark
            reader = csv.DictReader(file)
            return list(reader), list(reader.fieldnames or [])
    except OSError as error:
        raise InvalidInput(f"Can't read '{path}': {error.strerror}.") from None
    except (UnicodeDecodeError, csv.Error):
        raise InvalidInput(f"'{path}' is no CSV file.") from None


def _named(value: str, cameras: list[str]) -> str | None:
    return next((c for c in (value, f"cam_{value}", f"port_{value}", f"cam{value}") if c in cameras), None)


def _sets(
    times_s: dict[str, NDArray[np.float64]], max_spread_ms: float
) -> tuple[dict[str, NDArray[np.int64]], int]:
    """Set of every picture by camera, and the count of sets; a picture too late for its set gets one of its own."""
    cameras = list(times_s)
    ns = [
        np.round(1e9 * (times_s[c] - min(t[0] for t in times_s.values()))).astype(np.int64) for c in cameras
    ]
    rows = bundle(ns)
    sets = {c: np.zeros(len(t), np.int64) for c, t in times_s.items()}
    for number, row in enumerate(rows):
        first = min(int(ns[v][i]) for v, i in enumerate(row) if i != ABSENT)
        for v, i in enumerate(row):
            if i == ABSENT:
                continue
            late = ns[v][i] - first > max_spread_ms * 1e6
            # Own numbers beyond all sets, that still tell the set they came from (modulo the count of sets).
            sets[cameras[v]][i] = number + len(rows) * (v + 1) * late
    return sets, len(rows)
