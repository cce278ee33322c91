"""Belief maps from points, and the losses of a CPM.

A point at x px of a picture of w px lies at x * n / w in a map of n cells; the peak is 1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from rt_hands.layout import MIRROR, N_HAND, N_HANDS, N_JOINTS, N_POINTS

SIGMA_CELLS = 1.2  # a finger of a hand that fills the crop is 2 cells wide; the 5 x 5 decode sees 2 sigma
OWN_WEIGHT = 8.0  # k: cells where the point (or the same point of the other hand) is count 1 + k times
PRESENCE_WEIGHT = 0.02
JOINT_WEIGHT = 25.0  # 0.03 of the picture off costs about what the maps do


class Batch(NamedTuple):
    """A training batch of B pictures of S px.

    image: (B, S, S, 3) uint8 RGB. points: (B, 170, 2) float32 px, NaN where the map must be empty.
    weight: (B, 170) float32: 1 sure, less for hidden or machine-placed points, 0 where nothing is known.
    present: (B, 2) float32: 1 or 0 for right and left.
    """

    image: Tensor
    points: Tensor
    weight: Tensor
    present: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(t.to(device, non_blocking=True) for t in self))


def belief_maps(
    points: Tensor, size_px: int, cells: int, offset: float = 0.0, sigma: float = SIGMA_CELLS
) -> Tensor:
    """Gaussian belief maps: (B, 170, 2) px -> (B, 170, cells, cells) float32; NaN points give empty maps.

    offset: cells that a network's own grid lies off the rule above.
    """
    centre = torch.nan_to_num(points.float() * (cells / size_px) - offset, nan=-1e4)
    grid = torch.arange(cells, device=points.device, dtype=torch.float32)
    square = (grid - centre[..., None]) ** 2  # (B, 170, 2, cells)
    across = torch.exp(square * (-0.5 / sigma**2))
    return across[:, :, 1, :, None] * across[:, :, 0, None, :]


def cell_weights(target: Tensor, weight: Tensor, k: float = OWN_WEIGHT) -> Tensor:
    """Weight of each cell: (B, 170, n, n). 1 + k where the point is, and where its twin of the other hand is.

    Weighting the own target alone makes 'fire both hands' the optimum: the twin's cells must count as much.
    """
    twin = target[:, torch.as_tensor(MIRROR, device=target.device)]
    return torch.maximum(target, twin).mul_(k).add_(1).mul_(weight[..., None, None])


class _WeightedSquares(torch.autograd.Function):
    """sum(weight * (maps - target)^2) / count; the gradient is made with the value: a third of the memory traffic."""

    @staticmethod
    def forward(ctx: object, maps: Tensor, target: Tensor, weight: Tensor, count: float) -> Tensor:
        difference = maps.float() - target
        scaled = difference * weight
        loss = torch.dot(difference.flatten(), scaled.flatten()) / count
        ctx.save_for_backward(scaled.mul_(2 / count).to(maps.dtype))  # type: ignore[attr-defined]
        return loss

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient * grads[0], None, None, None


def cpm_loss(
    maps: list[Tensor], presence: Tensor, batch: Batch, offset: float = 0.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of all stages plus the presence head; parts by name: `map` (last stage), `presence`.

    The background map (channel 170) is 1 - max of the points; it is trained only where all points are known.
    """
    cells = maps[-1].shape[-1]
    target = belief_maps(batch.points, batch.image.shape[1], cells, offset)
    weight = cell_weights(target, batch.weight)
    known = (batch.weight > 0).all(1).float()
    target = torch.cat([target, 1 - target.amax(1, keepdim=True)], 1)
    weight = torch.cat([weight, known[:, None, None, None].expand(-1, 1, cells, cells)], 1)
    count = float(len(target) * cells**2)
    losses = [_WeightedSquares.apply(m, target, weight.contiguous(), count) for m in maps]
    side = binary_cross_entropy_with_logits(presence.float(), batch.present)
    total = torch.stack(losses).sum() + PRESENCE_WEIGHT * N_POINTS * side
    return total, {"map": losses[-1].detach(), "presence": side.detach()}


def joint_loss(joints: Tensor, batch: Batch) -> Tensor:
    """Mean absolute error of regressed joints (B, 2, 21, 2), in shares of the picture, of the hands that are there."""
    truth = batch.points.view(-1, N_HANDS, N_HAND, 2)[:, :, :N_JOINTS] / batch.image.shape[1]
    weight = batch.weight.view(-1, N_HANDS, N_HAND)[:, :, :N_JOINTS] * batch.present[..., None]
    weight = torch.where(torch.isfinite(truth[..., 0]), weight, torch.zeros_like(weight))
    away = (joints.float() - torch.nan_to_num(truth)).abs().sum(-1)
    return (away * weight).sum() / weight.sum().clamp(min=1)
