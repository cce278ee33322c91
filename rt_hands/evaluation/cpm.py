"""`python -m rt_hands.evaluate cpm`: the source's table, ways to decode, and real pictures against the teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rt_hands.capture.images import SUFFIXES, read_image
from rt_hands.capture.source import first_only
from rt_hands.detector import Detector
from rt_hands.errors import InvalidInput, SourceError, check_least
from rt_hands.evaluation import real_hands, rendered, sheets
from rt_hands.evaluation.decoders import DECODERS
from rt_hands.inference.cpm import Cpm
from rt_hands.inference.engine import open_engine
from rt_hands.inference.models import find_model
from rt_hands.layout import N_POINTS
from rt_hands.output_files import check_new
from rt_hands.paths import natural_key, weights_dir, write_figures
from rt_hands.tracking.crops import search_crops
from rt_hands.tracking.readings import HandsBuilder
from rt_hands.types import Hands2D, Image

SOURCE_TABLE = {
    "source: ResNet-34": (1.10, 5.79, 1.13, 9.81),
    "source: CPM": (3.02, 3.62, 7.75, 8.64),
}
KEYS = ("train_one_px", "train_two_px", "test_one_px", "test_two_px")
NETWORKS = ("cpm_light", "cpm_light_int8", "cpm_quality", "cpm3", "cpm6", "resnet34")
WHOLE_PRESENCE = 0.5


@dataclass(frozen=True, slots=True)
class Options:
    """Accuracy of the CPM on rendered and real hands."""

    parts: tuple[str, ...] = ("table", "decode", "real")
    """Any of table, decode, real."""
    model: str = "default"
    """light (default), int8, quality, or a path to an .onnx file."""
    engine: str = "auto"
    """auto, tensorrt, openvino or onnxruntime."""
    threads: int | None = None
    """Threads of the network; default: the engine's own choice."""
    rendered: int = 200
    """Rendered pictures of each case of the table."""
    networks: tuple[Path, ...] = ()
    """Files for the table beside the packaged ones, such as a baseline that one trained oneself."""
    limit: int = 0
    """Real pictures at most, spread over the sets; 0: all."""
    images: Path | None = None
    """Only draw predictions on this picture, or on those of this folder and the ones below it."""
    sheets: Path = Path("sheets")
    """Folder for contact sheets."""
    json: Path | None = None
    """Write the figures to this file."""
    overwrite: bool = False
    """Replace files of these names that are already there."""


def whole_picture(cpm: Cpm) -> real_hands.Predict:
    """The network alone on the whole picture in a square: hands whose presence is above one half."""

    def predict(image: Image) -> Hands2D:
        read = cpm([(image, search_crops((image.shape[1], image.shape[0]))[0])])
        builder = HandsBuilder()
        for hand in np.flatnonzero(read.presence[0] > WHOLE_PRESENCE):
            builder.put(int(hand), read.points_px[0, hand], float(read.presence[0, hand]))
        return builder.build()

    return predict


def table(options: Options, console: Console) -> dict[str, dict[str, float]]:
    """(a) mean px at 224 of every packaged network on the bare picture, and of the detector, beside the source's."""
    sets = {case: rendered.make_set(case, options.rendered) for case in rendered.CASES}
    rows: dict[str, dict[str, float]] = {}
    for path in _table_networks(options.networks, console):
        engine = open_engine(path, options.engine, options.threads)
        regresses = engine.outputs[0].name == "points"
        rows[path.stem] = _row(
            sets, rendered.resnet_points(engine) if regresses else rendered.cpm_points(engine)
        )
        engine.close()
    detector = Detector(options.engine, options.model, options.threads)
    rows["detector"] = _row(sets, rendered.detector_points(detector))
    detector.close()
    _print_table(rows, options.rendered, console)
    return rows


def _table_networks(extra: Sequence[Path], console: Console) -> list[Path]:
    """The files of the table's rows, packaged ones first; says which of those are not there."""
    given = {path.stem for path in extra}
    packaged = [weights_dir() / f"{name}.onnx" for name in NETWORKS if name not in given]
    for path in packaged:
        if not path.is_file():
            console.print(f"{path.stem}: no weights in the package; --networks {path.name} takes a file")
    return [path for path in packaged if path.is_file()] + list(extra)


