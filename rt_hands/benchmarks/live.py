"""python -m rt_hands.bench live: the whole loop on a 1280x720 MJPEG clip, stage by stage; one hand and two."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import tyro
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from rt_hands.benchmarks.mediapipe_worker import rss_mb
from rt_hands.benchmarks.timing import print_machine, write_json
from rt_hands.capture.choose import open_source
from rt_hands.capture.paced import Played
from rt_hands.capture.source import Source
from rt_hands.display.view import Canvas, draw_result
from rt_hands.errors import SourceError
from rt_hands.inference.cpm import Cpm
from rt_hands.inference.engine import ENGINES, is_installed
from rt_hands.paths import data_dir
from rt_hands.pipeline import Pipeline
from rt_hands.types import Frame, FrameSet

SIZE_PX = (1280, 720)
JPEG_QUALITY = 90
CAMERA_FPS = 30.0
TURN = 30
"""Frames that one engine takes before the next has its turn: a busy second of the machine meets them all."""
OURS = ("preprocess", "decode", "track", "draw")


@dataclass(frozen=True)
class Options:
    """Speed of the live loop: as fast as it goes, and at a camera's pace for the age of the frame when shown."""

    source: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Videos; default: video/one_hand.mp4 of the data folder where it is, and the bundled sample's first camera with
    two hands."""
    model: str = "default"
    """light, int8, quality, or a path to an .onnx file."""
    threads: int | None = None
    """Threads of the network; default: the engine's own choice."""
    frames: int = 300
    """Frames to run through."""
    soak_minutes: float = 0.0
    """Then loop the clip for so long and report how memory grows."""
    json: str | None = None
    """Write the figures to this file."""


@dataclass(slots=True)
class Figures:
    """Of one engine on one source. stages_ms: p50, p95, p99 by stage; overhead: all but JPEG decoding and the network.

    hands: mean number found in a picture. cpu_ms: processor time a picture, all threads. frame_ms: of every picture.
    engine_mb: what the engine added to the process's memory. age: of the frame when drawn, at a camera's pace, in frame
    intervals at 30 fps.
    """

    source: str
    name: str
    frames: int = 0
    hands: float = float("nan")
    fps: float = 0.0
    frame_p50_p95_p99_ms: tuple[float, ...] = ()
    cpu_ms: float = float("nan")
    engine_mb: float = float("nan")
    stages_ms: dict[str, tuple[float, ...]] = field(default_factory=dict)
    overhead_p50_ms: float = float("nan")
    overhead_p95_ms: float = float("nan")
    age_p95_intervals: float = float("nan")
    frame_ms: list[float] = field(default_factory=list, repr=False)


def main(argv: Sequence[str]) -> int:
    """Measure each engine on each source, print, write."""
    options = tyro.cli(
        Options, args=list(argv), prog="python -m rt_hands.bench live", description=Options.__doc__
    )
    header, found = print_machine(), []
    for source in options.source or _default_sources():
        jpegs = load_jpegs(source, options.frames)
        found += _measured(options, source, jpegs)
        _print([figures for figures in found if figures.source == Path(source).name], len(jpegs))
    if options.soak_minutes > 0:
        _soak(options, jpegs)
    if options.json:
        write_json(options.json, header, {"runs": [asdict(figures) for figures in found]})
    return 0


def _measured(options: Options, source: str, jpegs: Sequence[np.ndarray]) -> list[Figures]:
    """Each installed engine on one clip: fast, TURN frames in turn with the others; then at a camera's pace."""
    loops: list[FastLoop] = []
    with Progress(transient=True) as progress:
        for name in [engine for engine in ENGINES if is_installed(engine)]:
            before_mb = rss_mb()
            cpm = Cpm.load(options.model, name, options.threads)
            cpm.warm_up((1, 2))
            loops.append(FastLoop(cpm, jpegs, rss_mb() - before_mb))
        task = progress.add_task(Path(source).name, total=len(loops) * len(jpegs))
        for _ in range(0, len(jpegs), TURN):
            for loop in loops:
                loop.turn(TURN)
                progress.advance(task, TURN)
        found = []
        for loop in loops:
            progress.update(
                task, description=f"{Path(source).name}, at a camera's pace, {loop.cpm.engine.name}"
            )
            found.append(loop.figures(Path(source).name))
            found[-1].age_p95_intervals = run_paced(loop.cpm, jpegs)
            loop.cpm.close()
    return found


def _default_sources() -> list[str]:
    folder = data_dir()
    clip = folder / "video" / "one_hand.mp4" if folder else None
    return [*([str(clip)] if clip is not None and clip.is_file() else []), "sample"]


def load_jpegs(source: str, frames: int) -> list[np.ndarray]:
    """The first camera's frames at 1280x720, each as one JPEG, as an MJPG webcam sends them."""
    jpegs = []
    with open_source(source) as opened:
        for frame_set in islice(opened, frames):
            image = frame_set.frames[0].image_bgr
            if frame_set.frames[0].size_px != SIZE_PX:
                image = np.asarray(cv2.resize(image, SIZE_PX), np.uint8)
            jpegs.append(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1])
    if len(jpegs) < 2:
        raise SourceError(f"{source} has {len(jpegs)} frames; a benchmark wants two or more.")
    return jpegs


