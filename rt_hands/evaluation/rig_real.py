"""A real rig: how many hands are found in 3D, how far the hands drawn back lie from what each view saw, sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Rig
from rt_hands.capture.choose import open_source
from rt_hands.capture.offsets import kept_offsets, told_offsets
from rt_hands.capture.source import to_stderr
from rt_hands.evaluation.rig_rendered import save_modes
from rt_hands.inference.cpm import Cpm
from rt_hands.layout import JOINT_ORDERS, N_HAND, N_HANDS, N_JOINTS
from rt_hands.lifting.chirality import SURE, right_handedness
from rt_hands.pipeline import Pipeline, Result
from rt_hands.types import Hands2D, Hands3D

PICTURE_EVERY: Final = 8


@dataclass(slots=True)
class RealFigures:
    """Of a real rig, per hand where it says (2,): sets with two views or more, those with the hand in 3D, those where
    two views saw it themselves, and each view's own share.

    exchanges: sets where the hands changed places; wrong_shape: where the shape of a hand speaks against its name.
    wrists_mm: each set's wrists (2, 3).
    """

    sets: int = 0
    lifted: NDArray[np.int64] = field(default_factory=lambda: np.zeros(N_HANDS, np.int64))
    seen_by_two: NDArray[np.int64] = field(default_factory=lambda: np.zeros(N_HANDS, np.int64))
    seen_by_view: dict[str, list[NDArray[np.bool_]]] = field(default_factory=dict)
    reprojection_px: list[float] = field(default_factory=list)
    exchanges: int = 0
    wrong_shape: int = 0
    wrists_mm: list[NDArray[np.float64]] = field(default_factory=list)


def evaluate_real(
    cpm: Cpm,
    sources: Sequence[str],
    rig: Rig,
    last: int | None,
    pictures: Path | None,
    smooth: bool = False,
    clock_offset_ms: Mapping[str, float] | None = None,
) -> RealFigures:
    """Follow the hands through a real session. last: first picture of a camera that is no longer used.

    smooth: as shown to users; it lags, by pixels at 6 fps, which says nothing of geometry. clock_offset_ms: by camera;
    goes before the rig's, as those do before the session's own.
    """
    figures = RealFigures()
    before = Hands3D.empty()
    asked = dict(clock_offset_ms or {})
    given = told_offsets(rig) | asked
    with open_source(sources, cameras=rig.ids, clock_offset_ms=given) as source:
        if sentence := kept_offsets(rig, given, source.clock_offset_ms):
            to_stderr(sentence)
        in_use = {camera: ms for camera, ms in source.clock_offset_ms.items() if camera in rig.ids}
        rig = rig.with_clock_offsets(in_use | asked).subset(source.cameras)
        for result in Pipeline(source, cpm, smooth, rig=rig):
            if last is not None and max(frame.index for frame in result.frames.frames) >= last:
                break
            if len(result.frames.frames) < 2 or result.rig is None:
                continue
            _note(figures, result, before)
            before = result.rig.measured
            if pictures is not None and (figures.sets - 1) % PICTURE_EVERY == 0:
                _picture(pictures / f"real_{figures.sets - 1:04d}.png", result, rig)
    return figures


def _picture(path: Path, result: Result, rig: Rig) -> None:
    assert result.rig is not None
    images = [frame.image_bgr for frame in result.frames.frames]
    own = [view.measured for view in result.views]
    save_modes(path, images, own, result.rig.hands, rig.subset(result.frames.cameras), result.rig.agreed)


def _note(figures: RealFigures, result: Result, before: Hands3D) -> None:
    assert result.rig is not None
    hands = result.rig.measured  # the others also hold hands that are gone for a moment
    figures.sets += 1
    figures.lifted += hands.present
    measured = {c: view.measured for c, view in zip(result.frames.cameras, result.views, strict=True)}
    figures.seen_by_two += np.sum([view.present for view in measured.values()], axis=0) >= 2
    for camera, view in measured.items():
        figures.seen_by_view.setdefault(camera, []).append(view.present)
    figures.reprojection_px += _misses_px(measured, result.rig.agreed)
    figures.exchanges += exchanged(before, hands)
    shapes = right_handedness(hands.points_world_mm.reshape(N_HANDS, N_HAND, 3)[:, :N_JOINTS])
    figures.wrong_shape += bool((np.nan_to_num(shapes) * (1, -1) < -SURE).any())
    figures.wrists_mm.append(hands.points_world_mm[[0, N_HAND]])


def _misses_px(measured: Mapping[str, Hands2D], agreed: Mapping[str, Hands2D]) -> list[float]:
    joints = JOINT_ORDERS["mediapipe"]
    out: list[float] = []
    for camera, view in measured.items():
        apart = np.linalg.norm(view.points_px[joints, :2] - agreed[camera].points_px[joints, :2], axis=1)
        out += apart[np.isfinite(apart)].tolist()
    return out


def exchanged(before: Hands3D, now: Hands3D) -> int:
    """1 where both hands stand nearer to the other one's last place than to their own."""
    if not (before.present.all() and now.present.all()):
        return 0
    wrists = [h.points_world_mm[[0, N_HAND]] for h in (before, now)]
    stay, turn = (np.linalg.norm(wrists[1] - wrists[0][order], axis=1).sum() for order in ([0, 1], [1, 0]))
    return int(turn < stay)


def on_wrong_side(wrists_mm: Sequence[NDArray[np.float64]]) -> float:
    """Share of hands that stand nearer to the other hand's usual place; for people whose hands keep their sides."""
    wrists = np.array(wrists_mm).reshape(-1, N_HANDS, 3)
    known = np.isfinite(wrists[..., 0])
    if not known.any(0).all():
        return 0.0
    usual = np.array([np.median(wrists[known[:, hand], hand], axis=0) for hand in range(N_HANDS)])
    own, other = (np.linalg.norm(wrists - usual[order], axis=2) for order in ([0, 1], [1, 0]))
    return float((other < own)[known].mean())


def real_figures(real: RealFigures) -> dict[str, float]:
    """Figures by key."""
    sets = max(real.sets, 1)
    out = {
        "real_sets": float(real.sets),
        "real_joints_reprojection_median_px": float(np.median(real.reprojection_px or [np.nan])),
        "real_exchanges": float(real.exchanges),
        "real_sets_with_a_shape_against_its_name": float(real.wrong_shape),
        "real_hands_on_the_wrong_side": on_wrong_side(real.wrists_mm),
    }
    for hand, name in enumerate(("right", "left")):
        out[f"real_{name}_found_in_3d"] = float(real.lifted[hand] / sets)
        out[f"real_{name}_seen_by_two_views"] = float(real.seen_by_two[hand] / sets)
        for camera, seen in real.seen_by_view.items():
            out[f"real_{name}_seen_by_{camera}"] = float(np.mean([present[hand] for present in seen]))
    return out
