"""python -m rt_hands.bench capture: record simulated cameras for a while; every frame accounted for, processor time."""

from __future__ import annotations

import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from rt_hands.benchmarks.timing import print_machine, write_json
from rt_hands.capture.live import LiveSource
from rt_hands.capture.session_times import VideoTimes, grab_times_ns
from rt_hands.capture.simulated import SimulatedReader
from rt_hands.errors import check_least, run_command
from rt_hands.recording import SessionWriter
from rt_hands.types import Frame


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
    json: str | None = None
    """Write the figures to this file."""


@dataclass(frozen=True, slots=True)
class Row:
    """Frames of one camera. periods: that went by. missed: in which its thread had no processor, as a webcam's driver
    would overwrite them. dropped: met a full queue; counted and told. lost: neither written nor dropped; must be 0.
    in_file: pictures in the MP4. off_us: its times against frames.csv, at most.
    """

    camera: str
    periods: int
    missed: int
    written: int
    dropped: int
    lost: int
    in_file: int
    off_us: float


def main(argv: Sequence[str]) -> int:
    """Record and count."""
    options = tyro.cli(
        Options, args=list(argv), prog="python -m rt_hands.bench capture", description=Options.__doc__
    )
    check_least("--seconds", options.seconds, 0.1)
    header = print_machine()
    readers = [
        SimulatedReader(f"cam_{i}", options.size_px, options.fps, phase_ms=2.0 * i, seed=i)
        for i in range(options.cameras)
    ]
    given: Counter[str] = Counter()
    cameras = LiveSource(readers, notice=lambda _: None)
    with tempfile.TemporaryDirectory() as folder, closing(cameras):
        writer = SessionWriter(Path(folder) / "session", cameras.cameras, settings=cameras.settings)

        def tap(frame: Frame) -> None:
            given[frame.camera] += 1
            writer.add(frame)

        missed = {reader.camera: reader.missed for reader in readers}
        cpu_s, start_s = time.process_time(), time.monotonic()
        cameras.tap = tap
        for _ in cameras:
            writer.check()
            if time.monotonic() - start_s >= options.seconds:
                break
        cameras.close()
        writer.close()
        cpu_s, wall_s = time.process_time() - cpu_s, time.monotonic() - start_s
        rows = [_row(writer, r.camera, given[r.camera], r.missed - missed[r.camera]) for r in readers]
        mbit_s = 8e-6 * sum(p.stat().st_size for p in Path(folder).rglob("*.mp4")) / options.seconds
    figures = {
        "processor_ms_a_frame": 1e3 * cpu_s / max(sum(row.written for row in rows), 1),
        "cores_had": cpu_s / wall_s,
        "mbit_s": mbit_s,
        "seconds_to_finish_the_files": wall_s - options.seconds,
        "encoder": writer.info.encoder,
    }
    _report(rows, figures, options)
    if options.json:
        write_json(options.json, header, {"cameras": [asdict(row) for row in rows], "whole": figures})
    return 1 if any(row.lost or row.in_file != row.written for row in rows) else 0


def _row(writer: SessionWriter, camera: str, given: int, missed: int) -> Row:
    """What became of the frames that a camera gave, and what its files hold."""
    count = writer.counts[camera]
    in_file, off_us = _file_against_table(writer.folder, camera)
    lost = given - count.written - count.dropped
    return Row(camera, given + missed, missed, count.written, count.dropped, lost, in_file, off_us)


def _file_against_table(folder: Path, camera: str) -> tuple[int, float]:
    """Count of pictures in a camera's video, and how far its times are from frames.csv's, us at most."""
    with av.open(str(folder / f"{camera}.mp4")) as video:
        file_ns = VideoTimes.of(video).grab_ns()
    table_ns = grab_times_ns(folder)[camera]
    n = min(len(file_ns), len(table_ns))
    return len(file_ns), float(np.abs(file_ns[:n] - table_ns[:n]).max(initial=0)) / 1e3


def _report(rows: Sequence[Row], figures: dict[str, object], options: Options) -> None:
    console = Console()
    width, height = options.size_px
    console.print(
        f"{options.cameras} x {width}x{height} at {options.fps:g} fps for {options.seconds:g} s, {figures['encoder']}"
    )
    table = Table(*Row.__slots__)
    for row in rows:
        table.add_row(*(f"{v:.2f}" if isinstance(v, float) else str(v) for v in asdict(row).values()))
    console.print(table)
    console.print(
        f"{figures['processor_ms_a_frame']:.1f} ms of processor time a frame, cameras included; "
        f"{figures['cores_had']:.2f} of {os.cpu_count()} cores were had; {figures['mbit_s']:.1f} Mbit/s; "
        f"{figures['seconds_to_finish_the_files']:.1f} s to finish the files"
    )


if __name__ == "__main__":
    raise SystemExit(run_command(main))
