"""Train a CPM: `python -m rt_hands.training.train_cpm --init FILE --sprites DIR --minutes 55 --out runs/hand`.

Wall-clock driven: one cosine over --minutes, then it stops; --resume goes on with a cut-off run, --init starts a new
cosine from shipped weights. Writes last.pt, curve.jsonl and overlays of val pictures into --out. On a shared CPU start
it with `torchrun --nproc-per-node 2 -m` and --threads 1. On a GPU samples are composed there (--mix.batch-px 6422528
is 128 pictures of 224 px), and commands of ten minutes follow one another with --resume.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
import tyro
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, distributed, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from rt_hands.errors import InvalidInput, run_command
from rt_hands.layout import N_HAND
from rt_hands.training import checkpoint
from rt_hands.training.cpm_networks import INNER_PX, Deployed, HandCpm, Name, build
from rt_hands.training.depthwise import freeze_slow_depthwise
from rt_hands.training.device_compose import DeviceStream, background_stack, picture_bank, sprite_bank
from rt_hands.training.given import given_joints
from rt_hands.training.hints import HINT_WEIGHT, load_hints
from rt_hands.training.loader import Clock, Mix, Stream, loader
from rt_hands.training.pictures import load_backgrounds, load_real
from rt_hands.training.pseudo_label import dense_by_file, labelled_pictures
from rt_hands.training.resnet import ResNet34, regression_loss
from rt_hands.training.targets import JOINT_WEIGHT, Batch, cpm_loss, joint_loss
from rt_hands.training.trunk import load_tflite, read_tflite_heads
from rt_hands.training.validate import Validation

WARM_UP = 0.03  # of the run
FROZEN_BLOCKS = 2  # of the hand trunk: edges and blobs at stride 4 need no training and cost most


@dataclass
class Settings:
    """Options of a training run."""

    out: Path
    """Folder of the run."""
    network: Name = "hand"
    """Which to train."""
    minutes: float = 55.0
    """Length of the run; the schedule ends with it."""
    init: Path | None = None
    """Shipped .onnx or a last.pt whose averaged weights to start from."""
    trunk: Path | None = None
    """hand_landmark_full.tflite for a first start of `hand`."""
    sprites: Path | None = None
    """Folder of rendered hands."""
    labels: Path | None = None
    """Folder of `pseudo_label`: the skin points of real pictures, and more pictures from a rig or InterHand2.6M."""
    hints: Path | None = None
    """Shipped .onnx or last.pt of a `hand` whose features `resnet34`, which starts from nothing, learns besides the
    points."""
    resume: bool = False
    """Go on from last.pt in `out`."""
    lr: float = 2e-3
    """Peak learning rate."""
    trunk_lr: float = 3e-4
    """That of the trunk."""
    given: float = 0.0
    """Share of hands whose joints a `hand` is told, a little off, as a rig's other views tell them."""
    threads: int = 0
    """Of torch; 0 keeps its own choice."""
    workers: int = 1
    """Processes that make samples."""
    compose: Literal["auto", "workers", "device"] = "auto"
    """Where samples are made; auto takes the GPU when there is one."""
    seed: int = 0
    """Of the samples and of fresh weights."""
    save_every_min: float = 4.0
    """Minutes between checkpoints."""
    val_pictures: int = 160
    """Validation pictures."""
    mix: Mix = field(default_factory=Mix)
    """What the samples are made of."""


def prepare_network(settings: Settings) -> nn.Module:
    """The network with its start weights; layers that stay as they are frozen."""
    network = build(settings.network)
    if isinstance(network, HandCpm):
        if settings.trunk is not None:
            load_tflite(network.trunk, settings.trunk)
            network.load_heads(read_tflite_heads(settings.trunk))
        elif settings.init is None and not settings.resume:
            raise InvalidInput("The network 'hand' starts from trained weights: give --trunk or --init.")
    if settings.init is not None and settings.init.suffix == ".pt":
        state = checkpoint.load(settings.init)
        if state["name"] != settings.network:
            raise InvalidInput(
                f"{settings.init} is a checkpoint of '{state['name']}', not of '{settings.network}'."
            )
        network.load_state_dict(state["average"])
    elif settings.init is not None and settings.init.suffix != ".onnx":
        raise InvalidInput(
            f"{settings.init} is no checkpoint of train_cpm; --init takes a .pt or .onnx file."
        )
    return network


