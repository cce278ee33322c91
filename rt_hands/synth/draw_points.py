"""Draws `docs/images/hand_points.png`: both sides of a right hand with the 85 points and their names.

`python -m rt_hands.synth.draw_points docs/images/hand_points.png`
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import tyro
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput
from rt_hands.layout import HAND_POINT_NAMES, N_JOINTS, PART_COLOURS_RGB, PART_OF_POINT
from rt_hands.synth import library
from rt_hands.synth.gestures import angles_of
from rt_hands.synth.hand import HandMesh

Image = NDArray[np.uint8]
_PANEL: Final = (1180, 1500)  # height, width, px
_MM: Final = 4.6  # px per mm
_SUPER: Final = 2
_INK: Final = (60, 56, 52)
_SKIN_BGR: Final = np.array([188, 205, 228.0])
_SUBJECT: Final = 21


@dataclass(frozen=True)
class _View:
    """One side of the hand: rows right, up, towards the viewer; and the points it names."""

    title: str
    rows: NDArray[np.float64]
    names: tuple[str, ...]


def _views() -> tuple[_View, _View]:
    surface = HAND_POINT_NAMES[N_JOINTS:]
    palm = tuple(n for n in surface if "palm" in n)
    back = tuple(n for n in surface if "palm" not in n)
    return (
        _View("right hand, palm: joints and palmar points", np.eye(3), (*HAND_POINT_NAMES[:N_JOINTS], *palm)),
        _View("right hand, back: dorsal, radial and ulnar points", np.diag([-1.0, 1.0, -1.0]), back),
    )


def _posed() -> HandMesh:
    angles = angles_of("wide", "SSSS", 1.3)
    return library.hand_model().posed(library.subject(_SUBJECT), angles)


def _fine(mesh: HandMesh) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mesh cut twice into four: triangles (T, 3, 3) and the normal of each (T, 3), smooth over the hand."""
    corners = np.concatenate([mesh.vertices_mm, mesh.normals], axis=1)[mesh.faces].astype(np.float64)
    for _ in range(2):
        a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
        ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
        parts = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
        corners = np.concatenate([np.stack(p, axis=1) for p in parts])
    normals = corners[:, :, 3:].mean(1)
    return corners[:, :, :3], normals / np.linalg.norm(normals, axis=1, keepdims=True)


def _to_px(points: NDArray[np.floating], view: _View) -> NDArray[np.float64]:
    """Panel px (..., 2) of points in the hand frame (..., 3), hand in the middle."""
    height, width = _PANEL
    shown = (points - np.array([8.0, 88.0, 0.0])) @ view.rows.T
    return np.stack([width / 2 + _MM * shown[..., 0], height / 2 + 40 - _MM * shown[..., 1]], axis=-1)


def _shaded(mesh: HandMesh, view: _View) -> Image:
    """The hand in even light, painted far to near."""
    height, width = _PANEL
    canvas = np.full((height * _SUPER, width * _SUPER, 3), 255, np.uint8)
    triangles, normals = _fine(mesh)
    facing = normals @ view.rows.T
    light = 0.5 + 0.5 * np.clip(facing @ np.array([-0.35, 0.45, 0.82]), 0.0, 1.0)
    colours = light[:, None] * _SKIN_BGR
    px = np.round(_to_px(triangles, view) * _SUPER * 16).astype(np.int32)
    depth = (triangles @ view.rows[2]).mean(1)
    for i in np.argsort(depth):
        if facing[i, 2] > -0.2:
            cv2.fillConvexPoly(canvas, px[i], colours[i].tolist(), cv2.LINE_8, 4)
    return cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)


def _label_rows(y_px: NDArray[np.float64], gap_px: float) -> NDArray[np.float64]:
    """Rows for labels, in order of their points and at least a gap apart, all inside the panel."""
    order = np.argsort(y_px)
    rows = np.maximum(y_px[order], 70.0)
    for i in range(1, len(rows)):
        rows[i] = max(rows[i], rows[i - 1] + gap_px)
    rows -= max(0.0, rows[-1] - (_PANEL[0] - 25))
    for i in range(len(rows) - 2, -1, -1):
        rows[i] = min(rows[i], rows[i + 1] - gap_px)
    out = np.empty(len(rows))
    out[order] = rows
    return out


def _annotate(image: Image, view: _View, points_px: NDArray[np.float64]) -> None:
    """Dots, leader lines and names, half of them in each margin."""
    index = np.array([HAND_POINT_NAMES.index(n) for n in view.names])
    places = points_px[index]
    left = np.zeros(len(index), bool)
    left[np.argsort(places[:, 0])[: len(index) // 2]] = True
    for side, mask in ((0, left), (1, ~left)):
        rows = _label_rows(places[mask, 1], 24.0)
        for k, (x, y), row in zip(index[mask], places[mask], rows, strict=True):
            _label(image, int(k), (x, y), row, side)
    cv2.putText(image, view.title, (30, 38), cv2.FONT_HERSHEY_DUPLEX, 0.8, _INK, 1, cv2.LINE_AA)


def _label(image: Image, point: int, at: tuple[float, float], row: float, side: int) -> None:
    name = HAND_POINT_NAMES[point]
    text = f"{point} {name}"
    colour = PART_COLOURS_RGB[PART_OF_POINT[point]][::-1].astype(int).tolist()
    if PART_OF_POINT[point] == 0:
        colour = [110, 104, 100]
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    x = 20 if side == 0 else _PANEL[1] - 20 - width
    end = (x + width + 6, int(row) - 5) if side == 0 else (x - 6, int(row) - 5)
    spot = (round(at[0]), round(at[1]))
    cv2.line(image, spot, end, colour, 1, cv2.LINE_AA)
    cv2.circle(image, spot, 6, (255, 255, 255), -1, cv2.LINE_AA)
    if point < N_JOINTS:
        cv2.rectangle(image, (spot[0] - 4, spot[1] - 4), (spot[0] + 4, spot[1] + 4), colour, -1, cv2.LINE_AA)
    else:
        cv2.circle(image, spot, 5, colour, -1, cv2.LINE_AA)
    cv2.putText(image, text, (x, int(row)), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK, 1, cv2.LINE_AA)


def picture() -> Image:
    """Both panels one below the other: (H, W, 3) uint8 BGR."""
    mesh = _posed()
    panels = []
    for view in _views():
        panel = _shaded(mesh, view)
        _annotate(panel, view, _to_px(mesh.points_mm, view))
        panels.append(panel)
    return np.concatenate(panels, axis=0)


def main(out: Path) -> None:
    """Write the picture to `out`, a PNG."""
    out.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(out), picture()):
        raise InvalidInput(f"Can't write the picture to '{out}'.")
    print(f"Wrote {out}.")


if __name__ == "__main__":
    tyro.cli(main)
