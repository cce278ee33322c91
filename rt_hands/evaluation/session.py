"""`python -m rt_hands.evaluate session FOLDER TABLE ...`: tables of hands against the truth of a rendered session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from rt_hands.camera import Rig
from rt_hands.errors import InvalidInput
from rt_hands.formats import load_hands
from rt_hands.formats.hands import HandsSample, is_3d, point_values
from rt_hands.layout import N_HAND, N_HANDS, N_JOINTS
from rt_hands.output_files import check_new
from rt_hands.paths import session_folder, write_figures

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
IN_PICTURE, SEEN = 0.7, 0.15
"""A hand counts in a view where these shares of its points are in the picture, and not hidden by anything."""
FOUND_SIZE: Final = 0.5
"""A hand is found where the median of its points is nearer than this, in sizes of the hand (the joints' box)."""
HIDDEN, VISIBLE = 2, 3
SAME_NS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Options:
    """Hands that `process` wrote, against truth.npz of a session that `rt_hands.synth sample` rendered."""

    folder: Annotated[Path, tyro.conf.Positional]
    """The session, or `sample`, the bundled one."""
    tables: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """.parquet, .csv or .jsonl of its hands, 2D or 3D."""
    json: Path | None = None
    """Write the figures to this file."""
    overwrite: bool = False
    """Replace a file of that name that is already there."""


@dataclass(frozen=True, slots=True)
class Truth:
    """Of T moments: points (T, V, 2, 85, 2) px or (T, 1, 2, 85, 3) mm, size (T, V, 2), and which hands count."""

    points: Array
    size: Array
    counts: Flags
    t_ns: NDArray[np.int64]


def main(argv: Sequence[str]) -> int:
    """Print a row a table of hands."""
    options = tyro.cli(
        Options, args=list(argv), prog="python -m rt_hands.evaluate session", description=Options.__doc__
    )
    check_new(options.json, options.overwrite)
    if not options.tables:
        raise InvalidInput(
            f"Give tables of hands to compare with {options.folder}'s truth, as `process` writes them."
        )
    rows = {str(path): evaluate(options.folder, path) for path in options.tables}
    table = Table(title=str(options.folder), title_justify="left")
    for column in ("hands", "unit", "found", "elsewhere", "mean", "median", "p90", "jitter"):
        table.add_column(column, justify="left" if column in ("hands", "unit") else "right")
    for path, (unit, f) in rows.items():
        shares, lengths = (f["found"], f["elsewhere"]), (f["mean"], f["median"], f["p90"], f["jitter"])
        table.add_row(path, unit, *(f"{s:.1%}" for s in shares), *(f"{x:.2f}" for x in lengths))
    Console().print(table)
    if options.json:
        write_figures(options.json, {path: f for path, (_, f) in rows.items()})
    return 0


def evaluate(folder: Path, table: Path) -> tuple[str, dict[str, float]]:
    """("px" or "mm", figures) of one table; see `figures`."""
    folder = session_folder(folder)
    samples = load_hands(table)
    three_d = is_3d(samples)
    if not (folder / "truth.npz").is_file():
        raise InvalidInput(
            f"{folder} has no truth.npz; `python -m rt_hands.synth sample` renders a session with one."
        )
    rig = Rig.load(folder / "rig.toml")
    truth = load_truth(folder / "truth.npz", rig, three_d)
    return "mm" if three_d else "px", figures(found_points(samples, truth.t_ns, rig, three_d), truth)


def load_truth(path: Path, rig: Rig, three_d: bool) -> Truth:
    """The true hands of a session, in the pictures or in the world."""
    with np.load(path) as archive:
        world, visibility = np.asarray(archive["points_world_mm"], np.float64), archive["visibility"]
        t_ns = np.asarray(archive["t_ns"], np.int64)
    seen = visibility.reshape(*visibility.shape[:2], N_HANDS, N_HAND)
    counts = ((seen >= HIDDEN).mean(-1) > IN_PICTURE) & ((seen == VISIBLE).mean(-1) > SEEN)
    if three_d:
        points, counts = world.reshape(-1, 1, N_HANDS, N_HAND, 3), counts.any(1, keepdims=True)
    else:
        px = np.stack([rig.project(moment) for moment in world]).astype(np.float64)
        points = px.reshape(*px.shape[:2], N_HANDS, N_HAND, 2)
    size = np.ptp(np.nan_to_num(points[..., :N_JOINTS, :]), axis=3).max(-1)
    return Truth(points, size, counts, t_ns)


def found_points(samples: Sequence[HandsSample], t_ns: NDArray[np.int64], rig: Rig, three_d: bool) -> Array:
    """The samples' points in the shape of the truth's, NaN where absent."""
    axes = 3 if three_d else 2
    found = np.full((len(t_ns), 1 if three_d else len(rig), N_HANDS, N_HAND, axes), np.nan)
    for sample in samples:
        at = int(np.abs(t_ns - sample.t_ns).argmin())
        if abs(int(t_ns[at]) - sample.t_ns) > SAME_NS or (sample.camera and sample.camera not in rig.ids):
            what = f"FrameSet {sample.frame}" if three_d else f"Frame {sample.frame} of '{sample.camera}'"
            raise InvalidInput(
                f"{what} at {sample.t_ns} ns is no part of the session with the truth. "
                "Give a table that `process` wrote of this session."
            )
        view = 0 if three_d else rig.ids.index(sample.camera)
        found[at, view] = point_values(sample.hands)[:, :axes].reshape(N_HANDS, N_HAND, axes)
    return found


def figures(found: Array, truth: Truth) -> dict[str, float]:
    """found: share of the hands that count. elsewhere: share of the hands given that lie on no hand of that side.

    mean, median, p90: of the mean distance of a found hand's points. jitter: mean change of a point's error from one
    step between frames to the next, in hands found three times in a row.
    """
    error = found - truth.points
    away = np.linalg.norm(error, axis=-1)
    given, both = np.isfinite(found[..., 0]).any(-1), np.isfinite(away).any(-1)
    middle = np.nanmedian(np.where(both[..., None], away, np.inf), axis=-1)
    hit = both & (middle < FOUND_SIZE * truth.size)
    mean = np.nanmean(np.where(hit[..., None], away, np.inf), axis=-1)[hit & truth.counts]
    change = np.linalg.norm(error[2:] - 2 * error[1:-1] + error[:-2], axis=-1)
    steady = change[hit[2:] & hit[1:-1] & hit[:-2]]
    return {
        "found": float((hit & truth.counts).sum() / max(truth.counts.sum(), 1)),
        "elsewhere": float((given & ~hit).sum() / max(given.sum(), 1)),
        "mean": float(mean.mean()) if len(mean) else float("nan"),
        "median": float(np.median(mean)) if len(mean) else float("nan"),
        "p90": float(np.quantile(mean, 0.9)) if len(mean) else float("nan"),
        "jitter": float(np.nanmean(steady)) if len(steady) else float("nan"),
    }
