"""Threads beside the caller: what they raise, and programs that end although they left something open."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path

import pytest
from takes import COUNT, record

from rt_hands.capture.choose import open_source
from rt_hands.session import Session
from rt_hands.threads import Stop, Threaded

PLAYED = """
from rt_hands.capture.choose import open_source
frames = iter(open_source({take!r}, realtime={realtime}))
print(next(frames).cameras)
"""
RECORDED = """
import numpy as np
from rt_hands.session import SessionWriter
from rt_hands.types import Frame
writer = SessionWriter({take!r}, ("a",))
for i in range(20):
    writer.add(Frame(np.full((144, 256, 3), 10 * i, np.uint8), "a", i, i * 33_000_000))
"""


def ends(script: str) -> str:
    """What a program of its own printed; fails where it has not ended after half a minute."""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert not done.stderr
    return done.stdout


@pytest.mark.parametrize("realtime", [False, True])
def test_a_source_left_open_lets_the_program_end(tmp_path: Path, realtime: bool) -> None:
    record(tmp_path / "take")
    assert ends(PLAYED.format(take=str(tmp_path / "take"), realtime=realtime))


def test_a_recording_left_open_has_all_its_pictures(tmp_path: Path) -> None:
    ends(RECORDED.format(take=str(tmp_path / "take")))
    with Session(tmp_path / "take", notice=lambda _: None) as session:
        assert len(list(session)) == 20


@pytest.mark.parametrize("before", [1, COUNT - 2, COUNT - 1])
def test_iterating_again_goes_on_with_what_is_read_ahead(tmp_path: Path, before: int) -> None:
    record(tmp_path / "take")
    with open_source(str(tmp_path / "take")) as source:
        first = [frames.index for frames in islice(source, before)]
        time.sleep(0.2)  # the reader may be at the end by now
        assert first + [frames.index for frames in source] == list(range(COUNT))
        assert len(list(source)) == COUNT  # and from the start once that was the end


def test_what_a_thread_raises_waits_for_the_caller() -> None:
    def fail() -> None:
        raise ValueError("no disk")

    failing = Threaded(fail, "failing")
    failing.join()
    assert failing.done()
    for _ in range(2):
        with pytest.raises(ValueError, match="no disk"):
            failing.result()


def test_stop_waits_until_set_or_the_time_is_over() -> None:
    stop = Stop()
    assert not stop.wait(0.01)
    threading.Timer(0.05, stop.set).start()
    start_s = time.monotonic()
    assert stop.wait(20.0)
    assert time.monotonic() - start_s < 10.0
