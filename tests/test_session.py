"""Sessions: what is recorded comes back; kills, full disks, damage. `RT_HANDS_KILLS=20` kills 20 recordings."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rt_hands import recording
from rt_hands.camera import Camera, Rig
from rt_hands.capture import __main__ as command
from rt_hands.capture.live import LiveSource
from rt_hands.capture.paced import Played
from rt_hands.capture.session_info import ClockAnchor, SessionInfo, file_stem
from rt_hands.capture.session_times import grab_times_ns
from rt_hands.capture.simulated import SimulatedReader, read_number, write_number
from rt_hands.capture.source import Source
from rt_hands.display.encoders import Encoder, capture_encoder, works
from rt_hands.errors import InvalidInput, SourceError, run_command
from rt_hands.recording import Recorded
from rt_hands.session import Session, SessionWriter
from rt_hands.types import Frame, FrameSet

KILLS = int(os.environ.get("RT_HANDS_KILLS", "2"))
SIZE = (256, 144)
STEP_NS = 33_366_667
START_NS = 5_000_000_123
COUNT = 40


def numbered(number: int) -> np.ndarray:
    image = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
    write_number(image, number)
    return image


def uneven_times(camera: int, count: int = COUNT) -> np.ndarray:
    rng = np.random.default_rng(camera)
    jitter = rng.integers(-3_000_000, 3_000_000, count)
    return START_NS + 4_000_000 * camera + np.arange(count) * STEP_NS + jitter


def record(folder: Path, cameras=("cam_2", "cam_10"), count=COUNT, **options) -> dict[str, np.ndarray]:
    """A session of numbered pictures; the true grab times."""
    times = {camera: uneven_times(c, count) for c, camera in enumerate(cameras)}
    with SessionWriter(folder, cameras, wait=True, **options) as writer:
        for i in range(count):
            for camera in cameras:
                writer.add(Frame(numbered(i), camera, i, int(times[camera][i])))
    return times


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sessions") / "take"
    return folder, record(folder)


@pytest.fixture
def copy(recorded, tmp_path):
    """A copy of the recorded session that a test may damage."""
    return Path(shutil.copytree(recorded[0], tmp_path / "take")), recorded[1]


@pytest.fixture
def said():
    return []


def numbers(frames: FrameSet) -> list[int]:
    return [read_number(frame.image_bgr) for frame in frames.frames]


def video_times_ns(path: Path) -> np.ndarray:
    """Independent of the package: every picture decoded, its own time added to the comment's."""
    with av.open(str(path)) as container:
        first_ns = int(container.metadata["comment"].rpartition(" ")[2])
        stamps = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    return np.round(np.array(stamps) * 1e9).astype(np.int64) + first_ns


# --- what is recorded comes back --------------------------------------------------------------------------


def test_every_frame_comes_back_in_its_set_with_its_own_time(recorded, said):
    folder, times = recorded
    with Session(folder, said.append) as session:
        assert session.cameras == ("cam_2", "cam_10") and len(session) == COUNT
        for i, frames in enumerate(session):
            assert frames.index == i and numbers(frames) == [i, i]
            assert [frame.t_ns for frame in frames.frames] == [int(times[c][i]) for c in session.cameras]
    assert said == []


def test_times_of_the_files_are_those_of_frames_csv(recorded):
    folder, _ = recorded
    for camera, stamps in grab_times_ns(folder).items():
        # Measured: 999 ns; whole microseconds are what MP4 holds.
        assert np.abs(video_times_ns(folder / f"{camera}.mp4") - stamps).max() < 1000


@settings(max_examples=10, deadline=None)
@given(first=st.integers(0, COUNT - 1), length=st.integers(0, 8))
def test_any_part_is_the_same_as_in_the_whole(recorded, first, length):
    with Session(recorded[0]) as session:
        part = list(session.frames(first, first + length))
    wanted = list(range(first, min(first + length, COUNT)))
    assert [frames.index for frames in part] == wanted
    assert [numbers(frames) for frames in part] == [[i, i] for i in wanted]


def test_sets_are_found_by_index_and_time(recorded):
    folder, times = recorded
    with Session(folder) as session:
        assert numbers(session[-1]) == [COUNT - 1] * 2 and session[7].index == 7
        assert session.index_at(int(times["cam_2"][9])) == 9
        assert session.index_at(int(times["cam_2"][9]) - 1) == 8
        assert session.index_at(0) == 0 and session.index_at(10**15) == COUNT - 1
        with pytest.raises(IndexError, match=f"has {COUNT} FrameSets; there is no {COUNT}"):
            session[COUNT]
        with pytest.raises(InvalidInput, match="count from 0"):
            next(session.frames(-1))


