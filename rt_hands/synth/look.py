"""What a camera does to a picture: motion blur, soft focus, white balance, noise, JPEG. All on uint8 RGB."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.synth.lights import Look

U8 = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Effects:
    """Strengths of one camera.

    gain: (3,) white balance and exposure on the gamma-coded picture. contrast: 1 none. saturation: 1 none, 0 grey.
    blur_px: sigma of soft focus. motion_px: length and direction of motion blur. noise: sigma of 8-bit noise at mid
    grey, of which a part grows with the signal as photon noise does. noise_grain_px: 1 raw, 2 and more denoised blobs.
    jpeg: quality, 100 none. seed: of the noise.
    """

    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    saturation: float = 1.0
    blur_px: float = 0.0
    motion_px: tuple[float, float] = (0.0, 0.0)
    noise: float = 0.0
    noise_grain_px: float = 1.0
    jpeg: int = 100
    seed: int = 0


def sample(look: Look, rng: np.random.Generator) -> Effects:
    """Random effects of a look."""
    noisy = {"webcam": 4.0, "phone": 2.0, "desk": 2.5, "outdoors": 1.5, "studio": 3.0}[look]
    green = rng.uniform(1.0, 1.12) if look == "studio" else 1.0
    warm = rng.normal(0, 0.05)
    level = np.exp(rng.normal(0, 0.08))
    grey = look == "studio" and rng.random() < 0.4
    moves = rng.random() < 0.25
    angle, length = rng.uniform(0, np.pi), rng.gamma(1.5, 2.5)
    return Effects(
        gain=(float(level * (1 + warm)), float(level * green), float(level * (1 - warm))),
        contrast=float(np.exp(rng.normal(0, 0.1))),
        saturation=0.0 if grey else float(np.clip(rng.normal(1.0, 0.18), 0.3, 1.5)),
        blur_px=float(rng.gamma(1.2, 0.45)),
        motion_px=(float(length * np.cos(angle)), float(length * np.sin(angle))) if moves else (0.0, 0.0),
        noise=float(rng.gamma(1.5, noisy / 1.5)),
        noise_grain_px=float(rng.choice([1.0, 1.5, 2.0])),
        jpeg=int(rng.integers(45, 98)) if rng.random() < 0.85 else 100,
        seed=int(rng.integers(2**31)),
    )


def apply(image_rgb: U8, effects: Effects) -> U8:
    """The picture as that camera gives it: (h, w, 3) uint8 in and out."""
    image = _blurred(image_rgb, effects)
    image = _toned(image, effects)
    image = _noisy(image, effects)
    return _compressed(image, effects.jpeg)


def _blurred(image: U8, effects: Effects) -> U8:
    if effects.blur_px > 0.25:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), effects.blur_px))
    dx, dy = effects.motion_px
    length = int(np.hypot(dx, dy))
    if length < 2:
        return image
    size = 2 * (length // 2) + 3
    kernel = np.zeros((size, size), np.float32)
    middle = size // 2
    ends = [(round(middle + s * dx / 2), round(middle + s * dy / 2)) for s in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()))


def _toned(image: U8, effects: Effects) -> U8:
    """White balance and contrast by one table a channel, then saturation by one matrix."""
    levels = np.arange(256, dtype=np.float32)[:, None] / 255 * np.array(effects.gain, np.float32)
    curve = 0.5 + (levels - 0.5) * effects.contrast
    table = np.clip(np.rint(curve * 255), 0, 255).astype(np.uint8)
    image = np.asarray(cv2.LUT(image, table[None]))
    if effects.saturation == 1.0:
        return image
    grey = np.tile(np.array([0.299, 0.587, 0.114], np.float32), (3, 1)) * (1 - effects.saturation)
    return np.asarray(cv2.transform(image, grey + effects.saturation * np.eye(3, dtype=np.float32)))


def _noisy(image: U8, effects: Effects) -> U8:
    if effects.noise < 0.3:
        return image
    h, w = image.shape[:2]
    rng = np.random.default_rng(effects.seed)
    grain = effects.noise_grain_px
    # Integers from raw bytes: ten times faster than a normal draw, and camera noise is no more Gaussian than this.
    small = (max(1, int(h / grain)), max(1, int(w / grain)), 3 if effects.saturation else 1)
    raw = np.frombuffer(rng.bytes(2 * int(np.prod(small))), np.uint8).reshape(2, *small)
    noise = cv2.addWeighted(raw[0], 0.5, raw[1], 0.5, -127.5, dtype=cv2.CV_32F)  # triangular, sigma 52
    if grain != 1:
        noise = cv2.resize(noise, (w, h), interpolation=cv2.INTER_LINEAR) * 1.3
    if not effects.saturation:
        noise = cv2.merge([noise] * 3)  # a grey camera's noise is grey
    # Photon noise grows with the root of the light; at 8 bits with gamma that comes close to level.
    return np.asarray(cv2.add(image, cv2.multiply(noise, effects.noise / 52), dtype=cv2.CV_8U))


def _compressed(image: U8, quality: int) -> U8:
    if quality >= 100:
        return image
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1])
