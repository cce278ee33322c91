"""python -m rt_hands.live: hands from a webcam, a video, pictures, a stream or a session, in real time."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import chain, count, islice
from pathlib import Path
from threading import Condition, Event
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from rt_hands.camera import Rig
from rt_hands.capture.choose import open_source
from rt_hands.capture.devices import list_devices
from rt_hands.capture.offsets import kept_offsets, read_offsets, told_offsets
from rt_hands.capture.source import Source, to_stderr
from rt_hands.capture.webcam import WebcamSettings
from rt_hands.cli import Sources, source_words
from rt_hands.consumers import AnnotatedPicture, AnnotatedVideo, Consumer, JsonLines, Worker, close_all
from rt_hands.display.draw import Style
from rt_hands.display.rerun_view import RerunView, check_viewer
from rt_hands.display.view import ViewOptions
from rt_hands.display.view3d import World
from rt_hands.display.window import Window, why_no_window
from rt_hands.errors import InvalidInput, check_least, check_not_recorded, run_command
from rt_hands.formats import load_rig
from rt_hands.inference.cpm import Cpm
from rt_hands.output_files import PICTURES, check_outputs
from rt_hands.pipeline import Pipeline, Result
from rt_hands.recording import Recorded

Switch = Literal["auto", "on", "off"]
FALLBACK_FILE = "rt_hands_live.mp4"
"""Or with a number where that is there already."""


@dataclass(frozen=True)
class Options:
    """Find both hands, 170 points, in real time, and show, save or stream them."""

    source: Sources = ()
    """Webcam number, /dev/videoN or name; video file; picture or folder; rtsp:// or http:// URL; session folder;
    `sample`. Several words, or several times, for several cameras. Default: the first webcam, else the sample."""
    rig: str | None = None
    """Calibration of several cameras (rig.toml or another program's file): hands in 3D, drawn back into every view.
    Sources are named after its cameras: --source ID=WORD. A session with a rig.toml brings its own."""
    clock_offset_ms: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """With a rig: how much later (+) or earlier (-) than its stamps say a camera's pictures were taken, ID=MS, such as
    cam_1=-97. Goes before the rig file's own; `python -m rt_hands.evaluate clocks` finds it."""
    multi_view: bool = True
    """With a rig: draw what all views agree on; --no-multi-view draws each view's own hands. Key v."""
    view_3d: bool = False
    """With a rig: one more tile with the hands in 3D. Key 3."""
    rerun: bool = False
    """Open the rerun viewer: cameras, pictures and hands in 3D, with a timeline."""
    rerun_file: str | None = None
    """Write that to an .rrd file instead."""
    list_cameras: bool = False
    """List the webcams and stop."""
    engine: str = "auto"
    """auto, tensorrt, openvino or onnxruntime."""
    model: str = "default"
    """light (default), int8, quality, or a path to an .onnx file."""
    threads: int | None = None
    """Threads of the network; default: the engine's own choice."""
    window: bool = True
    """Show a window."""
    save: str | None = None
    """Write an MP4 with the hands drawn on it; of a single picture also a .png or .jpg."""
    record: str | None = None
    """Record the frames as they came, cameras at their full rate, as a session in this new folder."""
    jsonl: str | None = None
    """Write one JSON line a frame to this file, `-` for stdout."""
    overwrite: bool = False
    """Replace files of these names that are already there; never a file that is read."""
    max_frames: int | None = None
    """Stop after this many frames."""
    smooth: bool = True
    """Smooth the points over time."""
    dense: bool = True
    """Draw the surface points as well as the joints."""
    mirror: Switch = "auto"
    """Mirror the window, never what is saved. auto: only for webcams."""
    realtime: Switch = "auto"
    """Play files at their own speed, dropping late frames. auto: in a window when nothing is written."""
    camera: WebcamSettings = field(default_factory=WebcamSettings)
    """What to ask of webcams."""


def main(argv: Sequence[str]) -> int:
    """Run the live view."""
    options = tyro.cli(Options, args=list(argv), prog="python -m rt_hands.live", description=Options.__doc__)
    if options.list_cameras:
        return _list_cameras()
    check_least("--max-frames", options.max_frames)
    files = {"save": options.save, "jsonl": options.jsonl, "rerun-file": options.rerun_file}
    check_outputs(files, options.record, source_words(options.source), options.overwrite)
    writes = bool(options.save or options.record or options.jsonl or options.rerun_file)
    if options.rerun or options.rerun_file:
        check_viewer(options.rerun_file)
    no_window = why_no_window() if options.window else "not asked for"
    realtime = _is_on(options.realtime, no_window is None and not writes)
    offset_ms = read_offsets(options.clock_offset_ms)
    rig = load_rig(options.rig) if options.rig else None
    given = told_offsets(rig) | offset_ms
    with open_source(
        source_words(options.source),
        realtime,
        options.camera,
        cameras=rig.ids if rig else (),
        clock_offset_ms=given,
    ) as source:
        if sentence := kept_offsets(rig, given, source.clock_offset_ms):
            to_stderr(sentence)
        rig = _fitting(rig or _rig_of(source), source, offset_ms)
        if rig is None and (options.view_3d or offset_ms):
            option = "--view-3d" if options.view_3d else "--clock-offset-ms"
            raise InvalidInput(
                f"{option} is for several calibrated cameras: give --rig, or a session with one."
            )
        save = options.save
        if save and Path(save).suffix.lower() in PICTURES and not (source.still and source.length == 1):
            raise InvalidInput(f"--save {save} needs a single picture as its source; give a name in .mp4.")
        if options.window and no_window and not writes:
            save = _file_instead_of_window(source, no_window)
        with _sigterm_as_ctrl_c():
            _run(options, source, save, rig, show=no_window is None)
    return 0


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """SIGTERM, with which services are stopped, ends the block as Ctrl-C does: files and sessions are finished."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _free_name(name: str) -> str:
    """The name, or the first with a number behind it that is not taken."""
    path = Path(name)
    names = chain([name], (str(path.with_stem(f"{path.stem}_{i}")) for i in count(2)))
    return next(free for free in names if not Path(free).exists())


def _rig_of(source: Source) -> Rig | None:
    """The rig.toml that lies in a session's folder, if the source is one; not for a single camera, told."""
    path = Path(source.name) / "rig.toml"
    if not path.is_file():
        return None
    if len(source.cameras) < 2:
        to_stderr(f"{path.parent} has one camera: its rig.toml gives no 3D.")
        return None
    rig = Rig.load(path)
    if rig.unreached:
        to_stderr(rig.unreached)
    return rig


def _fitting(rig: Rig | None, source: Source, offset_ms: Mapping[str, float]) -> Rig | None:
    """The rig of the source's cameras, with the clock offsets in use.

    Raises InvalidInput where it lacks one, or the source has only one.
    """
    if rig is None:
        return None
    rig = rig.subset(source.cameras)
    rig.check_depth()
    in_use = {camera: ms for camera, ms in source.clock_offset_ms.items() if camera in source.cameras}
    return rig.with_clock_offsets(in_use | dict(offset_ms))


def _file_instead_of_window(source: Source, reason: str) -> str:
    """Say that the picture goes to a file. Raises InvalidInput for a camera, which would fill the disk."""
    if source.live:
        raise InvalidInput(
            f"No window: {reason}. Give --no-window with --save, --jsonl or --record, and --max-frames."
        )
    name = _free_name(FALLBACK_FILE)
    check_not_recorded(Path(name))
    to_stderr(f"No window: {reason}. Saving the frames with their hands to {name} instead.")
    return name


def _run(options: Options, source: Source, save: str | None, rig: Rig | None, show: bool) -> None:
    cpm = Cpm.load(options.model, options.engine, options.threads)
    cpm.warm_up((1, 2 * len(source.cameras)))
    recorded = Recorded(source, options.record, rig) if options.record else None
    pipeline = Pipeline(recorded or source, cpm, options.smooth, rig=rig)
    workers: list[Worker] = []
    tally = _Tally()
    results = tally.counted(islice(pipeline, options.max_frames))
    try:
        for consumer in _consumers(options, save, rig, source.cameras):
            workers.append(Worker(consumer, wait=not source.live))
        if show:
            _show(results, pipeline, workers, options)
        else:
            with _progress(pipeline, options) as advance:
                _process(results, workers, advance)
    finally:
        # Files are finished by all of them, whichever fails first.
        with closing(cpm):
            try:
                close_all(workers)
            finally:
                if recorded is not None:
                    recorded.close()
        _report(pipeline, workers, recorded, tally)


@dataclass(slots=True)
class _Tally:
    """In how many of the pictures, and of a rig's moments, hands were."""

    pictures: int = 0
    with_hands: int = 0
    moments: int = 0
    with_hands_3d: int = 0

    def counted(self, results: Iterable[Result]) -> Iterator[Result]:
        """The results, each counted."""
        for result in results:
            self.pictures += len(result.views)
            self.with_hands += sum(bool(view.hands.present.any()) for view in result.views)
            if result.rig is not None:
                self.moments += 1
                self.with_hands_3d += bool(result.rig.hands.present.any())
            yield result

    def __str__(self) -> str:
        in_3d = f", 3D hands in {self.with_hands_3d} of {self.moments} moments" if self.moments else ""
        return f"hands in {self.with_hands} of {self.pictures} pictures{in_3d}"


def _view_options(
    options: Options, rig: Rig | None, cameras: Sequence[str], mirror: bool = False
) -> ViewOptions:
    world = World(rig) if rig is not None and options.view_3d else None
    style = Style(dense=options.dense)
    return ViewOptions(style, mirror, multi_view=options.multi_view, world=world, cameras=tuple(cameras))


def _consumers(
    options: Options, save: str | None, rig: Rig | None, cameras: Sequence[str]
) -> Iterator[Consumer]:
    if options.jsonl:
        yield JsonLines(options.jsonl)
    if save:
        kind = AnnotatedPicture if Path(save).suffix.lower() in PICTURES else AnnotatedVideo
        yield kind(save, _view_options(options, rig, cameras))
    if options.rerun or options.rerun_file:
        yield RerunView(rig, options.rerun_file)


# --- without a window ---------------------------------------------------------------------------------------


def _process(results: Iterable[Result], workers: Sequence[Worker], advance: Callable[[], None]) -> None:
    """Every result to every consumer."""
    for result in results:
        for worker in workers:
            worker.offer(result)
        advance()


@contextmanager
def _progress(pipeline: Pipeline, options: Options) -> Iterator[Callable[[], None]]:
    """A bar on stderr."""
    known = [n for n in (pipeline.source.length, options.max_frames) if n is not None]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(
            Path(pipeline.source.name).name or pipeline.source.name, total=min(known, default=None)
        )
        yield lambda: bar.advance(task)


# --- with a window ------------------------------------------------------------------------------------------


class _Newest:
    """The last result, handed from the working thread to the window."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._result: Result | None = None

    def put(self, result: Result) -> None:
        """Replace the last one."""
        with self._changed:
            self._result = result
            self._changed.notify()

    def take(self, timeout_s: float) -> Result | None:
        """The newest one, once; None where none comes in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._result is not None, timeout_s)
            result, self._result = self._result, None
        return result


