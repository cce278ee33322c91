"""Exported hands: nothing lost in tables, COCO by its rules, C3D as its own library reads it."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from rt_hands import Hands2D, Hands3D, InvalidInput, process
from rt_hands.errors import MissingPart, check_target
from rt_hands.formats import HandsSample, export_hands, load_hands
from rt_hands.formats.__main__ import main
from rt_hands.formats.c3d import even_grid
from rt_hands.layout import N_POINTS, POINT_NAMES, index_of

TABLES = ["csv", "parquet", "jsonl"]


def hands_2d(seed: int, present: tuple[bool, bool] = (True, False)) -> Hands2D:
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 700, (N_POINTS, 3)).astype(np.float32)
    points[:, 2] = rng.uniform(0.1, 1, N_POINTS)
    gone = ~np.repeat(present, 85) | (rng.random(N_POINTS) < 0.1)
    points[gone] = (np.nan, np.nan, 0)
    return Hands2D(points, np.array(present), rng.random(2).astype(np.float32))


def hands_3d(seed: int) -> Hands3D:
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 100, (N_POINTS, 3))
    gone = rng.random(N_POINTS) < 0.2
    points[gone] = np.nan
    score = np.where(gone, 0, rng.random(N_POINTS)).astype(np.float32)
    residual = np.where(gone, np.nan, rng.random(N_POINTS)).astype(np.float32)
    views = np.where(gone, 0, 3).astype(np.int32)
    return Hands3D(points, score, residual, views, np.array([True, True]))


def samples(three_d: bool, n: int = 4, step_ns: int = 33_333_333) -> list[HandsSample]:
    if three_d:
        return [HandsSample(i, 10**15 + i * step_ns, hands_3d(i)) for i in range(n)]
    return [HandsSample(i, 10**15 + i * step_ns, hands_2d(i), f"cam_{i % 2}, é") for i in range(n)]


def assert_same(before: list[HandsSample], after: list[HandsSample]) -> None:
    assert [(s.frame, s.t_ns, s.camera, s.file, s.size_px, type(s.hands)) for s in before] == [
        (s.frame, s.t_ns, s.camera, s.file, s.size_px, type(s.hands)) for s in after
    ]
    for a, b in zip(before, after, strict=True):
        for name in ("points_px", "present", "presence", "points_world_mm", "score", "residual_px", "views"):
            if hasattr(a.hands, name):
                x, y = getattr(a.hands, name), getattr(b.hands, name)
                assert x.dtype == y.dtype
                np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("ending", TABLES)
@pytest.mark.parametrize("three_d", [False, True])
def test_tables_keep_every_bit(tmp_path: Path, ending: str, three_d: bool) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install 'rt_hands[export]')")
    before = samples(three_d)
    export_hands(tmp_path / f"hands.{ending}", before)
    assert_same(before, load_hands(tmp_path / f"hands.{ending}"))


def test_a_csv_saved_by_excel_is_read(tmp_path: Path) -> None:
    export_hands(tmp_path / "hands.csv", samples(False))
    text = (tmp_path / "hands.csv").read_text(encoding="utf-8")
    (tmp_path / "bom.csv").write_text(text, encoding="utf-8-sig")
    assert_same(samples(False), load_hands(tmp_path / "bom.csv"))
    (tmp_path / "semicolons.csv").write_text(text.replace(",", ";"), encoding="utf-8")
    with pytest.raises(InvalidInput, match="its columns must be separated by commas"):
        load_hands(tmp_path / "semicolons.csv")


def test_csv_columns_are_named_and_absent_cells_are_empty(tmp_path: Path) -> None:
    export_hands(tmp_path / "h.csv", samples(False, 1))
    header, row = (
        line.split(",") for line in (tmp_path / "h.csv").read_text().replace("cam_0, é", "c").splitlines()
    )
    at = header.index("left_wrist_x_px")
    assert header[at : at + 3] == ["left_wrist_x_px", "left_wrist_y_px", "left_wrist_score"]
    assert row[at : at + 3] == ["", "", "0.0"]
    assert len(header) == 7 + 3 * N_POINTS


def test_coco_order_visibility_and_boxes(tmp_path: Path) -> None:
    both = HandsSample(7, 5, hands_2d(3, (True, True)), "cam_1")
    export_hands(tmp_path / "h.json", [both, HandsSample(8, 6, Hands2D.empty())], size_px=(1280, 720))
    data = json.loads((tmp_path / "h.json").read_text())
    assert [i["file_name"] for i in data["images"]] == ["cam_1/000007.jpg", "000008.jpg"]
    (one,) = data["annotations"]  # a picture without hands has no annotation
    names, points = data["categories"][0]["keypoints"], np.array(one["keypoints"]).reshape(42, 3)
    assert names[0] == "left_wrist" and names[21] == "right_wrist"  # COCO-WholeBody: left first
    for name, kept in zip(names, points, strict=True):
        given = both.hands.points_px[index_of(name)]
        expected = (0, 0, 0) if np.isnan(given[0]) else (*given[:2], 2)
        np.testing.assert_allclose(kept, expected, atol=6e-4)
    assert one["lefthand_kpts"] == one["keypoints"][:63] and one["righthand_kpts"] == one["keypoints"][63:]
    seen = points[points[:, 2] > 0, :2]
    np.testing.assert_allclose(one["bbox"], [*seen.min(0), *np.ptp(seen, axis=0)], atol=2e-3)
    assert one["num_keypoints"] == len(seen)
    wrists = [e for e in data["categories"][0]["skeleton"] if 1 in e or 22 in e]
    assert len(wrists) == 10  # COCO's skeleton counts from 1


def pictures(cameras: str = "aa") -> list[HandsSample]:
    """Two pictures with names of their own and a frame without one; the second's size is not known."""
    return [
        HandsSample(0, 0, hands_2d(0), cameras[0], "00000_0.jpg", (84, 60)),
        HandsSample(1, 10**9, hands_2d(1), cameras[1], "00001_0.jpg"),
        HandsSample(2, 2 * 10**9, hands_2d(2), cameras[1]),
    ]


