"""The board: printed at true scale, read back by OpenCV in both layouts; its files."""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rt_hands import InvalidInput
from rt_hands.calibrate import main
from rt_hands.calibration.board import Board
from rt_hands.calibration.collect import Collector
from rt_hands.calibration.detection import BoardDetector
from rt_hands.calibration.print_board import PAGES_MM, dark_rects_mm, draw_page, page_mm, save_pdf, save_png

EVEN = Board(4, 6, 30.0, 22.0)  # an even number of rows: the two layouts differ


def mm_on_page(board: Board, dpi: float) -> np.ndarray:
    """Where the corners must be on the drawn page, px."""
    width, height = page_mm(board, None)
    left = (width - board.columns * board.square_mm) / 2
    top = (height - 14 - board.rows * board.square_mm) / 2
    return (board.corners_mm()[:, :2] + (left, top)) * dpi / 25.4 - 0.5


@pytest.mark.parametrize(
    "board",
    [
        Board(),
        Board(4, 5, 30, 20, inverted=True),
        replace(EVEN, legacy_pattern=True),
        replace(EVEN, legacy_pattern=False),
        Board(9, 6, 20, 15, "DICT_5X5_100", legacy_pattern=False),
    ],
)
def test_every_printed_corner_is_found_at_true_scale(board: Board) -> None:
    found = BoardDetector(board)(draw_page(board, dpi=150))
    assert len(found.ids) == board.n_corners
    np.testing.assert_allclose(found.corners_px, mm_on_page(board, 150), atol=0.6)  # rounding to pixels: 0.5
    assert found.marker_ratio == pytest.approx(board.marker_mm / board.square_mm, rel=0.03)


def test_rectangles_agree_with_opencvs_own_drawing() -> None:
    for board in (Board(5, 7, 40, 30), replace(EVEN, square_mm=40, marker_mm=30, legacy_pattern=True)):
        ours = np.full((board.rows * 40, board.columns * 40), 255, np.uint8)
        for x, y, w, h in np.round(dark_rects_mm(board)).astype(int):
            ours[y : y + h, x : x + w] = 0
        theirs = board.cv_board().generateImage((board.columns * 40, board.rows * 40))
        assert (ours == theirs).all()


@pytest.mark.parametrize("legacy", [False, True])
def test_the_layout_is_found_by_trying_both(legacy: bool) -> None:
    collector = Collector(EVEN)
    page = draw_page(replace(EVEN, legacy_pattern=legacy), dpi=120)
    for i in range(3):
        collector.add("a", i, page)
    assert collector.observations().board.legacy_pattern is legacy
    assert len(collector.observations().views) == 3


def test_pdf_is_at_true_scale_and_well_formed(tmp_path: Path) -> None:
    board = Board(4, 5, 30, 20)
    save_pdf(board, tmp_path / "b.pdf", "a4")
    data = (tmp_path / "b.pdf").read_bytes()
    box = re.search(rb"/MediaBox \[0\.0000 0\.0000 ([\d.]+) ([\d.]+)\]", data)
    assert box and [float(v) for v in box.groups()] == pytest.approx(
        [210 * 72 / 25.4, 297 * 72 / 25.4], abs=1e-3
    )
    scale = float(re.search(rb"([\d.]+) 0 0 -[\d.]+ 0 [\d.]+ cm", data)[1])  # type: ignore[index]
    rects = np.array(
        [[float(v) for v in m] for m in re.findall(rb"([\d.]+) ([\d.]+) ([\d.]+) ([\d.]+) re", data)]
    )
    squares = rects[np.isclose(rects[:, 2], 30) & np.isclose(rects[:, 3], 30)]
    assert len(squares) == 10 and scale * 30 == pytest.approx(30 * 72 / 25.4)
    assert any(np.isclose(r[2], 100) for r in rects)  # the ruler
    for i, place in enumerate(re.findall(rb"(\d{10}) 00000 n", data), start=1):
        assert data[int(place) :].startswith(
            b"%d 0 obj" % i
        )  # the cross-reference table points at the objects


