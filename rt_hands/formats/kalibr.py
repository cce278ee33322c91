"""Kalibr's camchain.yaml: metres, a chain T_cn_cnm1 from each camera to the next, cam0 the world.

radtan holds k1, k2, p1, p2 in this order. Writing keeps all relative poses; the world becomes cam0's frame,
because the format has no other.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import yaml

from rt_hands.camera import Camera, Rig
from rt_hands.errors import InvalidInput
from rt_hands.formats import fields
from rt_hands.formats.document import Document
from rt_hands.formats.options import ReadOptions
from rt_hands.paths import natural_key


def _tables(document: Document) -> dict[str, Any]:
    names = [k for k in document.data if re.fullmatch(r"cam[0-9]{1,6}", k)]
    return {k: document.data[k] for k in sorted(names, key=natural_key)}


def recognise(document: Document) -> bool:
    """cam0, cam1 ... with `intrinsics`."""
    tables = _tables(document).values()
    return document.kind == "yaml" and any(isinstance(t, dict) and "intrinsics" in t for t in tables)


def _lens(key: str, table: dict[str, Any]) -> tuple[fields.Array, fields.Array]:
    """K (3, 3) and distortion (5,)."""
    if table.get("camera_model", "pinhole") != "pinhole":
        raise InvalidInput(
            f"Camera '{key}': Kalibr's model '{table['camera_model']}' is not supported; pinhole is."
        )
    model = table.get("distortion_model", "none")
    if model not in ("radtan", "none"):
        raise InvalidInput(
            f"Camera '{key}': Kalibr's distortion '{model}' is not supported; radtan and none are."
        )
    if "intrinsics" not in table:
        raise InvalidInput(f"Camera '{key}': intrinsics is missing.")
    fx, fy, cx, cy = fields.array(key, "intrinsics", table["intrinsics"], (4,))
    terms = fields.distortion(key, table.get("distortion_coeffs") if model == "radtan" else None)
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), terms


def read(document: Document, options: ReadOptions) -> Rig:
    """The rig in cam0's frame."""
    scale = fields.mm_per(options.unit)
    cameras, pose = [], np.eye(4)
    for number, (key, table) in enumerate(_tables(document).items()):
        if not isinstance(table, dict):
            raise InvalidInput(f"Camera '{key}' is not a table.")
        if number > 0:
            if "T_cn_cnm1" not in table:
                raise InvalidInput(f"Camera '{key}': T_cn_cnm1, its place in the chain, is missing.")
            step = fields.array(key, "T_cn_cnm1", table["T_cn_cnm1"], (4, 4), (3, 4))
            pose = fields.pose(fields.rotation(key, step[:3, :3]), scale * step[:3, 3]) @ pose
        k, terms = _lens(key, table)
        size = fields.size(key, table.get("resolution"), options.size_px)
        cameras.append(Camera(str(table.get("name", key)), size, k, terms, pose))
    return Rig(tuple(cameras))


def write(rig: Rig) -> bytes:
    """camchain.yaml in metres. Raises where k3 or skew would be lost."""
    chain: dict[str, Any] = {}
    before = rig.cameras[0]
    for i, camera in enumerate(rig):
        fields.refuse_distortion(camera, 4, "Kalibr")
        fields.refuse_skew(camera, "Kalibr")
        k = camera.K
        table: dict[str, Any] = {}
        if i > 0:
            step = camera.cam_from_world @ np.linalg.inv(before.cam_from_world)
            step[:3, 3] /= 1000
            table["T_cn_cnm1"] = step.tolist()
        table |= {
            "camera_model": "pinhole",
            "intrinsics": [float(v) for v in (k[0, 0], k[1, 1], k[0, 2], k[1, 2])],
            "distortion_model": "radtan",
            "distortion_coeffs": camera.distortion[:4].tolist(),
            "resolution": list(camera.size_px),
            "rostopic": f"/cam{i}/image_raw",
            "name": camera.id,
        }
        chain[f"cam{i}"] = table
        before = camera
    return str(yaml.safe_dump(chain, sort_keys=False, allow_unicode=True, default_flow_style=None)).encode()
