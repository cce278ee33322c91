"""Clock offsets from hands that move: found on paths whose answer is known."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from test_lift import hands_mm, ring_rig

from rt_hands import InvalidInput, Rig
from rt_hands.evaluation import clocks
from rt_hands.evaluation.clocks import Path2D, estimate_offsets
from rt_hands.layout import JOINT_ORDERS

JOINTS = JOINT_ORDERS["mediapipe"]


def waved_mm(t_ms: float) -> np.ndarray:
    """(42, 3) two hands waved at some 0.4 m/s."""
    t = t_ms * 1e-3
    way = np.array([90 * np.sin(3.1 * t), 70 * np.sin(4.3 * t + 1), 60 * np.cos(2.7 * t)])
    return hands_mm()[JOINTS] + way


def paths(
    rig: Rig, offsets_ms: dict[str, float], fps: float, noise_px: float, seconds: float = 7.0
) -> dict[str, Path2D]:
    rng = np.random.default_rng(4)
    stamps = np.arange(0, 1000 * seconds, 1000 / fps)
    out = {}
    for camera in rig:
        seen = np.stack([camera.project(waved_mm(t + offsets_ms[camera.id])) for t in stamps]).astype(
            np.float64
        )
        out[camera.id] = Path2D(stamps, seen + rng.normal(0, noise_px, seen.shape))
    return out


@pytest.mark.parametrize(("fps", "within_ms"), [(6, 4), (30, 2)])  # 1.3 and 0.5 ms seen
def test_offsets_are_found(fps: float, within_ms: float) -> None:
    rig, truth = ring_rig(4), {"cam_0": 0.0, "cam_1": -97.0, "cam_2": 30.0, "cam_3": 27.0}
    found = estimate_offsets(paths(rig, truth, fps, noise_px=3), rig)
    for camera, offset in truth.items():
        assert found.offset_ms[camera] == pytest.approx(offset, abs=within_ms), found
    assert found.after_px < 0.6 * found.before_px
    assert max(found.std_ms.values()) < 10


@pytest.mark.parametrize(
    "offsets", [(60, 60, 60, 60), (60, 60, 0, 0), (-51, 108, -97, 83)], ids=["the first", "halves", "all"]
)
def test_the_first_camera_s_clock_may_be_the_odd_one(offsets: tuple[float, ...]) -> None:
    """The others agree wherever the first one pulls them: half way, if it can't move."""
    rig = ring_rig(5)
    truth = dict(zip(rig.ids, (0.0, *map(float, offsets)), strict=True))
    found = estimate_offsets(paths(rig, truth, 15, noise_px=3), rig)
    assert found.offset_ms == pytest.approx(truth, abs=3), found  # 1 ms seen
    assert max(found.std_ms.values()) < 5


@pytest.mark.parametrize("slow", ["cam_0", "cam_1"])
def test_a_slower_camera_is_measured_too(slow: str) -> None:
    rig, truth = ring_rig(2), {"cam_0": 0.0, "cam_1": 40.0}
    fast, slower = (paths(rig, truth, fps, noise_px=3) for fps in (30, 10))
    found = estimate_offsets(fast | {slow: slower[slow]}, rig)
    assert found.offset_ms["cam_1"] == pytest.approx(40, abs=4) and found.std_ms["cam_1"] < 10


def test_a_camera_that_loses_the_hands_half_way_is_still_sure() -> None:
    rig, truth = ring_rig(4), {"cam_0": 0.0, "cam_1": 20.0, "cam_2": -30.0, "cam_3": 0.0}
    seen = paths(rig, truth, 15, noise_px=3, seconds=10.0)
    seen["cam_2"].points_px[seen["cam_2"].t_ms > 7000] = np.nan
    found = estimate_offsets(seen, rig)
    assert found.offset_ms["cam_2"] == pytest.approx(-30, abs=4) and found.std_ms["cam_2"] < 5


@pytest.mark.parametrize("offset_ms", [6.0, 14.0, 15.0, -25.0])
def test_a_pair_s_offset_is_not_rounded_twice(offset_ms: float) -> None:
    """Both stand at steps of a grid: with steps of 10 ms the sum was up to 5 ms off, and sure to 0.1."""
    rig, truth = ring_rig(2), {"cam_0": 0.0, "cam_1": offset_ms}
    found = estimate_offsets(paths(rig, truth, 30, noise_px=0.5), rig)
    assert found.offset_ms["cam_1"] == pytest.approx(offset_ms, abs=1)  # 0.3 seen


