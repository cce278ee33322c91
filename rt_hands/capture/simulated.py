"""Cameras made of numbers, for tests and benchmarks: pictures at a true rate without any device."""

from __future__ import annotations

import time

import cv2
import numpy as np

from rt_hands.types import Image

PICTURES = 8


class SimulatedReader:
    """A camera as a `Reader` for `LiveSource`: soft moving clouds with a little noise, which compress as rooms do.

    phase_ms: how much later than the whole period it grabs. The frame's number is written in it as black and white
    squares, see `read_number`. grabbed, missed: pictures given, periods that went by unasked.
    """

    def __init__(
        self,
        camera: str,
        size_px: tuple[int, int] = (1280, 720),
        fps: float = 30.0,
        phase_ms: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.camera = camera
        self.name = f"simulated {camera}"
        self._period_ns = round(1e9 / fps)
        self._phase_ns = round(phase_ms * 1e6)
        self._pictures = _pictures(size_px, np.random.default_rng(seed))
        self._next_ns = 0
        self.grabbed = self.missed = 0

    def open(self) -> str:
        """Start the clock."""
        now = time.perf_counter_ns()
        self._next_ns = now - now % self._period_ns + self._period_ns + self._phase_ns
        height, width = self._pictures[0].shape[:2]
        fps = 1e9 / self._period_ns
        return f"{self.name}: asked {width}x{height} {fps:.0f} fps, got the same"

    def grab(self) -> tuple[int, Image] | None:
        """Wait for the next period. Periods that went by before anybody asked are lost, as a camera's are."""
        now = time.perf_counter_ns()
        missed = max((now - self._next_ns) // self._period_ns, 0)
        self._next_ns += missed * self._period_ns
        self.missed += missed
        time.sleep(max(self._next_ns - now, 0) * 1e-9)
        self._next_ns += self._period_ns
        t_ns = time.perf_counter_ns()
        image = self._pictures[self.grabbed % PICTURES].copy()
        write_number(image, self.grabbed)
        self.grabbed += 1
        return t_ns, image

    def close(self) -> None:
        """Nothing to free."""


def write_number(image: Image, number: int) -> None:
    """16 bits as squares of 16 px along the top edge."""
    for bit in range(16):
        image[:16, 16 * bit : 16 * bit + 16] = 255 if number >> bit & 1 else 0


def read_number(image: Image) -> int:
    """What `write_number` wrote, after any video coding."""
    return sum(int(image[4:12, 16 * bit + 4 : 16 * bit + 12].mean() > 127) << bit for bit in range(16))


def _pictures(size_px: tuple[int, int], rng: np.random.Generator) -> list[Image]:
    width, height = size_px
    coarse = rng.integers(0, 255, (height // 40 + 2, width // 40 + 2, 3), np.uint8)
    clouds = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    pictures = []
    for i in range(PICTURES):
        noise = rng.normal(0, 2, (height, width, 1))
        pictures.append(np.clip(np.roll(clouds, 4 * i, 1) + noise, 0, 255).astype(np.uint8))
    return pictures
