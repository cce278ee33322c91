"""InterHand2.6M's camera JSON: mm, {capture: {campos, camrot, focal, princpt: {camera: ...}}}.

x_cam = R (x_world - campos), so t = -R campos. No distortion and no picture size: the dataset's pictures are
512 x 334 or 334 x 512, told apart by the principal point; files written here add `imgsize`.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from rt_hands.camera import Camera, Rig
from rt_hands.errors import InvalidInput
from rt_hands.formats import fields
from rt_hands.formats.document import Document
from rt_hands.formats.options import ReadOptions
from rt_hands.paths import natural_key

_FIELDS = ("campos", "camrot", "focal", "princpt")
_SIZES_PX = ((512, 334), (334, 512))


def _captures(document: Document) -> dict[str, dict[str, Any]]:
    return {
        k: v
        for k, v in document.data.items()
        if isinstance(v, dict) and all(isinstance(v.get(f), dict) for f in _FIELDS)
    }


def recognise(document: Document) -> bool:
    """A capture with campos, camrot, focal and princpt."""
    return document.kind == "json" and bool(_captures(document))


def _capture(document: Document, wanted: str | None) -> dict[str, Any]:
    captures = _captures(document)
    names = sorted(captures, key=natural_key)
    if wanted is None and len(captures) > 1:
        raise InvalidInput(
            f"The file holds {len(captures)} captures: {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}. "
            f"Say which: capture='{names[0]}', or --capture {names[0]}."
        )
    found = captures.get(wanted if wanted is not None else names[0])
    if found is None:
        raise InvalidInput(f"The file has no capture '{wanted}'. It has: {', '.join(names[:8])}.")
    return found


def _size(name: str, capture: dict[str, Any], centre: fields.Array, options: ReadOptions) -> tuple[int, int]:
    given = capture.get("imgsize")
    stated = given.get(name) if isinstance(given, dict) else None
    if stated is not None or options.size_px is not None:
        return fields.size(name, stated, options.size_px)
    # The principal point lies within 15 % of the middle in the dataset; the two sizes are 178 px apart.
    for width, height in _SIZES_PX:
        if (np.abs(centre - (width / 2, height / 2)) < (0.15 * width, 0.15 * height)).all():
            return width, height
    return fields.size(name, None, None)


def read(document: Document, options: ReadOptions) -> Rig:
    """The rig of one capture."""
    capture = _capture(document, options.capture)
    cameras = []
    for name in sorted(capture["campos"], key=natural_key):
        for field in _FIELDS:
            if name not in capture[field]:
                raise InvalidInput(f"Camera '{name}': {field} is missing.")
        r = fields.rotation(name, capture["camrot"][name])
        t = -r @ fields.array(name, "campos", capture["campos"][name], (3,))
        fx, fy = fields.array(name, "focal", capture["focal"][name], (2,))
        centre = fields.array(name, "princpt", capture["princpt"][name], (2,))
        k = np.array([[fx, 0, centre[0]], [0, fy, centre[1]], [0, 0, 1]])
        size = _size(name, capture, centre, options)
        pose = fields.pose(r, fields.mm_per(options.unit) * t)
        cameras.append(Camera(name, size, k, np.zeros(5), pose))
    return Rig(tuple(cameras))


def write(rig: Rig) -> bytes:
    """One capture, "0". Raises where distortion or skew would be lost."""
    for camera in rig:
        fields.refuse_distortion(camera, 0, "InterHand2.6M")
        fields.refuse_skew(camera, "InterHand2.6M")
    capture = {
        "campos": {c.id: c.centre_world_mm.tolist() for c in rig},
        "camrot": {c.id: c.rotation.tolist() for c in rig},
        "focal": {c.id: [float(c.K[0, 0]), float(c.K[1, 1])] for c in rig},
        "princpt": {c.id: c.K[:2, 2].tolist() for c in rig},
        "imgsize": {c.id: list(c.size_px) for c in rig},
    }
    return json.dumps({"0": capture}, indent=1).encode()
