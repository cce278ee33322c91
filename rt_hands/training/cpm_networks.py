"""Convolutional Pose Machines: the original (`cpm6`, `cpm3`) and the light ones that run on a CPU.

All take RGB 0..1 (B, 3, S, S) and give the belief maps of every stage, each (B, 171, n, n): 170 points in the order
of `layout`, then background; and presence logits (B, 2) for the right and the left hand. Cell i of a map lies at
x = i * S / n, so S = 360 gives n = 45. Wei et al., CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from rt_hands.errors import InvalidInput
from rt_hands.layout import N_HAND, N_HANDS, N_JOINTS, N_POINTS, NOT_GIVEN
from rt_hands.training.depthwise import depthwise
from rt_hands.training.resnet import ResNet34
from rt_hands.training.trunk import CHANNELS, N_POOLED, OFFSET_CELLS, PX, HandTrunk, Heads, conv

N_MAPS = N_POINTS + 1
INNER_PX = 360
OUT_CELLS = 45
STRIDE = 8
LIGHT_CHANNELS = 128
STAGES = 3  # that refine the maps, `LightStages` and `RefiningStages` alike
Name = Literal["cpm6", "cpm3", "light", "wide", "hand", "resnet34"]


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


def _image_features() -> nn.Sequential:
    """Three 9x9 convolutions with pools: (B, 3, S, S) -> (B, 128, S / 8, S / 8)."""
    layers: list[nn.Module] = []
    for inp in (3, 128, 128):
        # A margin of one keeps the pools' centres at whole multiples of the stride, so 360 px give 45 cells.
        layers += [Convs(inp, (128, 9)), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*layers)


class OriginalCpm(nn.Module):
    """The CPM of Wei et al. (CVPR 2016), 11 x 11 stages, as the source used it: 170 points and background.

    stages = 6: 43.0 M parameters, 383 GFLOP at 360 px; stages = 3: 21.6 M, 297.
    GFLOP = 2 x multiply-adds. The first stage and the later ones have image features of their own.
    """

    def __init__(self, stages: int = 6) -> None:
        super().__init__()
        self.first_features, self.later_features = _image_features(), _image_features()
        self.first = nn.Sequential(Convs(128, (32, 5), (512, 9), (512, 1)), conv(512, N_MAPS, 1))
        self.context = Convs(128, (32, 5))
        later = ((128, 11),) * 3 + ((128, 1),)
        self.stages = nn.ModuleList(
            nn.Sequential(Convs(32 + N_MAPS, *later), conv(128, N_MAPS, 1)) for _ in range(stages - 1)
        )
        self.presence = Presence(128)

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        maps = [self.first(self.first_features(x))]
        features = self.later_features(x)
        context = self.context(features)
        for stage in self.stages:
            maps.append(stage(torch.cat([context, maps[-1]], 1)))
        return maps, self.presence(features)


class LightStages(nn.Module):
    """Belief maps refined in three light stages: features (B, C, n, n) -> three of (B, 171, n, n)."""

    def __init__(self) -> None:
        super().__init__()
        channels = LIGHT_CHANNELS
        first = [Separable(channels, channels) for _ in range(2)]
        self.stages = nn.ModuleList([nn.Sequential(*first, conv(channels, N_MAPS, 1))])
        for _ in range(STAGES - 1):
            body = [Separable(channels, channels) for _ in range(4)]
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

    width 0.5: 0.72 M parameters, 3.0 GFLOP; width 1.0: 1.76 M, 7.5 GFLOP at 360 px.
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
        self.body = nn.Sequential(*layers, Separable(inp, LIGHT_CHANNELS))
        self.stages = LightStages()
        self.presence = Presence(LIGHT_CHANNELS)

    def forward(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        features = self.body(self.stem(x))
        return self.stages(features), self.presence(features)


class RefiningStages(nn.Module):
    """Stages that add to the maps so far: features (B, C, n, n), prior (B, 42, n, n) -> three of (B, 171, n, n).

    The last layers start at zero, so an untrained network gives the prior itself.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.8))
        sizes = [(channels + N_HANDS * N_JOINTS, 2)] + [(channels + N_MAPS, 4)] * (STAGES - 1)
        self.stages = nn.ModuleList()
        for inp, count in sizes:
            last = conv(channels, N_MAPS, 1)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            body = [Separable(channels, channels) for _ in range(count)]
            self.stages.append(nn.Sequential(Point(inp, channels), *body, last))

        placed = torch.zeros(N_MAPS, N_HANDS * N_JOINTS, 1, 1)
        for hand in range(N_HANDS):
            joints = torch.arange(N_JOINTS)
            placed[hand * N_HAND + joints, hand * N_JOINTS + joints] = 1
        self.register_buffer("placed", placed, persistent=False)

    def forward(self, features: Tensor, prior: Tensor) -> list[Tensor]:
        # A convolution puts the prior's maps in their places: cut and joined, it took engines four times as long.
        so_far = conv2d(self.gain * prior, self.placed.to(prior.dtype))
        maps = []
        for number, stage in enumerate(self.stages):
            so_far = so_far + stage(torch.cat([features, so_far if number else prior], 1))
            maps.append(so_far)
        return maps


