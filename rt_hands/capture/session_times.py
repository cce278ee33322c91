"""When each picture of a session was grabbed: from frames.csv, or another program's timestamps.csv, checked against the
videos; or rebuilt from them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

from rt_hands.capture.session_info import COLUMNS, FIRST_GRAB, SessionInfo
from rt_hands.capture.source import Notice
from rt_hands.capture.video import open_container
from rt_hands.errors import SourceError
from rt_hands.paths import natural_key, write_atomically

Times = NDArray[np.int64]
_OWN_TIMES: Final = "rebuilt from the videos' own times"


@dataclass(frozen=True, slots=True)
class VideoTimes:
    """Of one MP4, without decoding. since_first_ns: of each picture, in order of time. first_ns: grab time of the
    first picture, None where the file doesn't say; pts, in time_base units, is what seeking wants."""

    since_first_ns: Times
    first_ns: int | None
    pts: Times

    @staticmethod
    def of(container: Any) -> VideoTimes:
        """Read all packets of a file, from its start, and wind it back; one that breaks off gives those before."""
        stream = container.streams.video[0]
        found: list[int] = []
        with suppress(av.FFmpegError):  # no way back in a raw stream, which is at its start when just opened
            container.seek(0)
        # What can't be read now can't be decoded later: `decode` tells of it.
        with suppress(av.FFmpegError, OSError):
            found.extend(int(p.pts) for p in container.demux(stream) if p.pts is not None)
        pts = np.sort(np.array(found, np.int64))
        # In lowest terms: ticks of 1 us times 10^9 would be beyond 64 bits after two and a half hours.
        tick_ns = 1_000_000_000 * Fraction(stream.time_base)
        since_ns = (pts - pts[:1]) * tick_ns.numerator // tick_ns.denominator
        if len(pts):
            container.seek(int(pts[0]), stream=stream, backward=True)
        return VideoTimes(since_ns, first_grab_ns(container), pts)

    def grab_ns(self) -> Times:
        """Grab times, to 1 us; from 0 where the file does not say when it began."""
        return self.since_first_ns + (self.first_ns or 0)


def first_grab_ns(container: Any) -> int | None:
    """perf_counter_ns of the first picture, from the comment of files that rt_hands wrote."""
    number = str(container.metadata.get("comment", "")).partition(FIRST_GRAB)[2]
    return int(number) if number.isdigit() else None


def video_paths(folder: Path) -> list[Path]:
    """The session's MP4 files, cam_2 before cam_10."""
    return sorted(folder.glob("*.mp4"), key=lambda path: natural_key(path.name))


def grab_times_ns(folder: Path, finished: bool = True) -> dict[str, Times]:
    """Grab times by camera from frames.csv, in order of frames. Raises SourceError for a file that isn't one.

    Columns used: `camera` and `t_ns`; one line a frame of that camera's MP4, other columns are left alone.
    finished: False forgives a last line that was cut short.
    """
    path = folder / "frames.csv"
    times: dict[str, list[int]] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")  # Excel begins with a byte order mark
        if not finished and not text.endswith("\n"):
            text = text[: text.rfind("\n") + 1]
        for row in csv.DictReader(text.splitlines()):
            times.setdefault(row["camera"], []).append(int(row["t_ns"]))
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(
            f"{path} wants the columns camera and t_ns, whole numbers of ns: {error}. Mend it, or delete it to have it "
            "rebuilt from the videos."
        ) from error
    except OSError as error:
        raise SourceError(f"{path} can't be opened: {error.strerror}.") from error
    return {camera: np.array(values, np.int64) for camera, values in times.items()}


def open_videos(folder: Path, notice: Notice) -> dict[str, Any]:
    """Containers by camera. One that can't be read is told of and left out; SourceError where none can."""
    containers: dict[str, Any] = {}
    reasons = []
    for path in video_paths(folder):
        try:
            containers[path.stem] = open_container(str(path))
        except SourceError as error:
            reasons.append(str(error))
    if not containers:
        raise SourceError(" ".join([f"{folder} holds no video that can be read.", *reasons]))
    for reason in reasons:
        notice(f"{reason} That camera is left out.")
    return containers


