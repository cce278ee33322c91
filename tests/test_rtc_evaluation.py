"""Evaluation and benchmark of RTC: metrics against oracles, spoilt joints, floors, the picture, the 64 sessions."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from rt_hands.benchmarks.rtc import candidates, interleaved, pair_of_hands, single_point_models
from rt_hands.evaluation import rtc as evaluation
from rt_hands.evaluation.calibration import auc, expected_calibration_error
from rt_hands.evaluation.error_picture import colour_of, draw_errors
from rt_hands.lifting.canonical import canonicalise
from rt_hands.lifting.rtc import Rtc, model_path


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), steps=st.integers(2, 50))
def test_auc_agrees_with_mann_whitney(seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.random(60) < 0.4
    truth[:2] = [True, False]
    score = np.round(rng.random(60) + 0.3 * truth, 2) // (1 / steps)  # ties
    u = mannwhitneyu(score[truth], score[~truth]).statistic
    assert auc(score, truth.astype(float)) == pytest.approx(u / (truth.sum() * (~truth).sum()), abs=1e-12)


def test_auc_of_one_kind_is_nan() -> None:
    assert np.isnan(auc(np.ones(3), np.ones(3)))


def test_calibration_error_of_honest_and_of_sure_probabilities() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(200_000)
    assert expected_calibration_error(p, (rng.random(len(p)) < p).astype(float)) < 0.006  # measured 0.002
    assert expected_calibration_error(np.ones(10), np.repeat([0.0, 1.0], 5)) == pytest.approx(0.5)
    assert expected_calibration_error(np.zeros(4), np.zeros(4)) == 0.0


def test_noise_and_missing_are_what_they_say_and_repeatable() -> None:
    joints = np.zeros((500, 21, 3))
    noisy = evaluation.with_noise(joints, 2.0, 1)
    assert noisy.std() == pytest.approx(2.0, rel=0.02)
    np.testing.assert_array_equal(noisy, evaluation.with_noise(joints, 2.0, 1))
    for count in range(5):
        spoilt = evaluation.with_missing(joints, count, 1)
        assert (np.isnan(spoilt).all(-1).sum(1) == count).all()


def test_colours_run_from_dark_to_light() -> None:
    colours = colour_of(np.array([0.0, 0.5, 1.0]), 0.0, 1.0).astype(int)
    assert colours.shape == (3, 3)
    assert (np.diff(colours.sum(1)) > 0).all()


def test_picture_shows_the_worst_point_in_the_brightest_colour() -> None:
    joints, _ = pair_of_hands()
    surface, _ = Rtc("rtc")(joints[:1], np.zeros(1, int))
    error = np.full(64, 0.2)
    error[8] = 1.0  # index_proximal_dorsal: seen from the back only
    picture = draw_errors(joints[0] / 95, surface[0] / 95, error)
    assert picture.dtype == np.uint8 and picture.ndim == 3
    views = picture[:640, :640], picture[:640, 640:]
    brightest = colour_of(np.ones(1), 0.2, 1.0)[0]
    shown = [bool((view == brightest).all(-1).sum() > 100) for view in views]
    assert shown == [False, True]


def test_64_sessions_give_what_the_batched_graph_gives() -> None:
    joints_mm, side = pair_of_hands()
    joints, valid, _ = canonicalise(joints_mm, side)
    session = ort.InferenceSession(str(model_path("rtc2")), providers=["CPUExecutionProvider"])
    whole, confidence = session.run(None, {"joints": joints, "valid": valid})
    kept = {w.name: w for w in session.get_inputs()}
    assert set(kept) == {"joints", "valid"}
    mean, spread, centre = _scaling()
    features = np.concatenate([((joints - mean) / spread * valid[..., None]).reshape(2, -1), valid], 1)
    feeds = {"features": features.astype(np.float32)}
    for k, model in enumerate(single_point_models(model_path("rtc2"))):
        (out,) = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, feeds)
        np.testing.assert_allclose(out[:, :3] * spread + centre[k], whole[:, k], atol=1e-5)
        np.testing.assert_allclose(1 / (1 + np.exp(-out[:, 3])), confidence[:, k], atol=1e-5)


def _scaling() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    onnx = pytest.importorskip("onnx", reason="onnx reads the weights: pip install onnx")
    arrays = {
        t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(str(model_path("rtc2"))).graph.initializer
    }
    names = ("joint_mean", "spread", "surface_mean")
    return tuple(arrays[f"net.scaling.{name}"] for name in names)  # type: ignore[return-value]


def test_every_candidate_is_timed_in_every_round() -> None:
    pytest.importorskip("onnx", reason="the 64 sessions are built with onnx: pip install onnx")
    ms = interleaved(candidates((1,)), 3)
    assert len(ms) == 5
    assert all(values.shape == (15,) and (values > 0).all() for values in ms.values())  # bursts of five


@dataclass
class Hands:
    """Stand-in for the data engine's batch."""

    joints_mm: np.ndarray
    surface_mm: np.ndarray
    visible: np.ndarray


def test_tables_fill_every_figure() -> None:
    rng = np.random.default_rng(0)
    joints = np.repeat(pair_of_hands()[0][:1], 40, axis=0) + rng.normal(0, 2, (40, 21, 3))
    net = Rtc("rtc")
    surface, _ = evaluation.predict(net, joints)
    hands = Hands(joints, surface + [0.3, 0.0, 0.4], (rng.random((40, 64)) < 0.8).astype(float))
    nets = dict.fromkeys(("rtc1", "rtc2_none", "rtc2_aug", "rtc2", "rtc"), net)
    figures: dict[str, float] = {}
    evaluation.source_table(nets, hands, figures)  # type: ignore[arg-type]
    evaluation.robustness_table(nets, hands, figures, 0)  # type: ignore[arg-type]
    evaluation.confidence_table(nets, hands, figures)  # type: ignore[arg-type]
    wanted = {"rtc1_both_mm", "rtc2_none_mm", "rtc2_aug_mm", "rtc2_both_mm", "default_mm"}
    wanted |= {"default_noise1mm_mm", "default_missing4_mm", "ece", "auc"}
    assert wanted <= figures.keys()
    assert figures["default_mm"] == pytest.approx(0.5, abs=1e-3)
    assert figures["default_noise4mm_mm"] > figures["default_noise1mm_mm"] > figures["default_mm"]


@pytest.mark.skipif(
    importlib.util.find_spec("anny") is None, reason="floors need the data engine: pip install anny"
)
def test_floor_of_the_true_skin_is_nothing_and_bone_lengths_beat_the_mean() -> None:
    from rt_hands.evaluation import rtc_floor
    from rt_hands.synth.library import library
    from rt_hands.synth.points import surface_for

    hands = evaluation.test_hands(64, 0)
    people = np.unique(hands.subject)
    own = rtc_floor.surface_with(library(), hands, library().coefficients[people], people)
    np.testing.assert_allclose(own, surface_for(hands.subject, hands.angles), atol=1e-3)  # mm; measured 3e-5
    figures = {key: value for key, _, value in rtc_floor.floors(hands)}
    assert (
        figures["floor_bone_length_skin_mm"] < 0.5 * figures["floor_mean_skin_mm"]
    )  # measured 0.16 against 0.96
