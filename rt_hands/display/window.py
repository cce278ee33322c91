"""The OpenCV window: shows the newest result, takes keys."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2

from rt_hands.capture.source import Notice, to_stderr
from rt_hands.display.overlay import draw_help, draw_status
from rt_hands.display.view import Canvas, ViewOptions, draw_result
from rt_hands.display.view3d import World
from rt_hands.errors import SourceError
from rt_hands.pipeline import Pipeline, Result
from rt_hands.recording import Beside, default_folder
from rt_hands.types import Image

TITLE = "rt_hands"
KEY_WAIT_MS = 1
NUMBERS_EVERY_S = 0.25
LARGEST_PX = (1600, 900)
"""A window is opened no larger, so that it fits a screen of 1920x1080 with its bars."""


def why_no_window() -> str | None:
    """Why no window can be shown here, as a clause; None where one can. Qt would end the whole program instead."""
    gui = re.search(r"^\s*GUI:\s*(\S+)", cv2.getBuildInformation(), re.MULTILINE)
    if gui is not None and gui[1] == "NONE":
        return "this OpenCV was built without windows (pip install opencv-python, not -headless)"
    if sys.platform != "linux":
        return None
    if _only_for_x():
        if os.environ.get("QT_QPA_PLATFORM", "").startswith("wayland"):
            os.environ["QT_QPA_PLATFORM"] = "xcb"
    elif os.environ.get("WAYLAND_DISPLAY"):
        return None
    display = os.environ.get("DISPLAY", "")
    if not display:
        return "there is no display (DISPLAY is not set)"
    return None if _x_server_answers(display) else f"the display {display} does not answer"


def _only_for_x() -> bool:
    """Whether this OpenCV brings a Qt without Wayland, as its wheels do: there it needs XWayland."""
    plugins = Path(cv2.__file__).parent / "qt" / "plugins" / "platforms"
    return plugins.is_dir() and not any(plugins.glob("libqwayland*"))


def _x_server_answers(display: str) -> bool:
    host, _, rest = display.rpartition(":")
    number = rest.split(".")[0]
    if not number.isdigit():
        return False
    local = host in ("", "unix")
    path = f"/tmp/.X11-unix/X{number}"
    with socket.socket(socket.AF_UNIX if local else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(2.0)
        try:
            probe.connect(path if local else (host, 6000 + int(number)))
        except OSError:
            return False
    return True


def pressed_key() -> str:
    """The character of a key that waits, in lower case; "" where none does, or one without a character.

    `cv2.waitKey` gives the last byte alone: of the left arrow, 0xFF51, that is Q.
    """
    # Above 16 bits GTK has its modifiers, such as NumLock; no key at all is -1.
    code = cv2.waitKeyEx(KEY_WAIT_MS) & 0xFFFF
    return chr(code).lower() if code < 256 else ""


def is_visible(title: str) -> bool:
    """Whether a window is there. Once the last one is closed by its own button, Qt has an error for an answer."""
    try:
        return cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1
    except cv2.error:
        return False


class Window:
    """Shows results and changes options by keys. All calls from the main thread.

    `closed` is set by q, Esc or the window's own button.
    """

    def __init__(self, pipeline: Pipeline, options: ViewOptions, notice: Notice = to_stderr) -> None:
        self.closed = False
        self._pipeline = pipeline
        self._options = options
        self._canvas = Canvas()
        self._notice = notice
        self._paused = False
        self._help = False
        self._shown: Image | None = None
        self._result: Result | None = None
        self._numbers, self._numbers_s = "", -NUMBERS_EVERY_S
        self._recording: Beside | None = None
        self._keys: dict[str, Callable[[], None]] = {
            "m": self._toggle_mirror,
            "s": self._toggle_smoothing,
            "d": self._toggle_dense,
            "b": self._toggle_belief,
            "v": self._toggle_multi_view,
            "3": self._toggle_world,
            "p": self._toggle_pause,
            " ": self._toggle_pause,
            "c": self._screenshot,
            "r": self._toggle_recording,
            "h": self._toggle_help,
            "q": self._quit,
            "\x1b": self._quit,
        }
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        self._sized = self._seen = False

    def show(self, result: Result) -> None:
        """Draw and show a result, unless paused; record it where asked to."""
        self._record(result)
        if self._paused:
            return
        self._result = result
        self._draw(result)
        now_ns = self._pipeline.source.now_ns()
        if now_ns is not None:
            self._pipeline.clock.add("age when shown", now_ns - result.frames.t_ns)

    def keys(self) -> None:
        """Take waiting keys and let the window breathe."""
        act, visible = self._keys.get(pressed_key()), is_visible(TITLE)
        # Before its first picture a window may not have come up yet, and GTK never says that one is there.
        if self._seen and not visible:
            self.closed = True
            return
        self._seen = self._seen or visible
        if act is not None:
            act()
            # A single picture, or a pause, has no next result that would show what the key changed.
            if self._result is not None and not self.closed:
                self._draw(self._result)

    def _draw(self, result: Result) -> None:
        with self._pipeline.clock.stage("draw"):
            image = draw_result(result, self._options, self._canvas)
            draw_status(image, self._status())
            if self._help:
                draw_help(image)
        if not self._sized:
            height, width = image.shape[:2]
            share = min(1.0, LARGEST_PX[0] / width, LARGEST_PX[1] / height)
            cv2.resizeWindow(TITLE, max(round(width * share), 1), max(round(height * share), 1))
            self._sized = True
        cv2.imshow(TITLE, image)
        self._shown = image

    def close(self) -> None:
        """Finish a recording and take the window down."""
        if self._recording is not None:
            self._toggle_recording()
        cv2.destroyAllWindows()

    def _status(self) -> list[str]:
        # Numbers that change with every frame can't be read, and new text costs more to set than to stamp again.
        if time.monotonic() - self._numbers_s >= NUMBERS_EVERY_S:
            self._numbers, self._numbers_s = self._new_numbers(), time.monotonic()
        marks = [
            name for name, on in (("REC", self._recording), ("no smoothing", not self._pipeline.smooth)) if on
        ]
        if self._pipeline.rig is not None:
            marks.insert(0, "multi-view" if self._options.multi_view else "monocular")
        return [self._numbers, "   ".join([*marks, "h help"])]

    def _new_numbers(self) -> str:
        clock, source = self._pipeline.clock, self._pipeline.source
        infer, age = (clock.latest_ms(name) for name in ("infer", "age when shown"))
        line = f"{self._pipeline.rate.fps:.0f} fps   network {infer:.0f} ms"
        if source.live:
            line += f"   age {age:.0f} ms   dropped {source.dropped}"
        if self._pipeline.rig is not None:
            line += f"   spread {clock.latest_ms('spread'):.1f} ms"
        return line

    def _toggle_mirror(self) -> None:
        self._options.mirror = not self._options.mirror

    def _toggle_smoothing(self) -> None:
        self._pipeline.smooth = not self._pipeline.smooth

    def _toggle_dense(self) -> None:
        style = self._options.style
        self._options.style = type(style)(not style.dense, style.labels, style.least_score, style.scale)

    def _toggle_belief(self) -> None:
        self._options.belief = self._pipeline.keep_beliefs = not self._options.belief

    def _toggle_multi_view(self) -> None:
        self._options.multi_view = not self._options.multi_view

    def _toggle_world(self) -> None:
        rig = self._pipeline.rig
        self._options.world = World(rig) if rig is not None and self._options.world is None else None

    def _toggle_pause(self) -> None:
        self._paused = not self._paused

    def _toggle_help(self) -> None:
        self._help = not self._help

    def _quit(self) -> None:
        self.closed = True

    def _screenshot(self) -> None:
        if self._shown is not None:
            path = _free_name("rt_hands", ".png")
            saved = cv2.imwrite(str(path), self._shown)
            self._notice(f"Screenshot: {path}" if saved else f"The screenshot {path} can't be written here.")

    def _toggle_recording(self) -> None:
        try:
            if self._recording is None:
                folder = default_folder()
                self._recording = Beside(self._pipeline.source, folder, self._pipeline.rig)
                self._notice(f"Recording the session {folder}; r stops it.")
            else:
                recording, self._recording = self._recording, None
                recording.close()
                self._notice(f"Finished {recording.writer.name}, {recording.writer.dropped} frames dropped.")
        except SourceError as error:
            self._notice(str(error))

    def _record(self, result: Result) -> None:
        """Hand a result's pictures to a recording; one that fails ends with a sentence, the window goes on."""
        if self._recording is None:
            return
        try:
            self._recording.offer(result.frames)
        except SourceError:
            self._toggle_recording()


def _free_name(stem: str, suffix: str) -> Path:
    """A name with the time of day in it that no file has yet."""
    stamped = f"{stem}_{time.strftime('%Y%m%d_%H%M%S')}"
    names = [Path(f"{stamped}{suffix}"), *(Path(f"{stamped}_{i}{suffix}") for i in range(1, 1000))]
    return next(name for name in names if not name.exists())
