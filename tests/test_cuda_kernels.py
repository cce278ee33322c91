"""CUDA kernels: the sources run on the CPU against NumPy twins, `_core` and OpenCV; nvcc compiles them; GPU runs."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from cuda_twins import CROP_DTYPE, REPOSITORY, address, crop_rgb, decode

from rt_hands import _core
from rt_hands.inference.preprocess import PEAK_METHOD, Crop, fill_input
from rt_hands.inference.tensorrt.kernels import Kernels, describe_crop, visible_rect

WANTED = {75, 80, 86, 89, 90, 100, 120}
HALF = {"float32": np.float32, "float16": np.float16}


def _compiler():
    spec = importlib.util.spec_from_file_location("cuda_compile", REPOSITORY / "csrc" / "cuda" / "compile.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


COMPILER = _compiler()


def smooth_picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Random blobs some pixels wide: what interpolation rules must agree on."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)


def run_crop(
    launch, image: np.ndarray, crop: Crop, side: int, dtype: str = "float32", backwards: bool = False
):
    x0, y0, x1, y1 = rect = visible_rect(image, crop, side)
    pixels = np.ascontiguousarray(image[y0:y1, x0:x1])
    table = np.array([describe_crop(crop, rect, pixels.ctypes.data, side)], CROP_DTYPE)
    out = np.full((1, 3, side, side), -1, HALF[dtype])
    arguments = (address(table), address(out), np.int32(side))
    launch(f"crop_rgb_{dtype}", (-(-side // 32), -(-side // 8), 1), (32, 8, 1), arguments, backwards)
    return out[0], pixels, table[0]


CROPS = [
    Crop(40, 30, 100),  # inside, enlarged
    Crop(20, 10, 150),
    Crop(-30, -20, 120),  # over the corner
    Crop(150, 60, 130),  # over right and bottom
    Crop(-5, -25, 210),  # all of the picture, shrunk twofold
    Crop(-300, -300, 900),  # shrunk more than eightfold
    Crop(31, 43, 450),  # shrunk more than fourfold, over right and bottom
    Crop(500, 500, 64),  # nothing of the picture
]
TURNED = [
    Crop(50, 30, 90, 0.4),  # inside, enlarged
    Crop(45, 25, 110, -2.1),
    Crop(60, 40, 80, np.pi / 2),
    Crop(-30, -20, 120, 1.0),  # over the corner
    Crop(150, 60, 130, 3.0),  # over right and bottom
    Crop(-45, -65, 290, 0.7),  # all of the picture, shrunk threefold
    Crop(-300, -300, 900, -0.2),  # shrunk more than eightfold
    Crop(-331, -357, 450, 0.6),  # shrunk more than fourfold, over left and top
    Crop(700, 700, 64, 0.3),  # nothing of the picture
]


@pytest.mark.parametrize("crop", CROPS + TURNED, ids=str)
def test_crop_is_its_twin(launch, crop):
    image = smooth_picture(200, 160)
    got, pixels, table = run_crop(launch, image, crop, 96)
    wanted = crop_rgb(pixels, table, 96) if pixels.size else np.zeros((3, 96, 96))
    np.testing.assert_allclose(got, wanted, atol=1e-6)  # measured 1.3e-7
    half, _, _ = run_crop(launch, image, crop, 96, "float16", backwards=True)
    np.testing.assert_allclose(half, wanted, atol=5e-4)  # measured 2.4e-4, half a step of float16 below 1


@pytest.mark.parametrize("crop", CROPS + TURNED, ids=str)
@pytest.mark.parametrize("side", [96, 64])
def test_crop_is_what_the_cpu_engines_see(launch, crop, side):
    image, wanted = smooth_picture(200, 160), np.empty((1, 3, side, side), np.float32)
    got, _, _ = run_crop(launch, image, crop, side)
    fill_input([(image, crop)], wanted)
    difference = 255 * np.abs(got - wanted[0])
    assert difference.max() < 0.01  # grey levels; measured 0.001


def random_maps(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Gaussians round random cells (borders too) over noise, with ties, negative, empty and broken maps among them."""
    rng = np.random.default_rng(seed)
    b, k, h, w = shape
    ys, xs = np.mgrid[:h, :w]
    cx, cy = rng.uniform(-1, w, (b, k, 1, 1)), rng.uniform(-1, h, (b, k, 1, 1))
    maps = np.exp(-((xs - cx) ** 2 + (ys - cy) ** 2) / 4.5) + rng.normal(0, 0.02, shape)
    maps[0, 0] = -1.0
    maps[0, 1] = 0.0
    maps[0, 2, 3, 5] = np.nan
    maps[0, 3, 3, 5] = np.inf
    maps[0, 4, 3, 5] = -np.inf
    maps[0, 5, 2, 2] = maps[0, 5, 2, 7] = maps[0, 5, 9, 1] = 3.0  # the first of equal peaks wins
    maps[0, 6] = -0.0
    return maps


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("backwards", [False, True])
def test_decode_is_its_twin_and_the_core(launch, dtype, backwards):
    channels, points, h, w = 12, 11, 45, 45
    maps = random_maps((3, channels, h, w)).astype(HALF[dtype])
    affine = np.random.default_rng(1).normal(size=(3, 2, 3)) * 10
    out = np.full((3, points, 3), -1, np.float32)
    sizes = (np.int32(channels), np.int32(h), np.int32(w))
    launch(
        f"decode_{dtype}",
        (points, 3, 1),
        (128, 1, 1),
        (address(maps), *sizes, address(affine), address(out)),
        backwards,
    )
    np.testing.assert_allclose(out, decode(maps[:, :points], affine), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        out, _core.decode_heatmaps(maps[:, :points], affine=affine, method=PEAK_METHOD), rtol=1e-5, atol=1e-5
    )
    assert np.isnan(out[0, [0, 1, 2, 3, 6], 0]).all() and (out[0, [0, 1, 2, 3, 6], 2] == 0).all()


