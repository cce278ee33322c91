"""Two hands of one person and how they meet: apart, crossing, one before the other, praying, clasped, pointing ...

A pair stands in its own frame, mm: origin between the hands, y up along raised fingers, z towards a viewer whom the
person faces, so that the right hand of hands held apart is at -x. A left hand's frame is the mirror image of a right's
(see `skeleton`), its transform still rigid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput
from rt_hands.layout import TIP_JOINTS
from rt_hands.synth import poses, skeleton
from rt_hands.synth.arm_model import BONES
from rt_hands.synth.collision import (
    FOREARM_RADII_MM,
    RADII_MM,
    REFERENCE_LENGTH_MM,
    capsules,
    forearm,
    mutual_depth,
    own_depth,
)
from rt_hands.synth.gestures import GESTURE_NAMES, GESTURES
from rt_hands.synth.hand import LEFT, RIGHT, Subject
from rt_hands.synth.subjects import Split

F32 = NDArray[np.float32]
Floats = NDArray[np.floating]
Kind = Literal[
    "apart",
    "side_by_side",
    "crossing",
    "in_front",
    "praying",
    "steeple",
    "clasped",
    "fist_in_palm",
    "stacked",
    "pointing",
]

_CANDIDATES: Final = 24
CONTACT_SOFT: Final = 0.93  # touching hands dent each other less than a fist's own fingers do
_FLIP: Final = np.array([-1.0, 1.0, 1.0], np.float32)


@dataclasses.dataclass(frozen=True)
class TwoHands:
    """A pair: angles (27,) and world_from_hand (4, 4) of right and left; depth_mm they overlap by (< 0: clear)."""

    kind: Kind
    angles: tuple[F32, F32]
    world_from_hand: tuple[F32, F32]
    depth_mm: float


@dataclasses.dataclass
class _Candidates:
    """N ways to hold two hands: angles (2, N, 27), turn (2, N, 3, 3), place (2, N, 3) mm.

    `approach` (N, 3): the direction in which the right hand nears the left until they touch; None: they do not.
    """

    angles: F32
    turn: F32
    place: F32
    approach: F32 | None = None


def _turn(x_deg: Floats, y_deg: Floats, z_deg: Floats) -> F32:
    """Rz(z) Ry(y) Rx(x), degrees (N,) each: (N, 3, 3)."""
    x, y, z = (np.radians(np.asarray(a, np.float32)) for a in (x_deg, y_deg, z_deg))
    return skeleton.rot(2, z) @ skeleton.rot(1, y) @ skeleton.rot(0, x)


def _shaped(rng: np.random.Generator, n: int, *names: str) -> F32:
    """Poses (n, 27) scattered round named hand shapes."""
    bank = GESTURES[[GESTURE_NAMES.index(name) for name in names]]
    return poses.propose(rng, n, bank, free=0.0)


def _normal(rng: np.random.Generator, n: int, sd: float, mean: float = 0.0) -> F32:
    return rng.normal(mean, sd, n).astype(np.float32)


def _uniform(rng: np.random.Generator, n: int, low: float, high: float) -> F32:
    return rng.uniform(low, high, n).astype(np.float32)


def _places(x: Floats, y: Floats, z: Floats) -> F32:
    return np.stack([x, y, z], axis=-1).astype(np.float32)


# --- ways of holding two hands: each makes N candidates ------------------------------------------------------


def _loose(
    rng: np.random.Generator, n: int, split: Split, apart_mm: tuple[float, float], depth_mm: float
) -> _Candidates:
    """Two hands that do what they like, the right at -x."""
    angles = poses.sample(rng, 2 * n, split).reshape(2, n, -1)
    turn = np.stack(
        [_turn(_normal(rng, n, 25), _normal(rng, n, 40), _normal(rng, n, 25, way * 12)) for way in (-1, 1)]
    )
    half = _uniform(rng, n, *apart_mm) / 2
    if rng.random() < 0.4:
        turn = turn @ skeleton.rot(1, np.array(np.pi, np.float32))  # backs of the hands to the viewer,
        half *= rng.choice((-1, 1))  # as one sees another's or one's own
    lift, near = _normal(rng, n, 25), _normal(rng, n, depth_mm)
    place = np.stack([_places(-half, lift, near), _places(half, -lift, -near)])
    return _Candidates(angles, turn, place)


def _apart(rng: np.random.Generator, n: int, split: Split) -> _Candidates:
    return _loose(rng, n, split, (150, 360), 40)


def _side_by_side(rng: np.random.Generator, n: int, split: Split) -> _Candidates:
    return _loose(rng, n, split, (85, 130), 10)


def _crossing(rng: np.random.Generator, n: int, split: Split) -> _Candidates:
    """Wrists or fingers crossed, one before the other."""
    pair = _loose(rng, n, split, (-90, 10), 5)
    pair.turn = np.stack(
        [_turn(_normal(rng, n, 15), _normal(rng, n, 25), _normal(rng, n, 15, way * -35)) for way in (-1, 1)]
    )
    if rng.random() < 0.4:
        pair.turn = pair.turn @ skeleton.rot(1, np.array(np.pi, np.float32))
    near = _uniform(rng, n, 32, 60) * rng.choice((-1, 1))
    pair.place[:, :, 2] = np.stack([near / 2, -near / 2])
    return pair


def _in_front(rng: np.random.Generator, n: int, split: Split) -> _Candidates:
    """One hand before the other as the viewer sees it, a hand's breadth or more apart."""
    pair = _loose(rng, n, split, (-40, 60), 5)
    near = _uniform(rng, n, 60, 140) * rng.choice((-1, 1))
    pair.place[:, :, 2] = np.stack([near / 2, -near / 2])
    return pair


