"""RTC at run time on the shipped weights: equivariance, batches, missing joints, wrong input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from rt_hands.errors import InvalidInput
from rt_hands.layout import N_JOINTS, SURFACE_NAMES
from rt_hands.lifting.canonical import PALM_JOINTS, PALM_TEMPLATE
from rt_hands.lifting.rtc import MIN_VALID_JOINTS, Rtc, model_path
from rt_hands.paths import weights_dir

SHIPPED = sorted(path.stem for path in weights_dir().glob("rtc*.onnx"))
NORMALISED = [name for name in SHIPPED if name in ("rtc", "rtc1", "rtc2")]
RIGHT = np.zeros(1, int)


def open_hand(palm_mm: float = 95.0) -> np.ndarray:
    """A right hand held flat, fingers slightly bent: (1, 21, 3) mm, canonical axes."""
    joints = np.zeros((N_JOINTS, 3))
    joints[list(PALM_JOINTS)] = PALM_TEMPLATE
    directions = np.array(
        [[0.55, 0.8, 0.25], [0.1, 1, 0.15], [0, 1, 0.15], [-0.07, 1, 0.15], [-0.15, 1, 0.15]]
    )
    lengths = np.array(
        [[0.42, 0.33, 0.3], [0.43, 0.27, 0.25], [0.47, 0.3, 0.26], [0.44, 0.28, 0.26], [0.35, 0.2, 0.24]]
    )
    for f in range(5):
        way = directions[f] / np.linalg.norm(directions[f])
        for k in range(3):
            joints[2 + 4 * f + k] = joints[1 + 4 * f + k] + lengths[f, k] * way
    return joints[None] * palm_mm


@pytest.fixture(scope="module")
def nets() -> dict[str, Rtc]:
    """Every shipped network, loaded once."""
    return {name: Rtc(name) for name in SHIPPED}


def test_default_and_the_source_models_ship() -> None:
    assert {"rtc", "rtc1", "rtc2"} <= set(SHIPPED)
    assert model_path("default") == model_path("rtc")
    assert model_path("rtc2").stat().st_size <= 12e6
    for name in SHIPPED:
        assert (weights_dir() / f"{name}.md").is_file(), f"{name} ships without a model card"


@pytest.mark.parametrize("name", NORMALISED)
def test_skin_lies_about_a_finger_radius_from_its_bone(nets: dict[str, Rtc], name: str) -> None:
    joints = open_hand()
    surface, confidence = nets[name](joints, RIGHT)
    for point, at in zip(SURFACE_NAMES[8:40], surface[0, 8:40], strict=True):
        f = ("index", "middle", "ring", "pinky").index(point.split("_")[0])
        a = joints[0, 5 + 4 * f + (0 if "proximal" in point else 1)]
        b = joints[0, 6 + 4 * f + (0 if "proximal" in point else 1)]
        distance = np.linalg.norm(np.cross(at - a, b - a)) / np.linalg.norm(b - a)
        assert 3.0 < distance < 20.0, f"{point} is {distance:.1f} mm from its bone"  # measured 4.9 .. 16.3
    assert ((confidence > 0) & (confidence < 1)).all()


def test_back_and_palm_lie_on_their_own_sides(nets: dict[str, Rtc]) -> None:
    surface, _ = nets["rtc"](open_hand(), RIGHT)
    back, palm = surface[0, 40:52], surface[0, 52:64]
    assert (palm[:, 2] - back[:, 2]).min() > 8.0  # +z points out of the palm; measured 25
    assert back[:3, 1].mean() < back[9:, 1].mean()  # row 0 is next to the wrist
    assert back[0, 0] > back[2, 0] and palm[0, 0] > palm[2, 0]  # column 0 is on the thumb's side


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_surface_moves_with_the_hand(seed: int) -> None:
    net = Rtc("rtc")
    rng = np.random.default_rng(seed)
    joints = open_hand() + rng.normal(0, 1.0, (1, 21, 3))
    turn, scale, shift = (
        Rotation.random(random_state=seed).as_matrix(),
        rng.uniform(0.7, 1.3),
        rng.uniform(-900, 900, 3),
    )
    still, before = net(joints, RIGHT)
    moved, after = net(joints @ turn.T * scale + shift, RIGHT)
    np.testing.assert_allclose(
        moved, still @ turn.T * scale + shift, atol=5e-4
    )  # measured 4e-13; one rounding of the input moves it 1e-5
    np.testing.assert_allclose(after, before, atol=1e-4)


@pytest.mark.parametrize("name", SHIPPED)
def test_left_hand_is_the_exact_mirror(nets: dict[str, Rtc], name: str) -> None:
    joints = open_hand() + np.random.default_rng(0).normal(0, 2, (1, 21, 3))
    right, seen_right = nets[name](joints, RIGHT)
    left, seen_left = nets[name](joints * [-1, 1, 1], np.ones(1, int))
    np.testing.assert_array_equal(left, right * [-1, 1, 1])
    np.testing.assert_array_equal(seen_left, seen_right)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_batch_equals_its_hands_one_by_one(nets: dict[str, Rtc], name: str) -> None:
    rng = np.random.default_rng(1)
    joints = open_hand() + rng.normal(0, 3, (5, 21, 3))
    side = np.array([0, 1, 1, 0, 1])
    together, _ = nets[name](joints, side)
    alone = np.concatenate([nets[name](joints[i : i + 1], side[i : i + 1])[0] for i in range(5)])
    np.testing.assert_allclose(together, alone, atol=2e-4)  # sums are ordered otherwise; measured 2.2e-5


@pytest.mark.parametrize("missing", range(N_JOINTS))
def test_one_missing_joint_moves_the_rest_little(nets: dict[str, Rtc], missing: int) -> None:
    joints = open_hand()
    whole, _ = nets["rtc"](joints, RIGHT)
    joints[0, missing] = np.nan
    part, confidence = nets["rtc"](joints, RIGHT)
    assert np.isfinite(part).all() and (confidence > 0).all()
    assert np.median(np.linalg.norm(part - whole, axis=-1)) < 1.5  # measured 0.05 .. 0.61


def test_what_is_missing_does_not_leak() -> None:
    net, joints = Rtc("rtc"), open_hand()
    joints[0, 8] = np.nan
    once, _ = net(joints, RIGHT)
    joints[0, 8] = [np.inf, 0, 0]
    twice, _ = net(joints, RIGHT)
    np.testing.assert_array_equal(once, twice)


@pytest.mark.parametrize("name", SHIPPED)
def test_absent_hands_are_nan_with_no_confidence(nets: dict[str, Rtc], name: str) -> None:
    few = open_hand()
    few[0, MIN_VALID_JOINTS - 1 :] = np.nan
    zero = np.zeros((1, 21, 3))
    joints = np.concatenate([open_hand(), np.full((1, 21, 3), np.nan), few, zero])
    surface, confidence = nets[name](joints, np.zeros(4, int))
    assert np.isfinite(surface[0]).all()
    assert np.isnan(surface[1:]).all()
    assert not confidence[1:].any()


def test_no_hands_give_no_surface(nets: dict[str, Rtc]) -> None:
    surface, confidence = nets["rtc"](np.zeros((0, 21, 3)), np.zeros(0, int))
    assert surface.shape == (0, 64, 3) and confidence.shape == (0, 64)


def test_a_damaged_file_is_named(tmp_path) -> None:
    cut_off = tmp_path / "rtc.onnx"
    cut_off.write_bytes(model_path("default").read_bytes()[:5000])
    with pytest.raises(InvalidInput, match=r"rtc\.onnx is no ONNX network"):
        Rtc(str(cut_off))


def test_metres_and_unknown_models_are_named(nets: dict[str, Rtc]) -> None:
    with pytest.raises(InvalidInput, match="metres"):
        nets["rtc"](open_hand() / 1000, RIGHT)
    with pytest.raises(InvalidInput, match=r"No RTC model 'rtc9'.*rtc2"):
        Rtc("rtc9")
    with pytest.raises(InvalidInput, match=r"wanted \(N, 21, 3\)"):
        nets["rtc"](open_hand()[0], RIGHT)


def test_another_network_is_no_rtc(standin_path):
    with pytest.raises(InvalidInput, match="is no RTC network: it has belief_maps, image, presence"):
        Rtc(str(standin_path))
