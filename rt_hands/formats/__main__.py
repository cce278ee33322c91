"""python -m rt_hands.formats IN OUT --to FORMAT: convert a calibration file and say what was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from rt_hands.camera import Rig
from rt_hands.errors import run_command
from rt_hands.formats.rigs import FORMATS, load_rig, recognise, save_rig


@dataclass
class Convert:
    """Read a calibration of any known format; write it as another one."""

    source: Annotated[Path, tyro.conf.Positional]
    """Calibration file, or a folder with EasyMocap's two."""
    target: Annotated[Path | None, tyro.conf.Positional] = None
    """Where to write; left out: only shown."""
    to: str = "rt_hands"
    """Format to write: rt_hands, aniposelib, caliscope, kalibr, opencv, interhand, pose2sim."""
    unit: str | None = None
    """mm, cm or m of a file that does not say it."""
    size_px: tuple[int, int] | None = None
    """Width and height of the pictures, for a file without them."""
    capture: str | None = None
    """Capture of an InterHand2.6M file."""


def _table(rig: Rig, title: str) -> Table:
    table = Table("camera", "px", "f_px", "distortion", "centre_world_mm", title=title)
    for c in rig:
        centre = ", ".join(f"{v:.1f}" for v in c.centre_world_mm)
        lens = ", ".join(f"{v:.3g}" for v in c.distortion)
        table.add_row(
            c.id, f"{c.size_px[0]}x{c.size_px[1]}", f"{np.mean(c.K[[0, 1], [0, 1]]):.1f}", lens, centre
        )
    return table


def main(argv: Sequence[str]) -> int:
    """Convert and print the rig."""
    a = tyro.cli(Convert, prog="python -m rt_hands.formats", args=list(argv))
    rig = load_rig(a.source, unit=a.unit, size_px=a.size_px, capture=a.capture)
    console = Console()
    console.print(_table(rig, f"{a.source} ({FORMATS[recognise(a.source)].what})"))
    if a.target is not None:
        save_rig(a.target, rig, a.to)
        console.print(f"wrote {a.target} ({FORMATS[a.to].what})")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_command(main))
