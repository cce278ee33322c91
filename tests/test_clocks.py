"""Cameras whose clocks are apart, jump, or fall silent: put right, told in one sentence, and the rest goes on."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from takes import record
from test_camera import camera
from test_cameras import Scripted, take
from test_capture import Stamped, grey, write_session, write_video

from rt_hands import InvalidInput, Rig, Session
from rt_hands.calibration.commands import hands as hands_command
from rt_hands.capture import live, open_source
from rt_hands.capture.live import LiveSource
from rt_hands.capture.offsets import read_offsets
from rt_hands.capture.session_files import SessionSource
from rt_hands.capture.steady import steady_times
from rt_hands.capture.together import TogetherSource
from rt_hands.evaluation import rig_real
from rt_hands.formats import load_rig, save_rig
from rt_hands.types import Frame

MS = 1_000_000


def test_offsets_are_read_from_words() -> None:
    assert read_offsets(["cam_1=-97", "a=b=2.5"]) == {"cam_1": -97.0, "a=b": 2.5}
    for wrong in ("cam_1", "cam_1=", "=5", "cam_1=soon", "cam_1=nan"):
        with pytest.raises(InvalidInput, match="as in cam_1=-97; got"):
            read_offsets([wrong])


@pytest.mark.parametrize("ms", [1e9, -10_001.0])
def test_offsets_beyond_all_latency_are_refused(ms: float, tmp_path: Path) -> None:
    record(tmp_path / "s", ("cam_1", "cam_2"), 3)
    for use in (
        lambda: read_offsets([f"cam_1={ms}"]),
        lambda: SessionSource(tmp_path / "s", clock_offset_ms={"cam_1": ms}),
    ):
        with pytest.raises(
            InvalidInput, match=r"The clock offset of cam_1 is .* ms; give milliseconds, 10000"
        ):
            use()
    assert read_offsets(["cam_1=2500"]) == {"cam_1": 2500.0}


def test_files_are_bundled_by_when_pictures_were_taken() -> None:
    """Camera b's stamps are 97 ms late at 6 fps: its picture n + 1 belongs to a's picture n."""
    times = (np.arange(8) * 1e9 / 6).astype(np.int64)
    sources = [Stamped(times), Stamped(times)]
    together = TogetherSource(sources, ("a", "b"), {"b": -97.0})
    sets = list(together)
    assert [f.camera for f in sets[0].frames] == ["b"] and [f.camera for f in sets[-1].frames] == ["a"]
    for frames in sets[1:-1]:
        a, b = frames.frames
        assert b.index == a.index + 1 and frames.spread_ns == pytest.approx(69.67 * MS, abs=1e4)


def test_a_session_goes_by_the_offsets_of_its_rig(tmp_path: Path) -> None:
    """Stamps 25 ms apart of 40 ms periods are not of one moment, unless a clock is known to be 24 ms late."""
    folder = write_session(tmp_path / "s", lag_ms=25)
    with SessionSource(folder) as source:
        assert len(next(iter(source)).frames) == 1
    Rig((camera("cam_2"), camera("cam_10"))).with_clock_offsets({"cam_10": -24.0}).save(folder / "rig.toml")
    with SessionSource(folder) as source:
        sets = list(source)
    assert [len(s.frames) for s in sets] == [2] * 6 and sets[3].spread_ns == 1 * MS
    with open_source(str(folder), clock_offset_ms={"cam_10": 0.0}) as source:
        assert len(next(iter(source)).frames) == 1


def late_rig(**offset_ms: float) -> Rig:
    return Rig((camera("cam_2"), camera("cam_10"))).with_clock_offsets(offset_ms)


def views(session: Session) -> int:
    """In the first set: 2 where its cameras' clocks are put right, 1 where one is alone in its time."""
    return len(session[0].frames)


def test_a_rig_given_to_a_session_brings_its_own_clocks(tmp_path: Path, said: list[str]) -> None:
    """Stamps 25 ms apart of 40 ms periods are of one moment only where cam_10's clock is known to be late."""
    folder = write_session(tmp_path / "s", lag_ms=25)
    late_rig(cam_10=-24.0).save(folder / "rig.toml")
    with Session(folder, said.append) as session:
        assert views(session) == 2 and session.rig.clock_offset_ms == {"cam_2": 0.0, "cam_10": -24.0}
    with Session(folder, said.append, late_rig(cam_2=1.0)) as session:
        # The rig speaks of clocks, so its word counts for all cameras.
        assert views(session) == 1 and session.rig.clock_offset_ms == {"cam_2": 1.0, "cam_10": 0.0}
    with Session(folder, said.append, late_rig(), {"cam_10": 0.0}) as session:
        assert views(session) == 1 and session.rig.clock_offset_ms["cam_10"] == 0
    assert said == []
    with pytest.raises(InvalidInput, match="no camera 'cam_9'"):
        Session(folder, said.append, late_rig(), {"cam_9": 5.0})


