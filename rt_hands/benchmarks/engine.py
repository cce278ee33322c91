"""python -m rt_hands.bench engine: what our engines add to the bare onnxruntime and OpenVINO calls."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rt_hands.inference.engine import ENGINES, Engine, is_installed, open_engine
from rt_hands.inference.models import find_model


@dataclass(frozen=True)
class Options:
    """Time each installed engine's `run` beside the bare library call on the same network, taking turns."""

    model: str = "default"
    """light, int8, quality, or a path to an .onnx file."""
    threads: int | None = None
    """Threads of the network; default: the library's own choice."""
    batches: Annotated[tuple[int, ...], tyro.conf.UseAppendAction] = (1, 2)
    """Batch sizes."""
    rounds: int = 150
    """Runs of each; the first tenth is dropped."""
    json: str | None = None
    """Write the figures to this file."""


@dataclass(frozen=True, slots=True)
class Row:
    """Medians over the rounds, ms. overhead: ours over the bare call, in per cent of it, median of paired rounds."""

    engine: str
    precision: str
    batch: int
    bare_ms: float
    ours_ms: float
    overhead_percent: float


def main(argv: Sequence[str]) -> int:
    """Measure, print, write."""
    options = tyro.cli(
        Options, args=list(argv), prog="python -m rt_hands.bench engine", description=Options.__doc__
    )
    path = find_model(options.model)
    rows: list[Row] = []
    for name in ENGINES:
        if not is_installed(name):
            Console().print(f"{name} is not installed: left out.")
            continue
        engine = open_engine(path, name, options.threads, quiet=True)
        for batch in options.batches:
            rows.append(_measure(engine, _bare(engine, path, options.threads, batch), batch, options.rounds))
        engine.close()
    _print(rows, path)
    if options.json:
        keep = [{field: getattr(row, field) for field in Row.__slots__} for row in rows]
        Path(options.json).write_text(json.dumps(keep, indent=1) + "\n")
    return 0


def _bare(engine: Engine, path: Path, threads: int | None, batch: int) -> Callable[[], object]:
    """The library's own call as its documentation has it, with the options that the engine uses."""
    image = np.random.default_rng(0).random(engine.inputs[0].sized(batch), np.float32)
    if engine.name == "onnxruntime":
        return _bare_onnxruntime(path, threads, {engine.inputs[0].name: image})
    return _bare_openvino(path, threads, engine.precision, image)


def _bare_onnxruntime(path: Path, threads: int | None, feed: dict[str, np.ndarray]) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, feed)


def _bare_openvino(
    path: Path, threads: int | None, precision: str, image: np.ndarray
) -> Callable[[], object]:
    import openvino

    options: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY"}
    options["INFERENCE_PRECISION_HINT"] = "bf16" if precision == "bfloat16" else "f32"
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    request = openvino.Core().compile_model(str(path), "CPU", options).create_infer_request()
    return lambda: request.infer([image], share_inputs=True, share_outputs=True)


def _measure(engine: Engine, bare: Callable[[], object], batch: int, rounds: int) -> Row:
    (image,) = engine.buffers(batch)
    image[:] = np.random.default_rng(0).random(image.shape, np.float32)
    calls: tuple[Callable[[], object], ...] = (bare, lambda: engine.run(image))
    times_ms = np.zeros((rounds, 2))
    for i in track(range(rounds), f"{engine.name}, batch {batch}", transient=True):
        # The order alternates, so that neither always runs on the other's warm caches.
        for which in (0, 1) if i % 2 else (1, 0):
            start = time.perf_counter()
            calls[which]()
            times_ms[i, which] = (time.perf_counter() - start) * 1e3
    times_ms = times_ms[rounds // 10 :]
    bare_ms, ours_ms = np.median(times_ms, axis=0)
    overhead = 100 * float(np.median(times_ms[:, 1] / times_ms[:, 0] - 1))
    return Row(engine.name, engine.precision, batch, float(bare_ms), float(ours_ms), overhead)


def _print(rows: Sequence[Row], path: Path) -> None:
    table = Table(title=f"{path.name}: p50 ms, bare library call beside Engine.run", title_justify="left")
    for column in ("engine", "precision", "batch", "bare", "ours", "overhead %"):
        table.add_column(column, justify="right" if column not in ("engine", "precision") else "left")
    for row in rows:
        figures = (f"{row.bare_ms:.2f}", f"{row.ours_ms:.2f}", f"{row.overhead_percent:+.1f}")
        table.add_row(row.engine, row.precision, str(row.batch), *figures)
    Console().print(table)
