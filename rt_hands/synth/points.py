"""3D-only samples: 21 joints and 64 surface points of right hands, no pictures. What RTC is trained on.

`PointSampler(split, seed).batch(index, n)` is a pure function of its arguments, so any machine can make any part.
`python -m rt_hands.synth.points` measures its speed.
"""

from __future__ import annotations

import dataclasses
import time
from functools import cache
from multiprocessing import get_context
from typing import Final

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from rt_hands.errors import InvalidInput
from rt_hands.layout import JOINT_BONES, N_JOINTS, N_SURFACE, TIP_JOINTS
from rt_hands.synth import poses, skeleton, subjects, visibility
from rt_hands.synth.collision import FOREARM_RADII_MM, RADII_MM, REFERENCE_LENGTH_MM, capsules, forearm
from rt_hands.synth.library import library

F32 = NDArray[np.float32]
_POSES_PER_SUBJECT: Final = 16  # samples of one person share their matrix product
_CHUNK: Final = 512  # hands whose bones fit the cache
_VISIBILITY_CHUNK: Final = 32  # hands whose rays do
MIDDLE_KNUCKLE: Final = int(skeleton.DIGIT_BONES[2, 0])


@dataclasses.dataclass(frozen=True, slots=True)
class PointBatch:
    """Right hands, mm: joints_mm (n, 21, 3), surface_mm (n, 64, 3), visible (n, 64) 0 or 1, all float32.

    subject (n,) int: person of `subjects`; angles (n, 27) float32: the pose. `visible` is all 1 when not asked for.
    """

    joints_mm: F32
    surface_mm: F32
    visible: F32
    subject: NDArray[np.int64]
    angles: F32


def points_of(subject: NDArray[np.int64], angles: F32) -> F32:
    """The 85 points of people `subject` (n,) in poses `angles` (n, 27), hand frame: (n, 85, 3) mm.

    Exactly the skinned mesh's points, without the mesh. Fastest where equal subjects stand together.
    """
    hands = library()
    out = np.empty((len(subject), N_JOINTS + N_SURFACE, 3), np.float32)
    for i in range(0, len(subject), _CHUNK):
        some = slice(i, i + _CHUNK)
        turns, centres = skeleton.forward(hands.skeletons.take(subject[some]), angles[some])
        bones = np.concatenate([turns, centres[..., None]], axis=3)
        out[some] = _by_subject(subject[some], bones, hands.coefficients)
    return out


def surface_for(subject: NDArray[np.int64], angles: F32) -> F32:
    """The 64 surface points of people `subject` (n,) in poses `angles` (n, 27), hand frame: (n, 64, 3) mm."""
    return points_of(subject, angles)[:, N_JOINTS:]


def mean_flesh_for(subject: NDArray[np.int64], angles: F32) -> F32:
    """As `surface_for`, but each person's true bones wear the training people's mean flesh: (n, 64, 3) mm.

    Its distance to `surface_for` is what must be guessed of a person from joints alone, beyond their hand's length.
    """
    hands = library()
    turns, centres = skeleton.forward(hands.skeletons.take(subject), angles)
    scale = hands.length_mm[subject] / np.float32(REFERENCE_LENGTH_MM)
    # Everyone wears the same flesh: of reference length, so bones are drawn at that length too, then scaled back.
    bones = np.concatenate([turns, centres[..., None] / scale[:, None, None, None]], axis=3)
    rows = bones.transpose(0, 2, 1, 3).reshape(len(subject), 3, -1)
    return (rows @ _mean_flesh() * scale[:, None, None]).transpose(0, 2, 1)


@cache
def _mean_flesh() -> F32:
    """Mean of the training people's surface coefficients at reference length: (84, 64)."""
    people = np.array(subjects.ids("train"))
    flesh = library().coefficients[people][:, :, N_JOINTS:].reshape(len(people), -1, 4, N_SURFACE)
    flesh[:, :, :3] *= (REFERENCE_LENGTH_MM / library().length_mm[people])[:, None, None, None]
    return flesh.mean(0).reshape(-1, N_SURFACE)


def bone_lengths_for(subject: NDArray[np.int64]) -> F32:
    """Lengths (n, 20) mm of the bones of `layout.JOINT_BONES`, hands at rest."""
    joints = points_of(subject, library().skeletons.rest_angles[subject])[:, :N_JOINTS]
    first, second = np.array(JOINT_BONES).T
    return np.linalg.norm(joints[:, second] - joints[:, first], axis=-1)


def _by_subject(subject: NDArray[np.int64], bones: F32, coefficients: F32) -> F32:
    """Bones (n, 21, 3, C) times each subject's coefficients (600, 21 C, P): (n, P, 3); one product a run of equals."""
    rows = np.ascontiguousarray(bones.transpose(0, 2, 1, 3)).reshape(len(subject), 3, -1)
    out = np.empty((len(subject), 3, coefficients.shape[2]), np.float32)
    edges = np.flatnonzero(np.diff(subject)) + 1
    for start, stop in zip((0, *edges), (*edges, len(subject)), strict=True):
        block = rows[start:stop].reshape(-1, rows.shape[2])
        out[start:stop] = (block @ coefficients[subject[start]]).reshape(-1, 3, out.shape[2])
    return out.transpose(0, 2, 1)