def test_equal_clocks_stay_equal() -> None:
    rig = ring_rig(3)
    found = estimate_offsets(paths(rig, dict.fromkeys(rig.ids, 0.0), 15, noise_px=4), rig)
    assert max(map(abs, found.offset_ms.values())) < 3  # 1 ms seen


def test_hands_that_stand_still_say_nothing() -> None:
    rig = ring_rig(3)
    moving = paths(rig, dict.fromkeys(rig.ids, 0.0), 15, noise_px=0)
    rng = np.random.default_rng(1)
    still = {
        c: Path2D(p.t_ms, p.points_px[:1] + rng.normal(0, 4, p.points_px.shape)) for c, p in moving.items()
    }
    found = estimate_offsets(still, rig)
    assert set(found.sure_ms) == {"cam_0"}  # standard deviations of 31 and 55 ms seen


def test_a_short_recording_is_refused() -> None:
    rig = ring_rig(2)
    short = paths(rig, dict.fromkeys(rig.ids, 0.0), 30, noise_px=0, seconds=0.3)
    with pytest.raises(InvalidInput, match="moments show hands in two views"):
        estimate_offsets(short, rig)


@pytest.mark.parametrize("fault", ["blind", "out of reach"])
def test_a_camera_that_cannot_be_measured_is_unsure_and_misleads_no_other(fault: str) -> None:
    rig, truth = ring_rig(3), {"cam_0": 0.0, "cam_1": 330.0, "cam_2": 60.0}
    seen = paths(rig, truth, 30, noise_px=3)
    if fault == "blind":
        seen["cam_1"] = Path2D(seen["cam_1"].t_ms, np.full_like(seen["cam_1"].points_px, np.nan))
    found = estimate_offsets(seen, rig)
    assert set(found.sure_ms) == {"cam_0", "cam_2"} and found.std_ms["cam_1"] == np.inf
    assert found.offset_ms["cam_2"] == pytest.approx(60, abs=4)


def test_a_first_camera_without_hands_is_named() -> None:
    rig = ring_rig(3)
    seen = paths(rig, dict.fromkeys(rig.ids, 0.0), 30, noise_px=3)
    seen["cam_0"] = Path2D(seen["cam_0"].t_ms, np.full_like(seen["cam_0"].points_px, np.nan))
    with pytest.raises(InvalidInput, match="cam_0, whose clock the others are told against"):
        estimate_offsets(seen, rig)


def test_two_cameras_out_of_reach_of_each_other_are_unsure() -> None:
    rig = ring_rig(2)
    assert set(estimate_offsets(paths(rig, {"cam_0": 0.0, "cam_1": 330.0}, 30, noise_px=3), rig).sure_ms) == {
        "cam_0"
    }


def test_offsets_are_written_against_the_rigs_own_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = ring_rig(3).with_clock_offsets({"cam_0": 5.0, "cam_1": 40.0, "cam_2": 7.0})
    rig.save(tmp_path / "old.toml")
    found = clocks.Clocks({"cam_1": 0.0, "cam_2": 60.0}, {"cam_1": 0.0, "cam_2": 2.0}, 9.0, 3.0)
    monkeypatch.setattr(clocks, "estimate_offsets", lambda *_: found)
    monkeypatch.setattr(clocks, "Pipeline", lambda *_, **__: [])
    monkeypatch.setattr(clocks.Cpm, "load", staticmethod(lambda *_: SimpleNamespace(close=lambda: None)))
    source = nullcontext(SimpleNamespace(length=0, cameras=("cam_1", "cam_2")))
    monkeypatch.setattr(clocks, "open_source", lambda *_, **__: source)
    words = ["--rig", str(tmp_path / "old.toml"), "--source", "x", "--out", str(tmp_path / "new.toml")]
    assert clocks.main(words) == 0
    assert capsys.readouterr().out.endswith(f"wrote {tmp_path / 'new.toml'}\n")
    new = Rig.load(tmp_path / "new.toml")
    assert new.clock_offset_ms == {"cam_0": 5.0, "cam_1": 40.0, "cam_2": 100.0}
    with pytest.raises(InvalidInput, match="new.toml is already there"):
        clocks.main(words)