def _facing(rng: np.random.Generator, n: int, tilt_deg: F32) -> tuple[F32, F32, F32]:
    """Turns of right and left, palms together, fingers tilted towards each other; and the way the right nears."""
    right = _turn(tilt_deg, np.zeros(n), np.zeros(n))
    left = _turn(tilt_deg + _normal(rng, n, 4), _normal(rng, n, 4), _normal(rng, n, 5))
    half = skeleton.rot(1, np.array(np.pi, np.float32))
    # The right palm looks to +z here, the left one back at it; then both are turned so that palms look sideways.
    sideways = _turn(np.zeros(n), _normal(rng, n, 12, 90), _normal(rng, n, 6))
    return sideways @ right, sideways @ half @ left, sideways[:, :, 2]


def _praying(rng: np.random.Generator, n: int, split: Split) -> _Candidates:
    both = np.stack([_shaped(rng, n, "flat"), _shaped(rng, n, "flat")])
    both[:, :, poses.ABD] += np.radians(rng.uniform(0, 1.2) * np.array([9, 1, -6, -14]))
    both[:, :, skeleton.DOF["wrist_flexion"]] = np.radians(rng.uniform(-60, -12, (2, n)))  # elbows out
    both = both.astype(np.float32)
    right, left, approach = _facing(rng, n, _normal(rng, n, 3))
    place = np.stack([-90 * approach, 90 * approach])
    place[0] += _places(_normal(rng, n, 4), _normal(rng, n, 6), _normal(rng, n, 4))
    return _Candidates(both, np.stack([right, left]), place, approach)


def _steeple(rng: np.random.Generator, n: int, split: Split) -> _Candidates:
    pair = _praying(rng, n, split)
    pair.angles = np.stack([_shaped(rng, n, "five_wide", "open", "grip_ball") for _ in range(2)])
    right, left, approach = _facing(rng, n, _uniform(rng, n, 18, 38))
    return _Candidates(
        pair.angles, np.stack([right, left]), np.stack([-120 * approach, 120 * approach]), approach
    )


def _clasped(rng: np.random.Generator, n: int, split: Split) -> _Candidates:
    """Fingers interlaced: they cross just beyond the webs and fold down on the other hand's back."""
    tilt, crossing = _uniform(rng, n, 30, 55), _uniform(rng, n, 50, 68)
    angles = np.stack([_shaped(rng, n, "relaxed", "flat", "half_open") for _ in range(2)])
    bends = (crossing - tilt, 180 - tilt - crossing - _uniform(rng, n, 2, 22), _uniform(rng, n, 2, 24))
    for columns, bend in zip((poses.MCP, poses.PIP, poses.DIP), bends, strict=True):
        angles[:, :, columns] = np.radians(bend[None, :, None] + rng.normal(0, 2.5, (2, n, 4)))
    angles[:, :, poses.ABD] = np.radians(np.array([13, 3, -8, -20]) + rng.normal(0, 1.0, (2, n, 4)))
    right, left, approach = _facing(rng, n, tilt)
    # Both knuckle rows about 27 mm from where the fingers cross; the hands half a finger's pitch apart along them.
    apart = _uniform(rng, n, 24, 31)[:, None] * np.sin(np.radians(crossing))[:, None] * approach
    across = _uniform(rng, n, 9, 13)[:, None] * right[:, :, 0] * rng.choice((-0.5, 0.5))
    knuckles = np.array([0.0, 92.0, 0.0], np.float32)
    place = np.stack([-apart - across - right @ knuckles, apart + across - left @ knuckles])
    return _Candidates(angles, np.stack([right, left]), place)


