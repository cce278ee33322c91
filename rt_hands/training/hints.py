"""Hints for a network that starts from nothing: it also learns what a trained one sees (Romero et al., FitNets 2015).

A regressor's only signal comes from behind its global mean, which hardly reaches the first layers in a run of an hour;
the trained network's features at each stride tell every layer directly what is worth seeing in a hand.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, mse_loss

from rt_hands.errors import InvalidInput
from rt_hands.training import checkpoint
from rt_hands.training.cpm_networks import HandCpm
from rt_hands.training.resnet import ResNet34, ResNetFeatures
from rt_hands.training.trunk import CHANNELS, N_POOLED

HINT_WEIGHT = (
    1.0  # a hint not followed at all costs 1; the points of a picture guessed at random cost about 6
)


class Hints(nn.Module):
    """Features of a trained `HandCpm`, and the layers that read them off a `ResNet34`'s; for training only.

    Features are compared with each channel's mean and deviation taken out, so a loss of 1 is nothing learnt and 0 all.
    """

    def __init__(self, teacher: HandCpm) -> None:
        super().__init__()
        self.teacher = teacher.eval().requires_grad_(False)
        joined = teacher.lateral[0].out_channels
        widths = (CHANNELS[8], CHANNELS[16] + joined, CHANNELS[32], N_POOLED)
        self.scale = nn.ModuleList(nn.BatchNorm2d(w, affine=False) for w in widths)
        self.read = nn.ModuleList(
            nn.Conv2d(inp, w, 1) for inp, w in zip(ResNet34.widths, widths, strict=True)
        )

    @torch.no_grad()
    def seen(self, image: Tensor) -> list[Tensor]:
        """What the trained network sees in (B, 3, s, s): strides 8, 16, 32 at its own size, and the pooled vector."""
        size = self.teacher.size_px
        if image.shape[-1] != size:
            image = interpolate(image, size=(size, size), mode="bilinear", align_corners=False)
        _, fine, middle, coarse, pooled = self.teacher.trunk(image)
        joined = self.teacher.features((fine, middle, coarse))
        middle = torch.cat([middle, adaptive_avg_pool2d(joined, middle.shape[-2:])], 1)
        return [fine, middle, coarse, pooled[..., None, None]]

    def loss(self, image: Tensor, features: ResNetFeatures) -> Tensor:
        """Share of the trained network's features that can't be read off `features`, the mean over the strides."""
        mine = [features.stride8, features.stride16, features.stride32, features.pooled[..., None, None]]
        losses = []
        for scale, read, own, theirs in zip(self.scale, self.read, mine, self.seen(image), strict=True):
            target = scale(adaptive_avg_pool2d(theirs, own.shape[-2:]).float())
            losses.append(mse_loss(read(own).float(), target))
        return torch.stack(losses).mean()


def load_hints(path: Path) -> Hints:
    """Hints of a trained `hand`, by its last.pt or its exported file; raises InvalidInput for another network."""
    if path.suffix == ".onnx":
        shipped = checkpoint.folded_of_onnx(HandCpm(), path)
        assert isinstance(shipped, HandCpm)
        return Hints(shipped)
    state = checkpoint.load(path)
    if state["name"] != "hand":
        raise InvalidInput(f"Hints come from a network 'hand'; {path.name} is '{state['name']}'.")
    teacher = HandCpm()
    teacher.load_state_dict(state["average"])
    return Hints(teacher)
