"""Export of a trained RTC network: ONNX with probabilities, parity in millimetres, model card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from rt_hands.errors import InvalidInput
from rt_hands.lifting.rtc import Rtc
from rt_hands.training.export import export_onnx, parity, run_onnx, write_card

if TYPE_CHECKING:
    from rt_hands.training.rtc_data import Pool
    from rt_hands.training.train_rtc import Trainer

_NOTES = (
    "All tables: `python -m rt_hands.evaluate rtc`.",
    "Trained on made-up people only, children of about six to adults; gloves, rings and injuries were never seen.",
    "In the data engine bone lengths tell how thick a finger is. In real people they tell less, so expect errors "
    "towards those of the mean skin on true bones, about 0.9 mm.",
    "Confidence is the chance that at least one of four cameras round the hand sees the point.",
)
_FRAMES = {True: "in the canonical frame", False: "in world axes and units of 100 mm"}
MAX_PARITY = 1e-5  # torch against ONNX in float32, units of the frame (palm lengths): 0.001 mm
_TITLES = {
    "rtc": "RTC, default: residual on bone frames", "rtc1": "RTC 1.0: one network",
    "rtc2": "RTC 2.0: 64 networks, one a point, in one graph",
}  # fmt: skip


class Probabilities(nn.Module):
    """An RTC network whose second output is a probability."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, joints: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Canonical joints (N, 21, 3) and mask (N, 21) -> surface (N, 64, 3), probability (N, 64)."""
        surface, logits = self.net(joints, valid)
        return surface, torch.sigmoid(logits)


def export_network(
    net: nn.Module, joints: Tensor, valid: Tensor, path: Path, normalise: bool, half: bool
) -> float:
    """Write `path` and check it on the given samples; returns the largest difference the float16 storage makes.

    Raises InvalidInput where torch and the float32 file differ by more than 1e-5.
    """
    module = Probabilities(net.cpu()).eval()
    names = (("joints", "valid"), ("surface", "confidence"))
    metadata = {"normalise": "1" if normalise else "0"}
    inputs = {"joints": joints, "valid": valid}
    export_onnx(module, (joints[:2], valid[:2]), path, *names, metadata=metadata)
    worst = max(parity(module, path, inputs).values())
    if worst > MAX_PARITY:
        raise InvalidInput(f"{path.name} differs from torch by {worst:.2g}; wanted at most {MAX_PARITY}.")
    if not half:
        return worst
    whole = run_onnx(path, {"joints": joints.numpy(), "valid": valid.numpy()})
    export_onnx(module, (joints[:2], valid[:2]), path, *names, metadata=metadata, half_storage=True)
    halved = run_onnx(path, {"joints": joints.numpy(), "valid": valid.numpy()})
    return float(np.abs(whole["surface"] - halved["surface"]).max())


def export_run(trainer: Trainer, test: Pool) -> Path:
    """Export a finished run into its own folder with its model card; returns the .onnx.

    test: hands of people and poses unseen in training, for the card's figures.
    """
    config = trainer.config
    path = config.out / f"{config.name or config.kind}.onnx"
    v, half = trainer.validation, config.kind == "rtc2"
    difference = export_network(trainer.module.net, v.joints, v.valid, path, config.normalise, half)
    facts = {
        "input": f"`joints` (N, 21, 3) float32, {_FRAMES[config.normalise]}, 0 where missing; `valid` (N, 21) float32",
        "output": "`surface` (N, 64, 3) float32 in the same frame; `confidence` (N, 64), probability of being seen",
        "normalisation, augmentation": f"{_word(config.normalise)}, {_word(config.augment)}",
        "data": f"{config.pool:,} hands of the data engine's train split: 480 made-up people, anny body model (CC0)",
        "training": f"{config.samples:,} samples, batch {config.batch}, {trainer.seconds:.0f} s on {_machine(trainer)}",
        "seed": str(config.seed),
        "figures": _figures(path, test),
        "largest difference to torch": f"{difference * float(v.mm.mean()):.1e} mm"
        + ", weights in float16" * half,
        "licence": "Apache-2.0, the project's; the data is CC0",
    }
    write_card(path, _TITLES[config.kind], "21 joints in 3D to 64 points on the skin.", facts, _NOTES)
    return path


def _figures(path: Path, test: Pool) -> str:
    """Mean distance on clean joints and under 1 mm of noise on each axis, by the run time itself."""
    net, side = Rtc(str(path)), np.zeros(len(test.rows), np.int64)
    noise = np.random.default_rng(0).normal(0, 1, test.joints_mm.shape)
    errors = [
        np.linalg.norm(net(joints, side)[0] - test.surface_mm, axis=-1).mean()
        for joints in (test.joints_mm, test.joints_mm + noise)
    ]
    return f"{errors[0]:.2f} mm on clean joints, {errors[1]:.2f} mm under 1 mm of noise; 60 unseen people, unseen poses"


def _machine(trainer: Trainer) -> str:
    kind = "GPU" if trainer.device.type == "cuda" else "busy CPU core"
    return f"one {kind}" if trainer.world == 1 else f"{trainer.world} {kind}s"


def _word(on: bool) -> str:
    return "on" if on else "off"