def _show(results: Iterable[Result], pipeline: Pipeline, workers: Sequence[Worker], options: Options) -> None:
    """Inference in a thread, the window in this one; neither waits for the other."""
    newest, stop = _Newest(), Event()

    def work() -> None:
        for result in results:
            for worker in workers:
                worker.offer(result)
            newest.put(result)
            if stop.is_set():
                return

    # A picture is looked at until the window is closed.
    stays = pipeline.source.still and options.max_frames is None
    mirror = _is_on(options.mirror, pipeline.source.webcams)
    window = Window(pipeline, _view_options(options, pipeline.rig, pipeline.source.cameras, mirror))
    with ThreadPoolExecutor(1, "work") as pool:
        working = pool.submit(work)
        try:
            while not window.closed:
                over = working.done()
                result = newest.take(timeout_s=0.02)
                if result is not None:
                    window.show(result)
                window.keys()
                if over and not (stays and working.exception() is None):
                    break
        finally:
            stop.set()
            pipeline.source.close()
            window.close()
    working.result()


def _is_on(switch: Switch, otherwise: bool) -> bool:
    return otherwise if switch == "auto" else switch == "on"


# --- words --------------------------------------------------------------------------------------------------


def _list_cameras() -> int:
    devices = list_devices()
    print("\n".join(map(str, devices)) if devices else "No webcam on this machine.")
    return 0


def _report(pipeline: Pipeline, workers: Sequence[Worker], recorded: Recorded | None, tally: _Tally) -> None:
    """Stage times, drops and in how many pictures hands were, on stderr."""
    clock = pipeline.clock
    frames = len(clock.durations_ms("track")) or len(clock.durations_ms("infer"))
    if not frames:
        return
    table = Table(title=f"{pipeline.rate.fps:.1f} fps over the last frames; ms a stage", title_justify="left")
    for column in ("stage", "p50", "p95", "p99"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for stage, percentiles in clock.percentiles_ms().items():
        table.add_row(stage, *(f"{p:.2f}" for p in percentiles))
    console = Console(stderr=True)
    console.print(table)
    drops = [("camera", pipeline.source.dropped), *((worker.name, worker.dropped) for worker in workers)]
    if recorded is not None:
        drops.append((recorded.writer.name, recorded.writer.dropped))
    console.print("dropped: " + ", ".join(f"{name} {count}" for name, count in drops))
    console.print(str(tally), highlight=False)


if __name__ == "__main__":
    sys.exit(run_command(main))
