"""Pipeline, consumers and clocks on painted hands."""

from __future__ import annotations

import io
import json
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from painted import SIZE, Painted, pair
from standin import picture, worst_px

from rt_hands.clock import RateMeter, StageClock
from rt_hands.consumers import JsonLines, Worker, as_record, close_all
from rt_hands.display.overlay import Tiling
from rt_hands.display.view import Canvas, ViewOptions, draw_result
from rt_hands.errors import InvalidInput, SourceError
from rt_hands.pipeline import Pipeline, Result
from rt_hands.tracking.track import State
from rt_hands.tracking.tracker import Tracked
from rt_hands.types import Frame, FrameSet, Hands2D


@pytest.mark.parametrize("source", ["clip.mp4", Path("clip.mp4"), None])
def test_what_is_no_source_is_told_the_way_to_one(standin_cpm, source):
    with pytest.raises(InvalidInput, match=r"give open_source\(...\), or of a Session its replay\(\)"):
        Pipeline(source, standin_cpm)


def test_all_views_are_one_engine_call(standin_cpm, monkeypatch):
    batches = []
    call = type(standin_cpm).__call__
    monkeypatch.setattr(
        type(standin_cpm),
        "__call__",
        lambda self, jobs, *rest: batches.append(len(jobs)) or call(self, jobs, *rest),
    )
    found = list(Pipeline(Painted(6, cameras=("a", "b", "c")), standin_cpm))
    assert len(batches) == 6 and batches[3:] == [6, 6, 6]
    assert all(view.states == (State.SEEN, State.SEEN) for view in found[-1].views)
    for view in found[-1].views:
        # Measured: 4 px.
        assert worst_px(view.measured, *pair(5)) < 7


def test_views_may_come_and_go(standin_cpm):
    class Gappy(Painted):
        def __iter__(self):
            for frames in super().__iter__():
                yield frames if frames.index % 3 else FrameSet(frames.frames[:1], frames.index)

    found = list(Pipeline(Gappy(9, cameras=("a", "b")), standin_cpm))
    assert [len(result.views) for result in found] == [1, 2, 2] * 3
    assert found[-1].views[1].states == (State.SEEN, State.SEEN)


@pytest.mark.parametrize("takes_s", [0.0, 0.3])
def test_a_search_that_outlasts_the_following_is_left_to_the_windows(standin_cpm, monkeypatch, takes_s):
    """One hand of two in view, 8 fps: on a slow processor the Detector once lost it again at every search."""

    class Slow(Painted):
        live = True

        def __iter__(self):
            for i in range(30):
                image = picture(pair(0)[0], size_px=SIZE)
                yield FrameSet((Frame(image, "a", i, i * 125_000_000),), i)

    pipeline = Pipeline(Slow(), standin_cpm)
    searches = []

    def found(frames, *_):
        searches.append(frames.index)
        time.sleep(takes_s)
        return Result(frames, (Tracked(Hands2D.empty(), Hands2D.empty(), (State.LOST, State.LOST)),))

    monkeypatch.setattr(pipeline, "_found", found)
    monkeypatch.setattr(pipeline, "_hands_now", lambda _: np.array([True, False]))
    results = list(pipeline)
    # Once a second, or one time and never again.
    assert len(searches) == (4 if takes_s == 0 else 1)
    assert all(r.views[0].states[0] is State.SEEN for r in results[5:] if r.frames.index not in searches)


def test_beliefs_are_kept_when_asked_and_survive_the_next_frame(standin_cpm):
    found = list(Pipeline(Painted(4), standin_cpm, keep_beliefs=True))
    belief = found[2].beliefs[0][0]
    assert belief.maps.shape == (170, 45, 45) and belief.maps.base is None
    out = draw_result(found[2], ViewOptions(belief=True))
    assert (out != draw_result(found[2])).any()


def test_a_canvas_drawn_on_again_shows_what_a_new_picture_would(standin_cpm):
    class Gappy(Painted):
        def __iter__(self):
            for frames in super().__iter__():
                yield FrameSet(frames.frames[: 1 + frames.index % 5], frames.index)

    canvas = Canvas()
    for result in Pipeline(Gappy(12, cameras=("a", "b", "c", "d", "e")), standin_cpm):
        for mirror in (False, True):
            options = ViewOptions(mirror=mirror)
            np.testing.assert_array_equal(draw_result(result, options, canvas), draw_result(result, options))


