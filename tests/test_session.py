"""Sessions: what is recorded comes back, any part of it; damaged and missing files."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from takes import COUNT, SIZE, STEP_NS, numbered, numbers, record, video_times_ns

from rt_hands.camera import Camera, Rig
from rt_hands.capture import open_source
from rt_hands.capture.paced import Played
from rt_hands.capture.session_info import ClockAnchor, SessionInfo, file_stem
from rt_hands.capture.session_times import VideoTimes, grab_times_ns
from rt_hands.display import video_file
from rt_hands.errors import InvalidInput, SourceError
from rt_hands.paths import sample_dir
from rt_hands.session import Session, SessionWriter
from rt_hands.types import Frame

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


def test_a_slice_gives_its_sets_one_by_one(recorded):
    with Session(recorded[0]) as session:
        for part in (
            slice(2, 4),
            slice(-3, None),
            slice(None, 2),
            slice(38, 99),
            slice(9, 3),
            slice(99, None),
        ):
            sets = session[part]
            assert iter(sets) is sets
            assert [frames.index for frames in sets] == list(range(COUNT))[part]
        with pytest.raises(InvalidInput, match="leave the step 2 out"):
            session[::2]


@pytest.mark.parametrize("index", ["a", None, 1.5, True, slice("a", None)])
def test_what_is_no_number_of_a_set_is_one_sentence(recorded, index):
    with Session(recorded[0]) as session, pytest.raises(InvalidInput, match="FrameSets have whole numbers"):
        session[index]


@pytest.mark.parametrize("folder", [None, 3, b"take", ["take"]])
def test_what_is_no_path_is_one_sentence(folder):
    with pytest.raises(InvalidInput, match="A session is opened by its folder's path; got"):
        Session(folder)


def test_a_part_beyond_the_end_is_one_sentence(recorded):
    with Session(recorded[0]) as session:
        for ask in (lambda: session.replay(first=500), lambda: next(session.frames(COUNT, COUNT + 1))):
            with pytest.raises(InvalidInput, match=rf"has {COUNT} FrameSets; none from (500|{COUNT}) on"):
                ask()
        with pytest.raises(InvalidInput, match="FrameSets have whole numbers"):
            session.replay(first="a")


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


@pytest.mark.parametrize("off_min", [35, 36, 60])
@pytest.mark.parametrize("capped", [True, False], ids=["written today", "written before"])
def test_a_camera_that_was_away_for_long_gives_all_its_pictures(tmp_path, monkeypatch, off_min, capped):
    """MP4 takes no step of 2^31 us, 35.8 min. Of a camera that was off for 36 only those before were found: 30 of 60.

    Files of before have all later pictures 1 us apart.
    """
    if not capped:
        monkeypatch.setattr(video_file, "LONGEST_STEP_US", 2**62)
    off_ns = [off_min * 60_000_000_000 * (i >= 35) for i in range(60)]
    with SessionWriter(tmp_path / "s", ["a"], wait=True) as writer:
        for i in range(60):
            writer.add(Frame(numbered(i), "a", i, i * STEP_NS + off_ns[i]))
    with Session(tmp_path / "s", lambda _: None) as session:
        assert [numbers(frames) for frames in session] == [[i] for i in range(60)]
        assert [numbers(session[i]) for i in (0, 31, 34, 35, 36, 59)] == [[0], [31], [34], [35], [36], [59]]


@pytest.mark.parametrize("header", ["cam_id,t_ns", "camera,frame_time"])
def test_videos_with_the_times_of_another_program_are_a_session(copy, said, header):
    folder, times = copy
    (folder / "session.json").unlink()
    (folder / "frames.csv").unlink()
    in_s = header.endswith("frame_time")
    lines = [
        f"{camera},{t * 1e-9:.9f}" if in_s else f"{camera.removeprefix('cam_')},{t}"
        for camera, stamps in times.items()
        for t in stamps + 10**9
    ]
    (folder / "timestamps.csv").write_text("\n".join([header, *lines]) + "\n")
    before = sorted(path.name for path in folder.iterdir())
    with Session(folder, said.append) as session:
        assert session.cameras == ("cam_2", "cam_10") and len(session) == COUNT
        for camera, stamps in session.times_ns.items():
            assert np.abs(stamps - times[camera] - 10**9).max() < 1000
        assert numbers(session[31]) == [31, 31]
    with open_source(str(folder), notice=said.append) as source:
        assert sum(1 for _ in source) == COUNT
    assert said == [] and sorted(path.name for path in folder.iterdir()) == before
    (folder / "timestamps.csv").write_text("\n".join([header, *lines[: COUNT + 9]]) + "\n")
    Session(folder, said.append).close()
    assert len(said) == 1 and "cam_10.mp4 has 40 frames, 9 of them in timestamps.csv" in said[0]
    (folder / "timestamps.csv").write_text("\n".join([header, *lines[:COUNT]]) + "\n")
    with pytest.raises(InvalidInput, match=r"timestamps\.csv' has no times of camera 'cam_10'"):
        Session(folder)


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


def test_info_survives_the_round_trip(tmp_path):
    info = SessionInfo(ClockAnchor(5, 7, 1), "libx264", ("a",)).finished_with({"cam": (3, 1, (640, 480))})
    info.save(tmp_path)
    assert SessionInfo.load(tmp_path) == info


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


@pytest.mark.parametrize("kept", ["session.json", "frames.csv", "both"])
def test_a_camera_whose_video_is_gone_is_told_and_left_out(copy, said, kept):
    folder, _ = copy
    (folder / "cam_2.mp4").unlink()
    for name in {"session.json", "frames.csv"} - {kept} if kept != "both" else ():
        (folder / name).unlink()
    with Session(folder, said.append) as session:
        assert session.cameras == ("cam_10",) and numbers(session[3]) == [3]
    named = "frames.csv" if kept == "frames.csv" else "session.json"
    missing = [sentence for sentence in said if "missing" in sentence]
    assert missing == [
        f"cam_2 is in {named}, but its video is missing: {folder}/cam_2.mp4. That camera is left out."
    ]


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
    with pytest.raises(
        SourceError, match="holds no session: it wants session.json, frames.csv or timestamps.csv"
    ):
        Session(tmp_path)


# --- the bundled one ----------------------------------------------------------------------------------------


def test_sample_is_the_bundled_session_unless_a_folder_is_called_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Session("sample") as session:
        assert session.folder == sample_dir() and len(session.cameras) == 4
    record(tmp_path / "sample")
    with Session("sample") as session:
        assert session.cameras == ("cam_2", "cam_10")


def test_a_video_of_hours_keeps_its_times() -> None:
    """Ticks of a microsecond times 10^9 are beyond 64 bits after 2.56 hours."""
    hours = np.array([0.0, 2.5, 2.6, 400.0])
    packets = [SimpleNamespace(pts=round(h * 3.6e9)) for h in hours]
    stream = SimpleNamespace(time_base=Fraction(1, 1_000_000))
    container = SimpleNamespace(
        streams=SimpleNamespace(video=[stream]),
        demux=lambda _: packets,
        seek=lambda *_, **__: None,
        metadata={},
    )
    assert VideoTimes.of(container).since_first_ns.tolist() == (hours * 3.6e12).round().astype(int).tolist()
