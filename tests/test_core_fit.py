"""The C++ fit of all joints of a hand against its NumPy twin; refusals."""

from __future__ import annotations

import numpy as np
import pytest
import reference_fit
from test_lift import ring_rig, usual_hands_mm, views_of

from rt_hands import _core
from rt_hands.lifting import fit
from rt_hands.lifting.canonical import MIN_PALM_JOINTS, MIN_SCALE_MM, MIN_SPREAD, PALM_JOINTS, PALM_TEMPLATE
from rt_hands.lifting.shape_prior import BONES, shape_prior

OPTIONS = {
    "steps": fit.STEPS,
    "arrived": fit.ARRIVED,
    "longest_step": fit.LONGEST_STEP,
    "cauchy": fit.CAUCHY,
    "bone_std": fit.BONE_STD,
    "own_bone_std": fit.OWN_BONE_STD,
    "least_palm_joints": MIN_PALM_JOINTS,
    "least_spread": MIN_SPREAD,
    "least_scale_mm": MIN_SCALE_MM,
}


def model() -> dict[str, np.ndarray]:
    prior = shape_prior()
    return {
        "mean": prior.mean,
        "precision": prior.precision,
        "bones": prior.bones,
        "pairs": BONES,
        "palm_joints": np.array(PALM_JOINTS),
        "palm_template": PALM_TEMPLATE,
    }


def problem(views: int, seed: int) -> dict[str, np.ndarray]:
    """Noisy readings of two hands, some missing, some wild, and a start that is off and has holes."""
    rng, rig = np.random.default_rng(seed), ring_rig(views)
    truth = usual_hands_mm()
    points = views_of(truth, rig, noise_px=3, seed=seed).reshape(views, 2, 85, 3)[:, :, :21, :2].astype(float)
    points[rng.random(points.shape[:3]) < 0.05] += (60, -40)
    start = truth.reshape(2, 85, 3)[:, :21] + rng.normal(0, 6, (2, 21, 3))
    start[:, rng.permutation(21)[:3]] = np.nan
    bones = np.where(rng.random((2, 20)) < 0.5, 85 * shape_prior().bones, np.nan)
    weights = rng.random((views, 2, 21)) * (rng.random((views, 2, 21)) < 0.9)
    points[weights == 0] = np.nan
    return {
        "points_px": points,
        "weights": weights,
        "noise_px": rng.uniform(1, 6, 2),
        "bones_mm": bones,
        "mirrored": np.array([False, True]),
        "start_mm": start,
    }


def cameras(views: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rig = ring_rig(views)
    return rig.K, rig.distortion, rig.cam_from_world


def fitted(data: dict[str, np.ndarray], views: int, **options: float) -> tuple[np.ndarray, np.ndarray]:
    fitter = _core.HandFitter(**model())
    return fitter(*data.values(), *cameras(views), _core.FitOptions(**OPTIONS | options))  # type: ignore[arg-type]


@pytest.mark.parametrize("level", _core.simd_levels())
@pytest.mark.parametrize("views", [1, 2, 4, 9])
def test_fit_is_the_plain_one(views: int, level: str) -> None:
    before = _core.simd_level()
    _core.set_simd_level(level)  # type: ignore[arg-type]
    try:
        for seed in range(4):
            data = problem(views, seed)
            world, apart = fitted(data, views)
            for hand in (0, 1):
                expected, px = reference_fit.fit_hand(
                    data["points_px"][:, hand],
                    data["weights"][:, hand],
                    data["noise_px"][hand],
                    data["bones_mm"][hand],
                    bool(hand),
                    data["start_mm"][hand],
                    cameras(views),
                    model(),
                    OPTIONS,
                )
                np.testing.assert_allclose(world[hand], expected, atol=1e-6)  # 2e-9 mm seen
                np.testing.assert_allclose(apart[:, hand], px, atol=1e-6)
    finally:
        _core.set_simd_level(before)


def test_hands_do_not_depend_on_each_other() -> None:
    data = problem(4, 1)
    world, _ = fitted(data, 4)
    alone = {
        name: value[:, 1:] if name in ("points_px", "weights") else value[1:] for name, value in data.items()
    }
    np.testing.assert_array_equal(fitted(alone, 4)[0][0], world[1])
    none = {
        name: value[:, :0] if name in ("points_px", "weights") else value[:0] for name, value in data.items()
    }
    assert fitted(none, 4)[0].shape == (0, 21, 3) and fitted(none, 4)[1].shape == (4, 0, 21)


def test_a_hand_without_a_palm_is_absent_and_the_other_is_not() -> None:
    data = problem(4, 2)
    data["start_mm"][0, list(PALM_JOINTS)[2:]] = np.nan
    world, apart = fitted(data, 4)
    assert np.isnan(world[0]).all() and np.isnan(apart[:, 0]).all() and np.isfinite(world[1]).all()


def test_views_that_see_nothing_leave_the_shape() -> None:
    data = problem(3, 3)
    data["weights"][:] = 0
    world, apart = fitted(data, 3, steps=50)
    assert np.isfinite(world).all() and np.isnan(apart).all()


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("points_px", np.zeros((4, 2, 20, 2)), r"points_px must be \(V, H, 21, 2\) .*got \(4, 2, 20, 2\)"),
        ("weights", np.zeros((3, 2, 21)), "weights must be"),
        ("noise_px", np.zeros(3), "noise_px must be"),
        ("bones_mm", np.zeros((2, 21)), "bones_mm must be"),
        ("mirrored", np.zeros(2), "mirrored must be bool"),
        ("start_mm", np.zeros((2, 21)), "start_mm must be"),
        ("points_px", "text", "points_px must"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, value: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fitted(problem(4, 0) | {name: value}, 4)  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "name, value",
    [
        ("pairs", np.full((20, 2), 21)),
        ("mean", np.full((21, 3), np.nan)),
        ("palm_joints", np.array([0, 1, -1, 9, 13, 17])),
        ("palm_template", np.zeros((22, 3))),
        ("precision", np.zeros((63, 62))),
    ],
)
def test_a_model_that_is_none_is_refused(name: str, value: np.ndarray) -> None:
    with pytest.raises(ValueError):
        _core.HandFitter(**model() | {name: value})
    with pytest.raises(ValueError, match="steps"):
        _core.FitOptions(**OPTIONS | {"steps": -1})
