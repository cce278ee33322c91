"""The rerun viewer: what is logged, and the sentences where the package or a display is not here."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
from test_lift import as_hands, hands_mm, ring_rig, views_of
from test_rig_tracking import tracker

from rt_hands import live
from rt_hands.display.rerun_view import RerunView
from rt_hands.errors import InvalidInput, MissingPart
from rt_hands.pipeline import Result
from rt_hands.tracking.track import State
from rt_hands.tracking.tracker import Tracked
from rt_hands.types import Frame, FrameSet

needs_rerun = pytest.mark.skipif(
    importlib.util.find_spec("rerun") is None, reason="rerun is not installed: pip install 'rt_hands[rerun]'."
)


def result(rig, index: int = 0) -> Result:
    views = as_hands(views_of(hands_mm(), rig))
    lifted = tracker(rig).update(dict(zip(rig.ids, views, strict=True)), 0)
    frames = tuple(Frame(np.full((720, 1280, 3), 90, np.uint8), c, index, index * 10**7) for c in rig.ids)
    tracked = tuple(Tracked(h, h, (State.SEEN, State.SEEN)) for h in views)
    return Result(FrameSet(frames, index), tracked, rig=lifted)


def test_without_the_package_one_line_says_how_to_get_it(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(MissingPart, match=r"pip install 'rt_hands\[rerun\]'"):
        RerunView(None)


def test_live_says_so_before_it_opens_anything(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    monkeypatch.setattr(live, "open_source", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(MissingPart, match="--rerun needs the rerun viewer"):
        live.main(["--source", "sample", "--rerun"])


class Recorder:
    """Stands in for the package and its stream: keeps the paths logged and what of."""

    def __init__(self) -> None:
        self.logged: list[tuple[str, tuple[object, ...]]] = []
        self.closed = False
        self.saved: list[str] = []

    def RecordingStream(self, _: str) -> Recorder:
        return self

    def log(self, path: str, *what: object, static: bool = False) -> None:
        self.logged.append((path, what))

    def save(self, path: str) -> None:
        self.saved.append(path)

    def disconnect(self) -> None:
        self.closed = True

    def __getattr__(self, name: str):
        if name == "ViewCoordinates":
            return type("ViewCoordinates", (), {"RDF": "rdf"})
        return lambda *values, **named: (name, values, named)


def test_cameras_pictures_and_hands_are_logged(monkeypatch) -> None:
    kept, rig = Recorder(), ring_rig(3)
    monkeypatch.setitem(sys.modules, "rerun", kept)
    view = RerunView(rig, "x.rrd")
    assert not kept.saved  # a file that is there is kept until a first result comes
    view.accept(result(rig))
    view.accept(result(rig, 1))
    view.close()
    assert kept.saved == ["x.rrd"]
    paths = [path for path, _ in kept.logged]
    assert paths.count("world/cameras/cam_1") == 3  # its place once, two pictures
    assert (
        paths.count("world/hands/right/points") == paths.count("world/hands/left/skin") == 2 and kept.closed
    )
    points = next(what[0] for path, what in kept.logged if path == "world/hands/left/points")
    np.testing.assert_allclose(points[1][0], hands_mm()[85:] / 1000, atol=1e-5)
    place = next(what[0] for path, what in kept.logged if path == "world/cameras/cam_2")
    np.testing.assert_allclose(place[2]["translation"], rig["cam_2"].centre_world_mm / 1000)


def test_without_a_display_a_file_is_asked_for(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", Recorder())
    monkeypatch.setattr("rt_hands.display.rerun_view.why_no_window", lambda: "there is no display")
    with pytest.raises(InvalidInput, match="there is no display. Give --rerun-file"):
        RerunView(None)


@needs_rerun
def test_a_file_is_written(tmp_path) -> None:
    rig = ring_rig(2)
    view = RerunView(rig, str(tmp_path / "hands.rrd"))
    view.accept(result(rig))
    view.close()
    assert (tmp_path / "hands.rrd").stat().st_size > 5000
