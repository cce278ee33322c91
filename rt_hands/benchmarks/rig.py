"""python -m rt_hands.bench rig: a rig's loop from JPEG files to drawn views, and lifting by the number of views."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, islice

import cv2
import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rt_hands.benchmarks.timing import Timing, interleave, print_machine, print_table, write_json
from rt_hands.camera import Camera, Rig
from rt_hands.capture.choose import open_source
from rt_hands.capture.source import Source
from rt_hands.capture.together import TogetherSource
from rt_hands.display.view import Canvas, draw_result
from rt_hands.inference.cpm import Cpm
from rt_hands.layout import N_HANDS, N_POINTS
from rt_hands.lifting.lift import lift
from rt_hands.paths import sample_dir
from rt_hands.pipeline import Pipeline
from rt_hands.tracking.rig import reproject
from rt_hands.types import Frame, FrameSet, Hands2D, Hands3D, Image

SIZE_PX = (1280, 720)
FPS = 30.0
JPEG_QUALITY = 90
OURS = ("bundle", "track", "lift", "draw")
"""Stages that the bar of 6 ms counts; lift is triangulation, fit, RTC, smoothing and reprojection."""
BAR_MS = 6.0
VIEWS = (2, 4, 8, 16, 40, 80)
NOISE_PX = 3.0


@dataclass(frozen=True)
class Options:
    """A rig of cameras simulated from JPEG files of the bundled sample, then lifting and drawing back by views."""

    cameras: int = 8
    """Of the loop; more than the sample's four are copies of them."""
    frames: int = 90
    """FrameSets of the loop; the first tenth is not counted."""
    model: str = "default"
    """light, int8, quality, or a path to an .onnx file."""
    engine: str = "auto"
    """auto, tensorrt, openvino or onnxruntime."""
    threads: int | None = None
    """Threads of the network; default: the engine's own choice."""
    seconds: float = 4.0
    """For lifting by views."""
    json: str | None = None
    """Write the figures to this file."""


def main(argv: Sequence[str]) -> int:
    """Measure, print, write."""
    options = tyro.cli(
        Options, args=list(argv), prog="python -m rt_hands.bench rig", description=Options.__doc__
    )
    header = print_machine()
    loop = run_loop(options)
    _print_loop(loop, options)
    scaling = {
        "lift": by_views(options.seconds / 2, _lift_call),
        "draw back": by_views(options.seconds / 2, _back_call),
    }
    for name, timings in scaling.items():
        print_table(f"{name}, two hands, by number of views", timings, base=next(iter(timings)))
    if options.json:
        write_json(options.json, header, {"loop": loop, **scaling})
    return 0


# --- the loop -----------------------------------------------------------------------------------------------


class JpegCamera(Source):
    """One camera's JPEGs from memory, decoded when they are taken, at 30 a second with a phase of its own."""

    def __init__(self, name: str, jpegs: Sequence[NDArray[np.uint8]], frames: int, phase_ms: float) -> None:
        self.name, self.cameras, self.length = name, (name,), frames
        self._jpegs, self._phase_ns = jpegs, round(phase_ms * 1e6)
        self.decode_ns = 0

    def __iter__(self) -> Iterator[FrameSet]:
        for i, jpeg in enumerate(islice(cycle(self._jpegs), self.length)):
            start = time.perf_counter_ns()
            image = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)
            self.decode_ns += time.perf_counter_ns() - start
            yield FrameSet((Frame(image, self.name, i, round(i * 1e9 / FPS) + self._phase_ns),), i)


