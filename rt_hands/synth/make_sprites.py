"""`python -m rt_hands.synth sprites`: shards of cut-out hands."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich import print

from rt_hands.synth import sprites
from rt_hands.synth.subjects import Split


@dataclass(frozen=True, slots=True)
class Options:
    """Cut-out hands with the truth of every point, as WebDataset shards (WebP with alpha + npz); resumable."""

    out: Path
    """Folder of the shards."""
    count: int = 1000
    """How many sprites the folder shall hold."""
    hands: sprites.Hands = "one"
    """One right hand (its mirror image is a left one), or two hands together."""
    seed: int = 0
    """Of the sprites."""
    split: Split = "train"
    """Of people and poses: train, val or test."""
    processes: int = 2
    """How many share the work."""
    first: int = 0
    """Index of the first sprite: machines that share the work take different ones."""


def main(argv: Sequence[str]) -> int:
    """Parse the options and write."""
    options = tyro.cli(Options, args=argv, prog="python -m rt_hands.synth sprites")
    start = time.perf_counter()
    made = sprites.write(
        options.out,
        options.count,
        options.seed,
        options.hands,
        options.split,
        options.processes,
        options.first,
    )
    seconds = time.perf_counter() - start
    print(
        f"{made} sprites in {seconds:.0f} s ({made / seconds:.1f} a second). '{options.out}' holds {options.count}."
    )
    return 0
