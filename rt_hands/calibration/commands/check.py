"""python -m rt_hands.calibrate check RIG FOLDER: is an old calibration still true?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console

from rt_hands.calibration.board import Board
from rt_hands.calibration.commands.result import check_names
from rt_hands.calibration.commands.rig import collect
from rt_hands.calibration.compare import held_out
from rt_hands.calibration.sources import Recording
from rt_hands.calibration.verdict import WORST_MM, WORST_RMS_SIDES
from rt_hands.errors import InvalidInput, check_least
from rt_hands.formats import load_rig


@dataclass
class CheckRig:
    """Errors of a rig on fresh pictures of a board. Moved cameras show at once."""

    rig: Annotated[Path, tyro.conf.Positional]
    """Calibration file, any format of rt_hands.formats."""
    folder: Annotated[Path, tyro.conf.Positional]
    """One video, or one folder of pictures, for each camera."""
    board: Path
    """board.toml, or Caliscope's charuco.toml."""
    timestamps: Path | None = None
    """CSV of grab times (camera, t_ns or frame_time); found by itself as timestamps.csv or frames.csv."""
    first: int = 0
    """First set of pictures to use."""
    last: int | None = None
    """First set no longer used."""
    max_spread_ms: float = 25.0
    """Pictures of one set that were taken further apart are not put together."""


def main(argv: Sequence[str]) -> int:
    """Print the errors; 0 where every camera's are small, 1 where they are not."""
    a = tyro.cli(CheckRig, prog="python -m rt_hands.calibrate check", args=list(argv))
    check_least("--first", a.first, 0)
    rig, board, console = load_rig(a.rig), Board.load(a.board), Console()
    recording = Recording(a.folder, a.timestamps, a.first, a.last, a.max_spread_ms)
    check_names(rig, a.rig, recording.cameras)
    seen = collect(recording, board, console)
    for camera, size in seen.sizes_px.items():
        rig[camera].check_image(size)
    errors = held_out(seen.without_offsets({c: ms / 1e3 for c, ms in rig.clock_offset_ms.items()}), rig)
    if errors.sets == 0:
        raise InvalidInput("No set of pictures shows the board to two cameras at once.")
    count = Counter(view.moment for view in seen.views)
    checked = {view.camera for view in seen.views if count[view.moment] > 1}
    scale = float(np.median(list(errors.scale.values())))
    console.print(
        f"{errors.rms_px:.2f} px, {errors.rms_mm:.2f} mm rms over {errors.corners} corners in {errors.sets} sets; "
        f"the board measures {scale:.2%} of its size"
    )
    side = max(max(s) for s in seen.sizes_px.values())
    good = errors.rms_px <= WORST_RMS_SIDES * side and errors.rms_mm <= WORST_MM
    if left := [camera for camera in rig.ids if camera not in checked]:
        console.print(
            f"[red]not checked[/]: {', '.join(left)}, which showed the board in no set together with another camera"
        )
    elif good:
        console.print("[green]still good[/]")
    if not good:
        console.print("[red]no longer true: calibrate again[/]")
    return 0 if good and not left else 1
