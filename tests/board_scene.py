"""Rendered calibration sequences with known truth: every pixel's ray meets the board's plane, lens and all.

Each pixel is the mean of SAMPLES x SAMPLES rays, then blur and noise of a webcam are added.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.calibration.board import Board
from rt_hands.calibration.print_board import dark_rects_mm
from rt_hands.camera import Camera, Rig

SAMPLES = 2
_TEXELS_PER_SQUARE = 48
_RIM = 0.5  # squares of empty board round the pattern


BLUR_PX, NOISE = 0.6, 3.0  # standard deviations
PAPER, INK, BACKGROUND = 215.0, 35.0, 110.0
SIZE_PX = (640, 480)


def texture(board: Board) -> NDArray[np.float32]:
    """The board with its rim from above, 0 ink to 1 paper; 48 texels a square."""
    per_mm = _TEXELS_PER_SQUARE / board.square_mm
    rim = round(_RIM * _TEXELS_PER_SQUARE)
    shape = (board.rows * _TEXELS_PER_SQUARE + 2 * rim, board.columns * _TEXELS_PER_SQUARE + 2 * rim)
    image = np.ones(shape, np.float32)
    for x, y, w, h in dark_rects_mm(board) * per_mm:
        x0, y0, x1, y1 = (round(v) + rim for v in (x, y, x + w, y + h))
        image[y0:y1, x0:x1] = 0
    return 1 - image if board.inverted else image


class BoardRenderer:
    """Pictures of one board in one camera."""

    def __init__(self, board: Board, camera: Camera) -> None:
        self.board, self.camera = board, camera
        self._texture = texture(board)
        width, height = camera.size_px
        at = (np.arange(max(width, height) * SAMPLES) + 0.5) / SAMPLES - 0.5
        x, y = np.meshgrid(at[: width * SAMPLES], at[: height * SAMPLES])
        pixels = np.stack([x.ravel(), y.ravel()], axis=1)
        ideal = camera.undistort(pixels) - camera.K[:2, 2]
        self._rays = (ideal / camera.K[[0, 1], [0, 1]]).astype(np.float32).reshape(*x.shape, 2)

    def __call__(self, world_from_board: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.uint8]:
        """(h, w) uint8 picture; world_from_board: (4, 4), mm. The board is seen from its printed side only."""
        cam_from_board = self.camera.cam_from_world @ world_from_board
        width, height = self.camera.size_px
        picture = np.full((height, width), BACKGROUND, np.float32)
        if (cam_from_board[:3, 3] @ cam_from_board[:3, 2]) > 0 and cam_from_board[2, 3] > 0:
            paint = cv2.resize(self._layer(cam_from_board), (width, height), interpolation=cv2.INTER_AREA)
            picture = paint[..., 0] + paint[..., 1] * picture
        picture = cv2.GaussianBlur(picture, (0, 0), BLUR_PX)
        noisy = picture + rng.normal(0, NOISE, picture.shape)
        return np.clip(np.round(noisy), 0, 255).astype(np.uint8)

    def _layer(self, cam_from_board: NDArray[np.float64]) -> NDArray[np.float32]:
        """(H, W, 2) at the sampling grid: the board's light, and 1 where the background shows."""
        # A ray (x, y, 1) meets the board's plane at (u, v) with [u, v, 1] ~ inverse([r1 r2 t]) [x, y, 1].
        to_plane = np.linalg.inv(cam_from_board[:3, [0, 1, 3]]).astype(np.float32)
        uvw = self._rays @ to_plane[:, :2].T + to_plane[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            per_mm = _TEXELS_PER_SQUARE / self.board.square_mm
            texel = uvw[..., :2] / uvw[..., 2:] * per_mm + (_RIM * _TEXELS_PER_SQUARE - 0.5)
        ahead = uvw[..., 2] > 0
        texel = np.where(ahead[..., None] & np.isfinite(texel), np.clip(texel, -1e4, 1e4), -1e4).astype(
            np.float32
        )
        shade = cv2.remap(self._texture, texel, None, cv2.INTER_LINEAR, borderValue=-1)
        light = INK + (PAPER - INK) * shade
        return np.stack([np.where(shade >= 0, light, 0), (shade < 0).astype(np.float32)], axis=2)


def example_rig(n: int = 3) -> Rig:
    """Cameras on an arc of 700 mm round the world's origin, with lenses of a webcam, all different."""
    rng = np.random.default_rng(0)
    cameras = []
    for i in range(n):
        angle = np.radians(-35 + 70 * i / max(n - 1, 1))
        place = 700 * np.array([np.sin(angle), rng.uniform(-0.15, 0.15), -np.cos(angle)])
        forward = -place / np.linalg.norm(place)
        right = np.cross([0, 1.0, 0], forward)
        right /= np.linalg.norm(right)
        r = np.stack([right, np.cross(forward, right), forward])
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = r, -r @ place
        f = SIZE_PX[0] * rng.uniform(0.85, 1.1)
        centre = np.array(SIZE_PX) / 2 + rng.uniform(-8, 8, 2)
        k = np.array([[f, 0, centre[0]], [0, f * rng.uniform(0.995, 1.005), centre[1]], [0, 0, 1]])
        lens = [rng.uniform(-0.3, 0.1), rng.uniform(-0.05, 0.1), *rng.uniform(-0.002, 0.002, 2), 0.0]
        cameras.append(Camera(f"cam_{i}", SIZE_PX, k, np.array(lens), pose))
    return Rig(tuple(cameras))


def board_poses(board: Board, n: int, seed: int = 0, reach_mm: float = 160.0) -> NDArray[np.float64]:
    """(n, 4, 4) world_from_board of a board waved about the origin of `example_rig`, tilted up to 40 degrees."""
    rng = np.random.default_rng(seed)
    middle = np.array([board.columns, board.rows, 0]) * board.square_mm / 2
    poses = np.tile(np.eye(4), (n, 1, 1))
    for pose in poses:
        tilt = rng.uniform(-1, 1, 3) * np.radians([40, 40, 60])
        pose[:3, :3] = cv2.Rodrigues(tilt)[0]
        place = rng.uniform(-1, 1, 3) * reach_mm * (1.0, 0.8, 1.0)
        pose[:3, 3] = place - pose[:3, :3] @ middle
    return poses
