"""python -m rt_hands.formats IN OUT: convert a calibration file, or a table of hands, and say what was read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from rt_hands.camera import Rig
from rt_hands.capture.offsets import in_words
from rt_hands.errors import InvalidInput, check_not_recorded, check_target, run_command
from rt_hands.formats.hands import HandsSample, export_hands, is_3d, load_hands
from rt_hands.formats.rigs import FORMATS, find_format, load_rig, recognise, save_rig

HANDS_ENDINGS: Final = (".parquet", ".csv", ".jsonl")


@dataclass
class Convert:
    """Read a calibration of any known format, write it as another one.

    Or read hands, as `process` and `export_hands` write them, and write them as .csv, .parquet, .jsonl, COCO's .json
    (2D) or .c3d (3D).
    """

    source: Annotated[Path, tyro.conf.Positional]
    """Calibration file, or a folder with EasyMocap's two; or hands as .parquet, .csv or .jsonl."""
    target: Annotated[Path | None, tyro.conf.Positional] = None
    """Where to write; left out: only shown."""
    to: str | None = None
    """Format of a calibration to write: rt_hands (default, in .toml), aniposelib, caliscope, kalibr, opencv, interhand,
    pose2sim. Hands go by the file's ending."""
    unit: str | None = None
    """mm, cm or m of a file that does not say it."""
    size_px: tuple[int, int] | None = None
    """Width and height of the pictures, for a calibration without them, and for COCO where the table has none."""
    resize: tuple[int, int] | None = None
    """Show and write the calibration for pictures scaled to this width and height."""
    capture: str | None = None
    """Capture of an InterHand2.6M file."""
    camera: str | None = None
    """The one camera whose hands are written; COCO wants one picture a moment."""
    overwrite: bool = False
    """Replace a target that is already there."""


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
    """Convert and say what was read."""
    a = tyro.cli(Convert, prog="python -m rt_hands.formats", args=list(argv))
    console = Console(soft_wrap=True)
    if a.target is not None:
        check_not_recorded(a.target)
        if a.target.exists():
            _check_there(a.target, a.overwrite)
    if a.source.suffix.lower() in HANDS_ENDINGS:
        return _hands(a, console)
    to = _format_of(a)
    rig = load_rig(a.source, unit=a.unit, size_px=a.size_px, capture=a.capture)
    if a.resize is not None:
        rig = _resized(rig, a.resize)
    console.print(_table(rig, f"{a.source} ({FORMATS[recognise(a.source)].what})"))
    if offsets := in_words(rig.clock_offset_ms):
        console.print(f"clock offsets, ms: {offsets}")
    if a.target is not None:
        save_rig(a.target, rig, to)
        console.print(f"wrote {a.target} ({FORMATS[to].what})")
    return 0


def _format_of(a: Convert) -> str:
    """Name of the format of a calibration to write; raises InvalidInput where a target's ending needs --to."""
    if a.to is not None:
        return find_format(a.to).name
    if a.target is not None and a.target.suffix.lower() != ".toml":
        written = ", ".join(f.name for f in FORMATS.values() if f.write)
        raise InvalidInput(
            f"{a.source} is a calibration, and {a.target} no name for a rig.toml: give a name in .toml, or --to with "
            f"one of {written}."
        )
    return "rt_hands"


def _resized(rig: Rig, size_px: tuple[int, int]) -> Rig:
    """The rig for scaled pictures; raises InvalidInput for a size of another shape."""
    width, height = size_px
    for camera in rig:
        if min(size_px) < 1 or not camera.has_shape_of(size_px):
            own = "x".join(map(str, camera.size_px))
            raise InvalidInput(
                f"--resize {width} {height}: camera '{camera.id}' gives {own}, which is no scaled picture of that "
                "shape. Calibrate at the new size."
            )
    return Rig(tuple(camera.resized(size_px) for camera in rig))


def _check_there(target: Path, overwrite: bool) -> None:
    """Raise InvalidInput for a file that may not be replaced: unasked any, and never what `process` noted."""
    check_target(target)
    if _is_record(target):
        raise InvalidInput(
            f"{target} is what `process` noted of its table (network, filled gaps), so it isn't replaced; "
            f"give another name."
        )
    if not overwrite:
        raise InvalidInput(f"{target} is already there. Give another name, or --overwrite to replace it.")


def _is_record(path: Path) -> bool:
    """Whether a file is the .json that `process` writes beside its table."""
    if path.suffix.lower() != ".json":
        return False
    try:
        notes = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(notes, dict) and {"rt_hands", "filled"} <= notes.keys()


def _hands(a: Convert, console: Console) -> int:
    samples = load_hands(a.source)
    kind, cameras = "3D" if is_3d(samples) else "2D", sorted({s.camera for s in samples if s.camera})
    seen = sum(bool(s.hands.present.any()) for s in samples)
    of = f" of {', '.join(cameras)}" if cameras else ""
    console.print(f"{a.source}: {len(samples)} samples{of}, {kind}, hands in {seen}.")
    if a.target is not None:
        samples = _of_camera(samples, a.camera, cameras)
        export_hands(a.target, samples, size_px=a.size_px)
        console.print(f"wrote {a.target}: {len(samples)} samples")
    return 0


def _of_camera(samples: list[HandsSample], camera: str | None, cameras: Sequence[str]) -> list[HandsSample]:
    if camera is None:
        return samples
    if camera not in cameras:
        raise InvalidInput(
            f"No hands of camera '{camera}' are in there. Cameras: {', '.join(cameras) or 'none'}."
        )
    return [sample for sample in samples if sample.camera == camera]


if __name__ == "__main__":
    raise SystemExit(run_command(main))
