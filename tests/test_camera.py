"""Camera and Rig: agreement with OpenCV, the TOML round trip, and errors that name camera and field."""

from __future__ import annotations

import os
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rt_hands import Camera, InvalidInput, Rig, _core
from rt_hands.formats.__main__ import main as formats_main
from rt_hands.lens import fold_radius2

K = np.array([[900.0, 0, 640], [0, 905, 360], [0, 0, 1]])
DISTORTION = np.array([-0.3, 0.1, 0.001, -0.002, 0.02])


def camera(name: str = "left", seed: int = 0, **changes: object) -> Camera:
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(rng.normal(0, 0.2, 3))[0]
    pose[:3, 3] = rng.normal(0, 50, 3) + (0, 0, 700)
    fields = {"size_px": (1280, 720), "K": K, "distortion": DISTORTION, "cam_from_world": pose, **changes}
    return Camera(name, **fields)  # type: ignore[arg-type]


def rig(n: int = 3) -> Rig:
    return Rig(tuple(camera(f"cam_{i}", i) for i in range(n)))


def points_mm(n: int = 50, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-120, 120, (n, 3))


def test_project_agrees_with_opencv() -> None:
    cameras, points = rig(), points_mm()
    for view, c in zip(cameras.project(points), cameras, strict=True):
        expected = cv2.projectPoints(
            points, cv2.Rodrigues(c.rotation)[0], c.translation_mm, c.K, c.distortion
        )[0]
        np.testing.assert_allclose(
            view, expected[:, 0], atol=1e-4
        )  # float32 output: half a unit is 6e-5 at 1280


@pytest.mark.parametrize(
    ("row", "column", "off"), [(0, 1, 2.3e-13), (1, 0, -1e-9), (2, 1, 1e-9), (2, 2, 1e-9)]
)
def test_rounding_in_k_is_taken_off(row: int, column: int, off: float) -> None:
    """As cv2.decomposeProjectionMatrix leaves it: the core wants zeros and a one."""
    k = K.copy()
    k[row, column] += off
    rounded = camera(K=k)
    np.testing.assert_array_equal(rounded.K, K)
    np.testing.assert_array_equal(rounded.project(points_mm()), camera().project(points_mm()))
    assert not rounded.K.flags.writeable and k[row, column] != K[row, column]


def test_points_behind_a_camera_are_nan() -> None:
    c = camera()
    behind = c.centre_world_mm - 100 * c.rotation[2]
    assert np.isnan(c.project(behind[None])).all()


def test_undistort_inverts_the_lens() -> None:
    straight = camera(distortion=np.zeros(5))
    ideal = straight.project(points_mm())
    np.testing.assert_allclose(
        camera().undistort(camera().project(points_mm())), ideal, atol=2e-4
    )  # 8e-5 seen
    assert camera().undistort(np.zeros((0, 2))).shape == (0, 2)


FOLDING = [
    (-0.4, 0.2, 0.001, 0.001, -0.05),
    (-0.35, 0.15, 0, 0, -0.03),
    (-0.4, 0, 0, 0, 0),
    (0.3, 0.1, 0, 0, -0.2),
]


@pytest.mark.parametrize("terms", FOLDING)
def test_undistort_is_exact_up_to_the_fold(terms: tuple[float, ...]) -> None:
    """cv2.undistortPoints stops up to 6 px early near the fold, and says nothing."""
    lens, rng = camera(distortion=terms, K=K, cam_from_world=np.eye(4)), np.random.default_rng(0)
    fold = np.sqrt(fold_radius2(np.array(terms, float)))
    radius, turn = 0.98 * fold * np.sqrt(rng.random(500)), rng.uniform(0, 2 * np.pi, 500)
    rays = np.column_stack([radius * np.cos(turn), radius * np.sin(turn), np.ones(500)])
    pixels = _core.project(1000 * rays, lens.K[None], lens.distortion[None], np.eye(4)[None], None)[0][0]
    ideal = rays[:, :2] * K[[0, 1], [0, 1]] + K[:2, 2]
    np.testing.assert_allclose(lens.undistort(pixels), ideal, atol=1e-4)  # 2e-6 seen


@pytest.mark.parametrize("terms", FOLDING)
def test_undistort_has_no_answer_where_the_lens_has_no_ray(terms: tuple[float, ...]) -> None:
    lens = camera(distortion=terms, cam_from_world=np.eye(4))
    x, y = np.meshgrid(np.linspace(-2000, 3000, 60), np.linspace(-1500, 2500, 50))
    pixels = np.stack([x.ravel(), y.ravel()], 1)
    ideal = lens.undistort(pixels)
    there = np.isfinite(ideal[:, 0])
    assert 0.02 < there.mean() < 0.7
    rays = np.column_stack([(ideal[there] - K[:2, 2]) / K[[0, 1], [0, 1]], np.ones(there.sum())])
    drawn = _core.project(1000 * rays, lens.K[None], lens.distortion[None], np.eye(4)[None], None)[0][0]
    np.testing.assert_allclose(drawn, pixels[there], atol=1e-6)
    assert np.isnan(lens.undistort(np.array([[np.nan, 3.0], [np.inf, 2.0]]))).all()


