"""A Result as one picture: every view with its hands, tiled."""

from __future__ import annotations

from dataclasses import dataclass, field

from rt_hands.display.draw import Style, draw_belief_maps, draw_hands
from rt_hands.display.overlay import tile
from rt_hands.pipeline import Result
from rt_hands.types import Image


@dataclass(slots=True)
class ViewOptions:
    """What is shown; the window's keys change it. mirror flips the display only, never what is computed or saved."""

    style: Style = field(default_factory=Style)
    mirror: bool = False
    belief: bool = False


def draw_result(result: Result, options: ViewOptions | None = None) -> Image:
    """All views of a Result with their hands."""
    options = options or ViewOptions()
    pictures = []
    for i, (frame, view) in enumerate(zip(result.frames.frames, result.views, strict=True)):
        image = frame.image_bgr
        if options.belief and result.beliefs:
            for belief in result.beliefs[i]:
                image = draw_belief_maps(image, belief.maps, belief.picture_from_map)
        pictures.append(draw_hands(image, view.hands, options.style, options.mirror))
    return tile(pictures)
