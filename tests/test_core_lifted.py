"""What the core says of lifted hands against NumPy twins, RTC on bone frames against onnxruntime, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import reference_fit
from hypothesis import given, settings
from hypothesis import strategies as st

from rt_hands import _core
from rt_hands.inference.onnx_weights import read_onnx
from rt_hands.inference.onnxruntime_engine import load_session
from rt_hands.lifting.canonical import (
    MIN_PALM_JOINTS,
    MIN_SCALE_MM,
    MIN_SPREAD,
    PALM_JOINTS,
    PALM_TEMPLATE,
    canonicalise,
)
from rt_hands.lifting.rtc import Rtc, model_path

FRAMES = {
    "palm": np.array(PALM_JOINTS),
    "template": PALM_TEMPLATE,
    "least_palm_joints": MIN_PALM_JOINTS,
    "least_spread": MIN_SPREAD,
    "least_scale_mm": MIN_SCALE_MM,
}
FINGERS = np.array([2, 3, 4, 6, 7, 8, 10, 11, 12, 14, 15, 16, 18, 19, 20])


def hands(seed: int, count: int, lost: float = 0.1) -> np.ndarray:
    """(N, 21, 3) mm: palms about the template's, fingers anywhere, some joints missing."""
    rng = np.random.default_rng(seed)
    joints = rng.normal(0, 60, (count, 21, 3))
    joints[:, list(PALM_JOINTS)] = PALM_TEMPLATE * 80 + rng.normal(0, 6, (count, 6, 3))
    joints[:, :, 0] *= rng.choice([-1, 1], (count, 1))
    joints += rng.normal(0, 500, (count, 1, 3))
    joints[rng.random((count, 21)) < lost] = np.nan
    return joints


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.floats(0, 0.8))
def test_readings_are_their_twin(seed: int, lost: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(300, 80, (3, 2, 85, 3)).astype(np.float32)
    points[..., 2] = rng.uniform(-0.1, 1.2, points.shape[:3])
    points[rng.random(points.shape[:3]) < lost] = (np.nan, np.nan, 0)
    points[..., 1][rng.random(points.shape[:3]) < 0.05] = np.nan  # half a place is none
    joints = points[:, :, :21].astype(float)
    known = np.isfinite(joints[..., :2]).all(-1) & (joints[..., 2] > 0)
    known &= known.sum(2, keepdims=True) >= 12
    score = np.where(known, joints[..., 2], 0)
    weight = np.where(known, np.exp(2 * (np.minimum(score, 1) - 0.75) / 0.2), 0)
    box = [np.where(known[..., None], joints[..., :2], end) for end in (-np.inf, np.inf)]
    size = np.where(known.any(2), (box[0].max(2) - box[1].min(2)).max(-1), 1)
    wanted = np.where(known[..., None], joints[..., :2], np.nan), weight, size, score.mean(2)
    found = _core.readings(points, joints=21, least=12, usual_score=0.75, score_fall=0.2)
    for ours, twin in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, twin, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.floats(0, 0.6))
def test_frames_are_umeyamas_and_lead_back(seed: int, lost: float) -> None:
    joints, mirrored = hands(seed, 12, lost), np.arange(12) % 2 == 1
    palms = joints[:, list(PALM_JOINTS)] * np.where(mirrored, -1, 1)[:, None, None] ** [1, 2, 2]
    *frame, present, measured = _core.hand_frames(joints, mirrored, **FRAMES)  # type: ignore[arg-type]
    enough = np.isfinite(palms[..., 0]).sum(1) >= MIN_PALM_JOINTS
    assert (present <= enough).all() and np.array_equal(np.isfinite(measured), enough)
    twin = reference_fit.palm_frames(palms[present], PALM_TEMPLATE)
    for ours, plain in zip(frame, twin[:3], strict=True):
        np.testing.assert_allclose(ours[present], plain, atol=1e-7)
        assert np.isnan(ours[~present]).all()
    inside, valid = _core.into_frames(joints, mirrored, *frame)
    assert np.array_equal(valid == 1, np.isfinite(joints[..., 0]) & present[:, None])
    assert (inside[valid == 0] == 0).all()
    back = _core.out_of_frames(inside, mirrored, *frame)
    np.testing.assert_allclose(back[valid == 1], joints[valid == 1], atol=2e-3)


def test_joints_on_a_line_and_too_small_hands_have_no_frame() -> None:
    line = np.zeros((2, 21, 3)) + np.arange(21.0)[:, None] * (10, 20, 5)
    line[1, list(PALM_JOINTS)] = PALM_TEMPLATE * 10
    *_, present, measured = _core.hand_frames(line, np.zeros(2, bool), **FRAMES)  # type: ignore[arg-type]
    assert not present.any() and measured[1] == pytest.approx(10)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.floats(0, 0.6))
