"""decode_heatmaps against its NumPy twin at every SIMD level, exact answers, and everything that may be wrong."""

from __future__ import annotations

import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rt_hands import _core

METHODS = ["mean5x5", "mean5x5_sub", "squares9x9", "log_parabola"]
LEVELS = _core.simd_levels()


def gaussian_maps(
    count: int, height: int = 45, width: int = 45, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(1, count, height, width) float32 Gaussians of sigma 1.5 cells and their centres (count, 2) in cells."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform([3, 3], [width - 4, height - 4], (count, 2))
    y, x = np.mgrid[:height, :width]
    square = (x - centres[:, 0, None, None]) ** 2 + (y - centres[:, 1, None, None]) ** 2
    return np.exp(-square / 4.5).astype(np.float32)[None], centres


def assert_same(maps: np.ndarray, method: str, tolerance: float = 2e-5) -> None:
    """Every level, in cells: size is the map's own. 2e-5 of 45 cells is the float32 the answer is given in."""
    size = np.array([maps.shape[:1:-1]] * len(maps), float).reshape(-1, 2)
    wanted = reference.decode_heatmaps(maps, size, method=method)
    before = _core.simd_level()
    try:
        for name in LEVELS:
            _core.set_simd_level(name)
            got = _core.decode_heatmaps(maps, size, method=method)
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=tolerance, err_msg=name)
    finally:
        _core.set_simd_level(before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
def test_same_as_numpy(method: str, dtype: type) -> None:
    maps, _ = gaussian_maps(60)
    noisy = maps + np.random.default_rng(1).normal(0, 0.01, maps.shape).astype(np.float32)
    scaled = np.clip(noisy, 0, 1) * 255 if dtype is np.uint8 else noisy
    assert_same(scaled.astype(dtype), method)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 7), (5, 5), (8, 16), (9, 15), (45, 45), (46, 46), (131, 257), (300, 299)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
def test_every_cell_can_be_the_peak(level: str, shape: tuple[int, int], dtype: type) -> None:
    cells = shape[0] * shape[1]
    places = np.unique(
        np.concatenate([np.linspace(0, cells - 1, 400).astype(int), np.arange(min(cells, 150))])
    )
    maps = np.full((len(places), cells), 1, dtype)
    maps[np.arange(len(places)), places] = 100
    got = _core.decode_heatmaps(maps.reshape(1, -1, *shape), [[shape[1], shape[0]]], method="log_parabola")[0]
    np.testing.assert_allclose(got[:, 0], places % shape[1], atol=1e-4)
    np.testing.assert_allclose(got[:, 1], places // shape[1], atol=1e-4)


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(), method=st.sampled_from(METHODS), dtype=st.sampled_from([np.float32, np.float16, np.uint8])
)
def test_any_values(data: st.DataObject, method: str, dtype: type) -> None:
    shape = data.draw(st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 20), st.integers(1, 20)))
    if dtype is np.uint8:
        elements = st.integers(0, 255)
    else:
        elements = st.floats(allow_nan=True, allow_infinity=True, width=32 if dtype is np.float32 else 16)
    assert_same(data.draw(hnp.arrays(dtype, shape, elements=elements)), method, tolerance=1e-4)


@settings(max_examples=60, deadline=None)
@given(steps=st.tuples(*[st.sampled_from([-2, -1, 1, 2, 3])] * 4), offset=st.integers(0, 3))
def test_any_strides(steps: tuple[int, ...], offset: int) -> None:
    maps = np.random.default_rng(2).random((6, 9, 33, 40), dtype=np.float32)
    assert_same(maps[tuple(slice(None, None, step) for step in steps)][..., offset:], "mean5x5")


def test_unaligned_and_read_only(level: str) -> None:
    maps, _ = gaussian_maps(4)
    buffer = b"x" + maps.tobytes()
    odd = np.frombuffer(buffer, np.uint8)[1:].view(np.float32).reshape(maps.shape)
    assert not odd.flags.writeable and odd.ctypes.data % 4
    np.testing.assert_array_equal(
        _core.decode_heatmaps(odd, [[45, 45]]), _core.decode_heatmaps(maps, [[45, 45]])
    )


def test_equal_peaks_first_wins(level: str) -> None:
    maps = np.zeros((1, 1, 45, 45), np.float32)
    maps[0, 0, [40, 11, 11], [2, 30, 12]] = 0.5
    assert _core.decode_heatmaps(maps, [[45, 45]])[0, 0].tolist() == [12, 11, 0.5]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("poison", [np.nan, -np.nan, np.inf])
def test_nan_or_inf_anywhere_is_absent(level: str, dtype: type, poison: float) -> None:
    maps = np.full((1, 2025, 45, 45), 0.25, dtype)
    for k in range(2025):
        maps[0, k].flat[k] = np.copysign(np.nan, poison) if np.isnan(poison) else poison
    got = _core.decode_heatmaps(maps, [[368, 368]])
    assert np.isnan(got[..., :2]).all() and (got[..., 2] == 0).all()


