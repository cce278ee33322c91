"""One webcam through OpenCV: every setting asked for is read back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2

from rt_hands.capture.devices import Device, why_not_open
from rt_hands.errors import SourceError
from rt_hands.types import Image


@dataclass(frozen=True, slots=True)
class WebcamSettings:
    """What to ask of a webcam. MJPG first: uncompressed video does not fit through USB 2 above 640x480 at 30 fps."""

    width_px: int = 1280
    height_px: int = 720
    fps: float = 30.0
    fourcc: str = "MJPG"

    def __str__(self) -> str:
        return f"{self.width_px}x{self.height_px} {self.fps:.0f} fps {self.fourcc}"


def _opencv_capture(index: int) -> Any:
    return cv2.VideoCapture(index)


class WebcamReader:
    """A webcam as a `Reader` for `LiveSource`. open_capture makes the cv2.VideoCapture, so that tests can stand in."""

    def __init__(
        self,
        device: Device,
        settings: WebcamSettings | None = None,
        open_capture: Callable[[int], Any] = _opencv_capture,
    ) -> None:
        self.device = device
        self.settings = settings or WebcamSettings()
        self.camera = f"video{device.index}"
        self.name = f"camera {device}"
        self._open_capture = open_capture
        self._capture: Any = None

    def open(self) -> str:
        """Connect and set up; asked and got in words. Raises SourceError, leaving the camera free."""
        capture = self._open_capture(self.device.index)
        if not capture.isOpened():
            capture.release()
            raise SourceError(why_not_open(self.device))
        wanted = self.settings
        # The format goes first: it decides which sizes and rates there are.
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*wanted.fourcc))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, wanted.width_px)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, wanted.height_px)
        capture.set(cv2.CAP_PROP_FPS, wanted.fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self._capture = capture
        got = _read_back(capture)
        return f"{self.name}: asked {wanted}, got {got}" + ("" if got == wanted else " (differs)")

    def grab(self) -> tuple[int, Image] | None:
        """(t_ns, picture); the time is taken between grabbing and decoding. None where the picture is damaged."""
        if not self._capture.grab():
            raise SourceError(f"{self.name} stopped giving frames: unplugged, or taken by another program.")
        t_ns = time.perf_counter_ns()
        decoded, image = self._capture.retrieve()
        return (t_ns, image) if decoded and image is not None else None

    def close(self) -> None:
        """Free the camera."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def _read_back(capture: Any) -> WebcamSettings:
    code = int(capture.get(cv2.CAP_PROP_FOURCC))
    letters = "".join(chr(code >> shift & 0xFF) for shift in (0, 8, 16, 24))
    return WebcamSettings(
        int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
        int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        float(capture.get(cv2.CAP_PROP_FPS)),
        letters if letters.isprintable() else "?",
    )
