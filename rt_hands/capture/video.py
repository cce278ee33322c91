"""Video files and network streams through PyAV, with the stream's own times."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from rt_hands.capture.source import Notice, Source, to_stderr
from rt_hands.errors import SourceError
from rt_hands.types import Frame, FrameSet, Image

CUT_OFF = " Its index, written last, is missing: the recording or a copy was cut off."
NETWORK_TIMEOUT_S = 10.0
"""For opening a stream and for each read from it."""
KEY_FRAME_WITHIN_S = 12.0
"""A stream joined between key frames can't be decoded before the next; network cameras send one every 1 to 10 s."""


def open_container(address: str) -> Any:
    """An opened video file or URL with at least one video stream. Raises SourceError with the reason in a sentence."""
    is_url = "://" in address
    if not is_url:
        _check_file(Path(address))
    try:
        container = av.open(address, timeout=NETWORK_TIMEOUT_S if is_url else None)
    except (av.FFmpegError, OSError, ValueError) as error:
        cut = "" if is_url else _cut_off(Path(address))
        raise SourceError(f"{shown(address)} can't be read as a video: {_reason(error)}.{cut}") from error
    if not container.streams.video:
        container.close()
        raise SourceError(
            f"{shown(address)} holds no video stream.{'' if is_url else _cut_off(Path(address))}"
        )
    return container


def shown(address: str) -> str:
    """An address as it may be printed and written down: without a URL's user and password."""
    scheme, separator, rest = address.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}" if separator else address


def _check_file(path: Path) -> None:
    if not path.exists():
        raise SourceError(f"There is no file {path}.")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise SourceError(f"{path} can't be opened: {error.strerror}. Check its permissions.") from error
    if empty:
        raise SourceError(f"{path} is empty (0 bytes): the recording was never written.")


def _cut_off(path: Path) -> str:
    """What else to say of an MP4 or MOV file that ends before its index, which most programs write last."""
    whole, length = set(), path.stat().st_size
    with path.open("rb") as file:
        while len(head := file.read(8)) == 8:
            size, name = int.from_bytes(head[:4], "big"), head[4:]
            if size == 1:  # a 64-bit size follows
                size = int.from_bytes(file.read(8), "big") - 8
            if size < 8 or file.tell() + size - 8 > length:
                break
            whole.add(name)
            file.seek(size - 8, 1)
    return CUT_OFF if b"ftyp" in whole and b"moov" not in whole else ""


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".").lower()


def decode(container: Any, address: str, notice: Notice, partly: bool = False) -> Iterator[tuple[int, Any]]:
    """(t_ns, av.VideoFrame) of the first video stream; packets that can't be decoded are skipped and told of.

    Pictures damaged in part are told of and given: recordings go by the number of a picture, and the next ones, made
    from it, would be given too. t_ns counts from the stream's own zero; a frame without a time follows the last by one
    nominal interval. A file that breaks off is told of and ends the iteration. partly: from where the file was wound
    to.
    """
    stream = container.streams.video[0]
    if not stream.codec_context.is_open:  # once it is, this can't be set any more
        stream.thread_type = "AUTO"
    step_ns = round(1e9 / float(stream.average_rate or 30))
    t_ns, count, broken, damaged = -step_ns, 0, 0, 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
            frames = packet.decode()
        except StopIteration:
            break
        except av.error.InvalidDataError:
            broken += 1
            continue
        except (av.FFmpegError, OSError) as error:
            notice(f"{address} breaks off after {count} frames: {_reason(error)}.")
            break
        for frame in frames:
            t_ns = t_ns + step_ns if frame.pts is None else round(float(frame.pts * frame.time_base) * 1e9)
            damaged += bool(frame.is_corrupt)
            count += 1
            yield t_ns, frame
    if broken:
        notice(f"{address}: {broken} damaged pieces were skipped, {count} frames read.")
    if damaged:
        notice(f"{address}: {damaged} of {count} frames are damaged in part; they are given as they are.")
    expected = stream.frames
    if expected and not partly and count < expected - broken:
        notice(f"{address} ends early: {count} of {expected} frames could be read.")


def picture(frame: Any) -> Image:
    """A decoded frame as (h, w, 3) uint8 BGR, turned upright where the file says so, as phones' files do.

    Mirrored, too, where the file's matrix is of a mirror.
    """
    image, degrees = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8), frame.rotation
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is not None:
        # In 16.16 fixed point, x' = a x + c y. FFmpeg's rotation means nothing where it is no turn.
        a, b, _, c, d = np.frombuffer(bytes(matrix), "<i4")[:5].astype(float)
        if a * d < b * c:
            image, degrees = cv2.flip(image, 1), -np.degrees(np.arctan2(-b, -a))
    turns = round(degrees / 90) % 4
    return np.ascontiguousarray(np.rot90(image, turns)) if turns else np.asarray(image, np.uint8)


