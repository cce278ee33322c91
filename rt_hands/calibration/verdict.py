"""Accept or refuse a calibration, with reasons that a person can act on.

Two looks: at what detection met (`check_pictures`, before anything is solved), and at the solution
(`check_calibration`). Each limit stands beside its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rt_hands.calibration.compare import held_out
from rt_hands.calibration.observations import CameraCount, Observations, coverage, stacked_corners
from rt_hands.calibration.solve import Calibration

# A board in one corner covers 2 to 5 of 24 cells; a careful person reaches 20 in a minute.
LEAST_COVERAGE, GOOD_COVERAGE = 0.35, 0.6
# Beyond 1 % a hand at 700 mm is 7 mm off in depth.
WORST_FOCAL_STD, GOOD_FOCAL_STD = 0.01, 0.003
# Rendered markers of 20 px measure 0.753 for 0.750; blur and noise stay below 4 %.
WORST_MARKER_RATIO = 0.08
# Sets of one board agree to 1 %; two boards that differ less can't be told from noise.
WORST_SCALE_SPREAD = 0.04
WORST_ASPECT, GOOD_ASPECT = 0.03, 0.005
# A thousandth of the picture's longer side: 1.3 px at 1280.
GOOD_RMS_SIDES, WORST_RMS_SIDES = 0.0008, 0.002
WORST_MM, GOOD_MM = 3.0, 1.0
WORST_DROPPED = 0.15
WORST_DISTANCE = 0.02
NOTED_OFFSET_S = 0.005
NEAREST_MM, FARTHEST_MM = 80.0, 30_000.0


@dataclass(frozen=True)
class Verdict:
    """reasons: why it is refused, none if accepted. warnings: what to know all the same."""

    reasons: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        """Whether the rig may be used."""
        return not self.reasons


def check_pictures(seen: Observations, *, lens_given: bool) -> Verdict:
    """What the pictures alone show: mirrored video, another board, a board in one corner."""
    reasons, warnings = [], []
    for camera, count in seen.counts.items():
        found = _board_reason(seen, camera, count)
        if found:
            reasons.append(found)
            continue
        share = float((coverage(stacked_corners(seen.of(camera)), seen.sizes_px[camera]) > 0).mean())
        words = f"{camera}: the board was only in {share:.0%} of the picture"
        if not lens_given and share < LEAST_COVERAGE:
            reasons.append(
                f"{words}; the lens needs {LEAST_COVERAGE:.0%}. Show it in all corners, near and tilted, or pass known "
                "lenses (--lenses RIG)."
            )
        elif not lens_given and share < GOOD_COVERAGE:
            warnings.append(f"{words}; {GOOD_COVERAGE:.0%} makes the lens surer.")
    return Verdict(tuple(reasons), tuple(warnings))


def _board_reason(seen: Observations, camera: str, count: CameraCount) -> str | None:
    """Why this camera's board is not the one described, or None."""
    board = seen.board
    if count.mirrored > 1 and count.mirrored * 6 > count.found:
        return (
            f"{camera}: the video is mirrored; the board is found only in its mirror image. "
            "Turn off mirroring (flip)."
        )
    if count.misfits >= 3 and count.misfits > 0.2 * (count.found + count.misfits):
        return (
            f"{camera}: in {count.misfits} of {count.found + count.misfits} pictures "
            f"the corners don't lie as on a board of {board.columns} x {board.rows} squares. "
            "Another board, or two boards at once?"
        )
    if count.foreign > 0.5 * count.pictures and count.foreign > 0.5 * count.found:
        return (
            f"{camera}: {count.foreign} markers were found that are not on the board described. "
            "A second board in view, or wrong columns and rows?"
        )
    if count.found == 0:
        return (
            f"{camera}: no picture shows the board. Check columns, rows, dictionary ({board.dictionary}) and inverted "
            f"({board.inverted})."
        )
    stated = board.marker_mm / board.square_mm
    if abs(count.marker_ratio / stated - 1) > WORST_MARKER_RATIO:
        return (
            f"{camera}: the markers measure {count.marker_ratio:.2f} of a square, the board file says {stated:.2f} "
            f"({board.marker_mm:g} of {board.square_mm:g} mm). The square or marker size is wrong."
        )
    return None


def check_calibration(
    cal: Calibration, distances_mm: Mapping[tuple[str, str], float] | None = None
) -> Verdict:
    """What the solution shows. distances_mm: known distances between pairs of cameras."""
    reasons: list[str] = []
    warnings: list[str] = []
    for check in (_lens, _errors, _boards, _clocks):
        found = check(cal)
        reasons += found.reasons
        warnings += found.warnings
    reasons += _distances(cal, distances_mm or {})
    return Verdict(tuple(reasons), tuple(warnings))


