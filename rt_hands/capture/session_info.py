"""session.json: what a session says of itself."""

from __future__ import annotations

import json
import platform
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import cv2

from rt_hands.errors import SourceError
from rt_hands.paths import write_atomically

SCHEMA_VERSION: Final = 2
"""1: the bundled sample, without a clock anchor."""
TIME_BASE: Final = Fraction(1, 1_000_000)
"""Of the videos, s."""
FIRST_GRAB: Final = "first grab, perf_counter_ns: "
"""In a video's comment, before the t_ns of its first picture."""
COLUMNS: Final = ("camera", "index", "t_ns", "dropped")
"""Of frames.csv. index: the n-th picture of the camera's MP4. dropped: frames lost since the line before."""


def file_stem(camera: str) -> str:
    """A camera's name as its files are called: without signs that file systems refuse."""
    return re.sub(r"[^\w.-]+", "_", camera).strip("._") or "camera"


@dataclass(frozen=True, slots=True)
class ClockAnchor:
    """One moment on both clocks: utc_ns of a frame is t_ns - perf_counter_ns + utc_ns.

    within_ns: the two clocks were read inside this long.
    """

    perf_counter_ns: int
    utc_ns: int
    within_ns: int = 0

    @staticmethod
    def now() -> ClockAnchor:
        """The best of a few readings: a thread may be put to sleep between the two clocks."""
        readings = []
        for _ in range(9):
            before, utc, after = time.perf_counter_ns(), time.time_ns(), time.perf_counter_ns()
            readings.append(ClockAnchor((before + after) // 2, utc, after - before))
        return min(readings, key=lambda anchor: anchor.within_ns)

    def utc_ns_of(self, t_ns: int) -> int:
        """Grab time as ns since 1970, UTC."""
        return t_ns - self.perf_counter_ns + self.utc_ns


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """frames: pictures in the MP4. dropped: frames that came while the encoder was behind."""

    frames: int
    dropped: int
    size_px: tuple[int, int]


def _versions() -> dict[str, str]:
    from rt_hands import __version__

    return {
        "rt_hands": __version__,
        "python": platform.python_version(),
        "av": av.__version__,
        "opencv": cv2.__version__,
    }


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """clock: None in sessions of other makers. settings: sentences on what cameras were asked for and gave.

    cameras: by name, known once the session is finished; finished is False while it is recorded, or was killed.
    """

    clock: ClockAnchor | None = None
    encoder: str = ""
    settings: tuple[str, ...] = ()
    finished: bool = False
    cameras: Mapping[str, CameraInfo] = field(default_factory=dict)

    def finished_with(self, counts: Mapping[str, tuple[int, int, tuple[int, int]]]) -> SessionInfo:
        """The same, finished: (frames, dropped, size_px) by camera."""
        cameras = {name: CameraInfo(*count) for name, count in counts.items()}
        return replace(self, finished=True, cameras=cameras)

    def save(self, folder: Path) -> None:
        """Write session.json atomically. Raises SourceError."""
        content: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "versions": _versions()}
        if self.clock is not None:
            moment = datetime.fromtimestamp(self.clock.utc_ns * 1e-9, timezone.utc)
            content["clock"] = {**asdict(self.clock), "utc": moment.isoformat(timespec="milliseconds")}
        content |= {"encoder": self.encoder, "settings": list(self.settings), "finished": self.finished}
        content["cameras"] = {name: asdict(camera) for name, camera in self.cameras.items()}
        try:
            write_atomically(folder / "session.json", json.dumps(content, indent=2).encode() + b"\n")
        except OSError as error:
            raise SourceError(f"{folder}/session.json can't be written: {error.strerror}.") from error

    @staticmethod
    def load(folder: Path) -> SessionInfo:
        """Read session.json; an empty one where there is none. Raises SourceError for damage or a newer schema."""
        path = folder / "session.json"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return SessionInfo()
        except OSError as error:
            raise SourceError(f"{path} can't be opened: {error.strerror}.") from error
        try:
            return _from_json(json.loads(content), path)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SourceError(
                f"{path} is damaged ({error}). Delete it: the frames need only frames.csv."
            ) from error


def _from_json(data: Any, path: Path) -> SessionInfo:
    version = int(data.get("schema_version", 1))
    if version > SCHEMA_VERSION:
        raise SourceError(
            f"{path} has schema version {version}; this rt_hands knows {SCHEMA_VERSION}. Update it."
        )
    if version < SCHEMA_VERSION:
        return SessionInfo()
    clock = data.get("clock")
    anchor = None
    if clock is not None:
        anchor = ClockAnchor(*(int(clock[key]) for key in ("perf_counter_ns", "utc_ns", "within_ns")))
    cameras = {
        str(name): CameraInfo(
            int(c["frames"]), int(c["dropped"]), (int(c["size_px"][0]), int(c["size_px"][1]))
        )
        for name, c in data.get("cameras", {}).items()
    }
    settings = tuple(map(str, data.get("settings", ())))
    return SessionInfo(anchor, str(data.get("encoder", "")), settings, bool(data.get("finished")), cameras)