def is_one_picture(address: str) -> bool:
    """Whether FFmpeg reads a file as a picture, whatever its ending: one packet, by a demuxer that has no times."""
    if not Path(address).is_file():
        return False
    try:
        with av.open(address) as container:
            of_pictures = container.format.name.endswith("_pipe") or container.format.name == "image2"
            if not of_pictures or not container.streams.video:
                return False
            return sum(1 for packet in islice(container.demux(video=0), 3) if packet.size) == 1
    except (av.FFmpegError, OSError, ValueError):
        return False


class VideoSource(Source):
    """A video file or its address, each frame once, as fast as it is taken. SourceError where no frame can be read.

    start_ns: the stream's own time of its first picture.
    """

    def __init__(self, path: str | Path, camera: str | None = None, notice: Notice = to_stderr) -> None:
        self._address = str(path)
        self._container: Any = open_container(self._address)
        self._notice = notice
        self.name = shown(self._address)
        self.cameras = (camera or Path(self.name).stem,)
        stream = self._container.streams.video[0]
        self.length = stream.frames or (1 if is_one_picture(self._address) else None)
        # The stream's, not that of the first picture that can be decoded: pieces at its begin may be damaged.
        self.start_ns = round(float((stream.start_time or 0) * stream.time_base) * 1e9)
        # A hand is confirmed by its second frame, which a GIF of one picture does not have.
        self.still = self.length == 1
        self._read = False

    def __iter__(self) -> Iterator[FrameSet]:
        if self._read:
            self._container.seek(0)
        self._read = True
        index = -1
        for index, (t_ns, frame) in enumerate(decode(self._container, self.name, self._notice)):
            yield FrameSet((Frame(picture(frame), self.cameras[0], index, t_ns),), index)
        if index < 0:
            raise SourceError(f"{self.name} holds no frame that can be decoded.")

    def close(self) -> None:
        """Close the file."""
        self._container.close()


class StreamReader:
    """A network stream (rtsp, http, ...) as a `Reader` for `LiveSource`: stamped when the packet has arrived."""

    def __init__(self, url: str, notice: Notice = to_stderr) -> None:
        self._url, self.name = url, shown(url)
        self.camera = self.name.split("://", 1)[-1]
        self._notice = notice
        self._container: Any = None
        self._packets: Iterator[Any] = iter(())
        self._begun = False
        self._since_ns = 0

    def is_file(self) -> bool:
        """Whether it is a web server's video file, with an end, and no camera: of known size and duration.

        Live HLS, MJPEG and MPEG-TS have no duration; live MP4 has that of its first piece, but no size. Connects, and
        stays so for `open` where it is a camera; SourceError where that fails.
        """
        if not self._url.lower().startswith(("http://", "https://")):
            return False
        self._container = open_container(self._url)
        if not self._container.duration or self._container.size <= 0:
            return False
        self.close()
        return True

    def open(self) -> str:
        """Connect; what the stream gives, in words."""
        if self._container is None:
            self._container = open_container(self._url)
        stream = self._container.streams.video[0]
        self._packets = self._container.demux(stream)
        self._begun, self._since_ns = False, 0
        size = f"{stream.width}x{stream.height}" if stream.width else "size known with its first picture,"
        rate = f" {float(stream.average_rate):.0f} fps" if stream.average_rate else ""
        return f"{self.name}: {size}{rate} {stream.codec_context.name}"

    def grab(self) -> tuple[int, Image | None] | None:
        """(t_ns, picture) of the next frame. (t_ns, None) where a packet gives none, as all do before a key frame.

        None where one is damaged. SourceError when it is gone, or sends without a key frame for KEY_FRAME_WITHIN_S.
        """
        try:
            packet = next(self._packets)
            t_ns = time.perf_counter_ns()
            frames = self._decoded(packet)
        except (StopIteration, av.FFmpegError, OSError) as error:
            raise SourceError(f"{self.name} stopped: {_reason(error) or 'the stream ended'}.") from error
        if frames:
            self._begun, self._since_ns = True, t_ns
            return t_ns, picture(frames[-1])
        self._since_ns = (
            self._since_ns or t_ns
        )  # not from `open`, after which other cameras may be opened for long
        if t_ns - self._since_ns > KEY_FRAME_WITHIN_S * 1e9:
            raise SourceError(
                f"{self.name} sends, but no key frame came in {KEY_FRAME_WITHIN_S:.0f} s: "
                "set a shorter key frame interval in it."
            )
        return None if frames is None else (t_ns, None)

    def _decoded(self, packet: Any) -> list[Any] | None:
        """Its frames; None where it is damaged, which can't be told before the first key frame."""
        try:
            return list(packet.decode())
        except av.error.InvalidDataError:
            return None if self._begun else []

    def close(self) -> None:
        """Hang up."""
        if self._container is not None:
            self._container.close()
            self._container = None