def test_every_entry_is_tested_here():
    entries = {
        name for s in COMPILER.SOURCES for name in re.findall(r"__global__ void (\w+)\(", s.read_text())
    }
    known = re.findall(
        r"KERNEL\((\w+), (?:true|false)", (REPOSITORY / "tests" / "cuda_on_cpu.cpp").read_text()
    )
    assert entries == set(known)


@pytest.mark.parametrize("source", COMPILER.SOURCES, ids=lambda p: p.stem)
def test_nvcc_compiles_for_every_gpu(source: Path, tmp_path: Path):
    nvcc = COMPILER.find_nvcc()
    if nvcc is None:
        pytest.skip("nvcc is not here.")
    COMPILER.compile_kernel(nvcc, source, tmp_path / "kernels.fatbin")
    made = (tmp_path / "kernels.fatbin").read_bytes()
    known = COMPILER.architectures(nvcc)
    assert {75, 80, 86, 89, 90} <= set(known) and all(f"sm_{a}".encode() in made for a in known)
    if set(known) < WANTED:
        pytest.skip(f"Compiled for {known}; this nvcc does not know {sorted(WANTED - set(known))}.")


@pytest.fixture
def fatbins(tmp_path):
    """A package's folder of kernels: one current, one older than its source, one without a source."""
    folder = tmp_path / "inference" / "cuda"
    folder.mkdir(parents=True)
    names = [*(source.stem for source in COMPILER.SOURCES[:2]), "gone"]
    for name in names:
        (folder / f"{name}.fatbin").write_bytes(b"machine code")
    os.utime(folder / f"{names[1]}.fatbin", (0, 0))
    return folder


