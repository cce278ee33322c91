"""Plain NumPy twins of the C++ core: the contract, readable and slow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def decode_heatmaps(
    maps: NDArray, size: Array, affine: Array | None = None, method: str = "mean5x5"
) -> Array:
    """maps (B, K, h, w), size (B, 2) w, h px -> (B, K, 3) x_px, y_px, score; NaN, NaN, 0 where there is no peak."""
    batch, count, height, width = maps.shape
    out = np.empty((batch, count, 3))
    for b in range(batch):
        for k in range(count):
            x, y, score = decode_map(maps[b, k], method)
            point = np.array([x * size[b][0] / width, y * size[b][1] / height])
            if affine is not None:
                point = affine[b][:, :2] @ point + affine[b][:, 2]
            out[b, k] = *point, score
    return out


def decode_map(belief: NDArray, method: str) -> tuple[float, float, float]:
    """One map (h, w) -> x, y in cells and score."""
    values = belief.astype(np.float64) / (255 if belief.dtype == np.uint8 else 1)
    if np.isnan(values).any() or np.isposinf(values).any() or values.max() <= 0:
        return np.nan, np.nan, 0.0
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    peak = values[row, column]
    if method == "log_parabola":
        return column + parabola(values[row], int(column)), row + parabola(values[:, column], int(row)), peak
    reach = 4 if method == "squares9x9" else 2
    rows = slice(max(row - reach, 0), row + reach + 1)
    columns = slice(max(column - reach, 0), column + reach + 1)
    floor = 0.2 * peak if method == "mean5x5_sub" else 0.0
    weights = np.maximum(values[rows, columns] - floor, 0) / peak
    if method == "squares9x9":
        weights = weights**2
    y, x = np.mgrid[rows, columns][:, : weights.shape[0], : weights.shape[1]]
    return (weights * x).sum() / weights.sum(), (weights * y).sum() / weights.sum(), peak


def parabola(line: Array, at: int) -> float:
    """Offset of the vertex of the parabola through the logarithms round `at`; 0 at either end."""
    if at in (0, len(line) - 1):
        return 0.0
    left, right = np.log(np.maximum(line[[at - 1, at + 1]], 1e-6 * line[at]) / line[at])
    return 0.5 * (left - right) / (left + right) if left + right < 0 else 0.0


def distort(x: Array, y: Array, dist: Array) -> tuple[Array, Array]:
    """OpenCV's five terms on normalised coordinates."""
    k1, k2, p1, p2, k3 = dist
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


def fold_radius2(dist: Array) -> float:
    """Squared radius where r (1 + k1 r^2 + k2 r^4 + k3 r^6) stops growing; inf where it never does."""
    k1, k2, _, _, k3 = dist
    roots = np.roots([7 * k3, 5 * k2, 3 * k1, 1])
    real = roots.real[(abs(roots.imag) < 1e-9) & (roots.real > 0)]
    return float(real.min()) if len(real) else np.inf


def project(
    points: Array, K: Array, dist: Array, cam_from_world: Array, size: Array
) -> tuple[Array, Array, Array]:
    """points (N, 3) mm, V cameras -> points_px (V, N, 2), in_front (V, N), inside (V, N)."""
    views, count = len(K), len(points)
    pixels = np.full((views, count, 2), np.nan)
    in_front, inside = np.zeros((views, count), bool), np.zeros((views, count), bool)
    for v in range(views):
        x, y, z = cam_from_world[v][:3, :3] @ points.T + cam_from_world[v][:3, 3:]
        in_front[v] = z > 0
        x, y = x / np.where(z > 0, z, np.nan), y / np.where(z > 0, z, np.nan)
        xd, yd = distort(x, y, dist[v])
        pixels[v] = np.stack([K[v][0, 0] * xd + K[v][0, 2], K[v][1, 1] * yd + K[v][1, 2]], -1)
        held = (pixels[v] >= -0.5) & (pixels[v] < np.asarray(size[v]) - 0.5)
        inside[v] = in_front[v] & held.all(-1) & (x * x + y * y <= fold_radius2(dist[v]))
    return pixels, in_front, inside


