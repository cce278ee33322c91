"""Training batches composed on the device: what `compose` does picture by picture, for whole batches in tensors.

For a GPU: all sprites and pictures lie in its memory at their own size (0.9 MB at 384 px, smaller copies included). A
batch holds rendered samples first, then real, then empty ones; layers (background, hand, second hand) are warped by
`grid_sample` and laid over one another, then come a camera's flaws. Nothing leaves the device or waits for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from rt_hands.layout import N_HAND, N_HANDS, N_JOINTS
from rt_hands.training.compose import HIDDEN_WEIGHT, MIDDLE_MCP, Sprite
from rt_hands.training.device_chance import Chance
from rt_hands.training.device_flaws import Flaws
from rt_hands.training.device_warp import (
    about,
    apply,
    chain,
    flips,
    pyramid,
    rotated,
    unchanged,
    warp,
    zoomed,
)
from rt_hands.training.loader import PAIR_SHARE, Mix, picture_odds
from rt_hands.training.pictures import BACKGROUND_PX, Picture
from rt_hands.training.targets import Batch

LONGEST_PX = 384  # of cut-outs: sprites have 320, real pictures 384 and less
AT_ONCE = 4  # batches composed together: it takes 2000 small steps, whatever the size
EDGE_PX = 4  # pieces keep off the edges of pictures, whose smaller copies mix with the nothing beyond
PIECE, TINY_PIECE = 0.25, 0.08  # the smallest side of a piece, as a share of its background's shorter side


@dataclass(frozen=True)
class Bank:
    """Cut-outs on the device, each in the upper left corner of a square of P px.

    levels: (N, 4, P, 3 P / 2 + 1) uint8, colour times alpha and alpha, with smaller copies (`pyramid`). extent: (N, 2)
    width, height px. points: (N, 2, 85, 2) px, NaN absent. weight: (N, 2, 85), 0 unknown, 1 for absent hands. odds:
    (N,) running sum of the chances, ends at 1. single: indices of those with one hand.
    """

    levels: Tensor
    extent: Tensor
    points: Tensor
    weight: Tensor
    odds: Tensor
    single: Tensor

    @property
    def side(self) -> int:
        """P."""
        return self.levels.shape[2]

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        return self.levels.device

    def draw(self, count: int, chance: Chance) -> Tensor:
        """(count,) indices by chance."""
        return torch.searchsorted(self.odds, chance.uniform(0, 1, count)).clamp(max=len(self.odds) - 1)

    def any(self, count: int, chance: Chance) -> Tensor:
        """(count,) indices, all alike."""
        return chance.below(len(self.odds), count)


class Layer(NamedTuple):
    """A cut-out for every sample and where it goes.

    levels: (B, 4, P, 3 P / 2 + 1) uint8. points: (B, 2, 85, 2) px of the picture, NaN absent. weight: (B, 2, 85).
    matrix: (B, 2, 3) from cut-out to picture.
    """

    levels: Tensor
    points: Tensor
    weight: Tensor
    matrix: Tensor

    def seen_through(self, look: Tensor) -> Layer:
        """The layer in pictures moved by affines (B, 2, 3)."""
        return self._replace(points=apply(look, self.points), matrix=chain(look, self.matrix))


class Part(NamedTuple):
    """Samples of one kind. image: (n, 3, S, S) float32 0..255. points: (n, 2, 85, 2) px. weight: (n, 2, 85)."""

    image: Tensor
    points: Tensor
    weight: Tensor


def _bank(
    images: list[NDArray[np.uint8]],
    points: NDArray[np.float32],
    weight: NDArray[np.float32],
    odds: NDArray[np.float64],
    longest: int,
    device: torch.device,
) -> Bank:
    """images: (h, w, 4) each; longer ones are shrunk to `longest` px."""
    side = 8 * math.ceil(min(longest, max(max(i.shape[:2]) for i in images)) / 8)
    levels = torch.empty(len(images), 4, side, side + 1 + side // 2, dtype=torch.uint8, device=device)
    extent, points = np.empty((len(images), 2), np.float32), points.copy()
    for n, image in enumerate(images):
        scale = min(1.0, longest / max(image.shape[:2]))
        if scale < 1:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            points[n] = (points[n] + 0.5) * scale - 0.5
        height, width = image.shape[:2]
        square = np.zeros((1, 4, side, side), np.uint8)
        square[0, :, :height, :width] = image.transpose(2, 0, 1)
        levels[n] = pyramid(torch.from_numpy(square).to(device).float())[0].round()
        extent[n] = width, height
    there = np.isfinite(points[:, :, 0, 0])
    weight = np.where(there[..., None], weight, 1).astype(np.float32)
    chances = np.cumsum(odds / odds.sum()).astype(np.float32)
    arrays = (extent, points, weight, chances, np.flatnonzero(there.sum(1) == 1))
    return Bank(levels, *(torch.from_numpy(a).to(device) for a in arrays))


def sprite_bank(sprites: list[Sprite], device: torch.device) -> Bank:
    """Rendered hands on the device; hidden points weigh less."""
    weight = np.where(np.stack([s.visible for s in sprites]), 1, HIDDEN_WEIGHT).astype(np.float32)
    points = np.stack([s.points_px for s in sprites])
    # `DeviceStream` lays a share of those of one hand together as pairs, which come on top of these draws.
    odds = np.array([1.0 if s.present.all() else 1 - PAIR_SHARE for s in sprites])
    return _bank([s.rgba for s in sprites], points, weight, odds, LONGEST_PX, device)


def _opaque(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])


def picture_bank(pictures: list[Picture], device: torch.device) -> Bank:
    """Real pictures on the device."""
    images = [_opaque(p.image_rgb()) for p in pictures]
    points, trust = np.stack([p.points_px for p in pictures]), np.stack([p.trust for p in pictures])
    return _bank(images, points, trust, picture_odds(pictures), LONGEST_PX, device)


def background_stack(backgrounds: list[NDArray[np.uint8]], device: torch.device) -> Bank:
    """Pictures without hands on the device."""
    nowhere = np.full((len(backgrounds), N_HANDS, N_HAND, 2), np.nan, np.float32)
    images = [_opaque(image) for image in backgrounds]
    return _bank(images, nowhere, nowhere[..., 0], np.ones(len(images)), BACKGROUND_PX, device)


class DeviceStream:
    """Endless batches of `count` pictures of `size` px, all made on one device; shares as `Stream` has them."""

    def __init__(
        self, sprites: Bank, pictures: Bank, backgrounds: Bank, mix: Mix, count: int, size: int, seed: int
    ) -> None:
        self.sprites, self.pictures, self.backgrounds = sprites, pictures, backgrounds
        self.mix, self.count, self.size = mix, count, size
        self.device = backgrounds.device
        self.chance = Chance(self.device, seed)
        self.flaws = Flaws(self.chance)

    def __iter__(self) -> Iterator[Batch]:
        while True:
            several = self.batch(AT_ONCE * self.count)
            for first in range(AT_ONCE):
                yield Batch(*(tensor[first::AT_ONCE].contiguous() for tensor in several))

    def batch(self, count: int) -> Batch:
        """The next `count` samples, in the order of their kinds."""
        counts = self._counts(count)
        makers = (self._alone, self._pair, self._real, self._empty)
        parts = [make(n) for make, n in zip(makers, counts, strict=True) if n]
        image, points, weight = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        image = self.flaws(image / 255).mul(255).round().clamp(0, 255).to(torch.uint8)
        inside = ((points >= 0) & (points <= self.size - 1)).all(-1)[..., :N_JOINTS].float().mean(-1)
        flat, weight = points.flatten(1, 2), weight.flatten(1)
        return Batch(image.permute(0, 2, 3, 1).contiguous(), flat, weight, (inside > 0.33).float())

    def _counts(self, count: int) -> tuple[int, int, int, int]:
        """Of a batch: sprites alone, pairs of them, real pictures, empty ones."""
        rendered = self.chance.part(self.mix.rendered, count)
        real = min(self.chance.part(self.mix.real, count), count - rendered)
        # A share of the draws of one hand; sprites of two hands stay alone.
        pairs = self.chance.part(PAIR_SHARE * len(self.sprites.single) / len(self.sprites.points), rendered)
        return rendered - pairs, pairs, real, count - rendered - real

    def _alone(self, count: int) -> Part:
        """Sprites of one or two hands over backgrounds."""
        layer = self._cut_outs(self.sprites, self.sprites.draw(count, self.chance))
        layer = layer.seen_through(self._fitted(layer.points, *self._places(count)))
        layer = layer.seen_through(self._looks(layer.points, unchanged(count, self.device)))
        return Part(_over(self._canvas(count), self._drawn(layer)), layer.points, layer.weight)

    def _pair(self, count: int) -> Part:
        """Two sprites of one hand each, a right and a left one, the second laid over the first."""
        left_first = self.chance.happens(0.5, count)
        layers = []
        for left, fill, place in zip((left_first, ~left_first), *self._two_places(count), strict=True):
            at = self.sprites.single[self.chance.below(len(self.sprites.single), count)]
            layer = self._cut_outs(self.sprites, at, left)
            layers.append(layer.seen_through(self._fitted(layer.points, fill, place)))
        new = _there(layers[1].points)[..., None]
        both = torch.where(new[..., None], layers[1].points, layers[0].points)
        look = self._looks(both, unchanged(count, self.device))
        first, second = (layer.seen_through(look) for layer in layers)
        over = self._drawn(second)
        hidden = torch.where(_covered(over, first.points), HIDDEN_WEIGHT, first.weight)
        image = _over(_over(self._canvas(count), self._drawn(first)), over)
        return Part(image, apply(look, both), torch.where(new, second.weight, hidden))

    def _real(self, count: int) -> Part:
        """Real pictures: round all their hands, or close looks."""
        layer = self._cut_outs(self.pictures, self.pictures.draw(count, self.chance))
        whole = self._fitted(layer.points, *self._places(count))
        layer = layer.seen_through(self._looks(layer.points, whole))
        canvas = self._canvas(count, photo=0.35, black=0.75)
        return Part(_over(canvas, self._drawn(layer)), layer.points, layer.weight)

    def _empty(self, count: int) -> Part:
        """Pictures without hands: pieces of backgrounds, whole ones, and pieces of real pictures beside the hands."""
        image = self._canvas(count, photo=0.9, tiny=0.5)
        whole, others = self.chance.split(0.4, count)
        image[whole] = self._whole(len(whole))
        beside = others[self.chance.split(0.5, len(others))[0]]
        piece, found = self._beside_hands(len(beside))
        image[beside] = _choose(found, piece, image[beside])
        points = torch.full((count, N_HANDS, N_HAND, 2), torch.nan, device=self.device)
        return Part(image, points, torch.ones_like(points[..., 0]))

    def _cut_outs(self, bank: Bank, at: Tensor, left: Tensor | None = None) -> Layer:
        """Cut-outs in their own pixels, mirrored by chance; left (n,) bool: those of one hand as left hands or not."""
        points, weight = bank.points[at], bank.weight[at]
        if left is None:
            which = self.chance.happens(0.5, len(at))
        else:
            which = torch.isfinite(points[:, 1, 0, 0]) != left
        matrix = flips(which, bank.side)
        points = apply(matrix, points)
        points, weight = _choose(which, points.flip(1), points), _choose(which, weight.flip(1), weight)
        return Layer(bank.levels[at], points, weight, matrix)

    def _drawn(self, layer: Layer) -> Tensor:
        """(n, 4, S, S) colour times alpha and alpha, 0..255."""
        return warp(layer.levels, layer.matrix, self.size)

    def _places(self, count: int) -> tuple[Tensor, Tensor]:
        """Lengths (n,) and centres (n, 2), px, as the detector's crops hold hands."""
        chance = self.chance
        large, small = chance.uniform(0.5, 0.88, count), chance.uniform(0.22, 0.6, count)
        share = torch.where(chance.happens(0.6, count), large, small)
        room = (1 - share) / 2 + 0.12 * chance.happens(0.15, count)
        return share * self.size, (0.5 + room[:, None] * chance.uniform(-1, 1, count, 2)) * self.size

    def _two_places(self, count: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Lengths, then centres, of two hands that share a crop: beside one another, overlapping or far apart."""
        chance = self.chance
        fill, place = self._places(count)
        first, second = fill * chance.uniform(0.45, 0.75, count), fill * chance.uniform(0.45, 0.75, count)
        apart = chance.uniform(0.2, 1.0, count) * (first + second) / 2
        across = chance.normal(0.4, count) + math.pi * chance.below(2, count)
        angle = torch.where(chance.happens(0.3, count), chance.uniform(-math.pi, math.pi, count), across)
        away = torch.stack([torch.cos(angle), torch.sin(angle)], 1) * (apart / 2)[:, None]
        return (first, second), (place + away, place - away)

    def _fitted(self, points: Tensor, fill: Tensor, place: Tensor) -> Tensor:
        """(n, 2, 3): the box of finite points (n, 2, 85, 2) gets `fill` px long at `place`, turned and squeezed."""
        low, high = _box(points)
        scale = fill / (high - low).amax(1).clamp(min=1)
        return about(self._turned(scale), (low + high) / 2, place)

    def _turned(self, scale: Tensor) -> Tensor:
        """(n, 2, 2): scaled, turned in any direction, mostly a little, and squeezed."""
        chance, count = self.chance, len(scale)
        any_turn = chance.uniform(-math.pi, math.pi, count)
        turn = torch.where(chance.happens(0.6, count), chance.normal(0.35, count), any_turn)
        squeeze = torch.exp(chance.normal(0.05, count))
        return rotated(turn) * torch.stack([scale * squeeze, scale / squeeze], 1)[:, None]

    def _looks(self, points: Tensor, others: Tensor) -> Tensor:
        """(n, 2, 3): for a share of samples a close look at one hand, as `compose.close_look`; else `others`."""
        chance, count = self.chance, len(points)
        likely = chance.uniform(0.01, 1, count, N_HANDS) * _there(points)
        hand = points[torch.arange(count, device=self.device), likely.argmax(1)]
        hand = torch.where(torch.isfinite(hand), hand, hand[:, :1])
        up = hand[:, MIDDLE_MCP] - hand[:, 0]
        sigma = torch.where(chance.happens(0.15, count), 0.5, 0.15)
        rotation = rotated(sigma * chance.normal(1, count) - torch.atan2(up[:, 0], -up[:, 1]))
        local = hand @ rotation.mT
        low, high = local.amin(1), local.amax(1)
        scale = self.size * chance.uniform(0.6, 0.85, count) / (high - low).amax(1).clamp(min=1)
        linear = rotation * scale[:, None, None] * torch.exp(chance.normal(0.04, count, 2, 1))
        centre = (rotation.mT @ ((low + high) / 2)[..., None])[..., 0]
        looks = about(linear, centre, self.size * (0.5 + chance.normal(0.035, count, 2)))
        return _choose(chance.happens(self.mix.close, count), looks, others)

    def _canvas(self, count: int, photo: float = 0.8, black: float = 0.4, tiny: float = 0.0) -> Tensor:
        """(n, 3, S, S): a share `photo` pieces of backgrounds; of the rest a share `black` black, others of one colour.

        tiny: share of pieces that may be small ones.
        """
        chance, canvas = self.chance, torch.zeros(count, 3, self.size, self.size, device=self.device)
        pieces = chance.part(photo, count)
        at = self.backgrounds.any(pieces, chance)
        extent = self.backgrounds.extent[at]
        least = torch.where(chance.happens(tiny, pieces), math.log(TINY_PIECE), math.log(PIECE))
        side = torch.exp(least * chance.uniform(0, 1, pieces)) * extent.amin(1)
        corner = chance.uniform(0, 1, pieces, 2) * (extent - side[:, None])
        canvas[:pieces] = self._squares(self.backgrounds, at, corner, side)
        sloping = canvas[pieces + chance.part((1 - photo) * black, count) :]
        if len(sloping):
            colour = chance.uniform(0, 255, len(sloping), 3, 1, 1) + chance.normal(25, len(sloping), 3, 2, 2)
            sloping.copy_(interpolate(colour.clamp(0, 255), size=(self.size, self.size), mode="bilinear"))
        return canvas

    def _squares(self, bank: Bank, at: Tensor, corner: Tensor, side: Tensor) -> Tensor:
        """(n, 3, S, S): squares of a bank's pictures at corner (n, 2), side (n,) px long, mirrored by chance."""
        extent = bank.extent[at]
        side = torch.minimum(side, extent.amin(1) - 2 * EDGE_PX)
        corner = torch.minimum(corner.clamp(min=EDGE_PX), extent - EDGE_PX - side[:, None])
        fit = zoomed(self.size / side)
        moved = about(fit[:, :, :2], corner, fit[:, :, 2])
        matrix = chain(flips(self.chance.happens(0.5, len(at)), self.size), moved)
        return warp(bank.levels[at, :3], matrix, self.size, edge=True)

    def _whole(self, count: int) -> Tensor:
        """(n, 3, S, S): whole backgrounds on black, a little turned and zoomed, as the detector's first look has it."""
        at = self.backgrounds.any(count, self.chance)
        extent = self.backgrounds.extent[at]
        linear = self._turned(self.size * self.chance.uniform(0.9, 1.3, count) / extent.amax(1))
        matrix = about(linear, extent / 2, self.size * self.chance.uniform(0.42, 0.58, count, 2))
        matrix = chain(flips(self.chance.happens(0.5, count), self.size), matrix)
        return warp(self.backgrounds.levels[at, :3], matrix, self.size)

    def _beside_hands(self, count: int) -> tuple[Tensor, Tensor]:
        """Squares of real pictures clear of all hands by a margin (n, 3, S, S), and where there was room (n,) bool."""
        at = self.pictures.any(count, self.chance)
        low, high = _box(self.pictures.points[at])
        margin = 0.25 * (high - low).amax(1)
        (w, h), nothing = self.pictures.extent[at].unbind(1), torch.zeros(count, device=self.device)
        left, above = [nothing, nothing, low[:, 0] - margin, h], [nothing, nothing, w, low[:, 1] - margin]
        right = [high[:, 0] + margin, nothing, w, h]
        bands = torch.stack([torch.stack(band, 1) for band in (left, right, above)], 1)
        band = bands[torch.arange(count, device=self.device), self.chance.below(3, count)]
        room = band[:, 2:] - band[:, :2]
        longest = room.amin(1)
        found, longest = longest >= 80, longest.clamp(min=80)
        least = (50 / longest).clamp(min=0.3)
        side = (least + (1 - least) * self.chance.uniform(0, 1, count)) * longest
        corner = band[:, :2] + self.chance.uniform(0, 1, count, 2) * (room - side[:, None])
        return self._squares(self.pictures, at, corner, side), found


def _there(points: Tensor) -> Tensor:
    """(n, 2) bool: the hands of points (n, 2, 85, 2) that are there."""
    return torch.isfinite(points[:, :, 0, 0])


def _box(points: Tensor) -> tuple[Tensor, Tensor]:
    """Corners (n, 2) of the boxes round all finite points (n, 2, 85, 2)."""
    flat = points.flatten(1, 2)
    return torch.nan_to_num(flat, nan=1e9).amin(1), torch.nan_to_num(flat, nan=-1e9).amax(1)


def _choose(which: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(which.view(-1, *[1] * (yes.ndim - 1)), yes, no)


def _over(canvas: Tensor, layer: Tensor) -> Tensor:
    """Colour-times-alpha RGBA (n, 4, S, S) over RGB, 0..255."""
    return torch.addcmul(layer[:, :3], canvas, 1 - layer[:, 3:] / 255)


def _covered(layer: Tensor, points: Tensor) -> Tensor:
    """Which points (n, 2, 85, 2) lie under an opaque place of a layer."""
    size = layer.shape[-1]
    at = torch.nan_to_num(points, nan=-1).round().long().flatten(1, 2)
    inside = ((at >= 0) & (at < size)).all(-1)
    index = (at[..., 1].clamp(0, size - 1) * size + at[..., 0].clamp(0, size - 1))[:, None]
    alpha = layer[:, 3:].flatten(2).gather(2, index)[:, 0]
    return (inside & (alpha > 127)).view(len(points), N_HANDS, N_HAND)
