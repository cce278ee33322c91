"""python -m rt_hands.bench guard: instructions of decode, project and triangulate beside a committed baseline.

No clock: valgrind counts what the kernels execute on inputs that never change, so a busy machine changes nothing.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from rt_hands import _core
from rt_hands.benchmarks import guard_calls
from rt_hands.errors import InvalidInput, MissingPart

BASELINE = Path(__file__).with_name("guard.json")
# Kernels as the linker names them: the level's namespace, then the function.
KERNELS = {"decode": "decode(", "project": "project<float>(", "triangulate": "triangulate("}
LINE = re.compile(r"^\s*([\d,]+)\s.*?rt_hands::(\w+)::(\w+(?:<float>)?\()")


@dataclass(frozen=True)
class Options:
    """Count the core's instructions under valgrind and compare them with the committed baseline.

    Exit code 1 when a kernel takes more than the tolerance above its baseline.
    """

    update: bool = False
    """Write what was counted as the new baseline."""
    baseline: Path = BASELINE
    """The file with the counts to compare with."""
    tolerance: float = 0.05
    """How much more than the baseline is still the same."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kernel beside its baseline: instructions a call."""

    name: str
    now: int | None
    before: int | None
    verdict: Literal["same", "more", "fewer", "new", "gone"]


def main(argv: Sequence[str]) -> int:
    """Count, compare, print."""
    options = tyro.cli(
        Options, args=list(argv), prog="python -m rt_hands.bench guard", description=Options.__doc__
    )
    before = {} if options.update else read_baseline(options.baseline)
    compiler = before.get("compiler")
    if compiler not in (None, _core.compiler):
        Console().print(
            f"The baseline is of {compiler}, this core of {_core.compiler}: differences may be the compiler's."
        )
    now = count_instructions()
    if options.update:
        options.baseline.write_text(
            json.dumps({"compiler": _core.compiler, "instructions": now}, indent=1) + "\n"
        )
        Console().print(f"{options.baseline} written.")
    rows = compare(now, before.get("instructions", now), options.tolerance)
    print_rows(rows)
    return 1 if any(row.verdict in ("more", "gone") for row in rows) else 0


def read_baseline(path: Path) -> dict[str, Any]:
    """{"compiler": text, "instructions": {"project avx2": count a call}}."""
    if not path.is_file():
        raise InvalidInput(f"There is no baseline at {path}. Write one with --update.")
    try:
        found = json.loads(path.read_text())
        dict(found["instructions"])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path} is no baseline of this command. Write it anew with --update.") from error
    return dict(found)


def count_instructions() -> dict[str, int]:
    """Instructions a call, everything called from it too: {"project avx2": n, ...}. About 20 s."""
    valgrind, annotate = shutil.which("valgrind"), shutil.which("callgrind_annotate")
    if valgrind is None or annotate is None:
        raise MissingPart("Counting instructions needs valgrind, which isn't here: apt-get install valgrind.")
    with tempfile.TemporaryDirectory() as folder:
        out = f"{folder}/callgrind.out"
        _run(
            [valgrind, "--tool=callgrind", f"--callgrind-out-file={out}", sys.executable]
            + [guard_calls.__file__, _core.__file__]
        )
        return parse(_run([annotate, "--inclusive=yes", "--threshold=100", out]), guard_calls.CALLS)


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InvalidInput(f"{Path(command[0]).name} ended with code {done.returncode}: {last}")
    return done.stdout


def parse(annotated: str, calls: int) -> dict[str, int]:
    """What callgrind_annotate prints, inclusive costs a line, to instructions a call of each kernel and level."""
    names = {function: name for name, function in KERNELS.items()}
    found: dict[str, int] = {}
    for line in annotated.splitlines():
        match = LINE.match(line)
        if match and match[2] in guard_calls.LEVELS and match[3] in names:
            found[f"{names[match[3]]} {match[2]}"] = int(match[1].replace(",", "")) // calls
    if not found:
        raise InvalidInput("valgrind saw none of the core's kernels: was the core stripped of its symbols?")
    return dict(sorted(found.items()))


def compare(now: Mapping[str, int], before: Mapping[str, int], tolerance: float) -> list[Row]:
    """Every kernel in either; `more` is worse than the baseline by over `tolerance`, `fewer` better by over it."""
    rows = []
    for name in sorted({*now, *before}):
        new, old = now.get(name), before.get(name)
        rows.append(Row(name, new, old, _verdict(new, old, tolerance)))
    return rows


def _verdict(
    now: int | None, before: int | None, tolerance: float
) -> Literal["same", "more", "fewer", "new", "gone"]:
    if now is None:
        return "gone"
    if before is None:
        return "new"
    if now > before * (1 + tolerance):
        return "more"
    return "fewer" if now < before * (1 - tolerance) else "same"


def print_rows(rows: Sequence[Row]) -> None:
    """A table: kernel, instructions a call, its baseline, the ratio."""
    table = Table(title="Instructions a call, counted by valgrind", title_justify="left")
    for column in ("kernel", "now", "baseline", "ratio", ""):
        table.add_column(column, justify="left" if column in ("kernel", "") else "right")
    for row in rows:
        ratio = f"{row.now / row.before:.3f}" if row.now and row.before else ""
        table.add_row(
            row.name, *("" if n is None else f"{n:,}" for n in (row.now, row.before)), ratio, row.verdict
        )
    Console().print(table)
