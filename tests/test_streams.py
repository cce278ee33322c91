"""Network streams and files on web servers; cameras that fail again and again; what is told of them, and how often."""

from __future__ import annotations

import io
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from test_cameras import Scripted, take
from test_capture import SIZE, TIMES_MS, Listed, grey, write_video

from rt_hands.capture import live, open_source, video
from rt_hands.capture.live import LiveSource
from rt_hands.capture.paced import Played, ReadAhead
from rt_hands.capture.steady import Steady
from rt_hands.capture.together import TogetherSource
from rt_hands.capture.video import StreamReader, VideoSource
from rt_hands.errors import SourceError
from rt_hands.types import Frame

# --- streams joined between key frames ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def transport():
    """An MPEG-TS of 260 pictures with key frames at 0 and 250, and where in it each picture begins."""
    file = io.BytesIO()
    with av.open(file, "w", format="mpegts") as container:
        options = {"preset": "ultrafast", "tune": "zerolatency", "x264-params": "keyint=250:scenecut=0"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for i in range(260):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey(i % 256), format="bgr24")))
        container.mux(stream.encode(None))
    with av.open(io.BytesIO(file.getvalue())) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
    assert [i for i, packet in enumerate(packets) if packet.is_keyframe] == [0, 250]
    return file.getvalue(), [packet.pos for packet in packets]


@pytest.fixture
def joined(transport, monkeypatch):
    """Let every URL be that stream, joined at a picture."""
    data, starts = transport

    def join(picture):
        monkeypatch.setattr(video, "open_container", lambda _: av.open(io.BytesIO(data[starts[picture] :])))

    return join


# Undecodable where FFmpeg met no key frame when it looked at the stream, else without a picture.
@pytest.mark.parametrize("picture", [5, 200])
def test_a_stream_joined_between_key_frames_is_not_called_broken(joined, said, picture):
    joined(picture)
    with LiveSource([StreamReader("tcp://cam")], said.append, give_up_after_s=3.0) as source:
        assert take(source, 1)[0].frames[0].size_px == SIZE
    # Was "gave 30 damaged pictures in a row" up to four times, and the first picture after 11.8 to 25.8 s.
    size = "size known with its first picture," if picture == 5 else "64x48"
    assert said[0] == f"tcp://cam: {size} 25 fps h264"
    assert not any("damaged" in line for line in said)


def test_a_stream_that_sends_no_key_frame_is_an_error(joined, monkeypatch):
    joined(5)
    monkeypatch.setattr(video, "KEY_FRAME_WITHIN_S", 0.0)
    reader = StreamReader("tcp://cam")
    reader.open()
    with pytest.raises(
        SourceError, match=r"^tcp://cam sends, but no key frame came in 0 s: set a shorter .* in it\.$"
    ):
        while True:
            reader.grab()


def test_the_wait_for_a_key_frame_begins_with_the_first_packet(joined, monkeypatch):
    """Not when it was opened: a rig's other streams are opened after it, some 7 s each."""
    joined(200)
    monkeypatch.setattr(video, "KEY_FRAME_WITHIN_S", 5.0)
    reader = StreamReader("tcp://cam")
    reader.open()
    now_ns = time.perf_counter_ns
    monkeypatch.setattr(video.time, "perf_counter_ns", lambda: now_ns() + 20_000_000_000)
    assert [reader.grab()[1] for _ in range(50)] == [None] * 50 and reader.grab()[1] is not None


def test_a_stream_damaged_after_its_beginning_is_told_apart(joined):
    joined(200)
    reader = StreamReader("tcp://cam")
    reader.open()
    assert sum(reader.grab()[1] is None for _ in range(51)) == 50
    reader._packets = iter([_Undecodable()])
    assert reader.grab() is None


class _Undecodable:
    def decode(self):
        raise av.error.InvalidDataError(1, "invalid data")