@pytest.mark.parametrize("ending", TABLES)
def test_tables_keep_the_names_and_sizes_of_pictures(tmp_path: Path, ending: str) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install 'rt_hands[export]')")
    export_hands(tmp_path / f"hands.{ending}", pictures())
    assert_same(pictures(), load_hands(tmp_path / f"hands.{ending}"))


@pytest.mark.parametrize("size", ["x", "-3"])
def test_a_size_that_is_none_is_a_sentence(tmp_path: Path, size: str) -> None:
    export_hands(tmp_path / "h.csv", pictures())
    damaged = (tmp_path / "h.csv").read_text().replace("jpg,84,", f"jpg,{size},")
    (tmp_path / "h.csv").write_text(damaged)
    with pytest.raises(InvalidInput, match="line 2"):
        load_hands(tmp_path / "h.csv")


def test_coco_names_the_pictures_that_there_are(tmp_path: Path) -> None:
    export_hands(tmp_path / "h.json", pictures(), size_px=(384, 300))
    written = json.loads((tmp_path / "h.json").read_text())
    images, annotations = written["images"], written["annotations"]
    assert [(a["id"], a["image_id"]) for a in annotations] == [
        (1, 0),
        (2, 1),
        (3, 2),
    ]  # 0 is no id to pycocotools
    assert [i["file_name"] for i in images] == ["00000_0.jpg", "00001_0.jpg", "a/000002.jpg"]
    assert [(i["width"], i["height"]) for i in images] == [(84, 60), (384, 300), (384, 300)]


def test_coco_tells_equal_names_of_two_cameras_apart(tmp_path: Path) -> None:
    of_two = [HandsSample(0, 0, hands_2d(0), camera, "0.jpg") for camera in ("left", "right")]
    export_hands(tmp_path / "h.json", of_two)
    images = json.loads((tmp_path / "h.json").read_text())["images"]
    assert [i["file_name"] for i in images] == ["left/0.jpg", "right/0.jpg"]


