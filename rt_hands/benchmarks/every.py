"""python -m rt_hands.bench all: every part, each as a process of its own, its JSON into one folder.

A part that fails or takes too long is told of and left out; the others go on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Final

import tyro
from rich.console import Console
from rich.table import Table

from rt_hands.benchmarks.timing import machine
from rt_hands.errors import InvalidInput

# With --quick each part runs only to show that it works.
ARGUMENTS: Final[dict[str, tuple[list[str], list[str]]]] = {
    "core": (["--seconds", "5"], ["--seconds", "0.2"]),
    "engine": ([], ["--rounds", "20", "--batches", "1", "2"]),
    "rtc": ([], ["--rounds", "2"]),
    "live": ([], ["--frames", "20", "--source", "sample"]),
    "hands": ([], ["--frames", "20"]),
    "rig": ([], ["--frames", "10", "--cameras", "4", "--seconds", "0.5"]),
    "capture": (["--seconds", "30"], ["--seconds", "2", "--size-px", "320", "240"]),
}


@dataclass(frozen=True)
class Options:
    """Run every benchmark and keep its figures in a folder, for `python -m rt_hands.bench report`."""

    out: Path = Path("bench")
    """Folder for one JSON file a part."""
    mediapipe_python: str | None = None
    """Python of an environment that has MediaPipe, see `python -m rt_hands.bench hands --help`."""
    part: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Only these parts; default all."""
    part_minutes: float = 10.0
    """A part that takes longer is stopped and left out."""
    quick: bool = False
    """Seconds instead of minutes: figures that mean nothing, to see that it works."""


@dataclass(frozen=True, slots=True)
class Run:
    """Of one part: exit code, wall and processor seconds, largest memory in MB; -1 as a code where it was stopped."""

    part: str
    code: int
    wall_s: float
    cpu_s: float
    most_mb: float


def main(argv: Sequence[str]) -> int:
    """Run the parts; 1 where one of them failed."""
    options = tyro.cli(
        Options, args=list(argv), prog="python -m rt_hands.bench all", description=Options.__doc__
    )
    return 1 if any(run.code for run in run_all(options)) else 0


def run_all(options: Options) -> list[Run]:
    """Run the parts one after the other, print what each took, and write runs.json."""
    chosen = options.part or tuple(ARGUMENTS)
    for part in chosen:
        if part not in ARGUMENTS:
            raise InvalidInput(f"There is no part '{part}'. Parts: {', '.join(ARGUMENTS)}.")
    options.out.mkdir(parents=True, exist_ok=True)
    header, runs = machine(), []
    for part in chosen:
        Console().rule(part)
        runs.append(_run(part, options))
    table = Table("part", "code", "wall s", "processor s", "most memory MB")
    for r in runs:
        table.add_row(r.part, str(r.code), f"{r.wall_s:.1f}", f"{r.cpu_s:.1f}", f"{r.most_mb:.0f}")
    Console().print(table)
    kept = {"machine": header, "parts": [asdict(run) for run in runs]}
    (options.out / "runs.json").write_text(json.dumps(kept, indent=1) + "\n")
    return runs


def _run(part: str, options: Options) -> Run:
    path = options.out / f"{part}.json"
    path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "rt_hands.bench", part, *ARGUMENTS[part][options.quick]]
    command += ["--json", str(path)]
    if part == "hands" and options.mediapipe_python:
        command += ["--mediapipe-python", options.mediapipe_python]
    start_s = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    end_s, ended, status, used = start_s + 60 * options.part_minutes, 0, -1, None
    while not ended and time.monotonic() < end_s:
        time.sleep(0.05)
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
    if not ended:
        process.kill()
        _, _, used = os.wait4(process.pid, 0)
        Console().print(f"{part} took more than {options.part_minutes:g} minutes and was stopped.")
    assert used is not None
    # Reaped here, for its resource usage; Popen must not look for it again.
    process.returncode = os.waitstatus_to_exitcode(status) if ended else -1
    wall_s, cpu_s = time.monotonic() - start_s, used.ru_utime + used.ru_stime
    return Run(part, process.returncode, wall_s, cpu_s, used.ru_maxrss / 1e3)
