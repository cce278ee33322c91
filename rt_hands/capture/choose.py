"""From what a user types after --source to a source."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias

import cv2

from rt_hands.capture.devices import find_device, list_devices
from rt_hands.capture.images import SUFFIXES, ImageSource
from rt_hands.capture.live import LiveSource, Reader
from rt_hands.capture.paced import Played, ReadAhead
from rt_hands.capture.session_files import SessionSource, is_session
from rt_hands.capture.source import Notice, Source, to_stderr
from rt_hands.capture.together import TogetherSource
from rt_hands.capture.video import StreamReader, VideoSource, is_one_picture, shown
from rt_hands.capture.webcam import WebcamReader, WebcamSettings
from rt_hands.errors import InvalidInput, SourceError
from rt_hands.paths import sample_dir

NETWORK = ("rtsp", "rtsps", "rtmp", "udp", "tcp", "srt", "http", "https")
Word: TypeAlias = str | os.PathLike[str] | int
NEAR = 0.7
"""Likeness, as difflib counts it, from which a word is taken for `sample` mistyped: sampel has 0.83, simple 0.67."""


def open_source(
    source: Word | Sequence[Word] = (),
    realtime: bool = False,
    settings: WebcamSettings | None = None,
    notice: Notice = to_stderr,
    cameras: Sequence[str] = (),
    clock_offset_ms: Mapping[str, float] | None = None,
) -> Source:
    """The source for one or several words.

    source: a webcam's number, /dev/videoN or name; a stream's URL; a video file, here or on a web server; a picture or
    a folder of pictures; a recorded session's folder; `sample`. Several words must all be cameras or streams, or all
    be video files, or all be pictures or folders of them, of which those of one number meet. No word: the first webcam,
    or the sample where there is none, told in one line.
    realtime: play files at their own speed and drop late frames, as a camera would.
    cameras: ids that the sources must have, as in a rig file; each word is then `ID=WORD`, or a file named `ID.*`.
    clock_offset_ms: by camera, see `Camera`; for a session they go before those of its own rig.toml.
    Raises SourceError where it can't be opened, InvalidInput where the words mean nothing.
    """
    given = [source] if isinstance(source, str | os.PathLike | int) else list(source)
    words = [_as_text(word) for word in given] or [_first_camera_or_sample(settings, notice)]
    if not all(word.strip() for word in words):
        raise InvalidInput("A source is an empty word; give a camera, a file, a folder, a URL or `sample`.")
    names, words = _split_names(words, cameras)
    readers = [reader for word in words if (reader := _reader(word, settings, notice)) is not None]
    if len(readers) == len(words):
        for reader, name in zip(readers, names, strict=True):
            reader.camera = name or reader.camera
        return LiveSource(readers, notice, clock_offset_ms=clock_offset_ms)
    if readers:
        raise _mixed(words)
    if len(words) == 1:
        recorded = _recorded(words[0], names[0], notice, clock_offset_ms)
    else:
        recorded = _together(words, names, notice, clock_offset_ms)
    if recorded.still:
        return recorded
    return Played(recorded) if realtime else ReadAhead(recorded)


def _as_text(word: Word) -> str:
    if isinstance(word, bool) or not isinstance(word, str | os.PathLike | int):
        raise InvalidInput(f"A source is {word!r}; give a camera's number, a path, a URL or `sample`.")
    return str(word) if isinstance(word, int) else os.fspath(word)


def need_camera(words: Sequence[str]) -> None:
    """For commands that can't do with the sample: raises SourceError where nothing is named and there is no webcam."""
    if not words and not list_devices():
        raise SourceError("No webcam on this machine. Plug one in, or name a stream: rtsp:// or http://...")


def _split_names(words: Sequence[str], cameras: Sequence[str]) -> tuple[list[str], list[str]]:
    """Camera names and plain words of `ID=WORD`; "" for a word without a name. By name, never by order."""
    names, plain = [], []
    for word in words:
        name, equals, rest = word.partition("=")
        named = bool(equals) and "://" not in name and not Path(word).exists()
        names.append(name if named else Path(word).stem if Path(word).stem in cameras else "")
        plain.append(rest if named else word)
    unknown = [pair for pair in zip(words, names, strict=True) if cameras and pair[1] not in cameras]
    if unknown and not (len(words) == 1 and _is_whole_rig(plain[0])):
        (word, name), ids = unknown[0], ", ".join(cameras)
        if name:
            raise InvalidInput(f"The rig has no camera '{name}'; it has {ids}.")
        if not Path(word).exists() and not _is_stream(word) and find_device(word) is None:
            raise SourceError(_nothing_called(word))
        raise InvalidInput(f"Which camera of the rig is {word}? Give it as ID={word}, with one of {ids}.")
    return names, plain


