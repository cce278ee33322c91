"""First guess of where the cameras stand: relative poses of camera pairs over shared boards, joined by a tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rt_hands.calibration.geometry import Array, Lens, board_in_camera, mean_pose, residual_px
from rt_hands.calibration.observations import Observations
from rt_hands.errors import InvalidInput

MIN_SHARED = 4  # sets that two cameras must share to be tied to each other
_BAD_POSE_PX = 4.0  # a board pose that misses by more is not the board, whatever the lens guess


@dataclass(frozen=True)
class FirstGuess:
    """cam_from_world: {camera: (4, 4)}, the first camera at the origin. world_from_board: {moment: (4, 4)}, mm."""

    cam_from_world: dict[str, Array]
    world_from_board: dict[int, Array]


def board_poses(seen: Observations, lenses: Mapping[str, Lens]) -> dict[tuple[str, int], Array]:
    """cam_from_board (4, 4) of each view whose corners fit."""
    model = seen.board.corners_mm()
    poses = {}
    for view in seen.views:
        found = board_in_camera(view, lenses[view.camera], model)
        if found is not None and found[1] < _BAD_POSE_PX:
            poses[view.camera, view.moment] = found[0]
    return poses


def _pairs(seen: Observations, poses: Mapping[tuple[str, int], Array]) -> dict[tuple[str, str], Array]:
    """b_from_a of each pair of cameras in each shared set: (n, 4, 4)."""
    found: dict[tuple[str, str], list[Array]] = {}
    for moment in seen.shared():
        here = [c for c in seen.cameras if (c, moment) in poses]
        for a in here:
            for b in here:
                if a != b:
                    step = poses[b, moment] @ np.linalg.inv(poses[a, moment])
                    found.setdefault((a, b), []).append(step)
    return {pair: np.stack(steps) for pair, steps in found.items()}


def first_guess(seen: Observations, lenses: Mapping[str, Lens]) -> FirstGuess:
    """Grow the rig from the first camera, always by the pair that shares most boards.

    Raises InvalidInput that names a camera which shares too few boards with the rest.
    """
    poses = board_poses(seen, lenses)
    pairs = _pairs(seen, poses)
    placed: dict[str, Array] = {seen.cameras[0]: np.eye(4)}
    while len(placed) < len(seen.cameras):
        open_pairs = {p: len(s) for p, s in pairs.items() if p[0] in placed and p[1] not in placed}
        best = max(open_pairs, key=lambda p: open_pairs[p], default=None)
        if best is None or open_pairs[best] < MIN_SHARED:
            left = [c for c in seen.cameras if c not in placed]
            shared = open_pairs[best] if best is not None else 0
            raise InvalidInput(
                f"Camera '{left[0]}' saw the board together with {', '.join(placed)} in {shared} sets; "
                f"{MIN_SHARED} are needed to place it. "
                "Show the board to both at once, and check that the videos are synchronised."
            )
        placed[best[1]] = mean_pose(pairs[best]) @ placed[best[0]]
    return FirstGuess(placed, _boards(seen, lenses, placed, poses))


def _boards(
    seen: Observations,
    lenses: Mapping[str, Lens],
    placed: Mapping[str, Array],
    poses: Mapping[tuple[str, int], Array],
) -> dict[int, Array]:
    """The board of each set: of the single views' opinions the one that misses least in all views."""
    model = seen.board.corners_mm()
    boards = {}
    for moment in seen.moments:
        views = [v for v in seen.views if v.moment == moment]
        opinions = [
            np.linalg.inv(placed[v.camera]) @ poses[v.camera, moment]
            for v in views
            if (v.camera, moment) in poses
        ]
        misses = [
            sum(
                float(np.abs(residual_px(v, lenses[v.camera], placed[v.camera] @ pose, model)).sum())
                for v in views
            )
            for pose in opinions
        ]
        if opinions:
            boards[moment] = opinions[int(np.argmin(misses))]
    return boards
