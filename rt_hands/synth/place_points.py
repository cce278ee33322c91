"""Makes `surface_points.csv`: casts the rays that place the 64 surface points and 5 fingertips. See `surface_table`."""

from __future__ import annotations

import csv
import io
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.layout import FINGERS, GRID_COLUMNS, GRID_ROWS, SURFACE_NAMES
from rt_hands.paths import write_atomically
from rt_hands.synth import arm_model, hand, skeleton
from rt_hands.synth.surface_table import TABLE, TIP_NAMES

# Along the phalanx: a finger's proximal one is sunk in the web for its first half.
RING_AT: Final = {"proximal": 0.62, "middle": 0.5, "distal": 0.45}
THUMB_RING_AT: Final = {"proximal": 0.5, "distal": 0.45}
ROWS_AT: Final = (0.20, 0.44, 0.68, 0.92)  # wrist 0, knuckles 1
PULP_LEAN_DEG: Final = 25.0  # the end of the pulp lies this far palmwards of the bone's end

Hit = tuple[NDArray[np.int64], NDArray[np.float64]]


class _Mesh:
    """The average adult's right hand, straight fingers, with what the rays need."""

    def __init__(self) -> None:
        template = arm_model.template()
        vertices, heads = arm_model.rest_shapes([arm_model.Shape()])
        vertices, heads = vertices[0] * (-1.0, 1.0, 1.0), heads[0] * (-1.0, 1.0, 1.0)
        centres = skeleton.knuckle_centres(heads)
        axes, origin = skeleton.hand_axes(centres), centres[1]
        vertices, centres = (vertices - origin) @ axes.T, (centres - origin) @ axes.T
        self.ids = template.makehuman_ids
        self.faces = template.faces
        self.weights = hand.knuckle_weights(template.weights, vertices, centres)
        tips = np.stack(
            [hand.rough_end(vertices, self.weights, centres, bones) for bones in skeleton.DIGIT_BONES]
        )
        self.skeleton = skeleton.build(centres, tips)
        angles = np.zeros(skeleton.N_DOFS, np.float32)
        for finger in FINGERS[1:]:
            place = skeleton.DOF[f"{finger}_mcp_abduction"]
            angles[place] = self.skeleton.rest_angles[place]
        for name in ("thumb_mcp_flexion", "thumb_ip_flexion"):
            angles[skeleton.DOF[name]] = self.skeleton.rest_angles[skeleton.DOF[name]]
        transforms = hand.bone_transforms(self.skeleton, angles).astype(np.float64)
        self.vertices = hand.skin(vertices, self.weights, transforms)
        self.turns, self.centres = (
            a[0].astype(np.float64) for a in skeleton.forward(self.skeleton, angles[None])
        )
        self.tips = np.stack(
            [
                transforms[b[2], :, :3] @ t + transforms[b[2], :, 3]
                for b, t in zip(skeleton.DIGIT_BONES, tips, strict=True)
            ]
        )

    def leave(
        self, origin: NDArray[np.float64], direction: NDArray[np.float64], faces: NDArray[np.bool_]
    ) -> Hit:
        """Where a ray from inside first leaves these faces: vertices (3,), weights (3,)."""
        place = np.flatnonzero(faces)
        a, b, c = self.vertices[self.faces[place]].transpose(1, 0, 2)
        edge_1, edge_2 = b - a, c - a
        p = np.cross(direction, edge_2)
        det = np.einsum("fi,fi->f", edge_1, p)
        det = np.where(np.abs(det) < 1e-12, np.nan, det)
        u = np.einsum("fi,fi->f", origin - a, p) / det
        q = np.cross(origin - a, edge_1)
        v = q @ direction / det
        distance = np.einsum("fi,fi->f", edge_2, q) / det
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0)
        if not hit.any():
            raise ValueError("A ray leaves the hand nowhere; the construction does not fit this mesh.")
        best = np.flatnonzero(hit)[np.argmin(distance[hit])]
        return self.faces[place[best]].astype(np.int64), np.array([1 - u[best] - v[best], u[best], v[best]])

    def faces_of(self, bones: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Faces whose skin follows these bones mostly."""
        return self.weights[:, bones].sum(1)[self.faces].mean(1) > 0.4


def _ring(mesh: _Mesh, digit: int, k: int, share: float) -> list[Hit]:
    """Four points round a phalanx: dorsal, radial, palmar, ulnar."""
    bones = skeleton.DIGIT_BONES[digit]
    end = mesh.tips[digit] if k == 2 else mesh.centres[bones[k + 1]]
    origin = mesh.centres[bones[k]] + share * (end - mesh.centres[bones[k]])
    x, _, z = mesh.turns[bones[k]].T
    faces = mesh.faces_of(bones)
    return [mesh.leave(origin, way, faces) for way in (-z, x, z, -x)]


def _grid(mesh: _Mesh, towards: float) -> list[Hit]:
    """4 x 3 points on the palm (towards +1) or the back (-1)."""
    knuckles = mesh.centres[skeleton.DIGIT_BONES[1:, 0]]
    # Columns run from the two thirds of the wrist's width to the index, the middle-ring gap and the pinky.
    ends = np.stack([knuckles[0], (knuckles[1] + knuckles[2]) / 2, knuckles[3]])
    starts = ends * (0.45, 0.0, 0.0)
    faces = np.ones(len(mesh.faces), bool)
    out = []
    for row in range(GRID_ROWS):
        for column in range(GRID_COLUMNS):
            origin = starts[column] + ROWS_AT[row] * (ends[column] - starts[column])
            out.append(mesh.leave(origin, np.array([0.0, 0.0, towards]), faces))
    return out


def _pulp(mesh: _Mesh, digit: int) -> Hit:
    bones = skeleton.DIGIT_BONES[digit]
    _, y, z = mesh.turns[bones[2]].T
    origin = mesh.centres[bones[2]] + 0.6 * (mesh.tips[digit] - mesh.centres[bones[2]])
    lean = np.radians(PULP_LEAN_DEG)
    return mesh.leave(origin, np.cos(lean) * y + np.sin(lean) * z, mesh.faces_of(bones))


def build() -> dict[str, Hit]:
    """All 69 places by name, on the vertices of the arm's mesh."""
    mesh = _Mesh()
    hits: list[Hit] = []
    for digit in range(5):
        rings = (1, "proximal"), (2, "distal")
        for k, ring in rings if digit == 0 else ((0, "proximal"), (1, "middle")):
            hits += _ring(mesh, digit, k, (THUMB_RING_AT if digit == 0 else RING_AT)[ring])
    hits += _grid(mesh, -1.0) + _grid(mesh, 1.0)
    hits += [_pulp(mesh, digit) for digit in range(5)]
    return dict(zip((*SURFACE_NAMES, *TIP_NAMES), hits, strict=True))


def main() -> None:
    """Write the table beside this file."""
    ids = arm_model.template().makehuman_ids
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["name", *(f"vertex_{k}" for k in range(3)), *(f"weight_{k}" for k in range(3))])
    for name, (vertices, weights) in build().items():
        writer.writerow([name, *ids[vertices], *(f"{w:.4f}" for w in weights)])
    write_atomically(TABLE, text.getvalue().encode())
    print(f"Wrote {len(build())} places to {TABLE.name}.")


if __name__ == "__main__":
    main()