def test_png_says_its_resolution(tmp_path: Path) -> None:
    save_png(Board(), tmp_path / "b.png", dpi=100)
    data = (tmp_path / "b.png").read_bytes()
    at = data.index(b"pHYs")
    assert struct.unpack(">IIB", data[at + 4 : at + 13]) == (3937, 3937, 1)
    image = cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_GRAYSCALE)
    np.testing.assert_array_equal(image, draw_page(Board(), 100))


def test_pages_fit() -> None:
    assert page_mm(Board(), None) == (297.0, 210.0)  # A4 on its side
    assert page_mm(Board(20, 15, 60, 45, "DICT_4X4_250"), None) == (1216.0, 930.0)
    with pytest.raises(InvalidInput, match="does not fit on a4"):
        page_mm(Board(20, 15, 60, 45, "DICT_4X4_250"), "a4")
    with pytest.raises(InvalidInput, match=f"Known: {', '.join(PAGES_MM)}"):
        page_mm(Board(), "b5")


@settings(max_examples=30)
@given(
    columns=st.integers(3, 9),
    rows=st.integers(2, 9),
    square=st.floats(5, 200),
    inverted=st.booleans(),
    legacy=st.none() | st.booleans(),
)
def test_board_file_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    columns: int,
    rows: int,
    square: float,
    inverted: bool,
    legacy: bool | None,
) -> None:
    board = Board(columns, rows, square, 0.7 * square, inverted=inverted, legacy_pattern=legacy, aspect=1.004)
    path = tmp_path_factory.mktemp("board") / "board.toml"
    board.save(path)
    assert Board.load(path) == board


CHARUCO = 'columns = 4\nrows = 5\nboard_height = 11.0\nboard_width = 8.5\ndictionary = "DICT_4X4_1000"\n'


def test_caliscopes_charuco_file(tmp_path: Path) -> None:
    path = tmp_path / "charuco.toml"
    path.write_text(
        CHARUCO + 'units = "inch"\naruco_scale = 0.75\nsquare_size_override_cm = 5.4\ninverted = true\n'
    )
    assert Board.load(path) == Board(4, 5, 54.0, 40.5, "DICT_4X4_1000", True)
    path.write_text(CHARUCO + 'units = "inch"\naruco_scale = 0.75\nsquare_size_overide_cm = 5.25\n')
    assert Board.load(path).square_mm == 52.5  # as Caliscope spelt it for years
    path.write_text(CHARUCO + 'units = "inch"\naruco_scale = 0.75\ninverted = false\n')
    assert Board.load(path).square_mm == pytest.approx(25.4 * 8.5 / 4)  # the narrower way


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a = ", "not valid TOML"),
        ("x = 1", "no \\[board\\] table"),
        (CHARUCO + 'units = "ell"\naruco_scale = 0.75\n', "units is 'ell'"),
        (CHARUCO.replace("4\n", '"4"\n', 1) + "aruco_scale = 0.75\n", "columns is '4'; wanted a int"),
        (CHARUCO.replace("4X4", "3X3") + 'units = "cm"\naruco_scale = 0.75\n', "Unknown ArUco dictionary"),
        (CHARUCO + 'units = "cm"\naruco_scale = 7.5\n', "20 to 95 % of a square"),
    ],
)
def test_bad_board_files_say_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "b.toml").write_text(text)
    with pytest.raises(InvalidInput, match=says) as error:
        Board.load(tmp_path / "b.toml")
    assert "b.toml" in str(error.value)


def test_board_command_writes_and_does_not_overwrite(tmp_path: Path) -> None:
    arguments = ["board", "--out", str(tmp_path / "mine"), "--dpi", "72", "--columns", "5", "--rows", "4"]
    assert main(arguments) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine.pdf", "mine.png", "mine.toml"]
    assert Board.load(tmp_path / "mine.toml") == Board(5, 4, legacy_pattern=False)
    with pytest.raises(InvalidInput, match="is there already"):
        main(arguments)
    with pytest.raises(InvalidInput, match="is a folder; give the files' name"):
        main(["board", "--out", "."])
