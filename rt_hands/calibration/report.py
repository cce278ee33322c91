"""The calibration on one picture: verdict, what each camera saw and missed by how much, and the rig from above."""

from __future__ import annotations

import textwrap
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.calibration.observations import Observations, coverage, stacked_corners
from rt_hands.calibration.solve import Calibration
from rt_hands.calibration.verdict import Verdict
from rt_hands.camera import Camera
from rt_hands.paths import write_atomically

Canvas = NDArray[np.uint8]

WIDTH = 1600
MARGIN = 36
PANELS_A_ROW = 4
_PAPER, _INK, _FAINT = (252, 250, 248), (40, 36, 32), (150, 145, 140)
_GOOD, _BAD = (80, 140, 40), (50, 50, 200)
_CAMERA_COLOURS = (
    (200, 110, 40),
    (60, 140, 230),
    (90, 160, 60),
    (170, 80, 170),
    (40, 40, 190),
    (150, 140, 40),
)
_WORST_SHOWN_PX = 2.0


def _text(
    canvas: Canvas, text: str, at: tuple[float, float], size: float = 0.5, colour: tuple[int, ...] = _INK
) -> None:
    place = (round(at[0]), round(at[1]))
    # OpenCV's own fonts know ASCII only.
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(canvas, plain, place, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1 + (size > 0.7), cv2.LINE_AA)


