"""`python -m rt_hands.evaluate rig`: rendered rigs against the truth in mm, a real rig against its pictures in px."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rt_hands.camera import Rig
from rt_hands.capture.choose import open_source
from rt_hands.detector import Detector
from rt_hands.display.draw import draw_hands
from rt_hands.display.overlay import tile
from rt_hands.errors import InvalidInput, MissingPart
from rt_hands.formats import load_rig
from rt_hands.inference.cpm import Cpm
from rt_hands.layout import JOINT_ORDERS, N_HAND, N_HANDS, N_JOINTS, N_POINTS
from rt_hands.lifting.lift import FUSION_WEIGHT, lift
from rt_hands.pipeline import Pipeline
from rt_hands.tracking.rig import reproject
from rt_hands.types import Hands2D, Hands3D, Image

if TYPE_CHECKING:
    from rt_hands.synth.scene import View

VIEWS: Final = (2, 3, 4, 8, 16)
WAYS: Final = {"fused": FUSION_WEIGHT, "rtc alone": 0.0, "triangulated": 1.0}
NEAR_MM: Final = 25.0  # points of both hands this near to each other touch: a finger is 15 mm thick
CLASPED_SHARE: Final = 0.3
JOINTS: Final = np.arange(N_POINTS) % N_HAND < N_JOINTS
Look = Callable[["View"], Hands2D]


@dataclass(frozen=True, slots=True)
class Options:
    """Rendered rigs with truth, or a real rig (--rig and --source), or both."""

    scenes: int = 40
    """Rendered scenes of unseen people and poses, each seen by 16 cameras of which the first V count; 0 skips them."""
    seed: int = 11
    noise_px: float | None = None
    """Put truth with so much noise in the network's place, to see what geometry and RTC do alone."""
    model: str = "default"
    engine: str = "auto"
    threads: int | None = None
    rig: str | None = None
    """Calibration of a real rig."""
    source: tuple[str, ...] = ()
    """Its videos, or its session's folder."""
    max_frames: int | None = None
    """Of the real rig."""
    pictures: Path | None = None
    """Folder for pictures of both modes, monocular and multi-view."""
    json: Path | None = None


@dataclass(slots=True)
class Errors:
    """Distances to the truth, mm, gathered by (way, views, state, kind of points)."""

    mm: dict[tuple[str, int, str, str], list[float]] = field(default_factory=dict)
    found: dict[int, list[bool]] = field(default_factory=dict)
    reprojection_px: dict[int, list[float]] = field(default_factory=dict)

    def add(self, way: str, views: int, state: str, hands: Hands3D, truth_mm: NDArray[np.float64]) -> None:
        """Take in one scene; hands that were not found count in `found` alone."""
        apart = np.linalg.norm(hands.points_world_mm - truth_mm, axis=1)
        for kind, at in (("joints", JOINTS), ("surface", ~JOINTS), ("all", np.ones(N_POINTS, bool))):
            known = apart[at & np.isfinite(apart)]
            for key in ((way, views, state, kind), (way, views, "every", kind)):
                self.mm.setdefault(key, []).extend(known.tolist())

    def mean_mm(self, way: str, views: int, state: str = "every", kind: str = "all") -> float:
        """Mean distance; NaN where nothing was measured."""
        known = self.mm.get((way, views, state, kind))
        return float(np.mean(known)) if known else float("nan")


def state_of(truth_mm: NDArray[np.float64]) -> str:
    """one, apart, touching or clasped: by how many points of each hand lie near the other one."""
    right, left = truth_mm.reshape(N_HANDS, N_HAND, 3)
    if not (np.isfinite(right).all() and np.isfinite(left).all()):
        return "one"
    near = np.linalg.norm(right[:, None] - left[None], axis=2) < NEAR_MM
    share = max(near.any(0).mean(), near.any(1).mean())
    return "clasped" if share > CLASPED_SHARE else "touching" if share > 0 else "apart"


def noisy_truth(noise_px: float, seed: int) -> Look:
    """What a network of that error would see: points in the picture, wherever they are hidden or not."""
    rng = np.random.default_rng(seed)

    def look(view: View) -> Hands2D:
        points = np.full((N_POINTS, 3), np.nan, np.float32)
        points[:, :2] = view.truth.points_px + rng.normal(0, noise_px, (N_POINTS, 2))
        points[:, 2] = np.where(np.isfinite(points[:, 0]), 0.8, 0)
        return Hands2D(points, _any_finite(points))

    return look


