"""RTC networks: 21 joints in 3D -> 64 surface points in 3D and the probability that each is seen.

All take canonical joints (N, 21, 3) float32, 0 where missing, and valid (N, 21) float32 0 or 1, and give
surface (N, 64, 3) in the same frame and logits (N, 64). `Rtc1` and `Rtc2` follow the source (CMU / Facebook
Reality Labs 2020: one network, and one network a point); `RtcBones` is ours, a residual on bone frames.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final, Literal

import torch
from torch import Tensor, nn

from rt_hands.layout import N_JOINTS, N_SURFACE

RtcKind = Literal["rtc1", "rtc2", "rtc"]
_FEATURES: Final = 3 * N_JOINTS + N_JOINTS
_EPS: Final = 1e-6
N_RING: Final = 40  # surface points on the fingers; the other 24 lie on the back and the palm
_PALM: Final = [0, 1, 5, 9, 13, 17]
# Bone (0 wrist to base .. 3 last) that carries each of a finger's two rings; the thumb has one phalanx fewer.
_RING_BONES: Final = [[2, 3], [1, 2], [1, 2], [1, 2], [1, 2]]


class Scaling(nn.Module):
    """Fixed zero-mean, unit-spread scaling of joints and surface, measured once on training samples."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("joint_mean", torch.zeros(N_JOINTS, 3))
        self.register_buffer("surface_mean", torch.zeros(N_SURFACE, 3))
        self.register_buffer("spread", torch.ones(()))

    @torch.no_grad()
    def measure(self, joints: Tensor, valid: Tensor, surface: Tensor) -> None:
        """Set the means and the one common spread from samples: (N, 21, 3), (N, 21), (N, 64, 3)."""
        count = valid.sum(0).clamp(min=1)[:, None]
        self.joint_mean.copy_((joints * valid[..., None]).sum(0) / count)
        self.surface_mean.copy_(surface.mean(0))
        self.spread.copy_((surface - self.surface_mean).std().clamp(min=_EPS))

    def features(self, joints: Tensor, valid: Tensor) -> Tensor:
        """(N, 84): scaled joints, 0 where missing, then the mask."""
        scaled = (joints - self.joint_mean) / self.spread * valid[..., None]
        return torch.cat([scaled.reshape(-1, 3 * N_JOINTS), valid], dim=1)

    def surface(self, scaled: Tensor) -> Tensor:
        """Network output (N, 64, 3) back to the frame's unit."""
        return scaled * self.spread + self.surface_mean


