"""Cameras whose stamps are late, each by its own latency: the offsets that put their clocks right.

A picture was taken at its stamp plus its camera's `clock_offset_ms`. Every source adds it to the times of the frames
that it gives, so that bundling, ages and tracking all go by when pictures were taken; recordings keep the stamps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from rt_hands.camera import Rig
from rt_hands.errors import InvalidInput

LARGEST_MS: Final = 10_000.0
"""Slow network cameras are a few seconds late; beyond this, cameras of one recording would not meet."""


def offsets_ns(offset_ms: Mapping[str, float], cameras: Sequence[str]) -> dict[str, int]:
    """Whole ns for each of the cameras, 0 where nothing is said; other cameras' offsets are left out.

    Raises InvalidInput for one that can't be.
    """
    for camera in cameras:
        _check(camera, offset_ms.get(camera, 0.0))
    return {camera: round(1e6 * offset_ms.get(camera, 0.0)) for camera in cameras}


def _check(camera: str, ms: float) -> None:
    if not abs(ms) <= LARGEST_MS:
        raise InvalidInput(
            f"The clock offset of {camera} is {ms:g} ms; give milliseconds, {LARGEST_MS:g} at most either way."
        )


def told_offsets(rig: Rig | None) -> dict[str, float]:
    """What a rig says of its cameras' clocks: {camera: ms}; nothing where all are 0, as in other programs' files."""
    offset_ms = rig.clock_offset_ms if rig is not None else {}
    return offset_ms if any(offset_ms.values()) else {}


def in_words(offset_ms: Mapping[str, float]) -> str:
    """Those that are not 0, as `read_offsets` takes them."""
    return ", ".join(f"{camera}={ms:g}" for camera, ms in offset_ms.items() if ms)


def kept_offsets(rig: Rig | None, given: Mapping[str, float], in_use: Mapping[str, float]) -> str:
    """A sentence for the user where a rig was given that says nothing of clocks, and the session's own offsets stay."""
    if rig is None or given or not in_words(in_use):
        return ""
    return (
        f"The rig says nothing of the cameras' clocks: the session's own offsets stay, {in_words(in_use)} ms."
    )


def read_offsets(words: Sequence[str]) -> dict[str, float]:
    """What a user typed, `ID=MS` a word, as {camera: ms}. Raises InvalidInput with an example."""
    found = {}
    for word in words:
        camera, _, number = word.rpartition("=")
        try:
            found[camera] = float(number)
        except ValueError:
            found[camera] = np.nan
        if not camera or not np.isfinite(found[camera]):
            raise InvalidInput(
                f"A clock offset is written CAMERA=MILLISECONDS, as in cam_1=-97; got '{word}'."
            )
        _check(camera, found[camera])
    return found
