"""Whether hands seen by a rig can say where its cameras are, and whether what they say is any better."""

from __future__ import annotations

from typing import Final

import numpy as np

from rt_hands.calibration.hands import Refined, Seen
from rt_hands.camera import Rig

LEAST_MOMENTS: Final = 20
"""In which a camera shares a hand with another one."""
CELLS: Final = (6, 4)
LEAST_COVERAGE: Final = 0.25
"""Of the 6 x 4 cells of each picture: hands that stay in one place leave a camera free to turn about them."""
LEAST_MOTION: Final = 0.3
"""How far the middle of the hands goes in the picture, 10th to 90th percentile, in sizes of a hand."""
WORST_STD: Final = 0.06
"""Uncertainty of a camera's place as a share of its distance from the nearest other camera."""
WORST_SIDES: Final = 0.015
"""Held-out error afterwards, of the picture's longer side: beyond it the rays meet nowhere."""
MOST_TURN_DEG: Final = 15.0
"""A camera turned further shows other things: joints are named wrongly and the fit is lost."""
BETTER: Final = 0.8
"""The held-out error must fall below this share of what it was, or the given rig stays. A camera turned by 1.5 degrees
raises it by half; on a real rig that was right the biased joints of a network let it fall to 0.92, by turning a camera
by 11 degrees about the hands."""


def check_seen(seen: Seen, rig: Rig) -> list[str]:
    """Reasons against refining: too few shared hands, too little of the picture, too little motion."""
    reasons = []
    for v, camera in enumerate(rig):
        there = seen.scores[v] > 0
        moments = int(there.any(1).sum())
        if moments < LEAST_MOMENTS:
            reasons.append(
                f"{camera.id} shares a hand with another camera in {moments} moments; {LEAST_MOMENTS} are wanted."
            )
            continue
        points = seen.points_px[v]
        share = _coverage(points[there], camera.size_px)
        if share < LEAST_COVERAGE:
            reasons.append(
                f"{camera.id} saw hands only in {share:.0%} of its picture; {LEAST_COVERAGE:.0%} are wanted. Move the "
                "hands through the whole picture, near and far."
            )
        elif _motion(points, there) < LEAST_MOTION:
            reasons.append(f"The hands hardly move in {camera.id}. Move them through the whole picture.")
    return reasons


def check_refined(refined: Refined, rig: Rig) -> list[str]:
    """Reasons against the result: a camera that could be anywhere, or rays that still do not meet."""
    centres = np.stack([camera.centre_world_mm for camera in rig])
    apart = np.linalg.norm(centres[:, None] - centres, axis=2) + 1e12 * np.eye(len(rig))
    reasons = []
    for camera, nearest_mm in zip(rig.ids, apart.min(1), strict=True):
        if refined.std_mm[camera] > WORST_STD * nearest_mm:
            reasons.append(
                f"The place of {camera} stays uncertain by {refined.std_mm[camera]:.0f} mm. More moving hands that it "
                "shares with other cameras are wanted."
            )
        if refined.turn_deg[camera] > MOST_TURN_DEG:
            reasons.append(
                f"{camera} would be turned by {refined.turn_deg[camera]:.0f} deg: calibrate with a board."
            )
    limit_px = WORST_SIDES * rig.side_px
    if not refined.after_px <= limit_px:
        reasons.append(
            f"Rays still miss each other by {refined.after_px:.1f} px (limit {limit_px:.1f}): calibrate with a board."
        )
    return reasons


def is_better(refined: Refined) -> bool:
    """Whether moments that the fit did not know are met more closely."""
    return refined.after_px < BETTER * refined.before_px


def _coverage(points: np.ndarray, size_px: tuple[int, int]) -> float:
    cells = np.floor(points / np.array(size_px) * CELLS).astype(int)
    inside = ((cells >= 0) & (cells < CELLS)).all(1)
    return len(np.unique(cells[inside], axis=0)) / (CELLS[0] * CELLS[1])


def _motion(points: np.ndarray, there: np.ndarray) -> float:
    """Way of the hand's middle over its size, the larger of both hands; 0 for a hand in fewer than two moments."""
    ways = [0.0]
    for hand in range(2):
        at = slice(21 * hand, 21 * hand + 21)
        whole = there[:, at].sum(1) >= 15
        if whole.sum() >= 2:
            joints = np.where(there[whole][:, at, None], points[whole][:, at], np.nan)
            middle = np.nanmedian(joints, axis=1)
            way = np.linalg.norm(np.ptp(np.percentile(middle, (10, 90), axis=0), axis=0))
            size = np.median(np.nanmax(joints, axis=1) - np.nanmin(joints, axis=1), axis=0).max()
            ways.append(float(way / max(size, 1e-9)))
    return max(ways)
