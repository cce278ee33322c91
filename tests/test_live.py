"""The live command end to end on painted hands: files, exit codes, faults, threads, the window."""

from __future__ import annotations

import _thread
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from painted import SIZE, STEP_NS, Painted, pair
from standin import picture, worst_px
from test_camera import camera

from rt_hands import live
from rt_hands.camera import Rig
from rt_hands.capture.devices import Device
from rt_hands.capture.video import VideoSource
from rt_hands.errors import BROKEN_PIPE, InvalidInput, SourceError, run_command
from rt_hands.formats import load_hands
from rt_hands.session import Session
from rt_hands.types import Hands2D


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- the command -------------------------------------------------------------------------------------------


def test_sigterm_finishes_files_as_ctrl_c_does(run_live, tmp_path, monkeypatch):
    """A service is stopped with it; the session was left unfinished."""

    class Endless(Painted):
        live = True

        def __iter__(self):
            for i, frames in enumerate(super().__iter__()):
                if i == 5:
                    # No true signal: pytest's faulthandler gives those a stack too small for the registers of AMX,
                    # which an engine of another test may have switched on.
                    _thread.interrupt_main(signal.SIGTERM)
                yield frames

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(live, "open_source", lambda *_, **__: Endless(200))
    assert run_live("--no-window", "--jsonl", "o.jsonl", "--record", "r") == 130
    assert signal.getsignal(signal.SIGTERM) is before
    assert 0 < len(lines(tmp_path / "o.jsonl")) < 200
    with Session(tmp_path / "r") as session:
        assert session.info.finished and len(session) >= 5


def test_video_to_annotated_video_and_lines(run_live, clip, tmp_path, capsys):
    before = threading.active_count()
    assert (
        run_live("--source", clip, "--no-window", "--save", "o.mp4", "--jsonl", "o.jsonl", "--record", "r")
        == 0
    )
    assert threading.active_count() == before
    found = lines(tmp_path / "o.jsonl")
    assert [line["t_ns"] for line in found] == [i * STEP_NS for i in range(15)]
    assert all(line["present"] == [True, True] for line in found[2:])
    points = np.array(found[-1]["points"], np.float32)
    hands = Hands2D(points, np.ones(2, bool))
    # Measured: 5 px, video coding of the painted colours for the most part.
    assert worst_px(hands, *pair(14)) < 14
    with VideoSource(tmp_path / "o.mp4") as source:
        assert [frames.t_ns for frames in source] == [i * STEP_NS for i in range(15)]
    with Session(tmp_path / "r") as session:
        assert [frames.t_ns for frames in session] == [i * STEP_NS for i in range(15)]
    error = capsys.readouterr().err
    assert "infer" in error and "dropped: camera 0, jsonl o.jsonl 0" in error and "session r 0" in error


def test_nothing_that_is_there_is_written_over(run_live, clip, tmp_path, capsys):
    whole = clip.read_bytes()
    (tmp_path / "o.mp4").write_bytes(b"mine")
    for words in (["--save", "o.mp4"], ["--jsonl", "o.mp4"], ["--save", clip, "--overwrite"]):
        assert run_live("--source", clip, "--no-window", *words) == 2
    said = capsys.readouterr().err
    assert said.count("o.mp4 is already there. Give another name, or --overwrite") == 2
    assert "is read from, so it can't be written" in said
    assert clip.read_bytes() == whole and (tmp_path / "o.mp4").read_bytes() == b"mine"
    assert run_live("--source", clip, "--no-window", "--max-frames", 3, "--save", "o.mp4", "--overwrite") == 0
    assert (tmp_path / "o.mp4").stat().st_size > 1000
    assert run_live("--source", clip, "--max-frames", 3) == 0 == run_live("--source", clip, "--max-frames", 3)
    assert (tmp_path / "rt_hands_live.mp4").is_file() and (tmp_path / "rt_hands_live_2.mp4").is_file()


