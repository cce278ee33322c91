"""Fuzz the Python bindings of the C++ core: good, strange and wrong arrays in every place.

Every call must answer or raise ValueError (MemoryError and TypeError for what Python itself refuses).
Meant for a build with sanitizers: `tests/sanitize.sh`. By hand: `python tests/fuzz_core.py 1000000 SEED`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from rt_hands import _core

Generator = np.random.Generator
DTYPES = ["f4", "f8", "f2", "u1", "i4", "i8", "?", ">f4", "c8", "O", "S3", "m8[s]"]
STRANGE = [None, 3, "text", b"bytes", [], [[]], [1, 2], {}, object(), np.nan, [[1, 2], [3]], range(4)]


def values(rng: Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Sensible numbers, now and then with NaN, inf or any bit pattern."""
    kind = rng.integers(6)
    if kind == 0:
        return rng.integers(0, 2**63, shape, dtype=np.int64).view(np.float64)
    out = rng.normal(300, 300, shape)
    if kind == 1 and out.size:
        out.flat[rng.integers(out.size)] = rng.choice([np.nan, np.inf, -np.inf, 1e308, 0.0])
    return out


def twisted(rng: Generator, array: np.ndarray) -> object:
    """The array itself most often; else another dtype, stride, rank, alignment or something that is no array."""
    kind = int(rng.integers(24))
    if kind == 0:
        return STRANGE[rng.integers(len(STRANGE))]
    if kind == 1:
        with np.errstate(all="ignore"):
            return array.astype(DTYPES[rng.integers(len(DTYPES))])
    if kind == 2:
        return array[..., None]
    if kind == 3 and array.ndim:
        return array[..., ::-1]
    if kind == 4 and array.ndim:
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 0, -1)), -1, 0)
    if kind == 5 and array.ndim:
        return array[:-1]
    if kind == 6:
        raw = np.frombuffer(b"x" + array.tobytes(), np.uint8)[1:]
        return raw.view(array.dtype).reshape(array.shape) if array.size else array
    if kind == 7 and array.ndim:
        return np.broadcast_to(array[:1], array.shape) if len(array) else array
    return array


def fuzz_decode(rng: Generator) -> None:
    shape = (*rng.integers(0, 3, 2), *rng.integers(0, 12, 2))
    maps = values(rng, shape)
    dtype = rng.choice(["f4", "f2", "u1"])
    with np.errstate(all="ignore"):
        maps = np.nan_to_num(maps).clip(0, 255).astype("u1") if dtype == "u1" else maps.astype(dtype)
    size = twisted(rng, values(rng, (shape[0], 2))) if rng.integers(4) else None
    affine = twisted(rng, values(rng, (shape[0], 2, 3))) if rng.integers(2) else None
    method = rng.choice(["mean5x5", "mean5x5_sub", "squares9x9", "log_parabola", "none"])
    _core.decode_heatmaps(twisted(rng, maps), size, affine, method=str(method))  # type: ignore[arg-type]


def fuzz_crop(rng: Generator) -> None:
    count, side = int(rng.integers(0, 3)), int(rng.integers(0, 24))
    pictures = [rng.integers(0, 256, (*rng.integers(0, 24, 2), 3), np.uint8) for _ in range(count)]
    affines = rng.normal(0, 2, (count, 2, 3)) if rng.integers(4) else values(rng, (count, 2, 3))
    out = np.zeros((count, 3, side, side), np.float32)
    _core.crop_rgb([twisted(rng, p) for p in pictures], twisted(rng, affines), twisted(rng, out))  # type: ignore[misc,arg-type]


def fuzz_draw(rng: Generator) -> None:
    count = int(rng.integers(0, 9))
    image = np.zeros((*rng.integers(0, 24, 2), 3), np.uint8)
    strokes = rng.normal(10, 10, (count, 5)) if rng.integers(4) else values(rng, (count, 5))
    with np.errstate(all="ignore"):
        strokes = strokes.astype(rng.choice(["f4", "f8"]))
    colours = rng.integers(0, 256, (count, 3), np.uint8)
    _core.draw(twisted(rng, image), twisted(rng, strokes), twisted(rng, colours))  # type: ignore[arg-type]


def pair(rng: Generator) -> tuple[object, object]:
    """Two sets of as many points (N, 3)."""
    count = int(rng.integers(0, 9))
    return twisted(rng, values(rng, (count, 3))), twisted(rng, values(rng, (count, 3)))


def fuzz_extent(rng: Generator) -> None:
    _core.extent(pair(rng)[0], *rng.normal(0, 300, 2))  # type: ignore[arg-type]


def fuzz_mean_step(rng: Generator) -> None:
    _core.mean_step(*pair(rng))  # type: ignore[arg-type]


def fuzz_longest_way(rng: Generator) -> None:
    least_score = float(rng.choice([0.05, 0.0, np.nan, np.inf]))
    _core.longest_way(pair(rng)[0], int(rng.integers(0, 9)), least_score)  # type: ignore[arg-type]


