"""Weights of a run: the moving average, checkpoints to resume from, and a start from a shipped ONNX file."""

from __future__ import annotations

import copy
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rt_hands.errors import InvalidInput


class MovingAverage:
    """Exponential moving average of a network's weights and statistics; `network` is the averaged copy."""

    def __init__(self, network: nn.Module, decay: float = 0.998) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """One step; early on the average follows faster, else it would remember the start."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        theirs = network.state_dict()
        for name, mine in self.network.state_dict().items():
            if mine.is_floating_point():
                mine.lerp_(theirs[name].to(mine.dtype), 1 - decay)
            else:
                mine.copy_(theirs[name])


def save(path: Path, **state: Any) -> None:
    """Write a checkpoint so that a cut-off run leaves the old one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    torch.save(state, partial)
    partial.replace(path)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint of `save`; raises InvalidInput for another file. No code in it is run."""
    if not path.is_file():
        raise InvalidInput(f"There is no checkpoint {path}.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, UnpicklingError) as error:
        raise InvalidInput(f"{path} is no checkpoint of train_cpm, or a damaged one.") from error
    if not isinstance(state, dict) or not {"name", "average"} <= state.keys():
        raise InvalidInput(f"{path} is no checkpoint of train_cpm.")
    return state


def conv_norm_pairs(network: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d | None]]:
    """Each convolution with the batch norm that follows it, in the order of definition.

    A batch norm belongs to the convolution defined just before it, which holds for every network here.
    """
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d | None]] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            pairs.append((module, None))
        elif isinstance(module, nn.BatchNorm2d):
            pairs[-1] = (pairs[-1][0], module)
    return pairs


@torch.no_grad()
def fold_norms(network: nn.Module) -> nn.Module:
    """A copy whose batch norms are folded into the convolutions before them and replaced by nothing."""
    folded = copy.deepcopy(network).eval()
    for layer, norm in conv_norm_pairs(folded):
        if norm is None:
            continue
        assert norm.running_var is not None and norm.running_mean is not None
        gain = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        old = layer.bias if layer.bias is not None else torch.zeros_like(gain)
        layer.weight.mul_(gain[:, None, None, None])
        layer.bias = nn.Parameter((old - norm.running_mean) * gain + norm.bias)
    for module in folded.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return folded


def weights_of_onnx(path: Path) -> dict[str, Tensor]:
    """Named weights of an exported network, as `fold_norms` names them (without the leading `network.`)."""
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    try:
        graph = onnx.load(str(path)).graph
    except (DecodeError, OSError) as error:
        raise InvalidInput(f"{path} is no ONNX network that can be read.") from error
    arrays = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    named = {
        name.removesuffix("_half"): value for name, value in arrays.items() if name.startswith("network.")
    }
    parts: dict[str, list[Tensor]] = {}
    for name, values in sorted(named.items()):  # `split_joins` of the export numbers the parts of a weight
        whole = name.removeprefix("network.").rpartition(".part")
        parts.setdefault(whole[0] or whole[2], []).append(torch.from_numpy(values.astype(np.float32)))
    return {name: values[0] if len(values) == 1 else torch.cat(values, 1) for name, values in parts.items()}


def folded_of_onnx(network: nn.Module, path: Path) -> nn.Module:
    """An untrained network with the weights of its exported file, batch norms folded; for use, not for training.

    Raises InvalidInput where the file is of another network.
    """
    folded = fold_norms(network)
    try:
        folded.load_state_dict(weights_of_onnx(path))
    except RuntimeError as error:
        raise InvalidInput(f"{path.name} holds another network than a {type(network).__name__}.") from error
    return folded


@torch.no_grad()
def init_from_folded(network: nn.Module, weights: dict[str, Tensor], images: Tensor) -> None:
    """Fill a network with folded weights and give its batch norms the statistics of `images` (B, 3, S, S).

    The function stays the same: with mean m and variance v of what comes in, gain sqrt(v + eps) and offset
    bias + m undo the normalisation.
    """
    names = {module: name for name, module in network.named_modules()}
    others = {n: w for n, w in weights.items() if n in network.state_dict() and "norm" not in n}
    missing = network.load_state_dict(others, strict=False)
    if missing.unexpected_keys or not others:
        raise InvalidInput(
            "The ONNX file holds another network. Give --network the one that it was exported from."
        )
    hooks = []
    for layer, norm in conv_norm_pairs(network):
        if norm is not None:
            bias = weights[f"{names[layer]}.bias"]
            hooks.append(norm.register_forward_pre_hook(_calibrate(bias)))
    network.eval()
    network(images)
    for hook in hooks:
        hook.remove()


def _calibrate(bias: Tensor) -> Any:
    def hook(norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        assert norm.running_mean is not None and norm.running_var is not None
        x = inputs[0].float()
        norm.running_mean.copy_(x.mean((0, 2, 3)))
        norm.running_var.copy_(x.var((0, 2, 3), unbiased=False))
        norm.weight.copy_(torch.sqrt(norm.running_var + norm.eps))
        norm.bias.copy_(bias + norm.running_mean)

    return hook
