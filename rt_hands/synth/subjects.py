"""The fixed list of people: 600 hands with a shape and a skin each, split by person into train, val and test.

Person i belongs to val when i % 10 == 8, to test when i % 10 == 9, to train otherwise. Shape and skin are a pure
function of i. Photographed skins are split too: a skin worn in one split is worn in no other.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Final, Literal

import numpy as np

from rt_hands.errors import InvalidInput
from rt_hands.synth.arm_model import Shape

Split = Literal["train", "val", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "val", "test")
N_SUBJECTS: Final = 600
_SEED: Final = 20200817
_TENTHS: Final[dict[Split, tuple[int, ...]]] = {"train": tuple(range(8)), "val": (8,), "test": (9,)}

# Photographed skins by number in their sorted list; each split has dark and light, women's and men's.
PHOTO_SKINS: Final = {"train": (0, 2, 3, 4, 6, 7, 8, 9, 11, 13), "val": (5, 10), "test": (1, 12)}


@dataclasses.dataclass(frozen=True)
class Person:
    """One person of the list. `photo_skin`: number of a photographed skin."""

    id: int
    split: Split
    shape: Shape
    photo_skin: int


def check_split(split: str) -> None:
    """Raise InvalidInput unless the split is train, val or test."""
    if split not in SPLITS:
        raise InvalidInput(f"Unknown split '{split}'. Known: {', '.join(SPLITS)}.")


def split_of(subject: int) -> Split:
    """The split a subject belongs to."""
    return next(s for s in SPLITS if subject % 10 in _TENTHS[s])


def _age(rng: np.random.Generator) -> float:
    """Children under twelve 15 %, teenagers 15 %, adults 70 %, in anny's units."""
    low, high = ((0.36, 0.44), (0.44, 0.58), (0.58, 1.0))[rng.choice(3, p=(0.15, 0.15, 0.7))]
    return float(rng.uniform(low, high))


def _shape(rng: np.random.Generator) -> Shape:
    def around(mean: float, sd: float, low: float, high: float) -> float:
        return float(np.clip(rng.normal(mean, sd), low, high))

    gender, age = float(rng.beta(0.5, 0.5)), _age(rng)
    # Adults: men 190, women 174 mm, sd 4.7 %; children grow from 0.70 of that at about seven years.
    grown = float(np.interp(age, (0.36, 0.46, 0.58), (0.70, 0.87, 1.0)))
    length = around(1.0, 0.047, 0.88, 1.1) * grown * (190.0 - 16.0 * gender)
    return Shape(
        gender=gender,
        age=age,
        muscle=around(0.5, 0.18, 0.1, 0.95),
        weight=around(0.5, 0.22, 0.05, 0.95),
        height=around(0.5, 0.2, 0.1, 0.9),
        proportions=float(rng.uniform(0.2, 0.8)),
        # MakeHuman's fingers are a little short for its palm; 0.2 brings the mean to published proportions.
        finger_length=around(0.2, 0.16, -0.2, 0.6),
        finger_diameter=around(0.0, 0.25, -0.6, 0.6),
        finger_distance=around(0.0, 0.3, -0.6, 0.6),
        wrist_girth=around(0.0, 0.3, -0.7, 0.7),
        length_mm=length,
    )


@cache
def person(subject: int) -> Person:
    """A person of the list by number, 0 .. 599."""
    if not 0 <= subject < N_SUBJECTS:
        raise InvalidInput(f"Subject {subject} does not exist; the list has 0 to {N_SUBJECTS - 1}.")
    rng = np.random.default_rng([_SEED, subject])
    split = split_of(subject)
    shape = _shape(rng)
    return Person(subject, split, shape, int(rng.choice(PHOTO_SKINS[split])))


@cache
def ids(split: Split) -> tuple[int, ...]:
    """Numbers of the people of a split, ascending."""
    check_split(split)
    return tuple(i for i in range(N_SUBJECTS) if split_of(i) == split)