@pytest.mark.parametrize("value", [0.0, -0.0, -1.0, -np.inf])
def test_no_peak_is_absent(level: str, value: float) -> None:
    got = _core.decode_heatmaps(np.full((1, 3, 45, 45), value, np.float32), [[368, 368]])
    assert np.isnan(got[..., :2]).all() and (got[..., 2] == 0).all()


@pytest.mark.parametrize("value", [1e-45, 1e-38, 1.0, 3.4e38])
def test_extreme_scale_keeps_the_place(level: str, value: float) -> None:
    maps = np.zeros((1, 1, 45, 45), np.float32)
    maps[0, 0, 20:23, 30:33] = value
    x, y, score = _core.decode_heatmaps(maps, [[45, 45]])[0, 0]
    x, y, score = _core.decode_heatmaps(maps, [[45, 45]])[0, 0]
    assert (x, y) == pytest.approx((31, 21), abs=1e-5) and score == np.float32(value)


def test_sub_cell_error_is_as_measured() -> None:
    """Mean distance in cells on clean Gaussians of sigma 1.5; measured: 0.139, 0.020, 1.5e-4 and 8e-7."""
    maps, centres = gaussian_maps(500, seed=3)
    for method, most in zip(METHODS, [0.15, 0.03, 1e-3, 1e-5], strict=True):
        got = _core.decode_heatmaps(maps, [[45, 45]], method=method)[0, :, :2]
        assert np.linalg.norm(got - centres, axis=1).mean() < most, method


def test_size_and_affine() -> None:
    maps, _ = gaussian_maps(20)
    cells = _core.decode_heatmaps(maps, [[45, 45]])[0, :, :2].astype(float)
    crop = _core.decode_heatmaps(maps, [[368, 184]])[0, :, :2]
    np.testing.assert_allclose(crop, cells * [368 / 45, 184 / 45], rtol=1e-6)
    affine = np.array([[[0.5, -0.2, 100], [0.1, 0.7, -30]]])
    both = _core.decode_heatmaps(maps, [[368, 184]], affine)[0, :, :2]
    np.testing.assert_allclose(both, crop @ affine[0, :, :2].T + affine[0, :, 2], rtol=1e-5)
    alone = _core.decode_heatmaps(maps, affine=affine)[0, :, :2]
    np.testing.assert_allclose(alone, cells @ affine[0, :, :2].T + affine[0, :, 2], rtol=1e-5)


@pytest.mark.parametrize("shape", [(0, 170, 45, 45), (2, 0, 45, 45), (0, 0, 1, 1)])
def test_empty(shape: tuple[int, ...]) -> None:
    assert _core.decode_heatmaps(np.zeros(shape, np.float32), np.ones((shape[0], 2))).shape == (*shape[:2], 3)


GOOD = np.zeros((2, 3, 5, 5), np.float32)


@pytest.mark.parametrize(
    ("maps", "size", "affine", "message"),
    [
        (GOOD[0], np.ones((2, 2)), None, r"maps must be \(B, K, h, w\), got \(3, 5, 5\) float32"),
        (
            GOOD.astype(np.float64),
            np.ones((2, 2)),
            None,
            r"float32, float16 or uint8, got \(2, 3, 5, 5\) float64",
        ),
        (GOOD.astype(">f4"), np.ones((2, 2)), None, "float32, float16 or uint8"),
        (GOOD[..., :0], np.ones((2, 2)), None, "must have cells"),
        (object(), np.ones((2, 2)), None, "maps must be"),
        (None, np.ones((2, 2)), None, "maps must be"),
        (GOOD, np.ones((1, 2)), None, r"size must be \(B, 2\) with B = 2 as in maps, got \(1, 2\) float64"),
        (GOOD, [[1, 2], [3, np.nan]], None, "size must be finite, got nan"),
        (GOOD, [["a", "b"]] * 2, None, "size must hold real numbers"),
        (GOOD, np.ones((2, 2), complex), None, "size must hold real numbers"),
        (GOOD, None, np.ones((2, 3, 2)), r"affine must be \(B, 2, 3\) with B = 2"),
        (GOOD, None, np.full((2, 2, 3), np.inf), "affine must be finite, got inf"),
        (GOOD, None, None, "Pass size"),
    ],
)
def test_bad_input_says_what_came(maps: object, size: object, affine: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _core.decode_heatmaps(maps, size, affine)  # type: ignore[arg-type]


def test_bad_method_and_level() -> None:
    with pytest.raises(ValueError, match="method must be 'mean5x5'.*got 'argmax'"):
        _core.decode_heatmaps(GOOD, np.ones((2, 2)), method="argmax")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'sse9' is no SIMD level. This machine has: baseline"):
        _core.set_simd_level("sse9")  # type: ignore[arg-type]


def test_levels_start_at_baseline() -> None:
    assert LEVELS[0] == "baseline" and _core.simd_level() in LEVELS
