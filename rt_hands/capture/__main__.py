"""python -m rt_hands.capture: record cameras at full rate, without inference, as a session."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tyro
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from rt_hands.capture.choose import need_camera, open_source
from rt_hands.capture.live import SILENT_AFTER_S
from rt_hands.capture.session_info import file_stem
from rt_hands.capture.session_times import grab_times_ns
from rt_hands.capture.source import Source
from rt_hands.capture.webcam import WebcamSettings
from rt_hands.cli import Sources, source_words
from rt_hands.display.overlay import draw_status, tile
from rt_hands.display.window import is_visible, pressed_key, why_no_window
from rt_hands.errors import InvalidInput, run_command
from rt_hands.formats import load_rig
from rt_hands.recording import Recorded, SessionWriter, default_folder
from rt_hands.types import Frame, FrameSet, Image

PREVIEW_EVERY_S = 1 / 15
"""The preview takes what is left of the machine; the recording does not wait for it."""
TITLE = "rt_hands capture"


@dataclass(frozen=True)
class Options:
    """Record one or several cameras: an MP4 each with true times, frames.csv, session.json, rig.toml."""

    source: Sources = ()
    """Webcam number, /dev/videoN or name, or URL; one or several. Default: the first webcam."""
    out: Path | None = None
    """Folder of the session, new or empty. Default: session_DATE_TIME here."""
    rig: str | None = None
    """Calibration of the cameras, copied into the session. Sources are named after it: --source ID=WORD."""
    seconds: float | None = None
    """Stop after so long; default: until q in the preview, or Ctrl-C."""
    window: bool = True
    """Show a preview."""
    camera: WebcamSettings = field(default_factory=WebcamSettings)
    """What to ask of webcams."""


def main(argv: Sequence[str]) -> int:
    """Record a session."""
    options = tyro.cli(
        Options, args=list(argv), prog="python -m rt_hands.capture", description=Options.__doc__
    )
    if options.seconds is not None and not options.seconds > 0:
        raise InvalidInput(f"--seconds is {options.seconds}; give more than 0.")
    words = source_words(options.source)
    need_camera(words)
    rig = load_rig(options.rig) if options.rig else None
    folder = options.out or default_folder()
    no_window = why_no_window() if options.window else "not asked for"
    console = Console(stderr=True)
    if options.window and no_window:
        console.print(f"No preview: {no_window}. Recording all the same.")
    with open_source(words, settings=options.camera, cameras=rig.ids if rig else ()) as source:
        _check_cameras(source)
        recorded = Recorded(source, folder, rig.subset(source.cameras) if rig else None)
        with _stoppable(lambda: _finish(recorded, console)):
            _record(recorded, options.seconds, no_window is None, console)
    return 0


def _check_cameras(source: Source) -> None:
    if not source.live:
        raise InvalidInput(
            f"{source.name} is no camera: there is nothing to record. Give --source with webcams or streams."
        )


def _record(recorded: Recorded, seconds: float | None, preview: bool, console: Console) -> None:
    """Until the time is over or the preview is closed."""
    end_s = time.monotonic() + (seconds or np.inf)
    columns = (SpinnerColumn(), TextColumn("REC"), TimeElapsedColumn(), TextColumn("{task.description}"))
    with ExitStack() as opened:
        window = None
        if preview:
            window = opened.enter_context(closing(_Preview(recorded.writer, recorded.cameras)))
        bar = opened.enter_context(Progress(*columns, console=console, transient=True))
        task = bar.add_task("", total=None)
        for frames in recorded:
            bar.update(task, description=state(recorded.writer))
            if time.monotonic() >= end_s or (window is not None and not window.show(frames)):
                break


@contextmanager
def _stoppable(finish: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block once; after it, while `finish` runs, they are ignored: none costs the tail."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def ignore() -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)

    def stop(*_: Any) -> None:
        ignore()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        try:
            with suppress(KeyboardInterrupt):
                yield
        finally:
            ignore()
    finally:  # its own, for a signal may come just before it is ignored
        try:
            finish()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _finish(recorded: Recorded, console: Console) -> None:
    console.print("Finishing the files ...")
    recorded.close()
    _report(recorded.writer, console)


def state(writer: SessionWriter) -> str:
    """Counts of a running recording in words."""
    counts = writer.counts
    cameras = "  ".join(f"{camera} {n.written}" for camera, n in counts.items())
    waiting = max(n.waiting for n in counts.values())
    return f"{cameras}  dropped {writer.dropped}  waiting {waiting}  {writer.free_bytes() / 1e9:.1f} GB free"


class _Preview:
    """A small picture of all cameras with the state of the recording.

    Each camera keeps its tile, with its last picture: cameras that are not in step are rarely all in one set. One that
    has sent none for so long that it is told of is black.
    """

    def __init__(self, writer: SessionWriter, cameras: Sequence[str]) -> None:
        self._writer = writer
        self._cameras = cameras
        self._last: dict[str, Frame] = {}
        self._shown_s = 0.0
        self._seen = False
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)

    def show(self, frames: FrameSet) -> bool:
        """False when the user wants to stop."""
        self._last |= {frame.camera: frame for frame in frames.frames}
        if time.monotonic() - self._shown_s < PREVIEW_EVERY_S:
            return True
        self._shown_s = time.monotonic()
        image = tile([self._small(camera, frames) for camera in self._cameras])
        draw_status(image, [f"REC {state(self._writer)}", "q stop"])
        cv2.imshow(TITLE, image)
        key, visible = pressed_key(), is_visible(TITLE)
        # GTK never says that a window is there.
        closed = self._seen and not visible
        self._seen = self._seen or visible
        return key not in ("q", "\x1b") and not closed

    def _small(self, camera: str, frames: FrameSet) -> Image:
        frame = self._last.get(camera, frames.frames[0])
        small = cv2.resize(frame.image_bgr, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        gone = camera not in self._last or frames.t_ns - frame.t_ns > SILENT_AFTER_S * 1e9
        return np.zeros_like(small, np.uint8) if gone else np.asarray(small, np.uint8)

    def close(self) -> None:
        """Take it down."""
        cv2.destroyAllWindows()


def _report(writer: SessionWriter, console: Console) -> None:
    """What was recorded and what was not."""
    if not any(count.written for count in writer.counts.values()):
        console.print("No picture came, so no session was kept.")
        return
    table = Table(title=f"{writer.folder}", title_justify="left")
    for column in ("camera", "frames", "s", "fps", "dropped here", "missed by the camera"):
        table.add_column(column, justify="left" if column == "camera" else "right")
    times = grab_times_ns(writer.folder)
    for camera, count in writer.counts.items():
        n, span_s, missed = gaps(times.get(file_stem(camera), np.zeros(0, np.int64)))
        fps = f"{(n - 1) / span_s:.2f}" if span_s else "-"
        table.add_row(camera, str(n), f"{span_s:.1f}", fps, str(count.dropped), str(missed))
    console.print(table)
    if writer.dropped:
        console.print(
            f"[bold red]{writer.dropped} frames were dropped: the encoder was too slow.[/] "
            "Ask the cameras for less (--camera.fps, --camera.width-px), or record fewer of them."
        )


def gaps(times_ns: np.ndarray) -> tuple[int, float, int]:
    """(frames, span in s, frames that are missing between those that came, by the usual interval)."""
    steps = np.diff(times_ns)
    if not len(steps):
        return len(times_ns), 0.0, 0
    missed = np.maximum(np.round(steps / np.median(steps)) - 1, 0).sum()
    return len(times_ns), float(times_ns[-1] - times_ns[0]) * 1e-9, int(missed)


if __name__ == "__main__":
    sys.exit(run_command(main))