def test_c3d_as_its_own_library_reads_it(tmp_path: Path) -> None:
    ezc3d = pytest.importorskip("ezc3d", reason="ezc3d is not installed (pip install 'rt_hands[export]')")
    before = samples(True, 5)
    del before[2]  # a lost frame
    export_hands(tmp_path / "h.c3d", before)
    file = ezc3d.c3d(str(tmp_path / "h.c3d"))
    assert tuple(file["parameters"]["POINT"]["LABELS"]["value"]) == POINT_NAMES
    assert file["parameters"]["POINT"]["UNITS"]["value"] == ["mm"]
    assert file["parameters"]["POINT"]["RATE"]["value"][0] == pytest.approx(30.0, abs=1e-3)
    points, residuals = file["data"]["points"], file["data"]["meta_points"]["residuals"][0]
    assert points.shape == (4, N_POINTS, 5) and np.isnan(points[:3, :, 2]).all()
    np.testing.assert_array_equal(residuals < 0, np.isnan(points[0]))  # C3D's own mark of an invalid point
    for slot, sample in zip((0, 1, 3, 4), before, strict=True):
        np.testing.assert_allclose(
            points[:3, :, slot], sample.hands.points_world_mm.T, rtol=1e-6
        )  # float32 inside


def test_the_pages_lines_read_results_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow", reason="pip install 'rt_hands[export]'")
    pytest.importorskip("ezc3d", reason="pip install 'rt_hands[export]'")
    monkeypatch.chdir(tmp_path)
    listed = samples(True)
    for name in ("hands.parquet", "hands.c3d", "hands.csv"):
        export_hands(name, listed)
    tips_mm = np.stack([s.hands.points_world_mm[index_of("index_tip")] for s in listed])
    page = (Path(__file__).resolve().parent.parent / "docs" / "formats.md").read_text(encoding="utf-8")
    own, pandas, c3d = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(own, names)
    np.testing.assert_array_equal(names["sample"].hands.points_world_mm, listed[-1].hands.points_world_mm)
    exec(c3d, names)
    np.testing.assert_allclose(names["tip_mm"].T, tips_mm, rtol=1e-6)  # C3D holds float32
    header = (tmp_path / "hands.csv").read_text().splitlines()[0].split(",")
    assert {"t_ns", "right_index_tip_x_mm"} <= set(re.findall(r'"(\w+)"', pandas)) <= set(header)
    if importlib.util.find_spec("pandas") is not None:
        exec(pandas, names)
        np.testing.assert_array_equal(names["tip_mm"].to_numpy(), tips_mm)
        np.testing.assert_allclose(names["t_s"], [s.t_ns / 1e9 for s in listed])


@settings(max_examples=50)
@given(
    rate=st.floats(5, 240),
    lost=st.lists(st.integers(1, 298), max_size=40),
    seed=st.integers(0, 99),
)
def test_even_grid_finds_rate_and_lost_frames(rate: float, lost: list[int], seed: int) -> None:
    true_slots = np.setdiff1d(np.arange(300), lost)
    jitter = np.random.default_rng(seed).uniform(-0.05, 0.05, len(true_slots))
    found, slots = even_grid(((true_slots + jitter) / rate * 1e9).astype(np.int64))
    np.testing.assert_array_equal(slots, true_slots)
    assert found == pytest.approx(rate, rel=1e-3)  # 3e-4 is what the jitter of the two ends allows


def test_uneven_or_standing_times_are_refused() -> None:
    with pytest.raises(InvalidInput, match="rising times"):
        even_grid(np.array([0, 5, 5]))
    with pytest.raises(InvalidInput, match="too uneven"):
        even_grid(np.array([0, 10, 20, 30, 31, 32]) * 10**6)


@pytest.mark.parametrize("second_hz", [20, 22.2])
def test_a_rate_that_changes_is_refused(second_hz: float) -> None:
    """A webcam that takes 30 fps, then fewer in low light: on one grid samples would lie seconds off."""
    steps = np.r_[np.full(400, 1 / 30), np.full(300, 1 / second_hz)]
    with pytest.raises(InvalidInput, match="too uneven"):
        even_grid((np.cumsum(steps) * 1e9).astype(np.int64))


