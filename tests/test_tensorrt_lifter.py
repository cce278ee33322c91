"""RTC on the GPU: each kernel, compiled for the CPU, against the NumPy and C++ it stands in for; the whole lifter."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from cuda_twins import address
from hypothesis import given, settings
from hypothesis import strategies as st
from test_lift import as_hands, hands_mm, ring_rig, views_of

from rt_hands.camera import Camera, Rig
from rt_hands.errors import InvalidInput, MissingPart
from rt_hands.inference.cpm import Cpm
from rt_hands.inference.engine import SurfaceReading, open_engine
from rt_hands.inference.tensorrt import lifter
from rt_hands.inference.tensorrt.lifter import LiftKernels, RtcLifter, view_table
from rt_hands.lifting.canonical import PALM_JOINTS, PALM_TEMPLATE, canonicalise
from rt_hands.lifting.lift import lift
from rt_hands.lifting.rtc import MIN_VALID_JOINTS, Rtc
from rt_hands.paths import weights_dir
from rt_hands.pipeline import Pipeline


class HostKernels:
    """What `LiftKernels` needs of a device: launches run at once on host memory."""

    def __init__(self, launch):
        self.load_kernels = lambda image: launch


@pytest.fixture
def kernels(launch, monkeypatch):
    monkeypatch.setattr(lifter, "fatbin", lambda name: b"")
    return LiftKernels(HostKernels(launch))


def a_rig() -> Rig:
    """Three cameras round the origin at 600 mm, two of them with all five distortion terms."""
    cameras = []
    for i, angle in enumerate((-0.6, 0.1, 0.8)):
        c, s = np.cos(angle), np.sin(angle)
        pose = np.array([[c, 0, s, 5.0 * i], [0, 1, 0, -10.0], [-s, 0, c, 600.0]])
        bend = np.array([0.1, -0.05, 1e-3, -2e-3, 0.01]) * (i > 0)
        k = np.array([[800.0 + 10 * i, 0, 640], [0, 790, 360], [0, 0, 1]])
        cameras.append(Camera(f"cam{i}", (1280, 720), k, bend, pose))
    return Rig(tuple(cameras))


def hands_of(seed: int, n: int = 4) -> np.ndarray:
    """Joints (n, 21, 3) mm: the palm's template turned, scaled, moved and shaken, fingers anywhere near."""
    rng = np.random.default_rng(seed)
    joints = rng.normal(0, 0.3, (n, 21, 3)) + [0, 1.2, 0]
    joints[:, PALM_JOINTS] = PALM_TEMPLATE + rng.normal(0, 0.03, (n, 6, 3))
    q, _ = np.linalg.qr(rng.normal(size=(n, 3, 3)))
    turn = q * np.sign(np.linalg.det(q))[:, None, None]
    return joints @ turn * rng.uniform(60, 110, (n, 1, 1)) + rng.normal(0, 60, (n, 1, 3))


def run_canonicalise(kernels, joints_mm, side, unit_mm=0.0):
    n = len(joints_mm)
    joints_mm, side = np.ascontiguousarray(joints_mm), np.asarray(side, np.int32)
    template, palm = PALM_TEMPLATE.astype(np.float64), np.array(PALM_JOINTS, np.int32)
    joints, valid, frames = (
        np.full((n, 21, 3), 7, np.float32),
        np.full((n, 21), 7, np.float32),
        np.zeros((n, 14)),
    )
    kernels.canonicalise(
        address(joints_mm), address(side), n, (address(template), address(palm)), unit_mm,
        (address(joints), address(valid), address(frames)),
    )  # fmt: skip
    return joints, valid, frames


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), missing=st.integers(0, 8), normalise=st.booleans())
def test_canonicalise_is_its_twin(launch, seed, missing, normalise):
    kernels = LiftKernels.__new__(LiftKernels)
    kernels._launch = launch
    rng = np.random.default_rng(seed)
    joints_mm, side = hands_of(seed), np.array([0, 1, 1, 0])
    for hand in joints_mm:
        hand[rng.choice(21, missing, replace=False)] = np.nan
    joints, valid, frame = canonicalise(joints_mm, side, normalise)
    got_joints, got_valid, got = run_canonicalise(
        kernels, joints_mm, side, 0.0 if normalise else lifter.METRIC_UNIT_MM
    )
    there = frame.present & (valid.sum(1) >= MIN_VALID_JOINTS)
    assert (got[:, 13] == there).all()
    np.testing.assert_array_equal(got_valid[there], valid[there])
    np.testing.assert_allclose(got_joints[there], joints[there], atol=1e-6)  # measured 0
    np.testing.assert_allclose(got[there, :9].reshape(-1, 3, 3), frame.rotation[there], atol=1e-10)  # 1e-14
    np.testing.assert_allclose(got[there, 12], frame.scale_mm[there], rtol=1e-12)
    assert not got_valid[~there].any() and not got_joints[~there].any()


