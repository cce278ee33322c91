"""A hand-trained trunk: the inverted-residual backbone of MediaPipe's hand landmark model, as a torch module.

The weights are Google's (Apache-2.0), read from `hand_landmark_full.tflite` of the `mediapipe` 0.10.21 wheel through
OpenVINO's TFLite reader. Ours differs in one thing: strided convolutions pad both sides, so the features of a picture
of 8 n px lie exactly at multiples of 8, 16 and 32 px.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rt_hands.errors import InvalidInput, MissingPart
from rt_hands.training.depthwise import depthwise

TFLITE_IN_WHEEL = "mediapipe/modules/hand_landmark/hand_landmark_full.tflite"


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
CHANNELS = {8: 40, 16: 112, 32: 192}
_LAST_AT = {4: 8, 10: 16, 14: 32}  # blocks done -> stride of what they give


def conv(inp: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A biased convolution that keeps the size (or halves it, rounding up)."""
    return nn.Conv2d(inp, out, kernel, stride, kernel // 2, groups=groups)


class InvertedResidual(nn.Module):
    """(B, C, h, w) -> (B, out, h / stride, w / stride); a shortcut where the shapes allow one."""

    def __init__(self, inp: int, block: Block) -> None:
        super().__init__()
        self.expand = conv(inp, block.expand, 1)
        self.depthwise = conv(block.expand, block.expand, block.kernel, block.stride, block.expand)
        self.project = conv(block.expand, block.out, 1)
        self.shortcut = block.stride == 1 and inp == block.out

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.relu6(depthwise(nn.functional.relu6(self.expand(x)), self.depthwise))
        y = self.project(y)
        return x + y if self.shortcut else y


class HandTrunk(nn.Module):
    """RGB 0..1 (B, 3, 8n, 8n) -> features at strides 8, 16, 32: (B, 40 | 112 | 192, ...).

    2.6 M parameters; 1.4 GFLOP at 360 px. Cell i of stride s lies at s * i px of the input.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 24, 3, 2)
        self.stem_depthwise = conv(24, 24, 3, 1, 24)
        self.stem_project = conv(24, 16, 1)
        widths = [16, *(b.out for b in BLOCKS)]
        self.blocks = nn.ModuleList(InvertedResidual(w, b) for w, b in zip(widths, BLOCKS, strict=False))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = nn.functional.relu6(self.stem(x))
        x = self.stem_project(nn.functional.relu6(self.stem_depthwise(x)))
        kept = []
        for done, block in enumerate(self.blocks, start=1):
            x = block(x)
            if done in _LAST_AT:
                kept.append(x)
        return kept[0], kept[1], kept[2]


def tflite_from_wheel(wheel: Path, folder: Path) -> Path:
    """Unpack the landmark model from a mediapipe 0.10.21 wheel into `folder`."""
    with zipfile.ZipFile(wheel) as archive:
        if TFLITE_IN_WHEEL not in archive.namelist():
            raise InvalidInput(
                f"{wheel.name} holds no {TFLITE_IN_WHEEL}. Use: pip download mediapipe==0.10.21 --no-deps"
            )
        return Path(archive.extract(TFLITE_IN_WHEEL, folder))


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


def load_tflite(trunk: HandTrunk, path: Path) -> None:
    """Fill a trunk with the weights of `hand_landmark_full.tflite`; the layers after stride 32 are left out."""
    ours = [m for m in trunk.modules() if isinstance(m, nn.Conv2d)]
    theirs = read_tflite_convolutions(path)[: len(ours)]
    for layer, (weight, bias) in zip(ours, theirs, strict=True):
        if tuple(layer.weight.shape) != weight.shape:
            raise InvalidInput(
                f"{path.name} has a layer {weight.shape} where {tuple(layer.weight.shape)} was wanted."
            )
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(weight))
            layer.bias.copy_(torch.from_numpy(bias))
