"""MP4 files with true timing."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import av
import cv2
import numpy as np

from rt_hands.capture.session_info import FIRST_GRAB, TIME_BASE
from rt_hands.capture.source import Notice, first_only, to_stderr
from rt_hands.display.encoders import Encoder, software_encoder
from rt_hands.display.overlay import fit
from rt_hands.errors import SourceError
from rt_hands.types import Image

FRAGMENT_US: Final = 250_000
"""So much video is put on the disk at a time: what a killed program loses at most."""
LONGEST_STEP_US: Final = 2**31 - 2
"""35.8 min. FFmpeg's muxer gives a picture that comes later, and all after it, times 1 us apart."""


class VideoFile:
    """Writes pictures with their times, in a container whose finished parts stay readable if the program is killed.

    The first picture sets the size; others are fitted into it, told once. Raises SourceError where the file can't be
    written. encoder: software unless told. size_px: (width, height) of the file's pictures, 0 before the first.
    """

    def __init__(self, path: str | Path, encoder: Encoder | None = None, notice: Notice = to_stderr) -> None:
        self.path = Path(path)
        self._encoder = encoder or software_encoder()
        self._notice, self._on_cut = first_only(notice), notice
        self.frames = 0
        self.size_px = (0, 0)
        self._stream: Any = None
        self._first_ns = 0
        self._last_pts = -1
        try:
            # PyAV opens a path only at the first frame; a file of our own fails here, before a camera has started.
            self._file = open(self.path, "wb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise SourceError(f"{self.path} can't be written: {error.strerror}.") from error
        flags = {
            "movflags": "frag_keyframe+empty_moov+default_base_moof",
            "frag_duration": str(FRAGMENT_US),
            "flush_packets": "1",
        }
        self._output = _Output(self._file)
        self._container: Any = av.open(self._output, "w", format="mp4", options=flags)

    def add(self, image_bgr: Image, t_ns: int) -> None:
        """Append a picture; the first one's time becomes 0. Times that don't rise are moved on by 1 us.

        A picture after a break longer than `LONGEST_STEP_US` gets a time that is so much later.
        """
        if self._stream is None:
            self._container.metadata["comment"] = f"{FIRST_GRAB}{t_ns}"
            self.size_px = self._even(image_bgr)
            self._stream = _new_stream(self._container, self.size_px, self._encoder)
            self._first_ns = t_ns
        width, height = self.size_px
        # An odd last row or column is cut off below; any other size is fitted.
        if not (image_bgr.shape[0] - height in (0, 1) and image_bgr.shape[1] - width in (0, 1)):
            self._notice(
                f"Pictures of {image_bgr.shape[1]}x{image_bgr.shape[0]} come for {self.path}, which was begun at "
                f"{width}x{height}: they are fitted into that size."
            )
            image_bgr = fit(image_bgr, width, height)
        # OpenCV makes the planes in a fraction of swscale's time; the numbers are the same (BT.601, limited range).
        planes = cv2.cvtColor(np.ascontiguousarray(image_bgr[:height, :width]), cv2.COLOR_BGR2YUV_I420)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        soonest, latest = self._last_pts + 1, self._last_pts + LONGEST_STEP_US
        frame.pts = min(max((t_ns - self._first_ns) // 1000, soonest), latest)
        frame.time_base = TIME_BASE
        self._last_pts = frame.pts
        self._mux(frame, self._container)
        self.frames += 1

    def _even(self, image: Image) -> tuple[int, int]:
        """(width, height) of the video: chroma is stored at half size, so an odd last row or column is cut off."""
        height, width = image.shape[:2]
        if min(width, height) < 2:
            raise SourceError(
                f"{self.path} can't be written: pictures of {width}x{height} are too small for a video, which takes "
                "2x2 or more."
            )
        even = cut_size((width, height))
        if even != (width, height):
            self._on_cut(
                f"Pictures of {width}x{height} are cut to {even[0]}x{even[1]} in {self.path}: videos have even sizes."
            )
        return even

    def close(self) -> None:
        """Write what is left; safe to call twice."""
        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            if self._stream is not None:
                self._mux(None, container)
        finally:
            container.close()
            self._file.close()
        self._check()

    def sync(self) -> None:
        """Have the system put on the disk what was written so far, against a loss of power. Any thread."""
        if not self._file.closed:
            os.fsync(self._file.fileno())

    def _mux(self, frame: Any, container: Any) -> None:
        try:
            container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            raise SourceError(
                f"{self.path} can't be written after {self.frames} frames: {error.strerror}."
            ) from error
        self._check()

    def _check(self) -> None:
        """Raise for a write that failed, once."""
        error, self._output.error = self._output.error, None
        if error is not None:
            self._output.closed = True
            raise SourceError(
                f"{self.path} can't be written after {self.frames} frames: {error.strerror}."
            ) from error

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class _Output:
    """A file whose writes seem to succeed: PyAV 18 crashes when it closes a container after one that failed.

    error: of the first that failed; nothing is written after it.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.error: OSError | None = None
        self.closed = False

    def write(self, data: bytes) -> int:
        """Write all of it: an unbuffered file takes a part when the disk is nearly full."""
        left = memoryview(data)
        try:
            while left and self.error is None and not self.closed:
                left = left[self._file.write(left) :]
        except OSError as error:
            self.error = error
        return len(data)


def cut_size(size_px: tuple[int, int]) -> tuple[int, int]:
    """What is left of (width, height) in a video."""
    return size_px[0] // 2 * 2, size_px[1] // 2 * 2


def _new_stream(container: Any, size_px: tuple[int, int], encoder: Encoder) -> Any:
    stream = container.add_stream(encoder.name, rate=30, options=dict(encoder.options))
    stream.width, stream.height = size_px
    stream.pix_fmt = "yuv420p"
    stream.time_base = stream.codec_context.time_base = TIME_BASE
    stream.codec_context.gop_size = 30
    return stream
