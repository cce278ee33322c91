"""The limit of RTC: errors of oracles that know every bone exactly but not the person's skin.

A hand's points are `[turn | centre] of the bones @ coefficients of the person` (`rt_hands.synth.hand`). The oracles
keep the true turns and centres and take the skin from the mean person, or from a regression on bone lengths.
A third knows the skin, but not how the wrist bends: the joints end at the wrist, the skin does not.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.layout import N_JOINTS
from rt_hands.synth import skeleton, subjects
from rt_hands.synth.library import Library, library
from rt_hands.synth.points import PointBatch, bone_lengths_for, mean_flesh_for, surface_for

Floats = NDArray[np.floating]
_RIDGE: Final = 1e-6  # against lengths that say the same; the error is flat below 1e-5
_CHUNK: Final = 2048


def skin_from_bone_lengths(hands: Library, people: NDArray[np.int64]) -> NDArray[np.float64]:
    """Coefficients (P, 84, 85) of people whose skin a linear regression on their 20 bone lengths predicts.

    Fitted on the training people. Shares of bones are the person's own: skin weights are common to all.
    """
    everyone, train = np.arange(subjects.N_SUBJECTS), np.array(subjects.ids("train"))
    lengths = bone_lengths_for(everyone).astype(np.float64)
    scaled = (lengths - lengths[train].mean(0)) / (lengths[train].std(0) + 1e-6)
    x = np.column_stack([scaled, np.ones(len(everyone))])
    own = hands.coefficients.astype(np.float64).reshape(len(everyone), -1, 4, hands.coefficients.shape[-1])
    places = own[:, :, :3].reshape(len(everyone), -1)
    gram = x[train].T @ x[train] + _RIDGE * len(train) * np.eye(x.shape[1])
    predicted = x[people] @ np.linalg.solve(gram, x[train].T @ places[train])
    out = own[people]
    out[:, :, :3] = predicted.reshape(len(people), *own[:, :, :3].shape[1:])
    return np.asarray(out.reshape(len(people), -1, own.shape[-1]))


def surface_with(
    hands: Library, batch: PointBatch, coefficients: Floats, people: NDArray[np.int64]
) -> Floats:
    """Surface points (N, 64, 3) mm of the batch's hands, hand frame, each wearing its person's row of coefficients."""
    at, out = np.searchsorted(people, batch.subject), []
    for i in range(0, len(at), _CHUNK):
        turns, centres = skeleton.forward(
            hands.skeletons.take(batch.subject[i : i + _CHUNK]), batch.angles[i : i + _CHUNK]
        )
        rows = np.concatenate([turns, centres[..., None]], axis=3).transpose(0, 2, 1, 3)
        points = rows.reshape(len(turns), 3, -1) @ coefficients[at[i : i + _CHUNK]][:, :, N_JOINTS:]
        out.append(points.transpose(0, 2, 1))
    return np.concatenate(out)


def surface_with_still_wrist(batch: PointBatch) -> Floats:
    """Surface points (N, 64, 3) mm of the true people with the wrist at its mean bend, which no hand joint shows."""
    angles = batch.angles.copy()
    wrist = [skeleton.DOF[name] for name in ("wrist_flexion", "wrist_deviation")]
    angles[:, wrist] = angles[:, wrist].mean(0)
    return surface_for(batch.subject, angles)


def floors(batch: PointBatch) -> list[tuple[str, str, float]]:
    """Key, title and mean distance in mm of each oracle on the hands of `batch`."""
    hands, people = library(), np.unique(batch.subject)
    true = surface_for(batch.subject, batch.angles)
    mean = mean_flesh_for(batch.subject, batch.angles)
    learnt = surface_with(hands, batch, skin_from_bone_lengths(hands, people), people)
    rows = (
        ("floor_mean_skin_mm", "the mean person, scaled to the hand's length", mean),
        ("floor_bone_length_skin_mm", "a linear regression on bone lengths", learnt),
        (
            "floor_unseen_wrist_mm",
            "the person, but the wrist's bend not known",
            surface_with_still_wrist(batch),
        ),
    )
    return [(key, title, float(np.linalg.norm(s - true, axis=-1).mean())) for key, title, s in rows]