def seen_by_rig(rng: np.random.Generator, subject: NDArray[np.int64], angles: F32) -> F32:
    """Surface points that at least one of four cameras round each hand sees: (n, 64) 0 or 1. See `visibility`."""
    out = [
        _seen(rng, subject[i : i + _VISIBILITY_CHUNK], angles[i : i + _VISIBILITY_CHUNK])
        for i in range(0, len(subject), _VISIBILITY_CHUNK)
    ]
    return np.concatenate(out)


def _seen(rng: np.random.Generator, subject: NDArray[np.int64], angles: F32) -> F32:
    hands = library()
    turns, centres = skeleton.forward(hands.skeletons.take(subject), angles)
    points = _by_subject(subject, np.concatenate([turns, centres[..., None]], axis=3), hands.coefficients)
    normals = _by_subject(subject, turns, hands.normal_coefficients)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    elbow = centres[:, 0] + np.einsum("nij,nj->ni", turns[:, 0], hands.vertices_mm[subject, -1])
    scale = hands.length_mm[subject] / np.float32(REFERENCE_LENGTH_MM)
    pairs = zip(
        capsules(turns, centres, points[:, TIP_JOINTS], scale), forearm(centres[:, 0], elbow), strict=True
    )
    start, end = (np.concatenate(pair, axis=1) for pair in pairs)
    radii = np.append(RADII_MM, FOREARM_RADII_MM) * scale[:, None]
    cameras = visibility.random_cameras(rng, len(subject), centres[:, MIDDLE_KNUCKLE])
    return (
        visibility.seen(points[:, N_JOINTS:], normals, start, end, radii, cameras).max(1).astype(np.float32)
    )


def random_rotations(rng: np.random.Generator, n: int) -> F32:
    """Rotations (n, 3, 3), uniform."""
    q = rng.standard_normal((n, 4), np.float32)
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


class PointSampler:
    """Right hands of a split's people in its poses, turned every way, the wrist at the origin.

    `visibility`: also say which surface points a rig of four cameras sees (slower).
    """

    def __init__(self, split: subjects.Split, seed: int, visibility: bool = True) -> None:
        self.split = split
        self.seed = seed
        self.visibility = visibility
        self._ids = np.array(subjects.ids(split))

    def batch(self, index: int, n: int) -> PointBatch:
        """The index-th batch of n hands."""
        if index < 0 or n < 1:
            raise InvalidInput(f"Batch {index} of {n} hands does not exist; both count from 0 and 1 up.")
        rng = np.random.default_rng([2, subjects.SPLITS.index(self.split), self.seed, index])
        people = rng.choice(self._ids, -(-n // _POSES_PER_SUBJECT))
        subject = np.repeat(people, _POSES_PER_SUBJECT)[:n]
        angles = poses.sample(rng, n, self.split)
        points = points_of(subject, angles) @ random_rotations(rng, n)
        order = rng.permutation(n)
        points = points[order]
        visible = (
            seen_by_rig(rng, subject, angles)[order]
            if self.visibility
            else np.ones((n, N_SURFACE), np.float32)
        )
        return PointBatch(points[:, :N_JOINTS], points[:, N_JOINTS:], visible, subject[order], angles[order])


def _speed(job: tuple[subjects.Split, bool, int, int]) -> tuple[float, float]:
    """Samples of one process a second, and a second of processor time: what an idle core would make."""
    split, with_visibility, n, batches = job
    sampler = PointSampler(split, 0, with_visibility)
    sampler.batch(0, n)
    start, start_cpu = time.perf_counter(), time.process_time()
    for index in range(1, batches + 1):
        sampler.batch(index, n)
    return n * batches / (time.perf_counter() - start), n * batches / (time.process_time() - start_cpu)


def main(n: int = 8192, batches: int = 6, split: subjects.Split = "train", processes: int = 2) -> None:
    """Samples a second of several processes together, with and without visibility."""
    library()  # made once, before the processes start
    title = f"3D-only samples, {split}, {processes} processes, {batches} batches of {n}"
    table = Table("visibility", "samples / s, all", "samples / core-second", title=title)
    with get_context("spawn").Pool(processes) as pool:
        for with_visibility in (False, True):
            speeds = pool.map(_speed, [(split, with_visibility, n, batches)] * processes, chunksize=1)
            wall, cpu = np.array(speeds).T
            table.add_row(str(with_visibility), f"{wall.sum():,.0f}", f"{cpu.mean():,.0f}")
    Console().print(table)


if __name__ == "__main__":
    tyro.cli(main)