def test_no_file_of_a_recording_is_written_over(run_live, clip, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "take"
    folder.mkdir()
    for name in ("frames.csv", "cam_0.mp4"):
        (folder / name).write_bytes(b"recorded")
    for words in (
        ["--save", folder / "cam_0.mp4"],
        ["--jsonl", folder / "frames.csv"],
        ["--save", folder / "n.mp4"],
    ):
        assert run_live("--source", clip, "--no-window", *words, "--overwrite") == 2
        assert f"{words[1]} belongs to the recording in that folder" in capsys.readouterr().err
    monkeypatch.chdir(folder)  # where a film would go without a window
    assert run_live("--source", clip, "--max-frames", 3) == 2
    assert "rt_hands_live.mp4 belongs to the recording in that folder" in capsys.readouterr().err
    assert all(path.read_bytes() == b"recorded" for path in folder.iterdir())


def test_a_file_to_overwrite_is_kept_until_the_first_frame_is_there(run_live, tmp_path, capsys):
    (tmp_path / "zero.jpg").touch()
    for name in ("o.mp4", "o.jsonl"):
        (tmp_path / name).write_bytes(b"mine")
    words = ("--save", "o.mp4", "--jsonl", "o.jsonl", "--overwrite")
    assert run_live("--source", "zero.jpg", "--no-window", *words) == 2
    assert capsys.readouterr().err.strip() == "error: zero.jpg is empty (0 bytes)."
    assert [(tmp_path / name).read_bytes() for name in ("o.mp4", "o.jsonl")] == [b"mine"] * 2


def test_a_run_that_fails_at_its_start_leaves_nothing_behind(run_live, clip, tmp_path, capsys):
    Rig((camera("a", size_px=(640, 480)), camera("b", size_px=(640, 480)))).save(tmp_path / "rig.toml")
    words = ("--rig", "rig.toml", "--save", "o.mp4", "--jsonl", "o.jsonl", "--record", "r")
    assert run_live("--source", f"a={clip}", f"b={clip}", "--no-window", *words) == 2
    assert "the picture is 480x360, the calibration is for 640x480" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["rig.toml"]


def test_two_outputs_of_one_name_are_refused(run_live, clip, capsys, tmp_path):
    for words in (["--save", "o.mp4", "--jsonl", "./o.mp4"], ["--jsonl", "o", "--record", tmp_path / "o"]):
        assert run_live("--source", clip, "--no-window", *words) == 2
        assert "are the same file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--save", "my out/u.mp4"], "there is no folder my out"),
        (["--jsonl", "no/dir/x.jsonl"], "there is no folder no/dir"),
        (["--jsonl", "."], ". is a folder"),
        (["--save", "o.mkv"], "--save writes .mp4"),
        (["--save", "o"], "--save writes .mp4"),
        (["--save", "outdir/"], "--save writes .mp4"),
        (["--save", "o.png"], "needs a single picture"),
    ],
)
def test_names_that_cannot_be_written_are_told_before_the_network_is_loaded(
    run_live, clip, words, sentence, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(live, "Cpm", None)
    assert run_live("--source", clip, "--no-window", *words) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["o.png", "o.JPG"])
def test_a_single_picture_is_saved_as_a_picture(run_live, tmp_path, name):
    painted = picture(*pair(0), size_px=SIZE)
    cv2.imwrite(str(tmp_path / "hand.png"), painted)
    assert run_live("--source", "hand.png", "--no-window", "--save", name) == 0
    drawn = cv2.imread(str(tmp_path / name))
    assert drawn.shape == painted.shape and (np.abs(drawn.astype(int) - painted) > 60).any(-1).mean() > 0.01


def test_its_lines_are_read_as_hands(run_live, clip, tmp_path):
    assert run_live("--source", clip, "--no-window", "--max-frames", 4, "--jsonl", "o.jsonl") == 0
    samples = load_hands(tmp_path / "o.jsonl")
    assert [sample.frame for sample in samples] == [0, 1, 2, 3] and samples[0].camera == "clip"
    found = lines(tmp_path / "o.jsonl")[-1]["points"]
    np.testing.assert_allclose(samples[-1].hands.points_px, np.array(found, np.float32))


def test_a_rig_with_one_camera_is_refused_and_a_sessions_own_left_aside(run_live, clip, tmp_path, capsys):
    folder = tmp_path / "one"
    assert run_live("--source", clip, "--no-window", "--max-frames", 4, "--record", folder) == 0
    rig = Rig(tuple(camera(c, i, size_px=SIZE) for i, c in enumerate(("clip", "other"))))
    rig.save(folder / "rig.toml")
    options = ("--no-window", "--jsonl", "o.jsonl", "--overwrite")
    assert run_live("--rig", folder / "rig.toml", "--source", f"clip={clip}", *options) == 2
    assert "error: 3D needs two cameras of the rig; got clip: give another source" in capsys.readouterr().err
    assert run_live("--source", folder, *options) == 0
    assert "has one camera: its rig.toml gives no 3D" in capsys.readouterr().err
    assert all(line["present"] == [True, True] for line in lines(tmp_path / "o.jsonl")[2:])


