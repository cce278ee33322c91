"""python -m rt_hands.benchmarks.capture: record simulated cameras for a while; frames, drops, processor time."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from rt_hands.benchmarks.timing import machine
from rt_hands.capture.live import LiveSource
from rt_hands.capture.simulated import SimulatedReader
from rt_hands.errors import run_command
from rt_hands.recording import Recorded


@dataclass(frozen=True)
class Options:
    """Record simulated cameras into a folder that is deleted afterwards."""

    cameras: int = 4
    """How many."""
    size_px: tuple[int, int] = (1280, 720)
    """Width and height."""
    fps: float = 30.0
    """Of each camera."""
    seconds: float = 60.0
    """How long."""


def main(argv: Sequence[str]) -> int:
    """Record and count."""
    options = tyro.cli(Options, args=list(argv), prog="python -m rt_hands.benchmarks.capture")
    readers = [
        SimulatedReader(f"cam_{i}", options.size_px, options.fps, phase_ms=2.0 * i, seed=i)
        for i in range(options.cameras)
    ]
    with tempfile.TemporaryDirectory() as folder, LiveSource(readers, notice=lambda _: None) as cameras:
        given = [reader.grabbed for reader in readers]
        cpu_s, start_s = time.process_time(), time.monotonic()
        recorded = Recorded(cameras, Path(folder) / "session")
        with recorded:
            for _ in recorded:
                if time.monotonic() - start_s >= options.seconds:
                    break
        given = [reader.grabbed - before for reader, before in zip(readers, given, strict=True)]
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - start_s
        mbit_s = 8e-6 * sum(p.stat().st_size for p in Path(folder).rglob("*.mp4")) / options.seconds
    _report(recorded, given, options, cpu_s, wall_s, mbit_s)
    return 0


def _report(
    recorded: Recorded, given: Sequence[int], options: Options, cpu_s: float, wall_s: float, mbit_s: float
) -> None:
    console = Console()
    width, height = options.size_px
    console.print(" ".join(f"{key} {value}" for key, value in machine().items()))
    console.print(
        f"{options.cameras} x {width}x{height} at {options.fps:g} fps, {recorded.writer.info.encoder}"
    )
    table = Table("camera", "wanted", "camera gave", "written", "dropped")
    wanted = round(options.seconds * options.fps)
    for (camera, count), gave in zip(recorded.writer.counts.items(), given, strict=True):
        table.add_row(camera, *map(str, (wanted, gave, count.written, count.dropped)))
    console.print(table)
    written = sum(count.written for count in recorded.writer.counts.values())
    console.print(
        f"{1e3 * cpu_s / max(written, 1):.1f} ms of processor time a frame, cameras included; "
        f"{cpu_s / wall_s:.2f} of {os.cpu_count()} cores were had; {mbit_s:.1f} Mbit/s; "
        f"{wall_s - options.seconds:.1f} s to finish the files"
    )


if __name__ == "__main__":
    raise SystemExit(run_command(main))
