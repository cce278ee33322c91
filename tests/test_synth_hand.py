"""The hand model: exactness against anny, joints on bones, mirror, handedness, forearm."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput
from rt_hands.layout import HAND_POINT_NAMES, JOINT_BONES, index_of

pytest.importorskip("anny", reason="hands are made from the package anny")

from rt_hands.synth import arm_model, hand, library, poses, skeleton
from rt_hands.synth.skeleton import DOF

SUBJECT = 3


def bent(**degrees: float) -> NDArray[np.float32]:
    """A straight hand with some joints bent."""
    angles = np.zeros(skeleton.N_DOFS, np.float32)
    for name, value in degrees.items():
        angles[DOF[name]] = np.radians(value)
    return angles


def mesh_of(
    angles: NDArray[np.float32], side: int = hand.RIGHT, world: NDArray[np.float64] | None = None
) -> hand.HandMesh:
    return library.hand_model().posed(library.subject(SUBJECT), angles, side, world)


def random_pose(seed: int) -> NDArray[np.float32]:
    return poses.propose(np.random.default_rng(seed), 1)[0]


def volume_mm3(mesh: hand.HandMesh) -> float:
    """Signed volume: positive when faces turn counter-clockwise seen from outside."""
    a, b, c = mesh.vertices_mm[mesh.faces].astype(np.float64).transpose(1, 0, 2)
    return float(np.einsum("fi,fi->f", a, np.cross(b, c)).sum() / 6)


def test_skinning_equals_annys_forward() -> None:
    """Our NumPy skinning against anny's torch forward, every bone turned at random; measured 1e-12 mm."""
    import torch

    model = arm_model.anny_arm()
    coefficients = model.get_phenotype_blendshape_coefficients(age=0.7, gender=0.3)
    rest = model.get_rest_model(coefficients)
    rng = np.random.default_rng(0)
    bones = rest["rest_bone_poses"][0].numpy().copy()
    turns = skeleton.rot(0, rng.normal(0, 0.4, len(bones))) @ skeleton.rot(2, rng.normal(0, 0.4, len(bones)))
    posed = bones.copy()
    posed[:, :3, :3] = bones[:, :3, :3] @ turns
    posed[:, :3, 3] += rng.normal(0, 0.01, (len(bones), 3))
    theirs = model(
        pose_parameters=torch.tensor(posed)[None],
        phenotype_kwargs={"age": 0.7, "gender": 0.3},
        pose_parameterization="world",
    )
    weights = arm_model._dense_weights(model.to_model_data())
    transforms = (posed @ np.linalg.inv(bones))[:, :3]
    ours = hand.skin(rest["rest_vertices"][0].numpy(), weights, transforms)
    assert np.abs(ours - theirs["vertices"][0].numpy()).max() * 1000 < 0.05


def test_rest_angles_give_the_rest_shape() -> None:
    subject = library.subject(SUBJECT)
    mesh = library.hand_model().posed(subject, subject.skeleton.rest_angles)
    assert np.abs(mesh.vertices_mm - subject.vertices_mm).max() < 1e-3  # measured 2e-5 mm


@pytest.mark.parametrize("side", [hand.RIGHT, hand.LEFT])
def test_handedness_and_the_way_fingers_curl(side: int) -> None:
    """Radial x distal points out of the palm for a right hand and into it for a left; flexion goes to the palm."""
    straight, curled = mesh_of(bent(), side), mesh_of(bent(middle_mcp_flexion=60), side)
    j = straight.joints_mm
    radial = j[index_of("index_mcp")] - j[index_of("pinky_mcp")]
    distal = j[index_of("middle_mcp")] - j[index_of("wrist")]
    palmar = curled.joints_mm[index_of("middle_tip")] - j[index_of("middle_tip")]
    palmar -= (palmar @ distal) / (distal @ distal) * distal
    triple = np.dot(np.cross(radial, distal), palmar)
    assert np.sign(triple) == (1 if side == hand.RIGHT else -1)
    palm, back = straight.surface_mm[52:].mean(0), straight.surface_mm[40:52].mean(0)
    assert (palm - back) @ palmar > 0


def test_right_palm_to_the_viewer_has_its_thumb_on_the_right() -> None:
    """x to the viewer's right, y up, z towards the viewer: the hand frame of a right hand."""
    right, left = mesh_of(bent()), mesh_of(bent(), hand.LEFT)
    assert right.joints_mm[index_of("thumb_tip"), 0] > right.joints_mm[index_of("pinky_mcp"), 0]
    assert left.joints_mm[index_of("thumb_tip"), 0] < left.joints_mm[index_of("pinky_mcp"), 0]
    assert right.surface_normals[52:, 2].min() > 0 > right.surface_normals[40:52, 2].max()


