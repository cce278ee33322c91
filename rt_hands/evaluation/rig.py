"""`python -m rt_hands.evaluate rig`: rendered rigs against the truth in mm, a real rig against its pictures in px."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from rt_hands.capture.offsets import read_offsets
from rt_hands.detector import Detector
from rt_hands.errors import InvalidInput, check_least
from rt_hands.evaluation.rig_real import evaluate_real, real_figures
from rt_hands.evaluation.rig_rendered import (
    FUSIONS,
    STATES,
    VIEWS,
    Agree,
    Errors,
    Split,
    by_rays,
    evaluate_rendered,
    looked_again,
    network_look,
    noisy_truth,
    rendered_figures,
)
from rt_hands.evaluation.sheets import check_sheets
from rt_hands.formats import load_rig
from rt_hands.inference.cpm import Cpm
from rt_hands.output_files import check_new
from rt_hands.paths import write_figures
from rt_hands.rig_detector import ROUNDS


@dataclass(frozen=True, slots=True)
class Options:
    """Rendered rigs with truth, or a real rig (--rig and --source), or both."""

    scenes: int = 40
    """Rendered scenes, each seen by 16 cameras of which the first V count; 0 skips them."""
    seed: int = 11
    """Of the scenes."""
    split: Split = "test"
    """People of the scenes. Weights and limits are chosen on `train`, figures come from `test`."""
    rounds: int = ROUNDS
    """Of reading hands again round where the rig sees them, as `RigDetector` does."""
    noise_px: float | None = None
    """Put truth with so much noise in the network's place, to see what geometry and RTC do alone."""
    model: str = "default"
    """light (default), int8, quality, or a path to an .onnx file."""
    engine: str = "auto"
    """auto, tensorrt, openvino or onnxruntime."""
    threads: int | None = None
    """Threads of the network; default: the engine's own choice."""
    rig: str | None = None
    """Calibration of a real rig."""
    source: tuple[str, ...] = ()
    """Its videos, or its session's folder."""
    clock_offset_ms: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Of the real rig's cameras, ID=MS; goes before the rig file's own."""
    smooth: bool = False
    """Smooth the hands of the real rig over time, as `live` does."""
    max_frames: int | None = None
    """Pictures of each camera of the real rig."""
    pictures: Path | None = None
    """Folder for pictures of both modes, monocular and multi-view."""
    json: Path | None = None
    """Write the figures to this file."""
    overwrite: bool = False
    """Replace files of these names that are already there."""


def main(argv: Sequence[str]) -> int:
    """Print the tables, write the figures."""
    options = tyro.cli(
        Options, args=list(argv), prog="python -m rt_hands.evaluate rig", description=Options.__doc__
    )
    if bool(options.rig) != bool(options.source):
        raise InvalidInput("A real rig needs both --rig FILE and --source VIDEO [VIDEO ...].")
    check_new(options.json, options.overwrite)
    for name, value, least in (("scenes", options.scenes, 0), ("rounds", options.rounds, 0)):
        check_least(f"--{name}", value, least)
    check_least("--max-frames", options.max_frames)
    if not options.scenes and not options.rig:
        raise InvalidInput(
            "There is nothing to evaluate: --scenes is 0 and no rig is given. Give --scenes 1 or more, or --rig FILE "
            "and --source VIDEO [VIDEO ...]."
        )
    for there, names in (
        (options.scenes, "rendered_[0-9][0-9].png"),
        (options.rig, "real_[0-9][0-9][0-9][0-9].png"),
    ):
        if there and options.pictures is not None:
            check_sheets(options.pictures, names, options.overwrite, "--pictures")
    figures: dict[str, float] = {}
    with_network = options.noise_px is None or options.rig is not None
    cpm = Cpm.load(options.model, options.engine, options.threads) if with_network else None
    if options.scenes:
        figures |= _rendered(options, cpm)
    if options.rig and cpm is not None:
        offset_ms = read_offsets(options.clock_offset_ms)
        rig, last, smooth = load_rig(options.rig), options.max_frames, options.smooth
        real = real_figures(
            evaluate_real(cpm, options.source, rig, last, options.pictures, smooth, offset_ms)
        )
        figures |= real
        Console().print(_real_table(real))
    if options.json:
        write_figures(options.json, figures)
    return 0


def _rendered(options: Options, cpm: Cpm | None) -> dict[str, float]:
    agree: Agree
    if options.noise_px is not None:
        look, agree = noisy_truth(options.noise_px, options.seed), by_rays
    else:
        detector = Detector(cpm=cpm, alone=False)
        look, agree = network_look(detector), looked_again(detector, options.rounds)
    errors = evaluate_rendered(look, options.scenes, options.seed, options.pictures, options.split, agree)
    figures = rendered_figures(errors)
    console = Console()
    console.print(
        f"single views: {figures['network_saw']:.0%} of the hands seen, "
        f"median miss {figures['network_median_px']:.1f} px"
    )
    console.print(_rendered_table(errors, figures), _states_table(errors), _fusion_table(errors))
    return figures


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _rendered_table(errors: Errors, figures: Mapping[str, float]) -> Table:
    columns = (
        "views",
        "found",
        "invented",
        "joints",
        "surface",
        "all",
        "all, median",
        "all, common",
        "px, median",
    )
    table = _table("Rendered rigs: mean distance in mm (common: found with any number)", columns)
    for count in VIEWS:
        shares = [f"{np.mean(of[count] or [False]):.0%}" for of in (errors.found, errors.invented)]
        cells = [errors.mean_mm(count, kind=kind) for kind in ("joints", "surface", "all")]
        cells += [errors.median_mm(count), errors.common_mm(count), figures[f"rig{count}_reprojection_px"]]
        table.add_row(str(count), *shares, *(f"{c:.2f}" for c in cells))
    return table


def _states_table(errors: Errors) -> Table:
    table = _table("All points by how the hands meet, mm", ("views", *STATES))
    for count in VIEWS:
        table.add_row(str(count), *(f"{errors.mean_mm(count, state):.2f}" for state in STATES))
    return table


def _fusion_table(errors: Errors) -> Table:
    columns = ("views", *(f"{fusion:g}" for fusion in FUSIONS))
    table = _table("Surface by the weight of triangulated points (0: RTC alone), mm", columns)
    for count in VIEWS:
        cells = [errors.mean_mm(count, kind="surface", fusion=fusion) for fusion in FUSIONS]
        table.add_row(str(count), *(f"{c:.2f}" for c in cells))
    return table


def _real_table(figures: Mapping[str, float]) -> Table:
    table = Table("figure", "value", title="Real rig", title_justify="left")
    for name, value in figures.items():
        table.add_row(name.removeprefix("real_").replace("_", " "), f"{value:.3g}")
    return table
