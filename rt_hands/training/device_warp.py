"""Affines (B, 2, 3) of whole batches, and square pictures warped by them from smaller copies of themselves.

Pixel centres are whole numbers, as everywhere here. Nothing waits for the device.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

LEVELS = 4  # the picture, and it 2, 4 and 8 times smaller
SHARPEST = 0.42
"""A copy is shrunk to between this and twice this: on average as sharp as `augment.shrunk`, which shrinks to half."""


def pyramid(images: Tensor) -> Tensor:
    """Square pictures (B, C, P, P) float, smaller copies to the right of them, a pixel apart: (B, C, P, P + 1 + P / 2).

    P: a multiple of 8.
    """
    side = images.shape[-1]
    if side % 2 ** (LEVELS - 1) or images.shape[-2] != side:
        raise ValueError(f"Pictures must be square, of 8 n pixels a side; these are {tuple(images.shape)}.")
    made = images.new_zeros(*images.shape[:2], side, side + 1 + side // 2)
    made[..., :side] = images
    top = 0
    for _ in range(LEVELS - 1):
        images = avg_pool2d(images, 2)
        size = images.shape[-1]
        made[..., top : top + size, side + 1 : side + 1 + size] = images
        top += size + 1
    return made


def warp(levels: Tensor, matrix: Tensor, size: int, edge: bool = False) -> Tensor:
    """Pictures with their smaller copies (B, C, P, 3 P / 2 + 1) through affines from picture to target px.

    Gives (B, C, size, size) float32. Outside a picture is 0, or its edge goes on.
    """
    side, width = levels.shape[2], levels.shape[3]
    level = torch.ceil(torch.log2(SHARPEST / scale_of(matrix))).clamp(0, LEVELS - 1)
    shrink = torch.exp2(-level)
    line = torch.arange(size, device=levels.device, dtype=torch.float32)
    y, x = torch.meshgrid(line, line, indexing="ij")
    target = torch.stack([x, y], -1).expand(len(levels), size, size, 2)
    source = apply(chain(zoomed(shrink), inverse(matrix)), target)
    beyond = 0 if edge else 1  # a pixel outside each copy is 0
    last = (side * shrink - 1 + beyond)[:, None, None, None]
    source = torch.minimum(source.clamp(min=-beyond), last) + _corner(level, side)[:, None, None]
    x, y = source.unbind(-1)
    grid = torch.stack([x * (2 / (width - 1)) - 1, y * (2 / (side - 1)) - 1], -1)
    return grid_sample(levels.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def _corner(level: Tensor, side: int) -> Tensor:
    """(B, 2) x, y of a copy's first pixel beside its picture."""
    small = (level > 0).float()
    return torch.stack([small * (side + 1), small * (side * (1 - torch.exp2(1 - level)) + level - 1)], 1)


def unchanged(count: int, device: torch.device) -> Tensor:
    """Affines that leave everything where it is."""
    return torch.eye(2, 3, device=device).expand(count, 2, 3)


def zoomed(scale: Tensor) -> Tensor:
    """Affines that make pictures scale (B,) times larger; their upper left corner, half a pixel out, stays."""
    zero, offset = torch.zeros_like(scale), (scale - 1) / 2
    return torch.stack([scale, zero, offset, zero, scale, offset], 1).view(-1, 2, 3)


def rotated(turn: Tensor) -> Tensor:
    """(B, 2, 2) rotations."""
    c, s = torch.cos(turn), torch.sin(turn)
    return torch.stack([c, -s, s, c], 1).view(-1, 2, 2)


def about(linear: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Affines of a linear part (B, 2, 2) that bring the place source (B, 2) to target (B, 2)."""
    return torch.cat([linear, target[..., None] - linear @ source[..., None]], 2)


def flips(which: Tensor, width: int) -> Tensor:
    """Affines that mirror pictures of this width where which (B,) bool says so."""
    turned = which.float()
    zero = torch.zeros_like(turned)
    rows = [1 - 2 * turned, zero, turned * (width - 1), zero, zero + 1, zero]
    return torch.stack(rows, 1).view(-1, 2, 3)


def apply(matrix: Tensor, points: Tensor) -> Tensor:
    """Points (B, ..., 2) through affines."""
    flat = points.flatten(1, -2) @ matrix[:, :, :2].mT + matrix[:, None, :, 2]
    return flat.view(points.shape)


def chain(second: Tensor, first: Tensor) -> Tensor:
    """Affines that do `first`, then `second`."""
    offset = second[:, :, :2] @ first[:, :, 2:] + second[:, :, 2:]
    return torch.cat([second[:, :, :2] @ first[:, :, :2], offset], 2)


def inverse(matrix: Tensor) -> Tensor:
    """Affines that undo these. `torch.linalg.inv` waits for the device."""
    a, b, c, d = matrix[:, :, :2].flatten(1).unbind(1)
    linear = torch.stack([d, -b, -c, a], 1).view(-1, 2, 2) / (a * d - b * c)[:, None, None]
    return torch.cat([linear, -linear @ matrix[:, :, 2:]], 2)


def scale_of(matrix: Tensor) -> Tensor:
    """(B,) how many times longer affines make things, in the mean of all directions."""
    a, b, c, d = matrix[:, :, :2].flatten(1).unbind(1)
    return (a * d - b * c).abs().sqrt()
