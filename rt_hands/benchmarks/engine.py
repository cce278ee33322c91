"""python -m rt_hands.bench engine: what our engines add to the bare onnxruntime and OpenVINO calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rt_hands.benchmarks.mediapipe_worker import rss_mb
from rt_hands.benchmarks.timing import print_machine, write_json
from rt_hands.inference.cpm import inputs_for
from rt_hands.inference.engine import ENGINES, Engine, is_installed, open_engine
from rt_hands.inference.models import find_model


@dataclass(frozen=True)
class Options:
    """Time each installed engine's `run` beside the bare library call on the same network, taking turns."""

    model: str = "default"
    """light, int8, quality, or a path to an .onnx file."""
    threads: int | None = None
    """Threads of the network; default: the library's own choice."""
    batches: tuple[int, ...] = (1, 2, 4, 8)
    """Batch sizes: one crop a hand and view."""
    rounds: int = 150
    """Runs of each at batch 1, fewer at larger ones; the first tenth is dropped."""
    json: str | None = None
    """Write the figures to this file."""


@dataclass(frozen=True, slots=True)
class Row:
    """Times in ms. overhead: ours over the bare call, in per cent of it, median of paired rounds. cpu_ms: processor
    time of one of our runs, all threads together. rss_mb: the process afterwards, all engines so far in it."""

    engine: str
    precision: str
    batch: int
    n: int
    bare_p50_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float
    overhead_percent: float
    rss_mb: float


def main(argv: Sequence[str]) -> int:
    """Measure, print, write."""
    options = tyro.cli(
        Options, args=list(argv), prog="python -m rt_hands.bench engine", description=Options.__doc__
    )
    path, header = find_model(options.model), print_machine()
    rows: list[Row] = []
    for name in ENGINES:
        if not is_installed(name):
            Console().print(f"{name} is not installed: left out.")
            continue
        engine = open_engine(path, name, options.threads, quiet=True)
        for batch in options.batches:
            rounds = max(options.rounds // batch, 20)
            rows.append(_measure(engine, _bare(engine, path, options.threads, batch), batch, rounds))
        engine.close()
    _print(rows, path)
    if options.json:
        write_json(
            options.json, header, {"engines": [asdict(row) for row in rows], "model": {"file": path.name}}
        )
    return 0


def _bare(engine: Engine, path: Path, threads: int | None, batch: int) -> Callable[[], object]:
    """The library's own call as its documentation has it, with the options that the engine uses."""
    arrays = {spec.name: array for spec, array in zip(engine.inputs, _random(engine, batch), strict=True)}
    if engine.name == "onnxruntime":
        return _bare_onnxruntime(path, threads, arrays)
    return _bare_openvino(path, threads, engine.precision, list(arrays.values()))


def _random(engine: Engine, batch: int) -> tuple[np.ndarray, ...]:
    """Noise for pictures, and nothing told of joints; arrays that are not the engine's own."""
    arrays = tuple(np.array(array) for array in inputs_for(engine, batch))
    arrays[0][...] = np.random.default_rng(0).random(arrays[0].shape, np.float32)
    return arrays


def _bare_onnxruntime(path: Path, threads: int | None, feed: dict[str, np.ndarray]) -> Callable[[], object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # As the engine has it; two sessions that take turns would spin against each other.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, feed)


def _bare_openvino(
    path: Path, threads: int | None, precision: str, arrays: list[np.ndarray]
) -> Callable[[], object]:
    import openvino

    options: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY"}
    options["INFERENCE_PRECISION_HINT"] = "bf16" if precision == "bfloat16" else "f32"
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    request = openvino.Core().compile_model(str(path), "CPU", options).create_infer_request()
    return lambda: request.infer(arrays, share_inputs=True, share_outputs=True)


def _measure(engine: Engine, bare: Callable[[], object], batch: int, rounds: int) -> Row:
    arrays = engine.buffers(batch)
    for own, values in zip(arrays, _random(engine, batch), strict=True):
        own[...] = values
    calls: tuple[Callable[[], object], ...] = (bare, lambda: engine.run(*arrays))
    times_ms, cpu_ms = np.zeros((rounds, 2)), np.zeros(rounds)
    for i in track(range(rounds), f"{engine.name}, batch {batch}", transient=True):
        # The order alternates, so that neither always runs on the other's warm caches.
        for which in (0, 1) if i % 2 else (1, 0):
            cpu_s, start_s = time.process_time(), time.perf_counter()
            calls[which]()
            times_ms[i, which] = (time.perf_counter() - start_s) * 1e3
            if which:
                cpu_ms[i] = (time.process_time() - cpu_s) * 1e3
    times_ms, cpu_ms = times_ms[rounds // 10 :], cpu_ms[rounds // 10 :]
    bare_ms = float(np.median(times_ms[:, 0]))
    p50, p95, p99 = (float(p) for p in np.percentile(times_ms[:, 1], (50, 95, 99)))
    overhead = 100 * float(np.median(times_ms[:, 1] / times_ms[:, 0] - 1))
    times = (bare_ms, p50, p95, p99, float(cpu_ms.mean()))
    return Row(engine.name, engine.precision, batch, len(times_ms), *times, overhead, rss_mb())


def _print(rows: Sequence[Row], path: Path) -> None:
    table = Table(title=f"{path.name}: bare library call beside Engine.run, ms", title_justify="left")
    columns = (
        "engine",
        "precision",
        "batch",
        "n",
        "bare p50",
        "ours p50",
        "p95",
        "p99",
        "CPU",
        "overhead %",
        "MB",
    )
    for column in columns:
        table.add_column(column, justify="right" if column not in ("engine", "precision") else "left")
    for r in rows:
        times = (f"{v:.2f}" for v in (r.bare_p50_ms, r.p50_ms, r.p95_ms, r.p99_ms, r.cpu_ms))
        last = (f"{r.overhead_percent:+.1f}", f"{r.rss_mb:.0f}")
        table.add_row(r.engine, r.precision, str(r.batch), str(r.n), *times, *last)
    Console(width=120).print(table)
