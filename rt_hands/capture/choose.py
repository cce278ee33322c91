"""From what a user types after --source to a source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rt_hands.capture.devices import find_device, list_devices, missing_device
from rt_hands.capture.images import SUFFIXES, ImageSource
from rt_hands.capture.live import LiveSource, Reader
from rt_hands.capture.paced import Played, ReadAhead
from rt_hands.capture.session_files import SessionSource, is_session
from rt_hands.capture.source import Notice, Source, to_stderr
from rt_hands.capture.video import StreamReader, VideoSource
from rt_hands.capture.webcam import WebcamReader, WebcamSettings
from rt_hands.errors import InvalidInput, SourceError
from rt_hands.paths import sample_dir

NETWORK = ("rtsp", "rtsps", "rtmp", "udp", "tcp", "srt", "http", "https")


def open_source(
    source: str | Sequence[str] = (),
    realtime: bool = False,
    settings: WebcamSettings | None = None,
    notice: Notice = to_stderr,
) -> Source:
    """The source for one or several words.

    source: a webcam's number, /dev/videoN or name; a URL; a video file; a picture or a folder of pictures; a recorded
    session's folder; `sample`. Several words must all be cameras or URLs. None: the first webcam, or the sample where
    there is none, told in one line. realtime: play files at their own speed and drop late frames, as a camera would.
    Raises SourceError where it can't be opened, InvalidInput where the words mean nothing.
    """
    words = [source] if isinstance(source, str) else list(source)
    if not words:
        return _first_camera_or_sample(realtime, settings, notice)
    readers = [reader for word in words if (reader := _reader(word, settings, notice)) is not None]
    if len(readers) == len(words):
        return LiveSource(readers, notice)
    if len(words) > 1:
        raise InvalidInput(f"Several sources must all be cameras or URLs, got: {', '.join(words)}.")
    recorded = _recorded(words[0], notice)
    if recorded.still:
        return recorded
    return Played(recorded) if realtime else ReadAhead(recorded)


def _first_camera_or_sample(realtime: bool, settings: WebcamSettings | None, notice: Notice) -> Source:
    devices = list_devices()
    if devices:
        return LiveSource([WebcamReader(devices[0], settings)], notice)
    notice("No webcam on this machine: showing the bundled sample (--source picks something else).")
    return open_source("sample", realtime, settings, notice)


def _reader(word: str, settings: WebcamSettings | None, notice: Notice) -> Reader | None:
    """A webcam or stream; None where the word means a file, folder or the sample."""
    if word.split("://", 1)[0].lower() in NETWORK and "://" in word:
        return StreamReader(word, notice=notice)
    is_node = word.startswith("/dev/video")
    if word == "sample" or (Path(word).exists() and not is_node and not word.isdigit()):
        return None
    device = find_device(word)
    if device is not None:
        return WebcamReader(device, settings)
    if Path(word).suffix or "/" in word:
        raise SourceError(f"There is no file or folder {word}.")
    raise SourceError(missing_device(f"'{word}'", list_devices()))


def _recorded(word: str, notice: Notice) -> Source:
    path = sample_dir() if word == "sample" else Path(word)
    if word == "sample" and not is_session(path):
        raise SourceError(
            "The bundled sample is absent from this installation. Reinstall rt_hands, or give --source."
        )
    if path.is_dir():
        return SessionSource(path, notice) if is_session(path) else ImageSource(path, notice)
    return ImageSource(path, notice) if path.suffix.lower() in SUFFIXES else VideoSource(path, notice=notice)
