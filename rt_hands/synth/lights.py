"""Light for each look: a soft surround as spherical harmonics and one to three lamps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from rt_hands.synth.render import Lights

F64 = NDArray[np.float64]
Look = Literal["webcam", "phone", "desk", "outdoors", "studio"]
LOOKS: Final[tuple[Look, ...]] = ("webcam", "phone", "desk", "outdoors", "studio")


@dataclass(frozen=True, slots=True)
class _Recipe:
    """Ranges: strength of the surround and of the key lamp (linear), how soft its shadow is, warmth of each."""

    surround: tuple[float, float]
    key: tuple[float, float]
    softness_px: tuple[float, float]
    gradient: float
    warmth: float


_RECIPES: Final[dict[Look, _Recipe]] = {
    "webcam": _Recipe((0.25, 0.7), (0.1, 0.8), (3, 12), 0.5, 0.25),
    "phone": _Recipe((0.3, 0.75), (0.15, 0.9), (2, 10), 0.5, 0.2),
    "desk": _Recipe((0.45, 0.8), (0.2, 0.6), (4, 14), 0.4, 0.1),
    "outdoors": _Recipe((0.35, 0.7), (0.4, 1.3), (1, 3), 0.6, 0.12),
    "studio": _Recipe((0.2, 0.45), (0.1, 0.35), (6, 16), 0.35, 0.05),
}


def white_of(rng: np.random.Generator, spread: float) -> F64:
    """(3,) a lamp's colour, from bluish to yellowish, mean 1."""
    warm = rng.normal(0, spread)
    colour = np.array([1 + 0.45 * warm, 1 + 0.06 * warm, 1 - 0.6 * warm]).clip(0.25, 2)
    return np.asarray(colour / colour.mean())


def sample(look: Look, rng: np.random.Generator, up: F64, towards_camera: F64) -> Lights:
    """Random light of a look.

    up, towards_camera: (3,) unit vectors in the world, so that lamps stand above and before the hand more often
    than below and behind it.
    """
    recipe = _RECIPES[look]
    surround = rng.uniform(*recipe.surround) * white_of(rng, recipe.warmth)
    ambient = np.zeros((9, 3))
    ambient[0] = surround
    main = _unit(up * rng.uniform(0.3, 1) + 0.7 * _any_direction(rng))
    ambient[[3, 1, 2]] = np.outer(main, surround * rng.uniform(0.15, recipe.gradient) * white_of(rng, 0.15))
    ambient[4:] = rng.normal(0, 0.04, (5, 1)) * surround
    if look == "studio":
        ambient[:, 1] *= rng.uniform(1.0, 1.18)
    towards, colours = _lamps(look, recipe, rng, up, towards_camera)
    level = surround.mean() + 0.6 * colours.mean(1).sum()
    return Lights(
        ambient.astype(np.float32),
        towards,
        colours,
        exposure=float(np.exp(rng.normal(0, 0.22)) * 0.8 / level),
        shadow_softness_px=float(rng.uniform(*recipe.softness_px)),
        shadow_strength=float(rng.uniform(0.75, 1.0)),
        ao_strength=float(rng.uniform(0.7, 0.95)),
    )


def _lamps(
    look: Look, recipe: _Recipe, rng: np.random.Generator, up: F64, towards_camera: F64
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(3, 4) directions and (3, 3) colours; unused lamps are black and last."""
    towards, colours = np.zeros((3, 4), np.float32), np.zeros((3, 3), np.float32)
    towards[:, 2] = 1
    key = rng.uniform(*recipe.key)
    front = rng.uniform(-0.2, 1.0) if look != "phone" else rng.uniform(-0.1, 1.6)
    towards[0, :3] = _unit(up * rng.uniform(0.2, 1.2) + towards_camera * front + 0.9 * _any_direction(rng))
    colours[0] = key * white_of(rng, recipe.warmth)
    for i in range(1, 1 + rng.integers(0, 3) if look != "studio" else 3):
        towards[i, :3] = _unit(0.5 * up + 0.4 * towards_camera + _any_direction(rng))
        colours[i] = key * rng.uniform(0.15, 0.6) * white_of(rng, recipe.warmth)
    if look == "studio":
        colours[:, 1] *= rng.uniform(1.0, 1.15)
    return towards, colours


def _any_direction(rng: np.random.Generator) -> F64:
    return _unit(rng.normal(0, 1, 3))


def _unit(vector: F64) -> F64:
    return np.asarray(vector / np.linalg.norm(vector))