def session_times(
    folder: Path, info: SessionInfo, containers: dict[str, Any], notice: Notice
) -> dict[str, Times]:
    """Grab times of every picture that is in the videos, by camera; every correction is told.

    A finished session's frames.csv is believed where its counts are those of session.json. Otherwise the videos are
    read through: lines without a picture are left out, pictures without a line get the video's own times. So they are
    with a timestamps.csv, which counts where there is no frames.csv.
    """
    pictures = {camera: about.frames for camera, about in info.cameras.items()}
    _tell_missing(folder, pictures, "session.json", notice)
    if not (folder / "frames.csv").is_file():
        if (folder / "timestamps.csv").is_file():
            return _stamped(folder, containers, notice)
        return _rebuilt(folder, containers, notice)
    listed = grab_times_ns(folder, info.finished)
    in_lines = {camera: len(stamps) for camera, stamps in listed.items() if camera not in pictures}
    _tell_missing(folder, in_lines, "frames.csv", notice)
    unknown = [camera for camera in containers if camera not in listed]
    if unknown and info.finished:
        raise SourceError(f"{folder}/frames.csv has no lines for camera {', '.join(unknown)}.")
    if info.finished and all(
        camera in info.cameras and info.cameras[camera].frames == len(listed[camera]) for camera in containers
    ):
        return {camera: listed[camera] for camera in containers}
    none = np.zeros(0, np.int64)
    return {
        camera: _reconciled(folder, camera, "frames.csv", listed.get(camera, none), container, notice)
        for camera, container in containers.items()
    }


def _stamped(folder: Path, containers: dict[str, Any], notice: Notice) -> dict[str, Times]:
    # Not above: what reads the file for `calibrate` reads sessions itself.
    from rt_hands.calibration.sources import read_times_s

    file = "timestamps.csv"
    times_s = read_times_s(folder / file, list(containers))
    return {
        camera: _reconciled(
            folder, camera, file, np.round(times_s[camera] * 1e9).astype(np.int64), container, notice
        )
        for camera, container in containers.items()
    }


def _tell_missing(folder: Path, pictures: Mapping[str, int], file: str, notice: Notice) -> None:
    """Tell of cameras that a file says have pictures, and that have no video."""
    for camera, count in pictures.items():
        video = folder / f"{camera}.mp4"
        if count and not video.is_file():
            notice(f"{camera} is in {file}, but its video is missing: {video}. That camera is left out.")


def _rebuilt(folder: Path, containers: dict[str, Any], notice: Notice) -> dict[str, Times]:
    videos = {camera: VideoTimes.of(container) for camera, container in containers.items()}
    unsure = [camera for camera, video in videos.items() if video.first_ns is None]
    doubt = f"; when {', '.join(unsure)} began is not known, so they start together" if unsure else ""
    times = {
        camera: video.since_first_ns.copy() if unsure else video.grab_ns() for camera, video in videos.items()
    }
    notice(f"{folder} has no frames.csv: its times are {_OWN_TIMES}{doubt}.")
    lines = [",".join(COLUMNS)]
    lines += [f"{camera},{i},{t},0" for camera, stamps in times.items() for i, t in enumerate(stamps)]
    try:
        write_atomically(folder / "frames.csv", ("\n".join(lines) + "\n").encode())
    except OSError as error:
        notice(f"The rebuilt frames.csv was not saved: {error.strerror}.")
    return times


def _reconciled(folder: Path, camera: str, file: str, listed: Times, container: Any, notice: Notice) -> Times:
    name, video = f"{folder}/{camera}.mp4", VideoTimes.of(container)
    count = len(video.pts)
    if len(listed) >= count:
        if len(listed) > count:
            notice(f"{name} ends early: {count} of {len(listed)} frames in {file}.")
        return listed[:count]
    notice(f"{name} has {count} frames, {len(listed)} of them in {file}: the rest is {_OWN_TIMES}.")
    first_ns = int(listed[0]) if len(listed) else video.first_ns or 0
    return np.concatenate([listed, video.since_first_ns[len(listed) :] + first_ns])
