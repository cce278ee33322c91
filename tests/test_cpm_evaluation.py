"""Figures of the CPM's evaluation on made-up predictions with known answers; decoders on perfect maps."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from rt_hands import evaluate
from rt_hands.errors import InvalidInput, SourceError
from rt_hands.evaluation import cpm, decoders, real_hands, rendered, sheets
from rt_hands.layout import N_POINTS
from rt_hands.types import Hands2D

JOINTS = np.column_stack([np.linspace(0, 100, 21), np.linspace(0, 60, 21)])


def teacher(side: str, shift: float = 0.0) -> dict[str, object]:
    return {"side": side, "joints_px": (JOINTS + shift).tolist()}


def predicted(**hands: np.ndarray) -> Hands2D:
    """Hands2D with the given joints as right= and left=."""
    empty = Hands2D.empty()
    present = np.zeros(2, bool)
    for side, joints in hands.items():
        at = ("right", "left").index(side)
        empty.points_px[at * 85 : at * 85 + 21] = np.column_stack([joints, np.ones(21)])
        present[at] = True
    return Hands2D(empty.points_px, present, present.astype(np.float32))


def test_a_perfect_hand() -> None:
    result = real_hands.compare("a/b.jpg", [teacher("right")], predicted(right=JOINTS))
    figures = real_hands.figures([result])
    assert figures["pck05"] == figures["pck20"] == 1
    assert figures["missed"] == figures["side_wrong"] == figures["extra"] == 0


def test_pck_is_distance_over_box_strictly_less() -> None:
    near = real_hands.figures(
        [real_hands.compare("a/b", [teacher("right")], predicted(right=JOINTS + [10, 0]))]
    )
    assert near["pck10"] == 0 and near["pck20"] == 1
    closer = real_hands.figures(
        [real_hands.compare("a/b", [teacher("right")], predicted(right=JOINTS + [9.9, 0]))]
    )
    assert closer["pck10"] == 1 and closer["pck05"] == 0


def test_the_wrong_side_counts_as_that_and_nothing_else() -> None:
    figures = real_hands.figures([real_hands.compare("a/b", [teacher("right")], predicted(left=JOINTS))])
    assert figures["side_wrong"] == 1 and figures["missed"] == 0 and figures["pck05"] == 1


def test_missed_and_extra_hands() -> None:
    result = real_hands.compare("a/b", [teacher("right")], predicted(left=JOINTS + 300))
    figures = real_hands.figures([result])
    assert figures["missed"] == 1 and figures["extra"] == 1 and figures["pck20"] == 0
    assert np.isnan(figures["side_wrong"])


def test_two_hands_that_changed_places() -> None:
    truth = [teacher("right"), teacher("left", 200)]
    figures = real_hands.figures(
        [real_hands.compare("a/b", truth, predicted(left=JOINTS, right=JOINTS + 200))]
    )
    assert figures["side_wrong_pairs"] == 1 and figures["missed"] == 0 and figures["pck05"] == 1


def test_sets_are_the_folders() -> None:
    results = [real_hands.compare(f"{s}/x.jpg", [teacher("right")], predicted(right=JOINTS)) for s in "aab"]
    assert {name: len(group) for name, group in real_hands.by_set(results).items()} == {"a": 2, "b": 1}


def gaussian(x: float, y: float, n: int = 45, sigma: float = 1.2) -> np.ndarray:
    grid = np.arange(n)
    one = np.exp(-((grid - x) ** 2)[None] / (2 * sigma**2) - ((grid - y) ** 2)[:, None] / (2 * sigma**2))
    return one.astype(np.float32)[None]


@settings(max_examples=25, deadline=None)
@given(st.floats(5, 39), st.floats(5, 39))
def test_every_decoder_reads_a_perfect_map(x: float, y: float) -> None:
    limits = {
        "argmax": 0.51,
        "bicubic + argmax": 0.3,
        "quarter shift": 0.27,
        "DARK": 0.02,
        "log-parabola": 0.01,
    }
    for name, decode in decoders.DECODERS.items():
        away = np.abs(decode(gaussian(x, y))[0] - [x, y]).max()
        assert away < limits.get(name, 0.2), f"{name}: {away:.3f} cells"


def test_rendered_errors_are_px_at_224_of_points_in_the_picture() -> None:
    truth = np.full((1, N_POINTS, 2), np.nan, np.float32)
    truth[0, :3] = [[100, 100], [200, 50], [400, 10]]  # the third lies outside
    data = rendered.RenderedSet(np.zeros((1, 368, 368, 3), np.uint8), truth)
    guess = np.nan_to_num(truth) + np.float32([3.68, 0])
    np.testing.assert_allclose(rendered.errors_px(data, guess), [2.24, 2.24], rtol=1e-5)
    guess[0, 0] = np.nan
    np.testing.assert_allclose(rendered.errors_px(data, guess), [112, 2.24], rtol=1e-5)


def test_found_hands_are_judged_apart_from_missed_ones() -> None:
    truth = np.full((2, N_POINTS, 2), 100, np.float32)
    data = rendered.RenderedSet(np.zeros((2, 368, 368, 3), np.uint8), truth)
    guess = truth + np.float32([3.68, 0])
    guess[0, 85:] = np.nan
    near, missed = rendered.found(data, guess)
    assert abs(near - 2.24) < 1e-4 and missed == 0.25
    guess[1, 3] = np.nan  # a point without a peak counts as the picture's half side, as in `errors_px`
    assert rendered.found(data, guess)[0] == pytest.approx((2.24 * 254 + 112) / 255, rel=1e-4)


def test_swapped_sides_are_seen() -> None:
    truth = np.random.default_rng(0).uniform(50, 300, (4, N_POINTS, 2)).astype(np.float32)
    data = rendered.RenderedSet(np.zeros((4, 368, 368, 3), np.uint8), truth)
    turned = truth.copy()
    turned[0] = truth[0].reshape(2, 85, 2)[::-1].reshape(N_POINTS, 2)
    assert rendered.side_swapped(data, turned) == 0.25
    turned[0, 85:] = np.nan  # the other hand is read in its place: still swapped; then neither is found
    assert rendered.side_swapped(data, turned) == 0.25
    turned[0] = np.nan
    assert rendered.side_swapped(data, turned) == 0


def test_sheets_are_written_in_pages(tmp_path: Path) -> None:
    points = np.full((N_POINTS, 2), np.nan)
    points[:85] = np.random.default_rng(0).uniform(10, 90, (85, 2))
    tile = sheets.tile(np.zeros((100, 160, 3), np.uint8), points, "a/b.jpg", side=80)
    assert tile.shape == (80, 80, 3) and tile.max() > 0
    pages = sheets.write_sheets(tmp_path, "set", [tile] * 5, across=2, rows=2)
    assert [p.name for p in pages] == ["set_00.png", "set_01.png"]
    assert cv2.imread(str(pages[0])).shape == (160, 160, 3)


def test_command_draws_a_folder(tmp_path: Path, standin_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "empty.png"), np.zeros((90, 120, 3), np.uint8))
    options = ["--images", str(tmp_path), "--model", str(standin_path), "--engine", "onnxruntime"]
    assert cpm.main([*options, "--sheets", str(tmp_path / "out"), "--threads", "1"]) == 0
    assert (tmp_path / "out" / "images_00.png").is_file()
    with pytest.raises(InvalidInput, match=r"images_00\.png is already there.*--overwrite"):
        cpm.main([*options, "--sheets", str(tmp_path / "out"), "--threads", "1"])
    again = [*options, "--sheets", str(tmp_path / "out"), "--threads", "1", "--overwrite"]
    assert cpm.main(again) == 0


def test_figures_that_are_there_are_not_replaced_unasked(tmp_path: Path) -> None:
    there = tmp_path / "there.json"
    there.write_text("{}")
    words = {
        "cpm": ["--json"],
        "rtc": ["--json"],
        "rig": ["--json"],
        "video": ["--source", "clip.mp4", "--json"],
    }
    words |= {
        "session": ["sample", "hands.csv", "--json"],
        "clocks": ["--rig", "r", "--source", "s", "--out"],
    }
    for part, options in words.items():
        with pytest.raises(InvalidInput, match=r"there\.json is already there.*--overwrite to replace it"):
            evaluate.main([part, *options, str(there)])
    with pytest.raises(InvalidInput, match=r"there\.json is already there"):
        evaluate.main(["rtc", "--picture", str(there)])


def test_command_reads_pictures_as_live_does(
    tmp_path: Path, standin_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    (folder / "deeper").mkdir(parents=True)
    picture = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    cv2.imwrite(str(folder / "a.tif"), picture)
    cv2.imwrite(str(folder / "deeper" / "b.PNG"), picture)
    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
    (folder / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    options = ["--model", str(standin_path), "--engine", "onnxruntime", "--sheets", str(tmp_path / "out")]
    assert cpm.main([*options, "--images", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "2 pictures on 1 sheets" in said and "cut.jpg is no picture that can be decoded" in said
    assert cpm.main([*options, "--images", str(folder / "a.tif"), "--overwrite"]) == 0
    assert "1 pictures on 1 sheets" in capsys.readouterr().out


def test_pictures_that_are_not_there_are_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    words = ["--sheets", str(tmp_path / "out"), "--images"]
    with pytest.raises(SourceError, match="There is no file or folder .*gone"):
        cpm.main([*words, str(tmp_path / "gone")])
    with pytest.raises(SourceError, match=r"holds no pictures \(\.jpg, .*\.tiff, .*\)"):
        cpm.main([*words, str(tmp_path)])


@pytest.mark.parametrize("part", ["--images", "--parts"])
def test_a_folder_that_cannot_be_made_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((90, 120, 3), np.uint8))
    for work in ("Detector", "Cpm"):
        monkeypatch.setattr(cpm, work, lambda *_: pytest.fail("The work has begun."))
    words = [part, str(tmp_path) if part == "--images" else "real"]
    with pytest.raises(SourceError, match=r"file/sheets can't be made"):
        cpm.main([*words, "--sheets", str(tmp_path / "file" / "sheets")])


def test_the_table_takes_networks_from_elsewhere(tmp_path: Path) -> None:
    said = Console(record=True, width=200)
    own = tmp_path / "resnet34.onnx"
    paths = cpm._table_networks((own,), said)
    assert paths[-1] == own and paths[0].name == "cpm_light.onnx" and len(set(paths)) == len(paths)
    text = said.export_text()
    assert "cpm6: no weights in the package" in text and "resnet34" not in text
    with pytest.raises(InvalidInput, match=r"resnet34\.onnx"):
        cpm.main(["--networks", str(own)])


def test_figures_have_the_names_that_others_look_for() -> None:
    row = dict.fromkeys(("pck05", "pck10", "pck20", "missed", "side_wrong"), 0.1)
    real = {"detector": {"all": row, "sets": {"a": row}, "invented": float("nan")}, "network alone": {}}
    flat = cpm.flat_figures({"real": real, "table": {"cpm_light": {"test_one_px": 4.0}}})
    assert flat["real_pck10"] == 0.1 and np.isnan(flat["real_invented"])
    assert flat["networks"]["cpm_light"]["test_one_px"] == 4.0 and flat["sets"]["a"] == row


def test_drawing_has_no_figures(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="--json has no figures to write with --images"):
        cpm.main(["--images", str(tmp_path), "--json", str(tmp_path / "f.json")])
