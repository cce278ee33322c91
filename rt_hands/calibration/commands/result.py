"""What every calibrating command does with its observations: judge, solve, judge, write, show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from rt_hands.calibration.compare import compare, held_out
from rt_hands.calibration.observations import Observations
from rt_hands.calibration.report import save_report
from rt_hands.calibration.solve import Calibration, calibrate
from rt_hands.calibration.verdict import Verdict, check_calibration, check_pictures
from rt_hands.camera import Rig
from rt_hands.errors import InvalidInput, check_folder, check_target
from rt_hands.paths import write_figures


@dataclass(frozen=True)
class Outcome:
    """verdict, and the calibration unless the pictures alone were refused."""

    verdict: Verdict
    calibration: Calibration | None


def known_distances(
    given: Sequence[tuple[str, str, float]], cameras: Sequence[str]
) -> dict[tuple[str, str], float]:
    """--distance as {(camera, camera): mm}; raises InvalidInput for what is not one of two of the `cameras`."""
    for pair in given:
        if pair[0] == pair[1] or not 0 < pair[2] < np.inf:
            raise InvalidInput(f"--distance wants two cameras and the mm between them, got {pair}.")
        for camera in pair[:2]:
            if camera not in cameras:
                raise InvalidInput(
                    f"--distance names a camera '{camera}'; the cameras are {', '.join(cameras)}."
                )
    return {(x, y): mm for x, y, mm in given}


def judge(
    seen: Observations,
    lenses: Rig | None = None,
    distances_mm: Mapping[tuple[str, str], float] | None = None,
    cameras: Sequence[str] = (),
) -> Outcome:
    """Both checks and the calibration between them. cameras: those that were asked for pictures."""
    first = check_pictures(seen, lens_given=lenses is not None)
    silent = tuple(f"{camera}: it gave no picture." for camera in cameras if camera not in seen.cameras)
    first = Verdict(silent + first.reasons, first.warnings)
    if not first.accepted:
        return Outcome(first, None)
    try:
        cal = calibrate(seen, lenses)
    except InvalidInput as error:
        return Outcome(Verdict((str(error),), first.warnings), None)
    second = check_calibration(cal, distances_mm)
    return Outcome(Verdict(second.reasons, first.warnings + second.warnings), cal)


def _figures(outcome: Outcome) -> dict[str, Any]:
    """What is known about the calibration, for calibration.json."""
    verdict, cal = outcome.verdict, outcome.calibration
    base: dict[str, Any] = {
        "accepted": verdict.accepted,
        "reasons": verdict.reasons,
        "warnings": verdict.warnings,
    }
    if cal is None:
        return base
    return base | {
        "held_out": {
            "rms_px": cal.held.rms_px,
            "rms_mm": cal.held.rms_mm,
            "corners": cal.held.corners,
            "sets": cal.held.sets,
        },
        "fit_rms_px": cal.rms_px,
        "dropped_share": cal.dropped,
        "lenses_given": cal.lens_given,
        "focal_std_share": cal.solution.focal_std,
        "clock_offset_ms": {c: 1e3 * s for c, s in cal.solution.offset_s.items()},
        "clock_offset_std_ms": {c: 1e3 * s for c, s in cal.solution.offset_std_s.items()},
        "board_aspect": cal.board.aspect,
        "legacy_pattern": cal.board.legacy_pattern,
    }


def check_new(folder: Path) -> None:
    """Raise InvalidInput where `write` would replace a calibration or the board's own file."""
    for name in ("rig.toml", "board.toml"):
        if (folder / name).exists():
            raise InvalidInput(
                f"{folder / name} is there already. Choose another --out, or overwrite with --force."
            )


def check_place(folder: Path) -> None:
    """Make the folder of `write`. Raises SourceError, before the work, where its files can't be written."""
    check_folder(folder)
    for name in ("calibration.png", "calibration.json", "rig.toml", "board.toml"):
        check_target(folder / name)


def check_names(rig: Rig, file: Path, cameras: Sequence[str]) -> None:
    """Raise InvalidInput where a rig's file lacks one of the cameras that give pictures."""
    if missing := [camera for camera in cameras if camera not in rig.ids]:
        raise InvalidInput(
            f"{file} has no camera '{missing[0]}'; it has: {', '.join(rig.ids)}. Pictures and calibration are matched "
            "by name: give the videos or folders the cameras' names, or another file."
        )


def write(folder: Path, seen: Observations, outcome: Outcome, *, force: bool) -> list[Path]:
    """Report and figures always; rig.toml and board.toml if accepted, or forced."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "calibration.png", folder / "calibration.json"]
    save_report(written[0], seen, outcome.verdict, outcome.calibration)
    write_figures(written[1], _figures(outcome))
    cal = outcome.calibration
    if cal is not None and (outcome.verdict.accepted or force):
        cal.rig.save(folder / "rig.toml")
        cal.board.save(folder / "board.toml")
        written += [folder / "rig.toml", folder / "board.toml"]
    return written


def show(console: Console, seen: Observations, outcome: Outcome, reference: Rig | None = None) -> None:
    """Tables and the verdict."""
    cal = outcome.calibration
    table = Table("camera", "with board", "focal px", "miss px rms", "clock ms", title="cameras")
    for camera in seen.cameras:
        row = [camera, f"{len(seen.of(camera))} of {seen.counts[camera].pictures}"]
        if cal is not None:
            offset, std = cal.solution.offset_s[camera], cal.solution.offset_std_s[camera]
            row += [
                f"{np.mean(cal.rig[camera].K[[0, 1], [0, 1]]):.1f}",
                f"{cal.rms_px.get(camera, float('nan')):.2f}",
                f"{1e3 * offset:+.1f} +- {1e3 * std:.1f}" if std else "-",
            ]
        table.add_row(*row)
    console.print(table)
    if cal is not None and len(cal.rig) > 1:
        held = cal.held
        console.print(
            f"held out: {held.rms_px:.2f} px, {held.rms_mm:.2f} mm rms over {held.corners} corners in {held.sets} sets"
        )
    if cal is not None and reference is not None:
        _show_reference(console, cal, reference)
    for warning in outcome.verdict.warnings:
        console.print(f"[yellow]note[/] {warning}", highlight=False)
    for reason in outcome.verdict.reasons:
        console.print(f"[red]refused[/] {reason}", highlight=False)
    if outcome.verdict.accepted:
        console.print("[green]accepted[/]")


def _show_reference(console: Console, cal: Calibration, reference: Rig) -> None:
    if set(cal.rig.ids) <= set(reference.ids):
        theirs = held_out(cal.out, reference)
        console.print(
            f"the reference on the same corners: {theirs.rms_px:.2f} px, {theirs.rms_mm:.2f} mm rms"
        )
    table = Table("cameras", "apart mm", "baseline %", "rotation deg", title="against the reference rig")
    for d in compare(cal.rig, reference):
        table.add_row(
            " - ".join(d.cameras),
            f"{d.baseline_mm:.1f}",
            f"{d.baseline_percent:+.2f}",
            f"{d.rotation_deg:.2f}",
        )
    console.print(table)
