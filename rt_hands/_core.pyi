"""Types and contracts of the C++ core. Letters: B batch, K maps, V views, N points, h x w cells of a map.

Every function raises ValueError, saying what came and what was wanted, for a wrong shape, dtype or camera.
Lists are taken where arrays are read; non-contiguous and read-only arrays are fine. The GIL is off during long maths.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

PeakMethod = Literal["mean5x5", "mean5x5_sub", "squares9x9", "log_parabola"]
SimdLevel = Literal["baseline", "avx2", "avx512"]
compiler: str
_Float = TypeVar("_Float", np.float32, np.float64)

def crop_rgb(
    pictures: Sequence[NDArray[np.uint8]], picture_from_input: ArrayLike, out: NDArray[np.generic]
) -> None:
    """Crops of pictures, turned and scaled, as a network's input: BGR bytes to planes of RGB in 0..1.

    pictures: B arrays (h, w, 3) uint8, one a crop; read in place where the bytes of a row lie together.
    picture_from_input (B, 2, 3): where input pixel (u, v) lies in its picture, px, centres at whole numbers.
    out (B, 3, n, n) float32, C-contiguous: written in place.

    An input pixel is the mean of four bilinear samples, at the middles of its quarters, where the crop shrinks, else
    one sample; black outside the picture. A crop that shrinks more than fourfold reads the means of blocks of
    2, 4 .. 128 px, counted from the picture's corner, so many that a pixel is at most four blocks wide.
    """

def decode_heatmaps(
    maps: NDArray[np.float32] | NDArray[np.float16] | NDArray[np.uint8],
    size: ArrayLike | None = None,
    affine: ArrayLike | None = None,
    *,
    method: PeakMethod = "mean5x5",
) -> NDArray[np.float32]:
    """Belief maps to points: argmax, then the weighted mean of the 5x5 patch round it.

    maps (B, K, h, w) float32, float16 or uint8 (255 = 1.0), any strides; each map is read once, and copied
    only where its own rows are not together. size (B, 2): w_px, h_px of the picture the maps cover;
    x_px = x_cell * w_px / w. affine (B, 2, 3): taken after size (crop px to image px), or alone from cells.
    At least one of the two. Returns (B, K, 3) float32: x_px, y_px, score; B = 0 or K = 0 gives an empty array.

    Score is the value of the peak. Equal peaks: the first in row-major order. Negative cells weigh nothing;
    the patch is clipped at the border. Absent, so NaN, NaN, 0: a peak <= 0, or a map with a NaN or +inf in it.

    method: `mean5x5` is the source's rule; `mean5x5_sub` first takes 0.2 x peak off every weight; `squares9x9`
    weights the 9x9 patch by the squares of its cells; `log_parabola` fits a parabola to the logarithms beside
    the peak (exact for Gaussians, no shift along an axis on whose border the peak lies).
    """

def draw(image: NDArray[np.uint8], strokes: NDArray[np.floating], colours: NDArray[np.uint8]) -> None:
    """Lines with round ends, and discs, drawn in place one after another, smooth and exact to the sub-pixel.

    image (h, w, 3) uint8, the pixels of a row together, rows anywhere. strokes (N, 5): x0, y0, x1, y1, width px,
    pixel centres at whole numbers; a disc is a stroke of no length, its width the diameter. colours (N, 3) uint8 BGR.

    A pixel at distance d of the middle line is covered to width / 2 + 0.5 - d, within 0..1, in steps of 1 / 256.
    Left out: strokes with a NaN or inf, beyond a million px, or of a width that is not above 0.
    """

def extent(
    points_px: NDArray[np.floating], least_score: float, turn_rad: float = 0.0
) -> tuple[float, float, float, float, int]:
    """The box round the points (N, 3: x, y, score) that score at least so much, and how many they are.

    x0, y0, x1, y1 are along axes turned clockwise by turn_rad: x = cos * x' - sin * y', y = sin * x' + cos * y'.
    NaN where one of the points is not finite, and where there is none.
    """

def longest_way(points_px: NDArray[np.floating], chain: int, least_score: float) -> float:
    """The longest way between neighbours, px, in (N, 3: x, y, score) made of chains of so many points; 0 for none.

    Ways with an end that scores less than least_score, or that is not finite, do not count.
    """

def mean_step(a: NDArray[np.floating], b: NDArray[np.floating]) -> tuple[float, float, float]:
    """Means over the ways from points a to points b, (N, 3: x, y, score) each: x, y, and the length; NaN for none."""

def moved_back(
    points_px: NDArray[np.floating],
    before: NDArray[np.floating],
    share: NDArray[np.floating],
    *,
    joints: int,
    most: float,
) -> NDArray[np.float32]:
    """Hands (N, P, 3: x, y, score), moved by shares (N,) of their ways from where they were before, (N, P, 3), too.

    A hand whose first `joints` points moved on by `most` sizes of the hand or more (their median) is another one and
    stays, and so do points that are not finite in both. ValueError for wrong shapes.
    """

def support(
    drawn_px: NDArray[np.floating],
    read_px: NDArray[np.floating],
    weight: NDArray[np.floating],
    reach_px: NDArray[np.floating],
) -> NDArray[np.float64]:
    """How much readings say the same as hands drawn into their views: (K, V, R), 0 .. 1.

    drawn_px (V, K, J, 2); read_px (V, R, J, 2), their joints' weight (V, R, J) and reach_px (V, R): the distance at
    which a joint supports by half. NaN supports nothing. ValueError for wrong shapes.
    """

def readings(
    points_px: NDArray[np.floating], *, joints: int, least: int, usual_score: float, score_fall: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """What views say of hands (V, H, P, 3: x, y, score) whose first points are the joints, J of them.

    Returns joints_px (V, H, J, 2), NaN where unseen; weight (V, H, J): exp(2 (score - usual_score) / score_fall), 0
    where unseen; size_px (V, H), the longer side of their box, 1 for none; sure (V, H), their mean score. A joint is
    seen where it is finite and scores above 0; a hand of fewer than `least` such joints is not seen at all.
    """

def right_handedness(
    joints_mm: NDArray[np.floating],
    *,
    palm: NDArray[np.integer],
    template: NDArray[np.floating],
    fingers: NDArray[np.integer],
    least_palm_joints: int,
    least_spread: float,
    least_scale_mm: float,
) -> NDArray[np.float64]:
    """How much higher the fingers stand over the palm of a right hand than of a left one: (N, J, 3) -> (N,) palms.

    palm (P,) joints that the template (P, 3) is fitted to, see `hand_frames`; fingers (F,) those whose height counts.
    NaN where no frame can be fitted. ValueError for wrong shapes and joints.
    """

def hand_frames(
    joints_mm: NDArray[np.floating],
    mirrored: NDArray[np.bool_],
    *,
    palm: NDArray[np.integer],
    template: NDArray[np.floating],
    least_palm_joints: int,
    least_spread: float,
    least_scale_mm: float,
) -> tuple[
    NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]
]:
    """The canonical frames of hands (N, J, 3), x negated where mirrored (N,): world = origin + scale * rotation @ p.

    Each is the similarity that best takes the template (P, 3) to the palm joints (P,) that are there (Umeyama 1991). A
    hand with too few of them, with all on a line (spread: second over first singular value), or too small is not
    present. Returns rotation (N, 3, 3), origin_mm (N, 3), scale_mm (N,),
    NaN where present (N,) is False; and the scale of all hands with least_palm_joints, sound or not, else NaN.
    """

def into_frames(
    points_mm: NDArray[np.floating],
    mirrored: NDArray[np.bool_],
    rotation: NDArray[np.floating],
    origin_mm: NDArray[np.floating],
    scale_mm: NDArray[np.floating],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """World points (N, P, 3) in the frames of `hand_frames`, 0 where missing; and which are there, (N, P) 0 or 1."""

def out_of_frames(
    points: NDArray[np.floating],
    mirrored: NDArray[np.bool_],
    rotation: NDArray[np.floating],
    origin_mm: NDArray[np.floating],
    scale_mm: NDArray[np.floating],
) -> NDArray[np.float64]:
    """Points (N, P, 3) of the frames of `hand_frames` in the world, mm."""

class RtcBones:
    """The network of the same name of rt_hands.training.rtc_networks, for CPUs.

    weights: its arrays by name, those of linear layers turned to (inputs, outputs). ValueError names what is missing.
    """

    def __init__(self, weights: Mapping[str, NDArray[np.floating]]) -> None: ...
    def __call__(
        self, joints: NDArray[np.floating], valid: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """joints (N, 21, 3) in the canonical frame, 0 where missing, valid (N, 21) 0 or 1.

        Returns surface (N, 64, 3) in that frame and confidence (N, 64).
        """

def mean_apart(a_mm: NDArray[np.floating], b_mm: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean distance of the points of hands (A, P, 3) and (B, P, 3) that both have: (A, B); 0 where they share none."""

