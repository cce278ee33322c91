"""Bundle adjustment: lenses, cameras, clocks and board poses together, by scipy's sparse least squares.

Unknowns: per camera fx, fy, cx, cy, k1, k2, p1, p2, k3 (or none, when the lenses are given), its pose and the offset
of its clock (the first camera is the world and the clock), per set the board's pose, and the aspect of the printed
squares. Webcams stamp pictures tens of ms late, each by its own latency; a moving board shows by how much.
The Jacobian is exact: cv2.projectPoints and cv2.composeRT give the derivatives of each view. Weak priors keep what a
set can't show (a principal point far off, a wild k3) in reason; at 0.2 px they count as much as one corner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.calibration.extrinsics import FirstGuess
from rt_hands.calibration.geometry import LENS, Array, Lens, lens_of, lens_vector, pose_of, pose_vector
from rt_hands.calibration.observations import Observations, View
from rt_hands.errors import InvalidInput, MissingPart

Indices = NDArray[np.int64]
PRIOR_PX = 0.2
HUBER_PX = 1.0
_ASPECT_STD = 0.01
_OFFSET_STD_S = 0.1
_APART = (
    "The cameras' corners can't be brought together. Do all cameras look at the same board at the same moment, and "
    "is none of them mirrored?"
)
_ROUNDS = (8, 30)  # a short one to come near, then with the Jacobian scaled there


@dataclass(frozen=True)
class Solution:
    """lenses, cam_from_world: by camera. world_from_board: by moment. residual_px: (N, 2), of all views in order.
    aspect: height over width of the printed squares. offset_s: {camera: how much later its pictures were taken than
    their stamps say, against the first camera}; offset_std_s: {camera: its standard deviation}.

    focal_std: {camera: standard deviation of its focal length as a share of it}, 0 where the lens was given.
    """

    lenses: dict[str, Lens]
    cam_from_world: dict[str, Array]
    world_from_board: dict[int, Array]
    residual_px: Array
    aspect: float
    offset_s: dict[str, float]
    offset_std_s: dict[str, float]
    focal_std: dict[str, float]


def need_scipy(what: str = "Calibration needs") -> Any:
    """The package with the parts used here. Raises MissingPart with the way to it; what: the sentence's beginning."""
    try:
        import scipy.linalg
        import scipy.optimize
        import scipy.sparse
        import scipy.sparse.linalg
    except ImportError:
        raise MissingPart(f"{what} scipy: pip install 'rt_hands[calibrate]'.") from None
    return scipy


