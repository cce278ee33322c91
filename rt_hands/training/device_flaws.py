"""A camera's flaws for whole batches in tensors: what `augment` does picture by picture, with its shares and ranges.

Pictures are (B, 3, S, S) float32 RGB, 0..1, S a multiple of 8. Each flaw touches only its share of a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

from rt_hands.synth import look
from rt_hands.synth.lights import LOOKS
from rt_hands.training.augment import FAR_PX, FAR_SHARE, MOVING_PX
from rt_hands.training.device_chance import Chance
from rt_hands.training.device_warp import about, inverse, pyramid, rotated, warp, zoomed

CAMERAS = 4096  # drawn once; each far picture has one of them
BLUR_PX = 16  # by which pictures go on beyond their edges when blurred; longer blurs are rare
LUMA_STEPS = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)  # ITU-T T.81, annex K
CHROMA_STEPS = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *[(99,) * 8] * 4,
)
YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
GREY = YCBCR[0]


class Flaws:
    """Draws and applies flaws; `augment.photometric` for batches."""

    def __init__(self, chance: Chance) -> None:
        self.chance = chance
        self.jpeg = Jpeg(chance.device)
        self.cameras = cameras(CAMERAS).to(chance.device)
        self.grey = torch.tensor(GREY, device=chance.device).view(3, 1, 1)

    def __call__(self, image: Tensor) -> Tensor:
        """Pictures as other cameras might have taken them; may change its input."""
        image = self._toned(image)
        everyone = torch.arange(len(image), device=image.device)
        self._on_some(image, everyone, 0.15, self._hue)
        self._on_some(image, everyone, 0.05, self._greyed)
        far, near = self.chance.split(FAR_SHARE, len(image))
        self._on_some(image, far, 1.0, self._far)
        self._on_some(image, near, 0.25, self._softened)
        self._on_some(image, near, 0.15, self._moved)
        self._on_some(image, near, 0.25, self._noisy)
        self._on_some(image, near, 0.25, self._compressed)
        return image

    def _on_some(self, image: Tensor, among: Tensor, share: float, flaw: Callable[[Tensor], Tensor]) -> None:
        """Give a share of the samples with these indices a flaw, in place."""
        at = among[self.chance.split(share, len(among))[0]]
        if len(at):
            image[at] = flaw(image[at]).clamp(0, 1)

    def _toned(self, image: Tensor) -> Tensor:
        """Gamma, contrast, brightness and white balance."""
        b = len(image)
        contrast = torch.exp(self.chance.normal(0.15, b, 1, 1, 1))
        white = torch.exp(self.chance.normal(0.06, b, 3, 1, 1))
        level = 0.5 - 0.5 * contrast + self.chance.normal(0.07, b, 1, 1, 1)
        image = image.clamp(1e-4, 1).pow_(torch.exp(self.chance.normal(0.25, b, 1, 1, 1)))
        return image.mul_(contrast * white).add_(level * white).clamp_(0, 1)

    def _hue(self, image: Tensor) -> Tensor:
        b = len(image)
        return hue_turned(image, self.chance.uniform(-17, 17, b), self.chance.uniform(0.6, 1.35, b))

    def _greyed(self, image: Tensor) -> Tensor:
        return (image * self.grey).sum(1, keepdim=True).expand_as(image)

    def _softened(self, image: Tensor) -> Tensor:
        return softened(image, self.chance.uniform(0.22, 0.8, len(image)))

    def _moved(self, image: Tensor) -> Tensor:
        """Blurred by 3, 5 ... px in any direction."""
        b, longest = len(image), max(1, image.shape[-1] // 50)
        length = 2 * self.chance.below(longest, b).float() + 3
        angle = self.chance.uniform(0, math.pi, b)
        motion = torch.stack([torch.cos(angle), torch.sin(angle)], 1) * length[:, None]
        return blurred(image, torch.zeros_like(length), motion)

    def _noisy(self, image: Tensor) -> Tensor:
        strength = self.chance.uniform(2 / 255, 14 / 255, len(image), 1, 1, 1)
        return image + strength * self.chance.normal(1, *image.shape)

    def _compressed(self, image: Tensor) -> Tensor:
        return self.jpeg(image, 20 + self.chance.below(60, len(image)).float())

    def _far(self, image: Tensor) -> Tensor:
        """The crops of hands that are small in their pictures, as `augment.far`: the flaws of the camera's pixels."""
        b, size = len(image), image.shape[-1]
        scale = torch.exp(self.chance.uniform(math.log(FAR_PX[0]), math.log(FAR_PX[1]), b)) / size
        wide = torch.ceil(scale * size * math.sqrt(2))
        linear = rotated(self.chance.uniform(-math.pi, math.pi, b)) * scale[:, None, None]
        middle = torch.full((b, 2), (size - 1) / 2, device=image.device)
        matrix = about(linear, middle, ((wide - 1) / 2)[:, None].expand(b, 2))
        held = 16 * math.ceil(min(FAR_PX[1], size) * math.sqrt(2) / 16)
        small = warp(pyramid(image), matrix, held, edge=True)
        taken = self._taken(small, (scale * size / MOVING_PX).clamp(max=1))
        back = warp(pyramid(taken), inverse(matrix), size, edge=True)
        return torch.where((scale < 1)[:, None, None, None], back, image)

    def _taken(self, image: Tensor, slow: Tensor) -> Tensor:
        """What cameras by chance make of pictures, their movement `slow` (B,) times as long."""
        soft, length, angle, noise, grain, quality = self.cameras[
            self.chance.below(CAMERAS, len(image))
        ].unbind(1)
        length = torch.where(length * slow < 2, 0, length * slow + 1)
        image = blurred(image, soft, torch.stack([torch.cos(angle), torch.sin(angle)], 1) * length[:, None])
        raw = pyramid(self.chance.normal(1, *image.shape))
        strength = noise * torch.where(grain > 1, 1.3, 1.0)
        blobs = warp(raw, zoomed(grain), image.shape[-1], edge=True)
        image = torch.addcmul(image, blobs, strength[:, None, None, None]).clamp_(0, 1)
        return torch.where((quality < 100)[:, None, None, None], self.jpeg(image, quality), image)


