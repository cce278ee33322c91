"""Training samples: crops of real pictures, rendered hands over backgrounds, pictures without hands.

Crops are drawn as the detector meets them: a first look has one or two hands anywhere, 22-90 % of the square, in any
rotation; a close look is centred on one hand and turned so that this hand points up (`close_look`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.layout import N_HAND, N_HANDS, N_POINTS
from rt_hands.training.augment import Image, Rng, photometric, shrunk
from rt_hands.training.pictures import Picture

HIDDEN_WEIGHT = 0.75
CLOSE_SHARE = 0.65  # of the pictures with hands: close looks, which give the points that are shown
MIDDLE_MCP = 9
Points = NDArray[np.float32]


class Sample(NamedTuple):
    """image (S, S, 3) uint8 RGB; points (170, 2) px, NaN: empty map; weight (170,), 0: unknown; present (2,) 0 or 1."""

    image: Image
    points: Points
    weight: NDArray[np.float32]
    present: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Sprite:
    """A rendered hand (or two that belong together) on nothing.

    rgba: (h, w, 4) uint8, colour already multiplied by alpha. points_px: (2, 85, 2), NaN for an absent hand.
    visible: (2, 85) bool.
    """

    rgba: Image
    points_px: Points
    visible: NDArray[np.bool_]

    @property
    def present(self) -> NDArray[np.bool_]:
        """(2,): right, left."""
        return np.isfinite(self.points_px[:, 0, 0])


def apply(matrix: NDArray[np.float64], points: Points) -> Points:
    """Points through a 2 x 3 affine: (..., 2) -> (..., 2)."""
    return (points @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)


def flip_hands(points: Points, width_px: int) -> Points:
    """Points of the mirrored picture: (2, 85, 2), the hands change places."""
    flipped = points[::-1].copy()
    flipped[..., 0] = width_px - 1 - flipped[..., 0]
    return flipped


def box_of(points: Points) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Centre (2,) and side lengths (2,) of the box round all finite points."""
    finite = points[np.isfinite(points[..., 0])]
    low, high = finite.min(0), finite.max(0)
    return (low + high) / 2, high - low


def random_affine(
    centre: Points, side: float, target_px: tuple[float, float], fill_px: float, rng: Rng
) -> NDArray[np.float64]:
    """2 x 3 affine that brings a box to `target_px`, its longer side to `fill_px`, turned and a little squeezed."""
    turn = rng.normal(0, 0.35) if rng.random() < 0.6 else rng.uniform(-np.pi, np.pi)
    squeeze = np.exp(rng.normal(0, 0.05))
    scale = fill_px / max(side, 1.0)
    c, s = np.cos(turn) * scale, np.sin(turn) * scale
    linear = np.array([[c, -s], [s, c]]) @ np.diag([squeeze, 1 / squeeze])
    return np.hstack([linear, (np.asarray(target_px) - linear @ centre)[:, None]])


def close_look(points: Points, size: int, rng: Rng) -> NDArray[np.float64]:
    """2 x 3 affine to a crop centred on one hand (85, 2), wrist below and knuckles above, as the last one was off."""
    up = points[MIDDLE_MCP] - points[0]
    turn = -np.arctan2(up[0], -up[1]) + rng.normal(0, 0.5 if rng.random() < 0.15 else 0.15)
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, -s], [s, c]])
    centre, sides = box_of((points @ rotation.T).astype(np.float32))
    scale = size * rng.uniform(0.6, 0.85) / max(float(sides.max()), 1.0)
    linear = rotation * scale * np.exp(rng.normal(0, 0.04, 2))[:, None]
    middle = size * (0.5 + rng.normal(0, 0.035, 2))
    return np.hstack([linear, (middle - linear @ rotation.T @ centre)[:, None]])


def chain(second: NDArray[np.float64], first: NDArray[np.float64]) -> NDArray[np.float64]:
    """The 2 x 3 affine that does `first`, then `second`."""
    linear = second[:, :2] @ first[:, :2]
    return np.hstack([linear, (second[:, :2] @ first[:, 2] + second[:, 2])[:, None]])


def random_place(size: int, rng: Rng) -> tuple[float, tuple[float, float]]:
    """How long the hands' box shall be and where its centre: px of a crop of `size`."""
    share = rng.uniform(0.5, 0.88) if rng.random() < 0.6 else rng.uniform(0.22, 0.6)
    room = max(0.0, 1 - share) / 2 + (0.12 if rng.random() < 0.15 else 0.0)
    x, y = (0.5 + rng.uniform(-room, room, 2)) * size
    return share * size, (x, y)


def paste(image: Image, matrix: NDArray[np.float64], canvas: Image) -> Image:
    """Warp a picture onto a canvas, which stays where the picture ends; shrinks by area first where it must."""
    image, matrix = shrunk(image, matrix)
    size = (canvas.shape[1], canvas.shape[0])
    flags, border = cv2.INTER_LINEAR, cv2.BORDER_TRANSPARENT
    return np.asarray(
        cv2.warpAffine(image, matrix, size, dst=canvas, flags=flags, borderMode=border), np.uint8
    )


