"""A Result as one picture: every view with its hands, tiled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, partial

import cv2
import numpy as np

from rt_hands.display.draw import Style, draw_belief_maps, draw_hands
from rt_hands.display.overlay import tile, tile_size
from rt_hands.display.view3d import Orbit, World, draw_world
from rt_hands.pipeline import Result
from rt_hands.types import Hands2D, Image

TURN_DEG_S = 12.0
MANY_VIEWS = 4
MUCH_SMALLER = 0.75
"""Views shown at less than this share of their size are shrunk before the hands are drawn: eight views in a quarter of
the time, with lines as wide as in one view."""


@dataclass(slots=True)
class ViewOptions:
    """What is shown; the window's keys change it. mirror flips the display only, never what is computed or saved."""

    style: Style = field(default_factory=Style)
    mirror: bool = False
    belief: bool = False
    multi_view: bool = True
    """With a rig: the hands that all views agree on; off: each view's own."""
    world: World | None = None
    """With a rig: one more tile with the hands in 3D, its camera circling slowly."""


def draw_result(result: Result, options: ViewOptions | None = None) -> Image:
    """All views of a Result with their hands."""
    options = options or ViewOptions()
    with_world = options.world is not None and result.rig is not None
    size_px = tile_size(len(result.frames.frames) + with_world, result.frames.frames[0].size_px)
    pictures = list(_map(partial(_draw_view, result, options, size_px), range(len(result.frames.frames))))
    if options.world is not None and result.rig is not None:
        orbit = Orbit(azimuth_deg=result.frames.t_ns * 1e-9 * TURN_DEG_S % 360)
        pictures.append(draw_world(result.rig.hands, options.world, orbit, size_px))
    return tile(pictures)


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(2, "draw")


def _map(draw: Callable[[int], Image], views: Sequence[int]) -> Iterable[Image]:
    """On two threads where there are several views: OpenCV draws without the interpreter's lock."""
    return _pool().map(draw, views) if len(views) >= MANY_VIEWS else map(draw, views)


def _draw_view(result: Result, options: ViewOptions, size_px: tuple[int, int], view: int) -> Image:
    """One view with its hands, shrunk where it will be shown much smaller; size_px: (width, height) of its tile."""
    image, hands = result.frames.frames[view].image_bgr, result.shown(view, options.multi_view)
    if options.belief and result.beliefs:
        for belief in result.beliefs[view]:
            image = draw_belief_maps(image, belief.maps, belief.picture_from_map)
    share = min(size_px[0] / image.shape[1], size_px[1] / image.shape[0])
    if share < MUCH_SMALLER:
        small_px = (max(round(image.shape[1] * share), 1), max(round(image.shape[0] * share), 1))
        image = np.asarray(cv2.resize(image, small_px, interpolation=cv2.INTER_AREA), np.uint8)
        hands = resized(hands, share)
    return draw_hands(image, hands, options.style, options.mirror)


def resized(hands: Hands2D, share: float) -> Hands2D:
    """The hands in the picture made so much smaller, pixel centres kept at whole numbers."""
    points = hands.points_px.copy()
    points[:, :2] = (points[:, :2] + 0.5) * share - 0.5
    return replace(hands, points_px=points)
