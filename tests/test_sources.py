"""What a user types after --source: cameras, files, sessions, the sample, and words that mean nothing."""

from __future__ import annotations

import numpy as np
import pytest
from test_cameras import Scripted
from test_capture import TIMES_MS, Stamped, write_session, write_video
from test_images import write_images

from rt_hands.capture import choose, open_source
from rt_hands.capture.devices import Device
from rt_hands.capture.paced import Played
from rt_hands.capture.together import TogetherSource
from rt_hands.capture.video import StreamReader
from rt_hands.errors import InvalidInput, SourceError


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "clip.mp4")


def test_no_camera_means_the_sample_told_in_one_line(tmp_path, monkeypatch, said):
    monkeypatch.setattr(choose, "list_devices", list)
    monkeypatch.setattr(choose, "sample_dir", lambda: write_session(tmp_path / "s"))
    with open_source((), notice=said.append) as source:
        assert len(source.cameras) == 2
    assert said == ["No webcam on this machine: showing the bundled sample (--source picks something else)."]


def test_the_sample_that_no_camera_means_has_the_clock_offsets_given(tmp_path, monkeypatch, said):
    monkeypatch.setattr(choose, "list_devices", list)
    monkeypatch.setattr(choose, "sample_dir", lambda: write_session(tmp_path / "s", lag_ms=0))
    with open_source((), notice=said.append, clock_offset_ms={"cam_10": 5.0}) as source:
        assert source.clock_offset_ms == {"cam_10": 5.0} and next(iter(source)).spread_ns == 5_000_000


def test_the_first_webcam_has_the_clock_offset_given_and_a_name_of_the_rig(monkeypatch, said):
    monkeypatch.setattr(choose, "list_devices", lambda: [Device(3, "cam")])
    monkeypatch.setattr(choose, "find_device", {"/dev/video3": Device(3, "cam")}.get)
    monkeypatch.setattr(choose, "WebcamReader", lambda device, _: Scripted(f"video{device.index}"))
    with open_source((), notice=said.append, clock_offset_ms={"video3": 5.0}) as source:
        assert source.cameras == ("video3",) and source.clock_offset_ms == {"video3": 5.0}
    with open_source((), notice=said.append, cameras=("video3", "video4")) as source:
        assert source.cameras == ("video3",)
    with pytest.raises(InvalidInput, match="Which camera of the rig is /dev/video3.*left, right"):
        open_source((), notice=said.append, cameras=("left", "right"))


def test_of_several_video_nodes_the_first_that_gives_pictures_is_taken(monkeypatch, said):
    """A Raspberry Pi's codecs and a laptop's raw sensors are video nodes, too."""
    devices = [Device(0, "raw sensor"), Device(1, "codec"), Device(4, "HD Webcam")]

    class Node(Scripted):
        def open(self):
            if self.camera == "video1":
                raise SourceError("Camera 1 (codec) can't be opened.")
            return super().open()

        def grab(self):
            return None if self.camera == "video0" else super().grab()

    monkeypatch.setattr(choose, "list_devices", lambda: devices)
    monkeypatch.setattr(choose, "find_device", lambda word: devices[2] if word == "/dev/video4" else None)
    monkeypatch.setattr(choose, "WebcamReader", lambda device, _: Node(f"video{device.index}"))
    with open_source((), notice=said.append) as source:
        assert source.cameras == ("video4",)
    assert said[0].endswith("gives no pictures: the next one is tried.")
    assert said[1] == "Camera 1 (codec) can't be opened. The next one is tried."


def test_absent_sample_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(choose, "sample_dir", lambda: tmp_path)
    with pytest.raises(SourceError, match="sample is absent"):
        open_source("sample")


@pytest.mark.parametrize("word", ["no_such_folder/", "gone.mp4"])
def test_missing_paths_are_named(word):
    with pytest.raises(SourceError, match=f"no file or folder {word}"):
        open_source(word)


def test_unknown_word_lists_cameras(monkeypatch):
    monkeypatch.setattr(choose, "find_device", lambda _: None)
    monkeypatch.setattr(choose, "list_devices", lambda: [Device(2, "OBS")])
    with pytest.raises(SourceError, match=r"^'webcamera' is no file .*, and no webcam's name.* 2 \(OBS\)\.$"):
        open_source("webcamera")
    monkeypatch.setattr(choose, "list_devices", list)
    with pytest.raises(SourceError, match=r"^'webcamera' is no file or folder, .* has no webcam\. Give "):
        open_source("webcamera")


@pytest.mark.parametrize("word", ["sampel", "Sample", "samples", "smaple"])
@pytest.mark.parametrize("cameras", [(), ("left", "right")])
def test_a_word_near_sample_is_asked_about(word, cameras):
    with pytest.raises(SourceError, match=f"^'{word}' is no file or folder; did you mean sample\\?$"):
        open_source(word, cameras=cameras)


@pytest.mark.parametrize(
    ("word", "said"),
    [("nope", "'nope' is no file or folder"), ("gone/x.mp4", "no file or folder gone/x.mp4")],
)
def test_what_is_not_there_is_no_question_of_its_camera(word, said):
    with pytest.raises(SourceError, match=said):
        open_source(word, cameras=("left", "right"))


def test_several_files_play_together(video, tmp_path):
    other = write_video(tmp_path / "other.mp4")
    with open_source([str(video), f"right={other}"]) as source:
        sets = list(source)
    assert source.cameras == ("clip", "right") and len(sets) == len(TIMES_MS)
    assert all(frames.cameras == ("clip", "right") and frames.spread_ns == 0 for frames in sets)


