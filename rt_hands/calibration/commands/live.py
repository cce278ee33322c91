"""python -m rt_hands.calibrate live left=0 right=2: from cameras, with hints what to show each of them next.

Takes what `--source` of the live command takes: webcams, URLs, or a recorded session. Pictures are looked at as fast as
the machine can; ones that come meanwhile are left out. Ends when every camera has enough, or with Ctrl-C.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.live import Live
from rich.table import Table

from rt_hands.calibration.board import Board
from rt_hands.calibration.bundle import need_scipy
from rt_hands.calibration.collect import Collector, hint
from rt_hands.calibration.commands.result import (
    check_names,
    check_new,
    check_place,
    judge,
    known_distances,
    show,
    write,
)
from rt_hands.calibration.observations import Observations
from rt_hands.capture import Source, open_source
from rt_hands.capture.choose import need_camera
from rt_hands.errors import InvalidInput
from rt_hands.formats import load_rig


@dataclass
class CalibrateLive:
    """Calibrate from cameras while you move the board in front of them."""

    source: Annotated[list[str], tyro.conf.Positional]
    """Cameras (left=0 right=2), URLs, or the folder of a recorded session."""
    board: Path
    """board.toml of `calibrate board`, or Caliscope's charuco.toml."""
    out: Path = Path("calibration")
    """Folder for rig.toml, board.toml, calibration.json and calibration.png."""
    lenses: Path | None = None
    """Calibration file whose lenses are kept."""
    views: int = 25
    """Views of the board wanted from each camera."""
    max_minutes: float = 5.0
    """Stop then, with what there is."""
    distance: Annotated[list[tuple[str, str, float]], tyro.conf.UseAppendAction] = field(default_factory=list)
    """Known distance of two cameras, mm: --distance left right 842."""
    force: bool = False
    """Write rig.toml though it was refused, and overwrite one that is there."""


def collect_live(
    source: Source, board: Board, views: int, max_minutes: float, tell: Callable[[Observations], None]
) -> Observations:
    """Collect until every camera's hint is empty, the source ends or time is up. tell: called about twice a second."""
    collector = Collector(board)
    end_s = time.monotonic() + 60 * max_minutes
    told_s = 0.0
    for frames in source:
        for frame in frames.frames:
            # By the stamps: offsets that a session's own rig.toml tells are what is measured anew.
            stamp_s = 1e-9 * frame.t_ns - 1e-3 * source.clock_offset_ms.get(frame.camera, 0.0)
            collector.add(frame.camera, frames.index, frame.image_bgr, stamp_s)
        now_s = time.monotonic()
        if now_s - told_s < 0.5 and now_s < end_s:
            continue
        told_s = now_s
        seen = collector.observations()
        tell(seen)
        if now_s >= end_s or not any(c not in seen.cameras or hint(seen, c, views) for c in source.cameras):
            break
    return collector.observations()


def hints_table(seen: Observations, views: int) -> Table:
    """What each camera has and what it wants."""
    table = Table("camera", "views", "show it next", title="move the board; Ctrl-C to finish now")
    for camera in seen.cameras:
        table.add_row(camera, str(len(seen.of(camera))), hint(seen, camera, views) or "[green]enough[/]")
    return table


def main(argv: Sequence[str]) -> int:
    """Collect, calibrate, write; 0 if accepted, 1 if refused."""
    a = tyro.cli(CalibrateLive, prog="python -m rt_hands.calibrate live", args=list(argv))
    need_scipy()  # before the pictures are taken, not when they are lost
    need_camera(a.source)
    if not a.force:
        check_new(a.out)
    board, console = Board.load(a.board), Console()
    lenses = load_rig(a.lenses) if a.lenses else None
    seen: list[Observations] = []
    with open_source(a.source) as source, Live(console=console) as live:
        cameras, known = source.cameras, known_distances(a.distance, source.cameras)
        if lenses is not None and a.lenses is not None:
            check_names(lenses, a.lenses, cameras)
        check_place(a.out)

        def tell(now: Observations) -> None:
            seen[:] = [now]
            live.update(hints_table(now, a.views))

        try:
            seen[:] = [collect_live(source, board, a.views, a.max_minutes, tell)]
        except KeyboardInterrupt:
            console.print("finishing with the pictures so far")
    if not seen:
        raise InvalidInput("No picture came from the cameras.")
    outcome = judge(seen[0], lenses, known, cameras)
    show(console, seen[0], outcome)
    console.print("wrote " + ", ".join(str(p) for p in write(a.out, seen[0], outcome, force=a.force)))
    return 0 if outcome.verdict.accepted else 1
