"""RTC on people and poses that no network has seen: the source's table, noise, missing joints, calibration, floors.

`python -m rt_hands.evaluate rtc [--model FILE] [--json FILE] [--picture FILE]`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rt_hands.errors import InvalidInput, MissingPart
from rt_hands.evaluation.calibration import auc, expected_calibration_error
from rt_hands.evaluation.error_picture import draw_errors, neutral_joints
from rt_hands.lifting.rtc import Rtc
from rt_hands.output_files import check_new
from rt_hands.paths import write_figures

if TYPE_CHECKING:
    from rt_hands.synth.points import PointBatch

SOURCE_ROWS: Final = (
    ("rtc1", "rtc1_both_mm", "RTC 1.0, normalisation and augmentation", 3.99),
    ("rtc2_none", "rtc2_none_mm", "RTC 2.0, neither", 3.66),
    ("rtc2_aug", "rtc2_aug_mm", "RTC 2.0, augmentation only", 2.42),
    ("rtc2", "rtc2_both_mm", "RTC 2.0, both", 0.95),
)
"""Packaged model, key in the JSON, row of the source's table, the source's mean distance in mm."""

NOISE_MM: Final = (0.0, 0.5, 1.0, 2.0, 4.0)
MISSING: Final = (0, 1, 2, 3, 4)
_CHUNK: Final = 2048
Figures = dict[str, float]


@dataclass(frozen=True)
class Options:
    """What to evaluate, and where the figures go."""

    model: str = "default"
    """What stands in the default's place, such as a file that `train_rtc` made."""
    samples: int = 8192
    """Hands of the test split; the default gives the mean within 0.01 mm."""
    seed: int = 7
    """Of the hands that are drawn."""
    json: Path | None = None
    """Write the figures to this file."""
    picture: Path | None = None
    """Write the hand coloured by the default model's error to this PNG."""
    overwrite: bool = False
    """Replace files of these names that are already there."""