def undistort(points_px: Array, K: Array, dist: Array) -> Array:
    """points_px (N, 2) -> normalised (N, 2), by plain fixed-point iteration: slow, sure for mild lenses."""
    goal = (points_px - K[:2, 2]) / K[[0, 1], [0, 1]]
    at = goal.copy()
    for _ in range(200):
        at = at + goal - np.stack(distort(at[:, 0], at[:, 1], dist), -1)
    return at


def triangulate_dlt(points_px: Array, K: Array, dist: Array, cam_from_world: Array) -> Array:
    """points_px (V, N, 2) -> (N, 3) mm by homogeneous DLT and SVD: no weights, no rejection."""
    normal = np.stack([undistort(p, k, d) for p, k, d in zip(points_px, K, dist, strict=True)])
    projection = cam_from_world[:, None, :3]
    rows = normal[..., None] * projection[:, :, 2:3] - projection[:, :, :2]
    system = rows.transpose(1, 0, 2, 3).reshape(points_px.shape[1], -1, 4)
    homogeneous = np.linalg.svd(system)[2][:, -1]
    return homogeneous[:, :3] / homogeneous[:, 3:]


def crop_rgb(picture: NDArray, picture_from_input: Array, side: int) -> Array:
    """One crop of (h, w, 3) uint8 BGR: (3, side, side) RGB in 0..1. Four samples a pixel where it shrinks."""
    zoom, block = np.sqrt(abs(np.linalg.det(picture_from_input[:, :2]))), 1
    while zoom > 4 * block and block < 128:
        block *= 2
    if picture.size == 0:
        return np.zeros((3, side, side))
    means = block_means(picture, block)
    steps = (-0.25, 0.25) if zoom > 1 else (0.0,)
    taps = [
        sample(means, block, picture.shape, picture_from_input, side, du, dv) for dv in steps for du in steps
    ]
    return np.mean(taps, 0)[..., ::-1].transpose(2, 0, 1) / 255


def sample(
    means: Array, block: int, shape: tuple[int, ...], affine: Array, side: int, du: float, dv: float
) -> Array:
    """Bilinear samples (side, side, 3) of block means at input pixels moved by (du, dv), 0 outside the picture."""
    v, u = np.mgrid[:side, :side]
    px, py = (a * (u + du) + b * (v + dv) + c for a, b, c in affine)
    inside = (px >= -0.5) & (px < shape[1] - 0.5) & (py >= -0.5) & (py < shape[0] - 0.5)
    x, y = (
        np.where(inside, ((at + 0.5) / block - 0.5).clip(0, length - 1), 0)
        for at, length in zip((px, py), means.shape[1::-1], strict=True)
    )
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    x1, y1 = np.minimum(x0 + 1, means.shape[1] - 1), np.minimum(y0 + 1, means.shape[0] - 1)
    fx, fy = (x - x0)[..., None], (y - y0)[..., None]
    upper = means[y0, x0] * (1 - fx) + means[y0, x1] * fx
    lower = means[y1, x0] * (1 - fx) + means[y1, x1] * fx
    return np.where(inside[..., None], upper * (1 - fy) + lower * fy, 0)


def block_means(picture: NDArray, block: int) -> Array:
    """Means of block x block pixels from the corner, rounded to whole levels; edge pixels fill up the last blocks."""
    below, beside = (-length % block for length in picture.shape[:2])
    whole = np.pad(picture, ((0, below), (0, beside), (0, 0)), mode="edge").astype(float)
    rows, columns = whole.shape[0] // block, whole.shape[1] // block
    return np.floor(whole.reshape(rows, block, columns, block, 3).mean((1, 3)) + 0.5)


