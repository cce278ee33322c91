"""Agreement with the teacher on real pictures: joints, missed and invented hands, sides.

A teacher's hand is matched to the predicted hand whose joints lie nearest on average, whatever its side; beyond half
a box it counts as missed. PCK counts every joint of a missed hand as wrong. Box: the longer side of the box round the
teacher's 21 joints; PCK@t: distance / box < t.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput
from rt_hands.evaluation.labels import is_trusted, read_labels, real_folder, usual_bone_lengths
from rt_hands.layout import HANDS, N_HANDS, N_JOINTS
from rt_hands.types import Hands2D, Image

Predict = Callable[[Image], Hands2D]
MATCH = 0.5  # boxes: farther off on average and it is another hand, or none
THRESHOLDS = (0.05, 0.1, 0.2)


@dataclass(frozen=True, slots=True)
class HandResult:
    """One hand of the teacher: distances of its joints in boxes (21,), inf where missed; whether the side is wrong."""

    distances: NDArray[np.float64]
    missed: bool
    side_wrong: bool


@dataclass(frozen=True, slots=True)
class PictureResult:
    """One picture: its teacher's hands, predicted hands without a partner, and the prediction."""

    file: str
    hands: tuple[HandResult, ...]
    extra: int
    predicted: Hands2D

    @property
    def worst(self) -> float:
        """Mean joint distance of the worst hand in boxes, at most 1; for sorting."""
        return max(float(np.minimum(h.distances, 1).mean()) for h in self.hands)


def load_image(path: Path) -> Image:
    """A picture as (h, w, 3) uint8 BGR."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise InvalidInput(f"{path} is not a picture that OpenCV can read.")
    return np.asarray(image, np.uint8)


def trusted_labels(split: Literal["train", "val"]) -> list[dict[str, Any]]:
    """Labels of a split whose hands are all to be believed, see `labels.is_trusted`."""
    labels = read_labels(split)
    usual = usual_bone_lengths(labels)
    return [label for label in labels if is_trusted(label, usual)]


def _distances(predicted: Hands2D, hand: int, joints: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances (21,) of a predicted hand's joints to a teacher's, in boxes; inf where the hand is absent."""
    box = float(np.ptp(joints, axis=0).max())
    away = np.linalg.norm(predicted.hand(hand)[:N_JOINTS, :2] - joints, axis=1) / box
    return np.where(np.isfinite(away), away, np.inf)


def compare(file: str, hands: list[dict[str, Any]], predicted: Hands2D) -> PictureResult:
    """Match a prediction to a label's hands: the assignment with the most hands found, then the least distance."""
    truth = [np.array(h["joints_px"], float)[:, :2] for h in hands]
    away = np.array([[_distances(predicted, p, joints) for p in range(N_HANDS)] for joints in truth])
    mean = away.mean(-1)
    best = min(permutations(range(N_HANDS), len(hands)), key=lambda a: _cost(mean, a))
    results, used = [], set()
    for i, p in enumerate(best):
        missed = not mean[i, p] < MATCH
        used |= set() if missed else {p}
        distances = np.full(N_JOINTS, np.inf) if missed else away[i, p]
        results.append(HandResult(distances, missed, not missed and HANDS.index(hands[i]["side"]) != p))
    extra = sum(bool(predicted.present[p]) and p not in used for p in range(N_HANDS))
    return PictureResult(file, tuple(results), extra, predicted)


def _cost(mean: NDArray[np.float64], assignment: tuple[int, ...]) -> float:
    return float(
        sum(min(mean[i, p], 10.0) if mean[i, p] < MATCH else 100.0 for i, p in enumerate(assignment))
    )


def evaluate(labels: Iterable[dict[str, Any]], predict: Predict) -> list[PictureResult]:
    """Predict and compare every labelled picture."""
    folder = real_folder()
    return [compare(d["file"], d["hands"], predict(load_image(folder / d["file"]))) for d in labels]


def figures(results: list[PictureResult]) -> dict[str, float]:
    """Shares over all hands (missed, PCK, two-hand sides) and pictures (extra, single-hand sides)."""
    hands = [h for r in results for h in r.hands]
    distances = np.array([h.distances for h in hands])
    single = [r.hands[0] for r in results if len(r.hands) == 1 and not r.hands[0].missed]
    pairs = [h for r in results if len(r.hands) == 2 for h in r.hands if not h.missed]
    found = np.array([not h.missed for h in hands])
    shares = {f"pck{round(100 * t):02d}": float((distances < t).mean()) for t in THRESHOLDS}
    return {
        "pictures": len(results),
        "hands": len(hands),
        **shares,
        "pck10_found": float((distances[found] < 0.1).mean()) if found.any() else float("nan"),
        "missed": float(1 - found.mean()),
        "side_wrong": float(np.mean([h.side_wrong for h in single])) if single else float("nan"),
        "side_wrong_pairs": float(np.mean([h.side_wrong for h in pairs])) if pairs else float("nan"),
        "extra": float(np.mean([r.extra > 0 for r in results])),
    }


def by_set(results: list[PictureResult]) -> dict[str, list[PictureResult]]:
    """Results by the set (folder) of their picture."""
    sets: dict[str, list[PictureResult]] = {}
    for result in results:
        sets.setdefault(result.file.split("/")[0], []).append(result)
    return sets


def invented(predict: Predict) -> tuple[float, list[str]]:
    """Share of the backgrounds, which hold no hand, in which one is found; and their names."""
    paths = sorted((real_folder().parent / "backgrounds").glob("*.jpg"))
    if not paths:
        raise InvalidInput(
            "There are no backgrounds beside the real pictures; set RT_HANDS_DATA to the data folder."
        )
    wrong = [path.name for path in paths if predict(load_image(path)).present.any()]
    return len(wrong) / len(paths), wrong


__all__ = [
    "HandResult",
    "PictureResult",
    "Predict",
    "by_set",
    "compare",
    "evaluate",
    "figures",
    "invented",
    "load_image",
    "trusted_labels",
]
