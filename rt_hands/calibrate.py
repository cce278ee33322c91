"""python -m rt_hands.calibrate: print a board, calibrate a rig, check a rig on fresh pictures.

python -m rt_hands.calibrate board --out board                      # board.pdf, board.png, board.toml
python -m rt_hands.calibrate rig FOLDER --board board.toml          # one video (or folder of pictures) a camera
python -m rt_hands.calibrate live 0 2 --board board.toml            # from cameras, with hints
python -m rt_hands.calibrate check rig.toml FOLDER --board board.toml
python -m rt_hands.calibrate hands SESSION --rig rig.toml           # a camera was nudged: its place from hands
"""

from __future__ import annotations

from collections.abc import Sequence

from rt_hands.cli import dispatch
from rt_hands.errors import run_command

PARTS = {
    "board": ("rt_hands.calibration.commands.board", "a ChArUco board as PDF and PNG at true scale"),
    "rig": ("rt_hands.calibration.commands.rig", "lenses and places of cameras from videos or pictures"),
    "live": ("rt_hands.calibration.commands.live", "the same from cameras, with hints what to show"),
    "hands": ("rt_hands.calibration.commands.hands", "refine the cameras' places from moving hands"),
    "check": ("rt_hands.calibration.commands.check", "errors of an existing rig on fresh board pictures"),
}


def main(argv: Sequence[str]) -> int:
    """Run one part."""
    return dispatch("rt_hands.calibrate", PARTS, argv)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