@pytest.mark.parametrize(
    "case", ["collapsed", "on a line", "tiny", "two palm joints", "all missing", "flat palm"]
)
def test_degenerate_hands_are_as_absent_as_in_numpy(kernels, case):
    hand = hands_of(3, 1)
    if case == "collapsed":
        hand[:] = 5.0
    elif case == "on a line":
        hand[0] = np.arange(21)[:, None] * [10.0, 3.0, 1.0]
    elif case == "tiny":
        hand *= 0.1
    elif case == "two palm joints":
        hand[0, PALM_JOINTS[2:]] = np.nan
    elif case == "all missing":
        hand[:] = np.nan
    else:
        hand[0] = hand[0] * [1, 1, 0]
    frame = canonicalise(hand, np.array([0]))[2]
    got = run_canonicalise(kernels, hand, [0])[2]
    assert bool(got[0, 13]) == bool(frame.present[0]) == (case == "flat palm")
    if case == "flat palm":
        np.testing.assert_allclose(got[0, :9].reshape(3, 3), frame.rotation[0], atol=1e-9)


def test_place_is_the_way_back(kernels):
    joints_mm, side = hands_of(5), np.array([0, 1, 1, 0], np.int32)
    joints_mm[2] = np.nan
    frames = run_canonicalise(kernels, joints_mm, side)[2]
    surface = np.random.default_rng(0).normal(size=(4, 64, 3)).astype(np.float32)
    hands = np.zeros((4, 85, 3))
    kernels.place(address(joints_mm), address(side), address(surface), address(frames), address(hands), 4)
    frame = canonicalise(joints_mm, side)[2]
    np.testing.assert_allclose(hands[:, 21:], frame.to_world(surface), atol=1e-9)
    np.testing.assert_array_equal(hands[:, :21], joints_mm)
    assert np.isnan(hands[2]).all()


def test_project_is_the_core(kernels):
    rig = a_rig()
    points = np.random.default_rng(0).normal(0, 150, (200, 3))
    points[0], points[1], points[2] = np.nan, (0, 0, -3000), (0, np.inf, 0)
    out, views = np.zeros((3, 200, 2), np.float32), view_table(rig)
    kernels.project(address(points), 200, address(views), 3, address(out))
    np.testing.assert_allclose(out, rig.project(points), atol=1e-4)  # measured 0
    assert np.isnan(out[:, :3]).all(axis=(1, 2)).any() and np.isfinite(out[:, 3:]).all()


def test_the_lifter_is_rtc_and_reprojection(launch, monkeypatch, tmp_path):
    pytest.importorskip("onnx", reason="TensorRT plans are built by way of onnx (pip install onnx).")
    from fake_tensorrt import GPU, FakeTrt, NumpyDevice

    from rt_hands.inference.tensorrt.engine import Runtime, TensorRtEngine

    path = weights_dir() / "rtc.onnx"
    if not path.is_file():
        pytest.skip("The RTC network is not in this installation.")
    monkeypatch.setattr(lifter, "fatbin", lambda name: b"")
    monkeypatch.setenv("RT_HANDS_CACHE", str(tmp_path))
    engine = TensorRtEngine(
        path, max_batch=2, runtime=Runtime(GPU, FakeTrt(), lambda gpu: NumpyDevice(gpu, launch))
    )
    assert engine.precision == "float32"
    rtc, rig = Rtc(), a_rig()
    lift = RtcLifter(engine, rig, rtc.normalised)
    for seed in range(3):
        joints_mm, side = hands_of(seed, 2), np.array([0, 1])
        if seed == 1:
            joints_mm[0, :10] = np.nan  # too few joints: absent
        got = lift(joints_mm, side)
        surface_mm, confidence = rtc(joints_mm, side)
        np.testing.assert_allclose(got.hands_mm[:, 21:], surface_mm, atol=1e-3)  # mm
        np.testing.assert_allclose(got.confidence, confidence, atol=1e-5)
        pixels = rig.project(got.hands_mm.reshape(-1, 3)).reshape(3, 2, 85, 2)
        np.testing.assert_allclose(got.points_px, pixels, atol=1e-3)
    with pytest.raises(InvalidInput, match="joints_mm has shape"):
        lift(joints_mm[0], side)
    engine.close()


