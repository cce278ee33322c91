"""python -m rt_hands.bench core: decode, project and triangulate beside their peers and the floor, one thread each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import cv2
import numpy as np
import tyro
from rich.console import Console

from rt_hands import _core
from rt_hands.benchmarks import core_peers as peers
from rt_hands.benchmarks.timing import Timing, interleave, print_machine, print_table, write_json

SIZE = (368.0, 368.0)
DIST = np.array([-0.2, 0.05, 1e-3, -2e-3, 0.01])


@dataclass(frozen=True)
class Options:
    """Time the C++ core beside NumPy, cv2, torch and DARK, taking turns, on one thread."""

    json: str | None = None
    """Write every figure to this file."""
    seconds: float = 8.0
    """Time to spend on each table."""
    part: Annotated[tuple[Literal["decode", "project", "triangulate"], ...], tyro.conf.UseAppendAction] = ()
    """Only these parts; default all."""


def main(argv: Sequence[str]) -> int:
    """Measure, print, write."""
    options = tyro.cli(
        Options, args=list(argv), prog="python -m rt_hands.bench core", description=Options.__doc__
    )
    _one_thread()
    header = {**print_machine(), "simd_level": _core.simd_level()}
    tables: dict[str, Callable[[float], dict[str, object]]] = {
        "decode": decode_tables,
        "project": project_tables,
        "triangulate": triangulate_tables,
    }
    chosen: tuple[str, ...] = options.part or tuple(tables)
    results = {name: tables[name](options.seconds) for name in chosen}
    if options.json:
        write_json(options.json, header, results)
    return 0


def _one_thread() -> None:
    cv2.setNumThreads(1)
    try:
        import torch
    except ImportError:
        Console().print("torch is not installed: its rows are left out.")
        return
    torch.set_num_threads(1)


def noisy_gaussians(batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Maps (batch, 170, 45, 45) float32, Gaussians of sigma 1.5 cells and 0.01 of noise; centres in cells."""
    rng = np.random.default_rng(0)
    centres = rng.uniform(3, 41, (batch, 170, 2))
    y, x = np.mgrid[:45, :45]
    square = (x - centres[..., :1, None]) ** 2 + (y - centres[..., 1:, None]) ** 2
    return (np.exp(-square / 4.5) + rng.normal(0, 0.01, square.shape)).astype(np.float32), centres


def _levels(call: Callable[[], object]) -> dict[str, Callable[[], object]]:
    """The call at each SIMD level below the machine's own, which is left as it was."""
    best = _core.simd_level()

    def at(name: str) -> Callable[[], object]:
        def run() -> object:
            _core.set_simd_level(name)  # type: ignore[arg-type]
            answer = call()
            _core.set_simd_level(best)
            return answer

        return run

    return {f"ours, {name}": at(name) for name in reversed(_core.simd_levels()[:-1])}


def decode_tables(seconds: float) -> dict[str, object]:
    """(1, 170, 45, 45) and (8, 170, 45, 45) float32, the same buffer each time; then buffers beyond the cache."""
    results: dict[str, object] = {}
    for batch in (1, 8):
        maps, centres = noisy_gaussians(batch)
        size = np.tile(SIZE, (batch, 1))
        calls: dict[str, Callable[[], object]] = {
            "ours": partial(_core.decode_heatmaps, maps, size),
            "floor: one read": partial(_core._read_floor, maps),
            **_levels(partial(_core.decode_heatmaps, maps, size)),
            "ours, 0.2 max off": partial(_core.decode_heatmaps, maps, size, method="mean5x5_sub"),
            "ours, 9x9 squares": partial(_core.decode_heatmaps, maps, size, method="squares9x9"),
            "ours, log parabola": partial(_core.decode_heatmaps, maps, size, method="log_parabola"),
            "NumPy, vectorised": partial(peers.numpy_decode, maps, SIZE),
            "DARK": partial(peers.dark_decode, maps, SIZE),
            "bicubic + argmax": partial(peers.bicubic_decode, maps, SIZE),
        }
        torch_call = peers.torch_decode(maps, SIZE)
        if torch_call is not None:
            calls["torch"] = torch_call
        notes = {name: _decode_error(call, centres) for name, call in calls.items() if "floor" not in name}
        timings = interleave(calls, seconds, title=f"decode B={batch}")
        print_table(f"decode ({batch}, 170, 45, 45) float32, same buffer", timings, "ours", notes)
        results[f"batch_{batch}"] = timings
    results["rotating_buffers"] = _decode_from_memory(seconds / 2)
    return results


def _decode_error(call: Callable[[], object], centres: np.ndarray) -> str:
    points = np.asarray(call())[..., :2] * 45 / np.array(SIZE)
    return f"{np.linalg.norm(points - centres, axis=-1).mean():.3f} cells off"


def _decode_from_memory(seconds: float) -> dict[str, Timing]:
    """The same with 64 MB of buffers in turn: nothing is in the cache when it is read."""
    buffers = [noisy_gaussians(1)[0]]
    buffers += [buffers[0].copy() for _ in range(47)]
    turn = {"ours": 0, "floor: one read": 24}

    def next_buffer(name: str) -> np.ndarray:
        turn[name] = (turn[name] + 1) % len(buffers)
        return buffers[turn[name]]

    size = np.array([SIZE])
    calls: dict[str, Callable[[], object]] = {
        "ours": lambda: _core.decode_heatmaps(next_buffer("ours"), size),
        "floor: one read": lambda: _core._read_floor(next_buffer("floor: one read")),
    }
    timings = interleave(calls, seconds, title="decode from memory")
    print_table("decode (1, 170, 45, 45) float32, 64 MB of buffers in turn", timings, "ours")
    return timings


