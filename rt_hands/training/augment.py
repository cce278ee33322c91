"""Random light, colour, blur, noise and compression for one picture, as webcams and phones produce them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.synth import look
from rt_hands.synth.lights import LOOKS

Image = NDArray[np.uint8]
Rng = np.random.Generator

FAR_SHARE: Final = 0.18
"""Of pictures: crops of a camera's picture that are blown up, its flaws with them. With 0.4, 102,000 samples brought
the rigs of train people from 5.2 to 4.9 mm, and near hands lost; at 0.25 they still lost a little."""
FAR_PX: Final = (48, 220)
"""Sides of those crops in the camera's own pixels, evenly spread in their logarithm."""
MOVING_PX: Final = 100.0
"""Hands in smaller ones are further away and move by fewer pixels."""


def shrunk(image: Image, matrix: NDArray[np.float64]) -> tuple[Image, NDArray[np.float64]]:
    """A picture and the 2 x 3 affine that is to warp it; where that shrinks much, shrunk by area first, for half of it.

    Pixel centres are whole numbers, so pixel u of one k times smaller is pixel k u + (k - 1) / 2 of the large one.
    """
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if scale >= 0.6:
        return image, matrix
    small = cv2.resize(image, None, fx=2 * scale, fy=2 * scale, interpolation=cv2.INTER_AREA)
    k = 0.5 / scale
    middle = (k - 1) / 2
    return np.asarray(small, np.uint8), matrix @ np.array([[k, 0, middle], [0, k, middle], [0, 0, 1]])


def photometric(image: Image, rng: Rng) -> Image:
    """A picture as another camera might have taken it: (h, w, 3) uint8 RGB in and out."""
    image = _tone(image, rng)
    if rng.random() < 0.15:
        image = _hue(image, rng)
    if rng.random() < 0.05:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < FAR_SHARE:
        return far(image, rng)
    if rng.random() < 0.25:
        image = _soften(image, rng)
    if rng.random() < 0.15:
        image = _motion_blur(image, rng)
    if rng.random() < 0.25:
        image = _noise(image, rng)
    if rng.random() < 0.25:
        image = _jpeg(image, rng)
    return image


def _tone(image: Image, rng: Rng) -> Image:
    """Gamma, contrast, brightness and white balance in one table per channel."""
    x = np.linspace(0, 1, 256) ** np.exp(rng.normal(0, 0.25))
    x = (x - 0.5) * np.exp(rng.normal(0, 0.15)) + 0.5 + rng.normal(0, 0.07)
    channels = x[:, None] * np.exp(rng.normal(0, 0.06, 3))
    table = np.clip(channels * 255, 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(image, table[None]), np.uint8)


def _hue(image: Image, rng: Rng) -> Image:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + rng.integers(-8, 9)) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.6, 1.35), 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def far(image: Image, rng: Rng) -> Image:
    """The crop of a hand that is small in its picture: blur, noise and compression are as large in it as its pixels.

    The camera's pixels lie turned in the crop, as the detector turns hands upright.
    """
    height, width = image.shape[:2]
    scale = float(np.exp(rng.uniform(*np.log(FAR_PX)))) / max(height, width)
    if scale >= 1:
        return image
    wide = int(np.ceil(scale * np.hypot(height, width)))
    turn = rng.uniform(-np.pi, np.pi)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.array([width - 1, height - 1]) / 2
    matrix = np.hstack([linear, ((wide - 1) / 2 - linear @ middle)[:, None]])
    large, down = shrunk(image, matrix)
    small = cv2.warpAffine(large, down, (wide, wide), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    flaws = look.sample(LOOKS[rng.integers(len(LOOKS))], rng)
    slow = min(1.0, scale * max(height, width) / MOVING_PX)
    moved = (flaws.motion_px[0] * slow, flaws.motion_px[1] * slow)
    # Tone and colour were changed above.
    flaws = replace(flaws, gain=(1.0, 1.0, 1.0), contrast=1.0, saturation=1.0, motion_px=moved)
    taken = look.apply(np.asarray(small, np.uint8), flaws)
    back = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(taken, matrix, (width, height), flags=back), np.uint8)


def _soften(image: Image, rng: Rng) -> Image:
    """A smaller picture blown up again, as from a far hand."""
    h, w = image.shape[:2]
    factor = rng.uniform(0.22, 0.8)
    small = cv2.resize(
        image, (max(8, int(w * factor)), max(8, int(h * factor))), interpolation=cv2.INTER_AREA
    )
    return np.asarray(cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR), np.uint8)


def _motion_blur(image: Image, rng: Rng) -> Image:
    length = 2 * int(rng.integers(1, 1 + max(1, image.shape[0] // 50))) + 1
    kernel = np.zeros((length, length), np.float32)
    angle, half = rng.uniform(0, np.pi), length // 2
    along = np.linspace(-half, half, 4 * length)
    kernel[
        np.rint(half + along * np.sin(angle)).astype(int), np.rint(half + along * np.cos(angle)).astype(int)
    ] = 1
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def _noise(image: Image, rng: Rng) -> Image:
    grain = np.empty(image.shape, np.int16)
    cv2.setRNGSeed(int(rng.integers(2**31)))
    # A plain number would be meant for the first channel alone.
    cv2.randn(grain, (0, 0, 0), (rng.uniform(2, 14),) * 3)
    return np.asarray(cv2.add(image, grain, dtype=cv2.CV_8U), np.uint8)


def _jpeg(image: Image, rng: Rng) -> Image:
    _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 80))])
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