def test_handedness_is_its_twin(seed: int, lost: float) -> None:
    joints = hands(seed, 8, lost)
    heights = []
    for sign in (1, -1):
        flipped = joints * (sign, 1, 1)
        rotation, origin, scale, spread = reference_fit.palm_frames(
            flipped[:, list(PALM_JOINTS)], PALM_TEMPLATE
        )
        height = np.einsum("njk,nk->nj", flipped[:, FINGERS] - origin[:, None], rotation[:, :, 2])
        known = np.isfinite(height)
        mean = np.where(known, height, 0).sum(1) / np.maximum(known.sum(1), 1)
        mean = mean / np.where(scale > 0, scale, np.nan)
        sound = np.isfinite(flipped[:, list(PALM_JOINTS), 0]).sum(1) >= MIN_PALM_JOINTS
        sound &= (spread > MIN_SPREAD) & (scale >= MIN_SCALE_MM) & known.any(1)
        heights.append(np.where(sound, mean, np.nan))
    found = _core.right_handedness(joints, fingers=FINGERS, **FRAMES)  # type: ignore[arg-type]
    np.testing.assert_allclose(found, heights[0] - heights[1], atol=1e-8)


def test_mean_distance_is_of_joints_that_both_have() -> None:
    a, b = hands(0, 3), hands(1, 2)
    a[2] = np.nan
    apart = np.linalg.norm(a[:, None] - b[None], axis=3)
    known = np.isfinite(apart)
    wanted = np.where(known, apart, 0).sum(2) / np.maximum(known.sum(2), 1)
    np.testing.assert_allclose(_core.mean_apart(a, b), wanted)
    assert (_core.mean_apart(a, b)[2] == 0).all()


def test_skin_that_was_seen_counts_less_the_further_it_lies() -> None:
    computed = hands(2, 2, lost=0)
    away = np.zeros((2, 21, 1)) + np.linspace(0, 20, 21)[:, None]
    seen = computed + away * np.array([0.6, 0.0, 0.8])
    seen[0, 5] = np.nan
    share = np.where(np.isfinite(seen[..., :1]), 0.4 / (1 + (away / 6) ** 2), 0)
    wanted = computed + share * np.nan_to_num(seen - computed)
    np.testing.assert_allclose(_core.blend_skin(seen, computed, share=0.4, reach_mm=6.0), wanted)
    np.testing.assert_array_equal(_core.blend_skin(seen, computed, share=0.0, reach_mm=6.0), computed)


@pytest.mark.parametrize("level", _core.simd_levels())
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_rtc_is_what_onnxruntime_computes(level: _core.SimdLevel, count: int) -> None:
    rng = np.random.default_rng(count)
    joints, valid, _ = canonicalise(hands(count, count), np.zeros(count, int))
    joints = np.where(valid[..., None] > 0, joints + rng.normal(0, 0.1, joints.shape), 0).astype(np.float32)
    session = load_session(model_path("default"), 1)
    wanted = session.run(["surface", "confidence"], {"joints": joints, "valid": valid})
    before = _core.simd_level()
    try:
        _core.set_simd_level(level)
        found = Rtc()._network(joints, valid)
    finally:
        _core.set_simd_level(before)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=2e-5)  # palms: 2 um


def test_what_does_not_fit_is_refused() -> None:
    joints, right = hands(0, 2), np.zeros(2, bool)
    with pytest.raises(ValueError, match=r"palm must be joints 0 \.\. 20, got 21"):
        _core.hand_frames(joints, right, **FRAMES | {"palm": np.full(6, 21)})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="mirrored must be bool"):
        _core.hand_frames(joints, np.zeros(2), **FRAMES)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"rotation must be \(N, 3, 3\)"):
        _core.into_frames(joints, right, np.eye(3), np.zeros((2, 3)), np.ones(2))
    with pytest.raises(ValueError, match="computed_mm must be of the shape of seen_mm"):
        _core.blend_skin(joints, joints[:1], share=0.5, reach_mm=6)
    with pytest.raises(ValueError, match=r"joints must be 1 \.\. P, got 3"):
        _core.readings(np.zeros((1, 2, 2, 3)), joints=3, least=1, usual_score=0.7, score_fall=0.2)
    arrays = read_onnx(model_path("default")).arrays
    weights = {name.removeprefix("net."): a.T.copy() for name, a in arrays.items()}
    with pytest.raises(ValueError, match=r"RTC lacks the weights 'repair\.0\.weight'"):
        _core.RtcBones({})
    with pytest.raises(ValueError, match=r"repair\.0\.weight must be \(84, N\), got \(20, 256\)"):
        _core.RtcBones(weights | {"repair.0.weight": np.zeros((20, 256))})
    with pytest.raises(ValueError, match=r"'repair\.0\.bias' must be finite"):
        _core.RtcBones(weights | {"repair.0.bias": np.full(256, np.nan)})
