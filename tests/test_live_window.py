"""The window of the live command: keys, pause, recording, quitting; cv2's own is replaced."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest
from painted import SIZE, FakeQt, Painted, pair
from standin import picture

from rt_hands import live
from rt_hands.display.view import ViewOptions
from rt_hands.display.window import Window
from rt_hands.errors import SourceError
from rt_hands.pipeline import Pipeline
from rt_hands.session import Session


@pytest.fixture
def results(standin_cpm):
    pipeline = Pipeline(Painted(6), standin_cpm)
    return pipeline, list(pipeline)


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
    assert (qt.shown[0] != qt.shown[1]).any()
    (screenshot,) = tmp_path.glob("rt_hands_*.png")
    np.testing.assert_array_equal(cv2.imread(str(screenshot)), qt.shown[0])
    assert str(screenshot.name) in said[0]


def test_pause_keeps_the_picture(results, monkeypatch):
    pipeline, found = results
    qt = FakeQt(monkeypatch, "p ")
    window = Window(pipeline, ViewOptions())
    window.show(found[2])
    window.keys()
    window.show(found[3])
    assert len(qt.shown) == 1
    window.keys()
    window.show(found[4])
    assert len(qt.shown) == 2


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


@pytest.mark.parametrize("key", ["q", "\x1b", "Q"])
def test_quit_keys(results, monkeypatch, key):
    FakeQt(monkeypatch, key)
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
    monkeypatch.setattr(cv2, "waitKey", quit_after_a_while)
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
