"""The preview of the capture command: its tiles and its keys; cv2's own window is replaced."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from painted import FakeQt

from rt_hands.capture import __main__ as command
from rt_hands.types import Frame, FrameSet

GREY = {"a": 60, "b": 120}
SIZE = (64, 48)


@pytest.fixture
def qt(monkeypatch):
    return FakeQt(monkeypatch)


@pytest.fixture
def preview(qt, monkeypatch):
    monkeypatch.setattr(command, "PREVIEW_EVERY_S", 0.0)
    monkeypatch.setattr(command, "draw_status", lambda *_: None)
    monkeypatch.setattr(command, "state", lambda _: "")
    return command._Preview(SimpleNamespace(), ("a", "b"))


def frames(t_ns: int, *cameras: str) -> FrameSet:
    shape = (SIZE[1], SIZE[0], 3)
    return FrameSet(tuple(Frame(np.full(shape, GREY[c], np.uint8), c, 0, t_ns) for c in cameras), 0)


def tiles(image: np.ndarray) -> list[int]:
    """Grey of the tiles of two cameras, in their order."""
    assert image.shape == (SIZE[1] // 2, SIZE[0] + 4, 3)
    return [int(image[5, 5, 0]), int(image[5, -5, 0])]


def test_cameras_out_of_step_keep_their_tiles(preview, qt):
    """Of two with 30 and 15 fps: the preview changed its shape 87 times in 90 sets."""
    for i in range(90):
        assert preview.show(frames(i * 33_000_000, *("ab" if i % 2 else "a")))
    assert [tiles(image) for image in qt.shown] == [[60, 0]] + [[60, 120]] * 89


def test_a_set_between_two_pictures_of_the_preview_counts(preview, qt, monkeypatch):
    preview.show(frames(0, "a"))
    monkeypatch.setattr(command, "PREVIEW_EVERY_S", 60.0)
    preview.show(frames(33_000_000, "b"))
    monkeypatch.setattr(command, "PREVIEW_EVERY_S", 0.0)
    preview.show(frames(66_000_000, "a"))
    assert [tiles(image) for image in qt.shown] == [[60, 0], [60, 120]]


def test_a_camera_that_has_gone_silent_is_black(preview, qt):
    for t_ns, cameras in ((0, "ab"), (1_900_000_000, "b"), (2_100_000_000, "b"), (2_200_000_000, "ab")):
        preview.show(frames(t_ns, *cameras))
    assert [tiles(image) for image in qt.shown] == [[60, 120], [60, 120], [0, 120], [60, 120]]


def test_its_own_button(preview, qt):
    assert preview.show(frames(0, "a", "b"))
    qt.visible = 0.0
    assert not preview.show(frames(1, "a", "b"))


def test_where_no_window_is_ever_said_to_be_there_it_stays(preview, qt):
    """OpenCV with GTK answers -1 to the question; a recording ended with its first preview."""
    qt.visible = -1.0
    assert all(preview.show(frames(i, "a", "b")) for i in range(3))


@pytest.mark.parametrize(
    "key, stays", [(ord("q"), False), (ord("Q"), False), (27, False), (0xFF51, True), (-1, True)]
)
def test_its_keys(preview, qt, key, stays):
    qt.keys = [key]
    assert preview.show(frames(0, "a", "b")) == stays
