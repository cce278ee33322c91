"""python -m rt_hands.bench hands: speed, processor time and hands found, beside MediaPipe Hands, taking turns.

Every finder is a process of its own. MediaPipe needs an environment of its own, as it wants an older NumPy:
python3 -m venv mediapipe-env && mediapipe-env/bin/pip install mediapipe==0.10.21
python -m rt_hands.bench hands --mediapipe-python mediapipe-env/bin/python
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tyro
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from rt_hands.benchmarks import mediapipe_worker
from rt_hands.benchmarks.clips import Clip, Count, clips
from rt_hands.benchmarks.timing import print_machine, write_json
from rt_hands.errors import InvalidInput, SourceError
from rt_hands.inference.engine import ENGINES, is_installed

TURN: Final = 30
"""Pictures that one finder takes before the next has its turn: a busy second of the machine meets them all."""
DROP: Final = 10
"""First pictures of a clip that are not timed, nor is the first one after a cut."""


@dataclass(frozen=True)
class Options:
    """Find hands in one-hand and two-hand clips, rendered and real, beside MediaPipe in its own environment."""

    mediapipe_python: str | None = None
    """Python of an environment that has MediaPipe; without it there is no comparison."""
    model: str = "default"
    """light, int8, quality, or a path to an .onnx file."""
    frames: int = 300
    """Pictures of each clip at most."""
    json: str | None = None
    """Write the figures to this file."""


@dataclass(frozen=True, slots=True)
class Row:
    """Of one finder on one clip; ms from JPEG to joints. cpu_s: processor time a picture, all threads together."""

    clip: str
    finder: str
    n: int
    fps: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_s: float
    rss_mb: float
    hands: int
    found_percent: float
    right_side_percent: float
    invented: int


class Finder:
    """A worker process. Raises InvalidInput where it does not start, SourceError where it ends in the middle."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        except OSError as error:
            raise InvalidInput(f"{command[0]} can't be run: {error.strerror}.") from error
        self.name = str(self._answer()["name"])

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request, wait for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SourceError(f"A finder ended by itself; to see why: {' '.join(self._command)}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Finder:
        return self

    def __exit__(self, *_: object) -> None:
        # Its stdin ends, so it does.
        self._process.communicate()


def commands(options: Options) -> list[list[str]]:
    """How each finder is started: every engine that is here, MediaPipe if asked for."""
    ours = [sys.executable, "-m", "rt_hands.benchmarks.our_worker"]
    found = [[*ours, name, options.model] for name in ENGINES if is_installed(name)]
    if options.mediapipe_python:
        # -I, so that it does not see this package's files, whose names hide the standard library's.
        found.append([options.mediapipe_python, "-I", mediapipe_worker.__file__])
    return found


def main(argv: Sequence[str]) -> int:
    """Measure, print, write."""
    options = tyro.cli(
        Options, args=list(argv), prog="python -m rt_hands.bench hands", description=Options.__doc__
    )
    if options.frames < 2 * DROP:
        raise InvalidInput(f"--frames is {options.frames}; give {2 * DROP} or more.")
    header = print_machine()
    rows: list[Row] = []
    notes: dict[str, str] = {}
    with ExitStack() as stack:
        finders = [stack.enter_context(Finder(command)) for command in commands(options)]
        progress = stack.enter_context(Progress(transient=True))
        for clip in clips(options.frames):
            rows += compare(clip, finders, progress)
            notes[clip.name] = clip.note
            # After each clip, so that a run that is cut off leaves the clips that were done.
            _save(options, header, rows, notes)
    _print(rows, notes)
    if not options.mediapipe_python:
        Console().print("No MediaPipe: give --mediapipe-python (python -m rt_hands.bench hands --help).")
    return 0


def _save(
    options: Options, header: Mapping[str, object], rows: Sequence[Row], notes: Mapping[str, str]
) -> None:
    if options.json:
        kept = {name: note for name, note in notes.items() if note}
        write_json(options.json, header, {"clips": [asdict(row) for row in rows], "notes": kept})


def compare(clip: Clip, finders: Sequence[Finder], progress: Progress) -> list[Row]:
    """Every finder on every picture of a clip, in turns."""
    answers: list[list[dict[str, Any]]] = [[] for _ in finders]
    rss_mb = [0.0] * len(finders)
    task = progress.add_task(clip.name, total=len(clip.images) * len(finders))
    with tempfile.TemporaryDirectory() as folder:
        clip.save(Path(folder) / "clip")
        for first, last in clip.turns(TURN):
            for which, finder in enumerate(finders):
                if first in (0, *clip.cuts):
                    finder.ask(folder=str(Path(folder) / "clip"), still=clip.still, hands=clip.hands)
                reply = finder.ask(first=first, last=last)
                answers[which] += reply["frames"]
                rss_mb[which] = reply["rss_mb"]
                progress.advance(task, len(reply["frames"]))
    return [_row(clip, f.name, a, mb) for f, a, mb in zip(finders, answers, rss_mb, strict=True)]


def _row(clip: Clip, name: str, answers: Sequence[Mapping[str, Any]], rss_mb: float) -> Row:
    count = Count()
    for i, reply in enumerate(answers):
        count.add(clip, i, reply["hands"])
    # A finder's first picture also loads what it needs.
    timed = [reply for i, reply in enumerate(answers) if i >= DROP and i not in clip.cuts]
    ms = np.array([reply["ms"] for reply in timed])
    cpu_s = 1e-3 * float(np.mean([reply["cpu_ms"] for reply in timed]))
    p50, p95, p99 = np.percentile(ms, (50, 95, 99))
    found, side = 100 * count.found / max(count.there, 1), 100 * count.right_side / max(count.found, 1)
    side = side if clip.truth_px is not None else float("nan")
    times = (float(p50), float(p95), float(p99), cpu_s, rss_mb)
    return Row(clip.name, name, len(ms), 1e3 / ms.mean(), *times, count.there, found, side, count.invented)


def _print(rows: Sequence[Row], notes: Mapping[str, str]) -> None:
    columns = ("", "n", "fps", "p50 ms", "p95 ms", "p99 ms", "CPU s", "MB", "hands found", "side", "invented")
    for clip in dict.fromkeys(row.clip for row in rows):
        table = Table(title=f"{clip}; JPEG to joints", title_justify="left", caption=notes[clip] or None)
        for i, column in enumerate(columns):
            table.add_column(column, justify="right" if i else "left")
        for r in (row for row in rows if row.clip == clip):
            times = (f"{v:.1f}" for v in (r.fps, r.p50_ms, r.p95_ms, r.p99_ms))
            side = "-" if np.isnan(r.right_side_percent) else f"{r.right_side_percent:.0f} %"
            found = f"{r.found_percent:.1f} % of {r.hands}"
            table.add_row(
                r.finder, str(r.n), *times, f"{r.cpu_s:.4f}", f"{r.rss_mb:.0f}", found, side, str(r.invented)
            )
        Console(width=140).print(table)
