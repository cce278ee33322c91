"""OpenCV's YAML: what cv2.FileStorage and OpenCV's calibration samples write.

Two layouts are read: a rig (`units`, and `cameras`, a list of tables with name, image_width, image_height,
camera_matrix, distortion_coefficients, R, T), which is also what is written; and one camera with the same keys
at the top level, as OpenCV's and ROS' calibrations leave it, which stands at the world's origin when it has no R
and T. `R` is a 3x3 matrix or a Rodrigues vector; x_cam = R x_world + T.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import cv2
import numpy as np

from rt_hands.camera import Camera, Rig
from rt_hands.errors import InvalidInput
from rt_hands.formats import fields
from rt_hands.formats.document import Document
from rt_hands.formats.options import ReadOptions

_STAND_IN: Final = "rt_hands_camera_"
_LENSES = ("plumb_bob", "rational_polynomial", "radtan")
"""ROS's names of OpenCV's pinhole model; its `equidistant` is a fisheye, whose four terms mean other things."""
_K = ("camera_matrix", "Camera_Matrix", "K")
_DISTORTION = ("distortion_coefficients", "Distortion_Coefficients", "dist_coeffs", "D")


def _first(table: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((table[k] for k in keys if k in table), None)


def _tables(document: Document) -> list[Any]:
    cameras = document.data.get("cameras")
    return cameras if isinstance(cameras, list) else [document.data]


def recognise(document: Document) -> bool:
    """YAML with a camera matrix at the top or in a list of cameras."""
    tables = _tables(document)
    return document.kind == "yaml" and any(isinstance(t, dict) and _first(t, _K) is not None for t in tables)


def stated_unit(document: Document) -> str | None:
    """The unit of `T`, where the file says it."""
    unit = document.data.get("units")
    return unit if isinstance(unit, str) else None


def _size(name: str, table: dict[str, Any], options: ReadOptions) -> tuple[int, int]:
    given = [table.get("image_width"), table.get("image_height")]
    return fields.size(name, None if None in given else given, options.size_px)


def read(document: Document, options: ReadOptions) -> Rig:
    """The rig, or one camera."""
    tables = _tables(document)
    cameras = []
    for i, table in enumerate(tables):
        if not isinstance(table, dict):
            raise InvalidInput(f"Camera {i} is not a table.")
        alone = document.path.stem if len(tables) == 1 else f"cam_{i}"
        name = str(table.get("name", table.get("camera_name", alone)))
        is_fisheye = str(table.get("fisheye_model", 0)) != "0"
        model = str(table.get("distortion_model", "fisheye" if is_fisheye else _LENSES[0]))
        if model not in _LENSES:
            raise InvalidInput(f"Camera '{name}': the lens model is {model}; known: {', '.join(_LENSES)}.")
        r, t, k = table.get("R"), table.get("T"), _first(table, _K)
        if (r is None or t is None) and (len(tables) > 1 or (r is None) != (t is None)):
            raise InvalidInput(f"Camera '{name}': R or T, its place in the rig, is missing.")
        if k is None:
            raise InvalidInput(f"Camera '{name}': camera_matrix is missing.")
        pose = np.eye(4)
        if r is not None:
            t_mm = fields.mm_per(options.unit) * fields.array(name, "T", t, (3,))
            pose = fields.pose(fields.rotation(name, r), t_mm)
        k = fields.array(name, "camera_matrix", k, (3, 3))
        lens = fields.distortion(name, _first(table, _DISTORTION))
        cameras.append(Camera(name, _size(name, table, options), k, lens, pose))
    return Rig(tuple(cameras))


def write(rig: Rig) -> bytes:
    """The rig as cv2.FileStorage writes it, in mm."""
    mode = cv2.FileStorage_WRITE | cv2.FileStorage_MEMORY | cv2.FileStorage_FORMAT_YAML
    storage = cv2.FileStorage("", mode)
    storage.write("units", "mm")
    storage.startWriteStruct("cameras", cv2.FileNode_SEQ)
    for i, camera in enumerate(rig):
        storage.startWriteStruct("", cv2.FileNode_MAP)
        storage.write("name", f"{_STAND_IN}{i}")
        storage.write("image_width", camera.size_px[0])
        storage.write("image_height", camera.size_px[1])
        storage.write("camera_matrix", camera.K.copy())
        storage.write("distortion_coefficients", camera.distortion.reshape(-1, 1).copy())
        storage.write("R", camera.rotation.copy())
        storage.write("T", camera.translation_mm.reshape(-1, 1).copy())
        storage.endWriteStruct()
    storage.endWriteStruct()
    # OpenCV leaves a lone quote and the like bare, which no YAML reader takes: names are quoted here.
    text = str(storage.releaseAndGetString())
    named = re.sub(
        f'"?{_STAND_IN}([0-9]+)"?', lambda m: json.dumps(rig.ids[int(m[1])], ensure_ascii=False), text
    )
    return named.encode()
