"""python -m rt_hands.bench: latency of each part beside its peers, measured in one interleaved run."""

from __future__ import annotations

from collections.abc import Sequence

from rt_hands.cli import dispatch
from rt_hands.errors import run_command

PARTS = {
    "core": ("rt_hands.benchmarks.core", "decode, project and triangulate beside NumPy, cv2, torch and DARK"),
    "engine": ("rt_hands.benchmarks.engine", "engines beside the bare onnxruntime and OpenVINO calls"),
    "rtc": ("rt_hands.benchmarks.rtc", "RTC as one graph beside 64 sessions"),
    "capture": ("rt_hands.benchmarks.capture", "recording simulated cameras: drops, processor time"),
    "live": ("rt_hands.benchmarks.live", "the whole loop from JPEG to drawn hands, stage by stage"),
    "hands": (
        "rt_hands.benchmarks.hands",
        "speed and hands found, beside MediaPipe in an environment of its own",
    ),
    "rig": ("rt_hands.benchmarks.rig", "a rig's loop by views and batch"),
    "guard": (
        "rt_hands.benchmarks.guard",
        "the core's instructions by valgrind beside the committed baseline",
    ),
    "picture": ("rt_hands.benchmarks.picture", "no benchmark: the README's picture, made again"),
    "all": (
        "rt_hands.benchmarks.every",
        "all of the above but guard and picture, each as a process of its own, into one folder",
    ),
    "report": ("rt_hands.benchmarks.report", "tables and plots of such a folder as docs/REPORT.md"),
}


def main(argv: Sequence[str]) -> int:
    """Run one benchmark."""
    return dispatch("rt_hands.bench", PARTS, argv)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
