"""Every demo runs on painted hands with the stand-in network, and stays short."""

from __future__ import annotations

import csv
import importlib.util
import json
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from standin import PaintedHand, picture, worst_px

from rt_hands.capture.images import read_image
from rt_hands.display.video_file import VideoFile
from rt_hands.errors import InvalidInput, SourceError
from rt_hands.inference import cpm
from rt_hands.layout import POINT_NAMES, index_of
from rt_hands.paths import sample_dir

DEMOS = Path(__file__).resolve().parent.parent / "demos"


def demo(name: str):
    spec = importlib.util.spec_from_file_location(f"demo_{name}", DEMOS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def standin_is_the_default(standin_path, monkeypatch):
    """The demos load the default network: here that is the stand-in, on one thread."""
    load = cpm.Cpm.load
    monkeypatch.setattr(
        cpm.Cpm, "load", staticmethod(lambda *_, **__: load(str(standin_path), "onnxruntime", 1))
    )
    monkeypatch.setenv("DISPLAY", "")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)


def hand(i: int) -> PaintedHand:
    return PaintedHand(0, (280 + 4 * i, 240), 170)


@pytest.fixture
def clip(tmp_path):
    with VideoFile(tmp_path / "clip.mp4") as file:
        for i in range(12):
            file.add(picture(hand(i)), i * 40_000_000)
    return tmp_path / "clip.mp4"


@pytest.mark.parametrize("path", sorted(DEMOS.glob("*.py")), ids=lambda path: path.stem)
def test_demos_are_under_60_lines(path):
    assert len(path.read_text().splitlines()) < 60


def test_webcam_without_a_display_prints(clip, capsys):
    assert demo("webcam").main([str(clip), "5"]) == 0
    out = capsys.readouterr().out
    assert "No window" in out and "frame 5: right seen, left lost" in out


@pytest.mark.parametrize("word", ["soon", "-3", "0", "nan", "inf"])
def test_a_count_that_is_none_is_one_sentence(clip, word):
    with pytest.raises(InvalidInput, match=f"The number of frames is '{word}'; give a number, 1 or more"):
        demo("webcam").main([str(clip), word])


def test_photo_prints_and_draws(tmp_path, capsys):
    cv2.imwrite(str(tmp_path / "in.png"), picture(hand(0)))
    assert demo("photo").main([str(tmp_path / "in.png"), str(tmp_path / "out.png")]) == 0
    out = capsys.readouterr().out
    assert "right hand: presence 1.00" in out and "left hand: not in the picture" in out
    x, y = hand(0).points_px()[index_of("index_tip")]
    drawn = read_image(tmp_path / "out.png")[round(y), round(x)]
    # The middle of a joint's dot is white.
    assert (drawn > 200).all()


@pytest.mark.parametrize("name", ["export", "photo", "video_to_csv", "rig_replay"])
def test_nothing_that_is_there_is_written_over(tmp_path, name):
    mine = tmp_path / "mine.mp4"
    mine.write_bytes(b"mine")
    read = [] if name == "rig_replay" else [str(mine)]
    with pytest.raises(InvalidInput, match=r"mine\.mp4 is already there; give a new"):
        demo(name).main([*read, str(mine)])
    assert mine.read_bytes() == b"mine"
    with pytest.raises(SourceError, match="there is no folder"):
        demo(name).main([*read, str(tmp_path / "nodir" / "new.csv")])


@pytest.mark.parametrize("name", ["photo", "video_to_csv", "rig_replay"])
def test_a_demo_writes_its_own_kind_of_file(clip, tmp_path, name):
    read = [] if name == "rig_replay" else [str(clip)]
    with pytest.raises(InvalidInput, match=r"new\.txt is no"):
        demo(name).main([*read, str(tmp_path / "new.txt")])
    assert not (tmp_path / "new.txt").exists()


