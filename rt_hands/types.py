"""Value types that cross module borders: frozen, with shapes and units in their docstrings."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput
from rt_hands.layout import N_HAND, N_HANDS, N_POINTS, hand_slice

Image = NDArray[np.uint8]


def _check(name: str, array: NDArray[np.generic], shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray):
        raise InvalidInput(f"{name} is {type(array).__name__}; wanted a NumPy array {shape}.")
    if array.shape != shape:
        raise InvalidInput(f"{name} has shape {array.shape}; wanted {shape}.")


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of one camera.

    image_bgr: (h, w, 3) uint8. camera: its id. index: count of frames grabbed from it so far, from 0.
    t_ns: `time.perf_counter_ns()` at grab, before decoding; for files the stream's own time; never re-made later.
    file: the name of a picture that is a file of its own.
    """

    image_bgr: Image
    camera: str
    index: int
    t_ns: int
    file: str = ""

    def __post_init__(self) -> None:
        image = self.image_bgr
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise InvalidInput(
                f"Frame {self.index} of camera '{self.camera}' is {image.dtype} {image.shape}; wanted uint8 (h, w, 3)."
            )

    def __repr__(self) -> str:
        width, height = self.size_px
        file = f" {self.file!r}" if self.file else ""
        return f"Frame({self.camera!r} {self.index}, {width}x{height}, t_ns={self.t_ns}{file})"

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height)."""
        return self.image_bgr.shape[1], self.image_bgr.shape[0]


@dataclass(frozen=True, slots=True)
class FrameSet:
    """Pictures that belong to one moment: at most one of each camera. index counts the sets, from 0."""

    frames: tuple[Frame, ...]
    index: int

    def __post_init__(self) -> None:
        ids = self.cameras
        if not ids or len(set(ids)) != len(ids):
            raise InvalidInput(f"A FrameSet holds one or more frames of different cameras; got {list(ids)}.")

    @property
    def cameras(self) -> tuple[str, ...]:
        """Ids of the cameras present, in order."""
        return tuple(f.camera for f in self.frames)

    @property
    def t_ns(self) -> int:
        """Time of the set: the earliest grab in it."""
        return min(f.t_ns for f in self.frames)

    @property
    def spread_ns(self) -> int:
        """Latest minus earliest grab in the set."""
        return max(f.t_ns for f in self.frames) - self.t_ns

    def get(self, camera: str) -> Frame | None:
        """The frame of a camera, or None where that view is absent."""
        return next((f for f in self.frames if f.camera == camera), None)


def _same(one: Hands2D | Hands3D, other: object) -> bool:
    """Whether all arrays are equal; NaN, of absent points, is equal to NaN."""
    if type(one) is not type(other):
        return False
    names = (each.name for each in fields(one))
    return all(np.array_equal(getattr(one, n), getattr(other, n), equal_nan=n != "present") for n in names)


_ABSENT = np.tile(np.array([np.nan, np.nan, 0], np.float32), (N_POINTS, 1))


def _no_scores() -> NDArray[np.float32]:
    return np.zeros(N_HANDS, np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Hands2D:
    """Both hands in one picture.

    points_px: (170, 3) float32: x_px, y_px, score; NaN, NaN, 0 where absent. present: (2,) bool, right then left.
    presence: (2,) float32, the probability behind `present` (0 where not estimated).
    """

    points_px: NDArray[np.float32]
    present: NDArray[np.bool_]
    presence: NDArray[np.float32] = field(default_factory=_no_scores)

    def __post_init__(self) -> None:
        _check("Hands2D.points_px", self.points_px, (N_POINTS, 3))
        _check("Hands2D.present", self.present, (N_HANDS,))
        _check("Hands2D.presence", self.presence, (N_HANDS,))

    @staticmethod
    def empty() -> Hands2D:
        """No hand seen."""
        return Hands2D(_ABSENT.copy(), np.zeros(N_HANDS, bool))

    def __eq__(self, other: object) -> bool:
        return _same(self, other)

    def hand(self, hand: int) -> NDArray[np.float32]:
        """(85, 3) float32 view of hand 0 (right) or 1 (left)."""
        return self.points_px[hand_slice(hand)]


@dataclass(frozen=True, slots=True, eq=False)
class Hands3D:
    """Both hands in the world.

    points_world_mm: (170, 3) float64, NaN where absent. score: (170,) float32 in 0..1, 0 where absent.
    residual_px: (170,) float32, root mean square reprojection error over the views used, NaN where not triangulated;
    in the pixels of the rig's largest pictures.
    views: (170,) int32, the number of views used. present: (2,) bool, right then left.
    """

    points_world_mm: NDArray[np.float64]
    score: NDArray[np.float32]
    residual_px: NDArray[np.float32]
    views: NDArray[np.int32]
    present: NDArray[np.bool_]

    def __post_init__(self) -> None:
        _check("Hands3D.points_world_mm", self.points_world_mm, (N_POINTS, 3))
        for name in ("score", "residual_px", "views"):
            _check(f"Hands3D.{name}", getattr(self, name), (N_POINTS,))
        _check("Hands3D.present", self.present, (N_HANDS,))

    @staticmethod
    def empty() -> Hands3D:
        """No hand found."""
        nan = np.full((N_POINTS, 3), np.nan)
        zero = np.zeros(N_POINTS, np.float32)
        residual = np.full(N_POINTS, np.nan, np.float32)
        return Hands3D(nan, zero, residual, np.zeros(N_POINTS, np.int32), np.zeros(N_HANDS, bool))

    def __eq__(self, other: object) -> bool:
        return _same(self, other)

    def hand_mm(self, hand: int) -> NDArray[np.float64]:
        """(85, 3) view of hand 0 (right) or 1 (left), mm."""
        return self.points_world_mm[hand_slice(hand)]


__all__ = ["N_HAND", "Frame", "FrameSet", "Hands2D", "Hands3D", "Image"]
