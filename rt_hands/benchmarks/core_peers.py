"""What a user would write instead of the C++ core: NumPy, cv2, torch and DARK, each written to be fast."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

# --- decode: maps (B, K, h, w) float32 -> (B, K, 3) x_px, y_px, score, size w, h px for all of them


def numpy_decode(maps: Array, size: tuple[float, float]) -> Array:
    """argmax of all maps at once, then all 5x5 patches gathered at once."""
    batch, count, height, width = maps.shape
    flat = maps.reshape(batch * count, height * width)
    at = flat.argmax(1)
    score = np.take_along_axis(flat, at[:, None], 1)[:, 0]
    row, column = np.divmod(at, width)
    reach = np.arange(-2, 3)
    rows, columns = row[:, None] + reach, column[:, None] + reach
    held = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
    index = rows.clip(0, height - 1)[:, :, None] * width + columns.clip(0, width - 1)[:, None, :]
    patch = np.take_along_axis(flat, index.reshape(len(flat), 25), 1).reshape(-1, 5, 5)
    weights = np.maximum(patch, 0) * held
    total = weights.sum((1, 2))
    x = (weights.sum(1) * columns).sum(1) / total * (size[0] / width)
    y = (weights.sum(2) * rows).sum(1) / total * (size[1] / height)
    return np.stack([x, y, score], -1).reshape(batch, count, 3)


def dark_decode(maps: Array, size: tuple[float, float], kernel: int = 11) -> Array:
    """DARK (Zhang et al., CVPR 2020): blur keeping the peak's height, logarithm, one Newton step at the argmax."""
    batch, count, height, width = maps.shape
    out = np.empty((batch, count, 3), np.float32)
    border = (kernel - 1) // 2
    for b in range(batch):
        for k in range(count):
            belief = maps[b, k]
            row, column = divmod(int(belief.argmax()), width)
            score = belief[row, column]
            padded = np.zeros((height + 2 * border, width + 2 * border), np.float32)
            padded[border:-border, border:-border] = belief
            blurred = cv2.GaussianBlur(padded, (kernel, kernel), 0)[border:-border, border:-border]
            peak = blurred.max()
            logs = np.log(np.maximum(blurred * (score / peak if peak > 0 else 1), 1e-10))
            x, y = _taylor(logs, row, column)
            out[b, k] = x * size[0] / width, y * size[1] / height, score
    return out


def _taylor(logs: Array, row: int, column: int) -> tuple[float, float]:
    height, width = logs.shape
    if not (1 < column < width - 2 and 1 < row < height - 2):
        return column, row
    slope = 0.5 * np.array(
        [logs[row, column + 1] - logs[row, column - 1], logs[row + 1, column] - logs[row - 1, column]]
    )
    dxx = 0.25 * (logs[row, column + 2] - 2 * logs[row, column] + logs[row, column - 2])
    dyy = 0.25 * (logs[row + 2, column] - 2 * logs[row, column] + logs[row - 2, column])
    dxy = 0.25 * (
        logs[row + 1, column + 1]
        - logs[row - 1, column + 1]
        - logs[row + 1, column - 1]
        + logs[row - 1, column - 1]
    )
    bend = np.array([[dxx, dxy], [dxy, dyy]])
    if dxx * dyy - dxy * dxy == 0:
        return column, row
    step = -np.linalg.inv(bend) @ slope
    return column + float(step[0]), row + float(step[1])


def bicubic_decode(maps: Array, size: tuple[float, float]) -> Array:
    """Every map enlarged to the picture by bicubic interpolation, then its argmax."""
    out = np.empty((*maps.shape[:2], 3), np.float32)
    target = (int(size[0]), int(size[1]))
    for b in range(maps.shape[0]):
        for k in range(maps.shape[1]):
            large = cv2.resize(maps[b, k], target, interpolation=cv2.INTER_CUBIC)
            _, score, _, place = cv2.minMaxLoc(large)
            out[b, k] = *place, score
    return out


def torch_decode(maps: Array, size: tuple[float, float]) -> Callable[[], object] | None:
    """The NumPy way in torch, one thread; None without torch."""
    try:
        import torch
        from torch.nn.functional import pad
    except ImportError:
        return None
    tensor = torch.from_numpy(maps)
    _, _, height, width = maps.shape
    reach = torch.arange(-2, 3)
    columns_of_patch, rows_of_patch = reach.repeat(5), reach.repeat_interleave(5)

    def run() -> object:
        flat = tensor.flatten(2)
        score, at = flat.max(-1)
        row, column = at // width, at % width
        padded = pad(tensor, (2, 2, 2, 2)).flatten(2)
        corner = (row + 2) * (width + 4) + column + 2
        weights = padded.gather(
            2, corner[..., None] + rows_of_patch * (width + 4) + columns_of_patch
        ).clamp_min(0)
        total = weights.sum(-1)
        x = column + (weights * columns_of_patch).sum(-1) / total
        y = row + (weights * rows_of_patch).sum(-1) / total
        return torch.stack([x * (size[0] / width), y * (size[1] / height), score], -1).numpy()

    return run


