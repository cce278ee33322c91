"""Hands as CSV, Parquet (pyarrow, optional) and JSON lines, and back without loss."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rt_hands.capture.source import Notice, to_stderr
from rt_hands.errors import InvalidInput, MissingPart
from rt_hands.formats.hands import (
    FIELDS_2D,
    FIELDS_3D,
    HEAD,
    PICTURE,
    HandsSample,
    columns,
    hands_from,
    is_3d,
    point_values,
    presence,
)
from rt_hands.layout import N_POINTS
from rt_hands.paths import write_atomically
from rt_hands.types import Hands3D

_BAD = (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError)


def _head(sample: HandsSample) -> list[Any]:
    hands = sample.hands
    return [sample.frame, sample.t_ns, sample.camera, *map(bool, hands.present), *map(float, presence(hands))]


def _has_pictures(samples: Sequence[HandsSample]) -> bool:
    return any(sample.file or sample.size_px for sample in samples)


def _picture(sample: HandsSample) -> list[Any]:
    return [sample.file, *(sample.size_px or (None, None))]


def _named(file: str = "", width: Any = None, height: Any = None) -> tuple[str, tuple[int, int] | None]:
    """A sample's file and size_px of their cells, None or empty where unknown; raises ValueError for no size."""
    if width in (None, "") and height in (None, ""):
        return str(file or ""), None
    size_px = int(width), int(height)
    if min(size_px) < 1:
        raise ValueError(size_px)
    return str(file or ""), size_px


def _cell(value: float) -> str:
    return "" if np.isnan(value) else repr(float(value))


