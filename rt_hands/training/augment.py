"""Random light, colour, blur, noise and compression for one picture, as webcams and phones produce them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Rng = np.random.Generator


def photometric(image: Image, rng: Rng) -> Image:
    """A picture as another camera might have taken it: (h, w, 3) uint8 RGB in and out."""
    image = _tone(image, rng)
    if rng.random() < 0.15:
        image = _hue(image, rng)
    if rng.random() < 0.05:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
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
    cv2.randn(grain, 0, rng.uniform(2, 14))
    return np.asarray(cv2.add(image, grain, dtype=cv2.CV_8U), np.uint8)


def _jpeg(image: Image, rng: Rng) -> Image:
    _, packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 80))])
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)
