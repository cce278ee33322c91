"""python -m rt_hands.calibrate board: the ChArUco board as PDF, PNG and board.toml."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from rt_hands.calibration.board import Board
from rt_hands.calibration.print_board import page_mm, save_pdf, save_png
from rt_hands.errors import InvalidInput, check_least


@dataclass
class MakeBoard:
    """A ChArUco board at true scale. Measure the print and put its squares' size into board.toml."""

    out: Path = Path("board")
    """Written as OUT.pdf, OUT.png and OUT.toml."""
    columns: int = 7
    """Squares across."""
    rows: int = 5
    """Squares down."""
    square_mm: float = 36.0
    """Side of a square."""
    marker_mm: float | None = None
    """Three quarters of a square where left out."""
    dictionary: str = "DICT_4X4_50"
    """Of the markers, by OpenCV's name."""
    inverted: bool = False
    """White on black."""
    legacy_pattern: bool = False
    """The layout of OpenCV before 4.6 (only boards with an even number of rows differ)."""
    paper: str | None = None
    """a4, letter, a3 or a2; left out: the first that fits."""
    dpi: float = 300.0
    """Of the PNG."""
    force: bool = False
    """Overwrite files that are there."""


def main(argv: Sequence[str]) -> int:
    """Write the three files."""
    a = tyro.cli(MakeBoard, prog="python -m rt_hands.calibrate board", args=list(argv))
    check_least("--dpi", a.dpi, 10)
    if not a.out.name:
        raise InvalidInput(f"--out {a.out} is a folder; give the files' name, such as --out board.")
    marker = 0.75 * a.square_mm if a.marker_mm is None else a.marker_mm
    board = Board(a.columns, a.rows, a.square_mm, marker, a.dictionary, a.inverted, a.legacy_pattern)
    paths = {kind: a.out.with_name(f"{a.out.name}.{kind}") for kind in ("pdf", "png", "toml")}
    there = [str(p) for p in paths.values() if p.exists()]
    if there and not a.force:
        raise InvalidInput(f"{there[0]} is there already. Choose another --out, or overwrite with --force.")
    save_pdf(board, paths["pdf"], a.paper)
    save_png(board, paths["png"], a.dpi, a.paper)
    board.save(paths["toml"])
    width, height = page_mm(board, a.paper)
    console = Console()
    console.print(f"wrote {', '.join(str(p) for p in paths.values())}; page {width:.0f} x {height:.0f} mm")
    console.print(
        "Print at 100 %, check the 100 mm bar, glue it on something flat, and put the measured size of the squares and "
        f"markers into {paths['toml']}."
    )
    return 0