def test_hands(samples: int, seed: int) -> PointBatch:
    """Right hands of the test split, people and poses unseen in training, from the data engine."""
    try:
        from rt_hands.synth import points
    except ImportError as error:
        raise MissingPart(
            f"Evaluation draws its hands from the data engine: pip install 'rt_hands[synth]' ({error})."
        ) from None
    sampler = points.PointSampler("test", seed)
    chunks = range(-(-samples // _CHUNK))
    batches = [sampler.batch(i, _CHUNK) for i in track(chunks, description="drawing test hands")]
    fields = ("joints_mm", "surface_mm", "visible", "subject", "angles")
    return points.PointBatch(*(np.concatenate([getattr(b, f) for b in batches])[:samples] for f in fields))


def predict(net: Rtc, joints_mm: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Surface (N, 64, 3) mm and confidence (N, 64) of right hands (N, 21, 3), in chunks."""
    parts = [
        net(j, np.zeros(len(j), np.int64)) for j in np.array_split(joints_mm, -(-len(joints_mm) // _CHUNK))
    ]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def distances(
    net: Rtc, joints_mm: NDArray[np.floating], surface_mm: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Distance of every point in mm (N, 64); NaN for hands called absent."""
    return np.asarray(np.linalg.norm(predict(net, joints_mm)[0] - surface_mm, axis=-1))


def with_noise(joints_mm: NDArray[np.floating], sigma_mm: float, seed: int) -> NDArray[np.float64]:
    """Gaussian noise of `sigma_mm` on each axis (so the joint moves 1.6 sigma on average)."""
    return np.asarray(joints_mm + np.random.default_rng(seed).normal(0, sigma_mm, joints_mm.shape))


def with_missing(joints_mm: NDArray[np.floating], count: int, seed: int) -> NDArray[np.float64]:
    """The same hands with `count` joints of each, chosen at random, NaN."""
    order = np.random.default_rng(seed).random(joints_mm.shape[:2]).argsort(1)
    spoilt = joints_mm.astype(np.float64)
    np.put_along_axis(spoilt, order[:, :count, None], np.nan, axis=1)
    return spoilt


def source_table(nets: dict[str, Rtc], hands: PointBatch, figures: Figures) -> Table:
    """The source's four rows with ours beside them, then our default."""
    table = Table(title="Mean distance, mm: unseen people, unseen poses, clean joints")
    for column in ("", "source", "ours", "median", "95 %"):
        table.add_column(column, justify="left" if column == "" else "right")
    for name, key, title, source in (*SOURCE_ROWS, ("rtc", "default_mm", "rtc, the default", np.nan)):
        error = distances(nets[name], hands.joints_mm, hands.surface_mm)
        figures[key] = float(np.nanmean(error))
        cells = [f"{x:.2f}" for x in (np.nanmean(error), np.nanmedian(error), np.nanpercentile(error, 95))]
        table.add_row(title, "-" if np.isnan(source) else f"{source:.2f}", *cells)
    return table


def robustness_table(nets: dict[str, Rtc], hands: PointBatch, figures: Figures, seed: int) -> Table:
    """Every network under joint noise and with joints missing."""
    table = Table(title="The same with noisy joints (sigma on each axis) and with joints lost, mm")
    table.add_column("", no_wrap=True)
    for mm in NOISE_MM:
        table.add_column(f"{mm:g} mm", justify="right")
    for count in MISSING[1:]:
        table.add_column(f"{count} lost", justify="right")
    joints, surface = hands.joints_mm, hands.surface_mm
    for name, net in track(nets.items(), description="spoiling joints"):
        key = "default" if name == "rtc" else name
        noisy = [float(np.nanmean(distances(net, with_noise(joints, s, seed), surface))) for s in NOISE_MM]
        fewer = [
            float(np.nanmean(distances(net, with_missing(joints, n, seed), surface))) for n in MISSING[1:]
        ]
        figures |= {f"{key}_noise{s:g}mm_mm": e for s, e in zip(NOISE_MM[1:], noisy[1:], strict=True)}
        figures |= {f"{key}_missing{n}_mm": e for n, e in zip(MISSING[1:], fewer, strict=True)}
        table.add_row(name, *(f"{e:.2f}" for e in noisy + fewer))
    return table


def confidence_table(nets: dict[str, Rtc], hands: PointBatch, figures: Figures) -> Table:
    """How good the probability of being seen is."""
    table = Table(title="Confidence against visibility in a rig of four cameras")
    for column in ("", "seen", "mean confidence", "ECE", "AUC"):
        table.add_column(column, justify="left" if column == "" else "right")
    for name, net in nets.items():
        _, confidence = predict(net, hands.joints_mm)
        ece, area = expected_calibration_error(confidence, hands.visible), auc(confidence, hands.visible)
        prefix = "" if name == "rtc" else f"{name}_"
        figures |= {f"{prefix}ece": ece, f"{prefix}auc": area}
        means = (f"{hands.visible.mean():.3f}", f"{confidence.mean():.3f}", f"{ece:.3f}", f"{area:.3f}")
        table.add_row("rtc (default)" if name == "rtc" else name, *means)
    return table


def floor_table(hands: PointBatch, figures: Figures) -> Table:
    """What oracles that know the pose exactly, but not the person's skin, would reach."""
    from rt_hands.evaluation.rtc_floor import floors

    table = Table(title="Floors, mm: every bone known exactly, the skin not")
    table.add_column("skin taken from")
    table.add_column("mean distance", justify="right")
    for key, title, value in floors(hands):
        figures[key] = value
        table.add_row(title, f"{value:.2f}")
    table.add_row("rtc, from the joints alone", f"{figures['default_mm']:.2f}")
    return table


def neutral_hand(net: Rtc) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """An open hand to draw on, its skin by the network: joints (21, 3), surface (64, 3) mm, canonical axes."""
    joints_mm = neutral_joints() * 95.0
    return joints_mm, predict(net, joints_mm[None])[0][0]


def main(argv: Sequence[str]) -> int:
    """Print the tables; write the JSON and the picture where asked."""
    options = tyro.cli(Options, args=list(argv), description=__doc__, prog="python -m rt_hands.evaluate rtc")
    check_new(options.json, options.overwrite)
    check_new(options.picture, options.overwrite)
    if options.samples < 1:
        raise InvalidInput(f"{options.samples} samples can't be evaluated; --samples wants 1 or more.")
    nets = {name: Rtc(name) for name, *_ in SOURCE_ROWS} | {"rtc": Rtc(options.model)}
    hands, figures, console = test_hands(options.samples, options.seed), Figures(), Console()
    console.print(source_table(nets, hands, figures))
    console.print(robustness_table(nets, hands, figures, options.seed))
    console.print(confidence_table(nets, hands, figures))
    console.print(floor_table(hands, figures))
    if options.picture is not None:
        per_point = np.nanmean(distances(nets["rtc"], hands.joints_mm, hands.surface_mm), axis=0)
        cv2.imwrite(str(options.picture), draw_errors(*neutral_hand(nets["rtc"]), per_point))
        console.print(f"Hand coloured by error: {options.picture}")
    if options.json is not None:
        figures |= {"samples": float(options.samples), "seed": float(options.seed)}
        write_figures(options.json, figures)
    return 0