def _row(sets: dict[rendered.Case, rendered.RenderedSet], read: rendered.Points) -> dict[str, float]:
    """The table's figures of one way to read pictures."""
    found = [read(data.images) for data in sets.values()]
    away = [rendered.errors_px(d, p) for d, p in zip(sets.values(), found, strict=True)]
    row = dict(zip(KEYS, (float(a.mean()) for a in away), strict=True))
    row["test_one_median_px"], row["test_two_median_px"] = (float(np.median(a)) for a in away[2:])
    for case, points in zip(sets, found, strict=True):
        if case[0] == "test":
            row[f"test_{case[1]}_found_px"], row[f"test_{case[1]}_missed"] = rendered.found(
                sets[case], points
            )
    row["test_two_swapped"] = rendered.side_swapped(sets["test", "two"], found[-1])
    return row


def _print_table(rows: dict[str, dict[str, float]], count: int, console: Console) -> None:
    view = Table(title=f"Mean distance, px at 224 x 224 (ours: {count} rendered pictures a column)")
    columns = (
        "",
        "train, one",
        "train, two",
        "test, one",
        "test, two",
        "found: one / two",
        "missed",
        "swapped",
    )
    for column in columns:
        view.add_column(column, justify="left" if not column else "right")
    for name, values in SOURCE_TABLE.items():
        view.add_row(name, *(f"{v:.2f}" for v in values))
    for name, row in rows.items():
        near = "{test_one_found_px:.2f} / {test_two_found_px:.2f}".format(**row)
        missed = "{test_one_missed:.1%} / {test_two_missed:.1%}".format(**row)
        view.add_row(name, *(f"{row[k]:.2f}" for k in KEYS), near, missed, f"{row['test_two_swapped']:.1%}")
    console.print(view)


def decode(options: Options, console: Console) -> dict[str, float]:
    """(b) mean px at 224 of each way to read a belief map, on the trained network and test subjects, one hand."""
    data = rendered.make_set(("test", "one"), options.rendered)
    engine = open_engine(find_model(options.model), options.engine, options.threads)
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in DECODERS}
    for image in track(data.images, "decoding", console=console):
        maps = rendered.belief_maps(engine, image[None])[0, :N_POINTS]
        for name, method in DECODERS.items():
            affine = rendered.picture_from_map(engine, maps.shape[-1])
            found[name].append(method(maps) @ affine[:, :2].T + affine[:, 2])
    engine.close()
    away = {name: rendered.errors_px(data, np.array(points)) for name, points in found.items()}
    view = Table(
        "decode", "mean px at 224", "median", title="Ways to read a belief map (one hand, test subjects)"
    )
    for name, values in sorted(away.items(), key=lambda item: float(item[1].mean())):
        view.add_row(name, f"{values.mean():.3f}", f"{np.median(values):.3f}")
    console.print(view)
    return {name: float(values.mean()) for name, values in away.items()}