class JpegSource(Source):
    """A made-up MJPG camera: JPEGs from memory, decoded when they are taken, 30 to the second by their times."""

    name, cameras = "jpeg", ("jpeg",)

    def __init__(self, jpegs: Sequence[np.ndarray], endless: bool = False) -> None:
        self._jpegs = cycle(jpegs) if endless else jpegs
        self.decode_ns: list[int] = []

    def __iter__(self) -> Iterator[FrameSet]:
        for i, jpeg in enumerate(self._jpegs):
            start = time.perf_counter_ns()
            image = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)
            self.decode_ns.append(time.perf_counter_ns() - start)
            yield FrameSet((Frame(image, "jpeg", i, round(i * 1e9 / CAMERA_FPS)),), i)


class FastLoop:
    """Every frame, one after the other in one thread: decode, find, draw. The first tenth is not timed.

    engine_mb: what the engine added to the process's memory.
    """

    def __init__(self, cpm: Cpm, jpegs: Sequence[np.ndarray], engine_mb: float = 0.0) -> None:
        self.cpm = cpm
        self._source = JpegSource(jpegs)
        self._pipeline, self._canvas = Pipeline(self._source, cpm), Canvas()
        self._results = iter(self._pipeline)
        self._hands, self._engine_mb = 0, engine_mb
        self._whole_ms: list[float] = []
        self._cpu_ms: list[float] = []

    def turn(self, frames: int) -> None:
        """The next so many frames, or those that are left."""
        for _ in range(frames):
            start, cpu_start = time.perf_counter_ns(), time.process_time_ns()
            result = next(self._results, None)
            if result is None:
                return
            with self._pipeline.clock.stage("draw"):
                draw_result(result, canvas=self._canvas)
            self._whole_ms.append((time.perf_counter_ns() - start) / 1e6)
            self._cpu_ms.append((time.process_time_ns() - cpu_start) / 1e6)
            self._hands += int(result.views[0].measured.present.sum())

    def figures(self, source: str) -> Figures:
        """Of the frames so far."""
        clock, count = self._pipeline.clock, len(self._whole_ms)
        decode, whole = np.array(self._source.decode_ns) / 1e6, np.array(self._whole_ms)
        kept = slice(count // 10, None)
        overhead = (whole - clock.durations_ms("infer") - decode)[kept]
        stages = {"jpeg": tuple(np.percentile(decode, (50, 95, 99)).tolist()), **clock.percentiles_ms()}
        stages.pop("grab", None)
        return Figures(
            source,
            f"{self.cpm.engine.name} {self.cpm.engine.precision}",
            count,
            self._hands / count,
            1e3 / float(whole[kept].mean()),
            tuple(np.percentile(whole[kept], (50, 95, 99)).tolist()),
            float(np.mean(self._cpu_ms[kept])),
            self._engine_mb,
            stages,
            float(np.median(overhead)),
            float(np.percentile(overhead, 95)),
            frame_ms=whole[kept].round(3).tolist(),
        )


def run_paced(cpm: Cpm, jpegs: Sequence[np.ndarray]) -> float:
    """At 30 fps through the latest-frame slot: p95 of the frame's age when drawn, in frame intervals."""
    with Played(JpegSource(jpegs)) as source:
        pipeline, canvas = Pipeline(source, cpm), Canvas()
        ages = []
        for result in pipeline:
            draw_result(result, canvas=canvas)
            now_ns = source.now_ns()
            if now_ns is not None:
                ages.append((now_ns - result.frames.t_ns) * CAMERA_FPS / 1e9)
    # The first frames carry the start of the threads.
    return float(np.percentile(ages[5:] or ages, 95))


def _soak(options: Options, jpegs: Sequence[np.ndarray]) -> None:
    """Loop the clip; memory after the first tenth and at the end."""
    cpm = Cpm.load(options.model, "auto", options.threads)
    end_s = time.monotonic() + 60 * options.soak_minutes
    early_s = time.monotonic() + 6 * options.soak_minutes
    early_mb, frames, canvas = 0.0, 0, Canvas()
    for result in Pipeline(JpegSource(jpegs, endless=True), cpm):
        draw_result(result, canvas=canvas)
        frames += 1
        if not early_mb and time.monotonic() > early_s:
            early_mb = rss_mb()
        if time.monotonic() > end_s:
            break
    cpm.close()
    Console().print(
        f"soak: {frames} frames, {rss_mb() - early_mb:+.1f} MB from minute {0.1 * options.soak_minutes:.1f} on"
    )


def _print(found: Sequence[Figures], frames: int) -> None:
    title = f"{found[0].source}: {frames} frames of 1280x720 JPEG; ms: p50 / p95"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for figures in found:
        table.add_column(figures.name, justify="right")
    table.add_row("frames a second", *(f"{figures.fps:.1f}" for figures in found))
    table.add_row("whole frame", *("{:.2f} / {:.2f}".format(*f.frame_p50_p95_p99_ms) for f in found))
    table.add_row("processor time", *(f"{figures.cpu_ms:.2f}" for figures in found))
    for stage in ("jpeg", *OURS[:1], "infer", *OURS[1:]):
        cells = (figures.stages_ms.get(stage) for figures in found)
        table.add_row(stage, *("-" if cell is None else f"{cell[0]:.2f} / {cell[1]:.2f}" for cell in cells))
    overheads = (f"{f.overhead_p50_ms:.2f} / {f.overhead_p95_ms:.2f}" for f in found)
    table.add_row("all but jpeg and infer", *overheads)
    table.add_row(
        "age when drawn, p95, intervals", *(f"{figures.age_p95_intervals:.2f}" for figures in found)
    )
    table.add_row("hands a frame", *(f"{figures.hands:.2f}" for figures in found))
    table.add_row("memory of the engine, MB", *(f"{figures.engine_mb:.0f}" for figures in found))
    Console().print(table)
