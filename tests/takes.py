"""Recorded sessions of numbered pictures, for the tests of sessions and recordings."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from rt_hands.capture.simulated import read_number, write_number
from rt_hands.session import SessionWriter
from rt_hands.types import Frame, FrameSet

SIZE = (256, 144)
STEP_NS = 33_366_667
START_NS = 5_000_000_123
COUNT = 40


def numbered(number: int) -> np.ndarray:
    image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    write_number(image, number)
    return image


def uneven_times(camera: int, count: int = COUNT) -> np.ndarray:
    rng = np.random.default_rng(camera)
    jitter = rng.integers(-3_000_000, 3_000_000, count)
    return START_NS + 4_000_000 * camera + np.arange(count) * STEP_NS + jitter


def record(folder: Path, cameras=("cam_2", "cam_10"), count=COUNT, **options) -> dict[str, np.ndarray]:
    """A session of numbered pictures; the true grab times."""
    times = {camera: uneven_times(c, count) for c, camera in enumerate(cameras)}
    with SessionWriter(folder, cameras, wait=True, **options) as writer:
        for i in range(count):
            for camera in cameras:
                writer.add(Frame(numbered(i), camera, i, int(times[camera][i])))
    return times


def numbers(frames: FrameSet) -> list[int]:
    return [read_number(frame.image_bgr) for frame in frames.frames]


def video_times_ns(path: Path) -> np.ndarray:
    """Independent of the package: every picture decoded, its own time added to the comment's."""
    with av.open(str(path)) as container:
        first_ns = int(container.metadata["comment"].rpartition(" ")[2])
        stamps = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    return np.round(np.array(stamps) * 1e9).astype(np.int64) + first_ns
