"""ResNet-34 regression: the source's baseline, 170 points straight from a 224 px picture (He et al., CVPR 2016)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from rt_hands.layout import N_POINTS

INPUT_PX = 224


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut; (B, inp, h, w) -> (B, out, h / stride, w / stride)."""

    def __init__(self, inp: int, out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inp, out, 3, stride, 1, bias=False),
            nn.BatchNorm2d(out),
            nn.ReLU(inplace=True),
            nn.Conv2d(out, out, 3, 1, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inp != out:
            self.shortcut = nn.Sequential(nn.Conv2d(inp, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


class ResNetFeatures(NamedTuple):
    """What a ResNet-34 sees: (B, 128 | 256 | 512, h, w) at strides 8, 16, 32, and the last one's mean (B, 512)."""

    stride8: Tensor
    stride16: Tensor
    stride32: Tensor
    pooled: Tensor


class ResNet34(nn.Module):
    """RGB 0..1 (B, 3, 224, 224) -> points (B, 170, 2) as shares of the picture, presence logits (B, 2).

    21.5 M parameters, 7.3 GFLOP. Points of an absent hand mean nothing; the presence says which are there.
    """

    size_px = INPUT_PX
    widths = (128, 256, 512, 512)  # channels of its features

    def __init__(self) -> None:
        super().__init__()
        stem = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
        layers: list[nn.Module] = [*stem, nn.MaxPool2d(3, 2, 1)]
        inp = 64
        for out, blocks, first_stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
            for i in range(blocks):
                layers.append(BasicBlock(inp, out, first_stride if i == 0 else 1))
                inp = out
        self.body = nn.Sequential(*layers)
        self.points = nn.Linear(512, 2 * N_POINTS)
        self.presence = nn.Linear(512, 2)
        nn.init.zeros_(self.points.weight)
        nn.init.constant_(self.points.bias, 0.5)  # start in the middle of the picture

    def features(self, x: Tensor) -> ResNetFeatures:
        """What it sees at each stride."""
        stride8 = self.body[:11](x)
        stride16 = self.body[11:17](stride8)
        stride32 = self.body[17:](stride16)
        return ResNetFeatures(stride8, stride16, stride32, stride32.mean((2, 3)))

    def regress(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Points (B, 170, 2) and presence logits (B, 2) of the pooled vector."""
        return self.points(pooled).view(-1, N_POINTS, 2), self.presence(pooled)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.regress(self.body(x).mean((2, 3)))


def regression_loss(points: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean absolute difference: points and truth (B, 170, 2), weight (B, 170); NaN truth is left out."""
    known = torch.isfinite(truth).all(-1) & (weight > 0)
    away = (points - torch.nan_to_num(truth)).abs().sum(-1) * weight
    return (away * known).sum() / known.sum().clamp(min=1)


class DeployedResNet(nn.Module):
    """What is exported: (B, 3, 224, 224) RGB 0..1 -> points (B, 170, 2) as shares, presence (B, 2) probabilities."""

    def __init__(self, network: ResNet34) -> None:
        super().__init__()
        self.network, self.input_px = network, INPUT_PX

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        points, presence = self.network(image)
        return points, torch.sigmoid(presence)