def fuzz_moved_back(rng: Generator) -> None:
    count = int(rng.integers(0, 9))
    now, before, share = (twisted(rng, values(rng, shape)) for shape in ((2, count, 3), (2, count, 3), (2,)))
    joints, most = int(rng.integers(-1, count + 2)), float(rng.normal())
    with np.errstate(all="ignore"):
        _core.moved_back(now, before, share, joints=joints, most=most)  # type: ignore[arg-type]


def fuzz_support(rng: Generator) -> None:
    count, hands, readings = (int(n) for n in rng.integers(0, (9, 3, 3)))
    shapes = ((2, hands, count, 2), (2, readings, count, 2), (2, readings, count), (2, readings))
    _core.support(*(twisted(rng, values(rng, shape)) for shape in shapes))  # type: ignore[arg-type]


def fuzz_one_euro(rng: Generator) -> None:
    a, b = pair(rng)
    names = ("size", "min_cutoff_hz", "beta", "d_cutoff_hz")
    rates = dict(zip(names, rng.normal(1, 2, 4).tolist(), strict=True))
    _core.one_euro(a, b, a, dt_s=float(rng.choice([0.03, 1e-300, 1e300])), **rates)  # type: ignore[arg-type]


def cameras(rng: Generator, views: int) -> list[object]:
    K = np.tile(np.array([[900.0, 0, 320], [0, 900, 240], [0, 0, 1]]), (views, 1, 1))
    dist = rng.normal(0, 0.1, (views, 5)) if rng.integers(8) else values(rng, (views, 5))
    poses = np.tile(np.eye(4)[: rng.integers(3, 5)], (views, 1, 1))
    poses[:, :3, 3] = (
        rng.normal(0, 300, (views, 3)) + [0, 0, 1000] if rng.integers(8) else values(rng, (views, 3))
    )
    return [twisted(rng, K), twisted(rng, dist), twisted(rng, poses)]


def fuzz_project(rng: Generator) -> None:
    views = int(rng.integers(0, 4))
    with np.errstate(all="ignore"):
        shape = (int(rng.integers(0, 60)), 3)
        # Half of the clouds are hands, which float32 may project about their middle; the rest are anything.
        points = rng.normal(0, 40, shape) if rng.integers(2) else values(rng, shape)
        points = points.astype(rng.choice(["f4", "f8"]))
    size = twisted(rng, np.full((views, 2), 640.0)) if rng.integers(4) else None
    _core.project(twisted(rng, points), *cameras(rng, views), size)  # type: ignore[call-overload]


def fuzz_triangulate(rng: Generator) -> None:
    views, count = int(rng.integers(0, 6)), int(rng.integers(0, 10))
    scores = rng.random((views, count)) if rng.integers(4) else values(rng, (views, count))
    _core.triangulate(
        twisted(rng, values(rng, (views, count, 2))),  # type: ignore[arg-type]
        twisted(rng, scores),  # type: ignore[arg-type]
        *cameras(rng, views),  # type: ignore[arg-type]
        min_score=float(rng.choice([0.0, 0.5, -1.0, np.nan])),
        max_residual_px=float(rng.choice([0.0, 10.0, np.inf, -1.0, np.nan, 1e300])),
        reject=bool(rng.integers(2)),
    )


def fuzz_fit(rng: Generator) -> None:
    views, hands, palms = (int(n) for n in rng.integers(0, (4, 3, 7)))
    fitter = _core.HandFitter(
        mean=twisted(rng, rng.normal(0, 0.5, (21, 3))),  # type: ignore[arg-type]
        precision=twisted(rng, 100 * np.eye(63)),  # type: ignore[arg-type]
        bones=twisted(rng, rng.random(20)),  # type: ignore[arg-type]
        pairs=twisted(rng, rng.integers(-1 if rng.integers(9) == 0 else 0, 21, (20, 2))),  # type: ignore[arg-type]
        palm_joints=twisted(rng, rng.integers(0, 21, palms)),  # type: ignore[arg-type]
        palm_template=twisted(rng, rng.normal(0, 0.5, (palms, 3))),  # type: ignore[arg-type]
    )
    fitter(
        twisted(rng, values(rng, (views, hands, 21, 2))),  # type: ignore[arg-type]
        twisted(rng, rng.random((views, hands, 21))),  # type: ignore[arg-type]
        twisted(rng, rng.uniform(0, 5, hands)),  # type: ignore[arg-type]
        twisted(rng, values(rng, (hands, 20))),  # type: ignore[arg-type]
        twisted(rng, rng.random(hands) < 0.5),  # type: ignore[arg-type]
        twisted(rng, values(rng, (hands, 21, 3))),  # type: ignore[arg-type]
        *cameras(rng, views),  # type: ignore[arg-type]
        _core.FitOptions(
            steps=int(rng.integers(-1, 9)),
            arrived=0.003,
            longest_step=float(rng.choice([0.3, 0.0, np.nan])),
            cauchy=float(rng.choice([1.0, 0.0, np.inf])),
            bone_std=0.1,
            own_bone_std=0.04,
            least_palm_joints=3,
            least_spread=1e-3,
            least_scale_mm=15.0,
        ),
    )


