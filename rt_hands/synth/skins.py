"""Skins: photographed ones on MakeHuman's UV layout where the data folder is there, procedural ones where not."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput
from rt_hands.paths import data_dir

U8 = NDArray[np.uint8]

# sRGB means of skin from very light to very dark; a skin's tint moves it some way towards one of these.
TONES: Final = np.array(
    [
        [243, 212, 194],
        [229, 190, 165],
        [212, 166, 136],
        [186, 138, 107],
        [148, 103, 78],
        [108, 72, 54],
        [74, 48, 37],
    ],
    np.float32,
)
_HAND_REGION: Final = (slice(1640, 2030), slice(1170, 1560))  # rows, columns of the hands on a 2048 px skin
N_PROCEDURAL: Final = 14


@dataclass(frozen=True, slots=True)
class Skin:
    """texture: (h, w, 3) uint8 RGB on MakeHuman's layout. mean_rgb: (3,) float32 of the hands, 0..255."""

    name: str
    texture: U8
    mean_rgb: NDArray[np.float32]

    @property
    def tone(self) -> float:
        """Place of its mean on the scale of `TONES`, 0 lightest .. 6 darkest."""
        return float(np.interp(-self.mean_rgb.mean(), -TONES.mean(1), np.arange(len(TONES))))


def _folder() -> Path | None:
    data = data_dir()
    folder = data / "skins" if data else None
    return folder if folder is not None and folder.is_dir() else None


@cache
def names() -> tuple[str, ...]:
    """Skins at hand, sorted. Without the data folder: procedural ones, said once on stderr."""
    folder = _folder()
    found = tuple(sorted(p.stem for p in folder.glob("*.jpg"))) if folder else ()
    if not found:
        print("No photographed skins found (RT_HANDS_DATA/skins); using procedural ones.", file=sys.stderr)
    return found or tuple(f"procedural_{i:02d}" for i in range(N_PROCEDURAL))


@cache
def load(name: str) -> Skin:
    """A skin by name. Raises InvalidInput for a name that is not in `names()`."""
    if name.startswith("procedural_"):
        return procedural(int(name.removeprefix("procedural_")))
    folder = _folder()
    path = folder / f"{name}.jpg" if folder else Path(name)
    bgr = cv2.imread(str(path))
    if bgr is None:
        raise InvalidInput(f"No skin '{name}'. Skins here: {', '.join(names())}.")
    texture = np.ascontiguousarray(bgr[..., ::-1])
    return Skin(name, texture, texture[_HAND_REGION].reshape(-1, 3).mean(0).astype(np.float32))


def procedural(index: int, size_px: int = 1024) -> Skin:
    """A made-up skin: a tone with mottling, pores and a little red; a pure function of its index."""
    rng = np.random.default_rng([7351, index])
    tone = np.array([np.interp(index * 5 % N_PROCEDURAL / 2.2, np.arange(7), TONES[:, c]) for c in range(3)])
    mottle = sum(
        _smooth_noise(rng, size_px, cells) * weight for cells, weight in ((12, 0.5), (40, 0.3), (130, 0.3))
    )
    pores = rng.normal(0, 1, (size_px, size_px)).astype(np.float32)
    red = _smooth_noise(rng, size_px, 25)
    light = 1 + 0.05 * mottle + 0.018 * pores
    texture = tone * light[..., None] * (1 + red[..., None] * np.array([0.02, -0.03, -0.025]))
    return Skin(f"procedural_{index:02d}", np.clip(texture, 0, 255).astype(np.uint8), tone.astype(np.float32))


def _smooth_noise(rng: np.random.Generator, size_px: int, cells: int) -> NDArray[np.float32]:
    coarse = rng.normal(0, 1, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC), np.float32)


def random_tint(skin: Skin, rng: np.random.Generator) -> tuple[float, float, float]:
    """Linear RGB factors that move a skin some way towards a near tone, plus a little hue."""
    tone = np.clip(skin.tone + rng.normal(0, 0.8), 0, len(TONES) - 1)
    target = np.array([np.interp(tone, np.arange(len(TONES)), TONES[:, c]) for c in range(3)])
    # Gamma 2, as in the shader. 0.6: part of the way only, palms and creases keep their own colour.
    factor = (target / skin.mean_rgb) ** (2 * 0.6) * np.exp(rng.normal(0, [0.05, 0.03, 0.06]))
    r, g, b = np.clip(factor, 0.35, 2.2)
    return float(r), float(g), float(b)
