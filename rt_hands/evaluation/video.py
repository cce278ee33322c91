"""`python -m rt_hands.evaluate video`: one hand followed through a video, against a teacher's joints frame by frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rt_hands.calibration.bundle import need_scipy
from rt_hands.capture.choose import open_source
from rt_hands.display.view import draw_result
from rt_hands.errors import InvalidInput, check_least
from rt_hands.evaluation.labels import own_joints
from rt_hands.evaluation.sheets import sheet
from rt_hands.inference.cpm import Cpm
from rt_hands.layout import N_HAND, N_HANDS, N_JOINTS
from rt_hands.output_files import check_new
from rt_hands.paths import write_figures
from rt_hands.pipeline import Pipeline

Array = NDArray[np.float64]
NEEDS = "A teacher's joints in m need"
STILL_SHARE = 0.25
TILES, TILE_PX = 24, 320


@dataclass(frozen=True, slots=True)
class Options:
    """Presence, identity swaps, distance to a teacher and jitter of one hand in a video."""

    source: str
    """Video file, or anything else that `live` reads."""
    joints: Path | None = None
    """.npz of a teacher: `joints_px` (frames, 21, 2), or `joints_m` (frames, 21, 3) in any frame of its own, laid on
    the found joints by turning, scaling and shifting it."""
    mediapipe: bool = False
    """The teacher is MediaPipe: its fingertips, which lie short of the fingers' ends, are taken there."""
    first: int = 0
    """First frame to judge; those before it are followed all the same."""
    frames: int | None = None
    """How many to judge; default: to the end."""
    engine: str = "auto"
    """auto, tensorrt, openvino or onnxruntime."""
    model: str = "default"
    """light (default), int8, quality, or a path to an .onnx file."""
    threads: int | None = None
    """Threads of the network; default: the engine's own choice."""
    smooth: bool = True
    """Smooth the points over time."""
    sheet: Path | None = None
    """.png of frames with their hands, to look at."""
    json: Path | None = None
    """Write the figures to this file."""
    overwrite: bool = False
    """Replace files of these names that are already there."""


