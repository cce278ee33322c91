"""Files are written whole or not at all; pipes are written to, never replaced."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from rt_hands.paths import write_atomically, write_figures


def test_figures_that_are_not_finite_become_null(tmp_path: Path) -> None:
    path = tmp_path / "new" / "figures.json"
    write_figures(path, {"a": float("nan"), "b": [1.5, float("inf")]})
    assert json.loads(path.read_text()) == {"a": None, "b": [1.5, None]}


def test_a_file_stays_as_it_was_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "recorded.json"
    path.write_bytes(b"before")

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device", "part")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left") as told:
        write_atomically(path, b"after")
    assert told.value.filename == str(path)
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="This system has no named pipes.")
def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, b"figures")
    reader.join(10)
    assert got == [b"figures"] and pipe.is_fifo()
