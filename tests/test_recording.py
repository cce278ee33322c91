"""Recording: drops, the tail, kills, full disks and places that can't be used. `RT_HANDS_KILLS=20` kills 20 of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from rich.console import Console
from takes import COUNT, SIZE, STEP_NS, numbered, numbers, record, uneven_times, video_times_ns
from test_camera import camera as made_camera

from rt_hands import recording
from rt_hands.camera import Rig
from rt_hands.capture import __main__ as command
from rt_hands.capture import choose
from rt_hands.capture.live import LiveSource
from rt_hands.capture.session_times import grab_times_ns
from rt_hands.capture.simulated import SimulatedReader, read_number
from rt_hands.capture.source import Source
from rt_hands.display.encoders import Encoder, capture_encoder, works
from rt_hands.errors import SourceError, run_command
from rt_hands.recording import Recorded
from rt_hands.session import Session, SessionWriter
from rt_hands.types import Frame, FrameSet

KILLS = int(os.environ.get("RT_HANDS_KILLS", "2"))


# --- drops and the tail -----------------------------------------------------------------------------------


class Still(Source):
    """A file with two cameras, the second absent from every other set."""

    name, cameras, length = "still", ("a", "b"), 20

    def __iter__(self):
        for i in range(20):
            frames = [Frame(numbered(i), c, i, i * STEP_NS + 7) for c in ("a", "b")[: 1 + i % 2]]
            yield FrameSet(tuple(frames), i)


def test_a_file_is_recorded_frame_by_frame(tmp_path):
    with Recorded(Still(), tmp_path / "s") as source:
        assert len(list(source)) == 20
    with Session(tmp_path / "s") as session:
        assert [frames.cameras for frames in session] == [("a",), ("a", "b")] * 10


def test_a_recording_without_a_picture_leaves_nothing(tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    for folder in (tmp_path / "new", tmp_path / "mine"):
        with SessionWriter(folder, ("a", "b")) as writer:
            assert (folder / "frames.csv").is_file()
        command._report(writer, Console(stderr=True))
        assert "No picture came" in capsys.readouterr().err
    assert list(tmp_path.rglob("*")) == [tmp_path / "mine"]


def test_a_recorded_rig_has_its_cameras_named_as_their_files(tmp_path):
    rig = Rig(tuple(replace(made_camera(name), clock_offset_ms=-97.0) for name in ("cam A", "b/2")))
    with SessionWriter(tmp_path / "s", rig.ids, rig=rig, wait=True) as writer:
        for i, name in enumerate(rig.ids):
            writer.add(Frame(numbered(i), name, 0, STEP_NS + i))
    with Session(tmp_path / "s") as session:
        assert session.cameras == session.rig.subset(session.cameras).ids == ("b_2", "cam_A")
        assert session.times_ns["cam_A"].tolist() == [STEP_NS - 97_000_000]


def test_a_session_of_odd_pictures_has_a_rig_that_fits_its_videos(tmp_path, capsys):
    rig = Rig(tuple(replace(made_camera(name), size_px=(163, 121)) for name in ("a", "b")))
    with SessionWriter(tmp_path / "s", rig.ids, rig=rig, wait=True) as writer:
        for name in rig.ids:
            for i in range(2):
                writer.add(Frame(np.zeros((121, 163, 3), np.uint8), name, i, STEP_NS * i))
    assert capsys.readouterr().err.count("Pictures of 163x121 are cut to 162x120 in ") == 2
    with Session(tmp_path / "s") as session:
        for frames in session.replay():
            for frame in frames.frames:
                session.rig[frame.camera].check_image(frame.size_px)
        np.testing.assert_array_equal(session.rig["a"].K, rig["a"].K)


def test_a_picture_too_small_for_a_video_is_one_sentence(tmp_path):
    writer = SessionWriter(tmp_path / "s", ("a",), wait=True)
    writer.add(Frame(np.zeros((1, 1, 3), np.uint8), "a", 0, 0))
    with pytest.raises(
        SourceError, match=r"a\.mp4 can't be written: pictures of 1x1 are too small for a video"
    ):
        writer.close()


def test_clock_offsets_are_added_once_on_the_way_through_a_recording(tmp_path):
    class Slow(Still):
        clock_offset_ms: ClassVar = {"b": -24.0}

    with Recorded(Slow(), tmp_path / "s") as source:
        given = [[frame.t_ns for frame in frames.frames] for frames in source]
    with Session(tmp_path / "s", clock_offset_ms={"b": -24.0}) as session:
        times = session.times_ns
    assert times["a"].tolist() == [stamps[0] for stamps in given]
    assert times["b"].tolist() == [stamps[1] for stamps in given if len(stamps) > 1]


def test_every_dropped_frame_is_counted_where_it_was_lost(tmp_path, monkeypatch):
    class Slow(recording.VideoFile):
        def add(self, image_bgr, t_ns):
            time.sleep(0.02)
            super().add(image_bgr, t_ns)

    monkeypatch.setattr(recording, "VideoFile", Slow)
    times = uneven_times(0)
    with SessionWriter(tmp_path / "s", ["a"], queue=3) as writer:
        for i, t_ns in enumerate(times.tolist()):
            writer.add(Frame(numbered(i), "a", i, t_ns))
            time.sleep(0.002)
    count = writer.counts["a"]
    assert count.dropped > 0 and count.written + count.dropped == COUNT
    rows = [line.split(",") for line in (tmp_path / "s" / "frames.csv").read_text().splitlines()[1:]]
    kept = [times.tolist().index(int(row[2])) for row in rows]
    lost = [b - a - 1 for a, b in pairwise([-1, *kept])]
    assert [int(row[3]) for row in rows] == lost
    with Session(tmp_path / "s") as session:
        assert session.dropped == count.dropped
        assert [numbers(frames)[0] for frames in session] == kept


def test_closing_writes_all_that_waits(tmp_path):
    times = record(tmp_path / "s", ("a",), 25)
    assert grab_times_ns(tmp_path / "s")["a"].tolist() == times["a"].tolist()


def simulated(count=2, fps=60.0, notice=lambda _: None):
    return LiveSource([SimulatedReader(f"cam_{i}", SIZE, fps, 2.0 * i, i) for i in range(count)], notice)


def test_cameras_are_recorded_at_full_rate_beside_a_slow_reader(tmp_path):
    with simulated() as cameras:
        recorded = Recorded(cameras, tmp_path / "s")
        for frames in recorded:
            time.sleep(0.1)
            if frames.index == 5:
                break
        recorded.close()
    counts = recorded.writer.counts
    with Session(tmp_path / "s") as session:
        given = {camera: [] for camera in session.cameras}
        for frames in session:
            for frame in frames.frames:
                given[frame.camera].append(read_number(frame.image_bgr))
    for camera, seen in given.items():
        # The reader took 6 sets; measured: 37 frames recorded of each camera.
        assert len(seen) == counts[camera].written > 8
        # Nothing but counted drops is missing between the first and the last.
        assert seen[-1] - seen[0] + 1 <= counts[camera].written + counts[camera].dropped


def test_capture_command_records_and_reports(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "open_source", lambda *_, **__: simulated())
    words = ["--source", "0", "--out", str(tmp_path / "s"), "--seconds", "0.8", "--no-window"]
    assert run_command(command.main, words) == 0
    error = capsys.readouterr().err
    assert "cam_0" in error and "cam_1" in error and "dropped here" in error
    with Session(tmp_path / "s") as session:
        assert session.info.finished and "asked 256x144 60 fps" in session.info.settings[0]
        assert all(len(stamps) > 5 for stamps in session.times_ns.values())


def test_capture_without_a_camera_says_so_and_makes_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(choose, "list_devices", list)
    assert run_command(command.main, ["--out", str(tmp_path / "s"), "--no-window"]) == 2
    assert "No webcam on this machine. Plug one in, or name a stream" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def record_until_signal(folder: str) -> int:
    """Record one simulated camera; the process gets SIGTERM at frame 30. The exit code."""

    class Ticking(SessionWriter):
        def add(self, frame):
            super().add(frame)
            if frame.index == 30:
                os.kill(os.getpid(), signal.SIGTERM)

    command.open_source = lambda *_, **__: simulated(1)
    recording.SessionWriter = Ticking
    return run_command(command.main, ["--source", "0", "--out", folder, "--no-window"])


def record_and_disturb_the_finish(folder: str) -> int:
    """Record one simulated camera for a while; the process gets SIGINT and SIGTERM as the files are finished."""

    class Disturbed(SessionWriter):
        def close(self):
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            super().close()

    command.open_source = lambda *_, **__: simulated(1)
    recording.SessionWriter = Disturbed
    words = ["--source", "0", "--out", folder, "--no-window", "--seconds", "0.5"]
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    code = run_command(command.main, words)
    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
    return code


def in_its_own_process(function: str, folder: Path) -> None:
    """Signals to this one, full of other tests' libraries, say nothing about the command."""
    code = f"import sys, test_recording as t; sys.exit(t.{function}({str(folder)!r}))"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_signals_while_the_files_are_finished_cost_nothing(tmp_path):
    in_its_own_process("record_and_disturb_the_finish", tmp_path / "s")
    with Session(tmp_path / "s") as session:
        assert session.info.finished and session.info.cameras["cam_0"].frames == len(list(session)) > 5


