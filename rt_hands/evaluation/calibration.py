"""How good probabilities are: calibration error and area under the ROC curve."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
BINS = 15


def expected_calibration_error(probability: Floats, truth: Floats) -> float:
    """Mean gap between probability and frequency over equal-width bins, weighted by count (Guo et al. 2017).

    probability in 0..1 and truth 0 or 1, of one shape.
    """
    p, t = probability.ravel().astype(np.float64), truth.ravel().astype(np.float64)
    which = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    gap = np.bincount(which, p - t, BINS)
    return float(np.abs(gap).sum() / len(p))


def auc(score: Floats, truth: Floats) -> float:
    """Chance that a true item scores above a false one, ties half; NaN where all are of one kind."""
    s, t = score.ravel(), truth.ravel() > 0.5
    if t.all() or not t.any():
        return float("nan")
    _, group, count = np.unique(s, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[group]
    positives = int(t.sum())
    return float((rank[t].sum() - positives * (positives + 1) / 2) / (positives * (len(t) - positives)))