def _spread(labels: list[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """At most `limit` labels, evenly over the file; 0: all."""
    if not limit or limit >= len(labels):
        return labels
    return [labels[i] for i in np.linspace(0, len(labels) - 1, limit).astype(int)]


def real(options: Options, console: Console) -> dict[str, Any]:
    """(c) real val pictures, through the detector and through the network alone."""
    labels = _spread(real_hands.trusted_labels("val"), options.limit)
    cpm = Cpm.load(options.model, options.engine, options.threads)
    ways: dict[str, real_hands.Predict] = {"detector": Detector(cpm=cpm), "network alone": whole_picture(cpm)}
    report: dict[str, Any] = {}
    for way, predict in ways.items():
        results = real_hands.evaluate(track(labels, way, console=console), predict)
        share, names = real_hands.invented(predict)
        sets = {name: real_hands.figures(r) for name, r in real_hands.by_set(results).items()}
        report[way] = {
            "all": real_hands.figures(results),
            "sets": sets,
            "invented": share,
            "invented_in": names,
        }
        _print_real(way, report[way], console)
        if way == "detector":
            _write_real_sheets(options.sheets, results, console)
    cpm.close()
    return report


def _print_real(way: str, report: dict[str, Any], console: Console) -> None:
    columns = ("hands", "pck05", "pck10", "pck20", "missed", "side_wrong", "side_wrong_pairs", "extra")
    view = Table("set", *columns, title=f"Real val pictures against the teacher: {way}")
    for name, row in {**report["sets"], "all": report["all"]}.items():
        view.add_row(name.removeprefix("webcam_"), str(row["hands"]), *(f"{row[c]:.3f}" for c in columns[1:]))
    console.print(view)
    names = report["invented_in"]
    where = ", ".join(names[:4]) + " ..." * (len(names) > 4)
    console.print(
        f"invented on backgrounds, which training lays hands over: {report['invented']:.1%} {where}"
    )


def _write_real_sheets(folder: Path, results: list[real_hands.PictureResult], console: Console) -> None:
    """Contact sheets: every set's spread, and the worst of all."""
    root = real_hands.real_folder()

    def tiles(chosen: list[real_hands.PictureResult]) -> list[Image]:
        images = ((r, real_hands.load_image(root / r.file)) for r in chosen)
        return [sheets.tile(i, r.predicted.points_px, f"{r.file} {r.worst:.2f}") for r, i in images]

    for name, group in real_hands.by_set(results).items():
        some = [group[i] for i in np.linspace(0, len(group) - 1, min(42, len(group))).astype(int)]
        sheets.write_sheets(folder, name, tiles(some))
    worst = sorted(results, key=lambda r: -r.worst)[:42]
    sheets.write_sheets(folder, "worst", tiles(worst))
    console.print(f"Contact sheets: {folder}")


def draw_folder(options: Options, console: Console) -> None:
    """Predictions of the detector on a picture, or on every picture of a folder and those below it."""
    assert options.images is not None
    paths = _pictures(options.images)
    sheets.check_sheets(options.sheets, "images_[0-9][0-9].png", options.overwrite)
    detector = Detector(options.engine, options.model, options.threads)
    tiles, on_depth = [], first_only(lambda sentence: console.print(sentence, soft_wrap=True))
    for path in track(paths, "detecting", console=console):
        try:
            image = read_image(path, on_depth)
        except SourceError as error:
            console.print(f"Skipped: {error}", soft_wrap=True)
            continue
        tiles.append(sheets.tile(image, detector(image).points_px, path.name))
    if not tiles:
        raise SourceError(f"None of the {len(paths)} pictures in {options.images} can be read.")
    pages = sheets.write_sheets(options.sheets, "images", tiles)
    console.print(f"{len(tiles)} pictures on {len(pages)} sheets: {options.sheets}")


def _pictures(path: Path) -> list[Path]:
    """The picture itself, or all of a folder and those below it, in natural order."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise SourceError(f"There is no file or folder {path}.")
    found = [p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES]
    if not found:
        raise SourceError(f"The folder {path} holds no pictures ({', '.join(SUFFIXES)}).")
    return sorted(found, key=lambda p: natural_key(str(p)))


def flat_figures(report: dict[str, Any]) -> dict[str, Any]:
    """The figures under the names others look for: `real_pck10`, ... from the detector, `networks`, `sets`."""
    flat: dict[str, Any] = {"networks": report.get("table", {}), "decode": report.get("decode", {})}
    if "real" in report:
        detector = report["real"]["detector"]
        for key in ("pck05", "pck10", "pck20", "missed", "side_wrong"):
            flat[f"real_{key}"] = detector["all"][key]
        flat["real_invented"] = detector["invented"]
        flat["sets"] = detector["sets"]
        flat["network_alone"] = report["real"]["network alone"]
    return flat


PARTS = {"table": table, "decode": decode, "real": real}


def main(argv: Sequence[str]) -> int:
    """Command line of the evaluation."""
    options = tyro.cli(Options, args=list(argv), prog="python -m rt_hands.evaluate cpm", description=__doc__)
    console = Console()
    check_new(options.json, options.overwrite)
    check_least("--rendered", options.rendered)
    check_least("--limit", options.limit, 0)
    if options.images is not None:
        if options.json is not None:
            raise InvalidInput(
                "--json has no figures to write with --images, which only draws; leave one out."
            )
        draw_folder(options, console)
        return 0
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        raise InvalidInput(f"There is no part '{unknown[0]}' to evaluate. Parts: {', '.join(PARTS)}.")
    for path in options.networks:
        find_model(str(path))
    if "real" in options.parts:
        sheets.check_sheets(options.sheets, "*_[0-9][0-9].png", options.overwrite)
    report = {part: PARTS[part](options, console) for part in options.parts}
    if options.json is not None:
        write_figures(options.json, flat_figures(report))
        console.print(f"Figures: {options.json}")
    return 0
