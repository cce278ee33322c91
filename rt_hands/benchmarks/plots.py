"""Plots of the report, each a PNG from one part's JSON; needs matplotlib (the report extra)."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from rt_hands.errors import MissingPart

COLOURS: Final = ("#2a6fbb", "#e07b39", "#4a9c5d", "#9a5fb4", "#b23a48", "#6b7280")
STAGES: Final = ("jpeg", "preprocess", "infer", "decode", "track", "lift", "draw")
DPI: Final = 80
_LINES: Final = {
    "ours": ("ours", "ours, float32"),
    "cv2": ("cv2.projectPoints loop", "cv2 undistort + batched SVD"),
    "NumPy": ("NumPy, vectorised", "NumPy SVD, batched"),
    "torch": ("torch",),
}


def check() -> None:
    """Raise MissingPart where there is no matplotlib."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingPart("The report's plots need matplotlib: pip install 'rt_hands[report]'.")


def draw_all(parts: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Draw what the parts have: {name: path as seen from the folder's parent}. Names begin with their part's."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, str] = {}
    for name, part, draw in PLOTS:
        if part in parts:
            path = folder / f"{name.replace(' ', '_')}.png"
            if draw(parts[part], path):
                drawn[name] = f"{folder.name}/{path.name}"
    return drawn


def _axes(columns: int, width: float = 9.0, height: float = 3.4) -> tuple[Any, Any]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _label(run: Mapping[str, Any]) -> str:
    return f"{run['name']}\n{run['source']}, {run['hands']:.1f} hands"


def latency(part: Mapping[str, Any], path: Path) -> bool:
    """How often a frame took how long, in one axis a source."""
    runs = [run for run in part["runs"] if run["frame_ms"]]
    if not runs:
        return False
    sources = list(dict.fromkeys(run["source"] for run in runs))
    figure, axes = _axes(len(sources))
    for axis, source in zip(axes, sources, strict=True):
        here = [run for run in runs if run["source"] == source]
        top = max(np.percentile(run["frame_ms"], 99) for run in here) * 1.1
        for run, colour in zip(here, COLOURS, strict=False):
            label = f"{run['name']}, p95 {np.percentile(run['frame_ms'], 95):.1f} ms"
            axis.hist(run["frame_ms"], np.linspace(0, top, 60), color=colour, alpha=0.6, label=label)
        axis.set(title=f"{source}, {here[0]['hands']:.1f} hands", xlabel="ms a frame, JPEG to drawn hands")
        axis.legend(frameon=False, fontsize=8)
    axes[0].set_ylabel("frames")
    figure.savefig(path, dpi=DPI)
    return True


def stages(part: Mapping[str, Any], path: Path) -> bool:
    """Median milliseconds of each stage, one bar a run."""
    runs = part["runs"]
    figure, (axis,) = _axes(1, height=1.0 + 0.6 * len(runs))
    left = np.zeros(len(runs))
    known = list(dict.fromkeys([*STAGES, *(s for run in runs for s in run["stages_ms"])]))
    for i, stage in enumerate(known):
        widths = np.array([run["stages_ms"].get(stage, (0.0,))[0] for run in runs])
        if widths.any():
            axis.barh([_label(run) for run in runs], widths, left=left, label=stage, color=f"C{i}")
            left += widths
    axis.set_xlabel("median ms a frame")
    axis.legend(frameon=False, ncols=len(known), fontsize=8, loc="upper center", bbox_to_anchor=(0.4, 1.25))
    figure.savefig(path, dpi=DPI)
    return bool(runs)


def views(part: Mapping[str, Any], path: Path) -> bool:
    """Microseconds over the number of views: project and triangulate, ours and peers."""
    kinds = [kind for kind in ("project", "triangulate") if kind in part]
    if not kinds:
        return False
    figure, axes = _axes(len(kinds))
    for axis, kind in zip(axes, kinds, strict=True):
        tables = {
            int(key.removeprefix("views_")): table for key, table in part[kind].items() if "views_" in key
        }
        for (label, names), colour in zip(_LINES.items(), COLOURS, strict=False):
            points = [
                (v, table[n]["p50_us"]) for v, table in sorted(tables.items()) for n in names if n in table
            ]
            if points:
                axis.loglog(*zip(*points, strict=True), "o-", label=label, color=colour)
        axis.set(
            title=f"{kind}, one thread", xlabel="views", xticks=sorted(tables), xticklabels=sorted(tables)
        )
        axis.minorticks_off()
    axes[0].set_ylabel("median microseconds")
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=DPI)
    return True


def batches(part: Mapping[str, Any], path: Path) -> bool:
    """Milliseconds of a network run and of one picture in it, over the batch (a crop a hand and view)."""
    rows = part["engines"]
    figure, axes = _axes(2)
    for engine, colour in zip(dict.fromkeys(row["engine"] for row in rows), COLOURS, strict=False):
        here = [row for row in rows if row["engine"] == engine]
        batch, ms = np.array([r["batch"] for r in here]), np.array([r["p50_ms"] for r in here])
        label = f"{engine} {here[0]['precision']}"
        axes[0].plot(batch, ms, "o-", color=colour, label=label)
        axes[1].plot(batch, ms / batch, "o-", color=colour, label=label)
    for axis, title in zip(axes, ("a run", "a crop in it"), strict=True):
        axis.set(
            title=f"median ms, {title}",
            xlabel="batch",
            ylim=(0, None),
            xticks=sorted({r["batch"] for r in rows}),
        )
    axes[0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=DPI)
    return bool(rows)


def rig(part: Mapping[str, Any], path: Path) -> bool:
    """A rig's loop by stage, and what lifting and drawing back take by the number of views."""
    stages = {name: row["p50_ms"] for name, row in part["loop"].items() if "p50_ms" in row and name != "ours"}
    scaling = {name: part[name] for name in ("lift", "draw back") if name in part}
    figure, axes = _axes(2)
    axes[0].barh(list(stages), list(stages.values()), color=COLOURS[0])
    axes[0].invert_yaxis()
    axes[0].set(title="eight cameras, by stage", xlabel="median ms a FrameSet")
    for (name, timings), colour in zip(scaling.items(), COLOURS, strict=False):
        at = [(int(key.split()[0]), timing["p50_us"] / 1e3) for key, timing in timings.items()]
        axes[1].loglog(*zip(*at, strict=True), "o-", color=colour, label=name)
        axes[1].set_xticks([v for v, _ in at], [str(v) for v, _ in at])
    axes[1].minorticks_off()
    axes[1].set(title="two hands, by views", xlabel="views", ylabel="median ms")
    axes[1].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=DPI)
    return bool(stages or scaling)


