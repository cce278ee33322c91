"""The calls that `python -m rt_hands.bench guard` counts the instructions of. Run as a script, with the core's file.

Imports NumPy and the core alone: under valgrind every import costs seconds.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import numpy as np

LEVELS = ("baseline", "avx2")  # valgrind knows no AVX-512
CALLS = 20


def load_core(path: str) -> ModuleType:
    """The extension module without the package round it."""
    spec = importlib.util.spec_from_file_location("rt_hands._core", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no extension module.")
    core = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(core)
    return core


def scene(views: int, count: int) -> tuple[np.ndarray, ...]:
    """Points (count, 3) mm and cameras on a circle of 1 m: K, dist, cam_from_world (V, 3, 4), size."""
    points = np.random.default_rng(1).normal(0, 60, (count, 3))
    angle = 2 * np.pi * np.arange(views) / max(views, 5)
    poses = np.zeros((views, 3, 4))
    poses[:, 0, 0] = poses[:, 2, 2] = np.cos(angle)
    poses[:, 0, 2], poses[:, 2, 0] = np.sin(angle), -np.sin(angle)
    poses[:, 1, 1], poses[:, 2, 3] = 1, 1000
    K = np.tile(np.array([[1000.0, 0, 639.5], [0, 1010, 359.5], [0, 0, 1]]), (views, 1, 1))
    dist = np.tile([-0.2, 0.05, 1e-3, -2e-3, 0.01], (views, 1))
    return points, K, dist, poses, np.tile([1280.0, 720.0], (views, 1))


def belief_maps() -> np.ndarray:
    """(1, 170, 45, 45) float32: a Gaussian a map, and noise."""
    rng = np.random.default_rng(0)
    centre = rng.uniform(3, 41, (170, 2, 1, 1))
    y, x = np.mgrid[:45, :45]
    square = (x - centre[:, 0]) ** 2 + (y - centre[:, 1]) ** 2
    return (np.exp(-square / 4.5) + rng.normal(0, 0.01, square.shape)).astype(np.float32)[None]


def make_calls(core: ModuleType, levels: tuple[str, ...]) -> None:
    """Every function CALLS times at each level, on inputs that never change."""
    maps, size = belief_maps(), np.array([[368.0, 368.0]])
    points, *cameras = scene(80, 170)
    few, K, dist, poses, picture = scene(8, 42)
    pixels = core.project(few, K, dist, poses, picture)[0]
    noisy = pixels + np.random.default_rng(3).normal(0, 1, pixels.shape)
    scores = np.ones(pixels.shape[:2])
    for level in levels:
        core.set_simd_level(level)
        for _ in range(CALLS):
            core.decode_heatmaps(maps, size)
            core.project(points.astype(np.float32), *cameras)
            core.triangulate(noisy, scores, K, dist, poses)


if __name__ == "__main__":
    module = load_core(sys.argv[1])
    make_calls(module, tuple(level for level in LEVELS if level in module.simd_levels()))
