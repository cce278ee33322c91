"""python -m rt_hands.evaluate: accuracy of the shipped networks, beside the source's figures."""

from __future__ import annotations

from collections.abc import Sequence

from rt_hands.cli import dispatch
from rt_hands.errors import run_command

PARTS = {
    "rtc": ("rt_hands.evaluation.rtc", "RTC: the source's table, noise, missing joints, confidence, floors"),
    "cpm": (
        "rt_hands.evaluation.cpm",
        "CPM: the source's table, decoders, real pictures; draws a folder of pictures",
    ),
    "rig": ("rt_hands.evaluation.rig", "rendered rigs in mm by number of views; a real rig in px"),
    "video": ("rt_hands.evaluation.video", "one hand followed through a video, against a teacher's joints"),
    "session": ("rt_hands.evaluation.session", "tables of `process` against a rendered session's truth"),
    "clocks": (
        "rt_hands.evaluation.clocks",
        "how far apart the clocks of a rig's cameras are, from moving hands",
    ),
}


def main(argv: Sequence[str]) -> int:
    """Run one evaluation."""
    return dispatch("rt_hands.evaluate", PARTS, argv)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
