"""EasyMocap's intri.yml and extri.yml: metres, one matrix a key (K_01, dist_01, Rot_01 or R_01, T_01), read only.

The picture size (H_01, W_01) is often missing: then the caller must give it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rt_hands.camera import Camera, Rig
from rt_hands.errors import InvalidInput
from rt_hands.formats import fields
from rt_hands.formats.document import Document, parse
from rt_hands.formats.options import ReadOptions

FILES = ("intri.yml", "extri.yml")


def recognise(document: Document) -> bool:
    """A list of `names`, and K_<name> or T_<name>."""
    names = document.data.get("names")
    if document.kind != "yaml" or not isinstance(names, list):
        return False
    return any(f"K_{n}" in document.data or f"T_{n}" in document.data for n in names)


def is_folder(path: Path) -> bool:
    """A folder that holds both files."""
    return all((path / name).is_file() for name in FILES)


def _merged(document: Document) -> dict[str, Any]:
    """Both files' keys; one may also hold everything."""
    merged: dict[str, Any] = {}
    for name in FILES:
        path = document.path.with_name(name)
        if path != document.path and path.is_file():
            merged |= parse(path).data
    return merged | document.data


def read(document: Document, options: ReadOptions) -> Rig:
    """The rig of the two files, whichever of them is named."""
    data = _merged(document)
    cameras = []
    for name in document.data.get("names", []):
        if not isinstance(name, str):
            raise InvalidInput("EasyMocap's `names` holds something that is not a name.")
        r = data.get(f"Rot_{name}", data.get(f"R_{name}"))
        k, t = data.get(f"K_{name}"), data.get(f"T_{name}")
        if k is None or r is None or t is None:
            raise InvalidInput(
                f"Camera '{name}': K, R or T is missing. EasyMocap keeps K in intri.yml and R, T in extri.yml: "
                "both must lie in one folder."
            )
        given = [data.get(f"W_{name}"), data.get(f"H_{name}")]
        size = fields.size(name, None if None in given else given, options.size_px)
        t_mm = fields.mm_per(options.unit) * fields.array(name, "T", t, (3,))
        k = fields.array(name, "K", k, (3, 3))
        lens = fields.distortion(name, data.get(f"dist_{name}", data.get(f"D_{name}")))
        cameras.append(Camera(name, size, k, lens, fields.pose(fields.rotation(name, r), t_mm)))
    return Rig(tuple(cameras))