def freeze(network: nn.Module, on_cpu: bool) -> None:
    """Fix the first layers of a trained trunk, and on a CPU the filters whose gradients are slow."""
    if not isinstance(network, HandCpm):
        return
    trunk = network.trunk
    for part in (trunk.stem, trunk.stem_depthwise, trunk.stem_project, *trunk.blocks[:FROZEN_BLOCKS]):
        part.requires_grad_(False)
    if on_cpu:
        freeze_slow_depthwise(trunk)


def optimiser(network: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """AdamW in two groups: a trained trunk and its heads learn slower. The rates here are the peaks of the cosine."""
    trained = ("trunk.", "joints.", "presence.") if isinstance(network, HandCpm) else ()
    trunk = {p for n, p in network.named_parameters() if n.startswith(trained)}
    free = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in free if p not in trunk], "lr": settings.lr, "peak": settings.lr},
        {"params": [p for p in free if p in trunk], "lr": settings.trunk_lr, "peak": settings.trunk_lr},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], weight_decay=0.01, fused=True)


def rate(progress: float) -> float:
    """Learning rate over its peak: a short ramp, then half a cosine to 2 %."""
    if progress < WARM_UP:
        return max(0.02, progress / WARM_UP)
    return float(0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * (progress - WARM_UP) / (1 - WARM_UP))))


def resnet_loss(points: Tensor, presence: Tensor, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of the regression baseline and its parts: points of absent hands are left out."""
    there = batch.present.repeat_interleave(N_HAND, 1)
    parts = {
        "points": regression_loss(points.float(), batch.points / batch.image.shape[1], batch.weight * there),
        "presence": binary_cross_entropy_with_logits(presence.float(), batch.present),
    }
    return 25 * parts["points"] + parts["presence"], {k: v.detach() for k, v in parts.items()}


def as_input(image: Tensor) -> Tensor:
    """(B, S, S, 3) uint8 -> (B, 3, S, S) float32 0..1, channels-last in memory, which is what comes in already."""
    return image.permute(0, 3, 1, 2).float().div_(255).contiguous(memory_format=torch.channels_last)


def keep_memory() -> None:
    """Tell glibc to keep freed memory: fresh pages for every large tensor cost a fifth of a CPU step (measured)."""
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL("libc.so.6")
        trim_threshold, mmap_max = -1, -4
        libc.mallopt(mmap_max, 0)
        libc.mallopt(trim_threshold, 2**31 - 1)


class Team:
    """Several processes that train one network (`torchrun --nproc-per-node 2 -m ...`); alone without torchrun.

    On a shared CPU two processes of one thread beat one of two threads, which wait for each other at every layer.
    """

    def __init__(self) -> None:
        self.rank, self.size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        gpu = torch.cuda.is_available()
        self.device = (
            torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if gpu else torch.device("cpu")
        )
        if self.size > 1:
            if gpu:
                torch.cuda.set_device(self.device)
            distributed.init_process_group("nccl" if gpu else "gloo")

    def share(self, network: nn.Module) -> None:
        """Give all processes the first one's weights, in place."""
        if self.size > 1:
            for tensor in network.state_dict().values():
                distributed.broadcast(tensor, 0)

    def average(self, network: nn.Module, stop: bool) -> bool:
        """Average the gradients of all processes, in place; gives whether any of them wants to stop."""
        if self.size == 1:
            return stop
        grads = [p.grad for p in network.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in grads] + [grads[0].new_tensor([float(stop)])])
        distributed.all_reduce(flat)
        at = 0
        for grad in grads:
            grad.copy_(flat[at : at + grad.numel()].view_as(grad)).div_(self.size)
            at += grad.numel()
        return bool(flat[-1] > 0)