def test_seeking_in_a_session_of_another_maker_counts_frames(copy):
    folder, _ = copy
    for path in folder.glob("*.mp4"):
        other = path.with_suffix(".tmp.mp4")
        with av.open(str(path)) as source, av.open(str(other), "w") as target:
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.pts is not None:
                    packet.stream = stream
                    target.mux(packet)
        other.replace(path)
    with Session(folder) as session:
        assert [numbers(session[i]) for i in (0, 31, 39)] == [[0, 0], [31, 31], [39, 39]]


def test_replay_at_true_speed_and_as_fast_as_taken(recorded):
    with Session(recorded[0]) as session:
        with session.replay(realtime=False, first=30) as source:
            assert [frames.index for frames in source] == list(range(30, COUNT)) and not source.live
        with session.replay(first=35) as source:
            assert isinstance(source, Played)
            assert sum(1 for _ in source) + source.dropped == 5


def test_clock_anchor_gives_utc(recorded):
    with Session(recorded[0]) as session:
        anchor = session.info.clock
        assert session.info.finished and session.dropped == 0
    assert anchor is not None and anchor.utc_ns_of(anchor.perf_counter_ns + 5) == anchor.utc_ns + 5
    now = ClockAnchor.now()
    # Measured: under 1 us; an adjusted clock may run 500 ppm off in the minute of a test.
    assert abs(anchor.utc_ns_of(now.perf_counter_ns) - now.utc_ns) < 50_000_000


def test_rig_is_copied_in(tmp_path):
    k = np.array([[300.0, 0, 128], [0, 300, 72], [0, 0, 1]])
    rig = Rig((Camera("cam_2", SIZE, k, np.zeros(5), np.eye(4)),))
    record(tmp_path / "s", ("cam_2",), 5, rig=rig)
    with Session(tmp_path / "s") as session:
        assert session.rig is not None and session.rig.ids == ("cam_2",)


def test_settings_and_versions_are_written(tmp_path):
    record(tmp_path / "s", ("a",), 3, settings=["camera 0: asked 1280x720, got 640x480 (differs)"])
    data = json.loads((tmp_path / "s" / "session.json").read_text())
    assert data["settings"] == ["camera 0: asked 1280x720, got 640x480 (differs)"]
    assert data["cameras"]["a"] == {"frames": 3, "dropped": 0, "size_px": list(SIZE)}
    assert data["versions"].keys() == {"rt_hands", "python", "av", "opencv"} and data["finished"]


@pytest.mark.parametrize("camera, stem", [("host:8554/a b", "host_8554_a_b"), ("..", "camera"), ("é1", "é1")])
def test_cameras_make_safe_file_names(camera, stem):
    assert file_stem(camera) == stem


def test_names_that_become_one_file_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="different names"):
        SessionWriter(tmp_path / "s", ["a/b", "a b"])


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
    words = ["--out", str(tmp_path / "s"), "--seconds", "0.8", "--no-window"]
    assert run_command(command.main, words) == 0
    error = capsys.readouterr().err
    assert "cam_0" in error and "cam_1" in error and "dropped here" in error
    with Session(tmp_path / "s") as session:
        assert session.info.finished and "asked 256x144 60 fps" in session.info.settings[0]
        assert all(len(stamps) > 5 for stamps in session.times_ns.values())


def record_until_signal(folder: str) -> int:
    """Record one simulated camera; the process gets SIGTERM at frame 30. The exit code."""

    class Ticking(SessionWriter):
        def add(self, frame):
            super().add(frame)
            if frame.index == 30:
                os.kill(os.getpid(), signal.SIGTERM)

    command.open_source = lambda *_, **__: simulated(1)
    recording.SessionWriter = Ticking
    return run_command(command.main, ["--out", folder, "--no-window"])


def test_stopping_by_signal_keeps_the_tail(tmp_path):
    # In a process of its own: signals to this one, full of other tests' libraries, say nothing about the command.
    code = f"import sys, test_session as t; sys.exit(t.record_until_signal({str(tmp_path / 's')!r}))"
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
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


# --- bad input --------------------------------------------------------------------------------------------