def ring(views: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cameras on a circle of 1 m: K (V, 3, 3), dist (V, 5), cam_from_world (V, 3, 4) mm, size (V, 2)."""
    K = np.tile(np.array([[1000.0, 0, 639.5], [0, 1010, 359.5], [0, 0, 1]]), (views, 1, 1))
    poses = np.empty((views, 3, 4))
    for v in range(views):
        poses[v, :, :3] = cv2.Rodrigues(np.array([0.0, 2 * np.pi * v / max(views, 5), 0]))[0]
        poses[v, :, 3] = [0, 0, 1000]
    return K, np.tile(DIST, (views, 1)), poses, np.tile([1280.0, 720.0], (views, 1))


def project_tables(seconds: float) -> dict[str, object]:
    """170 points into 1, 8 and 80 cameras."""
    results: dict[str, object] = {}
    points = np.random.default_rng(1).normal(0, 60, (170, 3)).astype(np.float32)
    for views in (1, 8, 80):
        K, dist, poses, size = ring(views)
        vectors = np.stack([np.append(cv2.Rodrigues(p[:, :3])[0], p[:, 3]) for p in poses])
        calls: dict[str, Callable[[], object]] = {
            "ours, float32": partial(_core.project, points, K, dist, poses, size),
            "ours, float64": partial(_core.project, points.astype(float), K, dist, poses, size),
            **_levels(partial(_core.project, points, K, dist, poses, size)),
            "cv2.projectPoints loop": partial(peers.cv2_project, points, K, dist, vectors),
            "NumPy, vectorised": partial(peers.numpy_project, points, K, dist, poses),
        }
        torch_call = peers.torch_project(points, K, dist, poses)
        if torch_call is not None:
            calls["torch"] = torch_call
        truth = peers.cv2_project(points.astype(float), K, dist, vectors)
        notes = {name: _project_error(call, truth) for name, call in calls.items()}
        timings = interleave(calls, seconds / 2, title=f"project V={views}")
        print_table(f"project 170 points into {views} cameras", timings, "ours, float32", notes)
        results[f"views_{views}"] = timings
    return results


def _project_error(call: Callable[[], object], truth: np.ndarray) -> str:
    answer = call()
    pixels = answer[0] if isinstance(answer, tuple) else answer
    return f"max {np.abs(np.asarray(pixels) - truth).max():.1e} px off"


def triangulate_tables(seconds: float) -> dict[str, object]:
    """42 points from 2, 8 and 40 views: clean; then 1 px of noise and two wrong views of eight."""
    results: dict[str, object] = {}
    truth = np.random.default_rng(2).normal(0, 60, (42, 3))
    for views in (2, 8, 40):
        K, dist, poses, _ = ring(views)
        vectors = np.stack([np.append(cv2.Rodrigues(p[:, :3])[0], p[:, 3]) for p in poses])
        pixels = peers.cv2_project(truth, K, dist, vectors)
        scores = np.ones((views, 42))
        flat = peers.undistort_cv2(pixels, K, dist)
        calls: dict[str, Callable[[], object]] = {
            "ours": partial(_core.triangulate, pixels, scores, K, dist, poses),
            **_levels(partial(_core.triangulate, pixels, scores, K, dist, poses)),
            "NumPy SVD, batched": partial(peers.svd_batched, flat, poses),
            "NumPy SVD, a loop": partial(peers.svd_loop, flat, poses),
            "cv2 undistort + batched SVD": partial(peers.undistort_svd, pixels, K, dist, poses),
        }
        anipose = peers.aniposelib_triangulate(pixels, K, dist, vectors)
        if anipose is not None:
            calls["aniposelib"] = anipose
        notes = {
            "ours": f"max {np.abs(_core.triangulate(pixels, scores, K, dist, poses)[0] - truth).max():.0e} mm off"
        }
        if views == 8:
            calls.update(_hard_cases(pixels, scores, (K, dist, poses)))
        timings = interleave(calls, seconds / 2, title=f"triangulate V={views}")
        print_table(f"triangulate 42 points from {views} views", timings, "ours", notes)
        results[f"views_{views}"] = timings
    return results


def _hard_cases(
    pixels: np.ndarray, scores: np.ndarray, cameras: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> dict[str, Callable[[], object]]:
    """Ours with 1 px of noise; and with two views of eight wrong for every point, which searches for them all."""
    rng = np.random.default_rng(3)
    noisy = pixels + rng.normal(0, 1, pixels.shape)
    wrong = np.argsort(rng.random(scores.shape), 0) < 2
    broken = noisy + np.where(wrong[..., None], rng.normal(0, 80, pixels.shape), 0)
    return {
        "ours, 1 px of noise": lambda: _core.triangulate(noisy, scores, *cameras),
        "ours, 2 of 8 views wrong": lambda: _core.triangulate(broken, scores, *cameras),
    }
