"""Training samples of RTC: hands from the data engine, spoilt as a rig spoils them, in the network's frame."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from rt_hands.layout import N_JOINTS, N_SURFACE
from rt_hands.lifting.canonical import Floats, canonicalise
from rt_hands.paths import write_atomically
from rt_hands.synth import sources_digest

_CHUNK: Final = 2048
_COLUMNS: Final = 3 * N_JOINTS + 3 * N_SURFACE + N_SURFACE
_PARENT: Final = np.array([0] + [0 if j % 4 == 1 else j - 1 for j in range(1, N_JOINTS)])


class PointBatch(Protocol):
    """What the data engine gives: right hands in mm."""

    @property
    def joints_mm(self) -> NDArray[np.float32]:
        """(n, 21, 3)."""

    @property
    def surface_mm(self) -> NDArray[np.float32]:
        """(n, 64, 3)."""

    @property
    def visible(self) -> NDArray[np.float32]:
        """(n, 64) 0 or 1."""


class Sampler(Protocol):
    """`rt_hands.synth.points.PointSampler`, or a stand-in for tests."""

    def batch(self, index: int, n: int) -> PointBatch:
        """The index-th batch of n hands; the same every time."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Samples drawn once and kept: rows (N, 319) float32 of joints, surface (mm) and visibility."""

    rows: NDArray[np.float32]

    @property
    def joints_mm(self) -> NDArray[np.float32]:
        """(N, 21, 3)."""
        return self.rows[:, : 3 * N_JOINTS].reshape(-1, N_JOINTS, 3)

    @property
    def surface_mm(self) -> NDArray[np.float32]:
        """(N, 64, 3)."""
        return self.rows[:, 3 * N_JOINTS : -N_SURFACE].reshape(-1, N_SURFACE, 3)

    @property
    def visible(self) -> NDArray[np.float32]:
        """(N, 64) 0 or 1."""
        return self.rows[:, -N_SURFACE:]

    def take(self, at: NDArray[np.integer]) -> Pool:
        """Some of the samples."""
        return Pool(self.rows[at])


def draw_pool(sampler: Sampler, size: int, path: Path | None = None, start: int = 0) -> Pool:
    """Draw `size` samples, with a progress bar; with a path, keep them there as .npy and reuse what is there.

    A pool of another sampler (its split, seed), start or state of the data engine is drawn anew: what it is of lies
    beside it, as .json.
    """
    state = json.dumps(
        [getattr(sampler, name, None) for name in ("split", "seed")] + [start, sources_digest()]
    )
    if path is not None and path.exists() and path.with_suffix(".json").is_file():
        kept = np.load(path, mmap_mode="r")
        if kept.shape == (size, _COLUMNS) and path.with_suffix(".json").read_text() == state:
            return Pool(kept)
    rows = np.empty((size, _COLUMNS), np.float32)
    for i in track(range(0, size, _CHUNK), description="sampling hands", disable=size <= _CHUNK):
        n = min(_CHUNK, size - i)
        batch = sampler.batch(start + i // _CHUNK, n)
        parts = (batch.joints_mm, batch.surface_mm, batch.visible)
        rows[i : i + n] = np.concatenate([np.asarray(p, np.float32).reshape(n, -1) for p in parts], axis=1)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.npy")
        np.save(partial, rows)
        partial.replace(path)
        write_atomically(path.with_suffix(".json"), state.encode())
    return Pool(rows)


@dataclass(frozen=True, slots=True)
class Spoil:
    """How training joints are spoilt. Defaults: what triangulation over 2 to 20 views was seen to do, and worse."""

    scale: float = 0.12  # whole hand, log-uniform up to this either way: people the engine does not know
    clean_share: float = 0.4  # no noise at all, so that good joints are not hedged against
    noise_mm: float = 4.0  # the rest: one level a hand, uniform up to this
    depth_factor: float = 2.0  # noise along one random direction, as along the depth of a narrow rig
    drop_share: float = 0.3
    drop_most: int = 4
    collapse_share: float = 0.02  # a joint put on its parent, as swapped or merged peaks do


def random_rotations(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Uniform rotations (n, 3, 3), from unit quaternions."""
    w, x, y, z = (q := rng.normal(size=(4, n))) / np.linalg.norm(q, axis=0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows).transpose(2, 0, 1)


def add_noise(joints_mm: NDArray[np.floating], spoil: Spoil, rng: np.random.Generator) -> NDArray[np.float64]:
    """Triangulation-like noise: one level a hand, its own share a joint, stretched along one direction."""
    n = len(joints_mm)
    level = rng.uniform(0, spoil.noise_mm, (n, 1, 1)) * (rng.random((n, 1, 1)) >= spoil.clean_share)
    noise = rng.normal(size=joints_mm.shape) * level * rng.lognormal(0.0, 0.25, (*joints_mm.shape[:2], 1))
    axis = rng.normal(size=(n, 1, 3))
    axis /= np.linalg.norm(axis, axis=-1, keepdims=True)
    stretch = rng.uniform(0, spoil.depth_factor - 1, (n, 1, 1))
    return np.asarray(joints_mm + noise + (noise * axis).sum(-1, keepdims=True) * axis * stretch)


def drop_joints(
    joints_mm: NDArray[np.floating], spoil: Spoil, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Some joints put on their parents, some missing (NaN)."""
    n = len(joints_mm)
    collapse = rng.random((n, N_JOINTS, 1)) < (spoil.collapse_share / 4)
    spoilt = np.where(collapse, joints_mm[:, _PARENT], joints_mm)
    count = rng.integers(1, spoil.drop_most + 1, n) * (rng.random(n) < spoil.drop_share)
    rank = rng.random((n, N_JOINTS)).argsort(1).argsort(1)
    spoilt[rank < count[:, None]] = np.nan
    return spoilt


@dataclass(frozen=True, slots=True)
class Batch:
    """Network input and target. joints (N, 21, 3), valid (N, 21), true (N, 21, 3), surface (N, 64, 3),
    visible (N, 64), mm (N,) millimetres in one unit of the frame."""

    joints: Tensor
    valid: Tensor
    true: Tensor
    surface: Tensor
    visible: Tensor
    mm: Tensor


def make_batch(pool: Pool, normalise: bool, spoil: Spoil | None, rng: np.random.Generator) -> Batch:
    """Samples in the network's frame; spoil None leaves them as the data engine made them."""
    true_mm: Floats = pool.joints_mm
    joints_mm: Floats = pool.joints_mm
    surface_mm: Floats = pool.surface_mm
    if spoil is not None:
        turn = random_rotations(rng, len(joints_mm))
        turn *= np.exp(rng.uniform(-spoil.scale, spoil.scale, (len(joints_mm), 1, 1)))
        true_mm, surface_mm = joints_mm @ turn.transpose(0, 2, 1), surface_mm @ turn.transpose(0, 2, 1)
        joints_mm = drop_joints(add_noise(true_mm, spoil, rng), spoil, rng)
    joints, valid, frame = canonicalise(joints_mm, np.zeros(len(joints_mm), np.int64), normalise)
    keep = frame.present
    arrays = (
        joints,
        valid,
        frame.to_canonical(true_mm),
        frame.to_canonical(surface_mm),
        pool.visible,
        frame.scale_mm,
    )
    return Batch(*(torch.from_numpy(np.ascontiguousarray(a[keep], np.float32)) for a in arrays))
