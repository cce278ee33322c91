"""Pseudo-labels: known cameras are found again, residuals are carried, files are kept, doubtful labels are dropped."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch: pip install rt_hands[train]")

from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from rt_hands import paths
from rt_hands.errors import InvalidInput
from rt_hands.evaluation import labels
from rt_hands.layout import JOINT_BONES, N_POINTS
from rt_hands.training import dense_fit, pictures, pseudo_label


def a_hand(seed: int) -> np.ndarray:
    """21 joints, mm, about the size of a hand, not flat."""
    return np.random.default_rng(seed).normal(0, [35, 45, 20], (21, 3))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000), st.floats(0.3, 5), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.floats(-3, 3)
)
def test_the_camera_is_found_again(seed: int, scale: float, ax: float, ay: float, az: float) -> None:
    joints = a_hand(seed)
    turn = Rotation.from_rotvec([ax, ay, az]).as_matrix()
    pixels = scale * joints @ turn[:2].T + [100, 80]
    camera = dense_fit.fit_scaled_orthographic(joints, pixels)
    np.testing.assert_allclose(camera.project(joints), pixels, atol=0.02 * scale * 40)


def test_residuals_at_the_joints_move_the_skin_beside_them() -> None:
    joints = a_hand(1)
    residuals = np.zeros((21, 2))
    residuals[8] = [10, -4]
    carried = dense_fit.carry_residuals(joints, residuals, np.stack([joints[8] + 1e-3, joints[8] + 500]))
    np.testing.assert_allclose(carried[0], [10, -4], atol=0.5)
    assert np.abs(carried[1]).max() < 6


def test_trust_falls_with_the_residual_and_for_hidden_points() -> None:
    joints = a_hand(2)
    pixels = 2 * joints[:, :2] + 200
    skin = np.repeat(joints[:1], 64, 0)
    confidence = np.linspace(0, 1, 64)
    points, trust = dense_fit.dense_points(joints, pixels, skin, confidence)
    np.testing.assert_allclose(points, np.repeat(pixels[:1], 64, 0), atol=0.1)
    np.testing.assert_allclose(trust, 0.5 + 0.5 * confidence, atol=1e-3)
    noisy = pixels + np.random.default_rng(0).normal(0, 25, pixels.shape)
    assert dense_fit.dense_points(joints, noisy, skin, confidence)[1].max() < 0.6
    skin = np.full((64, 3), np.nan)
    assert dense_fit.dense_points(joints, pixels, skin, confidence)[1].max() == 0


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(InvalidInput, match="four or more"):
        dense_fit.fit_scaled_orthographic(np.zeros((3, 3)), np.zeros((3, 2)))


def test_parts_come_back_as_written(tmp_path: Path) -> None:
    label = pseudo_label.blank("set/a.jpg")
    pseudo_label.put(
        label, 1, pseudo_label.SURFACE, np.ones((64, 2)) * 7, 0.4, pseudo_label.Source.RTC_ONE_VIEW
    )
    pseudo_label.write_part(tmp_path / "set.npz", [label])
    (back,) = pseudo_label.read_parts(tmp_path)
    assert back.file == "set/a.jpg"
    np.testing.assert_array_equal(back.points_px, label.points_px)
    np.testing.assert_array_equal(back.source, label.source)
    dense = pseudo_label.dense_by_file(tmp_path)["set/a.jpg"]
    assert dense.shape == (2, 64, 3)
    np.testing.assert_allclose(dense[1], [[7, 7, 0.4]] * 64, rtol=1e-6)
    assert np.isnan(dense[0, :, 0]).all() and (dense[0, :, 2] == 0).all()


def test_training_takes_whole_hands_of_its_own_split_alone(tmp_path: Path) -> None:
    (tmp_path / "crops").mkdir()
    for name, known in (("train_a", range(21)), ("train_b", range(1, 21)), ("val_c", range(21))):
        cv2.imwrite(str(tmp_path / "crops" / f"{name}.jpg"), np.zeros((8, 8, 3), np.uint8))
        label = pseudo_label.blank(f"crops/{name}.jpg")
        label.points_px[list(known)] = 4.0
        pseudo_label.write_part(tmp_path / f"interhand_{name}.npz", [label])
    assert [p.name for p in pseudo_label.labelled_pictures(tmp_path)] == ["crops/train_a.jpg"]


def test_an_empty_folder_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="pseudo_label real"):
        list(pseudo_label.read_parts(tmp_path))


def test_crops_hold_the_hand_and_move_its_points(tmp_path: Path) -> None:
    image = np.zeros((200, 300, 3), np.uint8)
    image[90:110, 140:160] = 255
    label = pseudo_label.blank("crops/x.png")
    pseudo_label.put(
        label, 0, pseudo_label.JOINTS, np.linspace([120, 80], [180, 120], 21), 1, pseudo_label.Source.DATASET
    )
    moved = pseudo_label.save_crop(image, label, tmp_path)
    assert (tmp_path / "crops/x.png").is_file()
    np.testing.assert_allclose(np.nanmean(moved.points_px[:21], 0), [50, 50], atol=1.5)
    assert moved.points_px.shape == (N_POINTS, 2)


def hand(side: str, score: float = 0.9, stretch: float = 1.0) -> dict[str, object]:
    joints = np.cumsum(np.ones((21, 3)) * 0.01, 0)
    joints[20] *= stretch
    return {
        "side": side,
        "score": score,
        "joints_world_m": joints.tolist(),
        "joints_px": (joints * 900).tolist(),
    }


def test_doubtful_labels_are_dropped() -> None:
    usual = labels.bone_lengths(np.array(hand("right")["joints_world_m"]))
    assert usual.shape == (len(JOINT_BONES),)

    def trusted(*hands: dict[str, object], of: str = "made") -> bool:
        return labels.is_trusted({"file": f"{of}/1.jpg", "hands": list(hands)}, usual)

    assert trusted(hand("right")) and trusted(hand("right"), hand("left"))
    assert not trusted(hand("right"), of="webcam_dacrron") and trusted(
        hand("right"), hand("left"), of="webcam_dacrron"
    )
    assert not trusted()
    assert not trusted(hand("right"), hand("right"))
    assert not trusted(hand("right", score=0.6))
    assert not trusted(hand("right"), hand("left", score=0.5))
    assert not trusted(hand("right", stretch=3.0))


def test_training_keeps_hands_with_a_doubtful_finger_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    far, two, whole = hand("right", stretch=3.0), hand("left"), hand("right")
    joints = np.array(two["joints_world_m"])
    joints[[4, 8]] *= 3
    two["joints_world_m"] = joints.tolist()
    made = [("far", [far]), ("two", [two, whole])] + [(f"whole{i}", [whole]) for i in range(5)]
    lines = [
        {"split": split, "file": f"{split}_{name}", "hands": hands}
        for split in ("train", "val")
        for name, hands in made
    ]
    for line in lines:
        (tmp_path / "real" / str(line["file"])).write_bytes(b"jpeg")
    (tmp_path / "real/labels.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    monkeypatch.setenv("RT_HANDS_DATA", str(tmp_path))
    found = {p.name: p for p in pictures.load_real("train")}
    assert set(found) == {f"train_{name}" for name, _ in made}
    assert np.flatnonzero(found["train_far"].trust[0, :21] == 0).tolist() == [19, 20]
    assert np.flatnonzero(found["train_two"].trust[1, :21] == 0).tolist() == [3, 4, 7, 8]
    assert found["train_two"].trust[0, :21].all() and np.isfinite(found["train_far"].points_px[0, :21]).all()
    assert {p.name for p in pictures.load_real("val")} == {f"val_whole{i}" for i in range(5)}


def test_joints_of_read_labels_are_where_ours_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    lines = [{"split": split, "file": split, "hands": [hand("right")]} for split in ("train", "val")]
    (tmp_path / "real/labels.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    monkeypatch.setenv("RT_HANDS_DATA", str(tmp_path))
    (label,) = labels.read_labels("val")
    assert label["file"] == "val"
    for key, step in (("joints_px", 9.0), ("joints_world_m", 0.01)):
        moved = np.array(label["hands"][0][key]) - np.array(hand("right")[key])
        # The made hand's joints lie on a line, one step apart. The thumb's cmc: shares of joints 0, 1, 2, 5, 9.
        shares = np.zeros((21, 3))
        shares[[4, 8, 12, 16, 20]] = np.array([0.21, 0.28, 0.28, 0.28, 0.28])[:, None]
        shares[0], shares[2] = -0.09 * 9, -0.24
        shares[1] = 0.10 * 1 - 0.14 * 2 + 1.01 * 5 - 0.73 * 9 - 1
        np.testing.assert_allclose(moved, shares * step, atol=1e-12)


def interhand_copy(root: Path) -> np.ndarray:
    """One picture of one capture in InterHand2.6M's layout; gives its 42 joints, mm."""
    joints = np.concatenate([a_hand(4) + [-60, 0, 0], a_hand(5) + [60, 0, 0]])
    folder = root / "annotations" / "train"
    folder.mkdir(parents=True)
    files = {
        "data": {"images": [{"file_name": "c/f.jpg", "capture": 0, "frame_idx": 7, "camera": "400"}]},
        "camera": {
            "0": {
                "campos": {"400": [0, 0, -900]},
                "camrot": {"400": np.eye(3).tolist()},
                "focal": {"400": [700, 700]},
                "princpt": {"400": [256, 167]},
            }
        },
        "joint_3d": {"0": {"7": {"world_coord": joints.tolist(), "joint_valid": [[1]] * 42}}},
    }
    for kind, content in files.items():
        (folder / f"InterHand2.6M_train_{kind}.json").write_text(json.dumps(content))
    (root / "images" / "train" / "c").mkdir(parents=True)
    cv2.imwrite(str(root / "images" / "train" / "c" / "f.jpg"), np.zeros((334, 512, 3), np.uint8))
    return joints


