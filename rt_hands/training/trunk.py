"""A hand-trained trunk: MediaPipe's hand landmark network (inverted residuals), as a torch module.

The weights are Google's (Apache-2.0), read through OpenVINO's TFLite reader from `hand_landmark_full.tflite`, which is
in `mediapipe/modules/hand_landmark` of the `mediapipe` 0.10.21 wheel. Layers and padding are theirs to the bit, so at
224 px the outputs are theirs, too: strided convolutions pad right and below only, which puts cell i of stride s at
s * i + s - 1 px.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rt_hands.errors import InvalidInput, MissingPart
from rt_hands.training.depthwise import depthwise


class Block(NamedTuple):
    """One inverted residual: 1x1 to `expand`, depthwise `kernel` with `stride`, 1x1 to `out` (no activation)."""

    expand: int
    kernel: int
    stride: int
    out: int


BLOCKS = (
    *(Block(64, 3, 2, 24), Block(144, 3, 1, 24)),
    *(Block(144, 5, 2, 40), Block(240, 5, 1, 40)),
    *(Block(240, 3, 2, 80), Block(480, 3, 1, 80), Block(480, 3, 1, 80)),
    *(Block(480, 5, 1, 112), Block(672, 5, 1, 112), Block(672, 5, 1, 112)),
    *(Block(672, 5, 2, 192), Block(1152, 5, 1, 192), Block(1152, 5, 1, 192), Block(1152, 5, 1, 192)),
)
CHANNELS = {4: 24, 8: 40, 16: 112, 32: 192}
N_POOLED = 1152
PX = 224  # what the weights were trained at; places are coded by the distance to the edges, so the size matters
OFFSET_CELLS = 7 / 8  # cell i of stride 8 lies at 8 i + 7 px
_LAST_AT = {2: 4, 4: 8, 10: 16, 14: 32}  # blocks done -> stride of what they give


def conv(inp: int, out: int, kernel: int, groups: int = 1) -> nn.Conv2d:
    """A biased convolution that keeps the size."""
    return nn.Conv2d(inp, out, kernel, 1, kernel // 2, groups=groups)


def halving(inp: int, out: int, kernel: int, groups: int = 1) -> nn.Conv2d:
    """A biased convolution of stride 2 for an input from `pad_for`."""
    return nn.Conv2d(inp, out, kernel, 2, 0, groups=groups)


def pad_for(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """TensorFlow's 'same' margin of an even picture for a layer of stride 2; as it is for others."""
    if layer.stride[0] == 1:
        return x
    before = (layer.kernel_size[0] - 2) // 2
    after = layer.kernel_size[0] - 2 - before
    return nn.functional.pad(x, (before, after, before, after))


class _MarginsInside(torch.autograd.Function):
    """For export only: margin and strided convolution as one ONNX Conv; a Pad of its own costs a pass over memory."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, groups: int, before: int, after: int
    ) -> Tensor:
        padded = nn.functional.pad(x, (before, after, before, after))
        return nn.functional.conv2d(padded, weight, bias, 2, 0, groups=groups)

    @staticmethod
    def symbolic(g: Any, x: Any, weight: Any, bias: Any, groups: int, before: int, after: int) -> Any:
        pads = [before, before, after, after]
        return g.op("Conv", x, weight, bias, strides_i=[2, 2], pads_i=pads, group_i=groups)


def run_layer(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """A layer of the trunk with TensorFlow's margins, by the quickest way for training or export."""
    if layer.stride[0] == 2 and torch.onnx.is_in_onnx_export():
        before = (layer.kernel_size[0] - 2) // 2
        after = layer.kernel_size[0] - 2 - before
        return _MarginsInside.apply(x, layer.weight, layer.bias, layer.groups, before, after)
    x = pad_for(layer, x)
    return depthwise(x, layer) if layer.groups > 1 else layer(x)


class InvertedResidual(nn.Module):
    """(B, C, h, w) -> (B, out, h / stride, w / stride); a shortcut where the shapes allow one."""

    def __init__(self, inp: int, block: Block) -> None:
        super().__init__()
        self.expand = conv(inp, block.expand, 1)
        spatial = halving if block.stride == 2 else conv
        self.depthwise = spatial(block.expand, block.expand, block.kernel, block.expand)
        self.project = conv(block.expand, block.out, 1)
        self.shortcut = block.stride == 1 and inp == block.out

    def forward(self, x: Tensor) -> Tensor:
        y = run_layer(self.depthwise, nn.functional.relu6(self.expand(x)))
        y = self.project(nn.functional.relu6(y))
        return x + y if self.shortcut else y