def follow(options: Options, console: Console) -> tuple[Array, NDArray[np.bool_], list[NDArray[np.uint8]]]:
    """Every frame from the video's start: points (N, 2, 85, 2) px, present (N, 2), and some drawn frames."""
    end = None if options.frames is None else options.first + options.frames
    points, present, drawn = [], [], []
    with open_source(options.source, realtime=False) as source:
        pipeline = Pipeline(source, Cpm.load(options.model, options.engine, options.threads), options.smooth)
        for i, result in enumerate(track(islice(pipeline, end), "following", console=console)):
            if i < options.first:
                continue
            hands = result.views[0].hands
            points.append(hands.points_px[:, :2].reshape(N_HANDS, N_HAND, 2))
            present.append(hands.present)
            if options.sheet is not None:
                picture = draw_result(result)
                size = (TILE_PX, round(TILE_PX * picture.shape[0] / picture.shape[1]))
                drawn.append(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
    if not points:
        raise InvalidInput(f"'{options.source}' has no frames from {options.first} on.")
    return np.array(points, np.float64), np.array(present), drawn


def laid_on(joints_m: Array, found_px: Array) -> Array:
    """A teacher's 3D joints (21, 3) as (21, 2) px: turned, scaled and shifted onto the found joints (21, 2).

    Raises MissingPart without scipy.
    """
    need_scipy(NEEDS)
    from scipy.optimize import least_squares
    from scipy.spatial.transform import Rotation

    shape = joints_m - joints_m.mean(0)
    middle, size = found_px.mean(0), float(np.linalg.norm(found_px - found_px.mean(0)))
    shape /= np.linalg.norm(shape)

    def place(x: Array) -> Array:
        return np.asarray(
            x[3] * size * Rotation.from_rotvec(x[:3]).apply(shape)[:, :2] + middle + x[4:] * size
        )

    def away(x: Array) -> Array:
        return np.asarray((place(x) - found_px).ravel() / size)

    starts = Rotation.create_group("O").as_rotvec()
    rough = min(starts, key=lambda turn: float(np.square(away(np.array([*turn, 1.2, 0, 0]))).sum()))
    return place(least_squares(away, [*rough, 1.2, 0, 0], loss="soft_l1", f_scale=0.02).x)


def distances(found: Array, teacher: Array) -> Array:
    """(N, 21): joints' distances in shares of the hand's box; found (N, 21, 2), teacher (N, 21, 2 or 3)."""
    if teacher.shape[-1] == 3:
        teacher = np.array([laid_on(t, f) for t, f in zip(teacher, found, strict=True)])
    box = np.ptp(teacher, axis=1).max(-1)
    return np.asarray(np.linalg.norm(found - teacher, axis=-1) / box[:, None])


def still_step_px(points: Array, present: NDArray[np.bool_]) -> float:
    """Mean step of all points between frames in the stillest quarter of the steps: (N, 85, 2), (N,) -> px."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(1)[present[1:] & present[:-1]]
    if not len(steps):
        return float("nan")
    # Slow motion is judged over half a second, so that jitter itself does not choose the frames.
    width = min(15, len(steps))
    window = np.ones(width)
    pace = np.convolve(steps, window, mode="same") / np.convolve(np.ones(len(steps)), window, mode="same")
    return float(steps[pace <= np.quantile(pace, STILL_SHARE)].mean())


def figures(points: Array, present: NDArray[np.bool_], teacher: Array | None) -> dict[str, float]:
    """The report of one hand: points (N, 2, 85, 2), present (N, 2), teacher (N, 21, 2 or 3)."""
    side = int(present.sum(0).argmax())
    seen = present.any(1)
    named = np.where(present.all(1), side, present.argmax(1))[seen]
    report = {
        "frames": float(len(present)),
        "present": float(seen.mean()),
        "swaps": float((np.diff(named) != 0).sum()),
        "second_hand": float(present[:, 1 - side].mean()),
        "still_step_px": still_step_px(points[:, side], present[:, side]),
    }
    there = present[:, side]
    if teacher is not None:
        there = there & np.isfinite(teacher).all((1, 2))
    if teacher is not None and there.any():
        away = distances(points[there, side, :N_JOINTS], teacher[there])
        report["distance_mean"], report["distance_median"] = float(away.mean()), float(np.median(away))
    return report


def load_teacher(path: Path, first: int, count: int, mediapipe: bool = False) -> Array:
    """A teacher's joints for `count` frames from `first` on; mediapipe: moved by `labels.own_joints`."""
    try:
        archive = dict(np.load(path))
    except (OSError, ValueError, TypeError) as error:
        raise InvalidInput(f"{path} is no .npz file of a teacher's joints.") from error
    name = next((n for n in ("joints_px", "joints_m") if n in archive), None)
    if name is None:
        raise InvalidInput(f"{path} holds neither joints_px nor joints_m, but {', '.join(archive)}.")
    joints = np.asarray(archive[name], np.float64)
    if len(joints) < first + count or joints.shape[1] != N_JOINTS:
        raise InvalidInput(
            f"{path}: {name} is {joints.shape}; the video needs {first + count} frames of {N_JOINTS} joints."
        )
    joints = joints[first : first + count]
    return own_joints(joints) if mediapipe else joints


def main(argv: Sequence[str]) -> int:
    """Command line of the evaluation."""
    options = tyro.cli(
        Options, args=list(argv), prog="python -m rt_hands.evaluate video", description=__doc__
    )
    console = Console()
    check_new(options.json, options.overwrite)
    check_new(options.sheet, options.overwrite)
    if options.sheet is not None and not cv2.haveImageWriter(str(options.sheet)):
        raise InvalidInput(f"--sheet {options.sheet} is no name of a picture; give a .png or .jpg.")
    check_least("--frames", options.frames)
    check_least("--first", options.first, 0)
    if options.joints is not None:
        checked = load_teacher(options.joints, options.first, 0)  # before the work, not after it
        if checked.shape[-1] == 3:
            need_scipy(NEEDS)
    points, present, drawn = follow(options, console)
    teacher = None
    if options.joints is not None:
        teacher = load_teacher(options.joints, options.first, len(points), options.mediapipe)
    report = figures(points, present, teacher)
    view = Table(
        "", "", title=f"{options.source}, frames {options.first} to {options.first + len(points) - 1}"
    )
    for key, value in report.items():
        view.add_row(key, f"{value:.4g}")
    console.print(view)
    if options.sheet is not None:
        chosen = np.linspace(0, len(drawn) - 1, min(TILES, len(drawn))).astype(int)
        cv2.imwrite(str(options.sheet), sheet([drawn[i] for i in chosen], 6))
    if options.json is not None:
        write_figures(options.json, report)
    return 0