def test_interhand_joints_are_projected_into_the_saved_crop(tmp_path: Path) -> None:
    if not (paths.weights_dir() / "rtc.onnx").is_file():
        pytest.skip("The packaged RTC network is absent.")
    joints = interhand_copy(tmp_path / "data")
    out = tmp_path / "out"
    assert pseudo_label.main(["interhand", "--out", str(out), "--data", str(tmp_path / "data")]) == 0
    (label,) = pseudo_label.read_parts(out)
    assert (out / label.file).is_file()
    assert np.isfinite(label.points_px).all() and (label.source[:21] == pseudo_label.Source.DATASET).all()
    wanted = joints[:, :2] * 700 / (joints[:, 2:] + 900)
    # InterHand lists each finger from the tip; joint 20 is the wrist, here point 0, and 42's second half is the left.
    apart = label.points_px[[0, 85]] - label.points_px[[4, 89]]
    np.testing.assert_allclose(apart, wanted[[20, 41]] - wanted[[0, 21]], atol=1e-2)
    (picture,) = pseudo_label.labelled_pictures(out)
    assert picture.present.all() and picture.image_rgb().ndim == 3
    np.testing.assert_array_equal(picture.points_px.reshape(-1, 2), label.points_px)


def test_a_rig_is_labelled_where_its_views_agree(tmp_path: Path) -> None:
    if (data := paths.data_dir()) is None or not (folder := data / "rig_four_cameras").is_dir():
        pytest.skip("The four-camera recording is not here.")
    options = ["--out", str(tmp_path), "--data", str(folder), "--limit", "13", "--step", "6"]
    assert pseudo_label.main(["rig", *options]) == 0
    labels = list(pseudo_label.read_parts(tmp_path))
    assert {Path(label.file).stem.rsplit("_", 1)[1] for label in labels} <= {
        "00000",
        "00006",
        "00012",
    } and labels
    for label in labels:
        image = cv2.imread(str(tmp_path / label.file))
        points = label.points_px[np.isfinite(label.points_px[:, 0])]
        assert image is not None and len(points) >= 85
        inside = (points >= 0) & (points < image.shape[1::-1])
        assert inside.all(1).mean() > 0.9
        kinds = pseudo_label.Source
        assert set(label.source) <= {kinds.NONE, kinds.MULTI_VIEW, kinds.RTC_MULTI_VIEW}


def test_a_view_that_disagrees_is_left_out() -> None:
    projected = np.random.default_rng(0).uniform(0, 100, (85, 2))
    seen = np.column_stack([projected + 1, np.ones(85)])
    label = pseudo_label.blank("rig/a.jpg")
    assert pseudo_label._put_view(label, 1, projected, seen)
    assert (label.source[85:106] == pseudo_label.Source.MULTI_VIEW).all()
    assert 0.9 < label.trust[85] <= 1
    assert not pseudo_label._put_view(label, 0, projected, seen + [30, 0, 0])
    assert not pseudo_label._put_view(label, 0, projected, np.full((85, 3), np.nan))
    assert np.isnan(label.points_px[:85]).all()


def test_interhand_names_the_file_it_misses(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="_data.json"):
        pseudo_label.main(["interhand", "--out", str(tmp_path / "out"), "--data", str(tmp_path)])
