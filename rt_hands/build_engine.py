"""python -m rt_hands.build_engine: an ONNX network to a TensorRT engine, and how far that is from onnxruntime."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table

from rt_hands.capture.choose import open_source
from rt_hands.detector import Detector
from rt_hands.errors import InvalidInput, check_least, run_command
from rt_hands.inference.cpm import Cpm, inputs_for
from rt_hands.inference.engine import Engine, open_engine
from rt_hands.inference.models import find_model
from rt_hands.inference.preprocess import fill_input
from rt_hands.inference.quantise import quantise
from rt_hands.inference.tensorrt.build import Progress
from rt_hands.inference.tensorrt.engine import (
    MAX_BATCH,
    Runtime,
    TensorRtEngine,
    choose_precision,
    read_model,
)
from rt_hands.inference.tensorrt.parity import compare, is_cpm, largest_difference, latency_ms
from rt_hands.paths import cache_dir, weights_dir, write_atomically
from rt_hands.tracking.crops import crop_round, search_crops
from rt_hands.types import Frame, Hands2D

LEAST_SCORE = 0.3
CALIBRATION_BATCH = 4

Batches = list[NDArray[np.float32]]


@dataclass(frozen=True)
class Options:
    """Build a TensorRT engine from an ONNX network and compare its answers with onnxruntime's."""

    model: str = "default"
    """light (default), quality, rtc, or a path to an .onnx file."""
    precision: str = "auto"
    """auto, float16, float32, or int8; int8 of a float file is fitted to every other picture first."""
    max_batch: int = MAX_BATCH
    """The most crops in one call: views x hands."""
    source: str = "sample"
    """Pictures for calibration and comparison: a folder, video or recorded session, or `sample`."""
    frames: int = 16
    """How many frame sets of them."""
    runs: int = 100
    """How many timed runs of each engine."""
    verbose: bool = False
    """Print TensorRT's log, and what it chose for each layer."""
    check: bool = True
    """Compare with onnxruntime."""


def main(argv: Sequence[str]) -> int:
    """Build, then report. Exit code 0; an RtHandsError becomes one sentence and 2."""
    options = tyro.cli(
        Options, args=argv, prog="python -m rt_hands.build_engine", description=Options.__doc__
    )
    return build(options, Runtime.find(), Console())


def build(options: Options, runtime: Runtime, console: Console) -> int:
    """All of the command, on a GPU and TensorRT that were found."""
    for name, value in (
        ("--max-batch", options.max_batch),
        ("--frames", options.frames),
        ("--runs", options.runs),
    ):
        check_least(name, value)
    path = _model_path(options.model)
    float_engine = open_engine(path, "onnxruntime", quiet=True)
    wants_pictures = is_cpm(float_engine) and (options.check or options.precision == "int8")
    batches = _batches(options, Cpm(float_engine), console) if wants_pictures else []
    model = path
    if options.precision == "int8" and choose_precision(path, "auto") != "int8":
        if len(batches) < 2:
            raise InvalidInput(
                f"8 bits are fitted on pictures of hands, and {path.name} is no CPM or has too few."
            )
        # Half of the pictures for the fit, the others for the comparison.
        model, batches = _quantised(path, batches[::2], console), batches[1::2]
    with _bars(console) as progress:
        engine = TensorRtEngine(
            model, None, options.precision, options.max_batch,
            runtime=runtime, progress=progress, verbose=options.verbose, rebuild=True,
        )  # fmt: skip
    console.print(
        f"{model.name} in {engine.precision} for {engine.device}, batches of 1 to {engine.max_batch}: built."
    )
    if model != path:
        console.print(f"Use it with --engine tensorrt --model {model}")
    if options.verbose:
        console.print(engine.layers(), markup=False, highlight=False)
    if options.check:
        _report(float_engine, engine, batches, options.runs, console)
    engine.close()
    float_engine.close()
    return 0


def _model_path(model: str) -> Path:
    """A CPM by its name, any packaged file by its stem, or a path."""
    packaged = weights_dir() / f"{model}.onnx"
    return packaged if packaged.is_file() else find_model(model)


def _batches(options: Options, cpm: Cpm, console: Console) -> Batches:
    """Crops round the hands that the float32 network sees, and the whole picture where it sees none."""
    detector, rows = Detector(cpm=cpm), []
    with console.status(f"Cropping hands from {options.source}"), open_source(options.source) as source:
        for frame_set in islice(source, options.frames):
            for frame in frame_set.frames:
                rows += _crops(frame, detector(frame.image_bgr), cpm.input_px)
    return [np.stack(rows[i : i + CALIBRATION_BATCH]) for i in range(0, len(rows), CALIBRATION_BATCH)]


def _crops(frame: Frame, hands: Hands2D, side_px: int) -> list[NDArray[np.float32]]:
    found = [crop_round(hands.hand(h), LEAST_SCORE) for h in range(2) if hands.present[h]]
    crops = found or search_crops(frame.size_px)[:1]
    out = np.empty((len(crops), 3, side_px, side_px), np.float32)
    fill_input([(frame.image_bgr, crop) for crop in crops], out)
    return list(out)


def _quantised(path: Path, batches: Batches, console: Console) -> Path:
    """The int8 form of a float file, in the user's cache."""
    out = cache_dir() / "tensorrt" / f"{path.stem}_trt_int8.onnx"
    with console.status(f"Measuring ranges on {sum(map(len, batches))} crops"):
        write_atomically(out, quantise(read_model(path), path.name, np.concatenate(batches), signed=True))
    return out


def _report(reference: Engine, engine: TensorRtEngine, batches: Batches, runs: int, console: Console) -> None:
    table = Table("engine", "p50 ms", "p99 ms", title="One crop, arrays in to arrays out")
    for each in (reference, engine):
        arrays = inputs_for(each, 1) if batches else each.buffers(1)
        if batches:
            arrays[0][...] = batches[0][:1]
        p50, p99 = latency_ms(each, arrays, runs)
        table.add_row(f"{each.name}, {each.device}, {each.precision}", f"{p50:.2f}", f"{p99:.2f}")
    console.print(table)
    if not batches:
        worst = largest_difference(reference, engine, batch=min(8, engine.max_batch))
        console.print(
            "Largest difference: " + ", ".join(f"{name} {value:.2g}" for name, value in worst.items())
        )
        return
    found = compare(reference, engine, batches)
    console.print(
        f"Against onnxruntime, {found.points} points on {found.crops} crops, px at {batches[0].shape[-1]} px: "
        f"mean {found.mean_px:.3f}, p50 {found.p50_px:.3f}, p99 {found.p99_px:.3f}, max {found.max_px:.2f}; "
        f"presence differs by at most {found.worst_presence:.4f}."
    )


@contextmanager
def _bars(console: Console) -> Iterator[Progress]:
    """A progress bar for each phase that TensorRT reports."""
    with Bars(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(phase: str, done: int, steps: int) -> None:
            if phase not in tasks:
                tasks[phase] = bars.add_task(phase, total=max(steps, 1))
            bars.update(tasks[phase], completed=max(steps, 1) if done < 0 else done)

        yield show


__all__ = ["Options", "build", "main"]

if __name__ == "__main__":
    sys.exit(run_command(main))