def _any_finite(points: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which hands have a point that is there: (170, >=1) -> (2,)."""
    return np.asarray(np.isfinite(points[:, 0]).reshape(N_HANDS, N_HAND).any(1))


def network_look(detector: Detector) -> Look:
    """The shipped network on each picture."""
    return lambda view: detector(np.ascontiguousarray(view.image_rgb[..., ::-1]))


def evaluate_rendered(look: Look, scenes: int, seed: int, pictures: Path | None = None) -> Errors:
    """Rigs of the data engine's test split. Raises MissingPart where the data engine is not installed."""
    try:
        from rt_hands.synth import scene, staging
    except ImportError as error:
        raise MissingPart(
            f"Rendered rigs need the data engine ({error.name}): pip install 'rt_hands[synth]'"
        ) from error
    errors = Errors()
    for index in track(range(scenes), "rendered rigs", transient=True):
        sampled = scene.sample_scene(seed, index, "webcam", max(VIEWS), "test")
        truth_mm = staging.points_of(sampled.hands)[0].astype(np.float64)
        rig = Rig(sampled.cameras)
        views = scene.render_scene(sampled)
        seen = [look(view) for view in views]
        _measure(errors, rig, seen, truth_mm)
        if pictures is not None and index < 8:
            images = [np.ascontiguousarray(view.image_rgb[..., ::-1]) for view in views[:4]]
            save_modes(
                pictures / f"rendered_{index:02d}.png",
                images,
                seen[:4],
                lift(seen[:4], rig.subset(rig.ids[:4])),
                rig,
            )
    return errors


def _measure(errors: Errors, rig: Rig, seen: Sequence[Hands2D], truth_mm: NDArray[np.float64]) -> None:
    state = state_of(truth_mm)
    wanted = _any_finite(truth_mm)
    for count in VIEWS:
        part = rig.subset(rig.ids[:count])
        for way, fusion in WAYS.items():
            hands = lift(seen[:count], part, fusion=fusion)
            errors.add(way, count, state, hands, truth_mm)
            if way == "fused":
                errors.found.setdefault(count, []).extend(hands.present[wanted].tolist())
                exact = part.project(truth_mm) - part.project(hands.points_world_mm)
                apart = np.linalg.norm(exact, axis=2)
                errors.reprojection_px.setdefault(count, []).extend(apart[np.isfinite(apart)].tolist())


def save_modes(
    path: Path, images: Sequence[Image], seen: Sequence[Hands2D], hands: Hands3D, rig: Rig
) -> None:
    """Monocular above, multi-view below, one column a view."""
    agreed = reproject(hands, rig)
    own = [draw_hands(image, view) for image, view in zip(images, seen, strict=True)]
    together = [draw_hands(image, agreed[c]) for image, c in zip(images, rig.ids, strict=False)]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), tile([*own, *together], columns=len(images)))


@dataclass(slots=True)
class RealFigures:
    """Of a real rig, per hand where it says (2,): frames, frames with the hand in 3D, frames where two views saw it."""

    frames: int = 0
    lifted: NDArray[np.int64] = field(default_factory=lambda: np.zeros(N_HANDS, np.int64))
    seen_by_two: NDArray[np.int64] = field(default_factory=lambda: np.zeros(N_HANDS, np.int64))
    reprojection_px: list[float] = field(default_factory=list)
    views_per_hand: list[float] = field(default_factory=list)
    exchanges: int = 0


def evaluate_real(
    cpm: Cpm, sources: Sequence[str], rig: Rig, max_frames: int | None, pictures: Path | None
) -> RealFigures:
    """Follow the hands through a real session; joints' distance from what each view saw to the hands drawn back."""
    figures = RealFigures()
    last = Hands3D.empty()
    with open_source(sources, cameras=rig.ids) as source:
        pipeline = Pipeline(source, cpm, rig=rig.subset(source.cameras))
        for i, result in enumerate(islice(pipeline, max_frames)):
            assert result.rig is not None
            measured = [view.measured for view in result.views]
            _note_real(figures, measured, result.rig.measured, result.rig.agreed, result.frames.cameras)
            figures.exchanges += _exchanged(last, result.rig.hands)
            last = result.rig.hands
            if pictures is not None and i % 8 == 0:
                images = [frame.image_bgr for frame in result.frames.frames]
                path = pictures / f"real_{i:04d}.png"
                save_modes(path, images, measured, result.rig.hands, rig.subset(result.frames.cameras))
    return figures


def _note_real(
    figures: RealFigures, measured: Sequence[Hands2D], hands: Hands3D, agreed: Any, cameras: Sequence[str]
) -> None:
    figures.frames += 1
    figures.lifted += hands.present
    present = np.array([view.present for view in measured])
    figures.seen_by_two += present.sum(0) >= 2
    figures.views_per_hand += present.sum(0)[present.any(0)].tolist()
    joints = JOINT_ORDERS["mediapipe"]
    for view, camera in zip(measured, cameras, strict=True):
        apart = np.linalg.norm(view.points_px[joints, :2] - agreed[camera].points_px[joints, :2], axis=1)
        figures.reprojection_px += apart[np.isfinite(apart)].tolist()


