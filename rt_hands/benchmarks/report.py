"""python -m rt_hands.bench report: all benchmarks of one machine as one page, docs/REPORT.md, with plots."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tyro
from rich.console import Console

from rt_hands.benchmarks import every, plots
from rt_hands.errors import InvalidInput
from rt_hands.paths import write_atomically

TITLES: Final = {
    "core": "The C++ core beside its peers, one thread",
    "engine": "The network: our engines beside the bare library calls",
    "rtc": "RTC for one pair of hands",
    "live": "The whole loop, stage by stage",
    "hands": "Beside MediaPipe Hands",
    "rig": "A rig of cameras",
    "capture": "Recording four simulated cameras of 1280x720 at 30 fps",
}
NOTES: Final = {
    "core": "Microseconds. Every row of a table was timed in turn with the others; the first tenth is dropped. "
    "`floor` reads the bytes once.",
    "engine": "Milliseconds. `overhead_percent` is what our wrapper adds to the library's own call, median of "
    "paired runs; `cpu_ms` is processor time over all threads.",
    "rtc": "Milliseconds; the candidates take turns in a new order each round.",
    "live": "Milliseconds a frame from JPEG to drawn hands, as fast as it goes in one thread; each engine takes 30 "
    "frames in turn. `age` is the p95 of a frame's age when drawn at a camera's 30 fps, in frame intervals.",
    "hands": "From JPEG to joints; every finder is a process of its own, 30 pictures a turn. `cpu_s`: processor "
    "seconds a picture. A found hand lies within 0.3 of its size of the truth (rendered), or is counted (real). "
    "`right_side_percent`: found hands that were given their true side.",
    "rig": "The loop of eight simulated cameras, milliseconds a FrameSet: `ours` is bundle + track + lift + draw. Then "
    "one call of lifting, and of drawing back, by the number of views, microseconds.",
    "capture": "`missed`: periods in which the simulated camera's thread had no processor. `dropped`: met a full "
    "queue, counted in frames.csv. `lost`: neither written nor counted. `off_us`: file times against frames.csv.",
}


@dataclass(frozen=True)
class Options:
    """Run every benchmark, then write one page of tables and plots."""

    out: Path = Path("docs/REPORT.md")
    """The page; plots go to `images/` beside it."""
    from_folder: Path | None = None
    """Take the figures of an earlier `python -m rt_hands.bench all --out FOLDER` instead of measuring."""
    mediapipe_python: str | None = None
    """Python of an environment that has MediaPipe, see `python -m rt_hands.bench hands --help`."""
    readme: Path | None = None
    """A page whose lines between `<!-- report: begin -->` and `<!-- report: end -->` become the table beside
    MediaPipe."""
    quick: bool = False
    """Seconds instead of minutes: figures that mean nothing, to see that it works."""


def main(argv: Sequence[str]) -> int:
    """Measure unless told where the figures are; write the page."""
    options = tyro.cli(
        Options, args=list(argv), prog="python -m rt_hands.bench report", description=Options.__doc__
    )
    plots.check()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.from_folder or Path(scratch)
        if options.from_folder is None:
            every.run_all(every.Options(folder, options.mediapipe_python, quick=options.quick))
        parts = read_parts(folder)
    images = plots.draw_all(parts, options.out.parent / "images")
    write_atomically(options.out, page(parts, images).encode())
    if options.readme is not None:
        write_atomically(options.readme, with_summary(options.readme.read_text(), parts).encode())
    Console().print(f"Wrote {options.out} and {len(images)} plots.", soft_wrap=True)
    return 0


def read_parts(folder: Path) -> dict[str, Any]:
    """{part: its JSON}, of those that are there. Raises InvalidInput where none is."""
    paths = [folder / f"{part}.json" for part in (*TITLES, "runs")]
    parts = {path.stem: json.loads(path.read_text()) for path in paths if path.is_file()}
    if not parts:
        raise InvalidInput(f"{folder} has no figures. Make them: python -m rt_hands.bench all --out {folder}")
    return parts


def page(parts: Mapping[str, Any], images: Mapping[str, str]) -> str:
    """The report as Markdown. images: {name of a plot: its path as seen from the page}."""
    lines = [
        "# Report",
        "",
        f"One run of `python -m rt_hands.bench report` on {time.strftime('%Y-%m-%d')}. "
        "Read ratios rather than milliseconds: the machine may be shared.",
        "",
        *_table([{"": key, "value": value} for key, value in machine_of(parts).items()]),
    ]
    for part, title in TITLES.items():
        lines += [f"## {title}", "", f"`python -m rt_hands.bench {part}`", ""]
        if part not in parts:
            lines += ["Not measured in this run.", ""]
            continue
        lines += [NOTES[part], ""] if part in NOTES else []
        lines += [f"![{name}]({path})\n" for name, path in images.items() if name.startswith(part)]
        lines += sections(parts[part])
    if "runs" in parts:
        lines += ["## What the benchmarks themselves took", "", *_table(parts["runs"]["parts"])]
    return "\n".join(lines)


def machine_of(parts: Mapping[str, Any]) -> dict[str, Any]:
    """What all parts say of the machine and versions, and the load of the machine when each of them began."""
    headers = {name: part["machine"] for name, part in parts.items() if "machine" in part}
    known: dict[str, Any] = {}
    for header in headers.values():
        known = {**header, **known}
    known.pop("load_1min", None)
    told = {name: h["load_1min"] for name, h in headers.items() if name != "runs" and "load_1min" in h}
    loads = [f"{name} {load:.1f}" for name, load in told.items() if load is not None]
    return known | ({"load when a part began": ", ".join(loads)} if loads else {})


BEGIN, END = "<!-- report: begin -->", "<!-- report: end -->"


def with_summary(text: str, parts: Mapping[str, Any]) -> str:
    """A page's text with the table beside MediaPipe between its marks. Raises InvalidInput where they are not."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise InvalidInput(f"The page has no lines {BEGIN} and {END}.")
    return f"{before}{begin}\n{chr(10).join(summary(parts))}\n{end}{after}"


