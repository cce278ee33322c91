"""A float32 CPM -> 8 bits for CPUs: `python -m rt_hands.training.quantise --sprites data/sprites`.

Ranges and weights are fitted on train pictures cut as in training (no labels are used), and the answers are compared
with the float32 file's on train pictures held back. Whether the error stays within bounds is for
`python -m rt_hands.evaluate cpm --model int8` to say.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from rt_hands.errors import InvalidInput, run_command
from rt_hands.inference.engine import open_engine
from rt_hands.inference.quantise import FIRST_LAYERS, quantise
from rt_hands.inference.tensorrt.parity import Parity, compare
from rt_hands.paths import weights_dir, write_atomically
from rt_hands.training.export import write_card
from rt_hands.training.loader import Clock, Mix, Stream
from rt_hands.training.pictures import load_backgrounds, load_real

BATCH = 4


@dataclass(frozen=True)
class Options:
    """Quantise a CPM's ONNX file."""

    model: Path = weights_dir() / "cpm_light.onnx"
    """The float32 file."""
    out: Path | None = None
    """The int8 file, its card goes beside it. Default: <model>_int8.onnx."""
    sprites: Path | None = None
    """Folder of rendered hands, as for training. Default: real pictures and backgrounds alone."""
    pictures: int = 128
    """How many train pictures to fit on."""
    held_back: int = 128
    """How many more to compare on."""
    keep_float: tuple[str, ...] = FIRST_LAYERS
    """Parts of the names of weights whose layers stay float32."""
    seed: int = 123
    """Of the choice of pictures."""
    note: tuple[str, ...] = ()
    """Lines added to the card, for instance figures of `rt_hands.evaluate cpm`."""


def train_pictures(count: int, side_px: int, sprites: Path | None, seed: int) -> NDArray[np.float32]:
    """Training samples as the network's input: (count, 3, side, side) float32 RGB 0..1."""
    source = None
    if sprites is not None:
        from rt_hands.training.sprite_source import open_sprites

        source = open_sprites(sprites)
    stream = Stream(load_real("train"), load_backgrounds(), source, Clock(1.0), Mix(), seed, side_px)
    rng = np.random.default_rng(seed)
    samples = np.stack([stream.sample(side_px, rng).image for _ in range(count)])
    return np.ascontiguousarray(samples.transpose(0, 3, 1, 2), np.float32) / np.float32(255)


def distance(model: Path, other: Path, images: NDArray[np.float32]) -> Parity:
    """How far the points of another file lie from a model's, in onnxruntime."""
    batches = [images[at : at + BATCH] for at in range(0, len(images), BATCH)]
    engines = [open_engine(path, "onnxruntime", quiet=True) for path in (model, other)]
    found = compare(engines[0], engines[1], batches)
    for engine in engines:
        engine.close()
    return found


def input_px(model: Path) -> int:
    """The side of the pictures that a CPM takes."""
    engine = open_engine(model, "onnxruntime", quiet=True)
    shape = engine.inputs[0].shape
    engine.close()
    if len(shape) != 4 or shape[-1] is None:
        raise InvalidInput(f"{model.name} takes {shape}; a CPM takes pictures (B, 3, n, n).")
    return shape[-1]


def main(argv: Sequence[str]) -> int:
    """Fit, write, compare."""
    options = tyro.cli(
        Options, args=list(argv), prog="python -m rt_hands.training.quantise", description=__doc__
    )
    out = options.out or options.model.with_name(f"{options.model.stem}_int8.onnx")
    count = options.pictures + options.held_back
    images = train_pictures(count, input_px(options.model), options.sprites, options.seed)
    console = Console()
    with Progress(console=console) as bar:
        task = bar.add_task("layers")
        data = quantise(
            options.model.read_bytes(), options.model.name, images[: options.pictures],
            keep_float=options.keep_float,
            progress=lambda done, of: bar.update(task, completed=done, total=of),
        )  # fmt: skip
    write_atomically(out, data)
    note = _said(distance(options.model, out, images[options.pictures :]))
    write_card(out, f"{out.stem}: CPM in 8 bits", _SUMMARY, _facts(options), (note, *options.note))
    console.print(f"{out.name}: {out.stat().st_size / 1e6:.2f} MB. {note}")
    return 0


_SUMMARY = "The float32 network of the same name in 8 bits, for CPUs with VNNI: the same inputs and outputs."


def _facts(options: Options) -> dict[str, str]:
    return {
        "from": f"`{options.model.name}`",
        "8 bits": "convolutions, and what passes between them: weights per channel, int8; activations uint8",
        "float32": f"layers named {', '.join(options.keep_float) or 'nothing'}; heads, prior, the last sum of the maps",
        "fitted on": f"{options.pictures} train pictures by `python -m rt_hands.training.quantise`, without labels",
        "licence": "as that file's",
    }


def _said(found: Parity) -> str:
    return (
        f"Points lie {found.mean_px:.2f} px from float32's on average, median {found.p50_px:.3f}, p99 "
        f"{found.p99_px:.1f} ({found.points:,} points with a peak on {found.crops} held-back train pictures)."
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