def test_a_stream_that_sends_is_not_given_up_before_its_key_frame(said, monkeypatch):
    monkeypatch.setattr(live, "SILENT_AFTER_S", 0.4)
    camera, begin_s = Scripted("a"), time.monotonic() + 1.2
    grab = camera.grab
    camera.grab = lambda: (grab()[0], grey(50) if time.monotonic() > begin_s else None)
    with LiveSource([camera], said.append, give_up_after_s=0.2) as source:
        assert take(source, 1)
    assert said[1:] == [
        "camera a sends, but pictures begin with its next key frame.",
        "camera a sends pictures.",
    ]


# --- files and cameras on a web server ---------------------------------------------------------------------


class _Web(BaseHTTPRequestHandler):
    """/clip.mp4, the same as /live.mp4 of a size not told, and, without end, /cam.mjpg."""

    def do_GET(self):
        self.server.asked.append(self.path)
        self.send_response(200)
        if self.path.endswith(".mp4"):
            if self.path == "/clip.mp4":
                self.send_header("Content-Length", str(len(self.server.clip)))
            self.end_headers()
            self.wfile.write(self.server.clip)
            return
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=b")
        self.end_headers()
        jpeg = cv2.imencode(".jpg", grey(50))[1].tobytes()
        part = b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(jpeg), jpeg)
        try:
            while True:
                self.wfile.write(part)
                time.sleep(0.01)
        except OSError:
            return

    def log_message(self, *_):
        pass


@pytest.fixture
def web(tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), _Web) as server:
        server.clip, server.asked = write_video(tmp_path / "clip.mp4").read_bytes(), []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_video_file_on_a_web_server_plays_once_at_its_own_pace(web, said):
    # As a stream, a clip of 10 s was over in 0.2 to 0.4 s, and began again and again.
    start_s = time.monotonic()
    with open_source(
        f"http://me:secret@127.0.0.1:{web.server_port}/clip.mp4", True, notice=said.append
    ) as source:
        assert isinstance(source, Played) and source.cameras == ("clip",) and "secret" not in source.name
        frames = [frames.frames[0] for frames in source]
    assert len(frames) + source.dropped == len(TIMES_MS) and frames[-1].t_ns == TIMES_MS[-1] * 1_000_000
    assert time.monotonic() - start_s > TIMES_MS[-1] * 1e-3 - 0.05 and not said


def test_files_on_a_web_server_play_together_with_others(web, tmp_path):
    words = [f"left=http://127.0.0.1:{web.server_port}/clip.mp4", str(tmp_path / "clip.mp4")]
    with open_source(words) as source:
        assert isinstance(source, ReadAhead) and source.cameras == ("left", "clip")
        assert [len(frames.frames) for frames in source] == [2] * len(TIMES_MS)


def test_a_camera_s_web_address_is_live_and_asked_for_once(web, said):
    with open_source(f"http://127.0.0.1:{web.server_port}/cam.mjpg", notice=said.append) as source:
        assert isinstance(source, LiveSource) and len(take(source, 3)) == 3
    assert web.asked == ["/cam.mjpg"]


def test_live_mp4_is_no_file(web):
    """It has the duration of its first piece: 1 s, where a camera cuts it so."""
    reader = StreamReader(f"http://127.0.0.1:{web.server_port}/live.mp4")
    assert not reader.is_file() and reader._container.duration > 0
    reader.close()


# --- cameras that fail -------------------------------------------------------------------------------------


def test_a_camera_that_opens_and_fails_again_and_again_is_told_of_once(said):
    """Beside one that works it wrote two lines a second for ever."""
    bad = Scripted("b", ["gone"] * 100_000)
    with LiveSource([Scripted("a"), bad], said.append, retry_every_s=0.01) as source:
        end_s = time.monotonic() + 0.7
        for _ in source:
            if time.monotonic() > end_s:
                break
        assert said[2:] == ["camera b stopped. Trying again, first in 0 s."]
        # After 0.01, 0.02, 0.04 ... s; every 0.01 s it would be 50.
        assert 3 <= bad.closed <= 7
        bad.script.clear()
        assert next(frames for frames in source if "b" in frames.cameras)
    assert said[3:] == ["Back again: camera b: opened"]


