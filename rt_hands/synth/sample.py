"""`python -m rt_hands.synth sample`: the bundled four-camera session, with its truth.

What `python -m rt_hands.live` shows on a machine without a camera: two hands that gesture, come together and part.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import tyro
from numpy.typing import NDArray
from rich import print
from rich.progress import track

from rt_hands.camera import Rig
from rt_hands.layout import N_POINTS
from rt_hands.paths import sample_dir, write_atomically
from rt_hands.synth import choreography, library, look, props, room, shards, skins, staging, views
from rt_hands.synth.hand import HandMesh, Subject
from rt_hands.synth.render import Mesh, Renderer
from rt_hands.synth.truth import view_truth

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

SUBJECT = 12
SIZE_PX = (640, 480)
FPS = 30
FIRST_NS = 1_000_000_000  # the session's clock starts at one second
_CUFF_MM = 26.0


def cameras(size_px: tuple[int, int] = SIZE_PX) -> Rig:
    """Four cameras as a small lab has them: one before the hands, two to the sides, one above."""
    places = {
        "cam_front": ((20, 640, 110), (0, 0, 15), 560, (0.03, -0.06, 0.0004, -0.0003, 0.01)),
        "cam_left": ((-470, 430, 190), (0, 0, 5), 575, (-0.05, 0.03, -0.0005, 0.0002, 0.0)),
        "cam_right": ((480, 420, 60), (0, 0, 15), 570, (0.05, -0.11, 0.0002, 0.0006, 0.02)),
        "cam_top": ((60, 330, 560), (0, -10, 10), 590, (-0.08, 0.06, 0.0003, 0.0002, -0.01)),
    }
    scale = size_px[0] / 640
    return Rig(
        tuple(
            views.looking(
                name,
                np.array(eye, float),
                np.array(at, float),
                np.array([0, 0, 1.0]),
                size_px,
                f * scale,
                np.array(d),
            )
            for name, (eye, at, f, d) in places.items()
        )
    )


def keys(subject: Subject) -> list[choreography.Key]:
    """The choreography: wave, fist, count, palms together, fingers interlaced, part."""
    pray = choreography.contact_key(0.0, subject, "praying", 1)
    clasp = choreography.contact_key(0.0, subject, "clasped", 0)
    return [
        choreography.apart_key(0.0, ("open", "open"), 330, 10, 25),
        choreography.apart_key(0.5, ("fist", "relaxed"), 320, 15, 15),
        choreography.apart_key(0.95, ("five_wide", "fist"), 320, 5, 20),
        pray.pulled_apart(1.35, 130),
        pray.pulled_apart(1.7, 0),
        pray.pulled_apart(1.85, 0),
        pray.pulled_apart(2.15, 120),
        clasp.pulled_apart(2.55, 120),
        clasp.pulled_apart(2.95, 0),
        clasp.pulled_apart(3.1, 0),
        clasp.pulled_apart(3.45, 130),
        choreography.apart_key(4.0, ("open", "five_wide"), 330, 10, 20),
    ]


class Stage:
    """What stays the same in every frame: renderer, room, clothes."""

    def __init__(self) -> None:
        self.renderer = Renderer(shadow_px=2048)
        rng = np.random.default_rng(11)
        self.cloth = props.cloth_of((58, 84, 104), rng, 576)
        self.room = [*room.furniture(), room.torso(self.cloth)]
        self.lights = room.lights()
        name = skins.names()[-2]
        self.outfit = staging.Outfit(skins.load(name), (1.0, 0.97, 0.93), 0.5, 0.03, None, None, None, 0)

    def meshes(self, hands: Sequence[HandMesh]) -> list[Mesh]:
        """Everything in the room with the hands as they are now."""
        moving = []
        for hand in hands:
            shoulder = room.SHOULDERS_MM[hand.side]
            sleeve = props.long_sleeve(staging.arm_of(hand), _CUFF_MM, shoulder, self.cloth)
            moving += [staging.skin_mesh(hand, self.outfit), sleeve]
        return moving + self.room


@dataclass(frozen=True, slots=True)
class Take:
    """A rendered session: images (T, V, h, w, 3) uint8 RGB, points_world_mm (T, 170, 3), visibility (T, V, 170)."""

    images: list[list[U8]]
    points_world_mm: F64
    visibility: U8
    t_ns: NDArray[np.int64]


def render_take(rig: Rig, n_frames: int) -> Take:
    """Render the choreography at FPS from all cameras at once."""
    subject, stage = library.subject(SUBJECT), Stage()
    steps = keys(subject)
    t_ns = FIRST_NS + np.round(np.arange(n_frames) * 1e9 / FPS).astype(np.int64)
    points = np.full((n_frames, N_POINTS, 3), np.nan)
    visibility = np.zeros((n_frames, len(rig), N_POINTS), np.uint8)
    images: list[list[U8]] = []
    for i in track(range(n_frames), "Frames"):
        hands = choreography.posed_at(steps, subject, (t_ns[i] - FIRST_NS) / 1e9)
        points[i], normals = staging.points_of(hands)
        meshes, capsules = stage.meshes(hands), staging.capsules_of(hands)
        images.append([])
        for v, camera in enumerate(rig):
            drawn = stage.renderer.draw(meshes, camera, stage.lights, capsules)
            visibility[i, v] = view_truth(drawn, camera, points[i], normals).visibility
            effects = look.Effects(
                gain=_GAINS[v % len(_GAINS)], blur_px=0.5, noise=1.2, noise_grain_px=1.5, seed=i
            )
            images[-1].append(look.apply(drawn.rgba[..., :3], effects))
    return Take(images, points, visibility, t_ns)


_GAINS = (
    (1.0, 1.0, 1.0),
    (1.03, 1.0, 0.97),
    (0.97, 1.0, 1.02),
    (1.0, 0.99, 0.97),
)  # no two cameras agree on white


def encode_mp4(images: Sequence[U8], t_ns: NDArray[np.int64], crf: int) -> bytes:
    """An H.264 MP4 whose stamps are the true ones, counted from the first frame in units of 1/90000 s."""
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=FPS, options={"crf": str(crf), "preset": "slow"})
        video.height, video.width = images[0].shape[:2]
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, 90000)
        for image, t in zip(images, t_ns, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = round((t - t_ns[0]) * 90000 / 1e9)
            frame.time_base = Fraction(1, 90000)
            container.mux(video.encode(frame))
        container.mux(video.encode())
    return stream.getvalue()


def write_session(out: Path, rig: Rig, take: Take, crf: int) -> int:
    """Write MP4s, frames.csv, session.json, rig.toml and truth.npz; returns the bytes written."""
    for v, camera in enumerate(rig):
        images = [row[v] for row in take.images]
        write_atomically(out / f"{camera.id}.mp4", encode_mp4(images, take.t_ns, crf))
    table = io.StringIO()
    lines = csv.writer(table, lineterminator="\n")
    lines.writerow(["camera", "index", "t_ns"])
    lines.writerows((c.id, i, int(t)) for c in rig for i, t in enumerate(take.t_ns))
    write_atomically(out / "frames.csv", table.getvalue().encode())
    write_atomically(out / "session.json", json.dumps(_about(rig, take), indent=2).encode())
    rig.save(out / "rig.toml")
    truth = shards.encode_arrays(
        points_world_mm=np.round(take.points_world_mm, 2).astype(np.float32),
        visibility=take.visibility,
        t_ns=take.t_ns,
    )
    write_atomically(out / "truth.npz", truth)
    return sum(p.stat().st_size for p in out.iterdir())


def _about(rig: Rig, take: Take) -> dict[str, object]:
    return {
        "schema_version": 1,
        "title": "Two hands, four cameras, rendered by rt_hands.synth",
        "licence": "CC0-1.0",
        "cameras": {c.id: {"size_px": list(c.size_px), "fps": FPS, "frames": len(take.t_ns)} for c in rig},
        "clock": "perf_counter_ns of a made-up clock; all cameras grab at the same moment",
        "truth": "truth.npz: points_world_mm (T, 170, 3), t_ns (T,), "
        "visibility (T, V, 170) with 0 absent, 1 outside, 2 hidden, 3 seen",
    }


@dataclass(frozen=True, slots=True)
class Options:
    """Render the bundled session: four cameras, two hands, four seconds."""

    out: Path | None = None
    """Folder; left out: the package's own."""
    frames: int = 120
    """Pictures of each camera, 30 a second."""
    crf: int = 23
    """H.264 quality: lower is larger."""


def main(argv: Sequence[str]) -> int:
    """Parse the options, render and write."""
    options = tyro.cli(Options, args=argv, prog="python -m rt_hands.synth sample")
    out = options.out or sample_dir()
    rig = cameras()
    size = write_session(out, rig, render_take(rig, options.frames), options.crf)
    print(f"{options.frames} frames x {len(rig)} cameras in '{out}', {size / 1e6:.1f} MB.")
    return 0
