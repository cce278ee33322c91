"""The window of the live command: keys, pause, recording, quitting; cv2's own is replaced."""

from __future__ import annotations

import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest
from painted import SIZE, FakeQt, Painted, pair
from standin import picture

from rt_hands import live
from rt_hands.display.view import ViewOptions
from rt_hands.display.window import Window
from rt_hands.errors import SourceError
from rt_hands.session import Session
from rt_hands.types import FrameSet


def test_keys_change_what_is_shown(results, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    pipeline, found = results
    qt, options, said = FakeQt(monkeypatch, "msdbhc"), ViewOptions(), []
    window = Window(pipeline, options, said.append)
    window.show(found[-1])
    for _ in range(6):
        window.keys()
    window.show(found[-1])
    assert options.mirror and options.belief and not options.style.dense
    assert not pipeline.smooth and pipeline.keep_beliefs
    assert (qt.shown[0] != qt.shown[-1]).any()
    (screenshot,) = tmp_path.glob("rt_hands_*.png")
    np.testing.assert_array_equal(cv2.imread(str(screenshot)), qt.shown[5])
    assert str(screenshot.name) in said[0]


def test_pause_keeps_the_picture(results, monkeypatch):
    pipeline, found = results
    qt = FakeQt(monkeypatch, "p ")
    window = Window(pipeline, ViewOptions())
    window.show(found[2])
    window.keys()
    window.show(found[3])
    assert all(np.array_equal(image, qt.shown[0]) for image in qt.shown)
    window.keys()
    window.show(found[4])
    assert (qt.shown[-1] != qt.shown[0]).any()


@pytest.mark.parametrize("before", ["", "p"], ids=["a single picture", "paused"])
def test_a_key_is_seen_without_a_next_result(results, monkeypatch, before):
    pipeline, found = results
    qt = FakeQt(monkeypatch, before + "hmd")
    window = Window(pipeline, ViewOptions())
    window.show(found[2])
    for _ in before:
        window.keys()
        window.show(found[3])
    for key in "hmd":
        last = qt.shown[-1]
        window.keys()
        assert (qt.shown[-1] != last).mean() > 0.001, key
    window.keys()
    assert len(qt.shown) == 4 + len(before)


def test_what_is_drawn_again_is_not_recorded_again(results, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    pipeline, found = results
    FakeQt(monkeypatch, "rmh")
    window = Window(pipeline, ViewOptions(), lambda _: None)
    for result in found[:3]:
        window.keys()
        window.show(result)
    window.close()
    (folder,) = tmp_path.glob("session_*")
    with Session(folder) as session:
        assert [frames.t_ns for frames in session] == [result.frames.t_ns for result in found[:3]]


def test_recording_by_key_writes_every_shown_frame(results, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    pipeline, found = results
    FakeQt(monkeypatch, "r")
    said = []
    window = Window(pipeline, ViewOptions(), said.append)
    window.keys()
    for result in found:
        window.show(result)
    window.close()
    (folder,) = tmp_path.glob("session_*")
    with Session(folder) as session:
        assert [frames.t_ns for frames in session] == [result.frames.t_ns for result in found]
        assert session.info.finished and session.dropped == 0
    assert folder.name in said[0] and "0 frames dropped" in said[-1]


def test_recording_by_key_that_fails_leaves_the_window_open(results, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    pipeline, found = results
    FakeQt(monkeypatch, "rr")
    said = []
    window = Window(pipeline, ViewOptions(), said.append)
    from rt_hands import recording

    monkeypatch.setattr(recording, "FREE_TO_START", 10**18)
    window.keys()
    assert "MB are free" in said[-1]
    monkeypatch.setattr(recording, "FREE_TO_START", 0)
    window.keys()

    def full(self):
        raise SourceError("disk full")

    monkeypatch.setattr(recording.SessionWriter, "check", full)
    window.show(found[0])
    window.close()
    assert "Finished session" in said[-1] and not window.closed


# Left, up, down, home, insert, F1, shift and number lock as Qt and GTK have them; left as Windows has it; none.
@pytest.mark.parametrize(
    "code", [0xFF51, 0xFF52, 0xFF54, 0xFF50, 0xFF63, 0xFFBE, 0xFFE1, 0xFF7F, 0x10FF51, 0x250000, -1], ids=hex
)
def test_keys_without_a_character_do_nothing(results, monkeypatch, tmp_path, code):
    """By its last byte alone the left arrow is Q: it closed the window, and up began a recording."""
    monkeypatch.chdir(tmp_path)
    pipeline, found = results
    qt, options = FakeQt(monkeypatch, [code]), ViewOptions()
    window = Window(pipeline, options)
    window.show(found[0])
    window.keys()
    assert not window.closed and len(qt.shown) == 1 and options == ViewOptions() and pipeline.smooth
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["q", "\x1b", "Q", 0x100000 | ord("q")])
def test_quit_keys(results, monkeypatch, key):
    FakeQt(monkeypatch, [key])
    window = Window(results[0], ViewOptions())
    window.keys()
    assert window.closed


def test_closing_the_window_quits(results, monkeypatch):
    qt = FakeQt(monkeypatch)
    window = Window(results[0], ViewOptions())
    window.show(results[1][0])
    window.keys()
    assert not window.closed
    qt.visible = 0.0
    window.keys()
    assert window.closed


def test_a_closed_window_that_qt_has_an_error_for_quits(results, monkeypatch):
    """OpenCV 5.0 with Qt, once the last window is gone: NULL guiReceiver (please create a window)."""

    def gone(*_):
        raise cv2.error("NULL guiReceiver (please create a window)")

    FakeQt(monkeypatch)
    window = Window(results[0], ViewOptions())
    window.show(results[1][0])
    window.keys()
    monkeypatch.setattr(cv2, "getWindowProperty", gone)
    window.keys()
    assert window.closed


def test_where_no_window_is_ever_said_to_be_there_it_stays(results, monkeypatch):
    """OpenCV with GTK answers -1 to the question."""
    qt = FakeQt(monkeypatch)
    qt.visible = -1.0
    window = Window(results[0], ViewOptions())
    for result in results[1]:
        window.show(result)
        window.keys()
    assert not window.closed and len(qt.shown) == len(results[1])


def test_a_window_closed_before_its_first_picture_quits(results, monkeypatch):
    qt = FakeQt(monkeypatch)
    qt.visible = 0.0  # it comes up in its own time
    window = Window(results[0], ViewOptions())
    window.keys()
    assert not window.closed
    for visible, closed in ((1.0, False), (0.0, True)):
        qt.visible = visible
        window.keys()
        assert window.closed == closed


@pytest.mark.parametrize(
    "size_px, window_px",
    [
        ((640, 480), (640, 480)),
        ((3840, 2160), (1600, 900)),
        ((1080, 1920), (506, 900)),
        ((5000, 1), (1600, 1)),
    ],
)
def test_the_window_fits_a_screen(results, monkeypatch, size_px, window_px):
    pipeline, (result, *_) = results
    qt = FakeQt(monkeypatch)
    frame = replace(result.frames.frames[0], image_bgr=np.zeros((*size_px[::-1], 3), np.uint8))
    Window(pipeline, ViewOptions()).show(replace(result, frames=FrameSet((frame,), 0)))
    assert qt.sizes == [window_px] and qt.shown[0].shape[1::-1] == size_px


# --- the whole command --------------------------------------------------------------------------------------------


def test_live_loop_with_a_window(run_live, clip, monkeypatch):
    """The whole command with a window that Qt does not draw: ends with the video, leaves no thread."""
    qt = FakeQt(monkeypatch)
    monkeypatch.setattr(live, "why_no_window", lambda: None)
    before = threading.active_count()
    assert run_live("--source", clip) == 0
    assert threading.active_count() == before and 1 <= len(qt.shown) <= 15


def test_a_picture_stays_until_the_window_is_closed(run_live, tmp_path, monkeypatch):
    qt, looked = FakeQt(monkeypatch), []

    def quit_after_a_while(_: int) -> int:
        looked.extend(qt.shown[-1:])
        return ord("q") if len(looked) == 5 else -1

    monkeypatch.setattr(live, "why_no_window", lambda: None)
    monkeypatch.setattr(cv2, "waitKeyEx", quit_after_a_while)
    cv2.imwrite(str(tmp_path / "hand.png"), picture(*pair(0), size_px=SIZE))
    assert run_live("--source", "hand.png") == 0
    assert len(qt.shown) == 1 and len(looked) == 5
    assert run_live("--source", "hand.png", "--max-frames", "1") == 0
    assert len(qt.shown) == 2


def test_the_window_shows_the_last_picture_of_a_video(run_live, clip, monkeypatch):
    qt, shown = FakeQt(monkeypatch), []
    monkeypatch.setattr(live, "why_no_window", lambda: None)
    monkeypatch.setattr(live.Window, "show", lambda _, result: shown.append(result.frames.index))
    assert run_live("--source", clip) == 0 and not qt.shown
    assert shown[-1] == 14


def test_quitting_the_window_ends_a_long_video(run_live, clip, monkeypatch):
    qt = FakeQt(monkeypatch, "....q")
    monkeypatch.setattr(live, "why_no_window", lambda: None)
    monkeypatch.setattr(live, "open_source", lambda *_, **__: Painted(100_000))
    assert run_live("--source", clip) == 0
    assert len(qt.shown) < 20