class Problem:
    """Residuals and Jacobian over one vector of unknowns."""

    def __init__(
        self,
        seen: Observations,
        guess: FirstGuess,
        lenses: Mapping[str, Lens],
        free_lens: bool,
    ) -> None:
        self.cameras = list(seen.cameras)
        self.moments = sorted(guess.world_from_board)
        self.views = [v for v in seen.views if v.moment in guess.world_from_board]
        self.free_lens = free_lens
        self._model = replace(seen.board, aspect=1.0).corners_mm()
        self._given = np.concatenate([lens_vector(lenses[c]) for c in self.cameras])
        self._sizes = np.array([seen.sizes_px[c] for c in self.cameras], np.float64)
        cameras = [pose_vector(guess.cam_from_world[c]) for c in self.cameras[1:]]
        boards = [pose_vector(guess.world_from_board[m]) for m in self.moments]
        self.aspect_at = LENS * len(self.cameras) if free_lens else 0
        self.offsets_at = self.aspect_at + 1
        self._cameras_at = self.offsets_at + len(cameras)
        self._camera_end = self._cameras_at + 6 * len(cameras)
        half = [0.5 * np.log(seen.board.aspect)]
        self.start = np.concatenate(
            [self._given[: self.aspect_at], half, np.zeros(len(cameras)), *cameras, *boards]
        )

    def unpack(self, x: Array) -> tuple[Array, Array, Array]:
        """(C, 9) lenses, (C, 6) cameras, (M, 6) boards."""
        lenses = (x[: self.aspect_at] if self.free_lens else self._given).reshape(-1, LENS)
        cameras = np.vstack([np.zeros(6), x[self._cameras_at : self._camera_end].reshape(-1, 6)])
        return lenses, cameras, x[self._camera_end :].reshape(-1, 6)

    def _columns(self, camera: int, moment: int) -> Indices:
        """Columns of one view's unknowns: lens, camera, board, aspect, clock; -1 where fixed."""
        lens = np.arange(LENS) + LENS * camera if self.free_lens else np.full(LENS, -1)
        pose = np.arange(6) + self._cameras_at + 6 * (camera - 1) if camera else np.full(6, -1)
        clock = self.offsets_at + camera - 1 if camera else -1
        board = self._camera_end + 6 * moment + np.arange(6)
        return np.concatenate([lens, pose, board, [self.aspect_at, clock]])

    def _stretched(self, ids: Indices, x: Array) -> tuple[Array, Array]:
        """(n, 3) board points for the present aspect, and their derivative by its half logarithm."""
        half = x[self.aspect_at]
        points = self._model[ids] * (np.exp(-half), np.exp(half), 1)
        return points, points * (-1, 1, 0)

    def _view(self, view: View, x: Array, derivatives: bool) -> tuple[Array, Array, Indices]:
        """One view: (2n,) residual, (2n, 23) Jacobian, (23,) columns."""
        camera, moment = self.cameras.index(view.camera), self.moments.index(view.moment)
        lenses, cameras, boards = self.unpack(x)
        lens, pose, board = lenses[camera], cameras[camera], boards[moment]
        chained = cv2.composeRT(board[:3], board[3:], pose[:3], pose[3:])
        k, distortion = lens_of(lens)
        model, slope = self._stretched(view.ids, x)
        points, j = cv2.projectPoints(model, chained[0], chained[1], k, distortion)
        velocity = np.zeros(2 * len(view.ids)) if view.velocity_px_s is None else view.velocity_px_s.ravel()
        offset = x[self.offsets_at + camera - 1] if camera else 0.0
        residual = (points.reshape(-1, 2) - view.corners_px).ravel() + offset * velocity
        if not derivatives:
            return residual, j, np.zeros(0, np.int64)
        dr_db, dr_dbt, dr_dc, dr_dct, dt_db, dt_dbt, dt_dc, dt_dct = chained[2:10]
        jr, jt = j[:, :3], j[:, 3:6]
        # A point that moves on the board moves like a shift of the whole board, turned into the camera.
        moved = np.repeat(slope @ cv2.Rodrigues(chained[0])[0].T, 2, axis=0)
        whole = np.hstack(
            [
                j[:, 6:15],
                jr @ dr_dc + jt @ dt_dc,
                jr @ dr_dct + jt @ dt_dct,
                jr @ dr_db + jt @ dt_db,
                jr @ dr_dbt + jt @ dt_dbt,
                (jt * moved).sum(axis=1, keepdims=True),
                velocity[:, None],
            ]
        )
        return residual, whole, self._columns(camera, moment)

    def _small_pulls(self) -> Array:
        """(C,) of the aspect and the clocks towards 0."""
        spread = np.full(len(self.cameras), _OFFSET_STD_S)
        spread[0] = _ASPECT_STD
        return PRIOR_PX / spread

    def miss(self, view: View, x: Array) -> Array:
        """(2n,) px of one view: projected minus seen."""
        return self._view(view, x, False)[0]

    def _priors(self, x: Array) -> tuple[Array, Array]:
        """(9C,) residual px and its diagonal: the deviation from a plain webcam, PRIOR_PX at one standard deviation."""
        lenses = self.unpack(x)[0]
        middle = (self._sizes - 1) / 2
        f = lenses[:, :2].mean(axis=1)
        zero = np.zeros_like(f)
        means = np.column_stack([f, f, middle, np.zeros((len(f), 5))])
        side = self._sizes.max(axis=1)
        spread = np.column_stack(
            [
                0.02 * f,
                0.02 * f,
                0.05 * side,
                0.05 * side,
                zero + 0.5,
                zero + 0.5,
                zero + 0.01,
                zero + 0.01,
                zero + 0.2,
            ]
        )
        weight = PRIOR_PX / spread
        return (weight * (lenses - means)).ravel(), weight.ravel()

    def residuals(self, x: Array) -> Array:
        """(2N + C [+ 9C],) px: the corners, then the priors."""
        parts = [self.miss(v, x) for v in self.views]
        parts.append(self._small_pulls() * x[self.aspect_at : self._cameras_at])
        if self.free_lens:
            parts.append(self._priors(x)[0])
        return np.concatenate(parts)

    def jacobian(self, x: Array) -> Any:
        """scipy.sparse CSR of the same rows."""
        sparse = need_scipy().sparse
        rows: list[Indices] = []
        columns: list[Indices] = []
        values: list[Array] = []
        row = 0
        for view in self.views:
            residual, block, at = self._view(view, x, True)
            keep = np.flatnonzero(at >= 0)
            n = len(residual)
            rows.append(np.repeat(np.arange(row, row + n), len(keep)))
            columns.append(np.tile(at[keep], n))
            values.append(block[:, keep].ravel())
            row += n
        small = self._small_pulls()
        rows.append(np.arange(row, row + len(small)))
        columns.append(np.arange(self.aspect_at, self._cameras_at))
        values.append(small)
        row += len(small)
        if self.free_lens:
            # f's own mean moves with f; halving fx and fy's pull is exact enough for a prior.
            pull = self._priors(x)[1]
            rows.append(np.arange(row, row + len(pull)))
            columns.append(np.arange(len(pull)))
            values.append(np.where(np.arange(len(pull)) % LENS < 2, 0.5, 1.0) * pull)
            row += len(pull)
        where = (np.concatenate(rows), np.concatenate(columns))
        return sparse.csr_matrix((np.concatenate(values), where), shape=(row, len(x)))

    def stds(self, x: Array, columns: Indices) -> Array:
        """Standard deviations of some unknowns, from the inverse of J^T J."""
        scipy = need_scipy()
        j, r = self.jacobian(x), self.residuals(x)
        variance = float(r @ r) / max(len(r) - len(x), 1)
        picks = np.zeros((len(x), len(columns)))
        picks[columns, np.arange(len(columns))] = 1
        solved = scipy.linalg.cho_solve((_cholesky(j), True), picks)
        return np.asarray(np.sqrt(np.maximum((picks * solved).sum(axis=0) * variance, 0)), np.float64)

    def focal_std(self, x: Array) -> dict[str, float]:
        """Relative standard deviation of each focal length; 0 where it was given."""
        if not self.free_lens:
            return dict.fromkeys(self.cameras, 0.0)
        stds = self.stds(x, LENS * np.arange(len(self.cameras))) / self.unpack(x)[0][:, 0]
        return dict(zip(self.cameras, stds.tolist(), strict=True))

    def clocks(self, x: Array) -> tuple[dict[str, float], dict[str, float]]:
        """Offset and its standard deviation of each camera, s; the first has 0."""
        at = np.arange(self.offsets_at, self._cameras_at)
        offsets = [0.0, *x[at].tolist()]
        stds = [0.0, *self.stds(x, at).tolist()] if len(at) else [0.0]
        return dict(zip(self.cameras, offsets, strict=True)), dict(zip(self.cameras, stds, strict=True))


