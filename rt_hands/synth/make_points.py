"""`python -m rt_hands.synth points`: joints and surface points without pictures, in npz parts."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import numpy as np
import tyro
from rich import print

from rt_hands.paths import write_atomically
from rt_hands.synth import shards, workers
from rt_hands.synth.points import PointSampler
from rt_hands.synth.subjects import Split

PART = 65_536
BATCH = 8_192


@dataclass(frozen=True, slots=True)
class Options:
    """3D-only samples of right hands, parts of 65,536 as npz (the fields of PointBatch); resumable."""

    out: Path
    """Folder of the parts."""
    count: int = 1_000_000
    """How many samples the folder shall hold."""
    visibility: bool = True
    """Also say which surface points a rig of cameras sees; slower."""
    seed: int = 0
    """Of the samples."""
    split: Split = "train"
    """Of people and poses: train, val or test."""
    processes: int = 2
    """How many share the work."""


def _write_part(part: int, options: Options) -> None:
    sampler = PointSampler(options.split, options.seed, options.visibility)
    start, stop = part * PART, min((part + 1) * PART, options.count)
    batches = []
    for first in range(start, stop, BATCH):
        n = min(BATCH, stop - first)
        # Always the whole batch, so that a sample depends on (seed, index) and not on the count asked for.
        batches.append((sampler.batch(first // BATCH, BATCH), n))
        workers.tick(n)
    names = [f.name for f in fields(batches[0][0])]
    stream = io.BytesIO()
    np.savez(
        stream,
        allow_pickle=False,
        **{k: np.concatenate([getattr(b, k)[:n] for b, n in batches]) for k in names},
    )
    path = options.out / part_name(options, part)
    with shards.disk_full_told(path):
        write_atomically(path, stream.getvalue())


def part_name(options: Options, part: int) -> str:
    """File name of a part; it says all that its content depends on."""
    n = min(options.count - part * PART, PART)
    seen = "" if options.visibility else "-novis"
    return f"points-{options.split}-s{options.seed}{seen}-{part * PART:09d}-{n}.npz"


def main(argv: Sequence[str]) -> int:
    """Parse the options and write the parts that are not there yet."""
    options = tyro.cli(Options, args=argv, prog="python -m rt_hands.synth points")
    parts = range(-(-options.count // PART))
    missing = [p for p in parts if not (options.out / part_name(options, p)).exists()]
    todo = sum(min(options.count - p * PART, PART) for p in missing)
    start = time.perf_counter()
    job = partial(_write_part, options=options)
    workers.for_each(job, missing, options.processes, "points", options.count, options.count - todo)
    seconds = time.perf_counter() - start
    print(
        f"{todo} samples in {seconds:.0f} s ({todo / seconds:,.0f} a second). '{options.out}' holds {options.count}."
    )
    return 0
