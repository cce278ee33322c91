"""`python -m rt_hands.evaluate clocks`: how far apart the cameras' clocks are, from hands that move.

Each view's joints are a path over its own stamps. Shifted by the right offsets, the views' rays meet; shifted wrongly,
they miss a moving hand. Calibration with a board in motion says the same more exactly: this is for rigs that were
calibrated by other programs, whose files know no offsets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from rt_hands import _core
from rt_hands.camera import Rig
from rt_hands.capture.choose import open_source
from rt_hands.capture.offsets import read_offsets
from rt_hands.errors import InvalidInput
from rt_hands.formats import load_rig
from rt_hands.inference.cpm import Cpm
from rt_hands.layout import JOINT_ORDERS
from rt_hands.output_files import check_new
from rt_hands.pipeline import Pipeline, Result
from rt_hands.tracking.two_way import SIGMA_MS

REACH_MS: Final = 200.0
STEP_MS: Final = 10.0
NEAR_MS, FINE_MS = 15.0, 1.0
"""Reach and step of the second look, round the first one's answer: each camera of a pair stands at a step of its own,
so that the coarse grid's rounding counts twice."""
ROUNDS: Final = 4
BLOCKS: Final = 4
"""Parts of the recording that each say their own offset: their spread is the uncertainty."""
MOST_PX_OF_SIDE: Final = 0.02
"""Of the picture's longer side: misses beyond it are mistakes of the network, not clocks."""
NEAR_HAND: Final = 0.5
"""In hand sizes: joints further from where the rig draws them belong to another thing."""
LEAST_MOMENTS: Final = 12
SURE_MS: Final = 12.0
"""Offsets whose standard deviation is larger are told as unsure and not written: hands stood still, or were lost."""


@dataclass(frozen=True, slots=True)
class Path2D:
    """Joints of one view over its own stamps. t_ms: (n,) rising. points_px: (n, 42, 2), NaN where unseen."""

    t_ms: NDArray[np.float64]
    points_px: NDArray[np.float64]

    def at(self, t_ms: NDArray[np.float64], sigma_ms: float) -> NDArray[np.float64]:
        """(m, 42, 2) at other times: a line fitted in time, near samples counting most; NaN outside of the path.

        Taking the two neighbours alone would be less noisy midway, and pull every offset to half a period.
        """
        out = np.full((len(t_ms), *self.points_px.shape[1:]), np.nan)
        for i, t in enumerate(t_ms):
            low, high = np.searchsorted(self.t_ms, (t - 2.5 * sigma_ms, t + 2.5 * sigma_ms))
            apart = self.t_ms[low:high] - t
            if high - low >= 3 and apart[0] < 0 < apart[-1]:
                out[i] = _line_at_zero(apart / sigma_ms, self.points_px[low:high])
        return out