def _mlp(sizes: tuple[int, ...], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        layers += [nn.Linear(a, b)] + ([activation()] if i < len(sizes) - 2 else [])
    return nn.Sequential(*layers)


class Rtc1(nn.Module):
    """RTC 1.0: one multi-layer perceptron for all 64 points."""

    def __init__(self, width: int = 512) -> None:
        super().__init__()
        self.scaling = Scaling()
        self.body = _mlp((_FEATURES, width, width, 4 * N_SURFACE))

    def forward(self, joints: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Canonical joints and mask -> surface (N, 64, 3), logits (N, 64)."""
        out = self.body(self.scaling.features(joints, valid)).reshape(-1, N_SURFACE, 4)
        return self.scaling.surface(out[..., :3]), out[..., 3]


class GroupedLinear(nn.Module):
    """64 separate linear layers as one batched product: (64, N, a) or (1, N, a) -> (64, N, b)."""

    def __init__(self, size_in: int, size_out: int) -> None:
        super().__init__()
        bound = size_in**-0.5
        self.weight = nn.Parameter(torch.empty(N_SURFACE, size_in, size_out).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(N_SURFACE, 1, size_out).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """One product per point."""
        return torch.matmul(x, self.weight) + self.bias


class Rtc2(nn.Module):
    """RTC 2.0: 64 independent networks, one a point, run as one batched graph."""

    def __init__(self, width: int = 112) -> None:
        super().__init__()
        self.scaling = Scaling()
        self.layers = nn.ModuleList(
            [GroupedLinear(_FEATURES, width), GroupedLinear(width, width), GroupedLinear(width, 4)]
        )

    def forward(self, joints: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Canonical joints and mask -> surface (N, 64, 3), logits (N, 64)."""
        x = self.scaling.features(joints, valid)[None]
        x = torch.relu(self.layers[0](x))
        x = torch.relu(self.layers[1](x))
        out = self.layers[2](x).transpose(0, 1)
        return self.scaling.surface(out[..., :3]), out[..., 3]


def transport(basis: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Turn the basis by the smallest rotation that takes `start` to `end`: no twist is added (Bishop 1975).

    basis (..., 3, 3), one vector a row, row 0 along `start`; start, end (..., 3) of unit length. Smooth everywhere
    but where a bone folds back on the one before, so a straight finger needs no flexion plane.
    """
    both = start + end
    cosine = (start * end).sum(-1, keepdim=True).clamp(min=-0.99)
    share = (basis @ end[..., None]) / (1.0 + cosine)[..., None]
    turned = basis - share * both[..., None, :]
    return torch.cat([end[..., None, :], turned[..., 1:, :]], dim=-2)


def finger_bones(joints: Tensor) -> Tensor:
    """Bone vectors, wrist outwards: (N, 21, 3) -> (N, 5, 4, 3), bone i of a finger ends at its joint i."""
    fingers = joints[:, 1:].reshape(-1, 5, 4, 3)
    first = fingers[:, :, :1] - joints[:, None, :1]
    return torch.cat([first, fingers[:, :, 1:] - fingers[:, :, :-1]], dim=2)


class BoneFrames(nn.Module):
    """A frame on every finger bone, carried outwards from the palm without twist."""

    def __init__(self) -> None:
        super().__init__()
        basis = torch.eye(3)[[1, 0, 2]].repeat(
            5, 1, 1
        )  # rows: along the bone (+y), to the thumb's side, palmar
        self.register_buffer("root", basis)

    def forward(self, bones: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Bones (N, 5, 4, 3) -> frames (N, 5, 4, 3, 3), each bone seen from the frame before, lengths (N, 5, 4)."""
        length = torch.sqrt((bones * bones).sum(-1) + _EPS**2)
        direction = bones / length[..., None]
        basis, along = self.root[None], self.root[None, :, 0]
        frames, seen = [], []
        for i in range(4):
            seen.append((basis @ bones[:, :, i, :, None])[..., 0])
            basis = transport(basis, along, direction[:, :, i])
            along = direction[:, :, i]
            frames.append(basis)
        return torch.stack(frames, 2), torch.stack(seen, 2), length


class RtcBones(nn.Module):
    """The default: repaired joints -> bone frames -> mean skin offset in each frame + a learnt residual.

    `repair` moves noisy joints and fills in missing ones. Each ring point is a place along its bone plus an offset
    in the bone's frame; each palm or back point is a mix of the palm joints plus an offset. A shared trunk over the
    joints, the bones seen from their parents, and their lengths predicts what to add to the offsets, so a bent
    finger carries its skin along and the trunk learns only thickness, bulging and the shape of the palm.
    """

    def __init__(self, width: int = 512, repair_width: int = 256) -> None:
        super().__init__()
        self.scaling = Scaling()
        self.frames = BoneFrames()
        self.repair = _mlp((_FEATURES, repair_width, repair_width, 4 * N_JOINTS), nn.SiLU)
        self.body = _mlp((_FEATURES + 80, width, width, 4 * N_SURFACE), nn.SiLU)
        self.ring_along = nn.Parameter(torch.full((5, 2, 4, 1), 0.5))
        self.ring_offset = nn.Parameter(torch.zeros(5, 2, 4, 3))
        self.palm_mix = nn.Parameter(torch.full((N_SURFACE - N_RING, len(_PALM)), 1 / len(_PALM)))
        self.palm_offset = nn.Parameter(torch.zeros(N_SURFACE - N_RING, 3))
        self.register_buffer("bone_mean", torch.zeros(80))
        self.register_buffer("bone_spread", torch.ones(80))
        for last in (self.repair[-1], self.body[-1]):
            nn.init.normal_(last.weight, std=0.01)
            nn.init.zeros_(last.bias)

    def repaired(self, joints: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Joints after repair (N, 21, 3) and the features (N, 84) they came from."""
        features = self.scaling.features(joints, valid)
        start = self.scaling.joint_mean + (joints - self.scaling.joint_mean) * valid[..., None]
        out = self.repair(features).reshape(-1, N_JOINTS, 4)
        trust = valid[..., None] * torch.sigmoid(out[..., 3:])  # 1 keeps the joint, missing joints have none
        return start + (1 - trust) * out[..., :3] * self.scaling.spread, features

    def forward(self, joints: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Canonical joints and mask -> surface (N, 64, 3), logits (N, 64)."""
        surface, logits, _ = self.with_repair(joints, valid)
        return surface, logits

    def with_repair(self, joints: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward`, and the repaired joints (N, 21, 3), which training compares with the true ones."""
        fixed, features = self.repaired(joints, valid)
        bones = finger_bones(fixed)
        frames, seen, length = self.frames(bones)
        local = torch.cat([seen.reshape(-1, 60), length.reshape(-1, 20)], dim=1)
        whole = (fixed - self.scaling.joint_mean) / self.scaling.spread
        body_in = torch.cat(
            [whole.reshape(-1, 3 * N_JOINTS), features[:, 3 * N_JOINTS :], self._scaled(local)], dim=1
        )
        out = self.body(body_in).reshape(-1, N_SURFACE, 4)
        change = out[..., :3] * self.scaling.spread * 0.1
        rings = self._rings(fixed, bones, frames, change[:, :N_RING])
        palm = self.palm_mix @ fixed[:, _PALM] + self.palm_offset + change[:, N_RING:]
        return torch.cat([rings, palm], dim=1), out[..., 3], fixed

    def _scaled(self, local: Tensor) -> Tensor:
        return (local - self.bone_mean) / self.bone_spread

    def _rings(self, joints: Tensor, bones: Tensor, frames: Tensor, change: Tensor) -> Tensor:
        """Ring points (N, 40, 3): along the bone, plus the offset turned by the bone's frame."""
        start, vector, basis = _per_ring(joints, bones, frames)
        offset = self.ring_offset + change.reshape(-1, 5, 2, 4, 3)
        placed = start[..., None, :] + self.ring_along * vector[..., None, :]
        return (placed + offset @ basis).reshape(-1, N_RING, 3)

    @torch.no_grad()
    def measure(self, joints: Tensor, valid: Tensor, surface: Tensor) -> None:
        """Set scaling, mean offsets and bone statistics from clean, whole samples."""
        self.scaling.measure(joints, valid, surface)
        bones = finger_bones(joints)
        frames, seen, length = self.frames(bones)
        local = torch.cat([seen.reshape(-1, 60), length.reshape(-1, 20)], dim=1)
        self.bone_mean.copy_(local.mean(0))
        self.bone_spread.copy_(local.std(0).clamp(min=0.02))
        start, vector, basis = _per_ring(joints, bones, frames)
        middle = start[..., None, :] + self.ring_along * vector[..., None, :]
        rings = surface[:, :N_RING].reshape(-1, 5, 2, 4, 3)
        self.ring_offset.copy_(((rings - middle) @ basis.transpose(-1, -2)).mean(0))
        palm = self.palm_mix @ joints[:, _PALM]
        self.palm_offset.copy_((surface[:, N_RING:] - palm).mean(0))


def _per_ring(joints: Tensor, bones: Tensor, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Start joint (N, 5, 2, 3), bone vector (N, 5, 2, 3) and frame (N, 5, 2, 3, 3) of every ring."""
    finger = torch.arange(5)[:, None]
    bone = torch.tensor(_RING_BONES)
    flat = (finger * 4 + bone).flatten()
    start = joints.index_select(1, flat).reshape(-1, 5, 2, 3)
    vector = bones.reshape(-1, 20, 3).index_select(1, flat).reshape(-1, 5, 2, 3)
    basis = frames.reshape(-1, 20, 3, 3).index_select(1, flat).reshape(-1, 5, 2, 3, 3)
    return start, vector, basis


def build(kind: RtcKind, width: int | None = None) -> nn.Module:
    """A network by name; width None takes its default."""
    maker = {"rtc1": Rtc1, "rtc2": Rtc2, "rtc": RtcBones}[kind]
    return maker() if width is None else maker(width)
