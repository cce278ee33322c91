"""`python -m rt_hands.synth bench`: finished 368 px one-hand pictures a second, and what each part costs.

Direct: pose, dress, render, lay over a background, camera effects; with smoothed edges (4x MSAA) or plain ones that
only the lens blur softens. Composited: a sprite from a shard is turned, scaled and laid over a background, then the
same effects; its rendering is paid once however often it is used.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from rt_hands.synth import backgrounds, lights, look, people, scene, sprites, staging
from rt_hands.synth.render import renderer
from rt_hands.synth.truth import view_truth

U8 = NDArray[np.uint8]

SIZE_PX = 368
LOOK: lights.Look = "webcam"
WAYS = ("direct, 4x MSAA", "direct, plain", "composited")


class Clock:
    """Adds up process time by name; process time, because other work on the machine must not count."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def __call__(self, name: str, part: Callable[[], Any]) -> Any:
        """Run a part and add its time."""
        start = time.process_time()
        result = part()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.process_time() - start
        return result


def direct(seed: int, index: int, clock: Clock, samples: int) -> U8:
    """A finished picture rendered for itself; with samples 0 its edges are softened by the lens blur alone."""
    rng = np.random.default_rng([seed, index])
    seen = clock("person and pose", lambda: people.sample_hands(rng, "train", False))
    outfit = staging.random_outfit(rng, seen.skin)
    meshes = clock(
        "skin, sleeve, watch, ring",
        lambda: [m for h in seen.hands for m in (staging.skin_mesh(h, outfit), *staging.worn(h, outfit))],
    )
    camera = sprites.sprite_camera(rng, seen).resized((SIZE_PX, SIZE_PX))
    light = lights.sample(LOOK, rng, -camera.rotation[1], -camera.rotation[2])
    capsules = staging.capsules_of(seen.hands)
    drawn = clock(
        "render (light, shadow, depth)", lambda: renderer(samples).draw(meshes, camera, light, capsules)
    )
    points, normals = staging.points_of(seen.hands)
    clock("truth (projection, visibility, masks)", lambda: view_truth(drawn, camera, points, normals))
    rgba = drawn.rgba if samples else clock("soften edges", lambda: cv2.GaussianBlur(drawn.rgba, (0, 0), 0.6))
    return finished(np.asarray(rgba), rng, clock)


def composited(sample: dict[str, bytes], seed: int, index: int, clock: Clock) -> U8:
    """A finished picture from an encoded sprite."""
    rng = np.random.default_rng([seed, index])
    sprite = clock("decode the sprite", lambda: sprites.decode(sample))
    rgba = clock("turn and scale", lambda: _turned(sprite.rgba, rng))
    return finished(rgba, rng, clock)


def _turned(rgba: U8, rng: np.random.Generator) -> U8:
    middle = (rgba.shape[1] / 2, rgba.shape[0] / 2)
    matrix = cv2.getRotationMatrix2D(middle, rng.uniform(-60, 60), SIZE_PX / 220)
    matrix[:, 2] += SIZE_PX / 2 - np.array(middle)
    return np.asarray(cv2.warpAffine(rgba, matrix, (SIZE_PX, SIZE_PX), flags=cv2.INTER_LINEAR))


def finished(rgba: U8, rng: np.random.Generator, clock: Clock) -> U8:
    """Background and camera effects, the same for both ways."""
    behind = clock("background", lambda: backgrounds.sample(LOOK, rng, (SIZE_PX, SIZE_PX)))
    image = clock("lay over", lambda: scene.laid_over(rgba, behind))
    effects = look.sample(LOOK, rng)
    return clock("blur, white balance, noise, JPEG", lambda: look.apply(image, effects))


def _run(way: str, n: int, seed: int) -> tuple[float, dict[str, float]]:
    """Seconds of wall and per part for n pictures, after a warm-up that loads skins, people and shaders."""
    made = [dict(sprites.encode(sprites.make(seed, i))) for i in range(40)]
    clock = Clock()

    def make(i: int) -> U8:
        if way == "composited":
            return composited(made[i % len(made)], seed, i, clock)
        return direct(seed, i, clock, 4 if "MSAA" in way else 0)

    for i in range(20):
        make(i)
    clock.seconds.clear()
    start = time.perf_counter()
    for i in range(n):
        make(20 + i)
    return time.perf_counter() - start, clock.seconds


@dataclass(frozen=True, slots=True)
class Options:
    """Finished 368 px one-hand pictures a second, direct and composited, and milliseconds a part."""

    n: int = 200
    """Pictures a process and way."""
    processes: int = 2
    """How many render at the same time."""
    seed: int = 0
    """Of the pictures."""


def main(argv: Sequence[str]) -> int:
    """Parse the options, measure, print."""
    options = tyro.cli(Options, args=argv, prog="python -m rt_hands.synth bench")
    console = Console()
    for way in WAYS:
        context = multiprocessing.get_context("spawn")
        with context.Pool(options.processes) as pool:
            results = pool.starmap(
                _run, [(way, options.n, options.seed + k) for k in range(options.processes)]
            )
        console.print(_table(way, options, results))
    return 0


def _table(way: str, options: Options, results: list[tuple[float, dict[str, float]]]) -> Table:
    wall = max(seconds for seconds, _ in results)
    rate = options.n * options.processes / wall
    busy = sum(sum(parts.values()) for _, parts in results)
    by_cpu = options.n * options.processes * options.processes / busy
    title = (
        f"{way}: {rate:.1f} pictures/s by the clock, {by_cpu:.1f}/s by process time "
        f"({options.processes} processes, {renderer().name})"
    )
    table = Table("part", "ms a picture", title=title)
    for name in results[0][1]:
        table.add_row(name, f"{1e3 * np.mean([parts[name] for _, parts in results]) / options.n:.2f}")
    return table
