"""Train an RTC network: `python -m rt_hands.training.train_rtc --kind rtc2 --out runs/rtc2`.

Samples come from the data engine, steps are fixed by `--samples`, and every step draws from its own seed, so a run
that is stopped and resumed sees what an unbroken one sees. Several GPUs: `torchrun --nproc-per-node N -m ...`.
"""

from __future__ import annotations

import csv
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from rt_hands.errors import InvalidInput, run_command
from rt_hands.layout import N_JOINTS
from rt_hands.training import checkpoint
from rt_hands.training.rtc_data import Batch, Pool, Sampler, Spoil, draw_pool, make_batch
from rt_hands.training.rtc_networks import RtcBones, RtcKind, build

_UNIT: Final = 100.0  # losses count in hundredths of a palm length, about a millimetre
_MEASURE: Final = 8192  # samples for the fixed scaling
_CURVE: Final = ("step", "samples", "seconds", "loss", "train_mm", "val_mm", "val_bce", "learning_rate")


@dataclass(frozen=True)
class Training:
    """Settings of one run; the defaults are those of the shipped weights, but the card's samples."""

    out: Path
    """Folder of checkpoint.pt, curve.csv and the exported .onnx."""
    kind: RtcKind = "rtc"
    """rtc1 and rtc2 as in the source, rtc is ours."""
    name: str = ""
    """Name of the exported file; empty takes the kind."""
    normalise: bool = True
    """Centred, palm-aligned, scale-free joints; off gives world axes."""
    augment: bool = True
    """Rotation, scale, joint noise, missing and collapsed joints."""
    samples: int = 320_000
    """Length of the run, in hands."""
    batch: int = 256
    """Hands a step."""
    learning_rate: float = 2e-3
    """At its peak."""
    width: int | None = None
    """Hidden units; none takes the network's own."""
    pool: int = 131_072
    """Different samples drawn from the data engine; drawn once and kept in `cache`."""
    cache: Path | None = None
    """File (.npy) that keeps the pool between runs."""
    seed: int = 0
    """Of the samples and of fresh weights."""
    threads: int = 1
    """Of torch."""
    resume: bool = True
    """Go on from checkpoint.pt in `out` where there is one."""
    stop_after_s: float = math.inf
    """Write a checkpoint and stop after so many seconds; the schedule still counts on `samples`."""


def position_loss(error: Tensor, weight: Tensor, squared: bool) -> Tensor:
    """Position term from errors (N, P, 3) in hundredths and weights (N,): the source's MSE, or the mean distance."""
    square = error.square().sum(-1)
    per_hand = square.mean(1) * weight if squared else torch.sqrt(square + 1e-2).mean(1)
    return (per_hand * weight).mean()


def spoil_weight(batch: Batch) -> Tensor:
    """Weight (N,) of each hand, 1 for clean joints and less the more they are spoilt.

    A mean over all hands is ruled by the spoilt ones, and a net that hedges against noise blurs clean hands: this
    took clean error from 0.85 to 0.63 mm in a trial and cost 6 % under noise.
    """
    shift = (batch.joints - batch.true) * batch.valid[..., None] * _UNIT
    level = shift.square().sum(-1).mean(1).sqrt() + (N_JOINTS - batch.valid.sum(1))
    return 1 / (1 + level)


