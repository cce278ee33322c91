"""The 170 points as data: permutations are permutations, and names agree across orders."""

from __future__ import annotations

import numpy as np
import pytest

from rt_hands import layout
from rt_hands.errors import InvalidInput

ORDERS = sorted(layout.JOINT_ORDERS)


def test_counts_and_unique_names() -> None:
    assert len(layout.POINT_NAMES) == len(set(layout.POINT_NAMES)) == layout.N_POINTS == 170
    assert layout.JOINT_NAMES[0] == "wrist" and layout.JOINT_NAMES[8] == "index_tip"
    assert layout.SURFACE_NAMES[0] == "thumb_proximal_dorsal" and layout.SURFACE_NAMES[-1] == "palm_r3_c2"


@pytest.mark.parametrize("i", range(170))
def test_index_of_inverts_names(i: int) -> None:
    assert layout.index_of(layout.POINT_NAMES[i]) == i


def test_unknown_name_says_what_names_look_like() -> None:
    with pytest.raises(InvalidInput, match="left_index_tip"):
        layout.index_of("index_finger_tip")


def test_mirror_swaps_hands_and_keeps_fingers() -> None:
    names = np.array(layout.POINT_NAMES)
    mirrored = names[layout.MIRROR]
    assert all(
        a.split("_", 1)[1] == b.split("_", 1)[1] and a != b for a, b in zip(names, mirrored, strict=True)
    )
    assert (layout.MIRROR[layout.MIRROR] == np.arange(170)).all()


@pytest.mark.parametrize("order", ORDERS)
def test_orders_are_permutations_of_the_joints(order: str) -> None:
    joints = np.sort(layout.JOINT_ORDERS[order])
    assert (joints == np.concatenate([np.arange(21), 85 + np.arange(21)])).all()


@pytest.mark.parametrize("order", ORDERS)
def test_to_order_inverts_from_order(order: str) -> None:
    joints = np.random.default_rng(0).normal(size=(3, 42, 2))
    points = layout.from_order(joints, order)  # type: ignore[arg-type]
    assert np.isnan(points[:, 21:85]).all()
    np.testing.assert_array_equal(layout.to_order(points, order), joints)  # type: ignore[arg-type]


def test_interhand_lists_tip_to_base_and_wrist_last() -> None:
    names = layout.joint_names("interhand")
    assert names[:4] == ("right_thumb_tip", "right_thumb_ip", "right_thumb_mcp", "right_thumb_cmc")
    assert names[4] == "right_index_tip" and names[20] == "right_wrist" and names[21] == "left_thumb_tip"


def test_interhand_agrees_with_the_published_permutation() -> None:
    # InterHand2.6M -> MediaPipe, one hand: position i of the result is taken from this place.
    take = [20, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16]
    interhand = np.arange(42.0)[:, None]
    assert layout.from_order(interhand, "interhand")[:21, 0].tolist() == take


def test_coco_wholebody_lists_the_left_hand_first() -> None:
    names = layout.joint_names("coco_wholebody")
    assert names[0] == "left_wrist" and names[21] == "right_wrist" and names[1] == "left_thumb_cmc"


@pytest.mark.parametrize("shape", [(170,), (85, 2), (42, 2)])
def test_wrong_shapes_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match="170"):
        layout.to_order(np.zeros(shape), "interhand")


def test_unknown_order_lists_the_known() -> None:
    with pytest.raises(InvalidInput, match="mediapipe"):
        layout.to_order(np.zeros((170, 2)), "smplx")  # type: ignore[arg-type]


def test_bones_are_trees_and_cages() -> None:
    assert sorted(child for _, child in layout.JOINT_BONES) == list(range(1, 21))
    assert all(parent < child for parent, child in layout.JOINT_BONES)
    edges = np.array(layout.SURFACE_BONES)
    assert len({tuple(sorted(e)) for e in edges.tolist()}) == 94 and edges.min() == 21 and edges.max() == 84
    finger_edges = edges[(edges < 61).all(1)]
    assert (np.bincount(finger_edges.ravel())[21:61] == 3).all()  # two along the ring, one to the other ring


def test_colours_follow_the_finger_and_tell_parts_apart() -> None:
    colours = layout.point_colours_bgr()
    assert colours.shape == (170, 3) and colours.dtype == np.uint8
    assert (
        colours[layout.index_of("right_index_tip")] == colours[layout.index_of("left_index_middle_palmar")]
    ).all()
    assert len({tuple(c) for c in colours.tolist()}) == 6
