"""Webcams and live cameras: found by name, asked and got, ones that go away and come back."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import pytest
from test_capture import grey, is_root

from rt_hands.capture import live, open_source
from rt_hands.capture.devices import Device, find_device, list_devices, missing_device, why_not_open
from rt_hands.capture.live import LiveSource
from rt_hands.capture.simulated import SimulatedReader
from rt_hands.capture.webcam import WebcamReader, WebcamSettings
from rt_hands.errors import InvalidInput, SourceError
from rt_hands.recording import Recorded
from rt_hands.types import Frame

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
    """A camera that follows a script: a picture, "damaged", "gone" or an error; after it, pictures for ever."""

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
        if isinstance(what, Exception):
            raise what
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


def test_an_error_of_any_kind_is_told_with_its_camera_and_retried(said):
    errors = [KeyError("queue")]

    def fails_once(_):
        if errors:
            raise errors.pop()

    camera = Scripted("a", ["picture"] * 20 + [ValueError("bad stride.")])
    with LiveSource([camera], said.append, retry_every_s=0.01) as source:
        source.tap = fails_once
        back = (frames for frames in source if said.count("Back again: camera a: opened") == 2)
        assert next(back)
    assert "camera a failed: ValueError: bad stride. Trying again, first in 0 s." in said
    assert "camera a failed: KeyError: 'queue'. Trying again, first in 0 s." in said


def test_a_camera_that_opens_and_fails_again_and_again_is_given_up(said):
    camera = Scripted("a", [ValueError("bad stride")] * 100_000)
    with (
        LiveSource([camera], said.append, give_up_after_s=0.3, retry_every_s=0.01) as source,
        pytest.raises(SourceError, match="No frames from camera a"),
    ):
        take(source, 1)


def test_a_lone_camera_that_hangs_is_told_and_given_up(said, monkeypatch):
    monkeypatch.setattr(live, "SILENT_AFTER_S", 0.1)
    wake, hung = threading.Event(), Scripted("a")
    hung.grab = lambda: wake.wait(10) and None
    with LiveSource([hung], said.append, give_up_after_s=0.5) as source:
        with pytest.raises(SourceError, match="No frames from camera a"):
            take(source, 1)
        wake.set()
    assert len(said) == 2 and said[1].startswith("camera a has sent no picture for")
    assert said[1].endswith(" s. Check its cable and its exposure.")


def test_a_camera_that_hangs_after_it_came_back_is_told(said, monkeypatch):
    monkeypatch.setattr(live, "SILENT_AFTER_S", 0.4)
    wake, other = threading.Event(), Scripted("b", ["gone"])
    opened, grab = other.open, other.grab

    def open_hung():
        other.grab = lambda: wake.wait(10) and None
        return opened()

    with LiveSource([Scripted("a"), other], said.append, retry_every_s=0.01) as source:
        other.open = open_hung
        told = (frames for frames in source if any("camera b has sent no picture" in line for line in said))
        assert next(told).cameras == ("a",)
        other.grab = grab
        wake.set()


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


def test_webcams_alone_are_mirrored_whatever_they_are_called(tmp_path):
    cv2.imwrite(str(tmp_path / "video0.png"), grey(1))
    with open_source(str(tmp_path / "video0.png"), realtime=True) as source:
        assert source.cameras == ("video0",) and not source.webcams
    reader = WebcamReader(Device(0, "cam"), None, lambda _: FakeCapture(frames=10_000))
    reader.camera = "left"
    with LiveSource([reader], lambda _: None) as source:
        assert source.webcams
        recorded = Recorded(source, tmp_path / "r")
        assert recorded.webcams
        recorded.close()
    with LiveSource([Scripted("video0")], lambda _: None) as source:
        assert not source.webcams


def test_two_cameras_of_one_name_are_refused():
    with pytest.raises(InvalidInput, match="Two cameras are called 'a'; give each a name of its own"):
        LiveSource([SimulatedReader("a"), SimulatedReader("a")])
