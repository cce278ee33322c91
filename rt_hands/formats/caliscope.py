"""Caliscope's camera_array.toml: metres, [cameras.<number>], rotation 3x3 (older) or Rodrigues (newer).

A value that Caliscope doesn't know is a missing key or the string "null". Camera N is called cam_N, as its
videos are; files written here also hold the camera's `name`.
"""

from __future__ import annotations

import re
from typing import Any

import tomli_w

from rt_hands.camera import Camera, Rig
from rt_hands.errors import InvalidInput
from rt_hands.formats import fields
from rt_hands.formats.document import Document
from rt_hands.formats.options import ReadOptions
from rt_hands.paths import natural_key


def _tables(document: Document) -> dict[str, dict[str, Any]]:
    cameras = document.table("cameras")
    return {k: cameras[k] for k in sorted(cameras, key=natural_key) if isinstance(cameras[k], dict)}


def recognise(document: Document) -> bool:
    """A [cameras.<id>] table with `matrix` or `cam_id`, without this package's schema_version."""
    tables = _tables(document).values()
    return (
        document.kind == "toml"
        and "schema_version" not in document.data
        and any("matrix" in t or "cam_id" in t for t in tables)
    )


def read(document: Document, options: ReadOptions) -> Rig:
    """The rig; cameras marked `ignore` are left out, as Caliscope does. Raises for one without a pose."""
    cameras = []
    for key, table in _tables(document).items():
        name = str(table.get("name", f"cam_{key}"))
        if table.get("ignore") is True:
            continue
        fields.refuse_fisheye(name, table)
        for field in ("matrix", "rotation", "translation"):
            if fields.absent(table.get(field)):
                raise InvalidInput(
                    f"Camera '{name}' has no {field}: Caliscope has not calibrated it. Finish the calibration there, "
                    "or mark the camera `ignore = true`."
                )
        t_mm = fields.mm_per(options.unit) * fields.array(name, "translation", table["translation"], (3,))
        cameras.append(
            Camera(
                name,
                fields.size(name, table.get("size"), options.size_px),
                fields.array(name, "matrix", table["matrix"], (3, 3)),
                fields.distortion(name, table.get("distortions")),
                fields.pose(fields.rotation(name, table["rotation"]), t_mm),
            )
        )
    return Rig(tuple(cameras))


def _numbers(rig: Rig) -> list[int]:
    """Caliscope's whole-number ids: the digits that end the names where they differ, else 0, 1, 2 ..."""
    found = [re.search(r"([0-9]{1,6})$", name) for name in rig.ids]
    numbers = [int(m.group(1)) for m in found if m]
    return numbers if len(set(numbers)) == len(rig) else list(range(len(rig)))


def write(rig: Rig) -> bytes:
    """camera_array.toml in metres, Rodrigues rotations."""
    tables = {
        str(number): {
            "cam_id": number,
            "name": c.id,
            "size": list(c.size_px),
            "rotation_count": 0,
            "ignore": False,
            "matrix": c.K.tolist(),
            "distortions": c.distortion.tolist(),
            "rotation": fields.rodrigues(c),
            "translation": (c.translation_mm / 1000).tolist(),
            "fisheye": False,
        }
        for number, c in zip(_numbers(rig), rig, strict=True)
    }
    return tomli_w.dumps({"cameras": tables}).encode()