class Trainer:
    """One run: network, average, optimiser, clock and what it writes."""

    def __init__(self, settings: Settings) -> None:
        # In every process, before they wait for one another.
        if (settings.out / "last.pt").exists() and not settings.resume:
            raise InvalidInput(
                f"{settings.out} holds a run; --resume goes on with it, or give another --out."
            )
        self.settings, self.team = settings, Team()
        self.device = self.team.device
        keep_memory()
        # OpenCV's thread pool does not survive a fork: a worker process would wait for it for ever.
        cv2.setNumThreads(0)
        if settings.threads:
            torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.console = Console(quiet=self.team.rank > 0)
        self.network = prepare_network(settings).to(self.device, memory_format=torch.channels_last)
        freeze(self.network, self.device.type == "cpu")
        self.hints = load_hints(settings.hints).to(self.device) if settings.hints is not None else None
        if self.hints is not None and not isinstance(self.network, ResNet34):
            raise InvalidInput(f"--hints are for the network 'resnet34', not for '{settings.network}'.")
        self.learning = self.network if self.hints is None else nn.ModuleList([self.network, self.hints])
        self.optimiser = optimiser(self.learning, settings)
        self.samples, self.steps, done = 0, 0, 0.0
        self.done = False
        self.average = checkpoint.MovingAverage(self.network)
        if settings.resume:
            last = settings.out / "last.pt"
            if not last.is_file():
                raise InvalidInput(f"There is no checkpoint {last}. Start without --resume.")
            done = self._restore(checkpoint.load(last))
        # The networks of all processes begin alike; what they are told is disturbed by noise of their own, new after
        # each resume.
        torch.manual_seed(settings.seed + 1000 * (self.team.rank + 1) + self.steps)
        self.clock = Clock(settings.minutes, done)
        self.validation = Validation(settings.val_pictures if self.team.rank == 0 else 0)

    def _restore(self, state: dict[str, Any]) -> float:
        """Take up a checkpoint; gives the minutes already spent."""
        self.network.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.average.steps = state["steps"]
        if self.hints is not None:
            self.hints.load_state_dict(state["hints"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.samples, self.steps = state["samples"], state["steps"]
        return float(state["minutes"])

    def batches(self) -> Iterator[Batch]:
        """The training data, all in memory: composed by worker processes, or on the device where it is a GPU."""
        settings, sprites = self.settings, None
        if settings.sprites is not None:
            from rt_hands.training.sprite_source import open_sprites

            sprites = open_sprites(settings.sprites)
        dense = dense_by_file(settings.labels) if settings.labels is not None else None
        pictures, backgrounds = load_real("train", dense), load_backgrounds()
        if settings.labels is not None:
            pictures += labelled_pictures(settings.labels)
        self.console.print(
            f"{len(pictures)} real pictures, {len(backgrounds)} backgrounds, sprites: {sprites}"
        )
        size, seed = getattr(self.network, "size_px", None), settings.seed + 1000 * self.team.rank
        on_device = settings.compose == "device" or (
            settings.compose == "auto" and self.device.type == "cuda"
        )
        if not on_device:
            half = isinstance(self.network, ResNet34)
            stream = Stream(pictures, backgrounds, sprites, self.clock, settings.mix, seed, size, half)
            return iter(loader(stream, settings.workers))
        if sprites is None:
            raise InvalidInput("Composing on the device needs rendered hands: --sprites FOLDER.")
        size = size or INNER_PX
        banks = sprite_bank(sprites.all(), self.device), picture_bank(pictures, self.device)
        count = max(4, round(settings.mix.batch_px / size**2))
        stack = background_stack(backgrounds, self.device)
        return iter(DeviceStream(*banks, stack, settings.mix, count, size, seed + self.steps))

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a batch and its parts by name."""
        with torch.autocast(self.device.type, torch.bfloat16):
            image = as_input(batch.image)
            if isinstance(self.network, ResNet34):
                features = self.network.features(image)
                points, presence = self.network.regress(features.pooled)
                loss, parts = resnet_loss(points, presence, batch)
                if self.hints is not None:
                    hints = self.hints.loss(image, features)
                    loss, parts["hints"] = loss + HINT_WEIGHT * hints, hints.detach()
                return loss, parts
            if not isinstance(self.network, HandCpm):
                maps, presence = self.network(image)
                return cpm_loss(maps, presence, batch)
            given = given_joints(batch, self.settings.given) if self.settings.given else None
            maps, presence, joints = self.network.forward_with_joints(image, given)
        loss, parts = cpm_loss(maps, presence, batch, self.network.offset_cells)
        parts["joints"] = joint_loss(joints, batch)
        return loss + JOINT_WEIGHT * parts["joints"], parts

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """One step of the optimiser; gives the losses by name."""
        scale = rate(self.clock.progress())
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * scale
        batch = batch.to(self.device)
        loss, parts = self.loss(batch)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.done = self.team.average(self.learning, self.clock.progress() >= 1)
        parts["grad"] = nn.utils.clip_grad_norm_(self.learning.parameters(), 20.0)
        self.optimiser.step()
        self.average.update(self.network)
        self.samples += len(batch.image) * self.team.size
        self.steps += 1
        return parts

    def save(self, losses: dict[str, float]) -> None:
        """Checkpoint, a line of the curve, and overlays of val pictures; the first process does it for all."""
        if self.team.rank > 0:
            return
        state = {"samples": self.samples, "steps": self.steps, "minutes": self.clock.spent()}
        checkpoint.save(
            self.settings.out / "last.pt",
            name=self.settings.network,
            network=self.network.state_dict(),
            average=self.average.network.state_dict(),
            optimiser=self.optimiser.state_dict(),
            hints=self.hints.state_dict() if self.hints is not None else None,
            **state,
        )
        figures: dict[str, float] = {}
        if not isinstance(self.network, ResNet34):
            figures = self.validation.run(Deployed(self.average.network).eval(), self.device)
            self.validation.overlay(self.settings.out / f"val_{self.steps:06d}.png")
        line = {**state, **losses, **figures}
        with (self.settings.out / "curve.jsonl").open("a") as curve:
            curve.write(json.dumps({k: round(v, 5) for k, v in line.items()}) + "\n")
        self.console.print("  ".join(f"{k} {v:.4g}" for k, v in line.items()))

    def run(self) -> None:
        """Train until the clock is up."""
        self.settings.out.mkdir(parents=True, exist_ok=True)
        batches = self.batches()
        if (
            self.settings.init is not None
            and self.settings.init.suffix == ".onnx"
            and not self.settings.resume
        ):
            images = as_input(next(batches).image).to(self.device)
            weights = checkpoint.weights_of_onnx(self.settings.init)
            checkpoint.init_from_folded(self.network, weights, images)
            self.team.share(self.network)  # each unfolds by pictures of its own
            self.average = checkpoint.MovingAverage(self.network)
        self.network.train()
        seen: dict[str, list[float]] = {}
        saved = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console) as bar:
            task = bar.add_task("training", total=1.0)
            while not self.done:
                for key, value in self.step(next(batches)).items():
                    seen.setdefault(key, []).append(float(value.detach()))
                loss = np.mean(next(iter(seen.values()))[-50:])
                bar.update(
                    task,
                    completed=self.clock.progress(),
                    description=f"{self.samples} samples, loss {loss:.4f}",
                )
                if time.monotonic() - saved > 60 * self.settings.save_every_min:
                    self.save({k: float(np.mean(v)) for k, v in seen.items()})
                    seen, saved = {}, time.monotonic()
        self.save({k: float(np.mean(v)) for k, v in seen.items()})


def main(argv: Sequence[str]) -> int:
    """Command line of a training run."""
    settings = tyro.cli(Settings, args=list(argv), description=__doc__)
    Trainer(settings).run()
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