class HandTrunk(nn.Module):
    """RGB 0..1 (B, 3, S, S), S a multiple of 32 -> features at strides 4, 8, 16, 32 and a pooled vector.

    (B, 24 | 40 | 112 | 192, S / stride, ...) and (B, 1152). 2.57 M parameters; 0.66 GFLOP at 224 px.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = halving(3, 24, 3)
        self.stem_depthwise = conv(24, 24, 3, 24)
        self.stem_project = conv(24, 16, 1)
        widths = [16, *(b.out for b in BLOCKS)]
        self.blocks = nn.ModuleList(InvertedResidual(w, b) for w, b in zip(widths, BLOCKS, strict=False))
        self.last_expand = conv(192, N_POOLED, 1)
        self.last_depthwise = conv(N_POOLED, N_POOLED, 3, N_POOLED)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        x = nn.functional.relu6(run_layer(self.stem, x))
        x = self.stem_project(nn.functional.relu6(self.stem_depthwise(x)))
        kept = []
        for done, block in enumerate(self.blocks, start=1):
            x = block(x)
            if done in _LAST_AT:
                kept.append(x)
        y = nn.functional.relu6(self.last_expand(x))
        y = nn.functional.relu6(run_layer(self.last_depthwise, y))
        return kept[0], kept[1], kept[2], kept[3], y.mean((2, 3))


def read_tflite_convolutions(path: Path) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """(weight, bias) of every convolution in order of execution; weights in torch's layout (out, in / groups, k, k)."""
    try:
        import openvino as ov
    except ImportError as error:
        raise MissingPart("Reading a .tflite needs OpenVINO: pip install openvino") from error
    layers = []
    for op in ov.Core().read_model(str(path)).get_ordered_ops():
        if op.get_type_name() in ("Convolution", "GroupConvolution"):
            weight = _constant(op.input_value(1).get_node())
            if op.get_type_name() == "GroupConvolution":
                weight = weight.reshape(-1, 1, *weight.shape[-2:])
            add = next(iter(op.output(0).get_target_inputs())).get_node()
            layers.append((weight, _constant(add.input_value(1).get_node()).ravel()))
    return layers


def _constant(node: Any) -> NDArray[np.float32]:
    """Value of a constant that OpenVINO wraps in Convert, Reshape, Transpose or Unsqueeze."""
    kind = node.get_type_name()
    if kind == "Constant":
        return np.array(node.get_data())
    value = _constant(node.input_value(0).get_node())
    if kind == "Transpose":
        return value.transpose(node.input_value(1).get_node().get_data())
    if kind in ("Reshape", "Unsqueeze"):
        return value.reshape(tuple(node.output(0).get_partial_shape().to_shape()))
    return value.astype(np.float32)


class Heads(NamedTuple):
    """The landmark network's own outputs as rows over the pooled vector: weight (n, 1152) and bias (n,).

    joints: 63 rows, x, y, z in px of 224. seen, right: logits.
    """

    joints: tuple[NDArray[np.float32], NDArray[np.float32]]
    seen: tuple[NDArray[np.float32], NDArray[np.float32]]
    right: tuple[NDArray[np.float32], NDArray[np.float32]]


def read_tflite_heads(path: Path) -> Heads:
    """The heads of `hand_landmark_full.tflite`, by the names of its outputs."""
    import openvino as ov

    model = ov.Core().read_model(str(path))
    found = []
    for name in ("Identity", "Identity_1", "Identity_2"):
        node = model.output(name).get_node().input_value(0).get_node()
        if node.get_type_name() == "Sigmoid":
            node = node.input_value(0).get_node()
        product = node.input_value(0).get_node()
        found.append(
            (_constant(product.input_value(1).get_node()), _constant(node.input_value(1).get_node()).ravel())
        )
    return Heads(*found)


def load_tflite(trunk: HandTrunk, path: Path) -> None:
    """Fill a trunk with the weights of `hand_landmark_full.tflite`."""
    ours = [m for m in trunk.modules() if isinstance(m, nn.Conv2d)]
    theirs = read_tflite_convolutions(path)
    if len(ours) != len(theirs):
        raise InvalidInput(
            f"{path.name} has {len(theirs)} convolutions; hand_landmark_full.tflite has {len(ours)}."
        )
    for layer, (weight, bias) in zip(ours, theirs, strict=True):
        if tuple(layer.weight.shape) != weight.shape:
            raise InvalidInput(
                f"{path.name} has a layer {weight.shape} where {tuple(layer.weight.shape)} was wanted."
            )
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))
