"""Rendered rigs with truth: distances in mm by number of views, by how the hands meet, by way of lifting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from rt_hands.camera import Rig
from rt_hands.detector import Detector
from rt_hands.display.draw import draw_hands
from rt_hands.display.overlay import tile
from rt_hands.errors import MissingPart
from rt_hands.layout import N_HAND, N_HANDS, N_JOINTS, N_POINTS
from rt_hands.lifting.lift import FUSION_WEIGHT, lift, settled
from rt_hands.rig_detector import ROUNDS, RigDetector
from rt_hands.tracking.rig import reproject
from rt_hands.types import Hands2D, Hands3D, Image

if TYPE_CHECKING:
    from rt_hands.synth.scene import View

VIEWS: Final = (2, 3, 4, 8, 16)
FUSIONS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Weights tried for triangulated surface points; 0 is RTC alone."""
STATES: Final = ("one", "apart", "touching", "clasped")
NEAR_MM: Final = 25.0  # points of both hands this near to each other touch: a finger is 15 mm thick
CLASPED_SHARE: Final = 0.3
LOST_MM: Final = 50.0  # a hand further off than this in the mean is not found
JOINTS: Final = np.arange(N_POINTS) % N_HAND < N_JOINTS
Split = Literal["train", "test"]
Look = Callable[["View"], Hands2D]
Agree = Callable[[Rig, Sequence["View"], Sequence[Hands2D]], list[Hands2D]]
"""From what each view of a rig saw alone to what they see together, under names that all agree on."""


@dataclass(slots=True)
class Errors:
    """Distances to the truth, mm, gathered by (fusion, views, state, kind of points).

    found: hands that are there and nearer than LOST_MM; hands_mm: how far they are, NaN where not found; invented:
    hands lifted where there is none. network_px: misses of single views; network_saw: whether they saw a hand that is
    there.
    """

    mm: dict[tuple[float, int, str, str], list[float]] = field(default_factory=dict)
    found: dict[int, list[bool]] = field(default_factory=dict)
    hands_mm: dict[int, list[float]] = field(default_factory=dict)
    invented: dict[int, list[bool]] = field(default_factory=dict)
    network_px: list[float] = field(default_factory=list)
    network_saw: list[bool] = field(default_factory=list)
    reprojection_px: dict[int, list[float]] = field(default_factory=dict)

    def add(
        self, fusion: float, views: int, state: str, hands: Hands3D, truth_mm: NDArray[np.float64]
    ) -> None:
        """Take in one scene; hands that were not found count in `found` alone."""
        apart = _apart_mm(hands, truth_mm)
        apart = np.where(apart.mean(1, keepdims=True) < LOST_MM, apart, np.nan).ravel()
        for kind, at in (("joints", JOINTS), ("surface", ~JOINTS), ("all", np.ones(N_POINTS, bool))):
            known = apart[at & np.isfinite(apart)]
            for key in ((fusion, views, state, kind), (fusion, views, "every", kind)):
                self.mm.setdefault(key, []).extend(known.tolist())

    def mean_mm(
        self, views: int, state: str = "every", kind: str = "all", fusion: float = FUSION_WEIGHT
    ) -> float:
        """Mean distance; NaN where nothing was measured."""
        known = self.mm.get((fusion, views, state, kind))
        return float(np.mean(known)) if known else float("nan")

    def median_mm(self, views: int, kind: str = "all") -> float:
        """Median distance; NaN where nothing was measured."""
        known = self.mm.get((FUSION_WEIGHT, views, "every", kind))
        return float(np.median(known)) if known else float("nan")

    def common_mm(self, views: int) -> float:
        """Mean distance of the hands that are found with every number of views: few views find the easy ones only."""
        apart = np.array([self.hands_mm[count] for count in VIEWS])
        common = np.isfinite(apart).all(0)
        return float(apart[VIEWS.index(views), common].mean()) if common.any() else float("nan")


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


def by_rays(rig: Rig, views: Sequence[View], seen: Sequence[Hands2D]) -> list[Hands2D]:
    """Names settled, nothing looked at again."""
    return settled(seen, rig)


def looked_again(detector: Detector, rounds: int = ROUNDS) -> Agree:
    """As RigDetector does: read again in crops round the lifted hands."""

    def agree(rig: Rig, views: Sequence[View], seen: Sequence[Hands2D]) -> list[Hands2D]:
        images = {
            c: np.ascontiguousarray(v.image_rgb[..., ::-1]) for c, v in zip(rig.ids, views, strict=True)
        }
        found = RigDetector(rig, detector, rounds=rounds).refined(
            images, dict(zip(rig.ids, seen, strict=True))
        )
        return [found.views[camera] for camera in rig.ids]

    return agree


