"""Who stands before the camera, and how they hold their hands: subjects and poses of a split, drawn from one rng."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.synth import collision, library, poses, skeleton, skins, subjects
from rt_hands.synth.hand import HandMesh, Subject

SPLIT_NUMBER: Final = {"train": 0, "val": 1, "test": 2}
DEEPEST_MM: Final = 1.0  # how far parts of a hand may run into each other; flesh gives


@dataclass(frozen=True, slots=True)
class People:
    """One or two posed hands of one person; `skin` is the name of theirs."""

    hands: tuple[HandMesh, ...]
    subject: int
    skin: str | None


def sample_hands(rng: np.random.Generator, split: str, both: bool) -> People:
    """A person of a split with one right hand, or with both in an interaction, in poses of that split."""
    people = subjects.ids(split)  # type: ignore[arg-type]
    number = int(people[int(rng.integers(len(people)))])
    subject = library.subject(number)
    hands = _pair(rng, subject, split) if both else (_one(rng, subject, split),)
    return People(hands, number, skin_of(number))


def skin_of(subject: int) -> str:
    """The name of a person's skin: a photographed one of their split, or a made-up one of the same number."""
    names = skins.names()
    return names[subjects.person(subject).photo_skin % len(names)]


def _one(rng: np.random.Generator, subject: Subject, split: str) -> HandMesh:
    """A right hand whose parts do not run into each other."""
    model = library.hand_model()
    while True:
        angles = poses.propose(rng, 12)
        for row in angles[poses.in_split(angles, split)]:  # type: ignore[arg-type]
            hand = model.posed(subject, row)
            if _own_depth_mm(subject, row, hand) < DEEPEST_MM:
                return hand


def _own_depth_mm(subject: Subject, angles: NDArray[np.float32], hand: HandMesh) -> float:
    _, centres = skeleton.forward(subject.skeleton, angles[None])
    tips = hand.joints_mm[None, [4, 8, 12, 16, 20]]
    scale = subject.length_mm / collision.REFERENCE_LENGTH_MM
    return float(collision.own_depth(*collision.capsules(centres, tips), scale)[0])


def moved(hand: HandMesh, world_from_old: NDArray[np.floating]) -> HandMesh:
    """The hand after a rigid motion (4, 4), mm."""
    rotation, shift = world_from_old[:3, :3].astype(np.float32), world_from_old[:3, 3].astype(np.float32)
    return replace(
        hand,
        vertices_mm=hand.vertices_mm @ rotation.T + shift,
        normals=hand.normals @ rotation.T,
        joints_mm=hand.joints_mm @ rotation.T + shift,
        surface_mm=hand.surface_mm @ rotation.T + shift,
        surface_normals=hand.surface_normals @ rotation.T,
    )