def _towards_palm(rng: np.random.Generator, n: int, side: float) -> tuple[F32, F32, F32]:
    """A left hand before the viewer and the middle of its palm (side +1) or back (-1): turn, target, normal there."""
    left = _turn(_normal(rng, n, 15), _normal(rng, n, 20, 60), _normal(rng, n, 25, 20))
    target = _places(_normal(rng, n, 6), _normal(rng, n, 12, 62), np.full(n, 12.0 * side))
    target = np.einsum("nij,nj->ni", left, target * _FLIP)
    return left, target, left[:, :, 2] * side


def _fist_in_palm(rng: np.random.Generator, n: int, split: Split) -> _Candidates:
    left, target, normal = _towards_palm(rng, n, 1.0)
    angles = np.stack(
        [_shaped(rng, n, "fist", "fist_tucked", "asl_a"), _shaped(rng, n, "relaxed", "flat", "half_open")]
    )
    # Knuckles into the palm: the right hand's y runs against the left palm's normal.
    right = _looking(-normal, _uniform(rng, n, -60, 60))
    place = np.stack([target + 150 * normal - 95 * right[:, :, 1], np.zeros((n, 3))])
    return _Candidates(angles, np.stack([right, left]), place, -normal)


def _stacked(rng: np.random.Generator, n: int, split: Split) -> _Candidates:
    """The right palm on the left hand's back."""
    left, target, normal = _towards_palm(rng, n, -1.0)
    names = ("flat", "relaxed", "open")
    angles = np.stack([_shaped(rng, n, *names), _shaped(rng, n, "flat", "fist", "relaxed")])
    # The right palm looks against the left back's normal; fingers at any angle across.
    around = skeleton.rot(2, np.radians(_uniform(rng, n, -100, 60)))
    right = (
        _looking(-normal, _normal(rng, n, 10)) @ skeleton.rot(0, np.full(n, -np.pi / 2, np.float32)) @ around
    )
    centre = np.einsum("nij,j->ni", right, np.array([0, 62, 0], np.float32))
    return _Candidates(
        angles, np.stack([right, left]), np.stack([target + 150 * normal - centre, np.zeros((n, 3))]), -normal
    )


def _pointing(rng: np.random.Generator, n: int, split: Split) -> _Candidates:
    """A finger of the right hand touches the left palm, back or fingers."""
    left, target, normal = _towards_palm(rng, n, float(rng.choice((-1.0, 1.0))))
    target = target + _normal(rng, n, 45)[:, None] * left[:, :, 1]
    angles = np.stack(
        [
            _shaped(rng, n, "point", "pinch", "asl_l", "gun"),
            _shaped(rng, n, "open", "flat", "relaxed", "fist"),
        ]
    )
    lean = normal + 0.5 * rng.standard_normal((n, 3))
    right = _looking(-(lean / np.linalg.norm(lean, axis=1, keepdims=True)), _uniform(rng, n, -180, 180))
    tip = np.einsum("nij,j->ni", right, np.array([30, 170, 0], np.float32))
    return _Candidates(
        angles, np.stack([right, left]), np.stack([target + 90 * normal - tip, np.zeros((n, 3))]), -normal
    )


def _looking(y: F32, roll_deg: F32) -> F32:
    """Turns (N, 3, 3) whose y runs along `y` (N, 3), rolled about it."""
    up = np.where(np.abs(y[:, 1:2]) > 0.9, np.array([[1.0, 0, 0]]), np.array([[0, 1.0, 0]]))
    x = np.cross(y, up)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return np.stack([x, y, np.cross(x, y)], axis=2).astype(np.float32) @ skeleton.rot(1, np.radians(roll_deg))


_WAYS: Final[dict[str, Callable[[np.random.Generator, int, Split], _Candidates]]] = {
    "apart": _apart,
    "side_by_side": _side_by_side,
    "crossing": _crossing,
    "in_front": _in_front,
    "praying": _praying,
    "steeple": _steeple,
    "clasped": _clasped,
    "fist_in_palm": _fist_in_palm,
    "stacked": _stacked,
    "pointing": _pointing,
}
KINDS: Final = tuple(_WAYS)
_ODDS: Final = (0.12, 0.14, 0.16, 0.12, 0.09, 0.07, 0.12, 0.06, 0.06, 0.06)


# --- choosing among candidates -------------------------------------------------------------------------------


