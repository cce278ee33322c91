"""Sources of frames from files, and their bundling: true times, every fault in one sentence."""

from __future__ import annotations

import os
import threading
import time
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_hands.capture import open_source
from rt_hands.capture import video as videos
from rt_hands.capture.bundle import ABSENT, bundle
from rt_hands.capture.paced import Played, ReadAhead
from rt_hands.capture.session_files import SessionSource, is_session
from rt_hands.capture.session_times import grab_times_ns
from rt_hands.capture.source import Source
from rt_hands.capture.video import VideoSource
from rt_hands.errors import SourceError
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


@pytest.mark.parametrize(
    "matrix",
    [
        *((1, 0, 0, 1), (-1, 0, 0, -1), (0, 1, -1, 0), (0, -1, 1, 0)),
        *((-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0), (0, -1, -1, 0)),
    ],
)
def test_turns_and_mirrors_of_a_display_matrix(matrix):
    """Each pixel lands where the matrix takes it; FFmpeg's rotation calls a mirror a turn, or nothing."""
    image = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    a, b, c, d = matrix
    x, y = np.meshgrid(np.arange(6), np.arange(4))
    to_x, to_y = a * x + c * y, b * x + d * y
    to_x, to_y = to_x - to_x.min(), to_y - to_y.min()
    wanted = np.zeros((to_y.max() + 1, to_x.max() + 1, 3), np.uint8)
    wanted[to_y, to_x] = image
    fixed = np.array([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30], "<i4")
    frame = SimpleNamespace(
        rotation=-np.degrees(np.arctan2(b, a)),  # as av_display_rotation_get has it
        to_ndarray=lambda format: image,
        side_data={"DISPLAYMATRIX": fixed.tobytes()},
    )
    np.testing.assert_array_equal(videos.picture(frame), wanted)


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
    with pytest.raises(SourceError, match=r"cut\.mp4 .*: the recording or a copy was cut off\.$"):
        VideoSource(path)
    path.write_bytes(b"something else entirely")
    with pytest.raises(SourceError, match=r"cut\.mp4 can't be read as a video: [^.]*\.$"):
        VideoSource(path)


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


def test_frames_csv_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "frames.csv").write_text("camera,index,t_ns,dropped\na,0,5,0\n", encoding="utf-8-sig")
    assert grab_times_ns(tmp_path)["a"].tolist() == [5]


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
