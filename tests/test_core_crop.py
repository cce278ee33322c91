"""crop_rgb against its NumPy twin and cv2.warpAffine at every SIMD level, and everything that may be wrong."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import reference
from hypothesis import given, settings
from hypothesis import strategies as st

from rt_hands import _core
from rt_hands.inference.preprocess import Crop, fill_input

CROPS = [
    Crop(60, 40, 150),
    Crop(60, 40, 96, 0.4),
    Crop(100, 70, 40, -2.1),
    Crop(-50, -30, 180, 1.0),  # over the corner
    Crop(200, 150, 170, np.pi),  # over right and bottom
    Crop(-5, -25, 330),  # all of the picture, shrunk threefold
    Crop(20, 10, 200, 0.7),
    Crop(-300, -300, 900, -0.2),  # blocks of four
    Crop(500, 500, 64, 0.3),  # nothing of the picture
]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def affine_of(crop: Crop, side: int) -> np.ndarray:
    zoom = crop.side / side
    return crop.picture_from(zoom, 0.5 * zoom - 0.5)


@pytest.mark.parametrize("crop", CROPS, ids=str)
@pytest.mark.parametrize("side", [96, 61])
def test_same_as_its_twin(level: str, crop: Crop, side: int) -> None:
    image, out = noise(241, 317), np.full((1, 3, side, side), np.nan, np.float32)
    fill_input([(image, crop)], out)
    wanted = reference.crop_rgb(image, affine_of(crop, side), side)
    apart = np.abs(out[0] - wanted)
    # Measured 1.6e-5: places are float32. A pixel whose centre is on the picture's edge may fall to either side.
    assert np.sort(apart.ravel())[-3 * side // 16 :][0] < 1e-4
    assert (apart > 1e-4).mean() < 0.002


@pytest.mark.parametrize("crop", CROPS[:4], ids=str)
def test_same_as_an_affine_warp(level: str, crop: Crop) -> None:
    """The independent oracle: cv2.warpAffine by the crop's own geometry, on a smooth picture."""
    image, out = cv2.GaussianBlur(noise(240, 320), (0, 0), 4), np.empty((1, 3, 96, 96), np.float32)
    fill_input([(image, crop)], out)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    wanted = cv2.warpAffine(image, affine_of(crop, 96), (96, 96), flags=flags)
    apart = np.abs(out[0][::-1].transpose(1, 2, 0) * 255 - wanted)
    # Measured: at most 1 grey level inside, more only along the picture's edge, which cv2 blends with the black.
    assert np.percentile(apart, 98) <= 1.01


def test_the_picture_itself_comes_out_as_planes(level: str) -> None:
    image, out = noise(70, 70), np.empty((1, 3, 70, 70), np.float32)
    _core.crop_rgb([image], np.eye(2, 3)[None], out)
    np.testing.assert_allclose(out[0], image[..., ::-1].transpose(2, 0, 1) / 255, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (0, 5), (3, 0)])
def test_small_pictures(level: str, size: tuple[int, int]) -> None:
    image, out = noise(*size), np.full((2, 3, 20, 20), 9, np.float32)
    affines = np.array([[[0.51, 0, -1.03], [0, 0.47, -1.02]], [[3, 1.01, -8.03], [-1, 3.03, -6.07]]])
    _core.crop_rgb([image, image], affines, out)
    for got, affine in zip(out, affines, strict=True):
        np.testing.assert_allclose(got, reference.crop_rgb(image, affine, 20), atol=1e-5)


def test_each_crop_has_its_own_picture_of_any_strides(level: str) -> None:
    wide = noise(50, 90)
    views = [
        wide[5:45, 3:60],
        wide[::-1],
        wide[:, ::-1],
        np.asfortranarray(wide),
        wide[..., ::-1],
        wide[::2, ::3],
    ]
    out = np.empty((len(views), 3, 32, 32), np.float32)
    affines = np.tile([[1.21, 0.103, 0.02], [-0.107, 1.17, 3.01]], (len(views), 1, 1))
    _core.crop_rgb(views, affines, out)
    for view, got, affine in zip(views, out, affines, strict=True):
        np.testing.assert_allclose(got, reference.crop_rgb(view, affine, 32), atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.integers(-200, 300), st.integers(-200, 300), st.integers(8, 1200), st.floats(-3.1, 3.1))
def test_outside_is_black_and_inside_within_what_is_there(
    left: int, top: int, side: int, turn: float
) -> None:
    image, out = noise(60, 80) // 2 + 100, np.empty((1, 3, 40, 40), np.float32)
    crop = Crop(left, top, side, turn)
    fill_input([(image, crop)], out)
    m = affine_of(crop, 40)
    v, u = np.mgrid[:40, :40]
    x, y = (a * u + b * v + c for a, b, c in m)
    away = np.maximum(np.abs(x - 39.5) - 40, np.abs(y - 29.5) - 30)
    reach = 0.36 * crop.side / 40 + 1e-3  # of a pixel's four samples from its middle
    assert (out[0][:, away > reach] == 0).all()
    seen = out[0][:, away < -reach]
    assert (seen >= image.min() / 255 - 1e-6).all() and (seen <= image.max() / 255 + 1e-6).all()


@pytest.mark.parametrize("value", [1e300, -1e300, 1e19, 1e-300, 0.0])
def test_any_finite_affine_has_an_answer(level: str, value: float) -> None:
    image, out = noise(20, 30), np.empty((1, 3, 16, 16), np.float32)
    for i in range(6):
        affine = np.eye(2, 3).ravel()
        affine[i] = value
        _core.crop_rgb([image], affine.reshape(1, 2, 3), out)
        assert np.isfinite(out).all() and out.min() >= 0 and out.max() <= 1


def test_no_crops_write_nothing() -> None:
    memory = np.full((1, 3, 8, 8), 7, np.float32)
    _core.crop_rgb([], np.zeros((0, 2, 3)), memory[:0])
    assert (memory == 7).all()


GOOD = (noise(4, 5), np.eye(2, 3)[None], np.zeros((1, 3, 8, 8), np.float32))


@pytest.mark.parametrize(
    ("place", "bad", "says"),
    [
        (0, noise(4, 5).astype(np.int16), "uint8"),
        (0, noise(4, 5)[..., :2], r"pictures\[0\] must be \(h, w, 3\)"),
        (0, "text", "pictures"),
        (1, np.full((1, 2, 3), np.nan), "finite"),
        (1, np.eye(2, 3), "picture_from_input"),
        (2, np.zeros((1, 3, 8, 8)), "float32"),
        (2, np.zeros((1, 3, 8, 9), np.float32), "as high as wide"),
        (2, np.zeros((2, 3, 8, 8), np.float32), "B = 1"),
        (2, np.zeros((1, 3, 8, 16), np.float32)[..., ::2], "C-contiguous"),
        (2, np.broadcast_to(np.float32(0), (1, 3, 8, 8)), "writable"),
    ],
)
def test_wrong_arrays_are_named(place: int, bad: object, says: str) -> None:
    arguments: list[object] = list(GOOD)
    arguments[place] = bad
    with pytest.raises(ValueError, match=says):
        _core.crop_rgb([arguments[0]], *arguments[1:])  # type: ignore[arg-type,list-item]