def _graded(value: float, good: float, worst: float, text: str) -> Verdict:
    """A reason above `worst` (or when it is NaN), a warning above `good`."""
    if not value <= worst:
        return Verdict((text,), ())
    return Verdict((), (text,) if value > good else ())


def _joined(parts: list[Verdict]) -> Verdict:
    return Verdict(tuple(r for p in parts for r in p.reasons), tuple(w for p in parts for w in p.warnings))


def _lens(cal: Calibration) -> Verdict:
    known = [
        _graded(
            std,
            GOOD_FOCAL_STD,
            WORST_FOCAL_STD,
            f"{camera}: the focal length is only known to {std:.1%} (one standard deviation). "
            "Show the board nearer and more tilted.",
        )
        for camera, std in cal.solution.focal_std.items()
    ]
    unreached = cal.rig.unreached
    return _joined([*known, Verdict((), (unreached,) if unreached else ())])


def _errors(cal: Calibration) -> Verdict:
    sides = {camera: max(size) for camera, size in cal.seen.sizes_px.items()}
    parts = [
        _graded(
            rms,
            GOOD_RMS_SIDES * sides[c],
            WORST_RMS_SIDES * sides[c],
            f"{c}: the fit misses the corners by {rms:.2f} px (rms).",
        )
        for c, rms in cal.rms_px.items()
    ]
    limits = (GOOD_RMS_SIDES * max(sides.values()), WORST_RMS_SIDES * max(sides.values()))
    if len(cal.seen.cameras) > 1:
        px, mm = cal.held.rms_px, cal.held.rms_mm
        parts.append(_graded(px, *limits, f"Corners held out of the fit are {px:.2f} px off (rms)."))
        parts.append(
            _graded(
                mm, GOOD_MM, WORST_MM, f"Corners held out of the fit are {mm:.2f} mm off the board (rms)."
            )
        )
    share = cal.dropped
    parts.append(
        _graded(share, 0.05, WORST_DROPPED, f"{share:.0%} of the corners fit nowhere and were dropped.")
    )
    return _joined(parts)


def _boards(cal: Calibration) -> Verdict:
    """One board of the stated shape in all sets, at a believable distance."""
    off = abs(cal.board.aspect - 1)
    parts = [
        _graded(
            off,
            GOOD_ASPECT,
            WORST_ASPECT,
            f"The printed squares are {cal.board.aspect:.3f} times as high as wide; the printer stretched the board.",
        )
    ]
    scales = np.array(list(held_out(cal.seen.without_offsets(cal.solution.offset_s), cal.rig).scale.values()))
    if len(scales) >= 5:
        low, high = np.percentile(scales, [10, 90])
        parts.append(
            _graded(
                float(high / low - 1),
                WORST_SCALE_SPREAD,
                WORST_SCALE_SPREAD,
                f"The board measures {low:.1%} of its size in some sets and {high:.1%} in others: "
                "two boards of different size, or cameras that don't see the same moment.",
            )
        )
    depth = float(
        np.median(
            [
                (cal.solution.cam_from_world[v.camera] @ cal.solution.world_from_board[v.moment])[2, 3]
                for v in cal.fitted.views
                if v.moment in cal.solution.world_from_board
            ]
        )
    )
    if not NEAREST_MM <= depth <= FARTHEST_MM:
        text = f"The board would be {depth:.0f} mm from the cameras: are its squares really {cal.board.square_mm:g} mm?"
        parts.append(Verdict((text,), ()))
    return _joined(parts)


def _clocks(cal: Calibration) -> Verdict:
    first, known = cal.seen.cameras[0], cal.rig.clock_offset_ms
    warnings = [
        f"{c}: its pictures were taken {abs(1e3 * s):.0f} ms {'after' if s > 0 else 'before'} those of {first} "
        f"with the same time stamp. {'rig.toml says so' if known.get(c) else 'That is too unsure for rig.toml'}; "
        "where that is not read, moving hands will be off by their way in that time."
        for c, s in cal.solution.offset_s.items()
        if abs(s) > max(NOTED_OFFSET_S, 3 * cal.solution.offset_std_s[c])
    ]
    return Verdict((), tuple(warnings))


def _distances(cal: Calibration, known: Mapping[tuple[str, str], float]) -> list[str]:
    reasons = []
    for (a, b), stated in known.items():
        measured = float(np.linalg.norm(cal.rig[a].centre_world_mm - cal.rig[b].centre_world_mm))
        if abs(measured / stated - 1) > WORST_DISTANCE:
            square = cal.board.square_mm * stated / measured
            reasons.append(
                f"{a} and {b} come out {measured:.0f} mm apart, you measured {stated:.0f} mm. With squares of "
                f"{square:.1f} mm instead of {cal.board.square_mm:g} mm it would agree: measure the print."
            )
    return reasons