@pytest.mark.parametrize(
    ("sample", "kind"), [(Hands3D.empty(), "Hands3D"), (HandsSample(0, 0, None), "HandsSample")]
)
def test_what_is_no_sample_is_named(tmp_path: Path, sample: HandsSample, kind: str) -> None:
    with pytest.raises(InvalidInput, match=f"got a {kind}; give HandsSample"):
        export_hands(tmp_path / "a.csv", [sample])


def test_wrong_endings_and_kinds(tmp_path: Path) -> None:
    for ending, three_d, says in (
        ("xlsx", False, "Known endings: .csv, .parquet, .jsonl, .json, .c3d"),
        ("json", True, "COCO holds 2D hands; these are 3D"),
        ("c3d", False, "C3D holds 3D hands; these are 2D"),
    ):
        with pytest.raises(InvalidInput, match=says):
            export_hands(tmp_path / f"h.{ending}", samples(three_d))
    with pytest.raises(InvalidInput, match="no hands to export"):
        export_hands(tmp_path / "h.csv", [])
    with pytest.raises(InvalidInput, match="can't go into one file"):
        export_hands(tmp_path / "h.csv", [*samples(True, 1), *samples(False, 1)])
    with pytest.raises(InvalidInput, match="There is no file"):
        load_hands(tmp_path / "none.csv")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("ending", "module"), [("parquet", "pyarrow"), ("c3d", "ezc3d")])
def test_a_missing_library_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, module: str
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(MissingPart, match=rf"needs {module}: pip install 'rt_hands\[export\]'"):
        export_hands(tmp_path / f"h.{ending}", samples(True))


def test_command_turns_a_table_into_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export_hands(tmp_path / "flat.csv", samples(False))
    assert main([str(tmp_path / "flat.csv"), str(tmp_path / "flat.jsonl")]) == 0
    assert_same(samples(False), load_hands(tmp_path / "flat.jsonl"))
    words = [str(tmp_path / "flat.csv"), str(tmp_path / "one.json"), "--camera", "cam_1, é"]
    assert main([*words, "--size-px", "800", "600"]) == 0
    pictures = json.loads((tmp_path / "one.json").read_text())["images"]
    assert [picture["width"] for picture in pictures] == [800, 800]
    assert "4 samples of cam_0, é, cam_1, é, 2D, hands in 4." in capsys.readouterr().out
    with pytest.raises(InvalidInput, match=r"one\.json is already there"):
        main(words)
    with pytest.raises(InvalidInput, match="No hands of camera 'cam_9'"):
        main([*words[:2], "--overwrite", "--camera", "cam_9"])


def test_command_never_replaces_the_record_of_process(tmp_path: Path) -> None:
    export_hands(tmp_path / "q.csv", samples(False))
    record = tmp_path / "q.json"
    process._write({tmp_path / "q.csv": samples(False)}, [], {"model": "m.onnx"}, Console(quiet=True))
    before = record.read_bytes()
    for words in ([], ["--overwrite"]):
        with pytest.raises(
            InvalidInput, match=r"q\.json is what `process` noted of its table .*another name"
        ):
            main([str(tmp_path / "q.csv"), str(record), *words])
    assert record.read_bytes() == before
    for other in ("{}", "[1]", "no JSON", "\udcff"):
        record.write_bytes(other.encode("utf-8", "surrogateescape"))
        assert main([str(tmp_path / "q.csv"), str(record), "--overwrite", "--camera", "cam_0, é"]) == 0


def test_command_turns_a_table_in_mm_into_c3d(tmp_path: Path) -> None:
    pytest.importorskip("ezc3d", reason="C3D needs ezc3d.")
    export_hands(tmp_path / "deep.csv", samples(True))
    assert main([str(tmp_path / "deep.csv"), str(tmp_path / "deep.c3d")]) == 0
    assert (tmp_path / "deep.c3d").stat().st_size > 1000
    with pytest.raises(InvalidInput, match="COCO holds 2D hands; these are 3D"):
        main([str(tmp_path / "deep.csv"), str(tmp_path / "deep.json")])