def test_missing_frames_csv_is_rebuilt_and_said(copy, said):
    folder, times = copy
    (folder / "frames.csv").unlink()
    with Session(folder, said.append) as session:
        for camera, stamps in session.times_ns.items():
            assert np.abs(stamps - times[camera]).max() < 1000
    assert (
        len(said) == 1 and "has no frames.csv: its times are rebuilt from the videos' own times." in said[0]
    )
    with Session(folder, said.append) as session:
        assert len(session) == COUNT
    assert len(said) == 1


def truncate(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


@settings(max_examples=6, deadline=None)
@given(share=st.floats(0.2, 0.99))
def test_truncated_video_gives_what_is_there(recorded, tmp_path_factory, share):
    folder = Path(shutil.copytree(recorded[0], tmp_path_factory.mktemp("cut") / "take"))
    truncate(folder / "cam_10.mp4", share)
    said: list[str] = []
    with Session(folder, said.append) as session:
        sets = list(session)
    assert [numbers(frames)[0] for frames in sets] == list(range(COUNT))
    both = [frames for frames in sets if len(frames.frames) == 2]
    assert [numbers(frames)[1] for frames in both] == list(range(len(both)))
    assert any("cam_10.mp4" in sentence for sentence in said) or len(both) == COUNT


def test_truncated_video_of_an_unfinished_session_is_told_at_once(copy, said):
    folder, _ = copy
    (folder / "session.json").unlink()
    truncate(folder / "cam_10.mp4", 0.5)
    with Session(folder, said.append) as session:
        left = len(session.times_ns["cam_10"])
    assert 0 < left < COUNT
    assert said == [f"{folder}/cam_10.mp4 ends early: {left} of {COUNT} frames in frames.csv."]


def test_pictures_without_a_line_get_their_own_times(copy, said):
    folder, times = copy
    (folder / "session.json").unlink()
    lines = (folder / "frames.csv").read_text().splitlines()
    kept = [line for line in lines if line.startswith("cam_2,")][:30]
    (folder / "frames.csv").write_text("\n".join([lines[0], *kept]) + "\ncam_2,30,99")
    with Session(folder, said.append) as session:
        for camera, stamps in session.times_ns.items():
            assert np.abs(stamps - times[camera]).max() < 1000
    assert len(said) == 2 and "40 frames, 30 of them in frames.csv" in said[0]


@pytest.mark.parametrize("content", [b"", b"not a video at all"])
def test_unreadable_video_is_told_and_left_out(copy, said, content):
    folder, _ = copy
    (folder / "cam_2.mp4").write_bytes(content)
    with Session(folder, said.append) as session:
        assert session.cameras == ("cam_10",) and numbers(session[3]) == [3]
    assert len(said) == 1 and "cam_2.mp4" in said[0] and said[0].endswith("That camera is left out.")


def test_nothing_readable_is_one_sentence(copy):
    folder, _ = copy
    for path in folder.glob("*.mp4"):
        path.write_bytes(b"")
    with pytest.raises(SourceError, match=r"holds no video that can be read\. .*cam_2\.mp4 is empty"):
        Session(folder)


@pytest.mark.parametrize(
    "content, sentence",
    [
        ("{", "session.json is damaged"),
        ("[]", "session.json is damaged"),
        ('{"schema_version": 99}', "schema version 99; this rt_hands knows 2. Update it"),
    ],
)
def test_bad_session_json_is_one_sentence(copy, content, sentence):
    folder, _ = copy
    (folder / "session.json").write_text(content)
    with pytest.raises(SourceError, match=sentence):
        Session(folder)


def test_no_session_is_said(tmp_path):
    with pytest.raises(SourceError, match="There is no folder"):
        Session(tmp_path / "gone")
    with pytest.raises(SourceError, match="holds no session: it wants session.json or frames.csv"):
        Session(tmp_path)


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


def test_encoder_is_tried_before_it_is_taken():
    assert works(Encoder("libx264", {"preset": "ultrafast"}))
    assert not works(Encoder("h264_no_such_card"))
    assert capture_encoder(2).name


def test_info_survives_the_round_trip(tmp_path):
    info = SessionInfo(ClockAnchor(5, 7, 1), "libx264", ("a",)).finished_with({"cam": (3, 1, (640, 480))})
    info.save(tmp_path)
    assert SessionInfo.load(tmp_path) == info
