"""The commands of `rt_hands.calibrate` on pictures in folders, and what they say before they begin."""

from __future__ import annotations

import builtins
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from board_scene import BoardRenderer, board_poses

from rt_hands import InvalidInput, Rig, SourceError
from rt_hands.calibrate import main
from rt_hands.calibration.compare import compare
from rt_hands.calibration.solve import calibrate
from rt_hands.errors import MissingPart

pytest.importorskip("scipy", reason="scipy is not installed (pip install 'rt_hands[calibrate]')")

from test_calibrate import BOARD, RIG, exact


def write_pictures(folder: Path, sets: int, rig: Rig = RIG) -> None:
    rng = np.random.default_rng(0)
    for c in rig:
        (folder / c.id).mkdir(parents=True)
        renderer = BoardRenderer(BOARD, c)
        for m, pose in enumerate(board_poses(BOARD, sets, seed=10)):
            cv2.imwrite(str(folder / c.id / f"{m}.png"), renderer(pose, rng))


def test_commands_from_picture_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = Rig(tuple(c.resized((480, 360)) for c in RIG.cameras[:2]))
    write_pictures(tmp_path / "in", 14, small)
    BOARD.save(tmp_path / "board.toml")
    small.save(tmp_path / "lenses.toml")
    common = ["--board", str(tmp_path / "board.toml")]
    arguments = ["rig", str(tmp_path / "in"), *common, "--out", str(tmp_path / "out")]
    with_lenses = [
        *arguments,
        "--lenses",
        str(tmp_path / "lenses.toml"),
        "--reference",
        str(tmp_path / "lenses.toml"),
    ]
    assert main(with_lenses) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "board.toml",
        "calibration.json",
        "calibration.png",
        "rig.toml",
    ]
    pair = compare(Rig.load(tmp_path / "out" / "rig.toml"), small)[0]
    assert abs(pair.baseline_percent) < 0.3 and pair.rotation_deg < 0.1
    assert main(["check", str(tmp_path / "out" / "rig.toml"), str(tmp_path / "in"), *common]) == 0
    assert "still good" in capsys.readouterr().out
    with pytest.raises(InvalidInput, match=r"rig.toml is there already"):
        main(with_lenses)
    with pytest.raises(InvalidInput, match=r"board.toml is there already"):  # never over the board's own file
        main([*arguments[:-1], str(tmp_path)])
    third = Rig((*Rig.load(tmp_path / "out" / "rig.toml"), replace(small.cameras[0], id="unseen")))
    third.save(tmp_path / "three.toml")
    assert main(["check", str(tmp_path / "three.toml"), str(tmp_path / "in"), *common]) == 1
    said = capsys.readouterr().out
    assert "not checked: unseen" in said and "still good" not in said


@pytest.mark.parametrize("part", ["check", "rig"])
def test_what_cannot_end_well_is_said_before_the_pictures_are_read(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unread(*_: object) -> None:
        raise AssertionError("pictures were read")

    monkeypatch.setattr(f"rt_hands.calibration.commands.{part}.collect", unread)
    for name in ("cam_0", "other"):
        (tmp_path / "in" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "in" / name / "0.png"), np.zeros((24, 32), np.uint8))
    BOARD.save(tmp_path / "board.toml")
    wrong = tmp_path / "wrong.toml"
    Rig((replace(RIG.cameras[0], id="cam_0"),)).save(wrong)
    common = [str(tmp_path / "in"), "--board", str(tmp_path / "board.toml")]
    words = [str(wrong), *common] if part == "check" else [*common, "--lenses", str(wrong)]
    out = [] if part == "check" else ["--out", str(tmp_path / "out")]
    with pytest.raises(InvalidInput, match=r"wrong.toml has no camera 'other'; it has: cam_0\."):
        main([part, *words, *out])
    assert not (tmp_path / "out").exists()
    if part == "rig":
        with pytest.raises(SourceError, match="can't be made"):
            main([part, *common, "--out", str(wrong / "out")])


def test_refused_command_leaves_no_rig(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blank = np.full((240, 320), 128, np.uint8)
    for camera in ("a", "b"):
        (tmp_path / "in" / camera).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "in" / camera / "0.png"), blank)
    BOARD.save(tmp_path / "board.toml")
    out = tmp_path / "out"
    assert (
        main(["rig", str(tmp_path / "in"), "--board", str(tmp_path / "board.toml"), "--out", str(out)]) == 1
    )
    assert sorted(p.name for p in out.iterdir()) == ["calibration.json", "calibration.png"]
    assert "a: no picture shows the board" in capsys.readouterr().out


@pytest.fixture
def without_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refusing(name: str, *rest: object, **more: object) -> object:
        if name.startswith("scipy"):
            raise ImportError(name)
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refusing)


def test_scipy_missing_is_one_sentence(without_scipy: None) -> None:
    with pytest.raises(MissingPart, match=r"pip install 'rt_hands\[calibrate\]'"):
        calibrate(exact(), RIG)


@pytest.mark.parametrize("part", [["rig", "folder"], ["live", "0"]])
def test_scipy_missing_is_said_before_anything_is_recorded(part: list[str], without_scipy: None) -> None:
    with pytest.raises(MissingPart, match="needs scipy"):  # and not that there is no such folder or board
        main([*part, "--board", "no_board.toml"])