class RtcLoss(nn.Module):
    """Network and loss in one module, so that a distributed wrapper sees one forward."""

    confidence_weight: Final = 0.05
    repair_weight: Final = 0.3

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Loss, and the mean distance in mm."""
        ours, weight = isinstance(self.net, RtcBones), spoil_weight(batch)
        repair: Tensor | float = 0.0
        if ours:
            surface, logits, fixed = self.net.with_repair(batch.joints, batch.valid)
            repair = position_loss((fixed - batch.true) * _UNIT, weight, squared=False)
        else:
            surface, logits = self.net(batch.joints, batch.valid)
        error = surface - batch.surface
        loss = position_loss(error * _UNIT, weight, squared=not ours) + self.repair_weight * repair
        loss = loss + self.confidence_weight * binary_cross_entropy_with_logits(logits, batch.visible)
        distance_mm = (torch.linalg.vector_norm(error.detach(), dim=-1) * batch.mm[:, None]).mean()
        return loss, distance_mm


def learning_rate_at(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over 2 % of the run, then one cosine to 0."""
    warm = max(1, steps // 50)
    if step < warm:
        return peak * (step + 1) / warm
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


class Trainer:
    """One run: network, optimiser, curve and checkpoint."""

    def __init__(self, config: Training, pool: Pool, validation: Pool) -> None:
        self.config, self.pool = config, pool
        self.rank, self.world, self.device = _place()
        torch.manual_seed(config.seed)
        net = build(config.kind, config.width)
        clean = pool.take(np.arange(min(_MEASURE, len(pool.rows))))
        start = make_batch(clean, config.normalise, None, np.random.default_rng(config.seed))
        measure = net.measure if isinstance(net, RtcBones) else net.scaling.measure
        measure(start.joints, start.valid, start.surface)
        self.module = RtcLoss(net).to(self.device)
        self.optimiser = torch.optim.AdamW(
            self.module.parameters(), lr=config.learning_rate, weight_decay=1e-4
        )
        self.validation = make_batch(validation, config.normalise, None, np.random.default_rng(0))
        self.steps = max(1, config.samples // (config.batch * self.world))
        self.step, self.seconds = 0, 0.0
        if config.resume and self.checkpoint.exists():
            self._load()

    @property
    def checkpoint(self) -> Path:
        """The run's checkpoint file."""
        return self.config.out / "checkpoint.pt"

    def _load(self) -> None:
        state: dict[str, Any] = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        if state["identity"] != _identity(self.config):
            raise InvalidInput(
                f"{self.checkpoint} belongs to a run with other settings. Use another --out, or --no-resume."
            )
        self.module.load_state_dict(state["module"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        if self.rank != 0:
            return
        checkpoint.save(
            self.checkpoint,
            identity=_identity(self.config),
            module=self.module.state_dict(),
            optimiser=self.optimiser.state_dict(),
            step=self.step,
            seconds=self.seconds,
        )

    def _batch(self, step: int) -> Batch:
        rng = np.random.default_rng((self.config.seed, step, self.rank))
        at = np.sort(rng.integers(len(self.pool.rows), size=self.config.batch))
        return make_batch(
            self.pool.take(at), self.config.normalise, Spoil() if self.config.augment else None, rng
        )

    @torch.no_grad()
    def validate(self) -> tuple[float, float]:
        """Mean distance in mm and cross entropy on clean validation samples."""
        self.module.eval()
        v = _to(self.validation, self.device)
        surface, logits = self.module.net(v.joints, v.valid)
        distance = (torch.linalg.vector_norm(surface - v.surface, dim=-1) * v.mm[:, None]).mean()
        self.module.train()
        return float(distance), float(binary_cross_entropy_with_logits(logits, v.visible))

    def run(self) -> None:
        """Train to the end, or to `stop_after_s`; a checkpoint and a line of the curve every 2 % of the steps."""
        forward: nn.Module = self.module
        if self.world > 1:
            forward = nn.parallel.DistributedDataParallel(self.module)
        began, earlier, every = time.monotonic(), self.seconds, max(1, self.steps // 50)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, disable=self.rank != 0) as progress:
            task = progress.add_task(
                self.config.name or self.config.kind, total=self.steps, completed=self.step
            )
            while self.step < self.steps:
                loss, train_mm = self._advance(forward)
                self.seconds = earlier + time.monotonic() - began
                stop = self._time_is_up(time.monotonic() - began)
                if self.step % every == 0 or self.step == self.steps or stop:
                    self._note(loss, train_mm, progress)
                progress.update(task, completed=self.step)
                if stop:
                    return

    def _time_is_up(self, seconds: float) -> bool:
        """Whether any process wants to stop: the others would wait for it for ever, and clocks differ."""
        stop = seconds > self.config.stop_after_s
        if self.world == 1 or self.config.stop_after_s == math.inf:
            return stop
        wanted = torch.tensor(float(stop), device=self.device)
        torch.distributed.all_reduce(wanted)
        return bool(wanted > 0)

    def _advance(self, forward: nn.Module) -> tuple[float, float]:
        rate = learning_rate_at(self.step, self.steps, self.config.learning_rate)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss, distance_mm = forward(_to(self._batch(self.step), self.device))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.step += 1
        return float(loss.detach()), float(distance_mm)

    def _note(self, loss: float, train_mm: float, progress: Progress) -> None:
        self.save()
        if self.rank != 0:
            return
        val_mm, val_bce = self.validate()
        rate = learning_rate_at(self.step, self.steps, self.config.learning_rate)
        samples = self.step * self.config.batch * self.world
        row = (
            self.step,
            samples,
            f"{self.seconds:.1f}",
            *(f"{x:.5g}" for x in (loss, train_mm, val_mm, val_bce, rate)),
        )
        curve = self.config.out / "curve.csv"
        fresh = not curve.exists() or self.step <= max(1, self.steps // 50)
        with curve.open("w" if fresh else "a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(_CURVE)
            writer.writerow(row)
        progress.console.print(f"{samples:>9,} samples  {self.seconds:6.0f} s  val {val_mm:.3f} mm")


def _identity(config: Training) -> dict[str, Any]:
    """The settings that make two runs the same run."""
    same = ("kind", "normalise", "augment", "samples", "batch", "learning_rate", "width", "pool", "seed")
    return {key: value for key, value in asdict(config).items() if key in same}


def _to(batch: Batch, device: torch.device) -> Batch:
    return Batch(*(getattr(batch, name).to(device) for name in Batch.__slots__))


def _place() -> tuple[int, int, torch.device]:
    """Rank, world size and device; joins the process group under torchrun."""
    gpu = torch.cuda.is_available()
    if "RANK" not in os.environ:
        return 0, 1, torch.device("cuda" if gpu else "cpu")
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if gpu else "gloo")
    local = int(os.environ["LOCAL_RANK"])
    return (
        int(os.environ["RANK"]),
        int(os.environ["WORLD_SIZE"]),
        torch.device("cuda", local) if gpu else torch.device("cpu"),
    )


def engine_sampler(split: Literal["train", "val", "test"], seed: int) -> Sampler:
    """The data engine's 3D-only sampler of a split: train, val or test."""
    from rt_hands.synth.points import PointSampler  # heavy: anny

    return PointSampler(split, seed)


def main(argv: Sequence[str]) -> int:
    """Train, then export to ONNX with a model card."""
    from rt_hands.training.export_rtc import export_run

    config = tyro.cli(Training, args=list(argv), description=__doc__)
    torch.set_num_threads(config.threads)
    pool = draw_pool(engine_sampler("train", config.seed), config.pool, config.cache)
    trainer = Trainer(config, pool, draw_pool(engine_sampler("val", 0), 4096))
    trainer.run()
    if trainer.rank == 0 and trainer.step == trainer.steps:
        print(export_run(trainer, draw_pool(engine_sampler("test", 0), 4096)))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
