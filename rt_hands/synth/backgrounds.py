"""What lies behind the hands: photographs where the data folder has them; made-up rooms, desks and studios."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput
from rt_hands.paths import data_dir
from rt_hands.synth.lights import Look

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
Size = tuple[int, int]
_HALF_FROM_PX = 1.6


@cache
def photo_names() -> tuple[Path, ...]:
    """Photographs at hand, sorted; without the data folder none, said once on stderr."""
    data = data_dir()
    folder = data / "backgrounds" if data else None
    found = tuple(sorted(folder.glob("*.jpg"))) if folder and folder.is_dir() else ()
    if not found:
        print(
            "No background photographs found (RT_HANDS_DATA/backgrounds); using made-up ones.",
            file=sys.stderr,
        )
    return found


@cache
def _photo(path: Path) -> U8:
    bgr = cv2.imread(str(path))
    if bgr is None:
        raise InvalidInput(f"Background '{path}' is not a readable picture; delete it or get it again.")
    return np.ascontiguousarray(bgr[..., ::-1])


def sample(look: Look, rng: np.random.Generator, size_px: Size) -> U8:
    """A background of a look: (h, w, 3) uint8 RGB."""
    if look == "desk":
        return desk(rng, size_px)
    if look == "studio":
        return studio(rng, size_px)
    paths = photo_names()
    if paths and rng.random() < 0.75:
        return photo(_photo(paths[int(rng.integers(len(paths)))]), rng, size_px)
    return room(rng, size_px)


def photo(image: U8, rng: np.random.Generator, size_px: Size) -> U8:
    """A random crop of a photograph, flipped half the time, out of focus more or less."""
    w, h = size_px
    ih, iw = image.shape[:2]
    scale = min(iw / w, ih / h) * rng.uniform(0.35, 1.0)
    cw, ch = max(2, int(w * scale)), max(2, int(h * scale))
    x, y = int(rng.integers(0, iw - cw + 1)), int(rng.integers(0, ih - ch + 1))
    crop = image[y : y + ch, x : x + cw]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    sigma = rng.gamma(1.3, 1.3) * w / 640
    inner = _inner_size(sigma, size_px)
    smaller = cv2.INTER_AREA if cw > inner[0] else cv2.INTER_LINEAR
    return _defocused(cv2.resize(np.ascontiguousarray(crop), inner, interpolation=smaller), sigma, size_px)


def _inner_size(sigma_px: float, size_px: Size) -> Size:
    """Size to make a background at: half when it will be blurred so much that nobody can tell."""
    return size_px if sigma_px < _HALF_FROM_PX else (max(2, size_px[0] // 2), max(2, size_px[1] // 2))


def _defocused(image: U8, sigma_px: float, size_px: Size) -> U8:
    """Blurred by sigma_px of the final size, at the final size."""
    sigma = sigma_px * image.shape[1] / size_px[0]
    blurred = cv2.GaussianBlur(image, (0, 0), sigma) if sigma > 0.4 else image
    if blurred.shape[1::-1] == size_px:
        return np.asarray(blurred, np.uint8)
    return np.asarray(cv2.resize(blurred, size_px, interpolation=cv2.INTER_LINEAR), np.uint8)


def room(rng: np.random.Generator, size_px: Size) -> U8:
    """A wall, shelves, frames, a lamp: rectangles and discs in muted colours, out of focus."""
    sigma = max(_HALF_FROM_PX, rng.gamma(1.3, 1.3) * size_px[0] / 320)
    w, h = _inner_size(sigma, size_px)
    image = _gradient(rng, (w, h), _muted(rng), 0.25)
    for _ in range(int(rng.integers(2, 16))):
        x, y = rng.uniform(-0.2, 1.0, 2) * (w, h)
        bw, bh = rng.gamma(2, 0.09, 2) * (w, h)
        colour = (_muted(rng) * rng.uniform(0.4, 1.2)).clip(0, 255)
        if rng.random() < 0.2:
            cv2.circle(image, (int(x), int(y)), int(bw / 2), colour.tolist(), -1, cv2.LINE_AA)
        else:
            cv2.rectangle(image, (int(x), int(y)), (int(x + bw), int(y + bh)), colour.tolist(), -1)
            cv2.rectangle(image, (int(x), int(y)), (int(x + bw), int(y + bh)), (colour * 0.7).tolist(), 1)
    grain = cv2.resize(rng.normal(0, 4, (h // 3 + 1, w // 3 + 1)).astype(np.float32), (w, h))
    return _defocused(np.clip(image + grain[..., None], 0, 255).astype(np.uint8), sigma, size_px)


def desk(rng: np.random.Generator, size_px: Size) -> U8:
    """A white or wooden desk from above or before: a gentle gradient, a sheet of paper, a pen or two."""
    w, h = size_px
    tone = np.array([235, 233, 228]) if rng.random() < 0.7 else np.array([176, 136, 98])
    image = _gradient(rng, size_px, tone * rng.uniform(0.7, 1.02), 0.18)
    if tone[2] < 150:
        rings = cv2.resize(rng.normal(0, 9, (max(2, h // 3), 3)).astype(np.float32), (w, h))
        image += rings[..., None] * (1, 0.9, 0.8)
    for _ in range(int(rng.integers(0, 5))):
        centre, length = rng.uniform(0, 1, 2) * (w, h), rng.uniform(0.05, 0.5) * w
        corners = cv2.boxPoints(
            (centre.tolist(), (length, length * rng.uniform(0.04, 0.8)), rng.uniform(0, 180))
        )
        shadow = (corners + rng.uniform(2, 6, 2)).astype(np.int32)
        cv2.fillPoly(image, [shadow], (tone * 0.72).tolist(), cv2.LINE_AA)
        cv2.fillPoly(image, [corners.astype(np.int32)], _muted(rng).tolist(), cv2.LINE_AA)
    sharp = np.clip(image, 0, 255).astype(np.uint8)
    return _defocused(sharp, rng.gamma(1.3, 1.3) * w / 640, size_px)


def studio(rng: np.random.Generator, size_px: Size) -> U8:
    """A capture dome: near black, rows of small bright lamps, struts and other cameras between them."""
    w, h = size_px
    image = _gradient(rng, size_px, rng.uniform(6, 45) * np.array([0.95, 1.0, 0.95]), 0.5)
    pitch, turn = rng.uniform(0.08, 0.3) * w, rng.uniform(-0.5, 0.5)
    along = np.array([np.cos(turn), np.sin(turn)])
    across = np.array([-along[1], along[0]])
    for row in range(-8, 9):
        for column in range(-12, 13):
            if rng.random() < 0.35:
                continue
            x, y = np.array([w, h]) / 2 + pitch * (column * along + 0.8 * row * across) + rng.normal(0, 2, 2)
            radius = max(1, int(rng.uniform(0.004, 0.013) * w))
            cv2.circle(image, (int(x), int(y)), radius * 3, (30, 38, 30), -1, cv2.LINE_AA)
            cv2.circle(image, (int(x), int(y)), radius, (235, 255, 235), -1, cv2.LINE_AA)
    for _ in range(int(rng.integers(0, 6))):
        a, b = (rng.uniform(-0.2, 1.2, (2, 2)) * (w, h)).astype(int)
        cv2.line(
            image,
            a.tolist(),
            b.tolist(),
            [float(rng.uniform(5, 70))] * 3,
            int(rng.integers(2, 14)),
            cv2.LINE_AA,
        )
    return np.asarray(cv2.GaussianBlur(np.clip(image, 0, 255).astype(np.uint8), (0, 0), rng.uniform(0.8, 4)))


def _muted(rng: np.random.Generator) -> NDArray[np.float64]:
    hsv = np.array([[[rng.integers(0, 180), rng.integers(0, 110), rng.integers(30, 245)]]], np.uint8)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0], np.float64)


def _gradient(rng: np.random.Generator, size_px: Size, colour: NDArray[np.float64], depth: float) -> F32:
    """A colour that darkens smoothly towards some side: (h, w, 3) float32."""
    w, h = size_px
    corners = 1 + rng.uniform(-depth, depth, (2, 2)).astype(np.float32)
    return np.asarray(cv2.resize(corners, (w, h))[..., None] * colour, np.float32)