def test_stopping_by_signal_keeps_the_tail(tmp_path):
    in_its_own_process("record_until_signal", tmp_path / "s")
    with Session(tmp_path / "s") as session:
        count = session.info.cameras["cam_0"]
        assert session.info.finished and count.dropped == 0
        given = [numbers(frames)[0] for frames in session]
    assert given == list(range(given[0], given[0] + count.frames)) and given[-1] >= 30


def test_files_are_not_recorded_by_capture(recorded, tmp_path, capsys):
    words = ["--source", str(recorded[0]), "--out", str(tmp_path / "s"), "--no-window"]
    assert run_command(command.main, words) == 2
    assert "is no camera: there is nothing to record" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_gaps_are_counted_by_the_usual_interval():
    assert command.gaps(np.array([0, 10, 20, 50, 60, 71])) == (6, pytest.approx(71e-9), 2)
    assert command.gaps(np.zeros(0, np.int64)) == (0, 0.0, 0)


# --- killed -----------------------------------------------------------------------------------------------


def kill_a_recording(folder: Path, after_s: float) -> int:
    """perf_counter_ns at the kill; on Linux all processes have the same."""
    script = Path(__file__).with_name("record_until_killed.py")
    environment = {**os.environ, "PYTHONPATH": str(script.parent.parent)}
    with subprocess.Popen([sys.executable, script, folder], stdout=subprocess.PIPE, env=environment) as child:
        assert child.stdout is not None and child.stdout.readline() == b"recording\n"
        time.sleep(after_s)
        child.kill()
        return time.perf_counter_ns()


