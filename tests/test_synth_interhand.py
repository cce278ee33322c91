"""InterHand2.6M's layout, written and read; the reader also on a hand-made file as the real data set has it."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from rt_hands.errors import InvalidInput, MissingPart
from rt_hands.layout import N_HAND, POINT_NAMES, index_of, joint_names

pytest.importorskip("anny", reason="The data engine needs anny: pip install 'rt_hands[synth]'.")

from rt_hands.synth import interhand, staging

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


def test_what_is_written_is_read_back(written: Path) -> None:
    moments = list(interhand.read(written, "val"))
    assert [(m.capture, m.frame) for m in moments] == [("0", 0), ("1", 1)]
    for moment in moments:
        points, _ = staging.points_of(interhand._scene(PLAN, moment.frame).hands)
        np.testing.assert_allclose(moment.points_world_mm, points, atol=1e-3)
        frames = moment.frame_set()
        assert frames.cameras == moment.cameras.ids
        for frame, camera in zip(frames.frames, moment.cameras, strict=True):
            assert frame.size_px == camera.size_px and camera.size_px in ((512, 334), (334, 512))


def test_the_json_follows_the_data_sets_own_formulas(written: Path) -> None:
    cameras, joints = _table(written, "camera")["0"], _table(written, "joint_3d")["0"]["0"]
    moment = next(iter(interhand.read(written, "val")))
    world = np.array(joints["world_coord"])
    valid = np.array(joints["joint_valid"]).ravel().astype(bool)
    assert world.shape == (42, 3) and valid.any()
    for camera in moment.cameras:
        rotation, place = np.array(cameras["camrot"][camera.id]), np.array(cameras["campos"][camera.id])
        cam = (rotation @ (world - place).T).T
        image = cam[:, :2] / cam[:, 2:] * cameras["focal"][camera.id] + cameras["princpt"][camera.id]
        order = [POINT_NAMES.index(n) for n in joint_names("interhand")]
        expected = camera.project(moment.points_world_mm)[order]
        np.testing.assert_allclose(image[valid], expected[valid], atol=0.01)
    # Tip to base, wrist last, right hand first.
    tip, wrist = index_of("right_thumb_tip"), index_of("left_wrist")
    if valid[0]:
        np.testing.assert_allclose(world[0], moment.points_world_mm[tip], atol=1e-3)
    if valid[41]:
        np.testing.assert_allclose(world[41], moment.points_world_mm[wrist], atol=1e-3)


def test_pictures_show_the_hands_where_the_joints_are(written: Path) -> None:
    brighter = []
    for moment in interhand.read(written, "val"):
        projected = moment.cameras.project(moment.points_world_mm)
        for frame, points in zip(moment.frame_set().frames, projected, strict=True):
            grey = frame.image_bgr.mean(-1)
            inside = points[np.isfinite(points).all(1)].round().astype(int)
            inside = inside[(inside >= 0).all(1) & (inside < frame.size_px).all(1)]
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
    picture = root / "images" / "test" / name
    picture.parent.mkdir(parents=True)
    cv2.imwrite(str(picture), np.full((512, 334, 3), 90, np.uint8))


def test_the_real_layout_is_read(tmp_path: Path) -> None:
    _real_like(tmp_path)
    (moment,) = interhand.read(tmp_path, "test")
    assert (moment.capture, moment.sequence, moment.frame) == ("0", "0390_dh", 23240)
    assert moment.cameras["400262"].size_px == (334, 512)
    np.testing.assert_allclose(moment.points_world_mm[index_of("right_wrist")], [60, 61, 62])
    np.testing.assert_allclose(moment.points_world_mm[index_of("right_thumb_tip")], [0, 1, 2])
    absent = np.isnan(moment.points_world_mm).all(1)
    assert absent[index_of("right_index_tip")]  # joint 4 was marked as not valid
    assert absent[N_HAND:].all() and absent[21:N_HAND].all()  # no left hand, no surface points
    assert moment.frame_set().frames[0].size_px == (334, 512)


def test_faults_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"joint_3d\.json.*InterHand2\.6M's root"):
        list(interhand.read(tmp_path, "test"))
    _real_like(tmp_path)
    picture = next((tmp_path / "images").rglob("*.jpg"))
    picture.write_bytes(b"broken")
    (moment,) = interhand.read(tmp_path, "test")
    with pytest.raises(InvalidInput, match="image23240"):
        moment.frame_set()
    joints = tmp_path / "annotations" / "test" / "InterHand2.6M_test_joint_3d.json"
    joints.write_text(joints.read_text()[:-20])
    with pytest.raises(InvalidInput, match="not whole JSON"):
        list(interhand.read(tmp_path, "test"))
