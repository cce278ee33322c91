"""Training batches composed on the device: what `compose` does picture by picture, for whole batches in tensors.

For a GPU: all sprites and pictures lie in its memory (0.26 MB each at 256 px), a batch is three layers (background,
hand, second hand) warped by `grid_sample` and laid over one another, then a camera's flaws. Nothing leaves the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from rt_hands.layout import N_HAND, N_HANDS, N_JOINTS, N_POINTS
from rt_hands.training.augment import FAR_PX, FAR_SHARE
from rt_hands.training.compose import HIDDEN_WEIGHT, MIDDLE_MCP, Sprite
from rt_hands.training.loader import PAIR_SHARE, Mix, picture_odds
from rt_hands.training.pictures import Picture
from rt_hands.training.targets import Batch

BANK_PX = 256
BACKGROUND_PX = 512


@dataclass(frozen=True)
class Bank:
    """Cut-outs on the device.

    rgba: (N, 4, P, P) uint8, colour times alpha. points: (N, 2, 85, 2) px, NaN absent. weight: (N, 2, 85), 0 unknown.
    odds: (N,) running sum of the chances, ends at 1.
    """

    rgba: Tensor
    points: Tensor
    weight: Tensor
    odds: Tensor

    def draw(self, count: int, chance: torch.Generator) -> Tensor:
        """(count,) indices by chance."""
        at = torch.rand(count, generator=chance, device=self.odds.device)
        return torch.searchsorted(self.odds, at).clamp(max=len(self.odds) - 1)


class Layer(NamedTuple):
    """A cut-out for every sample and where it goes.

    rgba: (B, 4, P, P) uint8. points: (B, 2, 85, 2) px of the picture, NaN absent. weight: (B, 2, 85). matrix: (B, 2, 3)
    from cut-out to picture.
    """

    rgba: Tensor
    points: Tensor
    weight: Tensor
    matrix: Tensor

    def seen_through(self, look: Tensor) -> Layer:
        """The layer in pictures moved by affines (B, 2, 3)."""
        return self._replace(points=apply(look, self.points), matrix=chain(look, self.matrix))


def _fit(
    rgba: NDArray[np.uint8], points: NDArray[np.float32]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A cut-out shrunk or grown into a corner of the bank's square."""
    scale = BANK_PX / max(rgba.shape[:2])
    size = (round(rgba.shape[1] * scale), round(rgba.shape[0] * scale))
    square = np.zeros((BANK_PX, BANK_PX, 4), np.uint8)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    square[: size[1], : size[0]] = cv2.resize(rgba, size, interpolation=way)
    return square, ((points + 0.5) * scale - 0.5).astype(np.float32)


def _bank(
    rgba: list[NDArray[np.uint8]],
    points: list[NDArray[np.float32]],
    weight: list[NDArray[np.float32]],
    odds: NDArray[np.float64],
    device: torch.device,
) -> Bank:
    fitted = [_fit(r, p) for r, p in zip(rgba, points, strict=True)]
    pixels = torch.from_numpy(np.stack([f[0] for f in fitted])).permute(0, 3, 1, 2).contiguous()
    where = torch.from_numpy(np.stack([f[1] for f in fitted]))
    total = torch.from_numpy(np.cumsum(odds / odds.sum()).astype(np.float32))
    return Bank(
        pixels.to(device), where.to(device), torch.from_numpy(np.stack(weight)).to(device), total.to(device)
    )


def sprite_bank(sprites: list[Sprite], device: torch.device) -> Bank:
    """Rendered hands on the device; hidden points weigh less."""
    weight = [np.where(s.visible, 1, HIDDEN_WEIGHT).astype(np.float32) for s in sprites]
    odds = np.ones(len(sprites))
    return _bank([s.rgba for s in sprites], [s.points_px for s in sprites], weight, odds, device)


def picture_bank(pictures: list[Picture], device: torch.device) -> Bank:
    """Real pictures on the device, opaque."""
    images = [np.dstack([i, np.full(i.shape[:2], 255, np.uint8)]) for i in (p.image_rgb() for p in pictures)]
    points, trust = [p.points_px for p in pictures], [p.trust for p in pictures]
    return _bank(images, points, trust, picture_odds(pictures), device)


def background_stack(backgrounds: list[NDArray[np.uint8]], device: torch.device) -> Tensor:
    """(N, 3, 512, 512) uint8."""
    size = (BACKGROUND_PX, BACKGROUND_PX)
    squares = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) for image in backgrounds]
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).contiguous().to(device)


