"""InterHand2.6M's layout, written here and read as pseudo-labels are; also a hand-made file as the real set has it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from rt_hands.errors import InvalidInput, MissingPart
from rt_hands.layout import index_of, joint_names, to_order

pytest.importorskip("anny", reason="The data engine needs anny: pip install 'rt_hands[synth]'.")

from rt_hands.synth import interhand, staging
from rt_hands.training.interhand_labels import InterHandPicture, captures

PLAN = interhand.Plan("val", seed=1, frames=2, cameras=2, frames_per_capture=1)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny studio session: two captures of one frame and two cameras."""
    from rt_hands.synth.render import renderer

    try:
        renderer()
    except MissingPart as error:
        pytest.skip(str(error))
    root = tmp_path_factory.mktemp("interhand")
    assert interhand.write(root, PLAN, processes=1) == 4
    return root


def _table(root: Path, name: str) -> dict:
    return json.loads((root / "annotations" / "val" / f"InterHand2.6M_val_{name}.json").read_text())


def _picture(root: Path, picture: InterHandPicture) -> np.ndarray:
    return cv2.imread(str(root / "images" / picture.split / picture.file))


def test_what_is_written_is_read_back(written: Path) -> None:
    found, dense = captures(written, "val"), _table(written, "points_170")
    assert list(found) == ["0", "1"]
    for frame, (capture, pictures) in enumerate(found.items()):
        points, _ = staging.points_of(interhand._scene(PLAN, frame).hands)
        np.testing.assert_allclose(dense[capture][str(frame)], np.nan_to_num(points, nan=0.0), atol=1e-3)
        rig = interhand.dome(PLAN.seed, frame, PLAN.cameras)
        for picture, camera in zip(pictures, rig, strict=True):
            assert picture.camera.id == camera.id and picture.camera.size_px == camera.size_px
            np.testing.assert_allclose(picture.joints_world_mm, to_order(points, "interhand"), atol=1e-3)
            assert _picture(written, picture).shape == (*camera.size_px[::-1], 3)


def test_the_json_follows_the_data_sets_own_formulas(written: Path) -> None:
    cameras, joints = _table(written, "camera")["0"], _table(written, "joint_3d")["0"]["0"]
    points, _ = staging.points_of(interhand._scene(PLAN, 0).hands)
    world = np.array(joints["world_coord"])
    valid = np.array(joints["joint_valid"]).ravel().astype(bool)
    assert world.shape == (42, 3) and valid.any()
    for camera in interhand.dome(PLAN.seed, 0, PLAN.cameras):
        rotation, place = np.array(cameras["camrot"][camera.id]), np.array(cameras["campos"][camera.id])
        cam = (rotation @ (world - place).T).T
        image = cam[:, :2] / cam[:, 2:] * cameras["focal"][camera.id] + cameras["princpt"][camera.id]
        expected = to_order(camera.project(points), "interhand")
        np.testing.assert_allclose(image[valid], expected[valid], atol=0.01)
    # Tip to base, wrist last, right hand first.
    for at, name in ((0, "right_thumb_tip"), (41, "left_wrist")):
        if valid[at]:
            np.testing.assert_allclose(world[at], points[index_of(name)], atol=1e-3)


def test_pictures_show_the_hands_where_the_joints_are(written: Path) -> None:
    brighter = []
    for picture in (p for pictures in captures(written, "val").values() for p in pictures):
        grey = _picture(written, picture).mean(-1)
        points = picture.camera.project(picture.joints_world_mm)
        inside = points[np.isfinite(points).all(1)].round().astype(int)
        inside = inside[(inside >= 0).all(1) & (inside < picture.camera.size_px).all(1)]
        brighter.append(np.median(grey[inside[:, 1], inside[:, 0]]) - np.median(grey))
    assert np.mean(brighter) > 10  # lit hands before a dark studio


def test_an_interrupted_session_goes_on_frame_by_frame(written: Path) -> None:
    lost = written / "images" / "val" / interhand.picture_name(1, "400001", 1)
    before = lost.read_bytes()
    kept = written / "images" / "val" / interhand.picture_name(0, "400000", 0)
    stamp = kept.stat().st_mtime_ns
    lost.unlink()
    assert interhand.write(written, PLAN, processes=1) == 2  # one frame, both its cameras
    assert lost.read_bytes() == before and kept.stat().st_mtime_ns == stamp


# --- the real data set's own files ---------------------------------------------------------------------------


def _real_like(root: Path) -> None:
    """One frame of one camera as the real annotations have it: no picture size, some joints not valid."""
    folder = root / "annotations" / "test"
    folder.mkdir(parents=True)
    cam = {"campos": {"400262": [0.0, 0.0, -1000.0]}, "camrot": {"400262": np.eye(3).tolist()}}
    cam |= {"focal": {"400262": [1200.0, 1201.0]}, "princpt": {"400262": [165.0, 258.0]}}
    world = np.arange(126.0).reshape(42, 3)
    valid = np.ones((42, 1), int)
    valid[21:] = 0
    valid[4] = 0
    joint = {
        "world_coord": world.tolist(),
        "joint_valid": valid.tolist(),
        "hand_type": "right",
        "seq": "0390_dh",
    }
    name = "Capture0/0390_dh/cam400262/image23240.jpg"
    image = {"id": 1, "file_name": name, "width": 334, "height": 512, "capture": 0, "camera": "400262"}
    data = {"images": [image | {"frame_idx": 23240, "seq_name": "0390_dh"}], "annotations": []}
    tables = {"camera": {"0": cam}, "joint_3d": {"0": {"23240": joint}}, "data": data}
    for key, table in tables.items():
        (folder / f"InterHand2.6M_test_{key}.json").write_text(json.dumps(table))


def test_the_real_layout_is_read(tmp_path: Path) -> None:
    _real_like(tmp_path)
    found = captures(tmp_path, "test")
    (picture,) = found["0"]
    assert list(found) == ["0"] and picture.file == "Capture0/0390_dh/cam400262/image23240.jpg"
    assert picture.camera.size_px == (334, 512)
    joints = dict(zip(joint_names("interhand"), picture.joints_world_mm, strict=True))
    np.testing.assert_allclose(joints["right_wrist"], [60, 61, 62])
    np.testing.assert_allclose(joints["right_thumb_tip"], [0, 1, 2])
    absent = {name for name, joint in joints.items() if np.isnan(joint).all()}
    # Joint 4 was marked as not valid, and there is no left hand.
    assert absent == {"right_index_tip"} | {name for name in joints if name.startswith("left")}


def test_faults_are_named(tmp_path: Path) -> None:
    _real_like(tmp_path)
    joints = tmp_path / "annotations" / "test" / "InterHand2.6M_test_joint_3d.json"
    whole = joints.read_text()
    for broken, message in ((whole[:-20], "not whole JSON"), ("[]", "holds a list, not")):
        joints.write_text(broken)
        with pytest.raises(InvalidInput, match=rf"joint_3d\.json.*{message}"):
            captures(tmp_path, "test")
    joints.unlink()
    joints.mkdir()
    with pytest.raises(InvalidInput, match=r"joint_3d\.json is not in"):
        captures(tmp_path, "test")