def write_csv(path: Path, samples: Sequence[HandsSample]) -> None:
    """Wide CSV, a row a sample; floats in their shortest exact form, absent as an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    pictures = _has_pictures(samples)
    writer.writerow([*HEAD, *(PICTURE if pictures else ()), *columns(is_3d(samples))])
    for sample in samples:
        head = _head(sample)
        head[3:5] = [int(v) for v in head[3:5]]
        head += _picture(sample) if pictures else []
        writer.writerow([*head, *map(_cell, point_values(sample.hands).ravel())])
    write_atomically(path, text.getvalue().encode())


def _fields_of(header: Sequence[str], path: Path) -> tuple[int, int]:
    """Columns before the points, and values a point, from the column names."""
    for head in (HEAD, HEAD + PICTURE):
        for three_d, names in ((False, FIELDS_2D), (True, FIELDS_3D)):
            if list(header) == [*head, *columns(three_d)]:
                return len(head), len(names)
    way = "; its columns must be separated by commas" if len(header) == 1 and ";" in header[0] else ""
    raise InvalidInput(f"'{path}' has not the columns of an rt_hands export (frame, t_ns, camera, ...){way}.")


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:  # Excel begins with a byte order mark
            yield from enumerate(csv.reader(file), start=1)
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidInput(f"'{path}' is not a CSV file: {error}.") from None


def read_csv(path: Path) -> list[HandsSample]:
    """Samples of a wide CSV."""
    rows = _rows(path)
    _, header = next(rows, (0, []))
    (first, n), samples = _fields_of(header, path), []
    for line, row in rows:
        try:
            values = np.array([float(v) if v else np.nan for v in row[first:]]).reshape(N_POINTS, n)
            flags, odds = [bool(int(v)) for v in row[3:5]], [float(v) for v in row[5:7]]
            hands, picture = hands_from(values, flags, odds), _named(*row[len(HEAD) : first])
            samples.append(HandsSample(int(row[0]), int(row[1]), hands, row[2], *picture))
        except _BAD:
            raise InvalidInput(f"'{path}', line {line}: a cell is missing or is not a number.") from None
    return samples


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingPart(
            "Parquet needs pyarrow: pip install 'rt_hands[export]'. CSV needs nothing."
        ) from None
    return pyarrow


def write_parquet(path: Path, samples: Sequence[HandsSample]) -> None:
    """Wide Parquet with the same columns as the CSV; whole numbers and flags typed, absent is NaN."""
    pa = _pyarrow()
    three_d = is_3d(samples)
    heads = list(zip(*map(_head, samples), strict=True))
    kinds = [pa.int64(), pa.int64(), pa.string(), pa.bool_(), pa.bool_(), pa.float32(), pa.float32()]
    data = {name: pa.array(v, kind) for name, v, kind in zip(HEAD, heads, kinds, strict=True)}
    if _has_pictures(samples):
        cells = zip(*map(_picture, samples), strict=True)
        kinds = [pa.string(), pa.int64(), pa.int64()]
        data |= {name: pa.array(v, kind) for name, v, kind in zip(PICTURE, cells, kinds, strict=True)}
    values = np.stack([point_values(s.hands).ravel() for s in samples])
    for i, name in enumerate(columns(three_d)):
        exact = name.endswith("_mm")
        data[name] = pa.array(values[:, i] if exact else values[:, i].astype(np.float32))
    sink = io.BytesIO()
    pa.parquet.write_table(pa.table(data), sink, compression="zstd")
    write_atomically(path, sink.getvalue())


def read_parquet(path: Path) -> list[HandsSample]:
    """Samples of a wide Parquet file."""
    pa = _pyarrow()
    try:
        table = pa.parquet.read_table(path)
        first, n = _fields_of(table.column_names, path)
        numbers = [table.column(c).to_numpy().astype(np.float64) for c in table.column_names[first:]]
        heads = zip(*(table.column(c).to_pylist() for c in table.column_names[:first]), strict=True)
        values = np.stack(numbers, axis=1).reshape(-1, N_POINTS, n)
        return [
            HandsSample(
                int(h[0]), int(h[1]), hands_from(v, h[3:5], h[5:7]), str(h[2]), *_named(*h[len(HEAD) :])
            )
            for h, v in zip(heads, values, strict=True)
        ]
    except InvalidInput:
        raise
    except (*_BAD, OSError, pa.ArrowException):
        raise InvalidInput(f"'{path}' is not a Parquet file that rt_hands wrote.") from None


def write_jsonl(path: Path, samples: Sequence[HandsSample]) -> None:
    """A JSON object a line; `points` is a list of 170 lists, null for NaN."""
    fields = FIELDS_3D if is_3d(samples) else FIELDS_2D
    lines = []
    for sample in samples:
        head = _head(sample)
        points = [[None if np.isnan(v) else float(v) for v in p] for p in point_values(sample.hands)]
        names = dict(zip(HEAD[:3], head[:3], strict=True))
        names |= {"file": sample.file} if sample.file else {}
        names |= {"size_px": sample.size_px} if sample.size_px else {}
        lines.append(
            json.dumps(
                {**names, "present": head[3:5], "presence": head[5:7], "fields": fields, "points": points},
                ensure_ascii=False,
            )
        )
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode())


def read_jsonl(path: Path, notice: Notice = to_stderr) -> list[HandsSample]:
    """Samples of a JSON lines file, of `live`'s with a rig those in 3D.

    A last line that was cut short, as a killed run leaves it, is left out, told.
    """
    whole, _, rest = path.read_bytes().rpartition(b"\n")
    try:
        lines = whole.decode().split("\n") if whole else []
    except UnicodeDecodeError:
        raise InvalidInput(f"'{path}' is not a text file.") from None
    if lines and rest and not _is_json(rest):
        notice(f"{path} was cut off in line {len(lines) + 1}, which is left out.")
    elif rest:
        lines.append(rest.decode(errors="replace"))
    if not lines:
        raise InvalidInput(f"'{path}' is empty: there are no hands in it.")
    samples = [_of_line(line, number, path) for number, line in enumerate(lines, start=1)]
    in_3d = [sample for sample in samples if isinstance(sample.hands, Hands3D)]
    return in_3d if 0 < len(in_3d) < len(samples) else samples


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _of_line(line: str, number: int, path: Path) -> HandsSample:
    try:
        row = json.loads(line)
        if "fields" not in row:
            return _of_live(row)
        values = np.array(row["points"], np.float64)
        if values.shape not in ((N_POINTS, len(FIELDS_2D)), (N_POINTS, len(FIELDS_3D))):
            raise ValueError(values.shape)
        hands = hands_from(values, row["present"], row["presence"])
        return HandsSample(int(row["frame"]), int(row["t_ns"]), hands, str(row["camera"]), *_named_in(row))
    except _BAD:
        raise InvalidInput(f"'{path}', line {number}: not a line that rt_hands wrote.") from None


def _named_in(row: dict[str, Any]) -> tuple[str, tuple[int, int] | None]:
    width, height = row.get("size_px", (None, None))
    return _named(row.get("file", ""), width, height)


def _of_live(row: dict[str, Any]) -> HandsSample:
    """A line of `consumers.JsonLines`: null for an absent point, and no presence."""
    three_d = "points_world_mm" in row
    absent = [np.nan] * 3 + [0, np.nan, 0] if three_d else [np.nan, np.nan, 0]
    points = [point or absent for point in row["points_world_mm" if three_d else "points"]]
    values = np.array(points, np.float64).reshape(N_POINTS, len(absent))
    hands = hands_from(values, row["present"], [float(there) for there in row["present"]])
    camera = str(row.get("camera", ""))
    return HandsSample(int(row["index"]), int(row["t_ns"]), hands, camera, *_named_in(row))