def found(part: Mapping[str, Any], path: Path) -> bool:
    """Hands found, and processor time a picture, by clip and finder."""
    rows = part["clips"]
    if not rows:
        return False
    names = list(dict.fromkeys(row["clip"] for row in rows))
    finders = list(dict.fromkeys(row["finder"] for row in rows))
    figure, axes = _axes(2, width=10.0, height=0.9 + 0.7 * len(names))
    for axis, key, scale in ((axes[0], "found_percent", 1.0), (axes[1], "cpu_s", 1e3)):
        for i, finder in enumerate(finders):
            values = {row["clip"]: scale * (row[key] or 0) for row in rows if row["finder"] == finder}
            at = np.arange(len(names)) + 0.8 * (i / len(finders) - 0.4)
            bars = axis.barh(at, [values.get(n, 0) for n in names], 0.75 / len(finders), color=COLOURS[i % 6])
            axis.bar_label(bars, fmt="%.0f", fontsize=7)
            bars.set_label(finder)
        axis.invert_yaxis()
    axes[0].set_yticks(range(len(names)), names, fontsize=8)
    axes[1].set_yticks([])
    axes[0].set_xlabel("% of hands found")
    axes[1].set_xlabel("ms of processor time a picture")
    axes[1].legend(frameon=False, fontsize=7)
    figure.savefig(path, dpi=DPI)
    return True


PLOTS: Final[tuple[tuple[str, str, Callable[[Mapping[str, Any], Path], bool]], ...]] = (
    ("core by views", "core", views),
    ("engine by batch", "engine", batches),
    ("live latency", "live", latency),
    ("live stages", "live", stages),
    ("hands found", "hands", found),
    ("rig by stage and views", "rig", rig),
)