def blend_skin(
    seen_mm: NDArray[np.floating], computed_mm: NDArray[np.floating], *, share: float, reach_mm: float
) -> NDArray[np.float64]:
    """Points seen (H, P, 3), NaN where not, mixed with those computed: (H, P, 3).

    share: of a point seen, 0 .. 1; of one reach_mm from the computed point half of that, less and less beyond.
    """

def one_euro(
    now: NDArray[np.floating],
    last: NDArray[np.floating],
    speed: NDArray[np.floating],
    *,
    dt_s: float,
    size: float,
    min_cutoff_hz: float,
    beta: float,
    d_cutoff_hz: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """One step of the One-Euro filter: now, last and speed (N, D) -> smoothed points and their speed, (N, D) each.

    size: of the hand, in the unit of the points, at least 1. ValueError where dt_s is not above 0.
    Casiez, Roussel, Vogel, CHI 2012.
    """

class FitOptions:
    """How the fit goes on and ends; see csrc/fit.hpp. ValueError for steps outside 0 .. 1000."""

    def __init__(
        self,
        *,
        steps: int,
        arrived: float,
        longest_step: float,
        cauchy: float,
        bone_std: float,
        own_bone_std: float,
        least_palm_joints: int,
        least_spread: float,
        least_scale_mm: float,
    ) -> None: ...

class HandFitter:
    """All joints of a hand fitted to what many views saw, to the lengths of bones and to the shape of hands.

    In palms and the canonical frame: mean (21, 3), precision (63, 63) symmetric, bones (20,) lengths; pairs (20, 2):
    their parents and children; palm_joints (P,) and palm_template (P, 3): what the frame is fitted to.
    """

    def __init__(
        self,
        *,
        mean: NDArray[np.floating],
        precision: NDArray[np.floating],
        bones: NDArray[np.floating],
        pairs: NDArray[np.integer],
        palm_joints: NDArray[np.integer],
        palm_template: NDArray[np.floating],
    ) -> None: ...
    def __call__(
        self,
        points_px: NDArray[np.floating],
        weights: NDArray[np.floating],
        noise_px: NDArray[np.floating],
        bones_mm: NDArray[np.floating],
        mirrored: NDArray[np.bool_],
        start_mm: NDArray[np.floating],
        K: ArrayLike,
        dist: ArrayLike,
        cam_from_world: ArrayLike,
        options: FitOptions,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """points_px (V, H, 21, 2), weights (V, H, 21), 0 where unseen; noise_px (H,) of a point of weight 1.

        bones_mm (H, 20) lengths known from the past, NaN where not. mirrored (H,): left hands. start_mm (H, 21, 3), NaN
        where unknown. Cameras as in `project`. Returns joints_mm (H, 21, 3), NaN for hands without a frame, and
        apart_px (V, H, 21), how far each view's points lie from them, NaN where unseen.
        """

def project(
    points: NDArray[_Float],
    K: ArrayLike,
    dist: ArrayLike,
    cam_from_world: ArrayLike,
    size: ArrayLike | None,
) -> tuple[NDArray[_Float], NDArray[np.bool_], NDArray[np.bool_]]:
    """World points into every camera, with OpenCV's five distortion terms (as cv2.projectPoints).

    points (N, 3) mm, float32 or float64: the answer has the same dtype. float32 is within 1e-4 px of float64 up to
    2048 px; beyond, where float32 itself is up to 1.2e-4 px off, it is the float64 answer rounded once.
    K (V, 3, 3) px without skew, dist (V, 5) k1 k2 p1 p2 k3, cam_from_world (V, 3, 4) or (V, 4, 4) mm,
    size (V, 2) w_px, h_px (None: nothing is inside).

    Returns points_px (V, N, 2), in_front (V, N) bool, inside (V, N) bool. in_front: depth > 0. inside: in
    front, -0.5 <= x < w - 0.5 (pixel centre at 0), the same for y, and within the radius up to which the
    lens model is one-to-one. Behind the camera, or from a NaN or inf point: NaN, NaN, False, False.
    """

def triangulate(
    points_px: NDArray[np.float64] | NDArray[np.float32],
    scores: NDArray[np.float64] | NDArray[np.float32],
    K: ArrayLike,
    dist: ArrayLike,
    cam_from_world: ArrayLike,
    *,
    min_score: float = 0.0,
    max_residual_px: float = 10.0,
    reject: bool = True,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Points seen by V calibrated cameras to 3D, score-weighted, without the views that disagree.

    points_px (V, N, 2) distorted pixels, scores (V, N), cameras as in `project`.
    Returns points_mm (N, 3) world, residual_px (N,) score-weighted RMS over the views used, views (N,) how
    many were used, used (V, N) bool which.

    A view is usable with a finite pixel that a ray of its lens reaches and a finite score > 0, >= min_score.
    Fewer than two (V = 0 and V = 1 too), or rays without parallax: NaN, NaN, 0, all False.
    The point minimises sum(score * residual_px ** 2) over the views used.

    reject: when some view is over 3 px off (or over max_residual_px), pairs of views propose points, the one
    that the others contradict least is kept, and only views near it are used: within max_residual_px, and with
    four usable views or more within 2.5 robust standard deviations of the residuals too, never less than 2 px.
    Two wrong views of eight are found; of four views, one; of three, the pair that agrees best is kept, which a
    wrong view whose error runs along an epipolar line can be part of; two that disagree give no point.
    reject=False uses every usable view; a point behind one of them is NaN.
    """

def simd_level() -> SimdLevel:
    """The instruction set in use: the best of the machine unless set_simd_level chose a lower one."""

def simd_levels() -> list[SimdLevel]:
    """Every level this machine can run, lowest first."""

def set_simd_level(level: SimdLevel) -> None:
    """Choose the instruction set, for tests and benches. ValueError for one that this machine lacks."""

def _read_floor(data: NDArray[np.generic]) -> int:
    """Sum of the bytes of a C-contiguous array as 64-bit words, read once: the floor decode is measured against."""