class HandCpm(nn.Module):
    """A CPM on a trunk trained on hands (see `trunk`), whose own guess of the joints is the first belief.

    The trunk's pooled vector gives the joints of both hands as coordinates; drawn as Gaussians, times the hand's
    presence, they are the prior that three light stages refine and extend to the skin. Joints that are known from
    elsewhere, from a rig's other views, take their place. Works at 224 px, what the trunk was trained at: 28 x 28
    cells. 3.09 M parameters, 1.2 GFLOP.
    """

    offset_cells = OFFSET_CELLS
    size_px = PX
    prior_sigma = 1.5

    def __init__(self, channels: int = 128) -> None:
        super().__init__()
        self.trunk = HandTrunk()
        self.lateral = nn.ModuleList(conv(CHANNELS[s], channels, 1) for s in (8, 16, 32))
        self.join = nn.ModuleList(Separable(channels, channels) for _ in range(2))
        self.stages = RefiningStages(channels)
        self.joints = nn.Linear(N_POOLED, N_HANDS * N_JOINTS * 2)
        self.presence = nn.Linear(N_POOLED, N_HANDS)

    def load_heads(self, heads: Heads) -> None:
        """Start the joints of both hands and the presence from the trunk's own heads."""
        weight, bias = (torch.from_numpy(a.reshape(N_JOINTS, 3, -1)[:, :2] / PX) for a in heads.joints)
        with torch.no_grad():
            self.joints.weight.copy_(weight.reshape(-1, N_POOLED).repeat(N_HANDS, 1))
            self.joints.bias.copy_(bias.reshape(-1).repeat(N_HANDS))
            weight, bias = (torch.from_numpy(a) for a in heads.right)
            self.presence.weight.copy_(torch.cat([weight, -weight]))
            self.presence.bias.copy_(torch.cat([bias, -bias]))

    def features(self, levels: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The three scales joined at stride 8: (B, channels, n, n)."""
        fine, middle, coarse = levels
        y = self.lateral[2](coarse)
        steps = ((self.lateral[1], self.join[0], middle), (self.lateral[0], self.join[1], fine))
        for lateral, join, level in steps:
            y = join(lateral(level) + interpolate(y, scale_factor=2.0, mode="bilinear", align_corners=False))
        return y

    def prior(self, joints: Tensor, presence: Tensor, cells: int, given: Tensor | None = None) -> Tensor:
        """Gaussians at the joints (B, 2, 21, 2), in shares of the picture, times the presence: (B, 42, n, n).

        given: (B, 2, 21, 2) joints to use instead; NOT_GIVEN where there is none.
        """
        there = torch.sigmoid(presence).repeat_interleave(N_JOINTS, 1)[..., None]
        if given is not None:
            known = given > 0.5 * NOT_GIVEN
            joints = torch.where(known, given, joints)
            there = torch.where(known[..., :1].flatten(1, 2), torch.ones_like(there), there)
        centre = joints.flatten(1, 2)[..., None] * cells - self.offset_cells
        grid = torch.arange(cells, device=joints.device, dtype=joints.dtype)
        x, y = torch.exp((grid - centre) ** 2 * (-0.5 / self.prior_sigma**2)).unbind(2)
        return (there * y)[..., None] * x[..., None, :]

    def regress(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Joints (B, 2, 21, 2) in shares of the picture and presence logits (B, 2)."""
        return self.joints(pooled).view(-1, N_HANDS, N_JOINTS, 2), self.presence(pooled)

    def forward_with_joints(
        self, x: Tensor, given: Tensor | None = None
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Maps of all stages, presence logits, and the regressed joints; given: see `prior`."""
        _, fine, middle, coarse, pooled = self.trunk(x)
        joints, presence = self.regress(pooled)
        features = self.features((fine, middle, coarse))
        prior = self.prior(joints.detach().float(), presence.detach().float(), features.shape[-1], given)
        return self.stages(features, prior.to(features.dtype)), presence, joints

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        maps, presence, _ = self.forward_with_joints(x, given)
        return maps, presence


class Committee(nn.Module):
    """The mean of `HandCpm`s trained apart, which errs less than the best of them; two of them are `quality`.

    Parameters and arithmetic of all of them. For export: members are trained one by one. shares: what each counts in
    the mean, the same for all when None.
    """

    offset_cells = HandCpm.offset_cells
    size_px = HandCpm.size_px

    def __init__(self, members: Sequence[HandCpm], shares: Sequence[float] | None = None) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        shares = shares or [1.0] * len(members)
        if len(shares) != len(members) or not min(shares) > 0:
            raise InvalidInput(f"{len(members)} networks want as many shares above 0, got {list(shares)}.")
        self.shares = [share / sum(shares) for share in shares]

    def forward(self, x: Tensor, given: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        read = [(share, *member(x, given)) for share, member in zip(self.shares, self.members, strict=True)]
        mean = [
            torch.stack(parts).sum(0) for parts in zip(*((s * m[-1], s * p) for s, m, p in read), strict=True)
        ]
        return [mean[0]], mean[1]


def build(name: Name) -> nn.Module:
    """A network by name, untrained."""
    makers = {
        "cpm6": lambda: OriginalCpm(6),
        "cpm3": lambda: OriginalCpm(3),
        "light": lambda: LightCpm(0.5),
        "wide": lambda: LightCpm(1.0),
        "hand": HandCpm,
        "resnet34": ResNet34,
    }
    if name not in makers:
        raise InvalidInput(f"No network is called '{name}'. Known: {', '.join(makers)}.")
    return makers[name]()


def resampling(at: Tensor, cells: int) -> Tensor:
    """(len(at), cells) weights of Catmull-Rom interpolation at places in cells; beyond the ends a map is empty."""
    away = (at[:, None] - torch.arange(cells)).abs()
    near = 1.5 * away**3 - 2.5 * away**2 + 1
    far = -0.5 * away**3 + 2.5 * away**2 - 4 * away + 2
    return torch.where(away < 1, near, torch.where(away < 2, far, torch.zeros_like(away)))


def places(input_px: int, offset_cells: float) -> Tensor:
    """Where cell j of the 45 exported ones lies in the maps of a network that works at `input_px`: (45,) cells."""
    return torch.arange(OUT_CELLS) * (input_px / OUT_CELLS / STRIDE) - offset_cells


class Deployed(nn.Module):
    """What is exported: (B, 3, S, S) RGB 0..1 -> last maps (B, 171, 45, 45), presence (B, 2) probabilities.

    S = input_px is the size at which the network works, so a crop is sampled once, straight to it. Cell j lies at
    j * S / 45 of the input; maps are interpolated to that unless they lie there already, as strides of 8 at 360 px do.
    joints: a second input of `HandCpm`s, see their `prior`.
    """

    def __init__(self, network: nn.Module, input_px: int | None = None) -> None:
        super().__init__()
        self.network = network
        self.input_px = input_px or int(getattr(network, "size_px", INNER_PX))
        at = places(self.input_px, float(getattr(network, "offset_cells", 0.0)))
        self.is_aligned = bool((at - torch.arange(OUT_CELLS)).abs().max() < 0.01)
        self.register_buffer("resample", resampling(at, self.input_px // STRIDE), persistent=False)

    def forward(self, image: Tensor, joints: Tensor | None = None) -> tuple[Tensor, Tensor]:
        maps, presence = self.network(image) if joints is None else self.network(image, joints)
        last = maps[-1]
        if not self.is_aligned:
            last = self.resample @ last.to(self.resample.dtype) @ self.resample.T
        return last, torch.sigmoid(presence)


__all__ = ["N_MAPS", "Committee", "Deployed", "HandCpm", "LightCpm", "Name", "OriginalCpm", "build"]
