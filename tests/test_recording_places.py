"""Recordings where the place or the disk fails: one sentence, and what was recorded stays."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from takes import COUNT, STEP_NS, numbered, numbers, record
from test_recording import simulated

from rt_hands import recording
from rt_hands.errors import SourceError
from rt_hands.recording import Recorded
from rt_hands.session import Session, SessionWriter
from rt_hands.types import Frame


def test_existing_session_is_never_overwritten(copy):
    folder, _ = copy
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(SourceError, match="is not empty; a session is never written over another"):
        SessionWriter(folder, ["a"])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("parent", ["file", "file/deeper"])
def test_a_place_that_cannot_be_a_folder_is_one_sentence(tmp_path, parent):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SourceError, match="can't be made into a session's folder"):
        SessionWriter(tmp_path / parent, ["a"])


def test_read_only_folder_is_one_sentence(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(SourceError, match="session's folder: Permission denied. Give another place"):
        SessionWriter(tmp_path / "s", ["a"])


def test_full_disk_is_refused_before_the_recording(tmp_path, monkeypatch):
    monkeypatch.setattr(recording.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, 10**6))
    with pytest.raises(SourceError, match="Only 1 MB are free .* before the recording; 500 MB are wanted"):
        SessionWriter(tmp_path / "s", ["a"])


def test_disk_that_fills_ends_the_recording_in_good_order(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "FLUSH_EVERY_S", 0.05)
    cameras = simulated(1)
    recorded = Recorded(cameras, tmp_path / "s")
    full = shutil._ntuple_diskusage(10**9, 0, 10**6)
    with pytest.raises(SourceError, match="ended in good order"):
        for frames in recorded:
            if frames.index == 8:
                monkeypatch.setattr(recording.shutil, "disk_usage", lambda _: full)
    with pytest.raises(SourceError, match="ended in good order"):
        recorded.close()
    monkeypatch.undo()
    with Session(tmp_path / "s") as session:
        assert session.info.finished and len(list(session)) >= 5


def test_failing_write_is_raised_and_the_other_camera_finished(tmp_path, monkeypatch):
    class Full(recording.VideoFile):
        def add(self, image_bgr, t_ns):
            if self.path.stem == "a" and self.frames == 5:
                raise SourceError(f"{self.path} can't be written after 5 frames: No space left on device.")
            super().add(image_bgr, t_ns)

    monkeypatch.setattr(recording, "VideoFile", Full)
    with pytest.raises(SourceError, match="No space left on device"):
        record(tmp_path / "s", ("a", "b"))
    with Session(tmp_path / "s") as session:
        assert [len(stamps) for stamps in session.times_ns.values()] == [5, COUNT]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, a disk without room, is Linux's own.")
def test_a_full_disk_is_an_error_and_not_a_crash():
    sentence = "/dev/full can't be written after .*No space left on device"
    with recording.VideoFile("/dev/full") as file, pytest.raises(SourceError, match=sentence):
        for i in range(60):
            file.add(numbered(i), i * STEP_NS)


def test_frames_csv_on_a_full_disk_is_one_sentence_and_keeps_what_was_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "FLUSH_EVERY_S", 60.0)

    class Full(recording._Lines):
        """Room for so many lines."""

        left = 11

        def __init__(self, path):
            super().__init__(path)
            self._file = SimpleNamespace(name=path, write=self.write, close=self._file.close, to=self._file)

        def write(self, text):
            self.left -= 1
            if self.left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._file.to.write(text)

    monkeypatch.setattr(recording, "_Lines", Full)
    writer = SessionWriter(tmp_path / "s", ("a", "b"), wait=True)
    for i in range(10):
        for camera in ("a", "b"):
            writer.add(Frame(numbered(i), camera, i, i * STEP_NS))
    for ends in (writer.close, writer.check):
        with pytest.raises(SourceError, match=r"frames\.csv can't be written: No space left on device"):
            ends()
    with Session(tmp_path / "s") as session:
        given = [number for frames in session for number in numbers(frames)]
        assert session.info.finished and len(given) == 11