def cameras(count: int) -> Tensor:
    """(count, 6) cameras of the data engine's looks: sigma of soft focus px, length px and angle of movement, sigma of
    noise, its grain px, JPEG quality."""
    rng = np.random.default_rng(0)
    drawn = [look.sample(LOOKS[rng.integers(len(LOOKS))], rng) for _ in range(count)]
    rows = [
        (
            e.blur_px if e.blur_px > 0.25 else 0,
            math.hypot(*e.motion_px),
            math.atan2(e.motion_px[1], e.motion_px[0]),
            e.noise / 255 if e.noise >= 0.3 else 0,
            e.noise_grain_px,
            e.jpeg,
        )
        for e in drawn
    ]
    return torch.tensor(rows, dtype=torch.float32)


def hue_turned(image: Tensor, degrees: Tensor, strength: Tensor) -> Tensor:
    """Pictures with all hues turned by degrees (B,) and saturations times strength (B,)."""
    high, low = image.amax(1), image.amin(1)
    spread = high - low
    some = spread.clamp(min=1e-6)
    red, green, blue = image.unbind(1)
    after_red = torch.where(high == green, 2 + (blue - red) / some, 4 + (red - green) / some)
    hue = torch.where(high == red, (green - blue) / some, after_red) + degrees[:, None, None] / 60
    spread = torch.minimum(spread * strength[:, None, None], high)
    channels = []
    for start in (5, 3, 1):  # HSV's own formula for red, green, blue
        at = (hue + start) % 6
        channels.append(high - spread * torch.minimum(at, 4 - at).clamp_(0, 1))
    return torch.stack(channels, 1)


