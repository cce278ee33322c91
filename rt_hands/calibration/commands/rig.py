"""python -m rt_hands.calibrate rig FOLDER: from one video, or one folder of pictures, for each camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rt_hands.calibration.board import Board
from rt_hands.calibration.bundle import need_scipy
from rt_hands.calibration.collect import Collector
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
from rt_hands.calibration.sources import Recording
from rt_hands.errors import InvalidInput, check_least
from rt_hands.formats import load_rig


@dataclass
class CalibrateRig:
    """Calibrate from recorded pictures of a board: rig.toml if the result is good, a picture report always."""

    folder: Annotated[Path, tyro.conf.Positional]
    """One video, or one folder of pictures, for each camera; their names are the cameras' names."""
    board: Path
    """board.toml of `calibrate board`, or Caliscope's charuco.toml."""
    out: Path = Path("calibration")
    """Folder for rig.toml, board.toml, calibration.json and calibration.png."""
    timestamps: Path | None = None
    """CSV of grab times (camera, t_ns or frame_time); found by itself as timestamps.csv or frames.csv."""
    lenses: Path | None = None
    """Calibration file whose lenses are kept, cameras matched by name; any format of rt_hands.formats."""
    reference: Path | None = None
    """Rig to compare the result with."""
    distance: Annotated[list[tuple[str, str, float]], tyro.conf.UseAppendAction] = field(default_factory=list)
    """Known distance of two cameras, to check the board's size: --distance cam_0 cam_1 842."""
    first: int = 0
    """First set of pictures to use."""
    last: int | None = None
    """First set no longer used."""
    max_spread_ms: float = 25.0
    """Pictures of one set that were taken further apart are not put together."""
    force: bool = False
    """Write rig.toml though it was refused, and overwrite one that is there."""


def collect(recording: Recording, board: Board, console: Console) -> Observations:
    """Look for the board in every picture, with a progress bar."""
    collector = Collector(board, recording.one_clock)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    with bar:
        for camera in recording.cameras:
            task = bar.add_task(camera, total=recording.length(camera))
            for picture in recording.pictures(camera):
                collector.add(camera, picture.moment, picture.image, picture.t_s)
                bar.advance(task)
    seen = collector.observations()
    if not seen.cameras:
        raise InvalidInput(f"No picture of '{recording.folder}' lies in the sets asked for.")
    return seen


def main(argv: Sequence[str]) -> int:
    """Calibrate; 0 if accepted, 1 if refused."""
    a = tyro.cli(CalibrateRig, prog="python -m rt_hands.calibrate rig", args=list(argv))
    need_scipy()  # before the pictures are read
    if not a.force:
        check_new(a.out)
    board = Board.load(a.board)
    lenses = load_rig(a.lenses) if a.lenses else None
    reference = load_rig(a.reference) if a.reference else None
    console = Console()
    check_least("--first", a.first, 0)
    recording = Recording(a.folder, a.timestamps, a.first, a.last, a.max_spread_ms)
    known = known_distances(a.distance, recording.cameras)
    if lenses is not None and a.lenses is not None:
        check_names(lenses, a.lenses, recording.cameras)
    check_place(a.out)
    seen = collect(recording, board, console)
    outcome = judge(seen, lenses, known, recording.cameras)
    show(console, seen, outcome, reference)
    written = write(a.out, seen, outcome, force=a.force)
    console.print("wrote " + ", ".join(str(p) for p in written))
    return 0 if outcome.verdict.accepted else 1