def test_paths_and_camera_numbers_are_words_too(video, tmp_path, monkeypatch):
    for given in (video, [video]):
        with open_source(given) as source:
            assert source.cameras == ("clip",)
    monkeypatch.setattr(choose, "find_device", lambda word: None)
    monkeypatch.setattr(choose, "list_devices", list)
    with pytest.raises(SourceError, match="'0' is no file or folder, and this machine has no webcam"):
        open_source(0)
    with pytest.raises(InvalidInput, match=r"A source is 1\.5; give a camera's number, a path"):
        open_source([1.5])


def test_several_files_need_different_names(video):
    with pytest.raises(InvalidInput, match="different camera names; got clip, clip"):
        open_source([str(video), str(video)])


def test_files_and_pictures_do_not_mix(video, tmp_path):
    with pytest.raises(InvalidInput, match="Several sources must all be of one kind.*clip.mp4"):
        open_source([str(video), str(tmp_path)])


@pytest.mark.parametrize("realtime", [False, True])
def test_one_recorded_source_has_the_name_it_is_given(video, tmp_path, realtime):
    folder = write_images(tmp_path / "pictures", ["1.png"])
    for word in (video, folder, folder / "1.png"):
        with open_source(f"cam_left={word}", realtime, cameras=("cam_left", "cam_right")) as source:
            assert source.cameras == ("cam_left",) and next(iter(source)).cameras == ("cam_left",)


def test_every_recorded_source_can_be_read_again(video, tmp_path):
    other = write_video(tmp_path / "other.mp4")
    folder = write_images(tmp_path / "pictures", ["1.png", "2.png"])
    session = write_session(tmp_path / "session")
    for words in (str(video), [str(video), str(other)], str(folder), str(session)):
        with open_source(words) as source:
            first, again = list(source), list(source)
        assert first and len(first) == len(again)
        for a, b in zip(first, again, strict=True):
            assert a.index == b.index and a.cameras == b.cameras and a.t_ns == b.t_ns
            assert all(
                np.array_equal(x.image_bgr, y.image_bgr) for x, y in zip(a.frames, b.frames, strict=True)
            )


def test_folders_of_pictures_are_the_views_of_single_moments(tmp_path, said):
    left = write_images(tmp_path / "left", ["1.png", "2.png", "3.png"])
    right = write_images(tmp_path / "right", ["a1.png", "a2.png", "a3.png"])
    (right / "a2.png").write_bytes(b"")
    words = [str(left), f"cam={right}"]
    with open_source(words, realtime=True, notice=said.append, clock_offset_ms={"cam": -900.0}) as source:
        sets = list(source)
    # Pictures of one number meet; they have no clocks.
    assert source.still and source.length == 3 and not source.clock_offset_ms
    found = [[(frame.camera, frame.file) for frame in frames.frames] for frames in sets]
    assert found == [
        [("left", "1.png"), ("cam", "a1.png")],
        [("left", "2.png")],
        [("left", "3.png"), ("cam", "a3.png")],
    ]
    assert len(said) == 1 and "a2.png is empty" in said[0]


def test_sources_of_a_rig_are_named(video):
    with pytest.raises(InvalidInput, match="Which camera of the rig is .*clip.mp4.*left, right"):
        open_source([str(video)], cameras=("left", "right"))
    with pytest.raises(InvalidInput, match="^The rig has no camera 'middle'; it has left, right.$"):
        open_source([f"left={video}", f"middle={video}"], cameras=("left", "right"))
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


@pytest.mark.parametrize(
    ("first_ms", "told"), [((0, 5000), True), ((1400, 1400), False), ((133, 0), True), ((0, 10), False)]
)
def test_videos_meet_wherever_their_own_clocks_begin(tmp_path, said, first_ms, told):
    for name, first in zip("ab", first_ms, strict=True):
        write_video(tmp_path / f"{name}.mkv", [first + 40 * i for i in range(6)])
    with open_source([str(tmp_path / f"{name}.mkv") for name in "ab"], notice=said.append) as source:
        for _ in range(2):
            sets = list(source)
            assert [[f.index for f in s.frames] for s in sets] == [[i, i] for i in range(6)]
            assert {f.t_ns // 1_000_000 for f in sets[0].frames} == {min(first_ms)}
    assert len(said) == told and all("first pictures are taken for one moment" in line for line in said)


def test_views_that_never_meet_are_told(said):
    times = np.arange(4) * 40_000_000
    for offset_ms in (5000.0, 0.0):
        list(TogetherSource([Stamped(times), Stamped(times)], ["a", "b"], {"b": offset_ms}, said.append))
    assert len(said) == 1 and said[0].startswith("No moment shows two of a, b")


def test_realtime_plays_files(video):
    with open_source(str(video), realtime=True) as source:
        assert isinstance(source, Played) and sum(1 for _ in source) + source.dropped == len(TIMES_MS)


def test_unreachable_stream_is_one_sentence():
    with pytest.raises(SourceError, match="http://127.0.0.1:9/x can't be read"):
        open_source("http://127.0.0.1:9/x")


@pytest.mark.parametrize(
    "url", ["http://me:secret@127.0.0.1:9/cam.mjpg", "rtsp://me:secret@cam.local:554/a@b/1"]
)
def test_a_stream_s_login_is_never_shown(url: str) -> None:
    """Messages are copied into reports, and session.json goes to other labs."""
    reader = StreamReader(url)
    assert "me:" not in reader.name + reader.camera and "secret" not in reader.name
    if url.startswith("http"):
        with pytest.raises(SourceError, match=r"http://127\.0\.0\.1:9/cam\.mjpg can't be read") as error:
            reader.open()
        assert "secret" not in str(error.value)