def left_in(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.fatbin"))


def test_without_nvcc_no_outdated_kernel_stays(fatbins, monkeypatch, capsys):
    monkeypatch.setattr(COMPILER, "find_nvcc", lambda: None)
    assert COMPILER.compile_all(fatbins) is False and capsys.readouterr().err.startswith("No nvcc:")
    assert left_in(fatbins) == [COMPILER.SOURCES[0].stem]


def test_where_nvcc_fails_no_outdated_kernel_stays(fatbins, monkeypatch, capsys):
    def fails(nvcc, source, fatbin):
        fatbin.write_bytes(b"half of")
        raise subprocess.CalledProcessError(1, nvcc)

    monkeypatch.setattr(COMPILER, "find_nvcc", lambda: "nvcc")
    monkeypatch.setattr(COMPILER, "compile_kernel", fails)
    assert COMPILER.compile_all(fatbins) is False
    assert f"nvcc failed on {COMPILER.SOURCES[1].name}" in capsys.readouterr().err
    assert left_in(fatbins) == [COMPILER.SOURCES[0].stem]


def test_a_build_without_kernels_packs_no_outdated_one(fatbins, monkeypatch):
    build = pytest.importorskip("pybind11.setup_helpers", reason="setup.py needs pybind11 and setuptools.")
    import setuptools

    monkeypatch.chdir(REPOSITORY)
    monkeypatch.setenv("RT_HANDS_CUDA", "0")
    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    monkeypatch.setattr(build.ParallelCompile, "install", lambda self: None)
    monkeypatch.setattr(build.build_ext, "run", lambda self: None)
    command = runpy.run_path("setup.py")["BuildExt"](setuptools.Distribution())
    command.get_ext_fullpath = lambda name: str(fatbins.parents[1] / "_core.so")
    command.run()
    assert left_in(fatbins) == [COMPILER.SOURCES[0].stem]


@pytest.fixture
def gpu():
    """A real device, closed afterwards."""
    from rt_hands.errors import MissingPart
    from rt_hands.inference.tensorrt.cuda import PycudaDevice
    from rt_hands.inference.tensorrt.probe import find_gpu

    try:
        device = PycudaDevice(find_gpu())
    except MissingPart as error:
        pytest.skip(f"No GPU to run on: {error}")
    yield device
    device.close()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_decode_on_the_gpu(gpu, dtype):
    maps = random_maps((3, 171, 45, 45)).astype(HALF[dtype])
    affine = np.random.default_rng(1).normal(size=(3, 2, 3)) * 10
    pinned = gpu.pinned(maps.shape, maps.dtype), gpu.pinned(affine.shape, affine.dtype)
    pinned[0][:], pinned[1][:] = maps, affine
    at = [gpu.alloc(array.nbytes) for array in pinned]
    out, out_at = gpu.pinned((3, 170, 3), np.float32), gpu.alloc(3 * 170 * 3 * 4)
    for place, array in zip(at, pinned, strict=True):
        gpu.upload(place, array)
    Kernels(gpu).decode(at[0], dtype, maps.shape, 170, at[1], out_at)
    gpu.download(out, out_at)
    gpu.synchronise()
    np.testing.assert_allclose(out, decode(maps[:, :170], affine), rtol=1e-5, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_crops_on_the_gpu(gpu, dtype):
    image, kernels = smooth_picture(200, 160), Kernels(gpu)
    out, out_at = gpu.pinned((1, 3, 96, 96), HALF[dtype]), gpu.alloc(3 * 96 * 96 * 4)
    for crop in CROPS[:-1] + TURNED[:-1]:
        x0, y0, x1, y1 = rect = visible_rect(image, crop, 96)
        pixels, table = gpu.pinned((y1 - y0, x1 - x0, 3), np.uint8), gpu.pinned((1,), CROP_DTYPE)
        pixels[:] = image[y0:y1, x0:x1]
        pixels_at, table_at = gpu.alloc(pixels.nbytes), gpu.alloc(table.nbytes)
        table[0] = describe_crop(crop, rect, pixels_at, 96)
        gpu.upload(pixels_at, pixels)
        gpu.upload(table_at, table)
        kernels.crop_rgb(table_at, out_at, dtype, 1, 96)
        gpu.download(out, out_at)
        gpu.synchronise()
        np.testing.assert_allclose(out[0], crop_rgb(pixels, table[0], 96), atol=5e-4)
