"""Depthwise convolutions that train fast on a CPU in bfloat16.

oneDNN's bfloat16 backward has a quick kernel for 3x3 stride 1 only; 5x5 is 10 times slower and stride 2 is 5 to 70
(measured, AVX-512, channels-last). Two ways round: the gradient of the *input* is itself a forward convolution, which
is quick for every shape and all that a frozen filter needs; and a trained stride-2 filter runs in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d


class _FrozenDepthwise(torch.autograd.Function):
    """Depthwise convolution whose filter gets no gradient; stride > 1 wants an input that it covers exactly."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.stride, ctx.padding = stride, padding
        return conv2d(x, weight, bias, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None, None]:
        (weight,), grad, stride = ctx.saved_tensors, grads[0], ctx.stride
        if stride > 1:
            size = [stride * (n - 1) + 1 for n in grad.shape[-2:]]
            spread = grad.new_zeros((*grad.shape[:2], *size)).to(memory_format=torch.channels_last)
            spread[:, :, ::stride, ::stride] = grad
            grad = spread
        margin = weight.shape[-1] - 1 - ctx.padding
        flipped = weight.flip(2, 3).contiguous()
        return conv2d(grad, flipped, None, 1, margin, groups=len(weight)), None, None, None, None


def depthwise(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """`layer(x)` for a depthwise layer, by the quickest way that gives the gradients asked for."""
    if x.is_cuda or not torch.is_grad_enabled() or not torch.is_autocast_enabled("cpu"):
        return layer(x)
    if not layer.weight.requires_grad:
        dtype = torch.get_autocast_dtype("cpu")
        bias = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias
        weight = layer.weight.to(dtype)
        stride, padding = layer.stride[0], int(layer.padding[0])
        return _FrozenDepthwise.apply(x.to(dtype), weight, bias.detach().to(dtype), stride, padding)
    if layer.stride[0] == 1 and layer.kernel_size[0] == 3:
        return layer(x)
    with torch.autocast("cpu", enabled=False):
        return layer(x.float())


def freeze_slow_depthwise(network: nn.Module) -> int:
    """Freeze the depthwise filters without a quick backward (not 3x3 stride 1); gives how many layers."""
    frozen = 0
    for layer in network.modules():
        is_depthwise = isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1
        if is_depthwise and (layer.kernel_size[0] > 3 or layer.stride[0] > 1):
            layer.requires_grad_(False)
            frozen += 1
    return frozen
