"""`python -m rt_hands.synth check`: does the truth lie where the pixels are?

Each surface point is painted as a dot of its own colour into the texture, by the texture's coordinates alone, the
scene is drawn without light or smoothing, and the dots are found again by colour. So barycentric places, posing, lens
model and pixel grid are all checked against the rasteriser, which knows nothing of points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rt_hands.camera import Camera
from rt_hands.layout import N_HAND, N_JOINTS, N_SURFACE
from rt_hands.synth import library, scene, staging
from rt_hands.synth.hand import HandMesh
from rt_hands.synth.render import Mesh, Rendered, renderer
from rt_hands.synth.truth import VISIBLE, view_truth

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

TEXTURE_PX = 3072
DOT_TEXELS = 3  # about 1 mm on the skin
_FLAT_MM = 6.0  # a dot with a larger step in depth round it lies half behind something


@lru_cache(maxsize=2)
def surface_uv(side: int) -> F64:
    """Texture place of each surface point of a hand: (64, 2), (0, 0) at the top left."""
    model = library.hand_model()
    faces, face_uv = model.faces[side], model.face_uv[side]
    of_corners = {frozenset(face): i for i, face in enumerate(faces.tolist())}
    places = np.empty((N_SURFACE, 2))
    for k, (corners, weights) in enumerate(
        zip(model.surface.vertices.tolist(), model.surface.weights, strict=True)
    ):
        face = of_corners[frozenset(corners)]
        columns = [faces[face].tolist().index(c) for c in corners]
        places[k] = weights @ model.uv[face_uv[face, columns]]
    return places * (1, -1) + (0, 1)


@lru_cache(maxsize=2)
def dotted_texture(side: int) -> NDArray[np.uint8]:
    """White, with a disc of colour (index + 1, 128, 0) at each surface point."""
    texture = np.full((TEXTURE_PX, TEXTURE_PX, 3), 255, np.uint8)
    for k, (u, v) in enumerate(surface_uv(side)):
        # OpenCV draws at texel corners' indices; shift 4 keeps sixteenths of a texel.
        centre = np.round((np.array([u, v]) * TEXTURE_PX - 0.5) * 16).astype(int)
        cv2.circle(
            texture, centre.tolist(), DOT_TEXELS * 16, (side * N_SURFACE + k + 1, 128, 0), -1, cv2.LINE_8, 4
        )
    return texture


def _painted(hand: HandMesh) -> Mesh:
    outfit = staging.random_outfit(np.random.default_rng(0))
    return replace(staging.skin_mesh(hand, outfit), texture=dotted_texture(hand.side))


@dataclass(frozen=True, slots=True)
class Found:
    """Dots found in one picture: point (n,) 0..169, offset_px (n, 2) of the dot's middle from the truth."""

    point: NDArray[np.int64]
    offset_px: F64


def compare(seed: int, index: int) -> Found:
    """Draw scene `index` with dots and find them. Only dots that are whole: in sight, in frame, not at an edge."""
    sampled = scene.sample_scene(seed, index)
    camera = sampled.cameras[0].resized(tuple(2 * s for s in sampled.cameras[0].size_px))  # type: ignore[arg-type]
    drawn = renderer(0).draw_flat([_painted(h) for h in sampled.hands], camera)
    points, normals = staging.points_of(sampled.hands)
    truth = view_truth(drawn, camera, points, normals)
    found, offsets = [], []
    for point in np.flatnonzero(truth.visibility == VISIBLE).tolist():
        if point % N_HAND < N_JOINTS or not _faces_camera(camera, points[point], normals[point]):
            continue
        middle = _dot_middle(drawn, point, truth.points_px[point])
        if middle is not None:
            found.append(point)
            offsets.append(middle - truth.points_px[point])
    return Found(np.array(found, np.int64), np.array(offsets, np.float64).reshape(-1, 2))


def _faces_camera(camera: Camera, point_mm: F64, normal: F64) -> bool:
    view = camera.centre_world_mm - point_mm
    return float(view @ normal) > 0.4 * float(np.linalg.norm(view))


def _dot_middle(drawn: Rendered, point: int, near_px: F32) -> F64 | None:
    """Mean place of the pixels with this point's colour; None where the dot is not whole."""
    code = point // N_HAND * N_SURFACE + point % N_HAND - N_JOINTS + 1
    x, y = np.round(near_px).astype(int)
    reach = 14
    if min(x, y) < reach or x >= drawn.rgba.shape[1] - reach or y >= drawn.rgba.shape[0] - reach:
        return None
    window = (slice(y - reach, y + reach + 1), slice(x - reach, x + reach + 1))
    rows, columns = np.nonzero((drawn.rgba[window][..., :3] == (code, 128, 0)).all(-1))
    if len(rows) < 4:
        return None
    depth = drawn.depth_mm[window][rows.min() - 1 : rows.max() + 2, columns.min() - 1 : columns.max() + 2]
    if depth.size == 0 or not np.isfinite(depth).all() or np.ptp(depth) > _FLAT_MM:
        return None
    return np.array([x - reach + columns.mean(), y - reach + rows.mean()])


@dataclass(frozen=True, slots=True)
class Options:
    """Draw each surface point as a dot, find it by colour, and compare with the projected truth."""

    scenes: int = 200
    """How many to compare."""
    seed: int = 0
    """Of the scenes."""


def main(argv: Sequence[str]) -> int:
    """Parse the options and print the offsets."""
    options = tyro.cli(Options, args=argv, prog="python -m rt_hands.synth check")
    found = [compare(options.seed, i) for i in track(range(options.scenes), "Scenes")]
    offset = np.concatenate([np.linalg.norm(f.offset_px, axis=1) for f in found])
    bias = np.concatenate([f.offset_px for f in found]).mean(0)
    table = Table(
        "scenes", "dots", "mean px", "p95 px", "max px", "mean dx, dy", title="Truth against pixels"
    )
    numbers = (offset.mean(), np.percentile(offset, 95), offset.max())
    table.add_row(
        str(options.scenes),
        str(len(offset)),
        *(f"{v:.3f}" for v in numbers),
        f"{bias[0]:+.3f}, {bias[1]:+.3f}",
    )
    Console().print(table)
    return 0
