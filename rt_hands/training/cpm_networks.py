"""Convolutional Pose Machines: the original (`cpm6`, `cpm3`) and the light ones that run on a CPU.

All take RGB 0..1 (B, 3, S, S) and give the belief maps of every stage, each (B, 171, n, n): 170 points in the order
of `layout`, then background; and presence logits (B, 2) for the right and the left hand. Cell i of a map lies at
x = i * S / n, so S = 360 inside gives n = 45 (`Deployed` brings 368 px pictures to 360). Wei et al., CVPR 2016.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from rt_hands.errors import InvalidInput
from rt_hands.layout import N_POINTS
from rt_hands.training.depthwise import depthwise
from rt_hands.training.trunk import CHANNELS, HandTrunk, conv

N_MAPS = N_POINTS + 1
INPUT_PX = 368
INNER_PX = 360
OUT_CELLS = 45
STRIDE = 8
Name = Literal["cpm6", "cpm3", "light", "quality", "hand"]


class Convs(nn.Sequential):
    """Convolutions with ReLU after each: sizes [(out, kernel), ...] from `inp` channels."""

    def __init__(self, inp: int, *sizes: tuple[int, int]) -> None:
        layers: list[nn.Module] = []
        for out, kernel in sizes:
            layers += [conv(inp, out, kernel), nn.ReLU(inplace=True)]
            inp = out
        super().__init__(*layers)


class Separable(nn.Module):
    """Depthwise then 1x1, batch norm and ReLU after each; (B, inp, h, w) -> (B, out, ceil(h / stride), ...)."""

    def __init__(self, inp: int, out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inp, inp, kernel, stride, kernel // 2, groups=inp, bias=False)
        self.norm = nn.BatchNorm2d(inp)
        self.point = Point(inp, out)

    def forward(self, x: Tensor) -> Tensor:
        return self.point(torch.relu(self.norm(depthwise(x, self.depthwise))))


class Point(nn.Sequential):
    """1x1 convolution, batch norm, ReLU."""

    def __init__(self, inp: int, out: int) -> None:
        super().__init__(nn.Conv2d(inp, out, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True))


class Presence(nn.Module):
    """Which hands are in the picture: (B, C, h, w) -> logits (B, 2), right then left."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Linear(2 * channels, 64)
        self.out = nn.Linear(64, 2)

    def forward(self, x: Tensor) -> Tensor:
        # The mean sees the whole, the maximum a small hand far out.
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        return self.out(torch.relu(self.mix(pooled)))


class OriginalCpm(nn.Module):
    """The CPM of Wei et al. as the source used it.

    stages = 6: 43 M parameters, 391 GFLOP; stages = 3: 21.6 M, 304 GFLOP at 368 px (GFLOP = 2 x multiply-adds).
    """

    def __init__(self, stages: int = 6) -> None:
        super().__init__()
        three = ((128, 3), (128, 3)), ((256, 3),) * 4, ((512, 3),) * 2 + ((256, 3),) * 4 + ((128, 3),)
        self.low = Convs(3, (64, 3), (64, 3))
        self.deeper = nn.ModuleList(
            Convs(inp, *sizes) for inp, sizes in zip((64, 128, 256), three, strict=True)
        )
        self.first = nn.Sequential(Convs(128, (512, 1)), conv(512, N_MAPS, 1))
        later = ((128, 7),) * 5 + ((128, 1),)
        self.stages = nn.ModuleList(
            nn.Sequential(Convs(128 + N_MAPS, *later), conv(128, N_MAPS, 1)) for _ in range(stages - 1)
        )
        self.presence = Presence(128)

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        x = self.low(x)
        for part in self.deeper:
            # 3x3 with a margin of one keeps the centres of the pools at whole multiples of the stride.
            x = part(nn.functional.max_pool2d(x, 3, 2, 1))
        maps = [self.first(x)]
        for stage in self.stages:
            maps.append(stage(torch.cat([x, maps[-1]], 1)))
        return maps, self.presence(x)


class LightStages(nn.Module):
    """Belief maps refined in three light stages: features (B, C, n, n) -> three of (B, 171, n, n)."""

    def __init__(self, channels: int = 128, stages: int = 3, kernel: int = 3) -> None:
        super().__init__()
        first = [Separable(channels, channels, kernel) for _ in range(2)]
        self.stages = nn.ModuleList([nn.Sequential(*first, conv(channels, N_MAPS, 1))])
        for _ in range(stages - 1):
            body = [Separable(channels, channels, kernel) for _ in range(4)]
            self.stages.append(
                nn.Sequential(Point(channels + N_MAPS, channels), *body, conv(channels, N_MAPS, 1))
            )

    def forward(self, features: Tensor) -> list[Tensor]:
        maps = [self.stages[0](features)]
        for stage in list(self.stages)[1:]:
            maps.append(stage(torch.cat([features, maps[-1]], 1)))
        return maps


