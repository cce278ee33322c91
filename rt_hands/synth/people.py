"""Who stands before the camera, and how they hold their hands: subjects and poses of a split, drawn from one rng."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.synth import library, poses, skins, subjects, two_hands
from rt_hands.synth.hand import HandMesh
from rt_hands.synth.subjects import Split
from rt_hands.synth.two_hands import Kind

F64 = NDArray[np.float64]

SPLIT_NUMBER: Final[dict[Split, int]] = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True, slots=True)
class People:
    """One or two posed hands of one person, mm.

    up, towards_viewer: (3,) unit vectors as a person who faces us would hold the hands: fingers up, palm to us for one
    hand, the pair's own frame for two. skin: name of the person's skin.
    """

    hands: tuple[HandMesh, ...]
    up: F64
    towards_viewer: F64
    subject: int
    skin: str


def sample_hands(rng: np.random.Generator, split: Split, both: bool, kinds: Sequence[Kind] = ()) -> People:
    """A person of a split with one right hand, or with both in an interaction, in poses of that split.

    kinds: ways of holding two hands to choose from; empty: all of them, by their own odds.
    """
    numbers = subjects.ids(split)
    number = int(numbers[int(rng.integers(len(numbers)))])
    subject, model = library.subject(number), library.hand_model()
    if both:
        kind = kinds[int(rng.integers(len(kinds)))] if kinds else None
        pair = two_hands.sample_pair(rng, subject, split, kind)
        hands = tuple(model.posed(subject, pair.angles[s], s, pair.world_from_hand[s]) for s in (0, 1))
        return People(hands, np.array([0.0, 1, 0]), np.array([0.0, 0, 1]), number, skin_of(number))
    hand = model.posed(subject, poses.sample(rng, 1, split)[0])
    # The hand frame has y along the fingers and z out of the palm.
    return People((hand,), np.array([0.0, 1, 0]), np.array([0.0, 0, 1]), number, skin_of(number))


def skin_of(subject: int) -> str:
    """The name of a person's skin: a photographed one of their split, or a made-up one of the same number."""
    names = skins.names()
    return names[subjects.person(subject).photo_skin % len(names)]


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
