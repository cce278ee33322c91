"""Batches of training samples, made in worker processes; the mix and the sizes follow the run's progress."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from rt_hands.layout import TIP_JOINTS
from rt_hands.training.augment import Image, Rng
from rt_hands.training.compose import CLOSE_SHARE, Sample, Sprite, empty_sample, real_sample, sprite_sample
from rt_hands.training.pictures import Picture
from rt_hands.training.targets import Batch

SIZES_PX = (
    136,
    168,
    200,
    232,
    264,
    296,
    328,
    360,
)  # 8 n with n = 4 k + 1: the scales of `HandCpm` fit exactly
HALF_SIZE_UNTIL = 0.7  # of a run: four times the samples a second, and the rest learns the full size
SIZED_FROM = 0.4
PAIR_SHARE = 0.3  # of rendered samples: two hands put together
FIST_ODDS = 1.5  # of real pictures: closed hands were missed most
FIST_REACH = 1.35
KNUCKLES = (5, 9, 13, 17)


class SpriteSource(Protocol):
    """Where rendered hands come from."""

    def draw(self, rng: Rng) -> Sprite:
        """One of them, at random."""


@dataclass(frozen=True)
class Clock:
    """Progress of a run by wall clock: 0 at the start, 1 after `minutes`. `done` minutes were spent before a resume."""

    minutes: float
    done: float = 0.0
    start: float = field(default_factory=time.monotonic)

    def spent(self) -> float:
        """Minutes of training so far, resumed runs included."""
        return self.done + (time.monotonic() - self.start) / 60

    def progress(self) -> float:
        """0..1."""
        return min(1.0, self.spent() / self.minutes)


@dataclass(frozen=True)
class Mix:
    """Shares of rendered and real samples (the rest is empty), and pixels per batch."""

    rendered: float = 0.40
    """Share of rendered samples."""
    real: float = 0.40
    """Share of real ones; the rest is empty: with an eighth of those, hands were seen on three backgrounds more."""
    close: float = CLOSE_SHARE
    """Of the pictures with hands, those that are close looks at one, as detector and tracker crop them."""
    batch_px: int = 16 * 184 * 184
    """Pixels a batch."""


def size_at(progress: float, rng: Rng) -> int:
    """Picture size of a batch: small ones first, mixed throughout, from `SIZED_FROM` on about the deployed size.

    Low resolution alone does not transfer up, so some early batches are large.
    """
    if progress > SIZED_FROM:
        return int(rng.choice(SIZES_PX, p=[0, 0.05, 0.15, 0.25, 0.3, 0.12, 0.03, 0.1]))
    return int(rng.choice(SIZES_PX, p=[0.08, 0.35, 0.25, 0.16, 0.08, 0.04, 0.02, 0.02]))


def picture_odds(pictures: Sequence[Picture]) -> NDArray[np.float64]:
    """Chance of each picture: small sets, pictures of two hands and fists come more often than their number."""
    sets = [p.name.split("/")[0] for p in pictures]
    count = {name: sets.count(name) for name in set(sets)}
    odds = np.array(
        [
            count[s] ** -0.5 * (2.5 if p.present.all() else 1) * (FIST_ODDS if _has_fist(p) else 1)
            for s, p in zip(sets, pictures, strict=True)
        ]
    )
    return np.asarray(odds / odds.sum())


def _has_fist(picture: Picture) -> bool:
    """Whether a hand's four fingertips lie, in the picture, hardly further from its wrist than its knuckles do."""
    points = picture.points_px[picture.present]
    away = np.linalg.norm(points - points[:, :1], axis=-1)
    return bool((away[:, TIP_JOINTS[1:]].max(1) < FIST_REACH * away[:, KNUCKLES].mean(1)).any())


class Stream(IterableDataset[Batch]):
    """Endless batches. Every worker draws its own.

    size_px: of a network with one size of its own; its pictures are half as wide until `HALF_SIZE_UNTIL` of the run
    where `half_first` says that it can read them.
    """

    def __init__(
        self,
        pictures: list[Picture],
        backgrounds: list[Image],
        sprites: SpriteSource | None,
        clock: Clock,
        mix: Mix,
        seed: int,
        size_px: int | None = None,
        half_first: bool = False,
    ) -> None:
        self.pictures, self.backgrounds, self.sprites = pictures, backgrounds, sprites
        self.clock, self.mix, self.seed = clock, mix, seed
        self.size_px, self.half_first = size_px, half_first
        self.odds = np.cumsum(picture_odds(pictures))

    def sample(self, size: int, rng: Rng) -> Sample:
        """One sample of the mix."""
        kind = rng.random()
        rendered = self.mix.rendered if self.sprites is not None else 0.0
        real = self.mix.real if self.sprites is not None else self.mix.rendered + self.mix.real
        if self.sprites is not None and kind < rendered:
            first = self.sprites.draw(rng)
            pair = not first.present.all() and rng.random() < PAIR_SHARE
            second = self._single(rng) if pair else None
            return sprite_sample(first, second, size, self.backgrounds, rng, close=self.mix.close)
        if kind < rendered + real:
            picture = self.pictures[int(np.searchsorted(self.odds, rng.random()).clip(0, len(self.odds) - 1))]
            return real_sample(picture, size, self.backgrounds, rng, self.mix.close)
        return empty_sample(self.pictures, size, self.backgrounds, rng)

    def _single(self, rng: Rng) -> Sprite:
        """A sprite of one hand."""
        assert self.sprites is not None
        sprite = self.sprites.draw(rng)
        while sprite.present.all():
            sprite = self.sprites.draw(rng)
        return sprite

    def _size(self, rng: Rng) -> int:
        """Picture size of the next batch."""
        progress = self.clock.progress()
        if self.size_px is None:
            return size_at(progress, rng)
        return self.size_px // 2 if self.half_first and progress < HALF_SIZE_UNTIL else self.size_px

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        rng = np.random.default_rng([self.seed, info.id if info else 0, time.time_ns() % 2**31])
        while True:
            size = self._size(rng)
            count = max(4, round(self.mix.batch_px / size**2))
            yield collate([self.sample(size, rng) for _ in range(count)])


def collate(samples: list[Sample]) -> Batch:
    """Stack samples of one size into tensors."""
    columns = zip(*samples, strict=True)
    return Batch(*(torch.from_numpy(np.stack(column)) for column in columns))


def loader(stream: Stream, workers: int) -> DataLoader[Batch]:
    """Batches through worker processes; 0 makes them in this process."""
    extra = {"prefetch_factor": 4, "persistent_workers": True, "timeout": 120} if workers else {}
    return DataLoader(
        stream, batch_size=None, num_workers=workers, pin_memory=torch.cuda.is_available(), **extra
    )