class LightCpm(nn.Module):
    """Depthwise backbone (MobileNetV1-like) to stride 8, 128 channels, three stages.

    width 0.5: 0.7 M parameters, 3.0 GFLOP; width 1.0: 1.9 M, 7.9 GFLOP at 360 px.
    """

    def __init__(self, width: float = 0.5) -> None:
        super().__init__()
        c = [round(width * base) for base in (32, 64, 128, 256, 512)]
        self.stem = nn.Sequential(
            nn.Conv2d(3, c[0], 3, 2, 1, bias=False), nn.BatchNorm2d(c[0]), nn.ReLU(inplace=True)
        )
        plan = [(c[1], 1), (c[2], 2), (c[2], 1), (c[3], 2), (c[3], 1), *[(c[4], 1)] * 5]
        layers, inp = [], c[0]
        for out, stride in plan:
            layers.append(Separable(inp, out, 3, stride))
            inp = out
        self.body = nn.Sequential(*layers, Separable(inp, 128))
        self.stages = LightStages()
        self.presence = Presence(128)

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        features = self.body(self.stem(x))
        return self.stages(features), self.presence(features)


class HandCpm(nn.Module):
    """A trunk trained on hands (see `trunk`) to stride 32, joined at stride 8, then three light stages.

    Sizes n of the belief maps must be 4 k + 1, then the three scales lie exactly on one another.
    3.0 M parameters, 3.2 GFLOP at 360 px.
    """

    def __init__(self, channels: int = 128) -> None:
        super().__init__()
        self.trunk = HandTrunk()
        self.lateral = nn.ModuleList(conv(CHANNELS[s], channels, 1) for s in (8, 16, 32))
        self.join = nn.ModuleList(Separable(channels, channels) for _ in range(2))
        self.stages = LightStages(channels)
        self.presence = Presence(CHANNELS[32])

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        fine, middle, coarse = self.trunk(x)
        y = self.lateral[2](coarse)
        for lateral, join, level in zip(
            (self.lateral[1], self.lateral[0]), self.join, (middle, fine), strict=True
        ):
            level = lateral(level)
            y = join(level + interpolate(y, size=level.shape[-2:], mode="bilinear", align_corners=True))
        return self.stages(y), self.presence(coarse)


def build(name: Name) -> nn.Module:
    """A network by name, untrained."""
    makers = {
        "cpm6": lambda: OriginalCpm(6),
        "cpm3": lambda: OriginalCpm(3),
        "light": lambda: LightCpm(0.5),
        "quality": lambda: LightCpm(1.0),
        "hand": HandCpm,
    }
    if name not in makers:
        raise InvalidInput(f"No network is called '{name}'. Known: {', '.join(makers)}.")
    return makers[name]()


def resampling(cells: int, out: int = OUT_CELLS) -> Tensor:
    """(out, cells) weights of Catmull-Rom interpolation: row i reads a map of `cells` at i * cells / out.

    Beyond the last cell the map counts as empty, as a Gaussian out there would be.
    """
    at = torch.arange(out) * (cells / out)
    away = (at[:, None] - torch.arange(cells)).abs()
    near = 1.5 * away**3 - 2.5 * away**2 + 1
    far = -0.5 * away**3 + 2.5 * away**2 - 4 * away + 2
    return torch.where(away < 1, near, torch.where(away < 2, far, torch.zeros_like(away)))


class Deployed(nn.Module):
    """What is exported: (B, 3, 368, 368) RGB 0..1 -> last maps (B, 171, 45, 45), presence (B, 2) probabilities.

    inner_px: the size at which the network works, 8 n with n = 4 k + 1. 360 gives 45 cells at once; smaller ones are
    quicker, their n x n maps are interpolated to 45 x 45. Cell i of 8 px of 8 n lies at i * 368 / n of the picture.
    """

    def __init__(self, network: nn.Module, inner_px: int = INNER_PX) -> None:
        super().__init__()
        self.network, self.inner_px = network, inner_px
        self.register_buffer("resample", resampling(inner_px // STRIDE), persistent=False)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        inner = interpolate(image, size=(self.inner_px, self.inner_px), mode="bilinear", align_corners=False)
        maps, presence = self.network(inner)
        last = maps[-1]
        if self.inner_px != INNER_PX:
            last = self.resample @ last @ self.resample.T
        return last, torch.sigmoid(presence)


__all__ = ["N_MAPS", "Deployed", "HandCpm", "LightCpm", "Name", "OriginalCpm", "build"]