@settings(max_examples=60, deadline=None)
@given(
    ending=st.sampled_from(TABLES),
    place=st.integers(0, 1 << 16),
    removed=st.sampled_from([0, 1, 9, 500]),
    added=st.binary(max_size=3),
    cut=st.booleans(),
)
def test_damaged_tables_give_samples_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, ending: str, place: int, removed: int, added: bytes, cut: bool
) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install 'rt_hands[export]')")
    path = tmp_path_factory.mktemp("damaged") / f"h.{ending}"
    export_hands(path, samples(True, 1))
    content = path.read_bytes()
    i = place % len(content)
    path.write_bytes(content[:i] if cut else content[:i] + added + content[i + removed :])
    try:
        after = load_hands(path)
    except InvalidInput as error:
        assert str(path) in str(error)
    else:
        assert all(isinstance(s.hands, Hands3D) for s in after)


# --- cut off, empty, in the way -----------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 40, 5000])
def test_a_jsonl_line_that_was_cut_short_is_left_out_and_said(tmp_path, capsys, cut):
    path, made = tmp_path / "a.jsonl", samples(False)
    export_hands(path, made)
    path.write_bytes(path.read_bytes()[: -1 - cut])
    assert_same(made[:-1], load_hands(path))
    assert capsys.readouterr().err == f"{path} was cut off in line 4, which is left out.\n"


def test_a_jsonl_cut_inside_a_letter_is_still_text(tmp_path, capsys):
    path, made = tmp_path / "a.jsonl", samples(False)
    export_hands(path, made)
    data = path.read_bytes()
    path.write_bytes(data[: data.rindex("é".encode()) + 1])
    assert_same(made[:-1], load_hands(path))
    assert "cut off in line 4" in capsys.readouterr().err


def test_a_jsonl_whose_last_line_is_whole_needs_no_newline_but_must_be_right(tmp_path, capsys):
    path, made = tmp_path / "a.jsonl", samples(False)
    export_hands(path, made)
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    assert_same(made, load_hands(path))
    for bad in (b'{"frame": 1}', b"junk\n"):
        path.write_bytes(data + bad)
        with pytest.raises(InvalidInput, match="line 5: not a line that rt_hands wrote"):
            load_hands(path)
    path.write_bytes(data[:300])
    with pytest.raises(InvalidInput, match="line 1: not a line that rt_hands wrote"):
        load_hands(path)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("ending", TABLES)
def test_an_empty_table_is_one_sentence(tmp_path, ending):
    if ending == "parquet":
        pytest.importorskip("pyarrow", reason="Parquet needs pyarrow.")
    (tmp_path / f"a.{ending}").write_bytes(b"")
    with pytest.raises(InvalidInput, match=rf"a\.{ending}' "):
        load_hands(tmp_path / f"a.{ending}")


@pytest.mark.parametrize(
    "name", ["frames.csv", "session.json", "rig.toml", "cam_0.mp4", "new.mp4", "link.csv"]
)
def test_no_file_of_a_recording_is_written_over(tmp_path, name):
    folder, source = tmp_path / "take", tmp_path / "a.csv"
    folder.mkdir()
    for kept in ("frames.csv", "rig.toml", "cam_0.mp4"):
        (folder / kept).write_text("recorded")
    (tmp_path / "link.csv").symlink_to(folder / "frames.csv")
    target = tmp_path / name if name == "link.csv" else folder / name
    export_hands(source, samples(False))
    with pytest.raises(InvalidInput, match=rf"{name} belongs to the recording in that folder"):
        main([str(source), str(target), "--overwrite"])
    with pytest.raises(InvalidInput, match=rf"{name} belongs to the recording in that folder"):
        check_target(target)
    assert {path.name for path in folder.iterdir()} == {"frames.csv", "rig.toml", "cam_0.mp4"}
    for free in (folder / "hands.csv", tmp_path / "frames.csv", tmp_path / "rig.toml", tmp_path / "new.mp4"):
        check_target(free)
