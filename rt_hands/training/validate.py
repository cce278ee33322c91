"""A quick look at real `val` pictures during training: joints' PCK, sides, and pictures to look at.

The shipped figures come from `rt_hands.evaluate cpm`; this is the network alone on whole pictures, padded to a square.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from rt_hands import _core
from rt_hands.evaluation.sheets import sheet, tile
from rt_hands.inference.preprocess import Crop
from rt_hands.layout import N_HAND, N_JOINTS, N_POINTS
from rt_hands.training.cpm_networks import OUT_CELLS, Deployed
from rt_hands.training.pictures import Picture, load_real

Image = NDArray[np.uint8]
PICTURE_PX = 368
TILE_PX = 184
SEED = 1
TILES, TILES_ACROSS = 40, 10


def letterbox(
    image: Image, points: NDArray[np.float32], size: int = PICTURE_PX
) -> tuple[Image, NDArray[np.float32]]:
    """A picture in the middle of a black square of `size` px, and its points there."""
    h, w = image.shape[:2]
    scale = size / max(h, w)
    offset = np.array([(size - w * scale) / 2, (size - h * scale) / 2])
    matrix = np.array([[scale, 0, offset[0] + scale / 2 - 0.5], [0, scale, offset[1] + scale / 2 - 0.5]])
    flags = cv2.INTER_LINEAR if scale > 0.5 else cv2.INTER_AREA
    square = np.asarray(cv2.warpAffine(image, matrix, (size, size), flags=flags), np.uint8)
    return square, (points * scale + matrix[:, 2]).astype(np.float32)


class Validation:
    """A fixed spread of val pictures, kept small so that it costs seconds."""

    def __init__(self, count: int) -> None:
        pictures = load_real("val") if count else []
        chosen = np.random.default_rng(SEED).permutation(len(pictures))[:count]
        kept: list[Picture] = [pictures[i] for i in chosen]
        squares = [letterbox(p.image_rgb(), p.points_px) for p in kept]
        self.images = np.array([s[0] for s in squares]).reshape(-1, PICTURE_PX, PICTURE_PX, 3)
        self.truth = np.array([s[1] for s in squares]).reshape(-1, 2, N_HAND, 2)[:, :, :N_JOINTS]
        self.present = np.isfinite(self.truth[:, :, 0, 0])
        self.points = np.zeros((len(kept), N_POINTS, 3), np.float32)
        self.presence = np.zeros((len(kept), 2), np.float32)

    @torch.inference_mode()
    def run(self, deployed: Deployed, device: torch.device, batch: int = 16) -> dict[str, float]:
        """Read all pictures; gives the figures of `figures`."""
        size = (deployed.input_px, deployed.input_px)
        affine = Crop(0, 0, PICTURE_PX).picture_from_map(deployed.input_px, OUT_CELLS)[None]
        for at in range(0, len(self.images), batch):
            piece = torch.from_numpy(self.images[at : at + batch]).to(device)
            piece = interpolate(piece.permute(0, 3, 1, 2).float().div(255), size=size, mode="bilinear")
            with torch.autocast(device.type, torch.bfloat16):
                maps, presence = deployed(piece)
            points = maps[:, :N_POINTS].float().cpu().numpy()
            affines = affine.repeat(len(points), 0)
            self.points[at : at + batch] = _core.decode_heatmaps(points, affine=affines)
            self.presence[at : at + batch] = presence.float().cpu().numpy()
        return self.figures()

    def figures(self) -> dict[str, float]:
        """PCK@0.1 of the joints of present hands, side wrong (single hands), presence right, peak height."""
        if not len(self.images):
            return {}
        joints = self.points.reshape(-1, 2, N_HAND, 3)[:, :, :N_JOINTS]
        there = self.present
        box = np.ptp(self.truth, axis=2).max(-1)
        distance = np.linalg.norm(joints[..., :2] - self.truth, axis=-1) / box[..., None]
        single = there.sum(1) == 1
        wrong = self.presence[single].argmax(1) != there[single].argmax(1)
        return {
            "pck10": float((distance[there] < 0.1).mean()),
            "pck20": float((distance[there] < 0.2).mean()),
            "side_wrong": float(wrong.mean()),
            "presence_wrong": float(((self.presence > 0.5) != there).mean()),
            "peak": float(joints[there][..., 2].mean()),
        }

    def overlay(self, path: Path) -> None:
        """A contact sheet of predictions: the hands whose presence is above one half."""
        tiles = []
        for image, points, presence in zip(self.images[:TILES], self.points, self.presence, strict=False):
            there = np.repeat(presence > 0.5, N_HAND)
            tiles.append(
                tile(image[..., ::-1], np.where(there[:, None], points[:, :2], np.nan), side=TILE_PX)
            )
        if tiles:
            cv2.imwrite(str(path), sheet(tiles, TILES_ACROSS))
