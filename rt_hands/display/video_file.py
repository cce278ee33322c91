"""MP4 files with true timing."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import av

from rt_hands.display.overlay import fit
from rt_hands.errors import SourceError
from rt_hands.types import Image

TIME_BASE: Final = Fraction(1, 1_000_000)
CODECS: Final = (("libx264", {"preset": "veryfast", "crf": "20", "bf": "0"}), ("mpeg4", {"qscale": "3"}))
"""The first one that this build of PyAV has; veryfast keeps up with 720p30 on half a core."""


class VideoFile:
    """Writes pictures with their times, in a container whose finished parts stay readable if the program is killed.

    The first picture sets the size; others are fitted into it. Raises SourceError where the file can't be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.frames = 0
        self._stream: Any = None
        self._first_ns = 0
        self._last_pts = -1
        try:
            # PyAV opens a path only at the first frame; a file of our own fails here, before a camera has started.
            self._file = open(self.path, "wb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise SourceError(f"{self.path} can't be written: {error.strerror}.") from error
        flags = {"movflags": "frag_keyframe+empty_moov+default_base_moof", "flush_packets": "1"}
        self._container: Any = av.open(self._file, "w", format="mp4", options=flags)

    def add(self, image_bgr: Image, t_ns: int) -> None:
        """Append a picture; the first one's time becomes 0. Times that don't rise are moved on by 1 us."""
        if self._stream is None:
            self._stream = _new_stream(self._container, image_bgr)
            self._first_ns = t_ns
        width, height = self._stream.width, self._stream.height
        if image_bgr.shape[:2] not in ((height, width), (height + 1, width), (height, width + 1)):
            image_bgr = fit(image_bgr, width, height)
        frame = av.VideoFrame.from_ndarray(image_bgr[:height, :width], format="bgr24")
        frame.pts = max((t_ns - self._first_ns) // 1000, self._last_pts + 1)
        frame.time_base = TIME_BASE
        self._last_pts = frame.pts
        self._mux(frame, self._container)
        self.frames += 1

    def close(self) -> None:
        """Write what is left; safe to call twice."""
        if self._container is None:
            return
        container, self._container = self._container, None
        try:
            if self._stream is not None:
                self._mux(None, container)
            container.close()
        finally:
            self._file.close()

    def _mux(self, frame: Any, container: Any) -> None:
        try:
            container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            raise SourceError(
                f"{self.path} can't be written after {self.frames} frames: {error.strerror}."
            ) from error

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def _new_stream(container: Any, image: Image) -> Any:
    codec, options = next((c, o) for c, o in CODECS if c in av.codecs_available)
    stream = container.add_stream(codec, rate=30, options=options)
    # Chroma is stored at half size, so an odd last row or column is cut off.
    stream.width, stream.height = image.shape[1] // 2 * 2, image.shape[0] // 2 * 2
    stream.pix_fmt = "yuv420p"
    stream.time_base = stream.codec_context.time_base = TIME_BASE
    stream.codec_context.gop_size = 30
    return stream
