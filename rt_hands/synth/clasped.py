"""`python -m rt_hands.synth clasped`: the bundled clip of interlocked hands, one moving camera, with its truth.

Three people whom no network was trained on hold their hands clasped, fingers between fingers, in every picture, and the
camera goes round them. `python -m rt_hands.bench hands` counts on it which finder sees both hands.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.progress import track

from rt_hands.camera import Camera
from rt_hands.layout import N_POINTS
from rt_hands.paths import clasped_dir, write_atomically
from rt_hands.synth import choreography, library, look, sample, shards, staging, views
from rt_hands.synth.truth import view_truth

TAKES: Final = ((109, 5), (309, 11), (509, 2))
"""Subject, of the test people, and the seed of the clasp."""
SIZE_PX: Final = (640, 480)
FPS: Final = 30


@dataclass(frozen=True, slots=True)
class Clip:
    """images: T of (h, w, 3) uint8 RGB. points_px: (T, 170, 2). visibility: (T, 170), see `sample`."""

    images: list[NDArray[np.uint8]]
    points_px: NDArray[np.float32]
    visibility: NDArray[np.uint8]


def camera_at(share: float) -> Camera:
    """On its way round the hands, share 0..1: from the person's right to the left, nearer in the middle."""
    turn = np.deg2rad(-45 + 90 * share)
    far = 470 - 70 * np.sin(np.pi * share)
    eye = np.array([far * np.sin(turn), far * np.cos(turn), 90 + 80 * np.cos(2 * np.pi * share)])
    lens = np.array([0.03, -0.06, 0.0004, -0.0003, 0.01])
    return views.looking("cam", eye, np.array([0, 0, 10.0]), np.array([0, 0, 1.0]), SIZE_PX, 560, lens)


def render(frames: int) -> Clip:
    """So many pictures of each take."""
    stage, images = sample.Stage(), []
    points_px, visibility = [], []
    for subject_number, seed in TAKES:
        subject = library.subject(subject_number)
        clasp = choreography.contact_key(0.0, subject, "clasped", seed)
        keys = [clasp, clasp.pulled_apart(frames / FPS, 0)]
        for i in track(range(frames), f"subject {subject_number}"):
            hands = choreography.posed_at(keys, subject, i / FPS)
            points, normals = staging.points_of(hands)
            camera = camera_at(i / max(frames - 1, 1))
            drawn = stage.renderer.draw(stage.meshes(hands), camera, stage.lights, staging.capsules_of(hands))
            truth = view_truth(drawn, camera, points, normals)
            effects = look.Effects(gain=(1.0, 1.0, 1.0), blur_px=0.5, noise=1.2, noise_grain_px=1.5, seed=i)
            images.append(look.apply(drawn.rgba[..., :3], effects))
            points_px.append(camera.project(points))
            visibility.append(truth.visibility)
    return Clip(images, np.array(points_px, np.float32), np.array(visibility, np.uint8))


@dataclass(frozen=True, slots=True)
class Options:
    """Render the bundled clip of interlocked hands."""

    out: Path | None = None
    """Folder; left out: the package's own."""
    frames: int = 40
    """Of each of the three people."""
    crf: int = 23
    """H.264 quality: lower is larger."""


def main(argv: Sequence[str]) -> int:
    """Render and write clasped.mp4, truth.npz and about.json."""
    options = tyro.cli(Options, args=argv, prog="python -m rt_hands.synth clasped")
    out = options.out or clasped_dir()
    clip = render(options.frames)
    assert clip.points_px.shape[1] == N_POINTS
    t_ns = np.round(np.arange(len(clip.images)) * 1e9 / FPS).astype(np.int64)
    write_atomically(out / "clasped.mp4", sample.encode_mp4(clip.images, t_ns, options.crf))
    truth = shards.encode_arrays(points_px=np.round(clip.points_px, 2), visibility=clip.visibility)
    write_atomically(out / "truth.npz", truth)
    about = {
        "title": "Interlocked hands of three people, rendered by rt_hands.synth",
        "licence": "CC0-1.0",
        "frames_a_person": options.frames,
        "truth": "truth.npz: points_px (T, 170, 2), visibility (T, 170) 0 absent 1 outside 2 hidden 3 seen",
    }
    write_atomically(out / "about.json", json.dumps(about, indent=2).encode() + b"\n")
    print(
        f"{len(clip.images)} pictures in '{out}', {sum(p.stat().st_size for p in out.iterdir()) / 1e6:.1f} MB."
    )
    return 0