def test_every_camera_keeps_its_tile(standin_cpm):
    class Late(Painted):
        def __iter__(self):
            for frames in super().__iter__():
                yield FrameSet(frames.frames[1:] if frames.index == 1 else frames.frames, frames.index)

    cameras, canvas = ("a", "b", "c"), Canvas()
    whole, gap, again = (
        draw_result(result, ViewOptions(cameras=cameras), canvas).copy()
        for result in Pipeline(Late(3, cameras=cameras), standin_cpm)
    )
    tiling = Tiling.of(3, SIZE)
    assert whole.shape == gap.shape and whole.any()
    assert not tiling.part(gap, 0).any() and tiling.part(gap, 1).any() and tiling.part(again, 0).any()
    for view in (1, 2):  # the pictures move on by a pixel
        apart = tiling.part(gap, view).astype(int) - tiling.part(whole, view)
        assert np.abs(apart).mean() < 10


def test_slow_consumer_drops_and_counts_or_waits(results):
    class Slow:
        name = "slow"

        def __init__(self):
            self.taken, self.gate = [], threading.Event()

        def accept(self, result):
            self.gate.wait(5)
            self.taken.append(result.frames.index)

        def close(self):
            pass

    slow = Slow()
    worker = Worker(slow, wait=False)
    for _ in range(5):
        for result in results[1]:
            worker.offer(result)
    slow.gate.set()
    worker.close()
    assert worker.dropped > 0 and worker.dropped + len(slow.taken) == 30


def test_consumer_that_fails_is_heard(results):
    class Broken:
        name = "broken"
        closed = False

        def accept(self, result):
            raise SourceError("The disk is full.")

        def close(self):
            self.closed = True

    broken = Broken()
    worker = Worker(broken, wait=True)
    with pytest.raises(SourceError, match="disk is full"):
        for _ in range(50):
            worker.offer(results[1][0])
    with pytest.raises(SourceError, match="disk is full"):
        close_all([worker])
    assert broken.closed


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Only Linux has a disk that is always full.")
def test_lines_on_a_full_disk_are_one_sentence_and_every_worker_is_closed(results):
    class Other:
        name = "other"
        closed = False

        def accept(self, result):
            pass

        def close(self):
            self.closed = True
            raise ValueError("Not a SourceError.")

    other = Other()
    workers = [
        Worker(JsonLines("/dev/full"), wait=True),
        Worker(Other(), wait=True),
        Worker(other, wait=True),
    ]
    workers[0].offer(results[1][0])
    with pytest.raises(SourceError, match="/dev/full can't be written: No space left on device"):
        close_all(workers)
    assert other.closed
    with pytest.raises(ValueError, match="Not a SourceError"):
        close_all([Worker(Other(), wait=True)])


def test_records_are_strict_json(results):
    result = results[1][0]
    record = as_record(result.frames.frames[0], result.shown(0))
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert record["points"] == [None] * 170 and "file" not in record
    named = replace(result.frames.frames[0], file="a.png")
    assert as_record(named, result.shown(0)) == {
        "file": "a.png",
        "size_px": [*named.size_px],
        **record,
    }


def test_json_lines_to_stdout_leave_it_open(monkeypatch, results):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    consumer = JsonLines("-")
    consumer.accept(results[1][-1])
    consumer.close()
    assert not out.closed and out.getvalue().count("\n") == 1


def test_rate_is_frames_over_span():
    rate = RateMeter()
    assert rate.fps == 0
    for t_ms in (0, 10, 20, 1000):
        rate.tick(t_ms * 1_000_000)
    # The mean of 1 / interval would say 67.
    assert rate.fps == pytest.approx(3.0)


def test_clock_gives_percentiles_of_what_it_was_told():
    clock = StageClock()
    for ms in range(1, 101):
        clock.add("infer", ms * 1_000_000)
    assert clock.percentiles_ms()["infer"] == pytest.approx((50.5, 95.05, 99.01))
    assert clock.latest_ms("infer") == 100 and np.isnan(clock.latest_ms("draw"))
    with pytest.raises(KeyError), clock.stage("fails"):
        raise KeyError
    assert len(clock.durations_ms("fails")) == 1