def test_lines_to_stdout_are_nothing_but_lines(run_live, clip, capsys):
    assert run_live("--source", clip, "--no-window", "--jsonl", "-", "--max-frames", "3") == 0
    out = capsys.readouterr().out
    assert [json.loads(line)["index"] for line in out.splitlines()] == [0, 1, 2]


def test_a_reader_that_goes_away_ends_it_quietly(standin_path, tmp_path):
    """As `| head -1` does. In a process of its own: the end of the interpreter, too, must say nothing."""
    for i in range(12):
        cv2.imwrite(str(tmp_path / f"{i}.png"), picture(*pair(i), size_px=SIZE))
    words = ["--source", tmp_path, "--model", standin_path, "--engine", "onnxruntime", "--no-window"]
    command = [sys.executable, "-m", "rt_hands.live", *map(str, words), "--jsonl", "-"]
    root = Path(live.__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, cwd=tmp_path, text=True, **pipes) as process:
        assert json.loads(process.stdout.readline())["index"] == 0
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == BROKEN_PIPE and "Error" not in said and "Traceback" not in said, said


def test_its_end_says_in_how_many_pictures_hands_were(run_live, clip, tmp_path, capsys):
    for i in range(3):
        hands = pair(i)[:1] if i else ()
        cv2.imwrite(str(tmp_path / f"{i}.png"), picture(*hands, size_px=SIZE))
    assert run_live("--source", tmp_path, "--no-window") == 0
    assert "hands in 2 of 3 pictures" in capsys.readouterr().err
    Rig((camera("a", size_px=SIZE), camera("b", size_px=SIZE))).save(tmp_path / "rig.toml")
    two = (f"a={clip}", f"b={clip}")
    assert run_live("--source", *two, "--no-window", "--rig", "rig.toml", "--max-frames", 4) == 0
    assert "3D hands in 0 of 4 moments" in capsys.readouterr().err


def test_without_a_display_the_picture_goes_to_a_file_told_in_one_line(run_live, clip, tmp_path, capsys):
    assert run_live("--source", clip) == 0
    assert "No window: there is no display (DISPLAY is not set). Saving" in capsys.readouterr().err
    with VideoSource(tmp_path / "rt_hands_live.mp4") as source:
        last = list(source)[-1].frames[0].image_bgr
    with VideoSource(clip) as source:
        plain = list(source)[-1].frames[0].image_bgr
    assert (np.abs(last.astype(int) - plain) > 60).any(-1).mean() > 0.01


def test_folder_of_pictures_finds_hands_in_each(run_live, tmp_path):
    for i in range(3):
        cv2.imwrite(str(tmp_path / f"{i}.png"), picture(pair(40 * i)[0], size_px=(480 + 60 * i, 360)))
    assert run_live("--source", tmp_path, "--no-window", "--jsonl", "o.jsonl") == 0
    found = lines(tmp_path / "o.jsonl")
    assert [line["present"] for line in found] == [[True, False]] * 3
    samples = load_hands(tmp_path / "o.jsonl")
    assert [(s.file, s.size_px) for s in samples] == [(f"{i}.png", (480 + 60 * i, 360)) for i in range(3)]