def test_video_to_csv_writes_every_frame(clip, tmp_path):
    assert demo("video_to_csv").main([str(clip), str(tmp_path / "out.csv")]) == 0
    with open(tmp_path / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12 and len(rows[0]) == 5 + 3 * len(POINT_NAMES)
    assert [int(row["t_ns"]) for row in rows] == [40_000_000 * i for i in range(12)]
    assert rows[0]["right_wrist_x_px"] == "" and rows[-1]["left_wrist_x_px"] == ""
    x, y = hand(11).points_px()[0]
    # Measured: 3.8 px, most of it video coding and smoothing of a hand that moves 4 px a frame.
    assert np.hypot(float(rows[-1]["right_wrist_x_px"]) - x, float(rows[-1]["right_wrist_y_px"]) - y) < 8


def test_own_consumer_runs_to_the_end(clip, capsys):
    assert demo("own_consumer").main([str(clip)]) == 0
    assert "Done, 0 results dropped." in capsys.readouterr().out


@pytest.mark.parametrize("error", [SourceError("The cable is gone."), KeyboardInterrupt()])
def test_own_consumer_leaves_no_thread_when_the_source_dies(clip, monkeypatch, error):
    def dying(*_):
        raise error
        yield

    module = demo("own_consumer")
    monkeypatch.setattr(module, "Pipeline", dying)
    before = threading.active_count()
    with pytest.raises(type(error)):
        module.main([str(clip)])
    assert threading.active_count() == before


def test_own_consumer_tells_pinches(capsys):
    from rt_hands.pipeline import Result
    from rt_hands.tracking.tracker import State, Tracked
    from rt_hands.types import Frame, FrameSet, Hands2D

    teller = demo("own_consumer").PinchTeller()
    for i, gap in enumerate((100, 20, 35, 60)):
        points = Hands2D.empty().points_px
        points[:85, :2] = 0
        points[index_of("middle_mcp"), 1] = 100
        points[index_of("index_tip"), 0] = gap
        hands = Hands2D(points, np.array([True, False]))
        frames = FrameSet((Frame(np.zeros((2, 2, 3), np.uint8), "a", i, i * 10**9),), i)
        teller.accept(Result(frames, (Tracked(hands, hands, (State.SEEN, State.LOST)),)))
    out = capsys.readouterr().out
    assert (
        "1.000 s  right pinch begins" in out
        and "3.000 s  right pinch ends" in out
        and out.count("pinch") == 2
    )


def recorded(folder):
    """A session of one camera, six pictures."""
    from rt_hands.recording import SessionWriter
    from rt_hands.types import Frame

    with SessionWriter(folder, ["cam"], wait=True) as writer:
        for i in range(6):
            writer.add(Frame(picture(hand(i)), "cam", i, i * 40_000_000))
    return folder


def test_session_replay_follows_a_part(tmp_path, capsys):
    assert demo("session_replay").main([str(recorded(tmp_path / "session")), "2", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "6 FrameSets of cam: 0.2 s"
    assert [int(line.split()[0]) for line in lines[1:]] == [2, 3, 4]
    x, y = hand(4).points_px()[index_of("index_tip")]
    words = lines[-1].split()
    assert words[3] == "right" and np.hypot(float(words[4]) - x, float(words[5]) - y) < 8
    assert lines[-1].endswith("left not there")


def test_session_replay_of_a_rig_is_in_mm(capsys):
    assert demo("session_replay").main([str(sample_dir()), "0", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "cam_front" in lines[0] and len(lines) == 2


def test_latency_tells_every_stage(clip, capsys):
    assert demo("latency").main([str(clip), "12"]) == 0
    out = capsys.readouterr().out
    assert "onnxruntime float32, 7 frames" in out
    assert all(f"  {stage}" in out for stage in ("grab", "preprocess", "infer", "decode", "track", "draw"))


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_export_is_read_back(clip, tmp_path, capsys, ending):
    from rt_hands.formats import load_hands

    out = tmp_path / f"hands.{ending}"
    assert demo("export").main([str(clip), str(out), "6"]) == 0
    assert "Saved 6 samples, 2D" in capsys.readouterr().out
    samples = load_hands(out)
    assert [sample.t_ns for sample in samples] == [40_000_000 * i for i in range(6)]
    assert worst_px(samples[-1].hands, hand(5)) < 8


@pytest.mark.parametrize("name", ["export", "video_to_csv"])
def test_tables_of_a_folder_name_its_pictures(tmp_path, name):
    from rt_hands.formats import load_hands

    (tmp_path / "photos").mkdir()
    for i in range(2):
        cv2.imwrite(str(tmp_path / "photos" / f"{i}_0.png"), np.zeros((60 + i, 80, 3), np.uint8))
    out = tmp_path / "o.csv"
    assert demo(name).main([str(tmp_path / "photos"), str(out)]) == 0
    with open(out, newline="") as file:
        assert [row["file"] for row in csv.DictReader(file)] == ["0_0.png", "1_0.png"]
    if name == "export":
        assert [sample.size_px for sample in load_hands(out)] == [(80, 60), (80, 61)]


def test_export_of_the_sample_is_3d(tmp_path, capsys):
    assert demo("export").main(["sample", str(tmp_path / "hands.csv"), "2"]) == 0
    assert "Saved 2 samples, 3D" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["export", "photo", "video_to_csv"])
def test_missing_arguments_show_the_usage(name):
    from rt_hands.errors import InvalidInput

    with pytest.raises(InvalidInput, match=f"python demos/{name}"):
        demo(name).main([])


def test_jsonl_line_holds_the_same_hands(clip, tmp_path, standin_cpm):
    from rt_hands import live

    out = tmp_path / "o.jsonl"
    assert live.main(["--source", str(clip), "--no-window", "--jsonl", str(out)]) == 0
    last = json.loads(out.read_text().splitlines()[-1])
    assert last["present"] == [True, False] and len(last["points"]) == 170 and last["points"][85] is None
    assert worst_px.__name__ and abs(last["points"][0][0] - hand(11).points_px()[0, 0]) < 8
