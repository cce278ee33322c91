"""A Result as one picture: every view with its hands, tiled."""

from __future__ import annotations

from dataclasses import dataclass, field

from rt_hands.display.draw import Style, draw_belief_maps, draw_hands
from rt_hands.display.overlay import tile
from rt_hands.display.view3d import Orbit, World, draw_world
from rt_hands.pipeline import Result
from rt_hands.types import Image

TURN_DEG_S = 12.0


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
    pictures = []
    for i, frame in enumerate(result.frames.frames):
        image = frame.image_bgr
        if options.belief and result.beliefs:
            for belief in result.beliefs[i]:
                image = draw_belief_maps(image, belief.maps, belief.picture_from_map)
        hands = result.shown(i, options.multi_view)
        pictures.append(draw_hands(image, hands, options.style, options.mirror))
    if options.world is not None and result.rig is not None:
        size_px = result.frames.frames[0].size_px
        orbit = Orbit(azimuth_deg=result.frames.t_ns * 1e-9 * TURN_DEG_S % 360)
        pictures.append(draw_world(result.rig.hands, options.world, orbit, size_px))
    return tile(pictures)
