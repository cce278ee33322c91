"""The 600 people of `subjects`, made into hands once and kept in the cache folder for every later process.

With the library there, nothing here loads torch or anny.
"""

from __future__ import annotations

import dataclasses
import io
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.paths import cache_dir, write_atomically
from rt_hands.synth import skeleton, sources_digest, subjects
from rt_hands.synth.arm_model import ArmTemplate
from rt_hands.synth.hand import HandModel, Subject, rigged_template

# What the library is made of: change any of these and it is made anew.
_SOURCES: Final = ("arm_model.py", "skeleton.py", "hand.py", "subjects.py", "surface_points.csv")


@dataclasses.dataclass(frozen=True)
class Library:
    """All 600 hands, fields as in `hand.Subject` with people as the first axis."""

    template: ArmTemplate
    skeletons: skeleton.Skeleton
    vertices_mm: NDArray[np.float32]
    coefficients: NDArray[np.float32]
    normal_coefficients: NDArray[np.float32]
    length_mm: NDArray[np.float32]


def _path() -> Path:
    return cache_dir() / f"hands-{sources_digest(*_SOURCES)[:16]}.npz"


def _make() -> dict[str, NDArray[Any]]:
    print("Making the 600 hands of the data engine, once (about ten seconds) ...", file=sys.stderr)
    model = HandModel(rigged_template())
    people = range(subjects.N_SUBJECTS)
    made = model.subjects([subjects.person(i).shape for i in people], people)
    skeletons = skeleton.stack([s.skeleton for s in made])
    out: dict[str, NDArray[Any]] = {f"template_{k}": v for k, v in _fields(model.template).items()}
    out |= {f"skeleton_{k}": v for k, v in _fields(skeletons).items()}
    out["vertices_mm"] = np.stack([s.vertices_mm for s in made])
    out["coefficients"] = np.stack([s.coefficients for s in made])
    out["normal_coefficients"] = np.stack([s.normal_coefficients for s in made])
    out["length_mm"] = np.array([s.length_mm for s in made], np.float32)
    return out


def _fields(instance: Any) -> dict[str, NDArray[Any]]:
    return {f.name: getattr(instance, f.name) for f in dataclasses.fields(instance)}


@cache
def library() -> Library:
    """The library, made on first use and read from the cache folder afterwards."""
    path = _path()
    if not path.exists():
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **_make())
        write_atomically(path, content.getvalue())
    with np.load(path) as kept:
        parts = {name: kept[name] for name in kept.files}
    of = {
        kind: {n.removeprefix(kind): a for n, a in parts.items() if n.startswith(kind)}
        for kind in ("template_", "skeleton_")
    }
    return Library(
        ArmTemplate(**of["template_"]),
        skeleton.Skeleton(**of["skeleton_"]),
        parts["vertices_mm"],
        parts["coefficients"],
        parts["normal_coefficients"],
        parts["length_mm"],
    )


@cache
def hand_model() -> HandModel:
    """This process's hand model, from the library."""
    return HandModel(library().template)


@cache
def subject(number: int) -> Subject:
    """A person of the fixed list, 0 .. 599, as a hand."""
    person, all_hands = subjects.person(number), library()
    return Subject(
        number,
        person.shape,
        all_hands.vertices_mm[number],
        all_hands.skeletons.take(np.array(number)),
        all_hands.coefficients[number],
        all_hands.normal_coefficients[number],
        float(all_hands.length_mm[number]),
    )
