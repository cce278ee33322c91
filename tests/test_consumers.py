"""Lines of JSON: whoever reads them has each result as soon as it is there."""

from __future__ import annotations

import json
import os
import sys
import threading

import pytest
from test_view import grey

from rt_hands.consumers import JsonLines


def test_each_result_comes_out_of_stdout_at_once(monkeypatch):
    """Into a pipe stdout is buffered: at two results a second they came 2.5 s late, by the median."""
    reads, writes = os.pipe()
    with open(reads, "rb", buffering=0) as pipe, open(writes, "w", encoding="utf-8") as stdout:
        os.set_blocking(reads, False)
        monkeypatch.setattr(sys, "stdout", stdout)
        lines = JsonLines("-")
        for camera in "ab":
            lines.accept(grey(**{camera: (4, 3)}))
            assert json.loads(pipe.read() or b"null")["camera"] == camera
        lines.close()
        assert not stdout.closed


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="This system has no named pipes.")
def test_each_result_comes_out_of_a_named_pipe_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    lines, got = JsonLines(str(tmp_path / "pipe")), []
    first = threading.Event()

    def read() -> None:
        with open(tmp_path / "pipe", encoding="utf-8") as pipe:
            for line in pipe:
                got.append(json.loads(line)["camera"])
                first.set()

    reader = threading.Thread(target=read)
    reader.start()
    lines.accept(grey(a=(4, 3)))
    at_once = first.wait(5)
    lines.close()
    reader.join()
    assert at_once and got == ["a"]


def test_a_file_has_each_result_at_once(tmp_path):
    """What a killed program has found is in the file."""
    lines = JsonLines(str(tmp_path / "o.jsonl"))
    lines.accept(grey(a=(4, 3), b=(4, 3)))
    assert [json.loads(line)["camera"] for line in (tmp_path / "o.jsonl").read_text().splitlines()] == [
        "a",
        "b",
    ]
    lines.close()
