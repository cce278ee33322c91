"""RTC at run time: 21 joints in 3D -> 64 points on the skin, for all hands in one call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands import _core
from rt_hands.errors import InvalidInput
from rt_hands.inference.onnx_weights import read_onnx
from rt_hands.inference.onnxruntime_engine import load_session
from rt_hands.layout import N_SURFACE
from rt_hands.lifting.canonical import canonicalise
from rt_hands.paths import weights_dir

MIN_VALID_JOINTS: Final = 12
"""Fewer joints than this and the hand is absent: more would be invented than seen."""

Surface = Callable[
    [NDArray[np.floating], NDArray[np.integer]], tuple[NDArray[np.float64], NDArray[np.float32]]
]
"""Whatever does an `Rtc`'s work: joints (N, 21, 3) mm, side (N,) -> surface (N, 64, 3) mm, confidence (N, 64)."""

_NAMES: Final = {"default": "rtc"}
_PREFIX: Final = "net."


def model_path(model: str) -> Path:
    """The ONNX file of a model: `default`, a packaged name (`rtc1`, `rtc2`) or a path to a file."""
    path = Path(model) if model.endswith(".onnx") else weights_dir() / f"{_NAMES.get(model, model)}.onnx"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in weights_dir().glob("rtc*.onnx"))) or "none"
        raise InvalidInput(f"No RTC model '{model}'. Packaged: {known}. Or give the path of an .onnx file.")
    return path


class Rtc:
    """A loaded RTC network. One instance per thread; calls take any number of hands, right and left together.

    The default network, on bone frames, runs in the C++ core: between frames of a network that empties the caches it
    takes a third of onnxruntime's time. Others run in onnxruntime.
    model: `default`, `rtc1`, `rtc2`, or a path. threads: of onnxruntime; one is best for a single pair of hands.
    """

    def __init__(self, model: str = "default", threads: int = 1) -> None:
        self.path = model_path(model)
        file = read_onnx(self.path)
        self.normalised = file.metadata.get("normalise", "1") == "1"
        self._network = _on_bone_frames(file.arrays) or _in_onnxruntime(self.path, threads)

    def __call__(
        self, joints_mm: NDArray[np.floating], side: NDArray[np.integer]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """Surface points of each hand.

        joints_mm: (N, 21, 3) mm in any frame, NaN where a joint is missing. side: (N,) 0 right, 1 left.
        Gives surface_mm (N, 64, 3) float64 in the same frame and confidence (N, 64) float32, the probability that
        the point is seen. Absent hands (under 12 joints or 3 palm joints, or of no size) are NaN with 0.
        Raises InvalidInput for wrong shapes and for joints in metres.
        """
        side = np.asarray(side)
        joints, valid, frame = canonicalise(np.asarray(joints_mm), side, self.normalised)
        present = frame.present & (valid.sum(1) >= MIN_VALID_JOINTS)
        surface_mm = np.full((len(joints), N_SURFACE, 3), np.nan)
        confidence = np.zeros((len(joints), N_SURFACE), np.float32)
        if present.any():
            surface, seen = self._network(joints, valid)
            surface_mm[present] = frame.to_world(surface)[present]
            confidence[present] = seen[present]
        return surface_mm, confidence


_Network = Callable[
    [NDArray[np.float32], NDArray[np.float32]], tuple[NDArray[np.float32], NDArray[np.float32]]
]
"""Canonical joints (N, 21, 3) and which are there (N, 21) -> surface (N, 64, 3), confidence (N, 64)."""


def _on_bone_frames(arrays: Mapping[str, NDArray[np.float32]]) -> _Network | None:
    """The core's own code for a network of the default's kind; None for another kind."""
    if f"{_PREFIX}ring_offset" not in arrays:
        return None
    own = {name.removeprefix(_PREFIX): array for name, array in arrays.items() if name.startswith(_PREFIX)}
    return _core.RtcBones(
        {
            name: np.ascontiguousarray(array.T) if name.endswith(".weight") else array
            for name, array in own.items()
        }
    )


def _in_onnxruntime(path: Path, threads: int) -> _Network:
    session = load_session(path, threads)
    names = {each.name for each in (*session.get_inputs(), *session.get_outputs())}
    if not names >= (wanted := {"joints", "valid", "surface", "confidence"}):
        raise InvalidInput(
            f"{path} is no RTC network: it has {', '.join(sorted(names))}; an RTC has {', '.join(sorted(wanted))}."
        )

    def run(
        joints: NDArray[np.float32], valid: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        surface, confidence = session.run(["surface", "confidence"], {"joints": joints, "valid": valid})
        return surface, confidence

    return run