def random_canvas(
    size: int,
    backgrounds: list[Image],
    rng: Rng,
    photo: float = 0.8,
    black: float = 0.4,
    smallest: float = 0.25,
) -> Image:
    """A piece of a photograph without hands, or (share 1 - photo) black or a slope of colours.

    smallest: side of a piece as a share of the photograph's shorter side.
    """
    if rng.random() < photo:
        image = backgrounds[rng.integers(len(backgrounds))]
        side = int(np.exp(rng.uniform(np.log(smallest), 0)) * min(image.shape[:2]))
        y, x = (rng.integers(0, n - side + 1) for n in image.shape[:2])
        piece = np.ascontiguousarray(image[y : y + side, x : x + side][:, :: rng.choice([-1, 1])])
        return np.asarray(cv2.resize(piece, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)
    if rng.random() < black:
        return np.zeros((size, size, 3), np.uint8)
    corners = rng.integers(0, 256, 3) + rng.normal(0, 25, (2, 2, 3))
    slope = np.clip(corners, 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(slope, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


def real_sample(
    picture: Picture, size: int, backgrounds: list[Image], rng: Rng, close: float = CLOSE_SHARE
) -> Sample:
    """A crop of a real picture round all its hands, or a close look at one; close: the share of these."""
    image, points = picture.image_rgb(), picture.points_px
    trust, present = picture.trust, picture.present
    if rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
        points, trust, present = flip_hands(points, image.shape[1]), trust[::-1], present[::-1]
    if rng.random() < close:
        matrix = close_look(points[int(rng.choice(np.flatnonzero(present)))], size, rng)
    else:
        centre, sides = box_of(points)
        fill, place = random_place(size, rng)
        matrix = random_affine(centre, float(sides.max()), place, fill, rng)
    canvas = paste(image, matrix, random_canvas(size, backgrounds, rng, photo=0.35, black=0.75))
    weight = np.where(present[:, None], trust, 1).astype(np.float32)
    return _sample(photometric(canvas, rng), apply(matrix, points), weight, present)


def _sample(image: Image, points: Points, weight: NDArray[np.float32], present: NDArray[np.bool_]) -> Sample:
    """Put the parts into a Sample; a hand counts as present while a third of its joints is inside the picture."""
    size = image.shape[0]
    inside = ((points >= 0) & (points <= size - 1)).all(-1)
    seen = present & (inside[:, :21].mean(1) > 0.33)
    return Sample(image, points.reshape(N_POINTS, 2), weight.reshape(N_POINTS), seen.astype(np.float32))


def empty_sample(pictures: list[Picture], size: int, backgrounds: list[Image], rng: Rng) -> Sample:
    """A picture without hands: a background, or a part of a real picture beside its hands."""
    # The detector's close looks at what might be a small hand are a tenth of the picture wide. Such crops alone teach
    # that what is blurred is no hand.
    image = random_canvas(size, backgrounds, rng, photo=0.9, smallest=float(rng.choice([0.08, 0.25])))
    kind = rng.random()
    if kind < 0.4:
        image = _whole(backgrounds[rng.integers(len(backgrounds))], size, rng)
    elif kind < 0.7:
        beside = _beside_hands(pictures[rng.integers(len(pictures))], rng)
        if beside is not None:
            image = np.asarray(cv2.resize(beside, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)
    nothing = np.full((N_POINTS, 2), np.nan, np.float32)
    return Sample(
        photometric(image, rng), nothing, np.ones(N_POINTS, np.float32), np.zeros(N_HANDS, np.float32)
    )


def _whole(image: Image, size: int, rng: Rng) -> Image:
    """A whole picture in a black square, a little turned and zoomed, as the detector's first look has it."""
    h, w = image.shape[:2]
    if rng.random() < 0.5:
        image = np.ascontiguousarray(image[:, ::-1])
    centre = np.array([w / 2, h / 2], np.float32)
    place = tuple(size * rng.uniform(0.42, 0.58, 2))
    matrix = random_affine(centre, float(max(h, w)), place, size * rng.uniform(0.9, 1.3), rng)
    return paste(image, matrix, np.zeros((size, size, 3), np.uint8))


def _beside_hands(picture: Picture, rng: Rng) -> Image | None:
    """A square of a real picture, 50 px or more, clear of all joints by a margin; None where there is no room."""
    image = picture.image_rgb()
    joints = picture.points_px[np.isfinite(picture.points_px[..., 0])]
    low, high = joints.min(0), joints.max(0)
    margin = 0.25 * float((high - low).max())
    h, w = image.shape[:2]
    bands = [(0, 0, low[0] - margin, h), (high[0] + margin, 0, w, h), (0, 0, w, low[1] - margin)]
    x0, y0, x1, y1 = (int(v) for v in bands[rng.integers(len(bands))])
    side = min(x1 - x0, y1 - y0)
    if side < 80:
        return None
    side = int(rng.uniform(max(0.3, 50 / side), 1) * side)
    x, y = x0 + int(rng.integers(x1 - x0 - side + 1)), y0 + int(rng.integers(y1 - y0 - side + 1))
    return image[y : y + side, x : x + side]


def blend(canvas: Image, sprite: Sprite, matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Draw a sprite over a canvas, in place; gives its alpha there, (S, S) float32 0..1."""
    size = (canvas.shape[1], canvas.shape[0])
    rgba, matrix = shrunk(sprite.rgba, matrix)
    drawn = cv2.warpAffine(rgba, matrix, size, flags=cv2.INTER_LINEAR)
    alpha = drawn[..., 3].astype(np.float32) / 255
    canvas[:] = cv2.add(cv2.multiply(canvas, cv2.merge([1 - alpha] * 3), dtype=cv2.CV_8U), drawn[..., :3])
    return alpha


def hidden_by(alpha: NDArray[np.float32], points: Points) -> NDArray[np.bool_]:
    """Which points (..., 2) lie under a later sprite."""
    size = alpha.shape[0]
    at = np.nan_to_num(points, nan=-1).round().astype(int)
    inside = ((at >= 0) & (at < size)).all(-1)
    clipped = at.clip(0, size - 1)
    return inside & (alpha[clipped[..., 1], clipped[..., 0]] > 0.5)


def sprite_sample(
    first: Sprite,
    second: Sprite | None,
    size: int,
    backgrounds: list[Image],
    rng: Rng,
    effects: bool = True,
    close: float = 0.0,
) -> Sample:
    """One sprite, or two one-hand sprites as right and left hand, over a background.

    effects: with a camera's flaws. close: share of close looks at one of the hands.
    """
    canvas = random_canvas(size, backgrounds, rng)
    points = np.full((N_HANDS, N_HAND, 2), np.nan, np.float32)
    weight = np.ones((N_HANDS, N_HAND), np.float32)
    fill, (x, y) = random_place(size, rng)
    places = [(fill, (x, y))] if second is None else _two_places(fill, (x, y), rng)
    layers: list[tuple[Sprite, NDArray[np.float64]]] = []
    for number, (given, (length, place)) in enumerate(zip([first, second], places, strict=False)):
        if given is None:
            continue
        sprite = _as_side(given, None if second is None else number, rng)
        centre, sides = box_of(sprite.points_px)
        layers.append((sprite, random_affine(centre, float(sides.max()), place, length, rng)))
    if rng.random() < close:
        sprite, matrix = layers[int(rng.integers(len(layers)))]
        target = sprite.points_px[int(rng.choice(np.flatnonzero(sprite.present)))]
        look = close_look(apply(matrix, target), size, rng)
        layers = [(sprite, chain(look, matrix)) for sprite, matrix in layers]
    if rng.random() < 0.5:  # either hand may lie on top
        layers.reverse()
    for sprite, matrix in layers:
        alpha = blend(canvas, sprite, matrix)
        weight[hidden_by(alpha, points)] = HIDDEN_WEIGHT
        for hand in np.flatnonzero(sprite.present):
            points[hand] = apply(matrix, sprite.points_px[hand])
            weight[hand] = np.where(sprite.visible[hand], 1, HIDDEN_WEIGHT)
    present = np.isfinite(points[:, 0, 0])
    return _sample(photometric(canvas, rng) if effects else canvas, points, weight, present)


def _two_places(
    fill: float, centre: tuple[float, float], rng: Rng
) -> list[tuple[float, tuple[float, float]]]:
    """Two boxes that share a crop: beside one another, sometimes overlapping or far apart."""
    first, second = fill * rng.uniform(0.45, 0.75), fill * rng.uniform(0.45, 0.75)
    apart = rng.uniform(0.2, 1.0) * (first + second) / 2
    angle = rng.uniform(-np.pi, np.pi) if rng.random() < 0.3 else rng.normal(0, 0.4) + np.pi * rng.integers(2)
    dx, dy = apart / 2 * np.cos(angle), apart / 2 * np.sin(angle)
    x, y = centre
    return [(first, (x + dx, y + dy)), (second, (x - dx, y - dy))]


def _as_side(sprite: Sprite, side: int | None, rng: Rng) -> Sprite:
    """The sprite as the wanted hand (0 right, 1 left), by mirroring; None: either, at random."""
    present = sprite.present
    mirror = rng.random() < 0.5 if side is None else not present[side]
    if not mirror:
        return sprite
    rgba = np.ascontiguousarray(sprite.rgba[:, ::-1])
    return Sprite(rgba, flip_hands(sprite.points_px, rgba.shape[1]), sprite.visible[::-1])