@pytest.mark.parametrize("finger", ["index", "middle", "ring", "pinky"])
def test_angles_are_angles(finger: str) -> None:
    """The bend between bones is the angle asked for: measured within 0.5 degrees."""
    mesh = mesh_of(bent(**{f"{finger}_pip_flexion": 70, f"{finger}_dip_flexion": 40}))
    points = mesh.joints_mm[[index_of(f"{finger}_{j}") for j in ("mcp", "pip", "dip")]]
    end = mesh_of(bent(**{f"{finger}_pip_flexion": 70})).joints_mm[index_of(f"{finger}_dip")]
    np.testing.assert_allclose(points[2], end, atol=1e-3)  # the last joint's angle does not move itself
    u, v = points[1] - points[0], points[2] - points[1]
    bend = np.degrees(np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v)))
    assert abs(bend - 70) < 2.5


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_bones_keep_their_length(seed: int) -> None:
    """Joint to joint lengths are the subject's in every pose; the pulp gives a little (measured < 2.1 mm)."""
    base, mesh = mesh_of(bent()), mesh_of(random_pose(seed))
    for a, b in JOINT_BONES:
        before, after = (np.linalg.norm(m.joints_mm[a] - m.joints_mm[b]) for m in (base, mesh))
        name = HAND_POINT_NAMES[b]
        loose = 2.5 if name.endswith("tip") else (6.0 if name in ("ring_mcp", "pinky_mcp") else 1e-2)
        assert abs(before - after) < loose, name


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_left_hand_is_the_mirror_image(seed: int) -> None:
    right, left = mesh_of(random_pose(seed)), mesh_of(random_pose(seed), hand.LEFT)
    mirror = np.array([-1.0, 1.0, 1.0])
    np.testing.assert_array_equal(left.points_mm, right.points_mm * mirror)
    np.testing.assert_array_equal(left.vertices_mm, right.vertices_mm * mirror)
    assert volume_mm3(right) > 0 and volume_mm3(left) > 0


def test_world_transform_moves_everything_rigidly() -> None:
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = skeleton.rot(1, np.array(0.8)), (10, -20, 500)
    here, there = mesh_of(random_pose(1)), mesh_of(random_pose(1), world=world)
    np.testing.assert_allclose(here.points_mm @ world[:3, :3].T + world[:3, 3], there.points_mm, atol=1e-3)
    np.testing.assert_allclose(here.surface_normals @ world[:3, :3].T, there.surface_normals, atol=1e-4)


def test_mesh_is_closed_and_normals_point_out() -> None:
    mesh = mesh_of(random_pose(5))
    edges = np.sort(mesh.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    _, count = np.unique(edges, axis=0, return_counts=True)
    assert (count == 2).all()
    grown = mesh.vertices_mm + 0.2 * mesh.normals
    a, b, c = grown[mesh.faces].astype(np.float64).transpose(1, 0, 2)
    assert np.einsum("fi,fi->f", a, np.cross(b, c)).sum() / 6 > volume_mm3(mesh)
    assert mesh.face_uv.max() < len(mesh.uv) and mesh.uv.min() >= 0 and mesh.uv.max() <= 1


def test_surface_points_lie_on_their_own_side() -> None:
    """Each ring point's skin faces the way its name says, within 60 degrees (measured: at most 41)."""
    mesh = mesh_of(bent())
    ways = {"dorsal": (0, 0, -1), "radial": (1, 0, 0), "palmar": (0, 0, 1), "ulnar": (-1, 0, 0)}
    for i, name in enumerate(HAND_POINT_NAMES[21:61]):
        if not name.startswith("thumb"):
            assert mesh.surface_normals[i] @ np.array(ways[name.rsplit("_", 1)[1]]) > 0.5, name


@pytest.mark.parametrize("pronation", [-75.0, 75.0])
def test_forearm_keeps_its_girth_when_it_turns(pronation: float) -> None:
    """No candy wrapper: twisting the forearm leaves the arm's volume; measured 1.5 % less."""
    straight, turned = (volume_mm3(mesh_of(bent(forearm_pronation=p))) for p in (0.0, pronation))
    assert turned > 0.97 * straight
    assert mesh_of(bent(forearm_pronation=pronation)).points_mm == pytest.approx(
        mesh_of(bent()).points_mm, abs=1e-3
    )


def test_adult_and_child_lengths() -> None:
    """Wrist to middle fingertip: adults 154-209 mm, the youngest from 119 mm."""
    from rt_hands.synth import subjects

    age = np.array([subjects.person(i).shape.age for i in range(subjects.N_SUBJECTS)])
    length = library.library().length_mm
    assert length[age > 0.6].min() > 150 and length[age > 0.6].max() < 212
    assert length[age < 0.44].min() > 115 and np.median(length[age < 0.44]) < 150


@pytest.mark.parametrize("angles", [np.zeros(26), np.full(27, np.nan)])
def test_bad_poses_are_refused(angles: NDArray[np.float64]) -> None:
    with pytest.raises(InvalidInput, match="27 finite joint angles"):
        mesh_of(angles.astype(np.float32))
    with pytest.raises(InvalidInput, match="Hand 2"):
        mesh_of(bent(), side=2)
