"""The whole calibration: lenses, first guess, bundle adjustment, outliers out, errors on sets that were held out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rt_hands.calibration.board import Board
from rt_hands.calibration.bundle import Solution, adjust
from rt_hands.calibration.compare import HeldOut, held_out
from rt_hands.calibration.extrinsics import FirstGuess, first_guess
from rt_hands.calibration.geometry import Lens
from rt_hands.calibration.intrinsics import calibrate_lens
from rt_hands.calibration.observations import Observations
from rt_hands.camera import Camera, Rig
from rt_hands.errors import InvalidInput

SURE_CLOCK_S = 0.005  # standard deviation; a board that was held still tells nothing of clocks
HOLD_OUT_EVERY = 5
MOST_SETS = 150
OUTLIER_PX = 1.5  # no corner nearer than this is thrown out ...
OUTLIER_TIMES = 5  # ... nor one within so many medians


@dataclass(frozen=True)
class Calibration:
    """The rig, and what is known about how good it is.

    board: as it was printed, its layout and aspect measured.
    seen: all observations used. fitted: those the rig was fitted to. solution: their residuals and board poses.
    out: the sets held out of the fit, clocks put right. held: the rig's errors on them.
    rms_px: of the fit, by camera. dropped: corners thrown out, as a share.
    lens_given: the lenses were not estimated.
    """

    rig: Rig
    board: Board
    seen: Observations
    fitted: Observations
    solution: Solution
    out: Observations
    held: HeldOut
    rms_px: dict[str, float]
    dropped: float
    lens_given: bool


def thinned(seen: Observations) -> Observations:
    """At most MOST_SETS sets, evenly spaced, the shared ones first."""
    shared = seen.shared()
    single = [m for m in seen.moments if m not in set(shared)]
    kept: list[int] = []
    for moments in (list(shared), single):
        room = MOST_SETS - len(kept)
        if len(moments) > room:
            moments = (
                [moments[i] for i in np.linspace(0, len(moments) - 1, room).astype(int)] if room > 0 else []
            )
        kept += moments
    return seen.only(kept)


def _lenses(seen: Observations, given: Rig | None) -> dict[str, Lens]:
    """Given ones checked against the pictures, or estimated camera by camera."""
    model = seen.board.corners_mm()
    lenses = {}
    for camera, size in seen.sizes_px.items():
        if given is not None:
            known = given[camera]
            known.check_image(size)
            lenses[camera] = Lens(known.K.copy(), known.distortion.copy())
        elif not seen.of(camera):
            raise InvalidInput(f"Camera '{camera}' never saw the board.")
        else:
            lenses[camera] = calibrate_lens(seen.of(camera), size, model)
    return lenses


def _without_outliers(seen: Observations, solution: Solution) -> tuple[Observations, float]:
    """Corners that miss by far are dropped; also their share of all."""
    used = [v for v in seen.views if v.moment in solution.world_from_board]
    miss = np.linalg.norm(solution.residual_px, axis=1)
    limit = max(OUTLIER_PX, OUTLIER_TIMES * float(np.median(miss)))
    views, start = [], 0
    for view in used:
        good = miss[start : start + len(view.ids)] <= limit
        start += len(view.ids)
        if good.sum() >= 4:
            views.append(view.picked(good))
    kept = sum(len(v.ids) for v in views)
    share = 1 - kept / max(len(miss), 1)
    return replace(seen, views=tuple(views)), share


def rig_of(seen: Observations, solution: Solution) -> Rig:
    """The rig of a solution, the first camera as the world; clock offsets where the board's motion told them."""
    rig = Rig(
        tuple(
            Camera(c, seen.sizes_px[c], lens.K, lens.distortion, solution.cam_from_world[c])
            for c, lens in solution.lenses.items()
        )
    )
    known = [c for c, std_s in solution.offset_std_s.items() if std_s < SURE_CLOCK_S]
    return rig.with_clock_offsets({c: round(1e3 * solution.offset_s[c], 2) for c in known})


def _rms_by_camera(seen: Observations, solution: Solution) -> dict[str, float]:
    names = np.concatenate(
        [np.full(len(v.ids), i) for i, v in enumerate(seen.views) if v.moment in solution.world_from_board]
    )
    square = (solution.residual_px**2).sum(axis=1)
    owner = np.array([seen.cameras.index(v.camera) for v in seen.views])[names]
    return {
        c: float(np.sqrt(square[owner == i].mean())) for i, c in enumerate(seen.cameras) if (owner == i).any()
    }


def calibrate(seen: Observations, lenses: Rig | None = None) -> Calibration:
    """Calibrate the cameras of some observations.

    lenses: a rig whose K and distortion are kept (matched by camera name). Every fifth shared set is held out of
    the fit. Raises InvalidInput where the observations can't carry a calibration at all; whether it is good is the
    verdict's to say.
    """
    seen = thinned(seen)
    fit, held = seen.split(HOLD_OUT_EVERY) if len(seen.cameras) > 1 else (seen, seen.only(()))
    guess_lenses = _lenses(fit, lenses)
    solution = adjust(fit, first_guess(fit, guess_lenses), guess_lenses, free_lens=lenses is None)
    fit, dropped = _without_outliers(fit, solution)
    fit = replace(fit, board=replace(fit.board, aspect=solution.aspect))
    moments = set(fit.moments)
    kept = {m: b for m, b in solution.world_from_board.items() if m in moments}
    solution = adjust(
        fit, FirstGuess(solution.cam_from_world, kept), solution.lenses, free_lens=lenses is None
    )
    board = replace(seen.board, aspect=solution.aspect)
    seen, held = replace(seen, board=board), replace(held, board=board)
    rig = rig_of(seen, solution)
    out = held.without_offsets(solution.offset_s)
    errors = held_out(out, rig)
    return Calibration(
        rig,
        board,
        seen,
        fit,
        solution,
        out,
        errors,
        _rms_by_camera(fit, solution),
        dropped,
        lenses is not None,
    )