def _cholesky(jacobian: Any) -> Array:
    """Lower factor of J^T J, which is made definite where the set leaves something open."""
    normal = (jacobian.T @ jacobian).toarray()
    scale = float(np.abs(np.diag(normal)).max())
    if not np.isfinite(scale):
        raise InvalidInput(_APART)
    return np.asarray(
        need_scipy().linalg.cholesky(normal + 1e-14 * scale * np.eye(len(normal)), lower=True), np.float64
    )


def _descend(problem: Problem, start: Array, steps: int) -> Array:
    """scipy's trust region from `start`, in coordinates that make the Jacobian there orthonormal.

    Without that change LSMR needs hundreds of steps and stops early: k1..k3, focal length and distance all but trade
    places. x = start + inverse(L^T) z, with L L^T = J^T J at the start.
    """
    scipy = need_scipy()
    triangular, linear = scipy.linalg.solve_triangular, scipy.sparse.linalg
    factor = _cholesky(problem.jacobian(start))

    def x_of(z: Array) -> Array:
        return np.asarray(start + triangular(factor, z, lower=True, trans=1), np.float64)

    def jacobian(z: Array) -> Any:
        j = problem.jacobian(x_of(z))
        return linear.LinearOperator(
            j.shape,
            matvec=lambda v: j @ triangular(factor, np.ravel(v), lower=True, trans=1),
            rmatvec=lambda u: triangular(factor, j.T @ np.ravel(u), lower=True),
            dtype=np.float64,
        )

    found = scipy.optimize.least_squares(
        lambda z: problem.residuals(x_of(z)),
        np.zeros_like(start),
        jac=jacobian,
        method="trf",
        tr_solver="lsmr",
        tr_options={"atol": 1e-10, "btol": 1e-10},
        loss="huber",
        f_scale=HUBER_PX,
        max_nfev=steps,
        ftol=1e-8,
        xtol=1e-10,
    )
    return x_of(found.x)


def adjust(
    seen: Observations,
    guess: FirstGuess,
    lenses: Mapping[str, Lens],
    *,
    free_lens: bool,
) -> Solution:
    """Least squares from a first guess; corners that miss count less beyond 1 px (Huber)."""
    problem = Problem(seen, guess, lenses, free_lens)
    x = problem.start
    for steps in _ROUNDS:
        x = _descend(problem, x, steps)
    flat, cameras, boards = problem.unpack(x)
    misses = [problem.miss(v, x) for v in problem.views]
    return Solution(
        {c: lens_of(v) for c, v in zip(problem.cameras, flat, strict=True)},
        {c: pose_of(v) for c, v in zip(problem.cameras, cameras, strict=True)},
        {m: pose_of(v) for m, v in zip(problem.moments, boards, strict=True)},
        np.concatenate(misses).reshape(-1, 2),
        float(np.exp(2 * x[problem.aspect_at])),
        *problem.clocks(x),
        problem.focal_std(x),
    )