def test_the_wait_is_short_again_after_a_picture_and_never_over_30_s(said):
    source = LiveSource([Scripted("a")], said.append, retry_every_s=7.0)
    source.close()
    (camera,) = source._running
    waits = []
    for _ in range(4):
        source._reopen(camera)
        waits.append(camera.wait_s)
    source._put(camera, time.perf_counter_ns(), grey(0))
    source._reopen(camera)
    assert [*waits, camera.wait_s] == [7.0, 14.0, 28.0, 30.0, 7.0]


def test_giving_up_tells_why_the_camera_failed(said):
    camera = Scripted("a", ["gone"], opens=[True] + [False] * 10_000)
    with (
        LiveSource([camera], said.append, give_up_after_s=0.1, retry_every_s=0.01) as source,
        pytest.raises(SourceError, match=r"for 0 s\. camera a stopped\. Check the camera and its cable"),
    ):
        take(source, 1)


def test_frames_before_the_first_set_are_not_dropped(said):
    """A network that loads for 4 s took none: 231 were counted."""
    source = LiveSource([Scripted("a")], said.append)
    source.close()
    slot = source._running[0].slot
    for missed, counted in ((231, 0), (3, 3)):
        slot.frame, slot.dropped = Frame(grey(0), "a", 0, time.perf_counter_ns()), missed
        assert source._next_frames() and source.dropped == counted


class _Ending(LiveSource):
    """A recording that ends between the question for the tap and its call."""

    asked = 0

    @property
    def tap(self):
        self.asked += 1
        return (lambda frame: None) if self.asked == 1 else None


def test_the_end_of_a_recording_is_no_failure_of_the_camera(said):
    with _Ending([Scripted("a")], said.append) as source:
        assert take(source, 1)
    assert said == ["camera a: opened"]


# --- recorded sources --------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapper", [Played, ReadAhead])
def test_a_recording_can_be_iterated_again_until_it_is_closed(tmp_path, wrapper):
    source = wrapper(VideoSource(write_video(tmp_path / "clip.mp4")))
    for dropped in (0, source.dropped):
        # A busy machine may drop some of `Played`.
        assert len(list(source)) + source.dropped - dropped == len(TIMES_MS)
    source.close()
    assert not list(source)


def test_a_slow_camera_s_gaps_are_told_once(said):
    steady = Steady("a", said.append)
    assert [steady(10_000_000_000 * i) for i in range(5)] == [10_000_000_000 * i for i in range(5)]
    assert (
        len(said) == 1 and "has no picture for 10.0 s before picture 1" in said[0] and "later gaps" in said[0]
    )
    times = TogetherSource([Listed(range(0, 50_000, 10_000))], ("a",), notice=said.append)
    assert len(list(times)) == 5 and len(said) == 2


def test_frames_damaged_in_part_keep_their_place_and_are_told_as_such(said):
    frames = [SimpleNamespace(pts=i, time_base=1, is_corrupt=i == 1) for i in range(3)]
    packets = [SimpleNamespace(decode=lambda frame=frame: [frame]) for frame in frames]
    packets.insert(2, _Undecodable())
    stream = SimpleNamespace(codec_context=SimpleNamespace(is_open=True), average_rate=30, frames=5)
    container = SimpleNamespace(streams=SimpleNamespace(video=[stream]), demux=lambda _: iter(packets))
    given = list(video.decode(container, "clip.mp4", said.append))
    np.testing.assert_array_equal([t_ns for t_ns, _ in given], [0, 1_000_000_000, 2_000_000_000])
    assert said == [
        "clip.mp4: 1 damaged pieces were skipped, 3 frames read.",
        "clip.mp4: 1 of 3 frames are damaged in part; they are given as they are.",
        "clip.mp4 ends early: 3 of 5 frames could be read.",
    ]