def test_a_rig_without_clocks_leaves_the_sessions_own_and_it_is_said(tmp_path: Path, said: list[str]) -> None:
    folder = write_session(tmp_path / "s", lag_ms=25)
    late_rig(cam_10=-24.0).save(folder / "rig.toml")
    save_rig(tmp_path / "other.toml", late_rig(), "caliscope")
    with Session(folder, said.append, load_rig(tmp_path / "other.toml")) as session:
        assert views(session) == 2 and session.rig.clock_offset_ms["cam_10"] == -24
    assert len(said) == 1 and "says nothing of the cameras' clocks" in said[0] and "cam_10=-24 ms" in said[0]


OFFSETS = [
    (None, {"cam_10": -24.0}),  # a rig that says nothing leaves the session's own
    ({"cam_2": 1.0}, {"cam_2": 1.0, "cam_10": 0.0}),
]


@pytest.mark.parametrize(("of_rig", "wanted"), OFFSETS)
def test_evaluated_rigs_and_sessions_agree_on_the_clocks(
    of_rig, wanted, tmp_path, monkeypatch, capsys
) -> None:
    folder = write_session(tmp_path / "s", lag_ms=25)
    late_rig(cam_10=-24.0).save(folder / "rig.toml")
    given = []
    monkeypatch.setattr(rig_real, "Pipeline", lambda source, *_, rig: given.append((source, rig)) or [])
    rig_real.evaluate_real(None, [str(folder)], late_rig(**of_rig or {}), None, None)
    rig_real.evaluate_real(None, [str(folder)], late_rig(), None, None, clock_offset_ms={"cam_10": 0.0})
    for (source, rig), offset_ms in zip(given, (wanted, {"cam_10": 0.0}), strict=True):
        assert offset_ms.items() <= source.clock_offset_ms.items()
        assert offset_ms.items() <= rig.clock_offset_ms.items()
    assert ("the session's own offsets stay" in capsys.readouterr().err) == (of_rig is None)
    with pytest.raises(InvalidInput, match="no camera 'cam_9'"):
        rig_real.evaluate_real(None, [str(folder)], late_rig(), None, None, clock_offset_ms={"cam_9": 5.0})


@pytest.mark.parametrize(("of_rig", "wanted"), OFFSETS)
def test_hands_that_refine_a_rig_go_by_the_same_clocks(of_rig, wanted, tmp_path, monkeypatch, capsys) -> None:
    folder = write_session(tmp_path / "s", lag_ms=25)
    late_rig(cam_2=5.0, cam_10=-24.0).save(folder / "rig.toml")
    late_rig(**of_rig or {}).save(tmp_path / "rig.toml")

    def read(source, *_):
        assert wanted.items() <= source.clock_offset_ms.items()
        raise InterruptedError

    monkeypatch.setattr(hands_command.Cpm, "load", lambda *_: None)
    monkeypatch.setattr(hands_command, "read_hands", read)
    with pytest.raises(InterruptedError):
        hands_command.main(
            [str(folder), "--rig", str(tmp_path / "rig.toml"), "--out", str(tmp_path / "o.toml")]
        )
    assert ("the session's own offsets stay" in capsys.readouterr().err) == (of_rig is None)