def test_a_lens_that_does_not_reach_its_corners_is_told() -> None:
    """k1 alone, as aniposelib fits it: a third of the picture has no ray."""
    short = camera(
        "short", K=np.diag([800.0, 800, 1]) + [[0, 0, 640], [0, 0, 360], [0, 0, 0]], distortion=(-0.4,)
    )
    assert "no ray reaches 31% of 'short', and" in Rig((camera(), short)).unreached
    assert Rig((camera(), camera("right", distortion=(-0.13,)))).unreached == ""  # 0.3 % of the picture


@pytest.mark.parametrize("shape", [(170, 3), (3, 3), (2,), (4, 1, 2)])
def test_undistort_wants_points_without_a_score(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match=rf"{re.escape(str(shape))}; wanted \(N, 2\)"):
        camera().undistort(np.ones(shape))


def test_rig_undistort_wants_one_row_of_points_per_view() -> None:
    assert rig().undistort(rig().project(points_mm())).shape == (3, 50, 2)
    with pytest.raises(InvalidInput, match=r"wanted \(3, N, 2\)"):
        rig().undistort(np.zeros((2, 5, 2)))


@given(st.sampled_from([(640, 360), (320, 180), (2560, 1440), (1000, 500)]))
def test_resized_camera_sees_the_resized_picture(size: tuple[int, int]) -> None:
    scale = np.array(size) / (1280, 720)
    expected = (camera().project(points_mm()) + 0.5) * scale - 0.5
    np.testing.assert_allclose(camera().resized(size).project(points_mm()), expected, atol=5e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(0, 1000))
