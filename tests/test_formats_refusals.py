"""Calibration files that are foreign, damaged or lack something: one sentence with file, camera and field."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_formats_rigs import ANIPOSE, FILES, assert_same, camera, rig, saved, write

from rt_hands import InvalidInput, Rig
from rt_hands.formats import load_rig, save_rig
from rt_hands.formats.__main__ import main


@pytest.mark.parametrize("format", ["kalibr", "interhand", "pose2sim"])
def test_what_a_format_can_not_hold_is_refused(tmp_path: Path, format: str) -> None:
    with pytest.raises(InvalidInput, match="Camera 'left' has distortion"):
        save_rig(tmp_path / "x", rig(5), format)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("radtan", "equidistant", "distortion 'equidistant' is not supported"),
        ("pinhole", "omni", "model 'omni' is not supported"),
        ("T_cn_cnm1", "T_cam_imu", "Camera 'cam1': T_cn_cnm1, its place in the chain, is missing"),
        ("intrinsics", "intrinsic", "intrinsics is missing"),
    ],
)
def test_kalibr_models_and_holes(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = write(tmp_path, "kalibr").read_text()
    with pytest.raises(InvalidInput, match=says):
        load_rig(saved(tmp_path, "c.yaml", text.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('name = "ten"', 'name = "two"', "'two' stands twice"),
        ("rotation = [0.0, 0, 0]", "rotation = [0.0, 0]", r"Camera 'ten': rotation has shape \(2,\)"),
        ("rotation = [0.0, 0, 0]", "", "Camera 'ten' has no rotation"),
        (
            "[[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]\ntr",
            "[[1.0, 0, 0], [0, 1, 0], [0, 0, -1]]\ntr",
            "Mirrored axes",
        ),
        ("size = [640, 480]", "size = [0, 480]", "Camera 'ten': a picture of 0 x 480"),
        ("[0.1, 0, 0, 0, 0]", "[0.1, 0, 0, 0, 0, 1]", "6 terms"),
        ("[0.1, 0, 0, 0, 0]", "[0.1, 0, 0, 0, 0]\nfisheye = true", "Camera 'ten' is a fisheye"),
        ("500.0, 0, 320", "nan, 0, 320", "matrix holds NaN"),
    ],
)
def test_bad_fields_name_file_camera_and_field(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = ANIPOSE.format(t=500)
    assert old in text
    with pytest.raises(InvalidInput, match=says) as error:
        load_rig(saved(tmp_path, "c.toml", text.replace(old, new, 1)))
    assert "c.toml" in str(error.value)


def test_unknown_files_get_the_list_of_known_ones(tmp_path: Path) -> None:
    for name, text in (("a.toml", "x = 1"), ("b.json", '{"a": 1}'), ("c.yaml", "a: 1"), ("d", "{}")):
        with pytest.raises(InvalidInput, match="Known: .*aniposelib calibration.toml.*Kalibr"):
            load_rig(saved(tmp_path, name, text))
    with pytest.raises(InvalidInput, match="is not valid TOML"):
        load_rig(saved(tmp_path, "e.toml", "[a"))
    binary = tmp_path / "f.toml"
    binary.write_bytes(b"\xff\x00")
    with pytest.raises(InvalidInput, match="not a text file"):
        load_rig(binary)
    with pytest.raises(InvalidInput, match="No such file"):
        load_rig(tmp_path / "none.toml")
    with pytest.raises(InvalidInput, match="folder without intri.yml"):
        load_rig(tmp_path)
    with pytest.raises(InvalidInput, match="Unknown calibration format 'colmap'. Known: rt_hands"):
        save_rig(tmp_path / "x", rig(), "colmap")
    with pytest.raises(InvalidInput, match="is no Kalibr"):
        load_rig(write(tmp_path, "aniposelib"), format="kalibr")


def test_clock_offsets_are_kept_in_our_file_and_told_where_left_out(tmp_path: Path) -> None:
    late = rig(0).with_clock_offsets({"cam_2": -97.5})
    for format, name in FILES.items():
        said: list[str] = []
        save_rig(tmp_path / name, late, format, said.append)
        kept = load_rig(tmp_path / name).clock_offset_ms["cam_2"] == -97.5
        assert kept == (format == "rt_hands") and len(said) == (not kept)
        assert kept or "offsets: cam_2=-97.5 (ms) left out. Give them" in said[0]


def test_lenses_that_do_not_reach_their_corners_are_told_once(tmp_path: Path) -> None:
    short = replace(camera("b", 1), distortion=np.array([-0.9]))
    save_rig(tmp_path / "rig.toml", Rig((camera("a", 0), short)))
    said: list[str] = []
    load_rig(tmp_path / "rig.toml", notice=said.append)
    assert len(said) == 1 and " of 'b', and what is seen there gives no depth. Calibrate again" in said[0]


def test_what_is_no_calibration_at_all_gets_the_list(tmp_path: Path) -> None:
    for name, content in (("take.mp4", b"\x00\xff\xfe"), ("notes.txt", b"hello")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidInput, match=rf"{name}.*Known calibration files: this package's rig.toml"):
            load_rig(tmp_path / name)
    rig().save(tmp_path / "rig.toml")
    with pytest.raises(InvalidInput, match=r"Name the calibration file itself: .*rig\.toml\."):
        load_rig(tmp_path)


@pytest.mark.parametrize("name", ["x.c3d", "x.xyz", "x", "x.yaml"])
def test_a_rig_goes_under_no_other_files_name_unasked(tmp_path: Path, name: str) -> None:
    rig().save(tmp_path / "rig.toml")
    with pytest.raises(
        InvalidInput, match=r"a name in \.toml, or --to with one of pose2sim, .*kalibr, opencv"
    ):
        main([str(tmp_path / "rig.toml"), str(tmp_path / name)])
    assert not (tmp_path / name).exists()
    assert main([str(tmp_path / "rig.toml"), str(tmp_path / "copy.toml")]) == 0
    assert_same(rig(), load_rig(tmp_path / "copy.toml"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, a disk without room, is Linux's own.")
def test_a_printout_that_finds_no_room_is_one_sentence(tmp_path: Path) -> None:
    rig().save(tmp_path / "rig.toml")
    words = [sys.executable, "-m", "rt_hands.formats", str(tmp_path / "rig.toml")]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ended.returncode == 2
    said = ended.stderr.splitlines()[-1]
    assert said == "error: What this command writes can't be written: No space left on device."
