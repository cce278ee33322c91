"""`python -m rt_hands.synth images | rig | interhand`: finished pictures with truth."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich import print

from rt_hands.synth import interhand, scene_shards
from rt_hands.synth.lights import Look
from rt_hands.synth.subjects import Split


@dataclass(frozen=True, slots=True)
class Images:
    """Whole pictures of one view each, as WebDataset shards (JPEG, masks, truth); resumable."""

    out: Path
    """Folder of the shards."""
    count: int = 1000
    """How many pictures, or scenes of a rig, the folder shall hold."""
    look: Look | None = None
    """webcam, phone, desk, outdoors or studio; left out: all of them."""
    seed: int = 0
    """Of the scenes."""
    split: Split = "train"
    """Of people and poses: train, val or test."""
    processes: int = 2
    """How many share the work."""
    first: int = 0
    """Index of the first picture: machines that share the work take different ones."""


@dataclass(frozen=True, slots=True)
class RigImages(Images):
    """Scenes seen by several cameras at once."""

    cameras: int = 4
    """How many see each scene."""


@dataclass(frozen=True, slots=True)
class InterHand:
    """A capture studio's session in InterHand2.6M's own layout; resumable."""

    out: Path
    """Root folder: images/ and annotations/ go below it."""
    frames: int = 100
    """Moments of the session."""
    cameras: int = 8
    """How many see each moment."""
    frames_per_capture: int = 50
    """Moments of a capture; each has a rig of its own."""
    seed: int = 0
    """Of the moments and rigs."""
    split: Split = "train"
    """Of people and poses: train, val or test."""
    processes: int = 2
    """How many share the work."""


def _write(options: Images, cameras: int) -> int:
    start = time.perf_counter()
    made = scene_shards.write(
        options.out,
        options.count,
        options.seed,
        options.look,
        cameras,
        options.split,
        options.processes,
        options.first,
    )
    seconds = time.perf_counter() - start
    print(
        f"{made} scenes x {cameras} views in {seconds:.0f} s ({made * cameras / seconds:.1f} pictures a second)."
    )
    return 0


def images(argv: Sequence[str]) -> int:
    """Parse the options of `images` and write."""
    return _write(tyro.cli(Images, args=argv, prog="python -m rt_hands.synth images"), 1)


def rig(argv: Sequence[str]) -> int:
    """Parse the options of `rig` and write."""
    options = tyro.cli(RigImages, args=argv, prog="python -m rt_hands.synth rig")
    return _write(options, options.cameras)


def interhand_layout(argv: Sequence[str]) -> int:
    """Parse the options of `interhand` and write."""
    options = tyro.cli(InterHand, args=argv, prog="python -m rt_hands.synth interhand")
    plan = interhand.Plan(
        options.split, options.seed, options.frames, options.cameras, options.frames_per_capture
    )
    start = time.perf_counter()
    made = interhand.write(options.out, plan, options.processes)
    print(f"{made} pictures made in {time.perf_counter() - start:.0f} s below '{options.out}'.")
    return 0
