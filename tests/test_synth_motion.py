"""Joint angles read off landmarks: a round trip through our own hand, and the recorded letters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rt_hands.errors import InvalidInput, MissingPart
from rt_hands.paths import data_dir

pytest.importorskip("anny", reason="hands are made from the package anny")

from rt_hands.synth import motion, points, poses
from rt_hands.synth.skeleton import DOF


def test_round_trip_through_our_own_joints() -> None:
    """Angles -> joints -> angles, of any pose: middle joints within 3 degrees, knuckles within 12 on average."""
    angles = poses.sample(np.random.default_rng(2), 300, "train")
    joints = points.points_of(np.full(300, 10), angles)[:, :21]
    read = motion.angles_from_landmarks(joints * 0.004)  # scale is of no matter
    bent = angles[:, poses.PIP] > np.radians(15)
    off = np.degrees(np.abs(read - angles))
    assert off[:, poses.PIP][bent].mean() < 3.0
    assert off[:, poses.MCP].mean() < 12.0
    thumb = DOF["thumb_ip_flexion"]
    assert np.corrcoef(read[:, thumb], angles[:, thumb])[0, 1] > 0.8


def test_mirrored_landmarks_read_the_same() -> None:
    joints = points.points_of(np.full(20, 10), poses.sample(np.random.default_rng(3), 20, "train"))[:, :21]
    mirrored = motion.angles_from_landmarks(joints * np.array([-1.0, 1.0, 1.0]))
    np.testing.assert_allclose(mirrored, motion.angles_from_landmarks(joints), atol=1e-5)


def test_recorded_letters_have_their_fingers() -> None:
    if data_dir() is None:
        pytest.skip("The data folder with recorded hand shapes is absent.")
    curl = {c: np.degrees(np.median(motion.bank(c)[:, poses.PIP], axis=0)) for c in "ABLVW"}
    assert (curl["B"] < 30).all() and (curl["A"] > 60).all()
    assert curl["L"][0] < 30 and (curl["L"][1:] > 60).all()
    assert (curl["V"][:2] < 30).all() and (curl["V"][2:] > 60).all()
    assert (curl["W"][:3] < 35).all()


def test_absent_recordings_and_bad_shapes_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RT_HANDS_DATA", str(tmp_path))
    with pytest.raises(MissingPart, match="RT_HANDS_DATA"):
        motion.bank()
    with pytest.raises(InvalidInput, match="wanted"):
        motion.angles_from_landmarks(np.zeros((3, 20, 3)))