def _is_whole_rig(word: str) -> bool:
    return word == "sample" or is_session(Path(word))


def _together(
    words: Sequence[str],
    names: Sequence[str],
    notice: Notice,
    clock_offset_ms: Mapping[str, float] | None,
) -> Source:
    """Several video files, or pictures, as one source; cameras are called by name, or after their files."""
    paths = [Path(word) for word in words]
    cameras = [name or path.stem for name, path in zip(names, paths, strict=True)]
    if all(map(_is_pictures, paths)):
        return TogetherSource([ImageSource(path, notice) for path in paths], cameras, notice=notice)
    if not all(_is_stream(word) or (Path(word).is_file() and not _is_pictures(Path(word))) for word in words):
        raise _mixed(words)
    files = [VideoSource(word, notice=notice) for word in words]
    return TogetherSource(files, cameras, clock_offset_ms, notice, [file.start_ns for file in files])


def _is_pictures(path: Path) -> bool:
    if path.is_file() and path.suffix.lower() not in SUFFIXES:
        # By what is in it; OpenCV would give the first picture of animations and of films of JPEGs, too.
        return os.access(path, os.R_OK) and cv2.haveImageReader(str(path)) and is_one_picture(str(path))
    return path.suffix.lower() in SUFFIXES or (path.is_dir() and not is_session(path))


def _mixed(words: Sequence[str]) -> InvalidInput:
    return InvalidInput(
        "Several sources must all be of one kind: cameras and streams, or videos, or folders of pictures; "
        f"got {', '.join(map(shown, words))}."
    )


def _first_camera_or_sample(settings: WebcamSettings | None, notice: Notice) -> str:
    """The word that stands for no word: of several video nodes, of which some are no webcams, the first that works."""
    devices = list_devices()
    if devices:
        working = (
            d for d in devices if len(devices) == 1 or _gives_pictures(WebcamReader(d, settings), notice)
        )
        return f"/dev/video{next(working, devices[0]).index}"
    notice("No webcam on this machine: showing the bundled sample (--source picks something else).")
    return "sample"


def _gives_pictures(reader: Reader, notice: Notice) -> bool:
    try:
        reader.open()
        if reader.grab() is not None:
            return True
        notice(f"{reader.name} gives no pictures: the next one is tried.")
    except SourceError as error:
        notice(f"{error} The next one is tried.")
    finally:
        reader.close()
    return False


def _reader(word: str, settings: WebcamSettings | None, notice: Notice) -> Reader | None:
    """A webcam or stream; None where the word means a file, folder or the sample."""
    if _is_stream(word):
        # Read as a stream, a file would be over in no time, and begin again and again.
        return None if (stream := StreamReader(word, notice=notice)).is_file() else stream
    is_node = word.startswith("/dev/video")
    if word == "sample" or (Path(word).exists() and not is_node and not word.isdigit()):
        return None
    device = find_device(word)
    if device is not None:
        return WebcamReader(device, settings)
    raise SourceError(_nothing_called(word))


def _is_stream(word: str) -> bool:
    return "://" in word and word.split("://", 1)[0].lower() in NETWORK


def _nothing_called(word: str) -> str:
    """The sentence for a word that is neither a file nor a webcam."""
    if get_close_matches(word.lower(), ["sample"], cutoff=NEAR):
        return f"'{word}' is no file or folder; did you mean sample?"
    if Path(word).suffix or "/" in word:
        return f"There is no file or folder {word}."
    if devices := list_devices():
        return (
            f"'{word}' is no file or folder, and no webcam's name. Webcams: {', '.join(map(str, devices))}."
        )
    return f"'{word}' is no file or folder, and this machine has no webcam. Give a video, a folder, a URL or `sample`."


def _recorded(word: str, name: str, notice: Notice, clock_offset_ms: Mapping[str, float] | None) -> Source:
    """name: of the camera, "" for that of the file; a session has its own."""
    if _is_stream(word):
        return VideoSource(word, name or None, notice)
    path = sample_dir() if word == "sample" else Path(word)
    if word == "sample" and not is_session(path):
        raise SourceError(
            "The bundled sample is absent from this installation. Reinstall rt_hands, or give --source."
        )
    if path.is_dir() and is_session(path):
        return SessionSource(path, notice, clock_offset_ms=clock_offset_ms)
    camera = name or path.stem
    return ImageSource(path, notice, camera) if _is_pictures(path) else VideoSource(path, camera, notice)
