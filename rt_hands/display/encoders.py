"""Which video encoder writes a file: software that every build has, or hardware found by trying it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Any, Final

import av
import numpy as np

from rt_hands.capture.session_info import TIME_BASE
from rt_hands.errors import MissingPart


@dataclass(frozen=True, slots=True)
class Encoder:
    """An FFmpeg encoder by name, with its options."""

    name: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{key} {value}" for key, value in self.options.items())])


SOFTWARE: Final = Encoder("libx264", {"preset": "veryfast", "crf": "20", "bf": "0"})
"""veryfast keeps up with 720p30 on half a core."""
HARDWARE: Final = (
    Encoder("h264_nvenc", {"preset": "p3", "rc": "constqp", "qp": "20", "bf": "0", "delay": "0"}),
    # Quality 65 of 100, times FF_QP2LAMBDA; Macs with Intel's chips take a bit rate only.
    Encoder("h264_videotoolbox", {"flags": "+qscale", "global_quality": str(65 * 118), "realtime": "1"}),
    Encoder("h264_videotoolbox", {"b": "8000000", "realtime": "1"}),
    Encoder("h264_qsv", {"preset": "veryfast", "global_quality": "20", "bf": "0", "async_depth": "1"}),
    Encoder("h264_amf", {"quality": "speed", "rc": "cqp", "qp_i": "20", "qp_p": "20"}),
)
"""Tried in this order; a name in the build says nothing about the machine."""


def software_encoder() -> Encoder:
    """The one that PyAV's packages have; raises MissingPart for a build without it."""
    if SOFTWARE.name not in av.codecs_available:
        raise MissingPart(
            f"This build of PyAV has no {SOFTWARE.name}, which writes videos: pip install --force av."
        )
    return SOFTWARE


def capture_encoder(cameras: int) -> Encoder:
    """For recording so many cameras at full rate: hardware where it works, else the quickest x264.

    ultrafast takes a third of veryfast's time for twice the bytes; zerolatency keeps no picture back in the encoder,
    so a killed program loses none there.
    """
    hardware = _working_hardware()
    if hardware is not None:
        return hardware
    software = software_encoder()
    threads = max(1, (os.cpu_count() or 1) // cameras)
    return Encoder(
        software.name,
        {"preset": "ultrafast", "tune": "zerolatency", "crf": "20", "bf": "0", "threads": str(threads)},
    )


@cache
def _working_hardware() -> Encoder | None:
    return next((e for e in HARDWARE if e.name in av.codecs_available and works(e)), None)


def works(encoder: Encoder) -> bool:
    """Whether the encoder takes pictures and gives packets on this machine."""
    try:
        context: Any = av.CodecContext.create(encoder.name, "w")
        context.width, context.height, context.pix_fmt = 640, 360, "yuv420p"
        context.time_base, context.framerate = TIME_BASE, Fraction(30)
        context.options = dict(encoder.options)
        packets = 0
        for i in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((540, 640), 128, np.uint8), format="yuv420p")
            frame.pts, frame.time_base = i * 33_333, TIME_BASE
            packets += len(context.encode(frame))
        packets += len(context.encode(None))
    except (av.FFmpegError, ValueError, OSError):
        return False
    return packets == 4
