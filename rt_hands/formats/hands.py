"""Export and reload sequences of hands: CSV, Parquet, JSON lines, COCO keypoints, C3D.

Tables are wide: a row a sample, columns frame, t_ns, camera, right_present, left_present, right_presence,
left_presence, then for each point its values, e.g. right_wrist_x_px, right_wrist_y_px, right_wrist_score (2D) or
right_wrist_x_mm, _y_mm, _z_mm, _score, _residual_px, _views (3D). Absent is an empty cell (NaN) with score 0.
Where pictures have names of their own, columns file, width_px, height_px come before the points.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rt_hands.errors import InvalidInput
from rt_hands.layout import HANDS, N_HANDS, N_POINTS, POINT_NAMES
from rt_hands.types import Hands2D, Hands3D

Hands = Hands2D | Hands3D
FIELDS_2D = ("x_px", "y_px", "score")
FIELDS_3D = ("x_mm", "y_mm", "z_mm", "score", "residual_px", "views")
HEAD = ("frame", "t_ns", "camera", *(f"{h}_present" for h in HANDS), *(f"{h}_presence" for h in HANDS))
PICTURE = ("file", "width_px", "height_px")


@dataclass(frozen=True)
class HandsSample:
    """Hands of one moment: frame index, t_ns, and for 2D the camera's id (3D: "").

    file: the name of a picture that is a file of its own. size_px: its (width, height), where known.
    """

    frame: int
    t_ns: int
    hands: Hands
    camera: str = ""
    file: str = ""
    size_px: tuple[int, int] | None = None


def is_3d(samples: Sequence[HandsSample]) -> bool:
    """Whether the samples are 3D; raises InvalidInput when there are none or both kinds are mixed."""
    kinds = {isinstance(s.hands, Hands3D) for s in samples}
    if len(kinds) != 1:
        raise InvalidInput(
            "There are no hands to export." if not kinds else "2D and 3D hands can't go into one file."
        )
    return kinds.pop()


def point_values(hands: Hands) -> np.ndarray:
    """(170, 3) float64 x_px, y_px, score, or (170, 6) x_mm, y_mm, z_mm, score, residual_px, views."""
    if isinstance(hands, Hands2D):
        return hands.points_px.astype(np.float64)
    columns = (hands.points_world_mm, hands.score[:, None], hands.residual_px[:, None], hands.views[:, None])
    return np.hstack([c.astype(np.float64) for c in columns])


def presence(hands: Hands) -> np.ndarray:
    """(2,) float32 probability; 3D hands have none and get 0."""
    return hands.presence if isinstance(hands, Hands2D) else np.zeros(N_HANDS, np.float32)


def hands_from(values: np.ndarray, present: Sequence[bool], presence: Sequence[float]) -> Hands:
    """The inverse of `point_values`."""
    seen = np.array(present, bool)
    if values.shape == (N_POINTS, len(FIELDS_2D)):
        return Hands2D(values.astype(np.float32), seen, np.array(presence, np.float32))
    mm, rest = values[:, :3], values[:, 3:]
    score, residual = rest[:, 0].astype(np.float32), rest[:, 1].astype(np.float32)
    return Hands3D(mm.copy(), score, residual, rest[:, 2].astype(np.int32), seen)


def columns(three_d: bool) -> list[str]:
    """Names of the per-point columns, in order."""
    return [f"{p}_{f}" for p in POINT_NAMES for f in (FIELDS_3D if three_d else FIELDS_2D)]


def export_hands(
    path: str | Path, samples: Iterable[HandsSample], *, size_px: tuple[int, int] | None = None
) -> None:
    """Write hands in the format that the file's ending names, atomically.

    .csv, .parquet, .jsonl: 2D or 3D, everything kept. .json: COCO keypoints, 2D; size_px: of pictures whose sample
    has none.
    .c3d: 3D in mm, on an even time grid. Raises InvalidInput, or MissingPart with the pip line that mends it.
    """
    from rt_hands.formats import c3d, coco, tables

    path, listed = Path(path), list(samples)
    for sample in listed:
        if not isinstance(sample, HandsSample) or not isinstance(sample.hands, Hands2D | Hands3D):
            raise InvalidInput(
                f"export_hands got a {type(sample).__name__}; give HandsSample(frame, t_ns, hands, camera), its hands "
                "Hands2D or Hands3D."
            )
    three_d = is_3d(listed)
    writers = {
        ".csv": tables.write_csv,
        ".parquet": tables.write_parquet,
        ".jsonl": tables.write_jsonl,
        ".json": lambda p, s: coco.write(p, s, size_px),
        ".c3d": c3d.write,
    }
    only = {".json": (False, "COCO holds 2D hands"), ".c3d": (True, "C3D holds 3D hands")}
    ending = path.suffix.lower()
    if ending not in writers:
        raise InvalidInput(f"Can't export to '{path.name}'. Known endings: {', '.join(writers)}.")
    if ending in only and only[ending][0] != three_d:
        raise InvalidInput(f"{only[ending][1]}; these are {'3D' if three_d else '2D'}. Use .csv or .parquet.")
    writers[ending](path, listed)


def load_hands(path: str | Path) -> list[HandsSample]:
    """Read what `export_hands` wrote as .csv, .parquet or .jsonl. Raises InvalidInput."""
    from rt_hands.formats import tables

    path = Path(path)
    readers = {".csv": tables.read_csv, ".parquet": tables.read_parquet, ".jsonl": tables.read_jsonl}
    if path.suffix.lower() not in readers:
        raise InvalidInput(f"Can't read hands from '{path.name}'. Known endings: {', '.join(readers)}.")
    if not path.is_file():
        raise InvalidInput(f"There is no file '{path}'.")
    return readers[path.suffix.lower()](path)
