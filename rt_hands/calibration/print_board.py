"""The board as PDF and PNG at true scale, with a 100 mm ruler to check the print by.

Both are drawn from one list of rectangles in mm. The PDF is a dozen lines of vector graphics, sharp at any size; the
PNG carries its resolution (pHYs), so that viewers print it at the right size.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.calibration.board import Board
from rt_hands.errors import InvalidInput
from rt_hands.paths import write_atomically

PAGES_MM = {"a4": (210.0, 297.0), "letter": (215.9, 279.4), "a3": (297.0, 420.0), "a2": (420.0, 594.0)}
MARGIN_MM = 8.0  # what printers can't reach
FOOT_MM = 14.0  # ruler and caption
RULER_MM = 100.0
_PT_PER_MM = 72 / 25.4

Rects = NDArray[np.float64]


def dark_rects_mm(board: Board) -> Rects:
    """(N, 4) x, y, width, height mm of the dark parts of the upright (not inverted) board, y down from the top."""
    drawn = board.layouts()[0]
    cv_board, square, marker = drawn.cv_board(), board.square_mm, board.marker_mm
    bits = drawn.cv_dictionary().markerSize + 2
    cell = marker / bits
    rects, white = [], set()
    for number, corners in zip(cv_board.getIds().ravel(), cv_board.getObjPoints(), strict=True):
        x0, y0 = np.asarray(corners)[:, :2].min(axis=0)
        white.add((int(x0 // square), int(y0 // square)))
        picture = cv2.aruco.generateImageMarker(drawn.cv_dictionary(), int(number), bits)
        for r, row in enumerate(picture):
            edges = np.flatnonzero(np.diff(np.concatenate([[255], row, [255]]).astype(int)))
            # Runs, not single cells: neighbours would show a hair line between them.
            for a, b in edges.reshape(-1, 2):
                rects.append((x0 + a * cell, y0 + r * cell, (b - a) * cell, cell))
    squares = [(c, r) for r in range(board.rows) for c in range(board.columns) if (c, r) not in white]
    rects += [(c * square, r * square, square, square) for c, r in squares]
    return np.array(rects)


def page_mm(board: Board, paper: str | None) -> tuple[float, float]:
    """(width, height) of the page: the named paper, or the smallest that holds the board; turned as needed."""
    need = (
        board.columns * board.square_mm + 2 * MARGIN_MM,
        board.rows * board.square_mm + 2 * MARGIN_MM + FOOT_MM,
    )
    if paper is not None and paper not in PAGES_MM:
        raise InvalidInput(f"Unknown paper '{paper}'. Known: {', '.join(PAGES_MM)}; left out: one that fits.")
    sizes = [PAGES_MM[paper]] if paper else list(PAGES_MM.values())
    for short, long in sizes:
        for page in ((short, long), (long, short)):
            if need[0] <= page[0] and need[1] <= page[1]:
                return page
    if paper:
        raise InvalidInput(
            f"The board with its margin is {need[0]:.0f} x {need[1]:.0f} mm and does not fit on {paper}. "
            "Take smaller squares, or leave the paper out."
        )
    return need


def _caption(board: Board) -> str:
    layout = "legacy layout" if board.legacy_pattern else "new layout"
    return (
        f"{board.columns} x {board.rows} squares of {board.square_mm:g} mm, markers {board.marker_mm:g} mm, "
        f"{board.dictionary}, {'inverted, ' if board.inverted else ''}{layout}. "
        "Print at 100 %: the bar is 100 mm."
    )


def _places(board: Board, page: tuple[float, float]) -> tuple[float, float, float]:
    """Left and top of the board, and the ruler's y, mm from the page's top left."""
    left = (page[0] - board.columns * board.square_mm) / 2
    top = (page[1] - FOOT_MM - board.rows * board.square_mm) / 2
    return left, top, page[1] - MARGIN_MM - 4


def _page_rects(board: Board, page: tuple[float, float]) -> tuple[Rects, Rects]:
    """Black rectangles, and white ones on top of them, in mm on the page."""
    left, top, ruler_y = _places(board, page)
    dark = dark_rects_mm(board) + (left, top, 0, 0)
    ruler = [((page[0] - RULER_MM) / 2, ruler_y, RULER_MM, 1.0)]
    if not board.inverted:
        return np.vstack([dark, ruler]), np.zeros((0, 4))
    rim = min(MARGIN_MM / 2, left, top)
    width, height = board.columns * board.square_mm, board.rows * board.square_mm
    field = [(left - rim, top - rim, width + 2 * rim, height + 2 * rim)]
    return np.array(field + ruler), dark


def save_pdf(board: Board, path: str | Path, paper: str | None = None) -> None:
    """A one-page PDF at true scale."""
    page = page_mm(board, paper)
    black, white = _page_rects(board, page)
    left, _, ruler_y = _places(board, page)
    parts = [f"{_PT_PER_MM:.9f} 0 0 {-_PT_PER_MM:.9f} 0 {page[1] * _PT_PER_MM:.6f} cm"]
    for grey, rects in ((0, black), (1, white)):
        parts.append(f"{grey} g " + " ".join(f"{x:.5f} {y:.5f} {w:.5f} {h:.5f} re" for x, y, w, h in rects))
        parts.append("f" if len(rects) else "")
    # The text matrix turns y back upright.
    parts.append(f"0 g BT /F 3.2 Tf 1 0 0 -1 {left:.3f} {ruler_y - 2:.3f} Tm ({_caption(board)}) Tj ET")
    write_atomically(Path(path), _pdf("\n".join(parts).encode("ascii"), page))


def _pdf(content: bytes, page: tuple[float, float]) -> bytes:
    """A PDF file of one page (ISO 32000: objects, cross-reference table, trailer)."""
    box = " ".join(f"{v * _PT_PER_MM:.4f}" for v in (0, 0, *page))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [{box}] /Contents 4 0 R ".encode()
        + b"/Resources << /Font << /F 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%b\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % p for p in places)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + table + trailer


def draw_page(board: Board, dpi: float = 300, paper: str | None = None) -> NDArray[np.uint8]:
    """The page as a grey picture, (h, w) uint8."""
    page = page_mm(board, paper)
    scale = dpi / 25.4
    image = np.full([round(v * scale) for v in page[::-1]], 255, np.uint8)
    for grey, rects in zip((0, 255), _page_rects(board, page), strict=True):
        for x, y, w, h in rects:
            x0, y0, x1, y1 = (round(v * scale) for v in (x, y, x + w, y + h))
            image[max(y0, 0) : y1, max(x0, 0) : x1] = grey
    left, _, ruler_y = _places(board, page)
    place = (round(left * scale), round((ruler_y - 2) * scale))
    text, font = _caption(board), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(image, text, place, font, dpi / 300 * 1.3, 0, max(1, round(dpi / 150)), cv2.LINE_AA)
    return image


def save_png(board: Board, path: str | Path, dpi: float = 300, paper: str | None = None) -> None:
    """A PNG of the page that says its own resolution."""
    png = cv2.imencode(".png", draw_page(board, dpi, paper))[1].tobytes()
    per_metre = round(dpi / 0.0254)
    body = b"pHYs" + struct.pack(">IIB", per_metre, per_metre, 1)
    chunk = struct.pack(">I", 9) + body + struct.pack(">I", zlib.crc32(body))
    # The signature and the IHDR chunk take 33 bytes; pHYs must come before the picture.
    write_atomically(Path(path), png[:33] + chunk + png[33:])
