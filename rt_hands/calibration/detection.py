"""Board corners in pictures: both ChArUco layouts, inverted boards, and what does not fit the board described."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.calibration.board import Board

MIN_CORNERS = 6  # a homography wants 4; two more show whether it holds
MISFIT_SQUARES = (
    0.12  # corners off the board's plane by more of a square are not this board's (lenses bend by < 0.05)
)
_NO_CORNERS = np.zeros((0, 2))


@dataclass(frozen=True)
class Detection:
    """What one picture shows.

    ids: (n,) int corner ids, rising. corners_px: (n, 2) float64. foreign: count of markers that are not on the board.
    marker_ratio: measured marker side / square side, NaN where it can't be measured. misfit: the corners found do not
    lie as the board's; they are then dropped.
    """

    ids: NDArray[np.int64]
    corners_px: NDArray[np.float64]
    foreign: int = 0
    marker_ratio: float = float("nan")
    misfit: bool = False

    @property
    def found(self) -> bool:
        """Whether the corners can be used."""
        return len(self.ids) >= MIN_CORNERS


def nothing(foreign: int = 0, *, misfit: bool = False) -> Detection:
    """No usable corner."""
    return Detection(np.zeros(0, np.int64), _NO_CORNERS, foreign, misfit=misfit)


class BoardDetector:
    """Finds one board, in one layout, in grey pictures."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._model_mm = board.corners_mm()[:, :2]

    @cached_property
    def _cv(self) -> Any:
        markers = cv2.aruco.DetectorParameters()
        # Refining marker corners would, before OpenCV 5, pull those of small markers onto the chessboard's.
        markers.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_NONE
        return cv2.aruco.CharucoDetector(self.board.cv_board(), cv2.aruco.CharucoParameters(), markers)

    def __call__(self, grey: NDArray[np.uint8]) -> Detection:
        """Corners of the board in a (h, w) uint8 picture."""
        image = cv2.bitwise_not(grey) if self.board.inverted else grey
        corners, ids, marker_corners, marker_ids = self._cv.detectBoard(image)
        known = [] if marker_ids is None else [int(i) for i in np.ravel(marker_ids)]
        foreign = sum(i >= self.board.n_markers for i in known)
        if ids is None or len(ids) < MIN_CORNERS:
            return nothing(foreign)
        order = np.argsort(np.ravel(ids))
        flat_ids = np.ravel(ids)[order].astype(np.int64)
        points = _refine(
            image, np.reshape(corners, (-1, 2))[order].astype(np.float32), self._model_mm[flat_ids]
        )
        return self._checked(flat_ids, points, marker_corners, foreign)

    def _checked(
        self, ids: NDArray[np.int64], points: NDArray[np.float64], marker_corners: Any, foreign: int
    ) -> Detection:
        """Drop corners that are collinear or not where the board has them."""
        model = self._model_mm[ids]
        if np.linalg.matrix_rank(model - model.mean(axis=0), tol=1e-6) < 2:
            return nothing(foreign)
        to_board, _ = cv2.findHomography(points, model)
        if to_board is None:
            return nothing(foreign, misfit=True)
        off = np.linalg.norm(_map(to_board, points) - model, axis=1) / self.board.square_mm
        if not np.median(off) < MISFIT_SQUARES:
            return nothing(foreign, misfit=True)
        good = off < MISFIT_SQUARES
        ratio = _marker_ratio(to_board, marker_corners, self.board.square_mm)
        return Detection(ids[good], points[good], foreign, ratio)


def _map(h: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(cv2.perspectiveTransform(points.reshape(-1, 1, 2), h), np.float64).reshape(-1, 2)


def _refine(
    image: NDArray[np.uint8], points: NDArray[np.float32], model_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sub-pixel corners, the window a quarter of the nearest neighbour's distance, so that no marker edge is in it."""
    gaps = np.linalg.norm(points[:, None] - points[None], axis=2)
    steps = np.linalg.norm(model_mm[:, None] - model_mm[None], axis=2)
    near = (steps > 0) & (steps < 1.01 * steps[steps > 0].min())
    half = int(np.clip(0.25 * gaps[near].min(), 2, 11)) if near.any() else 2
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-3)
    refined = cv2.cornerSubPix(image, points.reshape(-1, 1, 2).copy(), (half, half), (-1, -1), criteria)
    return np.asarray(refined, np.float64).reshape(-1, 2)


def _marker_ratio(to_board: NDArray[np.float64], marker_corners: Any, square_mm: float) -> float:
    """Median side of the markers, laid on the board's plane, over the square.

    The outline runs through the centres of the outermost dark pixels, so each side is a pixel short: put back.
    """
    ratios: list[float] = []
    for corners in marker_corners:
        outline = np.reshape(corners, (4, 2)).astype(np.float64)
        sides_px, sides_mm = (_sides(q) for q in (outline, _map(to_board, outline)))
        ratios += (sides_mm * (1 + 1 / np.maximum(sides_px, 1)) / square_mm).tolist()
    return float(np.median(ratios)) if ratios else float("nan")


def _sides(quad: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.norm(quad - np.roll(quad, 1, axis=0), axis=1), np.float64)


def looks_mirrored(detector: BoardDetector, grey: NDArray[np.uint8]) -> bool:
    """Whether the flipped picture shows the board and the picture itself does not."""
    if detector(grey).found:
        return False
    return detector(np.ascontiguousarray(grey[:, ::-1])).found
