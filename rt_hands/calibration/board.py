"""The ChArUco board: its description, its file, and the cv2 objects made from it.

`legacy_pattern` names the layout: OpenCV 4.6 moved the first marker of boards with an even number of rows. None means
unknown: detection tries both and stores the one that fits. Boards with an odd number of rows are the same in both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tomli_w
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput
from rt_hands.paths import read_toml, write_atomically

_CM_PER = {"cm": 1.0, "inch": 2.54, "mm": 0.1}


@dataclass(frozen=True)
class Board:
    """columns, rows: squares across and down. square_mm, marker_mm: side lengths. inverted: white on black.

    aspect: height over width of a printed square; printers often stretch one way by a part in a hundred. Calibration
    measures it and keeps the geometric mean at square_mm.
    Raises InvalidInput for a board that can't be printed or has no interior corner.
    """

    columns: int = 7
    rows: int = 5
    square_mm: float = 36.0
    marker_mm: float = 27.0
    dictionary: str = "DICT_4X4_50"
    inverted: bool = False
    legacy_pattern: bool | None = None
    aspect: float = 1.0

    def __post_init__(self) -> None:
        if not (2 <= self.columns <= 100 and 2 <= self.rows <= 100 and self.columns * self.rows > 4):
            raise InvalidInput(f"A board of {self.columns} x {self.rows} squares: wanted 3 x 2 to 100 x 100.")
        if not 1 <= self.square_mm <= 2000:
            raise InvalidInput(
                f"The board's squares are {self.square_mm:g} mm; wanted 1 to 2000. Is the unit mm?"
            )
        if not 0.2 * self.square_mm <= self.marker_mm <= 0.95 * self.square_mm:
            raise InvalidInput(
                f"The markers are {self.marker_mm:g} mm in squares of {self.square_mm:g} mm; "
                "wanted 20 to 95 % of a square."
            )
        if not 0.8 <= self.aspect <= 1.25:
            raise InvalidInput(
                f"The board's squares are {self.aspect:g} times as high as wide; wanted about 1."
            )
        held = len(self.cv_dictionary().bytesList)
        if self.n_markers > held:
            raise InvalidInput(
                f"The board needs {self.n_markers} markers, {self.dictionary} has {held}. Take a larger dictionary."
            )

    @property
    def n_markers(self) -> int:
        """Count of markers: half of the squares."""
        return self.columns * self.rows // 2

    @property
    def n_corners(self) -> int:
        """Count of interior chessboard corners."""
        return (self.columns - 1) * (self.rows - 1)

    @property
    def layout_matters(self) -> bool:
        """Whether the two ChArUco layouts differ for this board."""
        return self.rows % 2 == 0

    def corners_mm(self) -> NDArray[np.float64]:
        """(C, 3) interior corners by id, from the top-left corner of the board, x right, y down, z = 0."""
        x, y = np.meshgrid(np.arange(1, self.columns), np.arange(1, self.rows))
        xy = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
        stretch = np.sqrt(self.aspect)
        return np.asarray(xy * self.square_mm * (1 / stretch, stretch, 1), np.float64)

    def cv_dictionary(self) -> Any:
        """cv2.aruco.Dictionary."""
        number = getattr(cv2.aruco, self.dictionary, None)
        if not self.dictionary.startswith("DICT_") or number is None:
            raise InvalidInput(
                f"Unknown ArUco dictionary '{self.dictionary}'; it is called e.g. DICT_4X4_50."
            )
        return cv2.aruco.getPredefinedDictionary(number)

    def cv_board(self) -> Any:
        """cv2.aruco.CharucoBoard in mm; an unknown layout counts as the new one."""
        size = (self.columns, self.rows)
        board = cv2.aruco.CharucoBoard(size, self.square_mm, self.marker_mm, self.cv_dictionary())
        board.setLegacyPattern(bool(self.legacy_pattern))
        return board

    def layouts(self) -> tuple[Board, ...]:
        """This board in each layout that it may have."""
        if self.legacy_pattern is not None:
            return (self,)
        if not self.layout_matters:
            return (replace(self, legacy_pattern=False),)
        return (replace(self, legacy_pattern=False), replace(self, legacy_pattern=True))

    def save(self, path: str | Path) -> None:
        """Write board.toml."""
        table = {k: v for k, v in vars(self).items() if v is not None}
        write_atomically(Path(path), tomli_w.dumps({"units": "mm", "board": table}).encode())

    @staticmethod
    def load(path: str | Path) -> Board:
        """Read board.toml, or Caliscope's charuco.toml. Raises InvalidInput that names the file."""
        path = Path(path)
        data = read_toml(path, "board file")
        try:
            return _from_caliscope(data) if "aruco_scale" in data else _from_table(data)
        except InvalidInput as error:
            raise InvalidInput(f"Board file '{path}': {error}") from None


def _typed(table: dict[str, Any], name: str, kind: type, default: Any = None) -> Any:
    value = table.get(name, default)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InvalidInput(f"{name} is {value!r}; wanted a {kind.__name__}.")
    return value


def _from_table(data: dict[str, Any]) -> Board:
    table = data.get("board")
    if not isinstance(table, dict) or data.get("units") != "mm":
        raise InvalidInput(
            'there is no [board] table with units = "mm", nor is it Caliscope\'s charuco.toml.'
        )
    return Board(
        _typed(table, "columns", int),
        _typed(table, "rows", int),
        _typed(table, "square_mm", float),
        _typed(table, "marker_mm", float),
        _typed(table, "dictionary", str),
        _typed(table, "inverted", bool, False),
        None if "legacy_pattern" not in table else _typed(table, "legacy_pattern", bool),
        _typed(table, "aspect", float, 1.0),
    )


def _from_caliscope(data: dict[str, Any]) -> Board:
    """Squares from the measured override in cm, else from the printed board's size."""
    columns, rows = _typed(data, "columns", int), _typed(data, "rows", int)
    square_cm = data.get("square_size_override_cm", data.get("square_size_overide_cm"))  # so until late
    if square_cm in (None, "null"):
        cm = _CM_PER.get(str(data.get("units")))
        if cm is None or columns < 1 or rows < 1:
            raise InvalidInput(f"units is {data.get('units')!r}; known: {', '.join(_CM_PER)}.")
        width, height = _typed(data, "board_width", float), _typed(data, "board_height", float)
        square_cm = cm * min(width / columns, height / rows)
    square_mm = 10 * _typed({"square_size_override_cm": square_cm}, "square_size_override_cm", float)
    legacy = None if "legacy_pattern" not in data else _typed(data, "legacy_pattern", bool)
    return Board(
        columns,
        rows,
        square_mm,
        square_mm * _typed(data, "aruco_scale", float),
        _typed(data, "dictionary", str),
        _typed(data, "inverted", bool, False),
        legacy,
    )