def _line_at_zero(t: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Value at 0 of the weighted line through points (n, 42, 2) at times t (n,); NaN where any is NaN."""
    weight = np.exp(-0.5 * t**2)
    weight /= weight.sum()
    middle = weight @ t
    slope = weight * (t - middle) / (weight @ (t - middle) ** 2)
    return np.asarray(np.tensordot(weight - middle * slope, points, 1), np.float64)


@dataclass(frozen=True, slots=True)
class Clocks:
    """offset_ms, std_ms: by camera, the first has 0. before_px, after_px: mean miss without and with the offsets."""

    offset_ms: dict[str, float]
    std_ms: dict[str, float]
    before_px: float
    after_px: float

    @property
    def sure_ms(self) -> dict[str, float]:
        """The offsets that are known well enough to be used."""
        return {c: round(ms, 1) for c, ms in self.offset_ms.items() if self.std_ms[c] <= SURE_MS}


def estimate_offsets(paths: Mapping[str, Path2D], rig: Rig) -> Clocks:
    """The offsets, against the first camera, that make the rays of moving hands meet best.

    A camera that shares too few moments with the others, or whose best offset lies at the end of the reach, has an
    infinite std and no say in the others' offsets. Raises InvalidInput where the views have too few moments in common.
    """
    found = _estimated(paths, rig, np.arange(-REACH_MS, REACH_MS + 1, STEP_MS))
    known = {
        camera: replace(path, t_ms=path.t_ms + found.offset_ms[camera])
        for camera, path in paths.items()
        if np.isfinite(found.std_ms[camera])
    }
    if len(known) < 2:
        return found
    fine = _estimated(known, rig, np.arange(-NEAR_MS, NEAR_MS + 1, FINE_MS))
    sure = [camera for camera in known if np.isfinite(fine.std_ms[camera])]
    offset_ms = {camera: found.offset_ms[camera] + fine.offset_ms[camera] for camera in sure}
    # What is near can't spread far: blocks that disagreed by more at first still do.
    std_ms = {camera: max(found.std_ms[camera], fine.std_ms[camera]) for camera in sure}
    return Clocks(found.offset_ms | offset_ms, found.std_ms | std_ms, found.before_px, fine.after_px)


def _estimated(paths: Mapping[str, Path2D], rig: Rig, grid: NDArray[np.float64]) -> Clocks:
    """`estimate_offsets` on one grid of shifts, ms."""
    cameras = list(paths)
    rig = rig.subset(cameras)
    period_ms = max(float(np.median(np.diff(p.t_ms))) for p in paths.values() if len(p.t_ms) > 1)
    sigma_ms = max(SIGMA_MS, 0.7 * period_ms)
    moments = paths[cameras[0]].t_ms
    # A picture taken at the moment t has the stamp t - offset.
    shifted = {c: np.stack([paths[c].at(moments - o, sigma_ms) for o in grid]) for c in cameras}
    cost = _Cost(rig, shifted)
    chosen = np.full(len(cameras), len(grid) // 2)
    start = cost(chosen)
    if np.isfinite(start).sum() < LEAST_MOMENTS:
        raise InvalidInput(
            f"Only {int(np.isfinite(start).sum())} moments show hands in two views; {LEAST_MOMENTS} are needed. "
            "Record hands that move, in view of all cameras."
        )
    if cost.moments_of(0) < LEAST_MOMENTS:
        raise InvalidInput(
            f"{cameras[0]}, whose clock the others are told against, shows hands with another camera in only "
            f"{cost.moments_of(0)} moments; {LEAST_MOMENTS} are needed. Record hands in its view, too."
        )
    blind = [v for v in range(1, len(cameras)) if cost.moments_of(v) < LEAST_MOMENTS]
    cost.descend(chosen, set(range(1, len(cameras))).difference(blind))
    ends = (0, len(grid) - 1)
    out = [cameras[v] for v in range(1, len(cameras)) if v in blind or chosen[v] in ends]
    if out and len(out) < len(cameras) - 1:
        rest = _estimated({c: path for c, path in paths.items() if c not in out}, rig, grid)
        unsure = dict.fromkeys(out, np.inf)
        return replace(rest, offset_ms=rest.offset_ms | dict.fromkeys(out, 0.0), std_ms=rest.std_ms | unsure)
    # The first one moves, too: where it alone is off, the others agree with each other wherever they stand.
    if not out:
        cost.descend(chosen, set(range(len(cameras))))
    misses_px = float(np.nanmean(start)), float(np.nanmean(cost(chosen)))
    if out or np.isin(chosen, ends).any():
        unsure = {camera: np.inf if v else 0.0 for v, camera in enumerate(cameras)}
        return Clocks(dict.fromkeys(cameras, 0.0), unsure, *misses_px)
    offsets, stds = {}, {}
    for v, camera in enumerate(cameras):
        curves = np.array(cost.along(chosen, v))
        curves = curves[:, cost.shared(v) & np.isfinite(curves).all(0)]
        parts = np.array_split(curves, BLOCKS, axis=1)
        blocks = [_lowest(part.mean(1), grid) for part in parts]
        offsets[camera] = _lowest(curves.mean(1), grid)
        stds[camera] = float(np.std(blocks, ddof=1) / np.sqrt(BLOCKS))
    first_ms, stds[cameras[0]] = offsets[cameras[0]], 0.0
    offsets = {camera: ms - first_ms for camera, ms in offsets.items()}
    return Clocks(offsets, stds, *misses_px)


class _Cost:
    """Mean miss of the views' rays at each moment, px, for a choice of shifts."""

    def __init__(self, rig: Rig, shifted: Mapping[str, NDArray[np.float64]]) -> None:
        self._rig = rig
        self._shifted = [shifted[c] for c in rig.ids]
        self._most_px = MOST_PX_OF_SIDE * rig.side_px
        # Joints that are known at every shift: else the best shift would be the one where few are left.
        self._known = [np.isfinite(points[..., 0]).all(0) for points in self._shifted]

    def __call__(self, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """(M,) px, NaN for moments without a joint in two views."""
        points = np.stack([p[i] for p, i in zip(self._shifted, chosen, strict=True)])
        views, moments, joints = points.shape[:3]
        known = np.stack(self._known).reshape(views, -1)
        flat = np.where(known[..., None], points.reshape(views, -1, 2), np.nan)
        rig = self._rig
        world, _, _, _ = _core.triangulate(
            flat, known.astype(float), rig.K, rig.distortion, rig.cam_from_world, reject=False
        )
        drawn, _, _ = _core.project(world, rig.K, rig.distortion, rig.cam_from_world, None)
        miss = np.minimum(np.linalg.norm(drawn - flat, axis=2), self._most_px).reshape(views, moments, joints)
        counted = np.isfinite(miss)
        total = np.where(counted, miss, 0).sum((0, 2))
        return np.asarray(total / np.where(counted.any((0, 2)), counted.sum((0, 2)), np.nan), np.float64)

    def moments_of(self, view: int) -> int:
        """In how many moments a view and another know the same joint."""
        return int(self.shared(view).sum())

    def shared(self, view: int) -> NDArray[np.bool_]:
        """(M,) moments in which a view and another know the same joint: no other tells of the view's clock."""
        others = np.any([known for v, known in enumerate(self._known) if v != view], axis=0)
        return np.asarray((self._known[view] & others).any(1))

    def descend(self, chosen: NDArray[np.int64], views: set[int]) -> None:
        """Bring each of these views in turn to its best shift, in place."""
        for _ in range(ROUNDS):
            for v in sorted(views):
                chosen[v] = int(np.argmin([np.nanmean(c) for c in self.along(chosen, v)]))

    def along(self, chosen: NDArray[np.int64], view: int) -> list[NDArray[np.float64]]:
        """The cost at every shift of one view."""
        costs = []
        for i in range(len(self._shifted[view])):
            other = chosen.copy()
            other[view] = i
            costs.append(self(other))
        return costs


def _lowest(curve: NDArray[np.float64], grid: NDArray[np.float64]) -> float:
    """Where a curve is lowest, by the parabola through the lowest sample and its neighbours."""
    i = int(np.clip(np.argmin(curve), 1, len(curve) - 2))
    before, at, after = curve[i - 1 : i + 2]
    bend = before - 2 * at + after
    shift = 0.5 * (before - after) / bend if bend > 0 else 0.0
    return float(grid[i] + np.clip(shift, -1, 1) * (grid[1] - grid[0]))


# --- the command --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Options:
    """How far apart the cameras' clocks are, from a recording of moving hands."""

    rig: str
    """Calibration of the cameras; any format."""
    source: tuple[str, ...]
    """Videos that started together, or a session's folder."""
    out: Path | None = None
    """Write the rig with its offsets to this rig.toml."""
    overwrite: bool = False
    """Replace a file of that name that is already there."""
    clock_offset_ms: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Offset to start from, ID=MS."""
    first: int = 0
    """First FrameSet to use."""
    last: int | None = None
    """First FrameSet no longer used."""
    model: str = "default"
    """light (default), int8, quality, or a path to an .onnx file."""
    engine: str = "auto"
    """auto, tensorrt, openvino or onnxruntime."""
    threads: int | None = None
    """Threads of the network; default: the engine's own choice."""


def read_paths(results: Sequence[Result], offset_ms: Mapping[str, float]) -> dict[str, Path2D]:
    """Each view's joints over its stamps (the offsets that bundled them taken off again), other things left out."""
    joints = JOINT_ORDERS["mediapipe"]
    rows: dict[str, list[tuple[float, NDArray[np.float64]]]] = {}
    for result in results:
        for frame, view in zip(result.frames.frames, result.views, strict=True):
            points = view.measured.points_px[joints, :2].astype(np.float64)
            if result.rig is not None:
                drawn = result.rig.agreed[frame.camera].points_px[joints, :2]
                for hand in (slice(0, 21), slice(21, 42)):
                    size_px = np.ptp(drawn[hand], axis=0).max()
                    apart_px = np.median(np.linalg.norm(points[hand] - drawn[hand], axis=1))
                    # NaN of an absent hand compares false.
                    if not apart_px < NEAR_HAND * size_px:
                        points[hand] = np.nan
            t_ms = frame.t_ns * 1e-6 - offset_ms.get(frame.camera, 0.0)
            rows.setdefault(frame.camera, []).append((t_ms, points))
    return {
        camera: Path2D(np.array([t for t, _ in of]), np.stack([p for _, p in of]))
        for camera, of in rows.items()
    }


def main(argv: Sequence[str]) -> int:
    """Follow the hands, estimate, print, write."""
    options = tyro.cli(
        Options, args=list(argv), prog="python -m rt_hands.evaluate clocks", description=Options.__doc__
    )
    check_new(options.out, options.overwrite)
    rig = load_rig(options.rig).with_clock_offsets(read_offsets(options.clock_offset_ms))
    cpm = Cpm.load(options.model, options.engine, options.threads)
    results = []
    with (
        open_source(options.source, cameras=rig.ids, clock_offset_ms=rig.clock_offset_ms) as source,
        Progress(transient=True) as bar,
    ):
        task = bar.add_task("following hands", total=options.last or source.length)
        for result in Pipeline(source, cpm, smooth=False, rig=rig.subset(source.cameras)):
            bar.advance(task)
            if options.last is not None and result.frames.index >= options.last:
                break
            if result.frames.index >= options.first:
                results.append(result)
    cpm.close()
    found = estimate_offsets(_in_order(read_paths(results, rig.clock_offset_ms), rig), rig)
    _print(found)
    if options.out is not None:
        # The first camera of the recording need not be the rig's first, whose clock the others are told against.
        own_ms = rig.clock_offset_ms[next(iter(found.offset_ms))]
        rig.with_clock_offsets({c: own_ms + ms for c, ms in found.sure_ms.items()}).save(options.out)
        Console().print(f"wrote {options.out}", highlight=False, soft_wrap=True)
    return 0


def _in_order(paths: Mapping[str, Path2D], rig: Rig) -> dict[str, Path2D]:
    return {camera: paths[camera] for camera in rig.ids if camera in paths}


def _print(found: Clocks) -> None:
    table = Table(
        "camera", "offset ms", "std", "", title="clocks against the first camera", title_justify="left"
    )
    for camera, offset in found.offset_ms.items():
        unsure = "" if camera in found.sure_ms else "unsure, not used"
        table.add_row(camera, f"{offset:+.0f}", f"{found.std_ms[camera]:.0f}", unsure)
    console = Console()
    console.print(table)
    console.print(
        f"rays miss by {found.before_px:.2f} px as stamped, {found.after_px:.2f} px with these offsets"
    )