def summary(parts: Mapping[str, Any]) -> list[str]:
    """A row a clip and finder: what a user compares."""
    if "hands" not in parts:
        return ["Not measured: see `python -m rt_hands.bench hands --help`."]
    rows = [
        {
            "": row["clip"],
            "finder": row["finder"],
            "fps": row["fps"],
            "p50 ms": row["p50_ms"],
            "p95 ms": row["p95_ms"],
            "CPU s a picture": row["cpu_s"],
            "hands found": f"{row['found_percent']:.0f} %",
        }
        for row in parts["hands"]["clips"]
    ]
    machine = parts["hands"]["machine"]
    lead = (
        f"From JPEG to joints on {machine['processor']}, {machine['cores']} cores, by "
        "`python -m rt_hands.bench report`; its other figures: [docs/REPORT.md](docs/REPORT.md). In videos the first "
        "pictures count too, in which a hand is still being found."
    )
    if parts["hands"].get("notes"):
        lead += (
            " Clips called pictures are single ones, in which hands are searched anew; MediaPipe chose them: only "
            "those where it found two hands were kept, and other pictures of the person who crosses hands trained our "
            "network."
        )
    return [lead, "", *_table(rows)[:-1]]


def sections(value: Any, heading: str = "") -> Iterator[str]:
    """Markdown of any JSON: rows of one kind become a table, what holds tables a heading for each."""
    rows = as_rows(value)
    if rows is not None:
        yield from [f"**{heading}**", ""] if heading else []
        yield from _table(rows)
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            if key not in ("machine", "frame_ms"):
                yield from sections(entry, f"{heading}, {_words(key)}" if heading else _words(key))
    elif isinstance(value, str | int | float):
        yield from (f"{heading}: {_cell(value)}", "")


def as_rows(value: Any) -> list[dict[str, Any]] | None:
    """The rows of a table: a list of records, records by name, or plain values by name; None for anything else."""
    if isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
        return [_flat(entry) for entry in value]
    if not isinstance(value, Mapping) or not value or "machine" in value:
        return None
    entries = list(value.values())
    if all(_is_plain(entry) for entry in entries):
        return [{"": _words(key), "value": entry} for key, entry in value.items()]
    if all(isinstance(entry, Mapping) and all(map(_is_plain, entry.values())) for entry in entries):
        rows = [{"": key, **{k: v for k, v in entry.items() if k != "name"}} for key, entry in value.items()]
        return [*_with_ratios(rows)]
    return None


def _with_ratios(rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """How many times the first row's median each row takes, in tables of calls timed in turn; the first is ours."""
    medians = [row.get("p50_us") for row in rows]
    for row, median in zip(rows, medians, strict=True):
        yield row | {"x first": median / medians[0]} if median and medians[0] else row


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record with what is nested in it as columns of its own, without long lists."""
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            flat |= {f"{key} {inner}": entry for inner, entry in value.items()}
        elif not (isinstance(value, list) and len(value) > 4):
            flat[key] = value
    return flat


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Markdown; wide tables lie on their side, a column a row."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if len(columns) > 12 >= len(rows):
        rows = [{"": key} | {str(i): row.get(key) for i, row in enumerate(rows)} for key in columns]
        columns = list(rows[0])
        header = ["" for _ in columns]
    else:
        header = [_words(column) for column in columns]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    return [*lines, ""]


def _words(key: str) -> str:
    return key.replace("_", " ")


def _cell(value: Any) -> str:
    if value is None or value != value:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if isinstance(value, list | tuple):
        return " / ".join(_cell(entry) for entry in value)
    return str(value).replace("|", "/")
