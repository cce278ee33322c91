"""Rendered hands from the data engine's shards, for the loader."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np

from rt_hands.errors import InvalidInput
from rt_hands.layout import N_HAND, N_HANDS
from rt_hands.synth import shards
from rt_hands.training.augment import Rng
from rt_hands.training.compose import Sprite

RESCAN_S = 45.0
KEPT_UNPACKED = 8_000  # 0.4 MB each; unpacking costs as much as composing
FRESH_SHARE = (
    0.25  # of the draws come from the newest quarter once shards were added, so that they are met soon
)


class FolderSprites:
    """Sprites of all shards under a folder, kept packed in memory; shards that are added later are picked up."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: set[Path] = set()
        self._samples: list[dict[str, bytes]] = []
        self._unpacked: dict[int, Sprite] = {}
        self._looked = -RESCAN_S
        self._added = False
        self._refresh()
        if not self._samples:
            raise InvalidInput(
                f"No sprite shards (*.tar) under '{folder}'. Make some: python -m rt_hands.synth sprites"
            )

    def __len__(self) -> int:
        return len(self._samples)

    def __str__(self) -> str:
        return f"{len(self)} so far, from {len(self._read)} shards"

    def _refresh(self) -> None:
        if time.monotonic() - self._looked < RESCAN_S:
            return
        self._looked = time.monotonic()
        new = sorted(path for path in self.folder.rglob("*.tar") if path not in self._read)
        self._added |= bool(new and self._read)
        self._samples += [sample for _, sample in shards.read_samples(new)]
        self._read.update(new)

    def all(self) -> list[Sprite]:
        """All sprites read so far, unpacked."""
        return [unpack(sample) for sample in self._samples]

    def draw(self, rng: Rng) -> Sprite:
        """One sprite at random."""
        self._refresh()
        count = len(self._samples)
        low = 3 * count // 4 if self._added and rng.random() < FRESH_SHARE else 0
        return self._sprite(int(rng.integers(low, count)))

    def _sprite(self, index: int) -> Sprite:
        sprite = self._unpacked.get(index)
        if sprite is None:
            sprite = unpack(self._samples[index])
            if len(self._unpacked) < KEPT_UNPACKED:
                self._unpacked[index] = sprite
        return sprite


def unpack(sample: dict[str, bytes]) -> Sprite:
    """A shard's sample as the loader wants it; one-hand sprites are right hands."""
    bgra = cv2.imdecode(np.frombuffer(sample["webp"], np.uint8), cv2.IMREAD_UNCHANGED)
    rgba = np.asarray(cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGBA), np.uint8)
    # WebP's loss may leave colour above alpha, which would shine when laid over a picture.
    np.minimum(rgba[..., :3], rgba[..., 3:], out=rgba[..., :3])
    arrays = shards.decode_arrays(sample["npz"])
    points = np.full((N_HANDS * N_HAND, 2), np.nan, np.float32)
    visible = np.zeros(N_HANDS * N_HAND, bool)
    points[: len(arrays["points_px"])] = arrays["points_px"]
    visible[: len(arrays["visibility"])] = arrays["visibility"] > 0
    return Sprite(rgba, points.reshape(N_HANDS, N_HAND, 2), visible.reshape(N_HANDS, N_HAND))


def open_sprites(folder: Path) -> FolderSprites:
    """The sprites of a folder of shards; raises InvalidInput where there are none."""
    return FolderSprites(folder)