@pytest.fixture
def cpm_engine(launch, monkeypatch, tmp_path, standin_path):
    """A CPM in the fake TensorRT, its kernels on the CPU."""
    pytest.importorskip("onnx", reason="TensorRT plans are built by way of onnx (pip install onnx).")
    from fake_tensorrt import GPU, FakeTrt, NumpyDevice

    from rt_hands.inference.tensorrt.engine import Runtime, TensorRtEngine

    if not (weights_dir() / "rtc.onnx").is_file():
        pytest.skip("The RTC network is not in this installation.")
    monkeypatch.setattr(lifter, "fatbin", lambda name: b"")
    monkeypatch.setenv("RT_HANDS_CACHE", str(tmp_path))
    runtime = Runtime(GPU, FakeTrt(), lambda gpu: NumpyDevice(gpu, launch))
    engine = TensorRtEngine(standin_path, precision="float32", runtime=runtime)
    yield engine
    engine.close()


def test_lift_takes_rtc_from_the_gpu_that_runs_the_cpm(cpm_engine):
    rig = ring_rig(4)
    reader = Cpm(cpm_engine).surface_reader(rig)
    assert isinstance(cpm_engine, SurfaceReading) and reader is not None
    calls = []

    def counted(joints_mm, side):
        calls.append(len(side))
        return reader(joints_mm, side)

    views = as_hands(views_of(hands_mm(), rig))
    ours, theirs = lift(views, rig, rtc=counted), lift(views, rig)
    assert calls == [2] and theirs.present.all()
    np.testing.assert_allclose(ours.points_world_mm, theirs.points_world_mm, atol=1e-3)  # mm
    np.testing.assert_allclose(ours.score, theirs.score, atol=1e-5)


def test_the_pipeline_lifts_there_and_a_cpu_engine_does_not(cpm_engine, standin_path):
    rig = a_rig()
    source = SimpleNamespace(cameras=rig.ids, still=False, live=False)
    pipeline = Pipeline(source, Cpm(cpm_engine), rig=rig)
    assert pipeline._rig_tracker._rtc.__self__.__class__ is RtcLifter
    engine = open_engine(standin_path, "onnxruntime", quiet=True)
    assert Cpm(engine).surface_reader(rig) is None
    engine.close()
    gpu_rtc = pipeline._rig_tracker._rtc
    cpm_engine.close()
    with pytest.raises(InvalidInput, match=r"TensorRT engine of rtc\.onnx"):
        gpu_rtc(hands_of(0, 2), np.array([0, 1]))


def test_one_surface_reader_serves_every_pipeline(cpm_engine):
    joints_mm, side = hands_of(0, 2), np.array([0, 1])
    first, again, other = (cpm_engine.surface_reader(rig) for rig in (a_rig(), a_rig(), ring_rig(4)))
    assert first is again is other and len(cpm_engine.before_close) == 1
    np.testing.assert_allclose(other(joints_mm, side)[0], Rtc()(joints_mm, side)[0], atol=1e-3)  # mm


def test_without_kernels_rtc_stays_on_the_cpu_and_that_is_said(cpm_engine, monkeypatch, capsys):
    def missing(name):
        raise MissingPart("The CUDA kernels were not compiled.")

    monkeypatch.setattr(lifter, "fatbin", missing)
    assert cpm_engine.surface_reader(a_rig()) is None
    assert "runs RTC on the CPU: The CUDA kernels were not compiled." in capsys.readouterr().err


def test_a_lifter_that_does_not_open_closes_its_engine(cpm_engine, monkeypatch):
    from fake_tensorrt import DEVICES

    def full(*arguments):
        raise InvalidInput("Test GPU is out of memory.")

    monkeypatch.setattr(lifter, "LiftKernels", full)
    with pytest.raises(InvalidInput, match="out of memory"):
        cpm_engine.surface_reader(a_rig())
    assert list(DEVICES.values())[-1].closed and not cpm_engine.cuda.closed


@pytest.mark.gpu
def test_projection_on_the_gpu():
    from rt_hands.inference.tensorrt.cuda import PycudaDevice
    from rt_hands.inference.tensorrt.probe import find_gpu

    try:
        device = PycudaDevice(find_gpu())
    except MissingPart as error:
        pytest.skip(f"No GPU to run on: {error}")
    rig, points = a_rig(), device.pinned((200, 3), np.float64)
    points[:] = np.random.default_rng(0).normal(0, 150, (200, 3))
    views, out = device.pinned((3, 21), np.float64), device.pinned((3, 200, 2), np.float32)
    views[:] = view_table(rig)
    at = [device.alloc(array.nbytes) for array in (points, views, out)]
    device.upload(at[0], points)
    device.upload(at[1], views)
    LiftKernels(device).project(at[0], 200, at[1], 3, at[2])
    device.download(out, at[2])
    device.synchronise()
    np.testing.assert_allclose(out, rig.project(points), atol=1e-3)
    device.close()
