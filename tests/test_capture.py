"""Sources of frames: true times, every fault in one sentence, cameras that go away and come back."""

from __future__ import annotations

import os
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_hands.capture import choose, open_source
from rt_hands.capture.bundle import ABSENT, bundle
from rt_hands.capture.devices import Device, find_device, list_devices, missing_device, why_not_open
from rt_hands.capture.images import ImageSource, natural_key, read_image
from rt_hands.capture.live import LiveSource
from rt_hands.capture.paced import Played, ReadAhead
from rt_hands.capture.session_files import SessionSource, grab_times_ns, is_session
from rt_hands.capture.source import Source
from rt_hands.capture.together import TogetherSource
from rt_hands.capture.video import VideoSource
from rt_hands.capture.webcam import WebcamReader, WebcamSettings
from rt_hands.errors import InvalidInput, SourceError
from rt_hands.types import Frame, FrameSet

SIZE = (64, 48)
TIMES_MS = [0, 33, 67, 100, 180, 210, 250, 333, 340, 400]
is_root = os.geteuid() == 0 if hasattr(os, "geteuid") else False


def grey(value: int, size=SIZE) -> np.ndarray:
    return np.full((size[1], size[0], 3), value, np.uint8)


def write_video(path: Path, times_ms=TIMES_MS, codec: str = "mpeg4") -> Path:
    """Frames of rising grey at uneven times, written with PyAV alone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=30)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        for i, t in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(grey(20 * i + 20), format="bgr24")
            frame.pts, frame.time_base = t, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "clip.mp4")


@pytest.fixture
def said():
    return []


class Stamped(Source):
    """Tiny frames with given times."""

    def __init__(self, times_ns):
        self.times_ns, self.cameras, self.length = times_ns, ("x",), len(times_ns)

    def __iter__(self):
        for i, t_ns in enumerate(self.times_ns.tolist()):
            yield FrameSet((Frame(np.zeros((2, 2, 3), np.uint8), "x", i, t_ns),), i)


# --- video files -------------------------------------------------------------------------------------------


def test_video_has_its_own_times_and_pictures(video):
    with VideoSource(video) as source:
        frames = [frames.frames[0] for frames in source]
    assert [frame.t_ns for frame in frames] == [t * 1_000_000 for t in TIMES_MS]
    assert [frame.index for frame in frames] == list(range(len(TIMES_MS)))
    assert {frame.camera for frame in frames} == {"clip"}
    assert source.length == len(TIMES_MS) and not source.live
    levels = np.array([frame.image_bgr.mean() for frame in frames])
    # Measured: 5 grey levels of coding loss, of 20 from frame to frame.
    np.testing.assert_allclose(levels, 20 * np.arange(len(frames)) + 20, atol=9)


@pytest.mark.parametrize("degrees", [90, 180, -90])
def test_a_phones_video_is_turned_upright(tmp_path, degrees):
    """FFmpeg's own rotation metadata, counterclockwise: a white left half lands where the turn takes it."""
    path = tmp_path / "phone.mp4"
    image = grey(0)
    image[:, : SIZE[0] // 2] = 255
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("This PyAV can't write rotation metadata.")
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.set_display_rotation(degrees)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))
    with VideoSource(path) as source:
        (frames,) = source
    found = frames.frames[0].image_bgr
    h, w = found.shape[:2]
    white = {90: found[3 * h // 4, w // 2], 180: found[h // 2, 3 * w // 4], -90: found[h // 4, w // 2]}
    assert (w, h) == (SIZE if degrees == 180 else SIZE[::-1]) and (white[degrees] > 200).all()


def test_truncated_video_gives_what_is_there_and_says_so(tmp_path, said):
    whole = write_video(tmp_path / "whole.avi", codec="mjpeg").read_bytes()
    path = tmp_path / "cut.avi"
    path.write_bytes(whole[: len(whole) * 6 // 10])
    with VideoSource(path, notice=said.append) as source:
        count = sum(1 for _ in source)
    assert 2 <= count < len(TIMES_MS)
    assert any("cut.avi" in line and f"{count} " in line for line in said)


def test_damaged_jpeg_in_a_video_is_skipped_and_told(tmp_path, said):
    path = write_video(tmp_path / "clip.avi", codec="mjpeg")
    data = bytearray(path.read_bytes())
    starts = [i for i in range(len(data) - 1) if data[i : i + 2] == b"\xff\xd8"]
    data[starts[3] : starts[3] + 120] = bytes(120)
    path.write_bytes(data)
    with VideoSource(path, notice=said.append) as source:
        count = sum(1 for _ in source)
    assert len(TIMES_MS) - 2 <= count < len(TIMES_MS) or said
    assert any("clip.avi" in line for line in said)


@pytest.mark.parametrize(
    "name, content, sentence",
    [
        ("zero.mp4", b"", "is empty"),
        ("noise.mp4", b"not a video at all" * 50, "can't be read as a video"),
        ("gone.mp4", None, "no file"),
    ],
)
def test_unusable_files_are_one_sentence(tmp_path, name, content, sentence):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=sentence) as error:
        open_source(str(path))
    assert name in str(error.value) and "\n" not in str(error.value)


def test_mp4_without_its_index_is_one_sentence(tmp_path, video):
    path = tmp_path / "cut.mp4"
    path.write_bytes(video.read_bytes()[:900])
    with pytest.raises(SourceError, match=r"cut\.mp4"), VideoSource(path) as source:
        list(source)


def test_sound_without_pictures_is_refused(tmp_path):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(SourceError, match="no video stream"):
        VideoSource(path)


@pytest.mark.skipif(is_root, reason="Root may read everything.")
def test_unreadable_file_is_about_permissions(video):
    video.chmod(0)
    with pytest.raises(SourceError, match="permissions"):
        VideoSource(video)


# --- played and read ahead ---------------------------------------------------------------------------------


class Listed(Source):
    """A source made of given FrameSets; breaks with an error at the end if told to."""

    name, cameras = "listed", ("a",)

    def __init__(self, times_ms, error: Exception | None = None):
        self.times_ms, self.error, self.closed = times_ms, error, False

    def __iter__(self):
        for i, t in enumerate(self.times_ms):
            yield FrameSet((Frame(grey(i), "a", i, t * 1_000_000),), i)
        if self.error:
            raise self.error

    def close(self):
        self.closed = True


def test_played_frames_come_when_they_are_due():
    with Played(Listed([1000, 1040, 1120])) as source:
        assert source.now_ns() is None
        for frames in source:
            late_ns = source.now_ns() - frames.t_ns
            # Never early. How late depends on the machine, so it has no bound here.
            assert late_ns >= 0
    assert source.live


def test_played_drops_late_frames_and_counts_them():
    with Played(Listed(range(0, 100, 5))) as source:
        indices = []
        for frames in source:
            indices.append(frames.index)
            time.sleep(0.03)
    assert indices == sorted(set(indices)) and len(indices) + source.dropped == 20 and source.dropped > 0


@pytest.mark.parametrize("wrapper", [Played, ReadAhead])
def test_errors_reach_the_one_who_iterates(wrapper):
    inner = Listed([0, 1], SourceError("the cable is gone"))
    with wrapper(inner) as source, pytest.raises(SourceError, match="cable"):
        list(source)
    assert inner.closed


def test_read_ahead_keeps_every_frame_in_order():
    with ReadAhead(Listed(range(50)), ahead=2) as source:
        assert [frames.index for frames in source] == list(range(50))


@pytest.mark.parametrize("wrapper", [Played, ReadAhead])
def test_leaving_early_leaves_no_thread(wrapper):
    before = threading.active_count()
    with wrapper(Listed(range(10_000))) as source:
        next(iter(source))
    assert threading.active_count() == before


# --- pictures ----------------------------------------------------------------------------------------------


def write_images(folder: Path, names) -> Path:
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), grey(10 * i, (60 + i, 40)))
    return folder


def test_folder_is_read_in_natural_order_with_changing_sizes(tmp_path):
    folder = write_images(tmp_path / "f", ["img_10.png", "img_2.png", "img_1.jpg"])
    source = open_source(str(folder))
    assert source.still and source.length == 3
    assert [frames.frames[0].size_px for frames in source] == [(62, 40), (61, 40), (60, 40)]


def test_damaged_pictures_are_skipped_and_told(tmp_path, said):
    folder = write_images(tmp_path / "f", ["1.png", "2.png", "3.png"])
    (folder / "2.png").write_bytes(b"\x89PNG broken")
    (folder / "3.png").write_bytes(b"")
    assert [frames.index for frames in ImageSource(folder, said.append)] == [0]
    assert len(said) == 2 and "2.png" in said[0] and "empty" in said[1]


def test_folder_of_damaged_pictures_only_is_an_error(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(b"no")
    with pytest.raises(SourceError, match="None of the 1 pictures"):
        list(ImageSource(folder, lambda _: None))


def test_empty_folder_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="holds no pictures"):
        open_source(str(tmp_path))


@pytest.mark.skipif(is_root, reason="Root may read everything.")
def test_unreadable_folder_is_about_permissions(tmp_path):
    folder = write_images(tmp_path / "f", ["1.png"])
    folder.chmod(0)
    try:
        with pytest.raises(SourceError, match="permissions"):
            open_source(str(folder))
    finally:
        folder.chmod(0o755)


@given(st.permutations([f"frame_{i}" for i in (0, 1, 2, 9, 10, 11, 100)]))
def test_natural_order(names):
    assert [p.name for p in sorted(map(Path, names), key=natural_key)] == [
        f"frame_{i}" for i in (0, 1, 2, 9, 10, 11, 100)
    ]


def test_one_picture_is_a_source_of_one(tmp_path):
    write_images(tmp_path, ["a.png"])
    (frames,) = open_source(str(tmp_path / "a.png"))
    np.testing.assert_array_equal(frames.frames[0].image_bgr, read_image(tmp_path / "a.png"))


# --- webcams -----------------------------------------------------------------------------------------------


def fake_sysfs(root: Path, cameras: dict[str, tuple[str, str]]) -> Path:
    for node, (name, index) in cameras.items():
        folder = root / node
        folder.mkdir(parents=True)
        (folder / "name").write_text(name + "\n")
        (folder / "index").write_text(index + "\n")
    return root


@pytest.fixture
def sysfs(tmp_path):
    nodes = {
        "video0": ("HD Webcam: HD Webcam", "0"),
        "video1": ("HD Webcam: HD Webcam", "1"),
        "video2": ("OBS", "0"),
        "video10": ("Other Webcam", "0"),
    }
    return fake_sysfs(tmp_path / "v4l", nodes)


def test_devices_are_listed_by_number_without_metadata_nodes(sysfs):
    assert list_devices(sysfs) == [
        Device(0, "HD Webcam: HD Webcam"),
        Device(2, "OBS"),
        Device(10, "Other Webcam"),
    ]


@pytest.mark.parametrize("word, index", [("0", 0), ("/dev/video2", 2), ("obs", 2), ("other", 10)])
def test_devices_are_found_by_number_node_and_name(sysfs, word, index):
    device = find_device(word, sysfs)
    assert device is not None and device.index == index


def test_missing_and_ambiguous_devices(sysfs, tmp_path):
    with pytest.raises(
        SourceError, match=r"No camera at 3\. Found: 0 \(HD Webcam: HD Webcam\), 2 \(OBS\).*--source 0\."
    ):
        find_device("3", sysfs)
    with pytest.raises(SourceError, match="fits several cameras"):
        find_device("webcam", sysfs)
    assert find_device("clip.mp4", sysfs) is None
    assert "no webcam" in missing_device("0", [])


def test_a_camera_that_does_not_open_gets_the_likely_reason(tmp_path):
    assert "another program" in why_not_open(Device(0, "cam"), tmp_path)
    node = tmp_path / "video0"
    node.write_bytes(b"")
    if not is_root:
        node.chmod(0)
        assert "No permission" in why_not_open(Device(0, "cam"), tmp_path)


class FakeCapture:
    """What cv2.VideoCapture does, with a camera that obeys only in part."""

    def __init__(self, opens=True, rate=15.0, frames=3):
        self.opens, self.frames, self.released, self.order = opens, frames, False, []
        self.values = {cv2.CAP_PROP_FPS: rate}

    def isOpened(self):
        return self.opens

    def set(self, prop, value):
        self.order.append(prop)
        if prop != cv2.CAP_PROP_FPS:
            self.values[prop] = value
        return True

    def get(self, prop):
        return float(self.values.get(prop, 0))

    def grab(self):
        self.frames -= 1
        return self.frames >= 0

    def retrieve(self):
        return True, grey(100)

    def release(self):
        self.released = True


def test_webcam_asks_mjpg_first_and_reports_asked_and_got():
    fake = FakeCapture(rate=15)
    reader = WebcamReader(Device(0, "cam"), WebcamSettings(), lambda _: fake)
    sentence = reader.open()
    assert fake.order[0] == cv2.CAP_PROP_FOURCC
    assert sentence == "camera 0 (cam): asked 1280x720 30 fps MJPG, got 1280x720 15 fps MJPG (differs)"
    before = time.perf_counter_ns()
    t_ns, image = reader.grab()
    assert before <= t_ns <= time.perf_counter_ns() and image.shape == (48, 64, 3)
    reader.close()
    assert fake.released


def test_busy_webcam_leaves_nothing_behind():
    fake = FakeCapture(opens=False)
    with pytest.raises(SourceError, match="another program"):
        WebcamReader(Device(77, "cam"), None, lambda _: fake).open()
    assert fake.released


def test_unplugged_webcam_is_told():
    reader = WebcamReader(Device(0, "cam"), None, lambda _: FakeCapture(frames=1))
    reader.open()
    reader.grab()
    with pytest.raises(SourceError, match=r"camera 0 \(cam\) stopped"):
        reader.grab()


# --- live cameras ------------------------------------------------------------------------------------------


class Scripted:
    """A camera that follows a script: a picture, "damaged" or "gone"; after it, pictures for ever."""

    def __init__(self, camera, script=(), opens=(), period_s=0.003):
        self.camera, self.name = camera, f"camera {camera}"
        self.script, self.opens, self.period_s = list(script), list(opens), period_s
        self.closed = 0

    def open(self):
        if self.opens and not self.opens.pop(0):
            raise SourceError(f"{self.name} can't be opened.")
        return f"{self.name}: opened"

    def grab(self):
        time.sleep(self.period_s)
        what = self.script.pop(0) if self.script else "picture"
        if what == "gone":
            raise SourceError(f"{self.name} stopped.")
        return None if what == "damaged" else (time.perf_counter_ns(), grey(50))

    def close(self):
        self.closed += 1


def take(source, count):
    return [frames for _, frames in zip(range(count), source, strict=False)]


def test_live_frames_are_numbered_and_rise_in_time(said):
    with LiveSource([Scripted("a")], said.append) as source:
        frames = [frames.frames[0] for frames in take(source, 10)]
        assert source.now_ns() >= frames[-1].t_ns
    times, indices = [f.t_ns for f in frames], [f.index for f in frames]
    assert times == sorted(set(times)) and indices == sorted(set(indices))
    assert said == ["camera a: opened"]


def test_slow_consumer_gets_the_newest_and_drops_are_counted(said):
    with LiveSource([Scripted("a")], said.append) as source:
        first = next(iter(source))
        time.sleep(0.1)
        second = next(iter(source))
        skipped = second.frames[0].index - first.frames[0].index - 1
        assert skipped > 3 and source.dropped >= skipped


def test_cameras_are_bundled(said):
    with LiveSource([Scripted("a"), Scripted("b")], said.append) as source:
        sets = take(source, 10)
    # Threads that run free may drift half a period apart, so single frames are right too.
    assert {camera for frames in sets for camera in frames.cameras} == {"a", "b"}


@pytest.mark.parametrize(
    ("apart_ms", "together"), [(0, ["a", "b"]), (16, ["a", "b"]), (17, ["a"]), (200, ["a"])]
)
def test_live_frames_half_a_period_apart_are_never_mixed(said, apart_ms, together):
    source = LiveSource([Scripted("a"), Scripted("b")], said.append)
    source.close()
    for camera, t_ms in zip(source._running, (0, apart_ms), strict=True):
        camera.slot.period_ns = 33_333_333.0
        camera.slot.frame = Frame(grey(0), camera.reader.camera, 0, t_ms * 1_000_000)
    assert [frame.camera for frame in source._take_together()] == together
    assert [frame.camera for frame in source._take_together()] == ["b"][: 2 - len(together)]


def test_a_camera_that_goes_away_is_told_retried_and_comes_back(said):
    camera = Scripted("a", ["picture", "gone"], opens=[True, False, True])
    with LiveSource([camera], said.append, retry_every_s=0.01) as source:
        take(source, 10)
    assert [line for line in said if "stopped" in line] and [line for line in said if "Back again" in line]
    assert camera.closed >= 2


def test_other_cameras_go_on(said):
    cameras = [Scripted("a"), Scripted("b", ["gone"], opens=[True] + [False] * 10_000)]
    with LiveSource(cameras, said.append, retry_every_s=0.01) as source:
        assert take(source, 30)[-1].cameras == ("a",)


def test_when_all_are_gone_for_good_it_is_an_error(said):
    camera = Scripted("a", ["gone"], opens=[True] + [False] * 10_000)
    with (
        LiveSource([camera], said.append, give_up_after_s=0.1, retry_every_s=0.01) as source,
        pytest.raises(SourceError, match="No frames from camera a"),
    ):
        take(source, 1)


def test_one_damaged_picture_is_skipped_and_many_are_a_broken_camera(said):
    with LiveSource([Scripted("a", ["damaged", "picture"])], said.append) as source:
        take(source, 3)
    assert len(said) == 1
    with LiveSource([Scripted("a", ["damaged"] * 40, period_s=0)], said.append, retry_every_s=0.01) as source:
        take(source, 3)
    assert any("damaged pictures in a row" in line for line in said)


def test_failed_start_frees_the_cameras_already_open(said):
    good, bad = Scripted("a"), Scripted("b", opens=[False])
    with pytest.raises(SourceError, match="camera b"):
        LiveSource([good, bad], said.append)
    assert good.closed == 1 and bad.closed == 1


def test_closing_leaves_no_thread_and_no_camera(said):
    before = threading.active_count()
    cameras = [Scripted("a"), Scripted("b")]
    source = LiveSource(cameras, said.append)
    take(source, 3)
    source.close()
    source.close()
    assert threading.active_count() == before and all(camera.closed == 1 for camera in cameras)


# --- bundling and sessions ---------------------------------------------------------------------------------


def test_bundles_by_time_with_absent_views():
    a, b = np.array([0, 100, 200, 300]), np.array([10, 205, 290])
    assert bundle([a, b]).tolist() == [[0, 0], [1, ABSENT], [2, 1], [3, 2]]


@given(
    st.lists(st.integers(2, 40), min_size=2, max_size=4),
    st.integers(0, 2**32 - 1),
)
def test_every_frame_is_in_exactly_one_bundle(counts, seed):
    rng = np.random.default_rng(seed)
    times = [np.sort(rng.choice(10_000, n, replace=False)) for n in counts]
    sets = bundle(times)
    for v, n in enumerate(counts):
        used = sets[sets[:, v] != ABSENT, v]
        assert used.tolist() == list(range(n))
    first = [min(int(times[v][i]) for v, i in enumerate(row) if i != ABSENT) for row in sets]
    assert first == sorted(first)


def write_session(folder: Path, lag_ms: int = 4) -> Path:
    folder.mkdir()
    lines = ["camera,index,t_ns"]
    for c, camera in enumerate(("cam_2", "cam_10")):
        write_video(folder / f"{camera}.mp4", [40 * i for i in range(6)])
        lines += [f"{camera},{i},{(40 * i + c * lag_ms) * 1_000_000 + 7}" for i in range(6)]
    (folder / "frames.csv").write_text("\n".join(lines) + "\n")
    (folder / "session.json").write_text("{}")
    return folder


def test_session_is_bundled_by_grab_time(tmp_path):
    folder = write_session(tmp_path / "s")
    assert is_session(folder)
    with open_source(str(folder)) as source:
        sets = list(source)
    assert source.cameras == ("cam_2", "cam_10") and source.length == len(sets) == 6
    assert [frames.cameras for frames in sets] == [("cam_2", "cam_10")] * 6
    assert sets[3].t_ns == 120_000_007 and sets[3].spread_ns == 4_000_000


def test_session_with_a_lag_beyond_half_a_period_leaves_views_absent(tmp_path):
    with SessionSource(write_session(tmp_path / "s", lag_ms=25)) as source:
        assert len(next(iter(source)).frames) == 1


def test_session_with_a_short_video_says_so(tmp_path, said):
    folder = write_session(tmp_path / "s")
    write_video(folder / "cam_10.mp4", [0, 40, 80])
    with SessionSource(folder, said.append) as source:
        assert [len(frames.frames) for frames in source] == [2, 2, 2, 1, 1, 1]
    assert any("cam_10" in line for line in said)


@pytest.mark.parametrize(
    "content, sentence", [("a,b\n1,2\n", "columns camera and t_ns"), ("camera,t_ns\ncam_2,x\n", "ns")]
)
def test_bad_frames_csv_is_one_sentence(tmp_path, content, sentence):
    (tmp_path / "frames.csv").write_text(content)
    with pytest.raises(SourceError, match=sentence):
        grab_times_ns(tmp_path)


# --- what words mean ---------------------------------------------------------------------------------------


def test_no_camera_means_the_sample_told_in_one_line(tmp_path, monkeypatch, said):
    monkeypatch.setattr(choose, "list_devices", list)
    monkeypatch.setattr(choose, "sample_dir", lambda: write_session(tmp_path / "s"))
    with open_source((), notice=said.append) as source:
        assert len(source.cameras) == 2
    assert said == ["No webcam on this machine: showing the bundled sample (--source picks something else)."]


def test_absent_sample_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(choose, "sample_dir", lambda: tmp_path)
    with pytest.raises(SourceError, match="sample is absent"):
        open_source("sample")


@pytest.mark.parametrize("word", ["no_such_folder/", "gone.mp4"])
def test_missing_paths_are_named(word):
    with pytest.raises(SourceError, match=f"no file or folder {word}"):
        open_source(word)


def test_unknown_word_lists_cameras():
    with pytest.raises(SourceError, match="No camera at 'webcamera'"):
        open_source("webcamera")


def test_several_files_play_together(video, tmp_path):
    other = write_video(tmp_path / "other.mp4")
    with open_source([str(video), f"right={other}"]) as source:
        sets = list(source)
    assert source.cameras == ("clip", "right") and len(sets) == len(TIMES_MS)
    assert all(frames.cameras == ("clip", "right") and frames.spread_ns == 0 for frames in sets)


def test_several_files_need_different_names(video):
    with pytest.raises(InvalidInput, match="different camera names; got clip, clip"):
        open_source([str(video), str(video)])


def test_files_and_pictures_do_not_mix(video, tmp_path):
    with pytest.raises(InvalidInput, match="is neither"):
        open_source([str(video), str(tmp_path)])


def test_sources_of_a_rig_are_named(video):
    with pytest.raises(InvalidInput, match="Which camera of the rig is .*clip.mp4.*left, right"):
        open_source([str(video)], cameras=("left", "right"))
    with open_source([f"left={video}", f"right={video}"], cameras=("left", "right")) as source:
        assert source.cameras == ("left", "right")


@pytest.mark.parametrize("shift_ms", [0, 5, 12, 25, 1000])
def test_frames_half_a_period_apart_are_never_mixed(shift_ms):
    """Two recordings at 33.3 ms a frame, jittered, one dropping every seventh frame and starting late."""
    rng = np.random.default_rng(shift_ms)
    early = np.arange(40) * 33_333_333 + rng.integers(-2_000_000, 2_000_000, 40)
    late = np.delete(early + shift_ms * 1_000_000, slice(3, None, 7))
    together = TogetherSource([Stamped(early), Stamped(late)], ["a", "b"])
    sets = list(together)
    assert max(frames.spread_ns for frames in sets) <= 0.5 * 33_333_333 + 4_000_000
    assert sum(len(frames.frames) for frames in sets) == len(early) + len(late)
    assert [f.t_ns for s in sets for f in s.frames if f.camera == "b"] == late.tolist()


def test_realtime_plays_files(video):
    with open_source(str(video), realtime=True) as source:
        assert isinstance(source, Played) and sum(1 for _ in source) + source.dropped == len(TIMES_MS)


def test_unreachable_stream_is_one_sentence():
    with pytest.raises(SourceError, match="http://127.0.0.1:9/x can't be read"):
        open_source("http://127.0.0.1:9/x")