class Late(Scripted):
    """A camera whose pictures arrive, and are stamped, long after they were taken; the grey says when that was."""

    def __init__(self, name: str, late_ms: float) -> None:
        super().__init__(name, period_s=0.0)
        self.late_ns, self.next_ns = int(late_ms * MS), 0

    def grab(self):
        period = 20 * MS
        now = time.perf_counter_ns()
        self.next_ns = max(self.next_ns + period, now // period * period)
        time.sleep(max(self.next_ns - now, 0) * 1e-9)
        taken = (self.next_ns - self.late_ns) // period
        return time.perf_counter_ns(), grey(int(taken % 200))


def test_live_prompt_cameras_wait_for_the_late_one(said: list[str]) -> None:
    cameras = [Late("a", 0), Late("b", 60)]
    with LiveSource(cameras, said.append, clock_offset_ms={"b": -60.0}) as source:
        taps: list[Frame] = []
        source.tap = taps.append
        sets = take(source, 30)
    pairs = [frames.frames for frames in sets if len(frames.frames) == 2]
    assert len(pairs) > 5
    # The pictures of a set show the same moment, three periods after b's stamps.
    assert all(abs(int(a.image_bgr[0, 0, 0]) - int(b.image_bgr[0, 0, 0])) in (0, 1, 199) for a, b in pairs)
    ages_ms = [(tap.t_ns - frame.t_ns) / MS for frame in pairs[-1] for tap in taps if same(tap, frame)]
    assert sorted(round(age) for age in ages_ms) == [0, 60]  # recordings keep the stamps


def same(a: Frame, b: Frame) -> bool:
    return (a.camera, a.index) == (b.camera, b.index)


def test_a_camera_that_hangs_is_told_and_not_waited_for(said: list[str], monkeypatch) -> None:
    # Long enough for a busy machine's other camera.
    monkeypatch.setattr(live, "SILENT_AFTER_S", 0.4)
    wake = threading.Event()
    hung = Scripted("b")
    hung.grab = lambda: (wake.wait(10), time.perf_counter_ns(), grey(9))[1:]
    with LiveSource([Scripted("a"), hung], said.append) as source:
        told = (frames for frames in source if any("camera b has sent no picture" in line for line in said))
        assert next(told).cameras == ("a",)
        assert [line for line in said if "camera b has sent no picture" in line and "go on" in line]
        wake.set()
        awake = (frames for frames in source if "camera b sends pictures again." in said)
        assert next(awake)
    assert [line for line in said if line == "camera b sends pictures again."]
    assert sum("has sent no picture" in line for line in said) == 1


def test_a_clock_that_jumps_back_is_told_and_bundling_goes_on(said: list[str]) -> None:
    times = np.arange(12) * 40 * MS
    jumped = times.copy()
    jumped[5:] -= 3600 * 1000 * MS
    sets = list(TogetherSource([Stamped(times), Stamped(jumped)], ("a", "b"), notice=said.append))
    assert [frames.cameras for frames in sets] == [("a", "b")] * 12
    assert len(said) == 1 and "Camera 'b': its clock jumps back by 3599.96 s at picture 5" in said[0]


def test_a_clock_that_jumps_ahead_is_told_and_the_others_go_on(said: list[str]) -> None:
    times = np.arange(12) * 40 * MS
    jumped = times.copy()
    jumped[5:] += 3600 * 1000 * MS
    sets = list(TogetherSource([Stamped(times), Stamped(jumped)], ("a", "b"), notice=said.append))
    assert [frames.cameras for frames in sets] == [("a", "b")] * 5 + [("a",)] * 7 + [("b",)] * 7
    assert len(said) == 1 and "Camera 'b' has no picture for 3600.0 s before picture 5" in said[0]


def test_steady_stamps_stay_as_they_are(said: list[str]) -> None:
    times = np.cumsum(np.random.default_rng(0).integers(1, 100 * MS, 50))
    assert steady_times(times, "a", said.append) is times and not said


@pytest.mark.parametrize("back_ms", [0, 1, 39])
def test_a_doubled_stamp_leaves_the_later_ones_as_they_are(back_ms: int, said: list[str]) -> None:
    times = np.arange(40) * 40 * MS
    doubled = times.copy()
    for i in (4, 5, 20):  # a burst of three, and of two
        doubled[i] = doubled[3 if i < 6 else i - 1] - back_ms * MS
    given = steady_times(doubled, "a", said.append)
    assert (np.diff(given) > 0).all() and np.flatnonzero(given != doubled).tolist() == [4, 5, 20]
    assert given[20] == given[19] + 1
    assert len(said) == 1 and "Camera 'a': picture 4 is stamped no later than the one before it" in said[0]


@pytest.mark.parametrize("back_ms", [30, 45, 79, 80, 95, 500])
def test_a_clock_set_back_by_little_loses_and_exchanges_no_picture(back_ms: int, said: list[str]) -> None:
    times = np.arange(12) * 40 * MS
    jumped = times.copy()
    jumped[5:] -= back_ms * MS
    assert (np.diff(steady_times(jumped, "b", said.append)) > 0).all()
    sets = list(TogetherSource([Stamped(times), Stamped(jumped)], ("a", "b"), notice=lambda _: None))
    for name in ("a", "b"):
        assert [f.index for s in sets for f in s.frames if f.camera == name] == list(range(12))
    # A clock set back by up to two intervals is not told from a late picture: its later stamps stay as they are.
    assert bool(said) == (back_ms >= 40)


def test_files_of_a_skewed_pair_are_opened_with_their_offset(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", [100 * i for i in range(6)])
    words = [str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")]
    with open_source(words, cameras=("a", "b"), clock_offset_ms={"b": 60.0}) as source:
        sets = list(source)
    assert [len(s.frames) for s in sets] == [1, *[2] * 5, 1]