def test_save_and_load_give_the_same_rig(tmp_path_factory: pytest.TempPathFactory, n: int, seed: int) -> None:
    path = tmp_path_factory.mktemp("rig") / "rig.toml"
    before = Rig(tuple(camera(f"cam {i}.é", seed + i) for i in range(n)))
    before.save(path)
    after = Rig.load(path)
    assert after.ids == before.ids  # cam_10 stays after cam_9: order is the file's, matching is by name
    for a, b in zip(before, after, strict=True):
        assert a.size_px == b.size_px
        for name in ("K", "distortion", "cam_from_world"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_save_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rig.toml"
    rig(2).save(path)
    before = path.read_bytes()

    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space"):
        rig(3).save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["rig.toml"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"K": np.eye(2)}, r"Camera 'left': K has shape \(2, 2\); wanted \(3, 3\)"),
        ({"K": np.eye(3) * -1}, "Camera 'left': K is not"),
        ({"K": np.full((3, 3), np.nan)}, "Camera 'left': K holds NaN"),
        ({"K": "wide"}, "Camera 'left': K is not a table of numbers"),
        ({"distortion": None}, "Camera 'left': distortion is not a table of numbers"),
        ({"distortion": np.zeros(8)}, "Camera 'left': distortion has 8 terms; up to 5"),
        (
            {"cam_from_world": np.diag([1.0, 1, -1, 1])},
            "Camera 'left': the 3x3 part of cam_from_world is not a rotation",
        ),
        ({"cam_from_world": np.diag([1.01, 1, 1, 1])}, "not a rotation"),
        ({"cam_from_world": np.eye(3)}, r"Camera 'left': cam_from_world has shape \(3, 3\)"),
        ({"cam_from_world": np.ones((4, 4)) - np.eye(4)}, "Camera 'left'"),
        ({"size_px": (0, 720)}, "Camera 'left': size_px"),
        ({"size_px": (640.5, 720)}, "whole numbers"),
        ({"size_px": 640}, "Camera 'left': size_px has shape"),
    ],
)
def test_bad_fields_are_named(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        camera(**changes)


def test_fewer_distortion_terms_are_padded() -> None:
    assert camera(distortion=[-0.3, 0.1, 0, 0]).distortion.tolist() == [-0.3, 0.1, 0, 0, 0]
    assert camera(distortion=[]).distortion.tolist() == [0] * 5


def test_camera_arrays_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        camera().K[0, 0] = 1


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("schema_version = 1", "schema_version = 7", "schema_version is 7"),
        ("schema_version = 1", "", "schema_version is None; .* read by rt_hands.formats.load_rig"),
        ('units = "mm"', 'units = "m"', "units is 'm'"),
        ("distortion = ", "distorsion = ", "Camera 'cam_0': distortion is missing"),
        ("[cameras.cam_1]", "[cameras.cam_1]\nfisheye = true", "Camera 'cam_1': fisheye"),
        ("K = [", "K = [[1.0], ", "Camera 'cam_0': K"),
        ("[cameras.cam_0]", "[cameras.cam_0", "not valid TOML"),
        ("[cameras.cam_0]", f"x = {5000 * '['}", "not valid TOML"),
    ],
)
def test_bad_files_name_file_camera_and_field(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "rig.toml"
    rig(2).save(path)
    _edit(path, old, new)
    with pytest.raises(InvalidInput, match=says) as error:
        Rig.load(path)
    assert "rig.toml" in str(error.value)


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"):
        Rig.load(tmp_path / "none.toml")
    (tmp_path / "empty.toml").write_text('schema_version = 1\nunits = "mm"\n')
    with pytest.raises(InvalidInput, match="no \\[cameras"):
        Rig.load(tmp_path / "empty.toml")


def test_rig_wants_one_or_more_different_cameras() -> None:
    with pytest.raises(InvalidInput, match="at least one camera"):
        Rig(())
    with pytest.raises(InvalidInput, match="'left' stands twice"):
        Rig((camera(), camera()))


def test_subset_keeps_the_asked_order() -> None:
    assert rig().subset(["cam_2", "cam_0"]).ids == ("cam_2", "cam_0")
    with pytest.raises(InvalidInput, match="no camera 'cam_9'. It has: cam_0, cam_1, cam_2"):
        rig().subset(["cam_9"])


def test_clock_offsets_are_kept_and_named(tmp_path) -> None:
    rig = Rig((camera("a"), camera("b"))).with_clock_offsets({"b": -97.5})
    assert rig.clock_offset_ms == {"a": 0.0, "b": -97.5}
    rig.save(tmp_path / "rig.toml")
    text = (tmp_path / "rig.toml").read_text()
    assert (
        text.count("clock_offset_ms") == 1 and Rig.load(tmp_path / "rig.toml").clock_offset_ms["b"] == -97.5
    )
    assert rig["b"].resized((320, 240)).clock_offset_ms == -97.5
    with pytest.raises(InvalidInput, match="no camera 'c'"):
        rig.with_clock_offsets({"c": 1.0})
    for wrong in ('"soon"', "nan"):
        (tmp_path / "wrong.toml").write_text(text.replace("-97.5", wrong))
        with pytest.raises(InvalidInput, match="Camera 'b': clock_offset_ms"):
            Rig.load(tmp_path / "wrong.toml")


def test_a_picture_of_another_size_is_told_how_to_go_on() -> None:
    with pytest.raises(InvalidInput, match=r"scale the calibration: .* --resize 853 480$"):
        camera().check_image((853, 480))
    with pytest.raises(InvalidInput, match="calibrate it anew: pictures of another shape are cut"):
        camera().check_image((640, 480))


def test_a_rig_is_scaled_from_the_command_line(tmp_path: Path) -> None:
    rig(2).with_clock_offsets({"cam_1": 4.0}).save(tmp_path / "rig.toml")
    words = [str(tmp_path / "rig.toml"), str(tmp_path / "small.toml"), "--resize"]
    assert formats_main([*words, "640", "360"]) == 0
    small = Rig.load(tmp_path / "small.toml")
    assert {c.size_px for c in small} == {(640, 360)} and small.clock_offset_ms["cam_1"] == 4.0
    points = np.random.default_rng(0).normal(0, 40, (5, 3))
    # Pixel centres are whole numbers: half the size brings x to (x - 0.5) / 2.
    np.testing.assert_allclose(small.project(points), (rig(2).project(points) - 0.5) / 2, atol=1e-6)
    with pytest.raises(InvalidInput, match="'cam_0' gives 1280x720, which is no scaled picture"):
        formats_main([*words, "640", "480", "--overwrite"])


@pytest.mark.parametrize(
    "distortion", [(-0.38, 0.15, 0, 0, -0.03), (-0.3, 0, 0, 0, 0), (-0.2, 0.05, 0, 0, -0.01)]
)
def test_what_is_far_out_of_view_is_not_drawn_into_the_picture(distortion: tuple[float, ...]) -> None:
    """Beyond some angle the polynomial turns back: a hand beside the camera would lie in the middle of its picture."""
    k = np.array([[900.0, 0, 639.5], [0, 900, 359.5], [0, 0, 1]])
    rig = Rig((Camera("a", (1280, 720), k, np.array(distortion), np.eye(4)[:3]),))
    angle = np.radians(np.arange(0, 85, 1.0))
    px = rig.project(np.column_stack([700 * np.sin(angle), 0 * angle, 700 * np.cos(angle)]))[0]
    within = (px >= -0.5).all(1) & (px[:, 0] < 1279.5)
    assert within[:30].all() and not within[47:].any()