def _exchanged(last: Hands3D, now: Hands3D) -> int:
    """1 where both hands stand nearer to the other one's last place than to their own."""
    if not (last.present.all() and now.present.all()):
        return 0
    wrists = [h.points_world_mm[[0, N_HAND]] for h in (last, now)]
    stay, turn = (np.linalg.norm(wrists[1] - wrists[0][order], axis=1).sum() for order in ([0, 1], [1, 0]))
    return int(turn < stay)


def main(argv: Sequence[str]) -> int:
    """Print the tables, write the figures."""
    options = tyro.cli(
        Options, args=list(argv), prog="python -m rt_hands.evaluate rig", description=Options.__doc__
    )
    if bool(options.rig) != bool(options.source):
        raise InvalidInput("A real rig needs both --rig FILE and --source VIDEO [VIDEO ...].")
    figures: dict[str, float] = {}
    console = Console()
    with_network = options.noise_px is None or options.rig is not None
    cpm = Cpm.load(options.model, options.engine, options.threads) if with_network else None
    if options.scenes:
        if options.noise_px is not None:
            look = noisy_truth(options.noise_px, options.seed)
        else:
            look = network_look(Detector(cpm=cpm))
        errors = evaluate_rendered(look, options.scenes, options.seed, options.pictures)
        figures |= rendered_figures(errors)
        console.print(_rendered_table(errors), _states_table(errors))
    if options.rig and cpm is not None:
        rig = load_rig(options.rig)
        real = evaluate_real(cpm, options.source, rig, options.max_frames, options.pictures)
        figures |= real_figures(real)
        console.print(_real_table(real_figures(real)))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def rendered_figures(errors: Errors) -> dict[str, float]:
    """Figures by key, such as `rig4_all_mm`, `rig4_joints_mm`, `rig4_clasped_all_mm`, `rig4_rtc_alone_all_mm`."""
    out = {}
    for count in VIEWS:
        for way in WAYS:
            name = "" if way == "fused" else f"_{way.replace(' ', '_')}"
            for kind in ("joints", "surface", "all"):
                out[f"rig{count}{name}_{kind}_mm"] = errors.mean_mm(way, count, kind=kind)
        for state in ("one", "apart", "touching", "clasped"):
            out[f"rig{count}_{state}_all_mm"] = errors.mean_mm("fused", count, state)
        out[f"rig{count}_found"] = float(np.mean(errors.found[count]))
        out[f"rig{count}_reprojection_px"] = float(np.median(errors.reprojection_px[count] or [np.nan]))
    return out


def real_figures(real: RealFigures) -> dict[str, float]:
    """Figures by key."""
    frames = max(real.frames, 1)
    out = {
        "real_frames": float(real.frames),
        "real_joints_reprojection_median_px": float(np.median(real.reprojection_px or [np.nan])),
        "real_views_per_hand": float(np.mean(real.views_per_hand or [np.nan])),
        "real_exchanges": float(real.exchanges),
    }
    for hand, name in enumerate(("right", "left")):
        out[f"real_{name}_found_in_3d"] = float(real.lifted[hand] / frames)
        out[f"real_{name}_seen_by_two_views"] = float(real.seen_by_two[hand] / frames)
    return out


def _rendered_table(errors: Errors) -> Table:
    table = Table(title="Rendered rigs, unseen people: mean distance in mm", title_justify="left")
    for column in (
        "views",
        "found",
        "joints",
        "surface",
        "all",
        "all, RTC alone",
        "surface, triangulated",
        "px",
    ):
        table.add_column(column, justify="right")
    for count in VIEWS:
        cells = [errors.mean_mm("fused", count, kind=kind) for kind in ("joints", "surface", "all")]
        cells += [errors.mean_mm("rtc alone", count), errors.mean_mm("triangulated", count, kind="surface")]
        px = np.median(errors.reprojection_px[count] or [np.nan])
        table.add_row(
            str(count), f"{np.mean(errors.found[count]):.0%}", *(f"{c:.2f}" for c in cells), f"{px:.2f}"
        )
    return table


def _states_table(errors: Errors) -> Table:
    table = Table(title="All points by how the hands meet, mm", title_justify="left")
    states = ("one", "apart", "touching", "clasped")
    for column in ("views", *states):
        table.add_column(column, justify="right")
    for count in VIEWS:
        table.add_row(str(count), *(f"{errors.mean_mm('fused', count, state):.2f}" for state in states))
    return table


def _real_table(figures: dict[str, float]) -> Table:
    table = Table("figure", "value", title="Real rig", title_justify="left")
    for name, value in figures.items():
        table.add_row(name.removeprefix("real_").replace("_", " "), f"{value:.3g}")
    return table