def evaluate_rendered(
    look: Look,
    scenes: int,
    seed: int,
    pictures: Path | None = None,
    split: Split = "test",
    agree: Agree = by_rays,
) -> Errors:
    """Rigs of the data engine's people. Raises MissingPart where the data engine is not installed."""
    try:
        from rt_hands.synth import scene, staging
    except ImportError as error:
        raise MissingPart(
            f"Rendered rigs need the data engine ({error.name}): pip install 'rt_hands[synth]'"
        ) from error
    errors = Errors()
    for index in track(range(scenes), "rendered rigs", transient=True):
        sampled = scene.sample_scene(seed, index, "webcam", max(VIEWS), split)
        truth_mm = staging.points_of(sampled.hands)[0].astype(np.float64)
        rig = Rig(sampled.cameras)
        views = scene.render_scene(sampled)
        seen = [look(view) for view in views]
        agreed = {count: agree(rig.subset(rig.ids[:count]), views[:count], seen[:count]) for count in VIEWS}
        _measure(errors, rig, agreed, truth_mm)
        _measure_pictures(errors, views, seen)
        if pictures is not None and index < 8:
            images = [np.ascontiguousarray(view.image_rgb[..., ::-1]) for view in views[:4]]
            part = rig.subset(rig.ids[:4])
            hands = lift(agreed[4], part, settle=False)
            save_modes(pictures / f"rendered_{index:02d}.png", images, seen[:4], hands, part)
    return errors


def _measure(
    errors: Errors, rig: Rig, agreed: Mapping[int, Sequence[Hands2D]], truth_mm: NDArray[np.float64]
) -> None:
    state = state_of(truth_mm)
    wanted = _any_finite(truth_mm)
    for count, views in agreed.items():
        part = rig.subset(rig.ids[:count])
        for fusion in sorted({*FUSIONS, FUSION_WEIGHT}):
            hands = lift(views, part, fusion=fusion, settle=False)
            errors.add(fusion, count, state, hands, truth_mm)
            if fusion == FUSION_WEIGHT:
                _note_found(errors, count, hands, truth_mm, wanted)
                exact = part.project(truth_mm) - part.project(hands.points_world_mm)
                apart = np.linalg.norm(exact, axis=2)
                errors.reprojection_px.setdefault(count, []).extend(apart[np.isfinite(apart)].tolist())


def _apart_mm(hands: Hands3D, truth_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """(2, 85) distances to the truth; NaN where a hand is not given or not there."""
    apart = np.linalg.norm(hands.points_world_mm - truth_mm, axis=1)
    return np.asarray(apart.reshape(N_HANDS, N_HAND))


def _note_found(
    errors: Errors, count: int, hands: Hands3D, truth_mm: NDArray[np.float64], wanted: NDArray[np.bool_]
) -> None:
    mean_mm = _apart_mm(hands, truth_mm).mean(1)
    near = mean_mm < LOST_MM
    errors.hands_mm.setdefault(count, []).extend(np.where(near, mean_mm, np.nan)[wanted].tolist())
    errors.found.setdefault(count, []).extend(near[wanted].tolist())
    errors.invented.setdefault(count, []).extend(hands.present[~wanted].tolist())


def _measure_pictures(errors: Errors, views: Sequence[View], seen: Sequence[Hands2D]) -> None:
    """What the network alone does: its misses in px, and hands it did not see."""
    for view, hands in zip(views, seen, strict=True):
        apart = np.linalg.norm(hands.points_px[:, :2] - view.truth.points_px, axis=1)
        errors.network_px += apart[np.isfinite(apart)].tolist()
        errors.network_saw += hands.present[_any_finite(view.truth.points_px)].tolist()


def save_modes(
    path: Path,
    images: Sequence[Image],
    seen: Sequence[Hands2D],
    hands: Hands3D,
    rig: Rig,
    agreed: Mapping[str, Hands2D] | None = None,
) -> None:
    """Monocular above, multi-view below, one column a view. agreed: the hands drawn back, where that is known."""
    agreed = agreed or reproject(hands, rig)
    own = [draw_hands(image, view) for image, view in zip(images, seen, strict=True)]
    together = [draw_hands(image, agreed[c]) for image, c in zip(images, rig.ids, strict=False)]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), tile([*own, *together], columns=len(images)))


def rendered_figures(errors: Errors) -> dict[str, float]:
    """Figures by key, such as `rig4_all_mm`, `rig4_joints_mm`, `rig4_clasped_all_mm`, `rig4_fusion_0_all_mm`."""
    out = {
        "network_median_px": float(np.median(errors.network_px or [np.nan])),
        "network_saw": float(np.mean(errors.network_saw or [False])),
    }
    for count in VIEWS:
        for kind in ("joints", "surface", "all"):
            out[f"rig{count}_{kind}_mm"] = errors.mean_mm(count, kind=kind)
            out[f"rig{count}_{kind}_median_mm"] = errors.median_mm(count, kind)
        for fusion in FUSIONS:
            out[f"rig{count}_fusion_{fusion:g}_all_mm"] = errors.mean_mm(count, fusion=fusion)
        for state in STATES:
            out[f"rig{count}_{state}_all_mm"] = errors.mean_mm(count, state)
        out[f"rig{count}_common_all_mm"] = errors.common_mm(count)
        out[f"rig{count}_found"] = float(np.mean(errors.found[count]))
        out[f"rig{count}_invented"] = float(np.mean(errors.invented[count] or [False]))
        out[f"rig{count}_reprojection_px"] = float(np.median(errors.reprojection_px[count] or [np.nan]))
    return out
