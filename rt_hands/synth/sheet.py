"""`python -m rt_hands.synth sheet`: a contact sheet of sprites or scenes, to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import tyro
from numpy.typing import NDArray
from rich import print
from rich.progress import track

from rt_hands.errors import InvalidInput
from rt_hands.layout import PART_COLOURS_RGB, PART_OF_POINT
from rt_hands.output_files import check_new
from rt_hands.synth import backgrounds, scene, sprites
from rt_hands.synth.lights import LOOKS, Look
from rt_hands.synth.subjects import Split
from rt_hands.synth.truth import OCCLUDED, VISIBLE

U8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Options:
    """A contact sheet of pictures as the data engine makes them."""

    out: Path
    """Picture file to write."""
    kind: Literal["one", "two", "scenes"] = "one"
    """Sprites of one or two hands, or whole scenes."""
    look: Look | None = None
    """Of scenes: webcam, phone, desk, outdoors or studio; left out: all of them."""
    count: int = 100
    """How many pictures."""
    columns: int = 10
    """Pictures side by side."""
    cell_px: int = 160
    """Longer side of a picture on the sheet."""
    points: bool = False
    """Draw the points: seen ones bright, hidden ones dark."""
    seed: int = 0
    """Of the pictures."""
    split: Split = "train"
    """Of people and poses: train, val or test."""
    overwrite: bool = False
    """Replace a picture of that name that is already there."""


def picture(options: Options, index: int) -> U8:
    """One picture of the sheet, RGB."""
    if options.kind != "scenes":
        sprite = sprites.make(options.seed, index, options.kind, options.split)
        size = (sprite.rgba.shape[1], sprite.rgba.shape[0])
        behind = backgrounds.sample(LOOKS[index % len(LOOKS)], np.random.default_rng(index), size)
        image, points, seen = scene.laid_over(sprite.rgba, behind), sprite.points_px, sprite.visibility > 0
        known = np.ones(len(points), bool)
    else:
        view = scene.render_scene(scene.sample_scene(options.seed, index, options.look, split=options.split))[
            0
        ]
        image, points = view.image_rgb, view.truth.points_px
        seen, known = view.truth.visibility == VISIBLE, view.truth.visibility >= OCCLUDED
    return _dotted(image, points, seen, known) if options.points else image


def _dotted(image: U8, points: NDArray[np.float32], seen: NDArray[np.bool_], known: NDArray[np.bool_]) -> U8:
    out = np.ascontiguousarray(image)
    for i in np.flatnonzero(known):
        colour = PART_COLOURS_RGB[PART_OF_POINT[i % len(PART_OF_POINT)]] * (1.0 if seen[i] else 0.35)
        centre = np.round(points[i]).astype(int).tolist()
        cv2.circle(out, centre, max(1, max(out.shape) // 240), colour.tolist(), -1, cv2.LINE_AA)
    return out


def _fitted(image: U8, cell_px: int) -> U8:
    h, w = image.shape[:2]
    scale = cell_px / max(h, w)
    small = cv2.resize(image, (round(w * scale), round(h * scale)), interpolation=cv2.INTER_AREA)
    return np.asarray(
        cv2.copyMakeBorder(
            small, 0, cell_px - small.shape[0], 0, cell_px - small.shape[1], cv2.BORDER_CONSTANT
        )
    )


def main(argv: Sequence[str]) -> int:
    """Parse the options, make the pictures and write the sheet."""
    options = tyro.cli(Options, args=argv, prog="python -m rt_hands.synth sheet")
    check_new(options.out, options.overwrite)
    cells = [_fitted(picture(options, i), options.cell_px) for i in track(range(options.count), "Pictures")]
    cells += [np.zeros_like(cells[0])] * (-len(cells) % options.columns)
    rows = [np.hstack(cells[k : k + options.columns]) for k in range(0, len(cells), options.columns)]
    if not cv2.imwrite(str(options.out), np.vstack(rows)[..., ::-1]):
        raise InvalidInput(f"Can't write the picture '{options.out}'; use a name that ends in .png or .jpg.")
    print(f"{options.count} pictures in '{options.out}'.")
    return 0
