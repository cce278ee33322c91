"""Value types refuse wrong shapes in one sentence and keep absent points as NaN with score 0."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

import rt_hands
from rt_hands import Frame, FrameSet, Hands2D, Hands3D, InvalidInput

PICTURE = np.zeros((4, 6, 3), np.uint8)


def test_empty_hands_are_nan_with_score_0() -> None:
    flat, solid = Hands2D.empty(), Hands3D.empty()
    assert (
        np.isnan(flat.points_px[:, :2]).all() and (flat.points_px[:, 2] == 0).all() and not flat.present.any()
    )
    assert np.isnan(solid.points_world_mm).all() and (solid.score == 0).all() and (solid.views == 0).all()


def test_hand_views_share_memory() -> None:
    hands = Hands2D.empty()
    hands.hand(1)[0] = 1, 2, 0.5
    assert hands.points_px[85].tolist() == [1, 2, 0.5]
    solid = Hands3D.empty()
    assert solid.hand_mm(0).shape == (85, 3)
    with pytest.raises(InvalidInput, match="0 is right"):
        hands.hand(2)


@pytest.mark.parametrize("image", [PICTURE[..., 0], PICTURE.astype(float), PICTURE[:0], PICTURE[..., :2]])
def test_a_frame_wants_uint8_bgr(image: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match="Frame 3 of camera 'left'"):
        Frame(image, "left", 3, 0)


def test_frame_set_times_and_lookup() -> None:
    a, b = Frame(PICTURE, "a", 0, 1_000), Frame(PICTURE, "b", 5, 3_500)
    frames = FrameSet((a, b), 0)
    assert (frames.t_ns, frames.spread_ns, frames.cameras) == (1_000, 2_500, ("a", "b"))
    assert frames.get("b") is b and frames.get("c") is None and a.size_px == (6, 4)


def test_a_frame_shows_itself_without_its_picture() -> None:
    frame = Frame(PICTURE, "left", 3, 1_000)
    assert repr(frame) == "Frame('left' 3, 6x4, t_ns=1000)"
    assert repr(dataclasses.replace(frame, file="a.png")) == "Frame('left' 3, 6x4, t_ns=1000 'a.png')"
    assert repr(FrameSet((frame,), 7)) == "FrameSet(frames=(Frame('left' 3, 6x4, t_ns=1000),), index=7)"


def test_every_public_name_is_there_and_some_are_loaded_late() -> None:
    code = "import sys, rt_hands; print('rt_hands.pipeline' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"
    assert all(getattr(rt_hands, name) is not None for name in rt_hands.__all__)
    assert {"Pipeline", "RigDetector", "load_hands", "load_rig"} <= set(rt_hands.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        rt_hands.Nothing  # noqa: B018


@pytest.mark.parametrize("cameras", [(), ("a", "a")])
def test_frame_set_wants_different_cameras(cameras: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput, match="different cameras"):
        FrameSet(tuple(Frame(PICTURE, c, 0, 0) for c in cameras), 0)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(InvalidInput, match=r"points_px has shape \(85, 3\); wanted \(170, 3\)"):
        Hands2D(np.zeros((85, 3), np.float32), np.zeros(2, bool))
    good = Hands3D.empty()
    with pytest.raises(InvalidInput, match="views"):
        dataclasses.replace(good, views=np.zeros(3, np.int32))


def test_types_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Hands2D.empty().present = np.ones(2, bool)  # type: ignore[misc]


def test_hands_are_equal_where_their_arrays_are():
    for kind in (Hands2D, Hands3D):
        assert kind.empty() == kind.empty() and kind.empty() != "hands"
    other = Hands2D.empty()
    other.points_px[3] = 1
    assert other != Hands2D.empty() and Hands2D.empty() != Hands3D.empty()


def test_lists_in_place_of_arrays_are_a_sentence():
    with pytest.raises(InvalidInput, match=r"Hands2D\.points_px is list; wanted a NumPy array \(170, 3\)"):
        Hands2D([[0.0] * 3] * 170, np.zeros(2, bool))