def _miss_colour(px: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n, 3) BGR: green at 0 px through yellow to red at 2 px and more."""
    share = np.clip(px / _WORST_SHOWN_PX, 0, 1)[:, None]
    stops = np.array([[70, 160, 60], [40, 190, 230], [50, 50, 210]], np.float64)
    lower = stops[0] + (stops[1] - stops[0]) * np.minimum(2 * share, 1)
    return np.asarray(lower + (stops[2] - stops[1]) * np.maximum(2 * share - 1, 0), np.int64)


def _residuals(cal: Calibration) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Corners and misses (px) by camera."""
    found: dict[str, list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {}
    start = 0
    for view in cal.fitted.views:
        if view.moment in cal.solution.world_from_board:
            miss = np.linalg.norm(cal.solution.residual_px[start : start + len(view.ids)], axis=1)
            start += len(view.ids)
            found.setdefault(view.camera, []).append((view.corners_px, miss))
    return {
        c: (np.concatenate([p for p, _ in parts]), np.concatenate([m for _, m in parts]))
        for c, parts in found.items()
    }


def _camera_panel(seen: Observations, cal: Calibration | None, camera: str, width: int) -> Canvas:
    """Where the board was seen by one camera; corners coloured by their miss, cells shaded by their count."""
    size = seen.sizes_px[camera]
    scale = width / size[0]
    height = round(size[1] * scale)
    panel = np.full((height + 84, width, 3), _PAPER, np.uint8)
    views = seen.of(camera)
    cells = coverage(stacked_corners(views), size)
    rows, columns = cells.shape
    for (r, c), n in np.ndenumerate(cells):
        a = (round(c * width / columns), round(r * height / rows))
        b = (round((c + 1) * width / columns), round((r + 1) * height / rows))
        shade = (235, 240, 233) if n else (214, 214, 236)
        cv2.rectangle(panel, a, b, shade, cv2.FILLED)
        cv2.rectangle(panel, a, b, _PAPER, 1)
    points, miss = stacked_corners(views), None
    if cal is not None and camera in (known := _residuals(cal)):
        points, miss = known[camera]
    colours = _miss_colour(miss) if miss is not None else np.tile(_FAINT, (len(points), 1))
    for (x, y), colour in zip((points + 0.5) * scale, colours, strict=True):
        cv2.circle(panel, (round(x), round(y)), 2, [int(v) for v in colour], cv2.FILLED, cv2.LINE_AA)
    cv2.rectangle(panel, (0, 0), (width - 1, height - 1), _FAINT, 1)
    colour = _CAMERA_COLOURS[seen.cameras.index(camera) % len(_CAMERA_COLOURS)]
    for i, line in enumerate(_camera_words(seen, cal, camera, float((cells > 0).mean()))):
        _text(panel, line, (0, height + 22 + 22 * i), 0.48 if i else 0.6, _INK if i else colour)
    return panel


def _camera_words(seen: Observations, cal: Calibration | None, camera: str, share: float) -> list[str]:
    count = seen.counts.get(camera)
    views = len(seen.of(camera))
    of = f" of {count.pictures}" if count else ""
    words = [camera, f"{views}{of} pictures with board, cover {share:.0%}"]
    if cal is not None:
        k, std = cal.rig[camera].K, cal.solution.focal_std[camera]
        given = "given" if cal.lens_given else f"+- {std:.2%}"
        words.append(
            f"f {np.mean(k[[0, 1], [0, 1]]):.1f} px {given}, miss {cal.rms_px.get(camera, np.nan):.2f} px rms"
        )
    return words


def _histogram(cal: Calibration, width: int, height: int) -> Canvas:
    """Share of corners by their miss, a line for each camera."""
    canvas = np.full((height, width, 3), _PAPER, np.uint8)
    left, bottom, top = 10, height - 40, 40
    _text(canvas, "corner misses of the fit, px", (left, 22), 0.6)
    edges = np.linspace(0, _WORST_SHOWN_PX * 1.25, 26)
    counts = {
        c: np.histogram(np.minimum(m, edges[-1]), edges)[0] / len(m) for c, (_, m) in _residuals(cal).items()
    }
    highest = max(float(v.max()) for v in counts.values())
    for tick in np.arange(0, edges[-1] + 0.1, 0.5):
        x = round(left + (width - 2 * left) * tick / edges[-1])
        cv2.line(canvas, (x, top), (x, bottom), (232, 230, 228), 1)
        _text(
            canvas,
            f"{tick:g}" if tick < edges[-1] else "more",
            (x - (6 if tick < edges[-1] else 34), bottom + 20),
            0.45,
            _FAINT,
        )
    for i, share in enumerate(counts.values()):
        x = left + (width - 2 * left) * (edges[:-1] + edges[1:]) / 2 / edges[-1]
        y = bottom - (bottom - top) * share / highest
        line = np.stack([x, y], axis=1).round().astype(np.int32).reshape(-1, 1, 2)
        cv2.polylines(canvas, [line], False, _CAMERA_COLOURS[i % len(_CAMERA_COLOURS)], 2, cv2.LINE_AA)
    return canvas


def _from_above(cal: Calibration, width: int, height: int) -> Canvas:
    """Cameras with their fields of view, and the board's places, seen from above (the cameras' mean up)."""
    canvas = np.full((height, width, 3), _PAPER, np.uint8)
    _text(canvas, "seen from above", (10, 22), 0.6)
    up = -np.mean([c.rotation[1] for c in cal.rig], axis=0)
    up /= max(float(np.linalg.norm(up)), 1e-9)
    right = cal.rig.cameras[0].rotation[0] - (cal.rig.cameras[0].rotation[0] @ up) * up
    right /= max(float(np.linalg.norm(right)), 1e-9)
    axes = np.stack([right, np.cross(right, up)])  # forward is up in the picture, or it would be mirrored
    middle = [*(np.array(cal.board.corners_mm()).mean(axis=0)), 1.0]
    boards = np.array([(b @ middle)[:3] for b in cal.solution.world_from_board.values()]) @ axes.T
    centres = np.array([c.centre_world_mm for c in cal.rig]) @ axes.T
    reach = 0.25 * float(np.median(np.linalg.norm(boards - centres.mean(axis=0), axis=1)))
    fans = [_fan(c, axes, reach) for c in cal.rig]
    everything = np.vstack([boards, centres, *fans])
    low, span = everything.min(axis=0), np.maximum(np.ptp(everything, axis=0), 1.0)
    scale = min((width - 90) / span[0], (height - 90) / span[1])
    shift = np.array([45, 50]) + (np.array([width - 90, height - 100]) - span * scale) / 2

    def at(p: NDArray[np.float64]) -> NDArray[np.int32]:
        return np.asarray((p - low) * scale + shift).round().astype(np.int32)

    for p in at(boards):
        cv2.circle(canvas, tuple(int(v) for v in p), 3, (190, 185, 180), cv2.FILLED, cv2.LINE_AA)
    for i, (camera, fan, centre) in enumerate(zip(cal.rig, fans, at(centres), strict=True)):
        colour = _CAMERA_COLOURS[i % len(_CAMERA_COLOURS)]
        cv2.polylines(canvas, [at(fan).reshape(-1, 1, 2)], True, colour, 2, cv2.LINE_AA)
        behind = centre - 1.2 * (at(fan).mean(axis=0) - centre)
        _text(canvas, camera.id, (float(behind[0]) - 4 * len(camera.id), float(behind[1]) + 5), 0.5, colour)
    _scale_bar(canvas, scale)
    return canvas


def _fan(camera: Camera, axes: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
    """Triangle of a camera's horizontal field of view: (3, 2) mm."""
    f, cx, width = camera.K[0, 0], camera.K[0, 2], camera.size_px[0]
    rays = np.array([[0, 0, 0], [-cx / f, 0, 1], [(width - cx) / f, 0, 1]]) * reach
    return np.asarray((camera.centre_world_mm + rays @ camera.rotation) @ axes.T, np.float64)


def _scale_bar(canvas: Canvas, scale: float) -> None:
    """A bar of a round length, about a fifth of the width."""
    wanted = 0.2 * canvas.shape[1] / scale
    power = 10 ** np.floor(np.log10(wanted))
    length = float(max(m * power for m in (1, 2, 5) if m * power <= wanted))
    y, x0 = canvas.shape[0] - 18, 12
    cv2.line(canvas, (x0, y), (round(x0 + length * scale), y), _INK, 2)
    _text(canvas, f"{length:g} mm", (x0 + length * scale + 8, y + 5), 0.45)


def _figures(cal: Calibration, width: int, height: int) -> Canvas:
    """Held-out errors, distances between cameras, clocks, board."""
    canvas = np.full((height, width, 3), _PAPER, np.uint8)
    lines = [
        f"board: {cal.board.columns} x {cal.board.rows}, {cal.board.square_mm:g} mm, "
        f"height/width {cal.board.aspect:.4f}"
    ]
    if len(cal.rig) > 1:
        held = cal.held
        lines += [
            f"held out: {held.rms_px:.2f} px, {held.rms_mm:.2f} mm rms ({held.corners} corners, {held.sets} sets)",
            "",
            "from the first camera:",
        ]
        first = cal.rig.cameras[0]
        for camera in cal.rig.cameras[1:]:
            apart = float(np.linalg.norm(camera.centre_world_mm - first.centre_world_mm))
            clock = 1e3 * cal.solution.offset_s[camera.id]
            lines.append(f"  {camera.id}: {apart:.1f} mm, clock {clock:+.1f} ms")
    _text(canvas, "figures", (10, 22), 0.6)
    for i, line in enumerate(lines[: (height - 60) // 22]):
        _text(canvas, line, (10, 54 + 22 * i), 0.48)
    return canvas


def _header(verdict: Verdict) -> Canvas:
    lines = [(t, _BAD) for reason in verdict.reasons for t in _wrapped(reason)]
    lines += [(t, _FAINT) for warning in verdict.warnings for t in _wrapped(warning)]
    canvas = np.full((76 + 24 * len(lines), WIDTH, 3), _PAPER, np.uint8)
    title, colour = ("accepted", _GOOD) if verdict.accepted else ("refused", _BAD)
    _text(canvas, f"calibration {title}", (MARGIN, 52), 1.1, colour)
    for i, (line, tone) in enumerate(lines):
        _text(canvas, line, (MARGIN, 84 + 24 * i), 0.52, tone)
    return canvas


def _wrapped(text: str) -> list[str]:
    parts = textwrap.wrap(text, 150)
    return [("- " if i == 0 else "  ") + part for i, part in enumerate(parts)]


def draw_report(seen: Observations, verdict: Verdict, cal: Calibration | None = None) -> Canvas:
    """(h, 1600, 3) uint8 BGR. Without a calibration only what the cameras saw."""
    gap = 24
    panel_width = (WIDTH - 2 * MARGIN - (PANELS_A_ROW - 1) * gap) // PANELS_A_ROW
    panels = [_camera_panel(seen, cal, c, panel_width) for c in seen.cameras]
    rows = [_header(verdict)]
    for i in range(0, len(panels), PANELS_A_ROW):
        rows.append(_row(panels[i : i + PANELS_A_ROW], gap))
    if cal is not None:
        third, height = (WIDTH - 2 * MARGIN - 2 * gap) // 3, 420
        rows.append(_row([f(cal, third, height) for f in (_from_above, _histogram, _figures)], gap))
    return np.vstack(rows)


def _row(panels: list[Canvas], gap: int) -> Canvas:
    height = max(p.shape[0] for p in panels) + gap
    row = np.full((height, WIDTH, 3), _PAPER, np.uint8)
    x = MARGIN
    for panel in panels:
        row[: panel.shape[0], x : x + panel.shape[1]] = panel
        x += panel.shape[1] + gap
    return row


def save_report(
    path: str | Path, seen: Observations, verdict: Verdict, cal: Calibration | None = None
) -> None:
    """Write the report as a PNG."""
    write_atomically(Path(path), cv2.imencode(".png", draw_report(seen, verdict, cal))[1].tobytes())
