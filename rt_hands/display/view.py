"""A Result as one picture: every view with its hands, tiled."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache

import cv2
import numpy as np

from rt_hands.display.draw import Style, draw_belief_maps, paint_hands
from rt_hands.display.overlay import Tiling, fit_into
from rt_hands.display.view3d import Orbit, World, draw_world
from rt_hands.pipeline import Result
from rt_hands.types import Hands2D, Image

TURN_DEG_S = 12.0
MANY_VIEWS = 4


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
    cameras: tuple[str, ...] = ()
    """All cameras of the source: each keeps its tile, black while it is absent. Else those that are there share it."""
    view_px: tuple[int, int] | None = None
    """(width, height) of a single view, or of one of few; default: that of the first."""


class Canvas:
    """A picture to draw on again and again: fresh memory costs more than the drawing. One thread at a time."""

    def __init__(self) -> None:
        self._key: tuple[Tiling, int] | None = None
        self._view_px: tuple[int, int] | None = None
        self._image: Image = np.zeros((0, 0, 3), np.uint8)

    def prepared(self, tiling: Tiling, tiles: int) -> Image:
        """The picture for so many tiles: what was drawn last while they stay the same, else black."""
        if self._key != (tiling, tiles):
            self._key = tiling, tiles
            self._image = np.zeros((tiling.size_px[1], tiling.size_px[0], 3), np.uint8)
        return self._image

    def kept(self, view_px: tuple[int, int]) -> tuple[int, int]:
        """The size that was given first: cameras of two sizes take turns at being the first that is there."""
        self._view_px = self._view_px or view_px
        return self._view_px


def draw_result(result: Result, options: ViewOptions | None = None, canvas: Canvas | None = None) -> Image:
    """All views of a Result with their hands; canvas: drawn on and returned, until the next call, instead of a new one.

    Each view is shrunk into its tile first, so lines are as wide in a tile as in a single view.
    """
    options, canvas = options or ViewOptions(), canvas or Canvas()
    frames = result.frames.frames
    cameras = options.cameras or result.frames.cameras
    world_tile = options.world is not None and (result.rig is not None or bool(options.cameras))
    tiles = len(cameras) + world_tile
    view_px = options.view_px or frames[0].size_px
    tiling = Tiling.of(tiles, canvas.kept(view_px) if len(options.cameras) > 1 else view_px)
    out = canvas.prepared(tiling, tiles)
    places = [cameras.index(camera) for camera in result.frames.cameras]
    # Whoever drew text over the last picture did so here, too. 28 us of 2.7 ms for eight views of 1280x720.
    tiling.blank(out, except_views=places)

    def draw_view(view: int) -> None:
        _draw_view(tiling.part(out, places[view]), result, options, view)

    _draw_each(draw_view, len(frames))
    if options.world is not None and result.rig is not None:
        orbit = Orbit(azimuth_deg=result.frames.t_ns * 1e-9 * TURN_DEG_S % 360)
        world = draw_world(result.rig.hands, options.world, orbit, (tiling.width, tiling.height))
        np.copyto(tiling.part(out, len(cameras)), world)
    return out


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "draw")


def _draw_each(draw: Callable[[int], None], views: int) -> None:
    """All views, where there are many with a helper: OpenCV and the core draw without the interpreter's lock."""
    left = iter(range(views))

    def work() -> None:
        for view in left:
            draw(view)

    helper = _pool().submit(work) if views >= MANY_VIEWS else None
    work()
    # A helper that has found no processor by now isn't waited for.
    if helper is not None and not helper.cancel():
        helper.result()


def _draw_view(out: Image, result: Result, options: ViewOptions, view: int) -> None:
    """One view with its hands in its place, as large as fits."""
    image, hands = result.frames.frames[view].image_bgr, result.shown(view, options.multi_view)
    if options.belief and result.beliefs:
        for belief in result.beliefs[view]:
            image = draw_belief_maps(image, belief.maps, belief.picture_from_map)
    part, share = fit_into(out, image)
    if options.mirror:
        cv2.flip(part.copy(), 1, dst=part)
    if share != 1:
        hands = resized(hands, share)
    paint_hands(part, hands, options.style, options.mirror)


def resized(hands: Hands2D, share: float) -> Hands2D:
    """The hands in the picture made so much smaller, pixel centres kept at whole numbers."""
    points = hands.points_px.copy()
    points[:, :2] = (points[:, :2] + 0.5) * share - 0.5
    return replace(hands, points_px=points)
