"""Figures of a followed hand on made-up tracks with known answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from standin import PaintedHand, picture

from rt_hands.errors import InvalidInput, RtHandsError
from rt_hands.evaluation import video

SHAPE = np.random.default_rng(0).normal(0, 0.05, (21, 3))
BOX = np.random.default_rng(1).uniform(0, 100, (85, 2))


def track(frames: int = 40, step: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A right hand that moves `step` px to the right a frame."""
    points = np.full((frames, 2, 85, 2), np.nan)
    points[:, 0] = BOX + np.arange(frames)[:, None, None] * [step, 0]
    return points, np.tile([True, False], (frames, 1))


def test_a_still_hand_seen_all_the_time() -> None:
    report = video.figures(*track(), teacher=None)
    assert report == {"frames": 40, "present": 1, "swaps": 0, "second_hand": 0, "still_step_px": 0}


def test_missing_frames_swaps_and_second_hands_are_counted() -> None:
    points, present = track()
    present[:4] = False
    present[20:22] = [False, True]
    present[30:32] = True
    report = video.figures(points, present, teacher=None)
    assert report["present"] == 0.9 and report["swaps"] == 2
    assert report["second_hand"] == pytest.approx(4 / 40)


def test_jitter_is_that_of_the_still_part() -> None:
    points, present = track(80)
    points[40:] += np.arange(40)[:, None, None, None] * 5.0  # then it moves
    points[:40] += np.where(np.arange(40) % 2, 0.3, 0.0)[:, None, None, None]
    # 0.3 px in x and in y each frame.
    assert video.figures(points, present, None)["still_step_px"] == pytest.approx(0.3 * 2**0.5, rel=1e-6)


def test_the_ends_of_a_video_are_no_stiller_than_they_are() -> None:
    points, present = track(80)
    step = np.where(np.abs(np.arange(80) - 40) < 15, 9.0, 10.0)
    points[:, 0] = BOX + np.cumsum(step)[:, None, None] * [1, 0]
    assert video.figures(points, present, None)["still_step_px"] == pytest.approx(9.0, abs=0.05)


def test_distance_is_a_share_of_the_teachers_box() -> None:
    points, present = track(3)
    teacher = points[:, 0, :21] + [0, 7.0]
    teacher[1] = np.nan  # a frame in which the teacher lost it
    size = np.ptp(teacher[0], axis=0).max()
    assert video.figures(points, present, teacher)["distance_mean"] == pytest.approx(7 / size)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(50, 400))
def test_a_teacher_in_any_frame_is_laid_on(seed: int, scale: float) -> None:
    turn = Rotation.random(random_state=seed)
    seen = scale / 0.2 * turn.apply(SHAPE)[:, :2] + [300, 200]
    assert np.abs(video.laid_on(SHAPE, seen) - seen).max() < 0.02 * scale  # measured 2e-6 of the scale


def test_a_teacher_of_another_hand_does_not_fit() -> None:
    other = np.random.default_rng(5).normal(0, 0.05, (21, 3))
    seen = 1000 * SHAPE[:, :2]
    away = np.linalg.norm(video.laid_on(other, seen) - seen, axis=1)
    assert away.mean() > 10  # of a hand about 200 px large


def test_teacher_files_are_checked(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", something=np.zeros(3))
    with pytest.raises(InvalidInput, match="neither joints_px nor joints_m, but something"):
        video.load_teacher(tmp_path / "a.npz", 0, 5)
    np.savez(tmp_path / "b.npz", joints_px=np.zeros((4, 21, 2)))
    with pytest.raises(InvalidInput, match=r"joints_px is \(4, 21, 2\); the video needs 5 frames"):
        video.load_teacher(tmp_path / "b.npz", 0, 5)
    (tmp_path / "c.npz").write_text("no archive")
    for name in ("c.npz", "gone.npz"):
        with pytest.raises(InvalidInput, match=r"is no \.npz file of a teacher's joints"):
            video.load_teacher(tmp_path / name, 0, 5)


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--frames", "0"], "--frames is 0; give 1 or more"),
        (["--first", "-3"], "--first is -3; give 0 or more"),
        (["--json", "nowhere/f.json"], "there is no folder nowhere. Make it"),
        (["--joints", "gone.npz"], "is no .npz file"),
    ],
)
def test_wrong_options_are_told_before_the_work(words: list[str], sentence: str) -> None:
    with pytest.raises(RtHandsError) as error:
        video.main(["--source", "no/video.mp4", *words])
    assert sentence in str(error.value)


def test_a_mediapipe_teachers_joints_are_taken_to_ours(tmp_path: Path) -> None:
    joints = np.cumsum(
        np.ones((4, 21, 3)), axis=1
    )  # in a row, one apart: each tip 1 beyond the joint before it
    np.savez(tmp_path / "m.npz", joints_m=joints)
    plain, moved = (video.load_teacher(tmp_path / "m.npz", 1, 2, mediapipe=m) for m in (False, True))
    np.testing.assert_allclose(plain, joints[1:3])
    by = np.zeros(21)
    by[[4, 8, 12, 16, 20]] = [0.21, 0.28, 0.28, 0.28, 0.28]
    by[0] = -0.09 * 9  # the wrist, away from the middle finger's knuckle
    by[1] = 0.76 * 0 + 0.10 * 1 - 0.14 * 2 + 1.01 * 5 - 0.73 * 9 - 1
    by[2] = -0.24
    np.testing.assert_allclose(moved - plain, np.broadcast_to(by[:, None], (2, 21, 3)), atol=1e-9)


def test_scipy_missing_is_said_where_joints_in_m_need_it(tmp_path: Path) -> None:
    """In a process of its own, where the module is imported anew."""
    np.savez(tmp_path / "m.npz", joints_m=np.zeros((4, 21, 3)))
    np.savez(tmp_path / "px.npz", joints_px=np.zeros((4, 21, 2)))
    code = "import sys; sys.modules['scipy'] = None; from rt_hands.evaluate import main, run_command; "
    code += "sys.exit(run_command(main, ['video', '--source', 'gone.mp4', '--joints', sys.argv[1]]))"
    for name, sentence in (
        ("m.npz", "error: A teacher's joints in m need scipy: pip install 'rt_hands[calibrate]'.\n"),
        ("px.npz", "error: There is no file or folder gone.mp4.\n"),
    ):
        words = [sys.executable, "-c", code, str(tmp_path / name)]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stderr) == (2, sentence)


def test_the_command_writes_figures_and_a_sheet(tmp_path: Path, standin_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    out = cv2.VideoWriter(str(tmp_path / "v.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 30, (640, 480))
    for i in range(8):
        out.write(picture(PaintedHand(0, (300 + 3 * i, 240), 180)))
    out.release()
    args = ["--source", str(tmp_path / "v.mp4"), "--model", str(standin_path), "--engine", "onnxruntime"]
    code = video.main([*args, "--json", str(tmp_path / "f.json"), "--sheet", str(tmp_path / "s.png")])
    assert code == 0 and (tmp_path / "s.png").is_file()
    assert '"frames": 8' in (tmp_path / "f.json").read_text()