def draw(image: NDArray, strokes: Array, colours: NDArray) -> NDArray:
    """A copy of (h, w, 3) uint8 with strokes (N, 5) of colours (N, 3) on it: the distance of every pixel to each."""
    out = image.astype(int)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]].astype(float)
    for (x0, y0, x1, y1, width), colour in zip(np.asarray(strokes, float), colours, strict=True):
        if not (np.abs([x0, y0, x1, y1, width]) <= 1e6).all() or not width > 0:
            continue
        dx, dy = x1 - x0, y1 - y0
        along = ((x - x0) * dx + (y - y0) * dy) / max(dx * dx + dy * dy, 1e-12)
        t = along.clip(0, 1)
        away = np.hypot(x - x0 - t * dx, y - y0 - t * dy)
        share = np.floor(256 * (width / 2 + 0.5 - away).clip(0, 1) + 0.5).astype(int)[..., None]
        out += (colour.astype(int) - out) * share + 128 >> 8
    return out.astype(np.uint8)


def extent(points_px: Array, least_score: float, turn_rad: float) -> tuple[Array, int]:
    """Box x0, y0, x1, y1 along turned axes round the points (N, 3) that score enough, and their number."""
    c, s = np.cos(turn_rad), np.sin(turn_rad)
    sure = points_px[points_px[:, 2] >= least_score, :2].astype(float) @ np.array([[c, -s], [s, c]])
    if not len(sure) or not np.isfinite(sure).all():
        return np.full(4, np.nan), len(sure)
    return np.concatenate([sure.min(0), sure.max(0)]), len(sure)


def longest_way(points: Array, chain: int, least: float) -> float:
    """Twin of `_core.longest_way`."""
    chains = points.reshape(-1, chain, 3)
    ways = np.linalg.norm(np.diff(chains[..., :2], axis=1), axis=-1)
    good = (chains[:, 1:, 2] >= least) & (chains[:, :-1, 2] >= least) & np.isfinite(ways)
    return float(ways[good].max(initial=0))


def mean_step(a: Array, b: Array) -> Array:
    """Means over the ways from a to b, (N, 3) each, of which the third number does not count: x, y, length."""
    way = b[:, :2].astype(float) - a[:, :2]
    return np.array([*way.mean(0), np.linalg.norm(way, axis=1).mean()])


def moved_back(points: Array, before: Array, share: float, joints: int, most: float) -> Array:
    """One hand (P, 3) moved by a share of its way from where it was before, unless it is another one."""
    step = (points - before)[:, :2].astype(float)
    known = np.isfinite(step).all(1)
    lengths, seen = np.linalg.norm(step[:joints], axis=1)[known[:joints]], points[:joints, :2][known[:joints]]
    out = points.copy()
    if known[:joints].any() and np.sort(lengths)[len(lengths) // 2] < most * np.ptp(seen, axis=0).max():
        out[known, :2] -= share * step[known]
    return out


def support(drawn_px: Array, read_px: Array, weight: Array, reach_px: Array) -> Array:
    """How much readings (V, R, J, 2) say the same as hands drawn into their views (V, K, J, 2): (K, V, R)."""
    square = ((drawn_px[:, :, None] - read_px[:, None]) ** 2).sum(-1)
    near = np.nan_to_num(1 / (1 + square / reach_px[:, None, :, None] ** 2))
    total = (near * weight[:, None]).sum(-1) / np.maximum(weight.sum(-1), 1e-9)[:, None]
    return total.transpose(1, 0, 2)


def one_euro(
    now: Array, last: Array, speed: Array, dt: float, size: float, rates: Array
) -> tuple[Array, Array]:
    """The One-Euro filter; rates: cutoff at rest, beta, cutoff of the speed. Smoothed points and their speed."""
    least_hz, beta, d_hz = rates

    def share(cutoff_hz: Array | float) -> Array | float:
        return 1 / (1 + 1 / (2 * np.pi * cutoff_hz * dt))

    speed = speed + share(d_hz) * ((now - last) / dt - speed)
    cutoff_hz = least_hz + beta * np.linalg.norm(speed, axis=1, keepdims=True) / max(size, 1)
    return last + share(cutoff_hz) * (now - last), speed