def _hand_capsules(subject: Subject, angles: F32) -> tuple[F32, F32, NDArray[np.bool_]]:
    """Capsule ends (N, 21, 3) twice in the hand frame, forearm last, and whether a hand is clear of itself (N,)."""
    turns, centres = skeleton.forward(subject.skeleton, angles)
    last = skeleton.DIGIT_BONES[:, 2]
    local = subject.coefficients.reshape(len(BONES), 4, -1)[last][:, :3, TIP_JOINTS]
    tips = centres[:, last] + np.einsum(
        "ndij,dj->ndi", turns[:, last], np.stack([local[d, :, d] for d in range(5)])
    )
    scale = np.full(1, subject.length_mm / REFERENCE_LENGTH_MM, np.float32)
    start, end = capsules(turns, centres, tips, scale)
    clear = own_depth(start, end, subject.length_mm / REFERENCE_LENGTH_MM) < 0.0
    arm_start, arm_end = forearm(centres[:, 0], centres[:, 0] + turns[:, 0] @ subject.vertices_mm[-1])
    return np.concatenate([start, arm_start], axis=1), np.concatenate([end, arm_end], axis=1), clear


def _in_world(ends: F32, side: int, pair: _Candidates) -> F32:
    flipped = ends * _FLIP if side == LEFT else ends
    return flipped @ pair.turn[side].swapaxes(-1, -2) + pair.place[side][:, None]


def _bring_together(pair: _Candidates, right: tuple[F32, F32], left: tuple[F32, F32], radii: F32) -> F32:
    """Move right hands along `approach` until they touch the left, from where they start. Returns the way gone (N,)."""
    assert pair.approach is not None
    gone = np.zeros(len(right[0]), np.float32)
    for _ in range(14):
        # The gap is the farthest a hand may go without touching, whatever the direction.
        shift = gone[:, None, None] * pair.approach[:, None]
        depth = mutual_depth((right[0] + shift, right[1] + shift), left, radii, CONTACT_SOFT)
        gone += np.clip(-depth, -4.0, 60.0)
    return gone


def sample_pair(
    rng: np.random.Generator, subject: Subject, split: Split, kind: Kind | None = None
) -> TwoHands:
    """Two hands of a person, of a kind or of any; a pure function of the rng's state.

    Poses of hands that hold a contact come from its own shapes in every split; the others keep to the split's cells.
    """
    chosen = kind if kind is not None else str(rng.choice(KINDS, p=_ODDS))
    if chosen not in _WAYS:
        raise InvalidInput(f"No way of holding two hands is called '{chosen}'. Known: {', '.join(KINDS)}.")
    pair = _WAYS[chosen](rng, _CANDIDATES, split)
    scale = np.float32(subject.length_mm / REFERENCE_LENGTH_MM)
    radii = np.tile(np.append(RADII_MM, FOREARM_RADII_MM), (2, 1)) * scale
    ends, clear = [], np.ones(_CANDIDATES, bool)
    pair.place = (pair.place * scale).astype(np.float32)
    for side in (RIGHT, LEFT):
        start, end, own_clear = _hand_capsules(subject, pair.angles[side])
        ends.append((_in_world(start, side, pair), _in_world(end, side, pair)))
        clear &= own_clear
    if pair.approach is not None:
        way = _bring_together(pair, ends[0], ends[1], radii)[:, None] * pair.approach
        pair.place[RIGHT] += way
        ends[0] = (ends[0][0] + way[:, None], ends[0][1] + way[:, None])
    depth = mutual_depth(ends[0], ends[1], radii, CONTACT_SOFT)
    # Clear of itself first, then the least overlap; among clear ones the first, so that the draw stays unbiased.
    missed = (pair.approach is not None) & (depth < -3.0)
    best = int(np.argmin(np.where(clear, 0.0, 1e3) + np.where(missed, 1e2, 0.0) + np.maximum(depth, 0.5)))
    return _centred(rng, chosen, pair, best, float(depth[best]))  # type: ignore[arg-type]


def _centred(rng: np.random.Generator, kind: Kind, pair: _Candidates, best: int, depth_mm: float) -> TwoHands:
    """The chosen pair about its middle; by an even chance as in a mirror, so that either hand leads."""
    knuckles = np.array([0.0, 85.0, 0.0], np.float32)
    turn, place, angles = pair.turn[:, best], pair.place[:, best], pair.angles[:, best]
    place = place - np.mean(place + turn @ knuckles, axis=0)
    if rng.random() < 0.5:
        turn, place, angles = turn[::-1] * np.outer(_FLIP, _FLIP), place[::-1] * _FLIP, angles[::-1]
    world = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    world[:, :3, :3], world[:, :3, 3] = turn, place
    return TwoHands(kind, (angles[0], angles[1]), (world[0], world[1]), depth_mm)
