"""Shared by the benchmarks: what machine this is, calls timed in turn, percentiles, a table, JSON."""

from __future__ import annotations

import os
import platform
import random
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

import rt_hands
from rt_hands.paths import write_figures

PACKAGES: Final = (
    "onnxruntime",
    "openvino",
    "tensorrt",
    "opencv-python",
    "opencv-python-headless",
    "av",
    "torch",
)


@dataclass(frozen=True, slots=True)
class Timing:
    """Microseconds of one call over `runs` measured calls; the first tenth of them was dropped."""

    name: str
    p50_us: float
    p95_us: float
    p99_us: float
    min_us: float
    max_us: float
    runs: int


def machine() -> dict[str, object]:
    """Processor, cores, load, operating system and versions: the header of every table."""
    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        models = [
            line.split(":", 1)[1] for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        name = models[0].strip() if models else name
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    return {
        "processor": name,
        "cores": os.cpu_count(),
        "load_1min": round(load, 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "rt_hands": getattr(rt_hands, "__version__", "unknown"),
        **_versions(),
    }


def _versions() -> dict[str, str]:
    """Of the packages that figures depend on, those that are installed."""
    found = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def interleave(
    calls: Mapping[str, Callable[[], object]], budget_s: float, most_runs: int = 2000, title: str = ""
) -> dict[str, Timing]:
    """Time every call in turn, so that a busy moment of the machine meets them all.

    The turn is drawn anew each round: no call always finds the caches as one other call left them.
    A call that takes more than its share of `budget_s` is run in fewer of the rounds, never fewer than five.
    """
    cost_s = {name: _seconds(call) for name, call in calls.items()}
    cost_s = {name: min(cost, _seconds(calls[name])) for name, cost in cost_s.items()}
    share_s = budget_s / len(calls)
    runs = {name: int(np.clip(share_s / max(cost, 1e-7), 5, most_runs)) for name, cost in cost_s.items()}
    rounds = max(runs.values())
    taken_ns: dict[str, list[int]] = {name: [] for name in calls}
    turn, draw = list(calls.items()), random.Random(0)
    for index in track(range(rounds), title or "measuring", transient=True):
        draw.shuffle(turn)
        for name, call in turn:
            if index * runs[name] // rounds != (index + 1) * runs[name] // rounds:
                start = time.perf_counter_ns()
                call()
                taken_ns[name].append(time.perf_counter_ns() - start)
    return {name: _timing(name, taken) for name, taken in taken_ns.items()}


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _timing(name: str, taken_ns: list[int]) -> Timing:
    kept = np.array(taken_ns[len(taken_ns) // 10 :]) / 1e3
    p50, p95, p99 = np.percentile(kept, [50, 95, 99])
    return Timing(name, float(p50), float(p95), float(p99), float(kept.min()), float(kept.max()), len(kept))


def print_table(
    title: str, timings: Mapping[str, Timing], base: str, notes: Mapping[str, str] | None = None
) -> None:
    """One row a call: median, p95, minimum, and how many times the median (and minimum) of `base` it takes."""
    table = Table(title=title, title_justify="left")
    for column in ("", "p50 us", "p95 us", "min us", "n", "x ours", "x ours (min)"):
        table.add_column(column, justify="left" if column == "" else "right")
    if notes:
        table.add_column("note")
    for name, t in timings.items():
        times = f"{t.p50_us / timings[base].p50_us:.2f}", f"{t.min_us / timings[base].min_us:.2f}"
        row = [name, f"{t.p50_us:.1f}", f"{t.p95_us:.1f}", f"{t.min_us:.1f}", str(t.runs), *times]
        table.add_row(*row, *([notes.get(name, "")] if notes else []))
    Console(width=112).print(table)


def print_machine() -> dict[str, object]:
    """Print and return the machine header."""
    header = machine()
    Console(width=112).print(", ".join(f"{key} {value}" for key, value in header.items()), highlight=False)
    return header


def write_json(path: str | Path, header: Mapping[str, object], parts: Mapping[str, object]) -> None:
    """Write the header and every part (tables, lists of rows), see `write_figures`; a `Timing` becomes its fields."""

    def plain(value: object) -> object:
        if isinstance(value, Mapping):
            return {key: plain(entry) for key, entry in value.items()}
        return asdict(value) if isinstance(value, Timing) else value

    write_figures(Path(path), {"machine": header, **{name: plain(part) for name, part in parts.items()}})