@pytest.mark.skipif(sys.platform != "linux", reason="Other systems' processes do not share perf_counter.")
@pytest.mark.parametrize("kill", range(KILLS))
def test_killed_recordings_open_with_at_most_the_last_second_missing(kill, tmp_path, said):
    after_s = float(np.random.default_rng(kill).uniform(1.2, 4.0))
    killed_ns = kill_a_recording(tmp_path / "s", after_s)
    with Session(tmp_path / "s", said.append) as session:
        assert not session.info.finished and session.dropped is None
        for camera, stamps in session.times_ns.items():
            # Measured on a busy machine: 0.06 to 0.41 s.
            assert killed_ns - int(stamps[-1]) < 1_000_000_000
            assert np.abs(video_times_ns(tmp_path / "s" / f"{camera}.mp4") - stamps).max() < 1000
        assert len(list(session)) == len(session) > 20


def test_a_camera_that_comes_back_with_another_size_is_told_of(tmp_path, capsys):
    with SessionWriter(tmp_path / "s", ["a"], wait=True) as writer:
        for i in range(4):
            image = np.full((72, 128, 3) if i < 2 else (64, 64, 3), 200, np.uint8)
            writer.add(Frame(image, "a", i, i * STEP_NS))
    assert capsys.readouterr().err.count("Pictures of 64x64 come for") == 1
    with Session(tmp_path / "s") as session:
        assert session.info.cameras["a"].size_px == (128, 72)
        assert {frames.frames[0].size_px for frames in session} == {(128, 72)}


def test_encoder_is_tried_before_it_is_taken():
    assert works(Encoder("libx264", {"preset": "ultrafast"}))
    assert not works(Encoder("h264_no_such_card"))
    assert capture_encoder(2).name