# --- project: points (N, 3), K (V, 3, 3), dist (V, 5), poses (V, 3, 4) -> (V, N, 2)


def cv2_project(points: Array, K: Array, dist: Array, poses: Array) -> Array:
    """cv2.projectPoints in a loop, Rodrigues vectors made beforehand by the caller: poses (V, 6)."""
    out = np.empty((len(K), len(points), 2))
    for v in range(len(K)):
        out[v] = cv2.projectPoints(points, poses[v, :3], poses[v, 3:], K[v], dist[v])[0][:, 0]
    return out


def numpy_project(points: Array, K: Array, dist: Array, poses: Array) -> Array:
    """All cameras at once, float64."""
    x, y, z = np.moveaxis(points @ poses[:, :, :3].transpose(0, 2, 1) + poses[:, None, :, 3], -1, 0)
    x, y = x / z, y / z
    r2 = x * x + y * y
    k1, k2, p1, p2, k3 = (dist[:, i, None] for i in range(5))
    factor = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)) + 2 * (p1 * y + p2 * x)
    u = K[:, 0, 0, None] * (x * factor + p2 * r2) + K[:, 0, 2, None]
    v = K[:, 1, 1, None] * (y * factor + p1 * r2) + K[:, 1, 2, None]
    return np.stack([u, v], -1)


def torch_project(points: Array, K: Array, dist: Array, poses: Array) -> Callable[[], object] | None:
    """The NumPy way in torch, one thread; None without torch."""
    try:
        import torch
    except ImportError:
        return None
    p, rotation = torch.from_numpy(points), torch.from_numpy(poses[:, :, :3].transpose(0, 2, 1).copy())
    shift, k, d = torch.from_numpy(poses[:, None, :, 3].copy()), torch.from_numpy(K), torch.from_numpy(dist)

    def run() -> object:
        x, y, z = (p.to(rotation.dtype) @ rotation + shift).unbind(-1)
        x, y = x / z, y / z
        r2 = x * x + y * y
        k1, k2, p1, p2, k3 = (d[:, i, None] for i in range(5))
        factor = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)) + 2 * (p1 * y + p2 * x)
        u = k[:, 0, 0, None] * (x * factor + p2 * r2) + k[:, 0, 2, None]
        v = k[:, 1, 1, None] * (y * factor + p1 * r2) + k[:, 1, 2, None]
        return torch.stack([u, v], -1).numpy()

    return run


# --- triangulate: undistorted directions (V, N, 2), poses (V, 3, 4) -> (N, 3)


def svd_batched(flat: Array, poses: Array) -> Array:
    """Homogeneous DLT of every point in one numpy.linalg.svd. No lens, no weights, no rejection."""
    rows = flat[..., None] * poses[:, None, 2:3] - poses[:, None, :2]
    system = rows.transpose(1, 0, 2, 3).reshape(flat.shape[1], -1, 4)
    homogeneous = np.linalg.svd(system)[2][:, -1]
    return homogeneous[:, :3] / homogeneous[:, 3:]


def svd_loop(flat: Array, poses: Array) -> Array:
    """The same, a point at a time."""
    return np.concatenate([svd_batched(flat[:, i : i + 1], poses) for i in range(flat.shape[1])])


def undistort_cv2(pixels: Array, K: Array, dist: Array) -> Array:
    """cv2.undistortPoints a view at a time: what the SVD needs first."""
    flat = [cv2.undistortPoints(p[:, None], k, d)[:, 0] for p, k, d in zip(pixels, K, dist, strict=True)]
    return np.stack(flat)


def undistort_svd(pixels: Array, K: Array, dist: Array, poses: Array) -> Array:
    """From pixels, as ours: cv2.undistortPoints, then one batched SVD."""
    return svd_batched(undistort_cv2(pixels, K, dist), poses)


def aniposelib_triangulate(
    pixels: Array, K: Array, dist: Array, vectors: Array
) -> Callable[[], object] | None:
    """aniposelib's CameraGroup.triangulate from pixels, compiled before; None without aniposelib."""
    try:
        from aniposelib.cameras import Camera, CameraGroup
    except ImportError:
        return None
    cameras = [
        Camera(matrix=k, dist=d, size=(1280, 720), rvec=v[:3], tvec=v[3:], name=str(i))
        for i, (k, d, v) in enumerate(zip(K, dist, vectors, strict=True))
    ]
    group = CameraGroup(cameras)
    group.triangulate(pixels)
    return lambda: group.triangulate(pixels)
