"""Tables of hands against a rendered session's truth: exact for the truth itself, and for known mistakes of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from rt_hands.camera import Rig
from rt_hands.errors import InvalidInput, SourceError
from rt_hands.evaluation.session import Truth, evaluate, figures, found_points, load_truth, main
from rt_hands.formats import HandsSample, export_hands
from rt_hands.layout import N_POINTS
from rt_hands.paths import sample_dir
from rt_hands.types import Hands2D, Hands3D

SAMPLE = sample_dir()
RIG = Rig.load(SAMPLE / "rig.toml")


def true_3d(shift_mm: float = 0.0, count: int = 120) -> list[HandsSample]:
    truth = np.load(SAMPLE / "truth.npz")
    samples = []
    for i in range(count):
        points = truth["points_world_mm"][i].astype(float) + (0, 0, shift_mm)
        there = np.isfinite(points[:, 0])
        score = there.astype(np.float32)
        hands = Hands3D(
            points, score, np.where(there, 0.5, np.nan).astype(np.float32), 4 * there, np.ones(2, bool)
        )
        samples.append(HandsSample(i, int(truth["t_ns"][i]), hands))
    return samples


@pytest.fixture(scope="module")
def truth_2d() -> Truth:
    return load_truth(SAMPLE / "truth.npz", RIG, three_d=False)


def test_the_truth_itself_is_found_without_error(tmp_path, capsys):
    export_hands(tmp_path / "hands.csv", true_3d(4.0))
    assert main(["sample", str(tmp_path / "hands.csv"), "--json", str(tmp_path / "f.json")]) == 0
    assert "100.0%" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "f.json").read_text()).values()
    assert row["found"] == 1 and row["elsewhere"] == 0
    assert [row[key] for key in ("mean", "median", "p90")] == pytest.approx([4, 4, 4], abs=1e-6)
    assert row["jitter"] == pytest.approx(0, abs=1e-6)


def test_figures_that_are_not_known_are_null(tmp_path):
    """JSON has no NaN; strict readers refuse a file with one."""
    export_hands(tmp_path / "hands.csv", [replace(s, hands=Hands3D.empty()) for s in true_3d()])
    assert main(["sample", str(tmp_path / "hands.csv"), "--json", str(tmp_path / "f.json")]) == 0
    (row,) = json.loads((tmp_path / "f.json").read_text(), parse_constant=pytest.fail).values()
    assert row["found"] == 0 and row["mean"] is None


def test_known_mistakes_in_the_pictures(truth_2d):
    points = truth_2d.points
    shifted = points + np.array([3.0, 4.0])
    # Every other picture of the first camera is 3 px further to the right.
    shifted[::2, 0] += (3.0, 0.0)
    row = figures(shifted, truth_2d)
    assert row["found"] == 1 and 5 < row["mean"] < 6.5 and row["median"] == pytest.approx(5)
    # 6 px of change in that camera, none in the others.
    assert row["jitter"] == pytest.approx(6 / len(RIG), rel=0.05)
    exchanged = figures(points[:, :, ::-1], truth_2d)
    # Where the hands are clasped each still lies on the other.
    assert exchanged["found"] < 0.5 and exchanged["elsewhere"] > 0.5
    half = points.copy()
    half[:, :, 1] = np.nan
    row = figures(half, truth_2d)
    assert row["found"] == pytest.approx(truth_2d.counts[..., 0].sum() / truth_2d.counts.sum())
    assert row["mean"] == 0 and row["elsewhere"] == 0
    right_only = replace(truth_2d, points=half, counts=truth_2d.counts & [True, False])
    row = figures(points, right_only)  # a left hand given where there is none
    assert row["found"] == 1 and row["elsewhere"] == pytest.approx(0.5, abs=0.02)
    nothing = figures(np.full_like(points, np.nan), truth_2d)
    assert nothing["found"] == nothing["elsewhere"] == 0 and np.isnan(nothing["mean"])


def test_samples_are_laid_on_their_moment_and_camera(truth_2d):
    points = np.full((N_POINTS, 3), 7.0, np.float32)
    t_ns = int(truth_2d.t_ns[5])
    found = found_points(
        [HandsSample(5, t_ns + 10, Hands2D(points, np.ones(2, bool)), "cam_right")], truth_2d.t_ns, RIG, False
    )
    assert np.flatnonzero(np.isfinite(found[:, :, 0, 0, 0]).any(1)).tolist() == [5]
    assert np.isfinite(found[5, RIG.ids.index("cam_right")]).all()
    with pytest.raises(InvalidInput, match="Frame 5 of 'cam_9' at [0-9]+ ns is no part of the session"):
        found_points(
            [HandsSample(5, t_ns, Hands2D(points, np.ones(2, bool)), "cam_9")], truth_2d.t_ns, RIG, False
        )


def test_hands_of_another_session_are_named_without_a_camera(tmp_path):
    export_hands(tmp_path / "hands.csv", [replace(true_3d(count=4)[3], t_ns=17)])
    with pytest.raises(InvalidInput, match="^FrameSet 3 at 17 ns is no part of the session"):
        evaluate(SAMPLE, tmp_path / "hands.csv")


def test_faults_are_one_sentence(tmp_path):
    export_hands(tmp_path / "hands.csv", true_3d(count=2))
    with pytest.raises(InvalidInput, match=r"has no truth\.npz; `python -m rt_hands\.synth sample`"):
        evaluate(tmp_path, tmp_path / "hands.csv")
    with pytest.raises((InvalidInput, SourceError), match="There is no file"):
        evaluate(SAMPLE, tmp_path / "gone.csv")
