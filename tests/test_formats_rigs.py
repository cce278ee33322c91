"""Calibration files: round trips, values by independent oracles, the traps of each format, fuzzed readers."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rt_hands import Camera, InvalidInput, Rig
from rt_hands.formats import FORMATS, load_rig, recognise, save_rig
from rt_hands.formats.__main__ import main
from rt_hands.paths import data_dir

NAMES = ["left", "cam_2", "cam_10", "kamera é"]
FILES = {
    "rt_hands": "rig.toml",
    "aniposelib": "calibration.toml",
    "pose2sim": "Calib.toml",
    "caliscope": "camera_array.toml",
    "kalibr": "camchain.yaml",
    "opencv": "rig.yml",
    "interhand": "camera.json",
}
TERMS = {"interhand": 0, "kalibr": 4, "pose2sim": 4}  # distortion terms that the format holds; others hold 5


def camera(name: str, seed: int, terms: int = 5) -> Camera:
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[:3, :3] = cv2.Rodrigues(rng.normal(0, 0.9, 3))[0]
    pose[:3, 3] = rng.normal(0, 400, 3) + (0, 0, 900)
    lens = np.where(np.arange(5) < terms, rng.normal(0, 0.1, 5), 0)
    k = np.array([[rng.uniform(500, 900), 0, 650], [0, rng.uniform(500, 900), 350], [0, 0, 1]])
    return Camera(name, (1280, 720), k, lens, pose)


def rig(terms: int = 5, seed: int = 0) -> Rig:
    return Rig(tuple(camera(name, 10 * seed + i, terms) for i, name in enumerate(NAMES)))


def write(folder: Path, format: str, what: Rig | None = None) -> Path:
    path = folder / FILES[format]
    save_rig(path, what or rig(TERMS.get(format, 5)), format)
    return path


def assert_same(a: Rig, b: Rig, *, up_to_world: bool = False) -> None:
    assert set(a.ids) == set(b.ids)
    first = a.cameras[0].id
    to_a, to_b = (np.linalg.inv(r[first].cam_from_world) if up_to_world else np.eye(4) for r in (a, b))
    for name in a.ids:
        assert a[name].size_px == b[name].size_px
        np.testing.assert_allclose(a[name].K, b[name].K, rtol=1e-12)
        np.testing.assert_allclose(a[name].distortion, b[name].distortion, rtol=1e-12)
        # 2e-12 mm seen: metres and Rodrigues vectors cost a few last bits.
        np.testing.assert_allclose(a[name].cam_from_world @ to_a, b[name].cam_from_world @ to_b, atol=1e-9)


@pytest.mark.parametrize("format", FILES)
@pytest.mark.parametrize("seed", range(3))
def test_round_trip(tmp_path: Path, format: str, seed: int) -> None:
    before = rig(TERMS.get(format, 5), seed)
    path = write(tmp_path, format, before)
    assert recognise(path) == format
    assert_same(before, load_rig(path), up_to_world=format == "kalibr")
    assert_same(before, load_rig(path, format=format), up_to_world=format == "kalibr")


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.text(st.characters(categories=["L", "N", "Zs", "P"]), min_size=1, max_size=12),
        min_size=1,
        max_size=4,
        unique=True,
    ),
    st.sampled_from(sorted(FILES)),
)
def test_any_name_survives(tmp_path_factory: pytest.TempPathFactory, names: list[str], format: str) -> None:
    before = Rig(tuple(camera(n, i, TERMS.get(format, 5)) for i, n in enumerate(names)))
    path = write(tmp_path_factory.mktemp("names"), format, before)
    assert set(load_rig(path).ids) == set(names)


def test_every_format_is_tested() -> None:
    assert set(FORMATS) == {*FILES, "easymocap"}


# --- values, by oracles that share no code with the readers ----------------------------------------------


def test_opencv_reads_what_we_write(tmp_path: Path) -> None:
    path, r = write(tmp_path, "opencv"), rig()
    storage = cv2.FileStorage(str(path), cv2.FileStorage_READ)
    node = storage.getNode("cameras").at(1)
    assert node.getNode("name").string() == "cam_2" and storage.getNode("units").string() == "mm"
    np.testing.assert_array_equal(node.getNode("camera_matrix").mat(), r["cam_2"].K)
    np.testing.assert_array_equal(node.getNode("T").mat().ravel(), r["cam_2"].translation_mm)


def test_kalibr_chain_moves_points_from_camera_to_camera(tmp_path: Path) -> None:
    r = rig(4)
    chain = yaml.safe_load(write(tmp_path, "kalibr").read_text())
    point_mm = np.array([30.0, -20, 50, 1])
    seen_m = r.cameras[0].cam_from_world @ point_mm
    seen_m[:3] /= 1000
    for i, c in enumerate(r.cameras[1:], start=1):
        seen_m = np.array(chain[f"cam{i}"]["T_cn_cnm1"]) @ seen_m
        np.testing.assert_allclose(1000 * seen_m[:3], (c.cam_from_world @ point_mm)[:3], atol=1e-9)


def test_interhand_places_points_by_its_own_formula(tmp_path: Path) -> None:
    r = rig(0)
    capture = json.loads(write(tmp_path, "interhand", r).read_text())["0"]
    point_mm = np.array([30.0, -20, 50])
    for c in r:
        rotated = np.array(capture["camrot"][c.id]) @ (point_mm - capture["campos"][c.id])
        image = rotated[:2] / rotated[2] * capture["focal"][c.id] + capture["princpt"][c.id]
        np.testing.assert_allclose(
            c.project(point_mm[None])[0], image, atol=2e-3 * max(1, abs(image).max() / 1e3)
        )


def test_caliscope_rig_of_the_data_folder_is_in_mm() -> None:
    folder = data_dir()
    if folder is None or not (folder / "rig_four_cameras").is_dir():
        pytest.skip("the data folder (RT_HANDS_DATA) with rig_four_cameras is not here")
    r = load_rig(folder / "rig_four_cameras" / "camera_array.toml")
    assert r.ids == ("cam_0", "cam_1", "cam_2", "cam_3")
    np.testing.assert_allclose(r["cam_0"].translation_mm, [123.00856, -209.07747, 667.94905], atol=1e-4)
    assert r["cam_2"].K[0, 0] == pytest.approx(650.801908585405)


# --- traps ----------------------------------------------------------------------------------------------

ANIPOSE = """
[cam_10]
name = "ten"
size = [640, 480]
matrix = [[500.0, 0, 320], [0, 500.0, 240], [0, 0, 1]]
distortions = [0.1, 0, 0, 0, 0]
rotation = [0.0, 0, 0]
translation = [{t}, 0.0, 0.0]
[cam_2]
name = "two"
size = [640, 480]
matrix = [[600.0, 0, 320], [0, 600.0, 240], [0, 0, 1]]
distortions = [0.0, 0, 0, 0, 0]
rotation = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]
translation = [0.0, 0.0, 0.0]
[metadata]
adjusted = true
"""


def saved(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_string_sorted_sections_come_back_in_natural_order_under_their_names(tmp_path: Path) -> None:
    r = load_rig(saved(tmp_path, "c.toml", ANIPOSE.format(t=500)))
    assert r.ids == ("two", "ten") and r["ten"].K[0, 0] == 500 and r["ten"].distortion[0] == 0.1


def test_metres_taken_for_millimetres_are_noticed(tmp_path: Path) -> None:
    path = saved(tmp_path, "c.toml", ANIPOSE.format(t=0.5))
    with pytest.raises(InvalidInput, match=r"read as mm.* the cameras span 0\.5 mm.*unit='m'"):
        load_rig(path)
    assert load_rig(path, unit="m")["ten"].translation_mm[0] == 500
    assert load_rig(path, unit="cm")["ten"].translation_mm[0] == 5


def test_a_stated_unit_is_not_overruled(tmp_path: Path) -> None:
    path = write(tmp_path, "opencv")
    with pytest.raises(InvalidInput, match="unit is 'mm'; you asked for 'm'"):
        load_rig(path, unit="m")
    saved(tmp_path, "m.yml", path.read_text().replace("units: mm", "units: m"))
    scaled = load_rig(tmp_path / "m.yml")["left"].translation_mm
    np.testing.assert_allclose(scaled, 1000 * rig()["left"].translation_mm)


@pytest.mark.parametrize(
    ("word", "mm"),
    [("meters", 1000), ("Metres", 1000), ("M", 1000), ("millimeters", 1), ("MM", 1), ("Centimetre", 10)],
)
def test_units_are_understood_as_people_write_them(tmp_path: Path, word: str, mm: float) -> None:
    text = write(tmp_path, "opencv").read_text().replace("units: mm", f"units: {word}")
    scaled = load_rig(saved(tmp_path, "words.yml", text))["left"].translation_mm
    np.testing.assert_allclose(scaled, mm * rig()["left"].translation_mm)


def test_the_unit_asked_for_decides_where_the_stated_one_means_nothing(tmp_path: Path) -> None:
    path = saved(
        tmp_path, "c.toml", ANIPOSE.format(t=0.5).replace("[metadata]", '[metadata]\nunits = "squares"')
    )
    with pytest.raises(InvalidInput, match=r"unit is 'squares', which is none of mm, cm and m\..*--unit m"):
        load_rig(path)
    assert load_rig(path, unit="m")["ten"].translation_mm[0] == 500
    assert load_rig(path, unit="meters")["ten"].translation_mm[0] == 500
    with pytest.raises(InvalidInput, match="Unknown unit 'yards'"):
        load_rig(path, unit="yards")


CALISCOPE = """
[cameras.10]
cam_id = 10
size = [640, 480]
matrix = [[500.0, 0, 320], [0, 500.0, 240], [0, 0, 1]]
distortions = [0.1, 0, 0, 0, 0]
rotation = [0.0, 0.5, 0.0]
translation = [0.5, 0.0, 0.0]
[cameras.2]
cam_id = 2
ignore = {ignore}
size = [640, 480]
matrix = [[600.0, 0, 320], [0, 600.0, 240], [0, 0, 1]]
distortions = "null"
{rotation}translation = [0.0, 0.0, 0.0]
"""


def test_caliscope_rodrigues_matrices_and_nulls(tmp_path: Path) -> None:
    given = "rotation = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]\n"
    r = load_rig(saved(tmp_path, "c.toml", CALISCOPE.format(ignore="false", rotation=given)))
    assert r.ids == ("cam_2", "cam_10")
    np.testing.assert_allclose(r["cam_10"].rotation, cv2.Rodrigues(np.array([0, 0.5, 0]))[0])
    assert r["cam_10"].translation_mm[0] == 500 and not r["cam_2"].distortion.any()


def test_caliscope_camera_without_pose_is_refused_unless_ignored(tmp_path: Path) -> None:
    for rotation in ("", 'rotation = "null"\n'):
        path = saved(tmp_path, "c.toml", CALISCOPE.format(ignore="false", rotation=rotation))
        with pytest.raises(InvalidInput, match="'cam_2' has no rotation: Caliscope has not calibrated it"):
            load_rig(path)
    assert load_rig(saved(tmp_path, "d.toml", CALISCOPE.format(ignore="true", rotation=""))).ids == (
        "cam_10",
    )


MATRIX = "!!opencv-matrix\n  rows: {r}\n  cols: {c}\n  dt: d\n  data: {d}\n"


def easymocap(folder: Path, size: str = "H_01: 480\nW_01: 640\n") -> Path:
    k = MATRIX.format(r=3, c=3, d="[500., 0., 320., 0., 500., 240., 0., 0., 1.]")
    head = '%YAML:1.0\n---\nnames:\n  - "01"\n'
    lens = MATRIX.format(r=1, c=5, d="[0.1, 1e-05, 0., 0., 0.]")
    saved(folder, "intri.yml", f"{head}K_01: {k}dist_01: {lens}{size}")
    t, r = MATRIX.format(r=3, c=1, d="[0.1, 0.2, 0.3]"), MATRIX.format(r=3, c=1, d="[0., 0., 0.]")
    return saved(folder, "extri.yml", f"{head}R_01: {r}T_01: {t}")


def test_easymocap_two_files(tmp_path: Path) -> None:
    extri = easymocap(tmp_path)
    for path in (tmp_path, tmp_path / "intri.yml", extri):
        r = load_rig(path)
        assert recognise(path) == "easymocap" and r["01"].size_px == (640, 480)
        np.testing.assert_allclose(r["01"].translation_mm, [100, 200, 300])
        assert r["01"].distortion[1] == 1e-5
    with pytest.raises(InvalidInput, match=r"only read.*rt_hands, pose2sim, aniposelib"):
        save_rig(tmp_path / "x.yml", r, "easymocap")


def test_a_missing_picture_size_is_asked_for(tmp_path: Path) -> None:
    easymocap(tmp_path, size="")
    with pytest.raises(InvalidInput, match="does not say the picture size"):
        load_rig(tmp_path)
    assert load_rig(tmp_path, size_px=(640, 480))["01"].size_px == (640, 480)


def test_one_camera_of_opencvs_calibration_sample(tmp_path: Path) -> None:
    k = MATRIX.format(r=3, c=3, d="[500., 0., 320., 0., 510., 240., 0., 0., 1.]")
    text = f"%YAML:1.0\n---\nimage_width: 640\nimage_height: 480\ncamera_matrix: {k}"
    r = load_rig(saved(tmp_path, "webcam.yml", text))
    assert r.ids == ("webcam",) and r["webcam"].K[1, 1] == 510
    np.testing.assert_array_equal(r["webcam"].cam_from_world, np.eye(4))


@pytest.mark.parametrize("line", ["distortion_model: equidistant", "fisheye_model: 1"])
def test_fisheye_lenses_of_opencv_and_ros_are_refused(tmp_path: Path, line: str) -> None:
    k = MATRIX.format(r=3, c=3, d="[500., 0., 320., 0., 510., 240., 0., 0., 1.]")
    text = f"%YAML:1.0\n---\nimage_width: 640\nimage_height: 480\n{{line}}\ncamera_matrix: {k}"
    with pytest.raises(
        InvalidInput, match="Camera 'cam': the lens model is (equidistant|fisheye); known: plumb_bob"
    ):
        load_rig(saved(tmp_path, "cam.yml", text.format(line=line)))
    for harmless in ("distortion_model: plumb_bob", "fisheye_model: 0"):
        assert load_rig(saved(tmp_path, "cam.yml", text.format(line=harmless))).ids == ("cam",)


def interhand(folder: Path, captures: tuple[str, ...], centre: list[float]) -> Path:
    one = {
        "campos": {"400002": [100.0, 0, 0], "400010": [0.0, 0, 0]},
        "camrot": {"400002": np.eye(3).tolist(), "400010": np.eye(3).tolist()},
        "focal": {"400002": [1200.0, 1200], "400010": [1200.0, 1200]},
        "princpt": {"400002": centre, "400010": centre},
    }
    return saved(folder, "c.json", json.dumps(dict.fromkeys(captures, one)))


def test_interhand_sizes_captures_and_sign_of_t(tmp_path: Path) -> None:
    assert load_rig(interhand(tmp_path, ("0",), [170, 250]))["400002"].size_px == (334, 512)
    r = load_rig(interhand(tmp_path, ("0",), [250.0, 170]))
    assert r["400002"].size_px == (512, 334)
    np.testing.assert_array_equal(r["400002"].translation_mm, [-100, 0, 0])
    with pytest.raises(InvalidInput, match="does not say the picture size"):
        load_rig(interhand(tmp_path, ("0",), [900, 500]))
    both = interhand(tmp_path, ("0", "7"), [170, 250])
    with pytest.raises(InvalidInput, match="2 captures: 0, 7"):
        load_rig(both)
    with pytest.raises(InvalidInput, match="no capture '5'"):
        load_rig(both, capture="5")
    assert len(load_rig(both, capture="7")) == 2


def test_convert_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path, "aniposelib")
    assert main([str(source), str(tmp_path / "out.yml"), "--to", "opencv"]) == 0
    assert_same(rig(), load_rig(tmp_path / "out.yml"))
    assert "kamera é" in capsys.readouterr().out
    rig().with_clock_offsets({"left": 12.5}).save(tmp_path / "rig.toml")
    assert main([str(tmp_path / "rig.toml")]) == 0 and "left=12.5" in capsys.readouterr().out
    with pytest.raises(InvalidInput, match="Unknown calibration format 'blender'"):
        main([str(source), str(tmp_path / "x"), "--to", "blender"])
    assert capsys.readouterr().out == ""
