"""Contact sheets: predictions drawn on pictures, many to a page."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.display.text import put_text
from rt_hands.errors import InvalidInput, RtHandsError, check_folder
from rt_hands.layout import JOINT_BONES, N_HAND, N_HANDS, N_JOINTS

Image = NDArray[np.uint8]
HAND_COLOURS_BGR = ((80, 80, 255), (255, 160, 90))  # right red, left blue
SURFACE_BGR = (120, 230, 120)
TRUTH_BGR = (255, 255, 255)
CAPTION_SIZE = 0.38
_SUBPIXEL = 3


def _fixed(points_px: NDArray[np.floating]) -> list[tuple[int, int]]:
    """Points as OpenCV's fixed-point integers; NaN far outside."""
    at = np.nan_to_num(points_px[:, :2], nan=-1e3) * 2**_SUBPIXEL
    return [(round(float(x)), round(float(y))) for x, y in at]


def draw_hand(image: Image, points_px: NDArray[np.floating], colour: tuple[int, int, int]) -> None:
    """One hand, in place: bones, white joints and, where there are 85 points, green dots on the skin."""
    at = _fixed(points_px)
    for point in at[N_JOINTS:]:
        cv2.circle(image, point, 8, SURFACE_BGR, -1, cv2.LINE_AA, _SUBPIXEL)
    for parent, child in JOINT_BONES:
        cv2.line(image, at[parent], at[child], colour, 1, cv2.LINE_AA, _SUBPIXEL)
    for point in at[:N_JOINTS]:
        cv2.circle(image, point, 11, TRUTH_BGR, -1, cv2.LINE_AA, _SUBPIXEL)


def tile(image_bgr: Image, points_px: NDArray[np.floating], caption: str = "", side: int = 240) -> Image:
    """A picture shrunk into a square with its hands: points_px (170, >=2), NaN where absent."""
    h, w = image_bgr.shape[:2]
    scale = side / max(h, w)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = np.asarray(
        cv2.resize(image_bgr, (round(w * scale), round(h * scale)), interpolation=way), np.uint8
    )
    square = np.zeros((side, side, 3), np.uint8)
    square[: small.shape[0], : small.shape[1]] = small[:side, :side]
    hands = points_px.reshape(N_HANDS, N_HAND, -1)[..., :2] * scale
    for hand in range(N_HANDS):
        if np.isfinite(hands[hand]).any():
            draw_hand(square, hands[hand], HAND_COLOURS_BGR[hand])
    if caption:
        put_text(square, caption[-38:], (3, 12), CAPTION_SIZE)
    return square


def sheet(tiles: list[Image], across: int) -> Image:
    """Equal tiles as one picture, `across` a row, black where the last row ends."""
    blank = np.zeros_like(tiles[0])
    full = tiles + [blank] * (-len(tiles) % across)
    return np.vstack([np.hstack(full[i : i + across]) for i in range(0, len(full), across)])


def check_sheets(folder: Path, names: str, overwrite: bool, option: str = "--sheets") -> None:
    """Make the folder, before the work; raises InvalidInput where it holds pictures of these names (`*_[0-9].png`)."""
    check_folder(folder)
    there = sorted(folder.glob(names))
    if there and not overwrite:
        raise InvalidInput(
            f"{there[0]} is already there. Give another {option}, or --overwrite to replace it."
        )


def write_sheets(folder: Path, name: str, tiles: list[Image], across: int = 7, rows: int = 6) -> list[Path]:
    """Pages of tiles as <folder>/<name>_00.png and so on; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = []
    for number, start in enumerate(range(0, len(tiles), across * rows)):
        path = folder / f"{name}_{number:02d}.png"
        if not cv2.imwrite(str(path), sheet(tiles[start : start + across * rows], across)):
            raise RtHandsError(f"Could not write {path}.")
        pages.append(path)
    return pages