def run_loop(options: Options) -> dict[str, dict[str, float]]:
    """Percentiles of each stage, ms a FrameSet."""
    rig, jpegs = sample_rig(options.cameras, min(options.frames, 60))
    cameras = [JpegCamera(c.id, jpegs[i], options.frames, phase_ms=1.5 * i) for i, c in enumerate(rig)]
    cpm = Cpm.load(options.model, options.engine, options.threads)
    cpm.warm_up((1, 2 * len(rig)))
    source = TogetherSource(cameras, rig.ids)
    pipeline = Pipeline(source, cpm, rig=rig, notice=lambda _: None)
    hands, decode_ms, last, canvas = 0, [], 0, Canvas()
    results = iter(pipeline)
    for _ in track(range(options.frames), "the loop", transient=True):
        result = next(results)
        with pipeline.clock.stage("draw"):
            draw_result(result, canvas=canvas)
        decoded = sum(camera.decode_ns for camera in cameras)
        decode_ms.append((decoded - last) * 1e-6)
        last = decoded
        hands += 0 if result.rig is None else int(result.rig.hands.present.sum())
    cpm.close()
    stages = {
        name: pipeline.clock.durations_ms(name)
        for name in ("grab", "preprocess", "infer", "decode", *OURS[1:])
    }
    decode = np.array(decode_ms)
    stages["bundle"] = stages.pop("grab")[: len(decode)] - decode
    found = {"jpeg": decode, **stages, "ours": np.sum([stages[name] for name in OURS], axis=0)}
    kept = {name: values[len(values) // 10 :] for name, values in found.items()}
    figures = {name: _percentiles(values) for name, values in kept.items()}
    return {**figures, "hands": {"mean": hands / options.frames}}


def _percentiles(values: NDArray[np.float64]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(values, (50, 95, 99)).tolist()
    return {"p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "min_ms": float(values.min())}


def sample_rig(cameras: int, frames: int) -> tuple[Rig, list[list[NDArray[np.uint8]]]]:
    """The bundled sample as so many cameras of 1280x720, and each one's JPEGs."""
    rig = Rig.load(sample_dir() / "rig.toml")
    jpegs: dict[str, list[NDArray[np.uint8]]] = {camera: [] for camera in rig.ids}
    with open_source("sample") as source:
        for frames_set in islice(source, frames):
            for frame in frames_set.frames:
                image = _widened(frame.image_bgr)
                jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
                jpegs[frame.camera].append(np.asarray(jpeg, np.uint8))
    ids = [rig.ids[i % len(rig)] for i in range(cameras)]
    wide = [replace(_widened_camera(rig[name]), id=f"{name}_{i}") for i, name in enumerate(ids)]
    return Rig(tuple(wide)), [jpegs[name] for name in ids]


def _scale(size_px: tuple[int, int]) -> tuple[int, int, int]:
    """(width, height, left edge) of a picture fitted into 1280x720."""
    width = round(size_px[0] * SIZE_PX[1] / size_px[1])
    return width, SIZE_PX[1], (SIZE_PX[0] - width) // 2


def _widened(image: Image) -> Image:
    width, height, left = _scale((image.shape[1], image.shape[0]))
    inner = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    right = SIZE_PX[0] - width - left
    return np.asarray(cv2.copyMakeBorder(inner, 0, 0, left, right, cv2.BORDER_REPLICATE), np.uint8)


def _widened_camera(camera: Camera) -> Camera:
    width, height, left = _scale(camera.size_px)
    inner = camera.resized((width, height))
    k = inner.K.copy()
    k[0, 2] += left
    return replace(inner, size_px=SIZE_PX, K=k)


def _print_loop(loop: dict[str, dict[str, float]], options: Options) -> None:
    table = Table(title=f"{options.cameras} cameras of 1280x720, ms a FrameSet", title_justify="left")
    for column in ("stage", "p50", "p95", "min"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for name in ("jpeg", "preprocess", "infer", "decode", *OURS, "ours"):
        row = loop[name]
        table.add_row(name, *(f"{row[key]:.2f}" for key in ("p50_ms", "p95_ms", "min_ms")))
    Console().print(table)
    Console().print(
        f"ours = {' + '.join(OURS)}; the bar is {BAR_MS:g} ms. {loop['hands']['mean']:.2f} hands in 3D a FrameSet."
    )


# --- by number of views -------------------------------------------------------------------------------------


def by_views(seconds: float, make: Callable[[Rig, Hands3D], Callable[[], object]]) -> dict[str, Timing]:
    """One call timed for each number of views, in turn."""
    hands = sample_hands()
    calls = {f"{views} views": make(ring(views, hands), hands) for views in VIEWS}
    return interleave(calls, seconds, title="by views")


def ring(views: int, hands: Hands3D) -> Rig:
    """Cameras of 1280x720 on three quarters of a circle of 700 mm round the hands."""
    middle = np.nanmean(hands.points_world_mm, axis=0)
    k = np.array([[900.0, 0, 639.5], [0, 900, 359.5], [0, 0, 1]])
    cameras = []
    for v, turn in enumerate(np.linspace(-0.75 * np.pi, 0.75 * np.pi, views)):
        pose = np.eye(4)
        pose[:3, :3] = cv2.Rodrigues(np.array([0.1 * (v % 3), turn, 0.0]))[0]
        pose[:3, 3] = (0, 0, 700) - pose[:3, :3] @ middle
        cameras.append(Camera(f"cam_{v}", SIZE_PX, k, np.array([-0.1, 0.02, 0, 0, 0]), pose))
    return Rig(tuple(cameras))


def sample_hands() -> Hands3D:
    """The truth of the bundled sample's first moment."""
    with np.load(sample_dir() / "truth.npz") as truth:
        points = truth["points_world_mm"][0].astype(np.float64)
    empty = Hands3D.empty()
    score = np.ones(N_POINTS, np.float32)
    return Hands3D(points, score, empty.residual_px, empty.views, np.ones(N_HANDS, bool))


def _lift_call(rig: Rig, hands: Hands3D) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    drawn = rig.project(hands.points_world_mm)
    points = np.concatenate(
        [drawn + rng.normal(0, NOISE_PX, drawn.shape), np.full((*drawn.shape[:2], 1), 0.8)], 2
    )
    views = [Hands2D(p.astype(np.float32), np.ones(N_HANDS, bool)) for p in points]
    return partial(lift, views, rig)


def _back_call(rig: Rig, hands: Hands3D) -> Callable[[], object]:
    return partial(reproject, hands, rig)