def warp(images: Tensor, matrix: Tensor, size: int) -> Tensor:
    """Images (B, C, h, w) through affines (B, 2, 3), source px to target px: (B, C, size, size) float32, 0 outside."""
    line = torch.arange(size, device=images.device, dtype=torch.float32)
    y, x = torch.meshgrid(line, line, indexing="ij")
    target = torch.stack([x, y], -1).reshape(1, -1, 2) - matrix[:, None, :, 2]
    source = target @ torch.linalg.inv(matrix[:, :, :2]).mT
    extent = torch.tensor([images.shape[3] - 1, images.shape[2] - 1], device=images.device)
    grid = (source * (2 / extent) - 1).view(len(images), size, size, 2)
    return grid_sample(images.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def apply(matrix: Tensor, points: Tensor) -> Tensor:
    """Points (B, ..., 2) through affines (B, 2, 3)."""
    flat = points.flatten(1, -2) @ matrix[:, :, :2].mT + matrix[:, None, :, 2]
    return flat.view(points.shape)


def chain(second: Tensor, first: Tensor) -> Tensor:
    """Affines (B, 2, 3) that do `first`, then `second`."""
    offset = second[:, :, :2] @ first[:, :, 2:] + second[:, :, 2:]
    return torch.cat([second[:, :, :2] @ first[:, :, :2], offset], 2)


def mirrored(rgba: Tensor, points: Tensor, weight: Tensor, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cut-outs of which those chosen (B,) bool are mirrored: the hands change places."""
    turned = points.flip(1) * points.new_tensor([-1, 1]) + points.new_tensor([rgba.shape[-1] - 1, 0])
    pick = which[:, None, None, None]
    rgba = torch.where(pick, rgba.flip(3), rgba)
    return rgba, torch.where(pick, turned, points), torch.where(which[:, None, None], weight.flip(1), weight)


class DeviceStream:
    """Endless batches of `count` pictures of `size` px, all made on one device.

    Shares as in `Mix`; a share of the rendered samples has a second hand laid over the first.
    """

    def __init__(
        self, sprites: Bank, pictures: Bank, backgrounds: Tensor, mix: Mix, count: int, size: int, seed: int
    ) -> None:
        self.sprites, self.pictures, self.backgrounds = sprites, pictures, backgrounds
        self.mix, self.count, self.size = mix, count, size
        self.device = backgrounds.device
        self.chance = torch.Generator(self.device).manual_seed(seed)

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.batch()

    def _uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.chance, device=self.device) * (high - low) + low

    def _normal(self, sigma: float, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.chance, device=self.device) * sigma

    def _affine(self, points: Tensor, fill: Tensor, place: Tensor) -> Tensor:
        """(B, 2, 3): the box of finite points (B, 2, 85, 2) gets `fill` px long at `place`, turned and squeezed."""
        flat = points.flatten(1, 2)
        low = torch.nan_to_num(flat, nan=1e9).amin(1)
        high = torch.nan_to_num(flat, nan=-1e9).amax(1)
        scale = fill / (high - low).amax(1).clamp(min=1)
        some = self._uniform(0, 1, len(fill)) < 0.6
        turn = torch.where(some, self._normal(0.35, len(fill)), self._uniform(-np.pi, np.pi, len(fill)))
        squeeze = torch.exp(self._normal(0.05, len(fill)))
        c, s = torch.cos(turn) * scale, torch.sin(turn) * scale
        linear = torch.stack(
            [torch.stack([c * squeeze, -s / squeeze], 1), torch.stack([s * squeeze, c / squeeze], 1)], 1
        )
        offset = place - (linear @ ((low + high) / 2)[..., None])[..., 0]
        return torch.cat([linear, offset[..., None]], 2)

    def _places(self) -> tuple[Tensor, Tensor]:
        """Lengths (B,) and centres (B, 2), px, as the detector's crops hold hands."""
        some = self._uniform(0, 1, self.count) < 0.6
        share = torch.where(some, self._uniform(0.5, 0.88, self.count), self._uniform(0.22, 0.6, self.count))
        room = (1 - share)[:, None] / 2 + 0.12 * (self._uniform(0, 1, self.count, 1) < 0.15)
        return share * self.size, (0.5 + room * self._uniform(-1, 1, self.count, 2)) * self.size

    def _canvas(self) -> Tensor:
        """(B, 3, S, S): pieces of backgrounds, some black or of one colour."""
        chosen = torch.randint(
            len(self.backgrounds), (self.count,), generator=self.chance, device=self.device
        )
        zoom = self._uniform(1.0, 4.0, self.count) * self.size / BACKGROUND_PX
        reach = BACKGROUND_PX * zoom - self.size
        corner = -self._uniform(0, 1, self.count, 2) * reach.clamp(min=0)[:, None]
        linear = torch.eye(2, device=self.device) * zoom[:, None, None]
        canvas = warp(self.backgrounds[chosen], torch.cat([linear, corner[..., None]], 2), self.size)
        kind = self._uniform(0, 1, self.count)[:, None, None, None]
        plain = self._uniform(0, 255, self.count, 3, 1, 1).expand_as(canvas)
        return torch.where(kind < 0.12, torch.zeros_like(canvas), torch.where(kind < 0.25, plain, canvas))

    def _layer(self, bank: Bank, fill: Tensor, place: Tensor, side: int | None) -> Layer:
        """A cut-out for every sample at its place. side: wanted hand, None any."""
        at = bank.draw(self.count, self.chance)
        rgba, points, weight = bank.rgba[at], bank.points[at], bank.weight[at]
        which = self._uniform(0, 1, self.count) < 0.5
        if side is not None:
            which = ~torch.isfinite(points[:, side, 0, 0])
        rgba, points, weight = mirrored(rgba, points, weight, which)
        matrix = self._affine(points, fill, place)
        weight = torch.where(torch.isfinite(points[..., :1, 0]), weight, torch.ones_like(weight))
        return Layer(rgba, apply(matrix, points), weight, matrix)

    def batch(self) -> Batch:
        """The next batch."""
        kind = self._uniform(0, 1, self.count)
        rendered, real = (
            kind < self.mix.rendered,
            (kind >= self.mix.rendered) & (kind < self.mix.rendered + self.mix.real),
        )
        fill, place = self._places()
        two = rendered & (self._uniform(0, 1, self.count) < PAIR_SHARE)
        small = torch.where(two, fill * self._uniform(0.45, 0.75, self.count), fill)
        away = self._uniform(-0.5, 0.5, self.count, 2) * fill[:, None] * two[:, None]
        sprite = self._layer(self.sprites, small, place + away, side=None)
        photo = self._layer(self.pictures, fill, place, side=None)
        first = Layer(*(_choose(real, b, a) for a, b in zip(sprite, photo, strict=True)))
        second, two = self._second(first.points, two, small, place - away)
        new = two[:, None] & torch.isfinite(second.points[:, :, 0, 0])
        look = self._looks(torch.where(new[..., None, None], second.points, first.points))
        return self._draw(first.seen_through(look), second.seen_through(look), new, rendered | real)

    def _second(self, points: Tensor, two: Tensor, fill: Tensor, place: Tensor) -> tuple[Layer, Tensor]:
        """A hand of the other side for samples that have one, and which of those chosen (B,) bool can take it."""
        there = torch.isfinite(points[:, :, 0, 0])
        layers = [self._layer(self.sprites, fill, place, side) for side in range(N_HANDS)]
        second = Layer(*(_choose(there[:, 0], b, a) for a, b in zip(*layers, strict=True)))
        single = torch.isfinite(second.points[:, :, 0, 0]).sum(1) == 1
        return second, two & (there.sum(1) == 1) & single

    def _looks(self, points: Tensor) -> Tensor:
        """Affines (B, 2, 3): for a share of samples a close look at one hand that is there, as `compose` has it."""
        there = torch.isfinite(points[:, :, 0, 0])
        chance = self._uniform(0, 1, self.count, N_HANDS) * there
        hand = points[torch.arange(self.count, device=self.device), chance.argmax(1)]
        hand = torch.nan_to_num(torch.where(torch.isfinite(hand), hand, hand[:, :1]))
        up = hand[:, MIDDLE_MCP] - hand[:, 0]
        sigma = torch.where(self._uniform(0, 1, self.count) < 0.15, 0.5, 0.15)
        turn = -torch.atan2(up[:, 0], -up[:, 1]) + sigma * self._normal(1, self.count)
        c, s = torch.cos(turn), torch.sin(turn)
        rotation = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1)
        local = hand @ rotation.mT
        low, high = local.amin(1), local.amax(1)
        scale = self.size * self._uniform(0.6, 0.85, self.count) / (high - low).amax(1).clamp(min=1)
        linear = rotation * scale[:, None, None] * torch.exp(self._normal(0.04, self.count, 2, 1))
        middle = self.size * (0.5 + self._normal(0.035, self.count, 2))
        offset = middle[..., None] - linear @ rotation.mT @ ((low + high) / 2)[..., None]
        close = (self._uniform(0, 1, self.count) < self.mix.close) & there.any(1)
        same = torch.eye(2, 3, device=self.device).expand(self.count, 2, 3)
        return _choose(close, torch.cat([linear, offset], 2), same)

    def _draw(self, first: Layer, second: Layer, new: Tensor, used: Tensor) -> Batch:
        """Lay the first cut-outs where used (B,), then the second with its new hands (B, 2)."""
        points = _choose(used, first.points, torch.full_like(first.points, torch.nan))
        weight = _choose(used, first.weight, torch.ones_like(first.weight))
        canvas = _over(self._canvas(), warp(first.rgba, first.matrix, self.size) * used[:, None, None, None])
        over = warp(second.rgba, second.matrix, self.size) * new.any(1)[:, None, None, None]
        weight = torch.where(_covered(over, points), torch.full_like(weight, HIDDEN_WEIGHT), weight)
        points = torch.where(new[..., None, None], second.points, points)
        weight = torch.where(new[..., None], second.weight, weight)
        return self._finish(_over(canvas, over), points, weight)

    def _finish(self, canvas: Tensor, points: Tensor, weight: Tensor) -> Batch:
        """A camera's flaws, and the truth in the loss's form."""
        image = self._flaws(canvas / 255).mul(255).round().clamp(0, 255).to(torch.uint8)
        inside = ((points >= 0) & (points <= self.size - 1)).all(-1)[..., :N_JOINTS].float().mean(-1)
        flat = points.reshape(self.count, N_POINTS, 2)
        present = (inside > 0.33).float()
        return Batch(
            image.permute(0, 2, 3, 1).contiguous(), flat, weight.reshape(self.count, N_POINTS), present
        )

    def _flaws(self, image: Tensor) -> Tensor:
        """Tone, colour, softness and grain; image (B, 3, S, S) 0..1."""
        b = self.count
        image = image.clamp(1e-4, 1) ** torch.exp(self._normal(0.25, b, 1, 1, 1))
        image = (
            (image - 0.5) * torch.exp(self._normal(0.15, b, 1, 1, 1)) + 0.5 + self._normal(0.07, b, 1, 1, 1)
        )
        image = image * torch.exp(self._normal(0.06, b, 3, 1, 1))
        grey = image.mean(1, keepdim=True)
        colour = torch.where(
            self._uniform(0, 1, b, 1, 1, 1) < 0.06, 0.0, self._uniform(0.7, 1.25, b, 1, 1, 1)
        )
        image = grey + (image - grey) * colour
        far = self._uniform(0, 1, b, 1, 1, 1) < FAR_SHARE
        image = torch.where(far, self._far(image), image)
        return image + self._grain(image)

    def _far(self, image: Tensor) -> Tensor:
        """The pictures as crops of small hands, blown up with the grain of the camera's own pixels."""
        side = round(float(torch.exp(self._uniform(*np.log(FAR_PX).tolist(), 1))))
        if side >= self.size:
            return image
        small = interpolate(image, size=(side, side), mode="bilinear", antialias=True)
        return interpolate(small + self._grain(small), size=image.shape[-2:], mode="bilinear")

    def _grain(self, image: Tensor) -> Tensor:
        """Noise for a share of the pictures."""
        b = self.count
        strength = self._uniform(0, 0.05, b, 1, 1, 1) * (self._uniform(0, 1, b, 1, 1, 1) < 0.3)
        return strength * self._normal(1, *image.shape)


def _choose(which: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(which.view(-1, *[1] * (yes.ndim - 1)), yes, no)


def _over(canvas: Tensor, layer: Tensor) -> Tensor:
    """Colour-times-alpha RGBA (B, 4, S, S) over RGB, 0..255."""
    return canvas * (1 - layer[:, 3:] / 255) + layer[:, :3]


def _covered(layer: Tensor, points: Tensor) -> Tensor:
    """Which points (B, 2, 85, 2) lie under an opaque place of a layer."""
    size = layer.shape[-1]
    at = torch.nan_to_num(points, nan=-1).round().long().flatten(1, 2)
    inside = ((at >= 0) & (at < size)).all(-1)
    index = (at[..., 1].clamp(0, size - 1) * size + at[..., 0].clamp(0, size - 1))[:, None]
    alpha = layer[:, 3:].flatten(2).gather(2, index)[:, 0]
    return (inside & (alpha > 127)).view(len(points), N_HANDS, N_HAND)