def softened(image: Tensor, factor: Tensor) -> Tensor:
    """Pictures shrunk by factor (B,) by area and blown up again, as from a far hand: one matrix for each direction."""
    size = image.shape[-1]
    count = (factor * size).floor().clamp(min=8)[:, None, None]
    cell = torch.arange(size, device=image.device, dtype=torch.float32)
    step = size / count
    low = cell[:, None] * step  # rows: where each larger pixel starts; those from `count` on lie outside
    shrink = (torch.minimum(cell + 1, low + step) - torch.maximum(cell, low)).clamp(min=0) / step
    at = torch.minimum(((cell[:, None] + 0.5) / step - 0.5).clamp(min=0), count - 1)
    grow = (1 - (at - cell).abs()).clamp(min=0)
    both = (grow @ shrink)[:, None]
    return both @ image @ both.mT


def blurred(image: Tensor, sigma_px: Tensor, motion_px: Tensor) -> Tensor:
    """Soft focus (B,) and straight movement (B, 2) x, y: what a lens and a shutter leave of each frequency."""
    wide = pad(image, (BLUR_PX,) * 4, mode="replicate")
    size = wide.shape[-1]
    y = torch.fft.fftfreq(size, device=image.device)[:, None]
    x = torch.fft.rfftfreq(size, device=image.device)
    soft = torch.exp((x**2 + y**2) * (-2 * (math.pi * sigma_px) ** 2)[:, None, None])
    kept = soft * torch.sinc(x * motion_px[:, :1, None] + y * motion_px[:, 1:, None])
    made = torch.fft.irfft2(torch.fft.rfft2(wide) * kept[:, None], s=(size, size))
    return made[..., BLUR_PX:-BLUR_PX, BLUR_PX:-BLUR_PX]


class Jpeg:
    """What JPEG leaves of pictures: 8 x 8 cosine transforms with rounded coefficients, colour at half the size."""

    def __init__(self, device: torch.device) -> None:
        self._luma = torch.tensor(LUMA_STEPS, dtype=torch.float32, device=device)
        self._chroma = torch.tensor(CHROMA_STEPS, dtype=torch.float32, device=device)
        self._ycbcr = torch.tensor(YCBCR, device=device)
        self._rgb = torch.from_numpy(np.linalg.inv(YCBCR).astype(np.float32)).to(device)
        wave = math.pi / 16 * np.outer(np.arange(8), 2 * np.arange(8) + 1)
        cosines = np.cos(wave) * np.where(np.arange(8) == 0, 8**-0.5, 0.5)[:, None]
        self._cosines = torch.from_numpy(cosines.astype(np.float32)).to(device)

    def __call__(self, image: Tensor, quality: Tensor) -> Tensor:
        """Pictures coded with quality (B,) 1..100 and decoded."""
        size = image.shape[-1]
        more = -size % 16
        levels = pad(image * 255, (0, more, 0, more), mode="replicate")
        planes = torch.einsum("ij,bjhw->bihw", self._ycbcr, levels)
        light = self._coded(planes[:, :1] - 128, self._luma, quality) + 128
        colour = self._coded(avg_pool2d(planes[:, 1:], 2), self._chroma, quality)
        planes = torch.cat([light, interpolate(colour, scale_factor=2, mode="bilinear")], 1)
        levels = torch.einsum("ij,bjhw->bihw", self._rgb, planes)
        return (levels[..., :size, :size] / 255).clamp_(0, 1)

    def _coded(self, planes: Tensor, steps: Tensor, quality: Tensor) -> Tensor:
        """Planes (B, C, 8 n, 8 n) through the transform, rounded to steps (8, 8) at quality 50, and back."""
        count = planes.shape[-1] // 8
        percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).floor()
        fine = ((steps * percent[:, None, None] + 50) / 100).floor().clamp(1, 255)
        tiled = fine.repeat(1, count, count)[:, None]
        transform = torch.kron(torch.eye(count, device=planes.device), self._cosines)
        coded = (transform @ planes @ transform.mT / tiled).round_() * tiled
        return transform.mT @ coded @ transform
