"""Fields of calibration files -> arrays, with errors that name the camera and the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Camera
from rt_hands.errors import InvalidInput

MM_PER_UNIT = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
_WORDS = {"mm": "millimetre", "cm": "centimetre", "m": "metre"}
Array = NDArray[np.float64]


def short_unit(word: str) -> str | None:
    """mm, cm or m from how people and programs write them (Meters, millimetre, CM); None for another word."""
    plain = word.strip().casefold().removesuffix("s").replace("meter", "metre")
    return next((unit for unit, name in _WORDS.items() if plain in (unit, name)), None)


def mm_per(unit: str) -> float:
    """Millimetres per unit of length."""
    if unit not in MM_PER_UNIT:
        raise InvalidInput(f"Unknown unit '{unit}'. Known: {', '.join(MM_PER_UNIT)}.")
    return MM_PER_UNIT[unit]


def absent(value: object) -> bool:
    """True for a missing key, None, and the string "null" that some TOML writers leave for None."""
    return value is None or value == "null"


def array(camera: str, name: str, value: object, *shapes: tuple[int, ...]) -> Array:
    """A finite float64 array of one of the shapes; OpenCV's matrix tables {rows, cols, data} are unpacked."""
    if isinstance(value, Mapping) and "data" in value:
        value = value["data"]
    try:
        numbers = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"Camera '{camera}': {name} is not a table of numbers.") from None
    if not np.isfinite(numbers).all():
        raise InvalidInput(f"Camera '{camera}': {name} holds NaN or infinity.")
    for shape in shapes:
        # OpenCV and EasyMocap keep vectors as n x 1 or 1 x n matrices, and matrices as flat lists.
        if numbers.size == np.prod(shape):
            return numbers.reshape(shape)
    wanted = " or ".join(str(s) for s in shapes)
    raise InvalidInput(f"Camera '{camera}': {name} has shape {numbers.shape}; wanted {wanted}.")


def distortion(camera: str, value: object) -> Array:
    """Up to five OpenCV terms as (5,); absent means none."""
    if absent(value):
        return np.zeros(5)
    if isinstance(value, Mapping) and "data" in value:
        value = value["data"]
    try:
        terms = np.array(value, np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"Camera '{camera}': the distortion is not a list of numbers.") from None
    if terms.size > 5 and not terms[5:].any():
        terms = terms[:5]  # OpenCV pads to 8, 12 or 14 terms; zeros say nothing
    if terms.size > 5:
        raise InvalidInput(
            f"Camera '{camera}': the distortion has {terms.size} terms; rt_hands knows 5 (k1, k2, p1, p2, k3). "
            "Calibrate again without the rational, thin-prism and tilt models."
        )
    return np.pad(terms, (0, 5 - terms.size))


def rotation(camera: str, value: object) -> Array:
    """(3, 3) rotation from a 3x3 matrix or a Rodrigues vector, made exactly orthonormal.

    Files with few decimals miss orthonormality by rounding; up to 1 % is taken as that and mended.
    """
    given = array(camera, "rotation", value, (3, 3), (3,))
    matrix = cv2.Rodrigues(given)[0] if given.shape == (3,) else given
    if not np.isfinite(matrix).all():
        raise InvalidInput(f"Camera '{camera}': the rotation vector is out of range.")
    u, _, vt = np.linalg.svd(matrix)
    nearest = u @ vt
    if np.abs(nearest - matrix).max() > 0.01 or np.linalg.det(nearest) < 0:
        raise InvalidInput(
            f"Camera '{camera}': its rotation matrix is not a rotation "
            f"(determinant {np.linalg.det(matrix):.3f}). Mirrored axes? "
            "rt_hands wants OpenCV's x right, y down, z forward."
        )
    return np.asarray(nearest, np.float64)


def size(camera: str, value: object, fallback: tuple[int, int] | None) -> tuple[int, int]:
    """(width, height) px from the file, else the caller's; an error when neither says it."""
    if absent(value):
        if fallback is None:
            raise InvalidInput(
                f"Camera '{camera}': the file does not say the picture size. Pass it: size_px=(width, height), "
                "or --size-px WIDTH HEIGHT."
            )
        return fallback
    width, height = array(camera, "size", value, (2,))
    if not (
        width == round(width)
        and height == round(height)
        and 1 <= min(width, height) <= max(width, height) < 1e6
    ):
        raise InvalidInput(f"Camera '{camera}': a picture of {width:g} x {height:g} px can't be.")
    return int(width), int(height)


def pose(r: Array, t_mm: Array) -> Array:
    """(4, 4) cam_from_world from R (3, 3) and t (3,) mm."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = r, t_mm
    return matrix


def refuse_fisheye(camera: str, table: Mapping[str, Any]) -> None:
    """Raise when the file says that a camera is a fisheye."""
    if table.get("fisheye") in (True, "true", "True", "1"):
        raise InvalidInput(
            f"Camera '{camera}' is a fisheye, which rt_hands does not know. "
            "Undistort its pictures to a pinhole camera first."
        )


def rodrigues(camera: Camera) -> list[float]:
    """The camera's rotation as a Rodrigues vector."""
    return [float(x) for x in cv2.Rodrigues(camera.rotation)[0].ravel()]


def refuse_skew(camera: Camera, format: str) -> None:
    """Raise when a format has no place for the skew term of K."""
    if camera.K[0, 1] != 0:
        raise InvalidInput(
            f"Camera '{camera.id}' has skew {camera.K[0, 1]:g} px, which {format} files can't hold."
        )


def refuse_distortion(camera: Camera, terms: int, format: str) -> None:
    """Raise when distortion terms beyond the first `terms` would be lost."""
    if camera.distortion[terms:].any():
        raise InvalidInput(
            f"Camera '{camera.id}' has distortion {np.round(camera.distortion, 4).tolist()}, but {format} files hold "
            f"{terms or 'no'} terms. Calibrate without the others, undistort first, or choose another format."
        )
