"""Views tiled: places, sizes and pixels stay the same from result to result. No network."""

from __future__ import annotations

import numpy as np

from rt_hands.display.overlay import draw_help, draw_status
from rt_hands.display.view import Canvas, ViewOptions, draw_result
from rt_hands.pipeline import Result
from rt_hands.tracking.track import State
from rt_hands.tracking.tracker import Tracked
from rt_hands.types import Frame, FrameSet, Hands2D

NOBODY = Tracked(Hands2D.empty(), Hands2D.empty(), (State.LOST, State.LOST))


def grey(**sizes_px: tuple[int, int]) -> Result:
    """A result without hands of the cameras named, each with its (width, height)."""
    frames = tuple(
        Frame(np.full((height, width, 3), 80, np.uint8), camera, 0, 0)
        for camera, (width, height) in sizes_px.items()
    )
    return Result(FrameSet(frames, 0), (NOBODY,) * len(frames))


def test_text_that_was_drawn_over_the_tiles_is_gone_in_the_next_picture():
    """Of the help over three views of 640x480, 1,979 pixels stayed in the gaps and in the unused fourth place."""
    for count in (2, 3, 5, 8):
        result = grey(**dict.fromkeys("abcdefgh"[:count], (320, 240)))
        options, canvas = ViewOptions(cameras=tuple("abcdefgh"[:count])), Canvas()
        image = draw_result(result, options, canvas)
        clean = image.copy()
        draw_help(image)
        draw_status(image, ["a line of text that is wider than a tile and so runs over its gap " * 2])
        assert (image != clean).any()
        np.testing.assert_array_equal(draw_result(result, options, canvas), clean)


def test_cameras_of_two_sizes_keep_one_tiling_whoever_is_there():
    """The first camera that was there gave the size: 1284x480 with b alone, 1924x540 with a."""
    wide, small = (1280, 720), (640, 480)
    options, canvas = ViewOptions(cameras=("a", "b")), Canvas()
    results = (grey(a=wide, b=small), grey(b=small), grey(a=wide))
    assert {draw_result(result, options, canvas).shape for result in results} == {(540, 1924, 3)}


def test_pictures_of_a_single_camera_each_keep_their_size():
    options, canvas = ViewOptions(cameras=("a",)), Canvas()
    for size_px in ((64, 48), (1280, 720)):
        assert draw_result(grey(a=size_px), options, canvas).shape[1::-1] == size_px
