"""Random numbers for batches made on a device; none of them makes the host wait."""

from __future__ import annotations

import random

import torch
from torch import Tensor


class Chance:
    """What is drawn for batches on one device; the same seed draws the same.

    How many samples of a batch a share is, the host decides by a coin of its own: sizes are known without asking the
    device, and costly flaws touch their share of a batch only.
    """

    def __init__(self, device: torch.device, seed: int) -> None:
        self.device = device
        self._generator = torch.Generator(device).manual_seed(seed)
        self._coin = random.Random(seed)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Evenly spread numbers."""
        return torch.empty(shape, device=self.device).uniform_(low, high, generator=self._generator)

    def normal(self, sigma: float, *shape: int) -> Tensor:
        """Normal numbers round 0."""
        return torch.empty(shape, device=self.device).normal_(0, sigma, generator=self._generator)

    def below(self, limit: int, *shape: int) -> Tensor:
        """Whole numbers from 0 to limit - 1."""
        return torch.randint(limit, shape, generator=self._generator, device=self.device)

    def happens(self, share: float, count: int) -> Tensor:
        """(count,) bool, true with a chance of `share`."""
        return self.uniform(0, 1, count) < share

    def part(self, share: float, count: int) -> int:
        """How many of `count` a share is: rounded up or down, right on average."""
        return int(share * count + self._coin.random())

    def split(self, share: float, count: int) -> tuple[Tensor, Tensor]:
        """Indices of a share of `count` samples, and of the others."""
        order = self.uniform(0, 1, count).argsort()
        first = self.part(share, count)
        return order[:first], order[first:]
