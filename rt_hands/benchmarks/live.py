"""python -m rt_hands.bench live: the whole loop on a 1280x720 MJPEG clip, stage by stage; one hand and two."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
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
    age: of the frame when drawn, at a camera's pace, in frame intervals at 30 fps.
    """

    source: str
    name: str
    frames: int = 0
    hands: float = float("nan")
    fps: float = 0.0
    frame_p50_p95_p99_ms: tuple[float, ...] = ()
    cpu_ms: float = float("nan")
    rss_mb: float = float("nan")
    stages_ms: dict[str, tuple[float, ...]] = field(default_factory=dict)
    overhead_p50_ms: float = float("nan")
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
    """Each installed engine on one clip, fast and at a camera's pace."""
    found = []
    with Progress(transient=True) as progress:
        for name in [engine for engine in ENGINES if is_installed(engine)]:
            task = progress.add_task(f"{Path(source).name}, {name}", total=2 * len(jpegs))
            cpm = Cpm.load(options.model, name, options.threads)
            cpm.engine.warm_up((1, 2))
            figures = run_fast(cpm, jpegs, Path(source).name, partial(progress.advance, task))
            figures.age_p95_intervals = run_paced(cpm, jpegs)
            progress.update(task, completed=2 * len(jpegs))
            found.append(figures)
            cpm.close()
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


def run_fast(
    cpm: Cpm, jpegs: Sequence[np.ndarray], name: str = "", advance: Callable[[], object] = lambda: None
) -> Figures:
    """Every frame, one after the other in one thread: decode, find, draw. The first tenth is not timed."""
    source = JpegSource(jpegs)
    pipeline, canvas = Pipeline(source, cpm), Canvas()
    hands, whole_ns, cpu_s = 0, [], []
    start, cpu_start = time.perf_counter_ns(), time.process_time()
    for result in pipeline:
        with pipeline.clock.stage("draw"):
            draw_result(result, canvas=canvas)
        hands += int(result.views[0].measured.present.sum())
        whole_ns.append(time.perf_counter_ns() - start)
        cpu_s.append(time.process_time() - cpu_start)
        start, cpu_start = time.perf_counter_ns(), time.process_time()
        advance()
    clock, drop = pipeline.clock, len(whole_ns) // 10
    decode = np.array(source.decode_ns) / 1e6
    whole = np.array(whole_ns) / 1e6
    overhead = whole - clock.durations_ms("infer") - decode
    stages = {"jpeg": tuple(np.percentile(decode, (50, 95, 99)).tolist()), **clock.percentiles_ms()}
    stages.pop("grab", None)
    return Figures(
        name,
        f"{cpm.engine.name} {cpm.engine.precision}",
        len(whole),
        hands / len(whole),
        1e3 / float(whole[drop:].mean()),
        tuple(np.percentile(whole[drop:], (50, 95, 99)).tolist()),
        1e3 * float(np.mean(cpu_s[drop:])),
        rss_mb(),
        stages,
        float(np.median(overhead)),
        frame_ms=whole[drop:].round(3).tolist(),
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
    table.add_row("all but jpeg and infer", *(f"{figures.overhead_p50_ms:.2f}" for figures in found))
    table.add_row(
        "age when drawn, p95, intervals", *(f"{figures.age_p95_intervals:.2f}" for figures in found)
    )
    table.add_row("hands a frame", *(f"{figures.hands:.2f}" for figures in found))
    table.add_row("memory, MB", *(f"{figures.rss_mb:.0f}" for figures in found))
    Console().print(table)