def fuzz_lifted(rng: Generator) -> None:
    hands, joints, palms = int(rng.integers(0, 4)), int(rng.integers(1, 22)), int(rng.integers(0, 7))
    points = twisted(rng, values(rng, (hands, joints, 3)))
    mirrored = twisted(rng, rng.random(hands) < 0.5)
    frames = {
        "palm": twisted(rng, rng.integers(-1 if rng.integers(9) == 0 else 0, joints, palms)),
        "template": twisted(rng, rng.normal(0, 0.5, (palms, 3))),
        "least_palm_joints": int(rng.integers(0, 4)),
        "least_spread": float(rng.choice([1e-3, np.nan])),
        "least_scale_mm": 15.0,
    }
    calls: list[Callable[[], object]] = [
        lambda: _core.readings(  # type: ignore[arg-type]
            twisted(rng, values(rng, (2, hands, joints, 3)).astype("f4")),
            joints=int(rng.integers(0, 23)),
            least=int(rng.integers(-1, 22)),
            usual_score=0.75,
            score_fall=float(rng.choice([0.2, 0.0, np.nan])),
        ),
        lambda: _core.right_handedness(points, fingers=twisted(rng, rng.integers(0, joints, 5)), **frames),  # type: ignore[arg-type]
        lambda: _core.hand_frames(points, mirrored, **frames),  # type: ignore[arg-type]
        lambda: _core.mean_apart(points, twisted(rng, values(rng, (2, joints, 3)))),  # type: ignore[arg-type]
        lambda: _core.blend_skin(  # type: ignore[arg-type]
            points,
            twisted(rng, values(rng, (hands, joints, 3))),
            share=0.5,
            reach_mm=float(rng.choice([6.0, 0.0])),
        ),
    ]
    for way in (_core.into_frames, _core.out_of_frames):
        place = [values(rng, (hands, 3, 3)), values(rng, (hands, 3)), values(rng, (hands,))]
        calls.append(lambda way=way, place=place: way(points, mirrored, *(twisted(rng, p) for p in place)))  # type: ignore[misc]
    with np.errstate(all="ignore"):
        calls[rng.integers(len(calls))]()


def fuzz_rtc(rng: Generator) -> None:
    wide = int(rng.integers(0, 9))
    shapes = {
        "ring_along": (5, 2, 4, 1),
        "ring_offset": (5, 2, 4, 3),
        "palm_mix": (24, 6),
        "palm_offset": (24, 3),
    }
    shapes |= {"bone_mean": (80,), "bone_spread": (80,), "scaling.joint_mean": (21, 3), "scaling.spread": ()}
    for part, ends in (("repair", (84, 84)), ("body", (164, 256))):
        sizes = (ends[0], wide, wide + 1, ends[1])
        for i in range(3):
            shapes |= {
                f"{part}.{2 * i}.weight": sizes[i : i + 2],
                f"{part}.{2 * i}.bias": sizes[i + 1 : i + 2],
            }
    weights = {name: rng.normal(0, 1, shape).astype("f4") for name, shape in shapes.items()}
    name = rng.choice(list(weights))
    network = _core.RtcBones(weights | {name: twisted(rng, np.asarray(weights[name]))})  # type: ignore[dict-item]
    hands = int(rng.integers(0, 6))
    with np.errstate(all="ignore"):
        joints, valid = values(rng, (hands, 21, 3)).astype("f4"), rng.random((hands, 21)).astype("f4")
        network(twisted(rng, joints), twisted(rng, valid))  # type: ignore[arg-type]


TARGETS: list[Callable[[Generator], None]] = [
    fuzz_crop,
    fuzz_decode,
    fuzz_draw,
    fuzz_extent,
    fuzz_fit,
    fuzz_lifted,
    fuzz_longest_way,
    fuzz_mean_step,
    fuzz_moved_back,
    fuzz_one_euro,
    fuzz_project,
    fuzz_rtc,
    fuzz_support,
    fuzz_triangulate,
]


def main(inputs: int, seed: int) -> None:
    """Run `inputs` calls and say how many answered and how many were refused with ValueError."""
    rng = np.random.default_rng(seed)
    levels = _core.simd_levels()
    answered = refused = 0
    for i in range(inputs):
        if i % 1000 == 0:
            _core.set_simd_level(levels[i // 1000 % len(levels)])
        try:
            TARGETS[rng.integers(len(TARGETS))](rng)
            answered += 1
        except ValueError as error:
            if len(str(error)) < 20:
                raise AssertionError(f"a refusal that says nothing: {error}") from error
            refused += 1
    print(f"{inputs} calls: {answered} answered, {refused} refused with ValueError, seed {seed}")


if __name__ == "__main__":
    main(*(int(text) for text in (sys.argv[1:] + ["20000", "1"][len(sys.argv) - 1 :])))