def test_a_video_or_session_of_one_picture_is_read_as_a_picture(run_live, tmp_path):
    painted = picture(*pair(0), size_px=SIZE)
    rgb = av.VideoFrame.from_ndarray(painted, format="bgr24").reformat(format="rgb8")
    with av.open(str(tmp_path / "one.gif"), "w") as container:
        stream = container.add_stream("gif", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "rgb8"
        container.mux([*stream.encode(rgb), *stream.encode(None)])
    cv2.imwrite(str(tmp_path / "one.png"), painted)
    assert run_live("--source", "one.png", "--no-window", "--record", "r") == 0
    for source in ("one.gif", "r"):
        assert run_live("--source", source, "--no-window", "--jsonl", "o.jsonl", "--overwrite") == 0
        (line,) = lines(tmp_path / "o.jsonl")
        # Not both: the GIF's eight levels of red and green blur the painted hands.
        assert any(line["present"]), source


def test_a_small_first_picture_does_not_make_the_video_small(run_live, tmp_path):
    (tmp_path / "in").mkdir()
    for i, size in enumerate(((84, 63), (400, 300), (300, 400))):
        cv2.imwrite(str(tmp_path / "in" / f"{i}.png"), np.full((size[1], size[0], 3), 90, np.uint8))
    assert run_live("--source", tmp_path / "in", "--no-window", "--save", "o.mp4") == 0
    with VideoSource(tmp_path / "o.mp4") as source:
        films = [frames.frames[0].image_bgr for frames in source]
    assert [film.shape for film in films] == [(720, 960, 3)] * 3
    # Grey where the picture is, black beside it; the whole picture as large as fits.
    filled = [float((film[700] > 45).all(-1).mean()) for film in films]
    np.testing.assert_allclose(filled, [1, 1, 540 / 960], atol=0.02)


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--source", "gone.mp4"], "no file or folder gone.mp4"),
        (["--source", "97"], "No camera at 97"),
        (["--engine", "torch"], "No engine is called 'torch'"),
        (["--model", "huge"], "No model is called 'huge'"),
        (["--max-frames", "0"], "--max-frames is 0"),
        (["--save", "no/such/folder/o.mp4"], "can't be written"),
        (["--jsonl", "no/such/folder/o.jsonl"], "can't be written"),
    ],
)
def test_faults_are_one_sentence_and_exit_code_2(
    clip, words, sentence, capsys, standin_path, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    given = {"--source": str(clip), "--model": str(standin_path), "--engine": "onnxruntime"}
    given.update(dict(zip(words[::2], words[1::2], strict=True)))
    argv = ["--no-window", *(word for item in given.items() for word in item)]
    assert run_command(live.main, argv) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert sentence in line


def test_several_sources_follow_one_option_or_one_each(run_live, clip, tmp_path):
    other = tmp_path / "other.mp4"
    other.write_bytes(clip.read_bytes())
    for words in (["--source", clip, other], ["--source", clip, "--source", other]):
        assert run_live(*words, "--no-window", "--jsonl", "o.jsonl", "--overwrite", "--max-frames", 1) == 0
        assert [line["camera"] for line in lines(tmp_path / "o.jsonl")] == ["clip", "other"]


def test_a_source_without_a_word_is_an_error(run_live, capsys):
    assert run_live("--source", "--no-window") == 2
    assert "--source stands without a camera" in capsys.readouterr().err


def test_a_camera_without_a_display_asks_for_no_window(monkeypatch):
    class Camera(Painted):
        live = True

    with pytest.raises(InvalidInput, match="--no-window"):
        live._file_instead_of_window(Camera(), "there is no display")


def test_source_that_dies_keeps_what_was_written(run_live, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        live, "open_source", lambda *_, **__: Painted(6, error=SourceError("The cable is gone."))
    )
    assert run_live("--no-window", "--save", "o.mp4", "--jsonl", "o.jsonl") == 2
    assert "error: The cable is gone." in capsys.readouterr().err
    assert len(lines(tmp_path / "o.jsonl")) == 6
    with VideoSource(tmp_path / "o.mp4") as source:
        assert len(list(source)) == 6


def test_ctrl_c_keeps_what_was_written_and_leaves_no_thread(run_live, tmp_path, monkeypatch):
    monkeypatch.setattr(live, "open_source", lambda *_, **__: Painted(6, error=KeyboardInterrupt()))
    before = threading.active_count()
    assert run_live("--no-window", "--save", "o.mp4") == 130
    assert threading.active_count() == before
    with VideoSource(tmp_path / "o.mp4") as source:
        assert len(list(source)) == 6


def test_cameras_are_listed(capsys, monkeypatch):

    monkeypatch.setattr(live, "list_devices", lambda: [Device(0, "HD Webcam")])
    assert live.main(["--list-cameras"]) == 0
    assert capsys.readouterr().out == "0 (HD Webcam)\n"


def test_runs_as_a_module_without_torch(clip, standin_path, tmp_path):
    """A fresh interpreter: what a user starts; torch and the renderer stay out of it."""
    code = (
        "import sys; from rt_hands.live import main; from rt_hands.errors import run_command;"
        "code = run_command(main); assert not {'torch', 'anny', 'moderngl'} & set(sys.modules); sys.exit(code)"
    )
    words = [
        "--source",
        clip,
        "--model",
        standin_path,
        "--engine",
        "onnxruntime",
        "--no-window",
        "--max-frames",
        "2",
    ]
    root = Path(live.__file__).resolve().parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "fps" in done.stderr


def test_help_documents_every_option(capsys):
    with pytest.raises(SystemExit) as stop:
        live.main(["--help"])
    out = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert stop.value.code == 0
    for word in (
        "--source",
        "--engine",
        "--model",
        "--no-window",
        "--save",
        "--jsonl",
        "--max-frames",
        "--record",
    ):
        assert word in out
