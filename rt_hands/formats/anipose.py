"""aniposelib's calibration.toml and Pose2Sim's Calib.toml: one table a camera, Rodrigues rotation.

aniposelib takes the unit of the board it was calibrated with, by its habit mm, and does not write it down;
Pose2Sim writes metres and only four distortion terms. Sections come sorted as strings (cam_10 before cam_2),
so cameras are known by their `name` and put in natural order.
"""

from __future__ import annotations

from typing import Any

import tomli_w

from rt_hands.camera import Camera, Rig
from rt_hands.errors import InvalidInput
from rt_hands.formats import fields
from rt_hands.formats.document import Document
from rt_hands.formats.options import ReadOptions
from rt_hands.paths import natural_key

_NOT_CAMERAS = ("metadata", "capture_volume")


def _sections(document: Document) -> dict[str, dict[str, Any]]:
    found = {
        k: v
        for k, v in document.data.items()
        if k not in _NOT_CAMERAS and isinstance(v, dict) and "matrix" in v
    }
    return {k: found[k] for k in sorted(found, key=natural_key)}


def recognise(document: Document) -> bool:
    """Tables at the top level that hold `matrix` and `rotation`."""
    sections = _sections(document)
    return document.kind == "toml" and any("rotation" in s for s in sections.values())


def recognise_pose2sim(document: Document) -> bool:
    """As aniposelib's, every camera with a `fisheye` flag and exactly four distortion terms."""
    sections = _sections(document).values()
    return recognise(document) and all(
        "fisheye" in s and isinstance(s.get("distortions"), list) and len(s["distortions"]) == 4
        for s in sections
    )


def stated_unit(document: Document) -> str | None:
    """The unit this package writes into [metadata]; other writers leave it out."""
    unit = document.table("metadata").get("units")
    return unit if isinstance(unit, str) else None


def read(document: Document, options: ReadOptions) -> Rig:
    """The rig of an aniposelib or Pose2Sim file."""
    scale = fields.mm_per(options.unit)
    cameras = []
    for section, table in _sections(document).items():
        name = str(table.get("name", section))
        fields.refuse_fisheye(name, table)
        for key in ("rotation", "translation"):
            if fields.absent(table.get(key)):
                raise InvalidInput(f"Camera '{name}' has no {key}: its place in the rig is not calibrated.")
        pose = fields.pose(
            fields.rotation(name, table["rotation"]),
            scale * fields.array(name, "translation", table["translation"], (3,)),
        )
        k = fields.array(name, "matrix", table["matrix"], (3, 3))
        size = fields.size(name, table.get("size"), options.size_px)
        cameras.append(Camera(name, size, k, fields.distortion(name, table.get("distortions")), pose))
    return Rig(tuple(cameras))


def _tables(rig: Rig, mm_per_unit: float, terms: int) -> dict[str, Any]:
    return {
        f"cam_{i}": {
            "name": c.id,
            "size": list(c.size_px),
            "matrix": c.K.tolist(),
            "distortions": c.distortion[:terms].tolist(),
            "rotation": fields.rodrigues(c),
            "translation": (c.translation_mm / mm_per_unit).tolist(),
        }
        for i, c in enumerate(rig)
    }


def write(rig: Rig) -> bytes:
    """aniposelib's calibration.toml in mm; the unit is noted in [metadata], which aniposelib keeps and ignores."""
    tables = _tables(rig, 1.0, 5)
    return tomli_w.dumps({**tables, "metadata": {"adjusted": False, "error": 0.0, "units": "mm"}}).encode()


def write_pose2sim(rig: Rig) -> bytes:
    """Pose2Sim's Calib.toml in metres. Raises where a fifth distortion term would be lost."""
    for camera in rig:
        fields.refuse_distortion(camera, 4, "Pose2Sim")
    tables = {
        camera.id: {**table, "fisheye": False}
        for camera, table in zip(rig, _tables(rig, 1000.0, 4).values(), strict=True)
    }
    return tomli_w.dumps({**tables, "metadata": {"adjusted": False, "error": 0.0, "units": "m"}}).encode()
