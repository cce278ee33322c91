"""Painted hands as a source of frames, and a window that nobody sees, for tests of the live command."""

from __future__ import annotations

from standin import PaintedHand, picture

from rt_hands.capture.source import Source
from rt_hands.types import Frame, FrameSet

STEP_NS = 40_000_000
SIZE = (480, 360)


def pair(i: int) -> tuple[PaintedHand, PaintedHand]:
    return PaintedHand(0, (340 + i, 180), 130), PaintedHand(1, (110, 180 + i), 130)


class Painted(Source):
    """Painted hands seen by one or more cameras; breaks after `count` frames if told to."""

    name = "painted"

    def __init__(self, count=10, cameras=("a",), error=None):
        self.cameras, self.count, self.error, self.length = tuple(cameras), count, error, count

    def __iter__(self):
        for i in range(self.count):
            image = picture(*pair(i), size_px=SIZE)
            yield FrameSet(tuple(Frame(image, c, i, i * STEP_NS) for c in self.cameras), i)
        if self.error:
            raise self.error


class FakeQt:
    """cv2's window functions, with keys pressed by a script: characters, or numbers as Qt and GTK hand them over."""

    def __init__(self, monkeypatch, keys=()):
        self.shown, self.sizes, self.visible = [], [], 1.0
        self.keys = [ord(key) if isinstance(key, str) else key for key in keys]
        from rt_hands.display import window

        for name in ("namedWindow", "destroyAllWindows"):
            monkeypatch.setattr(window.cv2, name, lambda *_: None)
        monkeypatch.setattr(window.cv2, "resizeWindow", lambda _, *size: self.sizes.append(size))
        monkeypatch.setattr(window.cv2, "imshow", lambda _, image: self.shown.append(image.copy()))
        monkeypatch.setattr(window.cv2, "waitKeyEx", lambda _: self.keys.pop(0) if self.keys else -1)
        monkeypatch.setattr(window.cv2, "getWindowProperty", lambda *_: self.visible)
