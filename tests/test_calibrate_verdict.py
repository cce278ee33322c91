"""Sets of board pictures that must be refused, each with its reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from board_scene import BoardRenderer, board_poses

from rt_hands.calibration.board import Board
from rt_hands.calibration.collect import Collector
from rt_hands.calibration.commands.result import judge, known_distances
from rt_hands.calibration.observations import CameraCount, Observations
from rt_hands.errors import InvalidInput

pytest.importorskip("scipy", reason="scipy is not installed (pip install 'rt_hands[calibrate]')")

from test_calibrate import BOARD, RIG, exact

# --- sets that must be refused --------------------------------------------------------------------------


def reasons(seen: Observations, **known: object) -> str:
    outcome = judge(seen, **known)  # type: ignore[arg-type]
    assert not outcome.verdict.accepted
    return " | ".join(outcome.verdict.reasons)


def test_good_exact_set_is_accepted() -> None:
    outcome = judge(exact())
    assert outcome.verdict.accepted, outcome.verdict.reasons


def test_board_in_one_corner_is_refused() -> None:
    poses = board_poses(BOARD, 28, seed=5, reach_mm=15)
    said = reasons(exact(poses=poses))
    assert "cam_0: the board was only in" in said and "corners, near and tilted" in said


def test_wrong_square_size_is_refused_by_the_markers() -> None:
    stated = replace(BOARD, square_mm=40.0)  # markers 27 mm, as printed: the ratio gives it away
    said = reasons(replace(exact(), board=stated))
    assert "the markers measure 0.74 of a square, the board file says 0.68" in said


def test_wrong_square_size_is_refused_by_a_known_distance() -> None:
    stated = replace(BOARD, square_mm=40.0, marker_mm=30.0)
    a, b = RIG["cam_0"].centre_world_mm, RIG["cam_2"].centre_world_mm
    known = {("cam_0", "cam_2"): float(np.linalg.norm(a - b))}
    said = reasons(replace(exact(), board=stated), distances_mm=known)
    assert "With squares of 36." in said
    assert judge(exact(), distances_mm=known).verdict.accepted


def test_centimetres_taken_for_millimetres_are_refused() -> None:
    said = reasons(replace(exact(), board=replace(BOARD, square_mm=3.6, marker_mm=2.7)))
    assert "are its squares really 3.6 mm?" in said


def test_two_boards_of_different_size_are_refused() -> None:
    small = replace(BOARD, square_mm=30.0, marker_mm=22.5)
    said = reasons(exact(seen_as=lambda m, c: small if m % 2 else BOARD))
    assert "two boards of different size" in said


def test_cameras_that_look_at_different_boards_are_refused() -> None:
    other = board_poses(BOARD, 28, seed=77)
    poses = board_poses(BOARD, 28, seed=5)
    said = reasons(exact(poses=poses, at=lambda m, c: other[m] if c == "cam_1" else poses[m]))
    assert "fit nowhere" in said or "cameras that don't see the same moment" in said or "off" in said


def test_mirrored_video_is_refused() -> None:
    collector, rng = Collector(BOARD), np.random.default_rng(0)
    poses = board_poses(BOARD, 9, seed=10)
    for c, flip in zip(RIG.cameras[:2], (False, True), strict=True):
        renderer = BoardRenderer(BOARD, c)
        for m, pose in enumerate(poses):
            picture = renderer(pose, rng)
            collector.add(c.id, m, np.ascontiguousarray(picture[:, ::-1]) if flip else picture)
    said = reasons(collector.observations())
    assert "cam_1: the video is mirrored" in said and "cam_0: the video is mirrored" not in said


def test_another_board_in_the_pictures_is_refused() -> None:
    shown = Board(5, 7, 36, 27)  # same dictionary, other columns and rows: markers lie elsewhere
    collector, rng = Collector(BOARD), np.random.default_rng(0)
    renderer = BoardRenderer(shown, RIG.cameras[0])
    for m, pose in enumerate(board_poses(shown, 8, seed=10)):
        collector.add("cam_0", m, renderer(pose, rng))
    said = reasons(collector.observations())
    assert "cam_0: " in said and ("Another board" in said or "no picture shows the board" in said)


def test_a_camera_without_common_sets_is_named() -> None:
    seen = exact()
    lonely = tuple(v for v in seen.views if (v.camera == "cam_2") == (v.moment >= 14))
    said = reasons(replace(seen, views=lonely), lenses=RIG)
    assert "Camera 'cam_2' saw the board together with" in said


def test_every_camera_must_see_the_board() -> None:
    seen = exact()
    counts = {**seen.counts, "cam_1": CameraCount(40, 0, 0, 0, 0, float("nan"))}
    blind = replace(seen, views=tuple(v for v in seen.views if v.camera != "cam_1"), counts=counts)
    assert "cam_1: no picture shows the board. Check columns, rows, dictionary" in reasons(blind)


def test_a_camera_without_pictures_is_named() -> None:
    outcome = judge(exact(), cameras=(*exact().cameras, "cam_c"))
    assert outcome.verdict.reasons == ("cam_c: it gave no picture.",) and outcome.calibration is None


def test_known_distances_name_cameras_that_are_there() -> None:
    assert known_distances([("a", "b", 842.0)], ("b", "a")) == {("a", "b"): 842.0}
    with pytest.raises(InvalidInput, match="--distance names a camera '0'; the cameras are video0, video2"):
        known_distances([("0", "video2", 842.0)], ("video0", "video2"))
    for pair in (("a", "a", 800.0), ("a", "b", 0.0), ("a", "b", float("nan"))):
        with pytest.raises(InvalidInput, match="wants two cameras and the mm between them"):
            known_distances([pair], ("a", "b"))
