"""3D hands as C3D, the file of biomechanics, through ezc3d (optional): 170 labelled points in mm."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rt_hands.errors import InvalidInput, MissingPart
from rt_hands.formats.hands import HandsSample
from rt_hands.layout import N_POINTS, POINT_NAMES
from rt_hands.paths import write_atomically
from rt_hands.types import Hands3D

_FRAMES_MAX = 65_535  # the header's frame counter is 16 bits


def even_grid(t_ns: np.ndarray) -> tuple[float, np.ndarray]:
    """rate_hz and the slot of each sample on an even grid; slots without a sample are lost frames.

    C3D knows one constant rate. Raises InvalidInput where the times don't rise, two samples fall into one slot, or one
    lies more than half a period from its slot, as where the rate changes.
    """
    if len(t_ns) < 2:
        return 30.0, np.zeros(len(t_ns), int)
    steps = np.diff(t_ns)
    if (steps <= 0).any():
        raise InvalidInput("C3D wants rising times; two samples have the same or falling t_ns.")
    # Gap by gap first: the median period is a little off, and over a long take that adds up to whole frames.
    gaps = np.round(steps / np.median(steps)).astype(int)
    slots = np.concatenate([[0], np.cumsum(gaps)])
    period = float((t_ns[-1] - t_ns[0]) / max(slots[-1], 1))
    if (gaps < 1).any() or (np.abs(slots * period - (t_ns - t_ns[0])) > period / 2).any():
        raise InvalidInput("The times are too uneven for C3D's constant rate. Export CSV or Parquet instead.")
    return 1e9 / period, slots


def write(path: Path, samples: Sequence[HandsSample]) -> None:
    """C3D at the samples' mean rate; absent points and lost frames are invalid points (residual -1)."""
    try:
        import ezc3d
    except ImportError:
        raise MissingPart("C3D needs ezc3d: pip install 'rt_hands[export]'. CSV needs nothing.") from None
    rate_hz, slots = even_grid(np.array([s.t_ns for s in samples], np.int64))
    if slots[-1] >= _FRAMES_MAX:
        raise InvalidInput(f"C3D holds up to {_FRAMES_MAX} frames; this take has {slots[-1] + 1}. Split it.")
    points = np.full((4, N_POINTS, slots[-1] + 1), np.nan)
    points[3] = 1
    for slot, sample in zip(slots, samples, strict=True):
        if isinstance(sample.hands, Hands3D):
            points[:3, :, slot] = sample.hands.points_world_mm.T
    file = ezc3d.c3d()
    file["parameters"]["POINT"]["RATE"]["value"] = [rate_hz]
    file["parameters"]["POINT"]["UNITS"]["value"] = ["mm"]
    file["parameters"]["POINT"]["LABELS"]["value"] = list(POINT_NAMES)
    file["data"]["points"] = points
    residuals = np.where(np.isnan(points[:1]).any(0), -1.0, 0.0)
    file["data"]["meta_points"]["residuals"] = residuals[None]
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "hands.c3d"
        file.write(str(whole))
        write_atomically(path, whole.read_bytes())
