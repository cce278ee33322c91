"""Rendered hands with exact truth: the source's table (mean px at 224), one and two hands, train and test subjects."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands import _core
from rt_hands.detector import Detector
from rt_hands.errors import InvalidInput
from rt_hands.inference.cpm import inputs_for
from rt_hands.inference.engine import Engine
from rt_hands.inference.preprocess import PEAK_METHOD, Crop, fill_input
from rt_hands.layout import N_HAND, N_HANDS, N_POINTS
from rt_hands.paths import cache_dir, data_dir
from rt_hands.synth import sources_digest

TABLE_PX = 224  # the source states its errors at this picture size
PICTURE_PX = 368
SEED = 77  # not the training data's, so that train subjects come in new poses, too
BATCH = 8
Case = tuple[Literal["train", "test"], Literal["one", "two"]]
CASES: tuple[Case, ...] = (("train", "one"), ("train", "two"), ("test", "one"), ("test", "two"))
Points = Callable[[NDArray[np.uint8]], NDArray[np.floating]]
"""A network: pictures (B, 368, 368, 3) RGB -> points (B, 170, 2) in their px."""


@dataclass(frozen=True, slots=True)
class RenderedSet:
    """Pictures of one case. images: (N, 368, 368, 3) uint8 RGB; points_px: (N, 170, 2), NaN for an absent hand."""

    images: NDArray[np.uint8]
    points_px: NDArray[np.float32]


def make_set(case: Case, count: int) -> RenderedSet:
    """Pictures of a case: sprites of that split over backgrounds, as the detector's crops show hands.

    The sprites are rendered once for each state of the data engine and its skins, and kept in the user's cache; needs
    the synth extra.
    """
    from rt_hands.synth import sprites
    from rt_hands.training.compose import sprite_sample
    from rt_hands.training.pictures import load_backgrounds
    from rt_hands.training.sprite_source import unpack

    split, hands = case
    backgrounds = load_backgrounds()
    shards_folder = cache_dir() / "evaluation-sprites" / f"{split}-{hands}-{_engine_state()}"
    sprites.write(shards_folder, count, SEED, hands, split, processes=1)
    packed = [s for _, s in sprites.shards.read_samples(sprites.shards.shard_paths(shards_folder))][:count]
    rng = np.random.default_rng([SEED, CASES.index(case)])
    made = [sprite_sample(unpack(s), None, PICTURE_PX, backgrounds, rng, effects=False) for s in packed]
    return RenderedSet(np.array([m.image for m in made]), np.array([m.points for m in made]))


def _engine_state() -> str:
    """Digest of the data engine's sources and of the skins that it finds."""
    data = data_dir()
    skins = sorted(path.name for path in (data / "skins").rglob("*")) if data is not None else []
    return hashlib.sha256("\n".join([sources_digest(), *skins]).encode()).hexdigest()[:12]


def cpm_points(engine: Engine) -> Points:
    """A CPM in an engine as `Points`."""

    def read(images: NDArray[np.uint8]) -> NDArray[np.floating]:
        found = []
        for at in range(0, len(images), BATCH):
            maps = belief_maps(engine, images[at : at + BATCH])
            affine = picture_from_map(engine, maps.shape[-1])[None].repeat(len(maps), 0)
            points = _core.decode_heatmaps(maps[:, :N_POINTS], affine=affine, method=PEAK_METHOD)
            found.append(points[..., :2])
        return np.concatenate(found)

    return read


def detector_points(detector: Detector) -> Points:
    """The whole way of a picture through a detector as `Points`: NaN for hands it does not find."""

    def read(images: NDArray[np.uint8]) -> NDArray[np.floating]:
        return np.array([detector(np.ascontiguousarray(i[..., ::-1])).points_px[:, :2] for i in images])

    return read


def belief_maps(engine: Engine, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Belief maps (B, 171, n, n) of RGB pictures (B, 368, 368, 3); a copy, free of the engine's buffers."""
    inputs = inputs_for(engine, len(images))
    crop = Crop(0, 0, PICTURE_PX)
    fill_input([(image[..., ::-1], crop) for image in images], inputs[0])
    return np.array(engine.run(*inputs)[0], np.float32)


def picture_from_map(engine: Engine, map_px: int) -> NDArray[np.float64]:
    """(2, 3) affine from cells of a network's maps to the picture of 368 px."""
    return Crop(0, 0, PICTURE_PX).picture_from_map(int(engine.inputs[0].shape[-1] or 0), map_px)


def resnet_points(engine: Engine) -> Points:
    """A ResNet-34 in an engine as `Points`; it sees the pictures at 224 px and gives shares of their side."""

    def read(images: NDArray[np.uint8]) -> NDArray[np.floating]:
        size = (TABLE_PX, TABLE_PX)
        small = np.array([cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in images])
        found = []
        for at in range(0, len(small), BATCH):
            inputs = np.ascontiguousarray(small[at : at + BATCH].transpose(0, 3, 1, 2), np.float32) / 255
            # Pixels' centres lie at whole numbers, so a scaled picture's are half a pixel in.
            px = np.asarray(engine.run(inputs)[0], np.float64) * TABLE_PX
            found.append((px + 0.5) * PICTURE_PX / TABLE_PX - 0.5)
        return np.concatenate(found)

    return read


def errors_px(data: RenderedSet, points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Distances at 224 px of all points of present hands that lie inside the picture: (M,)."""
    if points.shape != data.points_px.shape:
        raise InvalidInput(f"The network gave points {points.shape}; wanted {data.points_px.shape}.")
    inside = ((data.points_px >= 0) & (data.points_px <= PICTURE_PX - 1)).all(-1)
    return np.asarray(_away_px(data, points)[inside] * (TABLE_PX / PICTURE_PX), np.float64)


def _away_px(data: RenderedSet, points: NDArray[np.floating]) -> NDArray[np.floating]:
    """(n, 170) distances; a point without any peak counts as the picture's half side: silence must not beat a guess."""
    away = np.linalg.norm(points - data.points_px, axis=-1)
    return np.where(np.isfinite(away), away, PICTURE_PX / 2)


def found(data: RenderedSet, points: NDArray[np.floating]) -> tuple[float, float]:
    """Mean distance at 224 px of the points in the picture of hands that were found, and the share of hands missed."""
    inside = ((data.points_px >= 0) & (data.points_px <= PICTURE_PX - 1)).all(-1).reshape(-1, N_HANDS, N_HAND)
    there, got = (
        np.isfinite(p.reshape(-1, N_HANDS, N_HAND, 2)[:, :, 0, 0]) for p in (data.points_px, points)
    )
    away = _away_px(data, points).reshape(inside.shape)[inside & got[..., None]]
    return float(away.mean() * (TABLE_PX / PICTURE_PX)), float((there & ~got).sum() / there.sum())


def side_swapped(data: RenderedSet, points: NDArray[np.floating]) -> float:
    """Share of two-hand pictures whose hands come nearer when right and left are exchanged."""
    truth = data.points_px.reshape(-1, N_HANDS, N_HAND, 2)
    both = np.isfinite(truth[:, :, 0, 0]).all(1)
    if not both.any():
        return float("nan")
    found = points.reshape(truth.shape)[both]
    kept, turned = (np.linalg.norm(f - truth[both], axis=-1) for f in (found, found[:, ::-1]))
    # A hand that was not found has no side.
    kept, turned = (np.nan_to_num(away, nan=PICTURE_PX).mean((1, 2)) for away in (kept, turned))
    return float((turned < kept).mean())
