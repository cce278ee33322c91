"""python -m rt_hands.calibrate hands SESSION --rig rig.toml: has a camera been moved? Refine its place from hands.

Record hands that move through the whole picture of every camera for half a minute. Lenses and scale stay the rig's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from rt_hands.calibration.hands import Refined, Seen, refine
from rt_hands.calibration.hands_verdict import check_refined, check_seen, is_better
from rt_hands.camera import Rig
from rt_hands.capture import Source, open_source
from rt_hands.capture.offsets import kept_offsets, told_offsets
from rt_hands.capture.source import to_stderr
from rt_hands.errors import InvalidInput, check_least, check_target
from rt_hands.formats import load_rig
from rt_hands.inference.cpm import Cpm
from rt_hands.pipeline import Pipeline


@dataclass
class CalibrateHands:
    """Refine the places of a rig's cameras from moving hands; lenses and scale are kept."""

    source: Annotated[list[str], tyro.conf.Positional]
    """A session's folder, or one video a camera: ID=FILE."""
    rig: Path
    """The rig as it was calibrated, any format of rt_hands.formats."""
    out: Path = Path("rig_refined.toml")
    """File for the refined rig; written only where it is better."""
    model: str = "default"
    """light, int8, quality, or a path to an .onnx file."""
    engine: str = "auto"
    """auto, tensorrt, openvino or onnxruntime."""
    max_frames: int = 900
    """FrameSets to look at, from the first on."""
    force: bool = False
    """Overwrite a file that is there."""


def main(argv: Sequence[str]) -> int:
    """Refine; 0 where the rig is still good or was refined, 1 where the hands can't tell."""
    a = tyro.cli(CalibrateHands, prog="python -m rt_hands.calibrate hands", args=list(argv))
    check_least("--max-frames", a.max_frames)
    if a.out.exists() and not a.force:
        raise InvalidInput(f"{a.out} is there already. Choose another --out, or overwrite with --force.")
    check_target(a.out)
    console, rig = Console(), load_rig(a.rig)
    given = told_offsets(rig)
    with open_source(a.source, cameras=rig.ids, clock_offset_ms=given) as source:
        if sentence := kept_offsets(rig, given, source.clock_offset_ms):
            to_stderr(sentence)
        whole, rig = rig, rig.subset(source.cameras)
        if len(rig) < 2:
            raise InvalidInput("Places can be refined for two or more cameras.")
        cpm = Cpm.load(a.model, a.engine)
        moments = read_hands(source, cpm, rig, a.max_frames)
        cpm.close()
    seen = Seen.of(moments, rig)
    reasons = check_seen(seen, rig)
    refined = refine(seen, rig) if not reasons else None
    reasons += check_refined(refined, rig) if refined is not None else []
    if refined is not None:
        show(console, refined)
    for reason in reasons:
        console.print(f"[red]refused[/] {reason}", highlight=False)
    if reasons or refined is None:
        return 1
    if not is_better(refined):
        console.print("[green]the given rig is as good[/]: nothing is written")
        return 0
    seen_again = {camera.id: camera for camera in refined.rig}
    Rig(tuple(seen_again.get(camera.id, camera) for camera in whole)).save(a.out)
    console.print(f"[green]refined[/]: wrote {a.out}", soft_wrap=True)
    return 0


def read_hands(source: Source, cpm: Cpm, rig: Rig, most: int) -> list[NDArray[np.float32]]:
    """(V, 170, 3) of each FrameSet: every view by itself, so that a wrong rig misleads none; NaN where absent."""
    columns = (TextColumn("looking for hands"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    total = most if source.length is None else min(most, source.length)
    moments = []
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        for result in bar.track(islice(Pipeline(source, cpm, smooth=False), most), total=total):
            points = np.full((len(rig), 170, 3), np.nan, np.float32)
            points[..., 2] = 0
            for frame, view in zip(result.frames.frames, result.views, strict=True):
                points[rig.ids.index(frame.camera)] = view.measured.points_px
            moments.append(points)
    if not moments:
        raise InvalidInput(f"{source.name} gave no pictures.")
    return moments


def show(console: Console, refined: Refined) -> None:
    """What moved, and the error before and after."""
    table = Table(
        "camera", "turned deg", "moved mm", "sure to deg", "sure to mm", title="against the given rig"
    )
    for camera in refined.rig.ids:
        values = (refined.turn_deg, refined.shift_mm, refined.std_deg, refined.std_mm)
        table.add_row(camera, *(f"{value[camera]:.2f}" for value in values))
    console.print(table)
    console.print(
        f"held-out moments: median miss {refined.before_px:.2f} px before, {refined.after_px:.2f} px after"
    )
