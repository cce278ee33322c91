"""Pictures up, points down on the fake TensorRT, with the shipped kernels compiled for the CPU."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import standin

onnx = pytest.importorskip("onnx", reason="TensorRT plans are built by way of onnx (pip install onnx).")

from fake_tensorrt import GPU, FakeTrt, NumpyDevice  # noqa: E402

from rt_hands.errors import InvalidInput, MissingPart  # noqa: E402
from rt_hands.inference.cpm import Cpm  # noqa: E402
from rt_hands.inference.preprocess import Crop  # noqa: E402
from rt_hands.inference.tensorrt import kernels  # noqa: E402
from rt_hands.inference.tensorrt.engine import Runtime, TensorRtEngine  # noqa: E402
from rt_hands.inference.tensorrt.reader import CropReader, padded_batch  # noqa: E402
from rt_hands.layout import NOT_GIVEN  # noqa: E402

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture(params=[False])
def reader(request, standin_path, launch, monkeypatch):
    monkeypatch.setattr(kernels, "fatbin", lambda name: name.encode())
    trt = FakeTrt()
    runtime = Runtime(GPU, trt, lambda gpu: NumpyDevice(gpu, launch))
    engine = TensorRtEngine(
        standin_path, precision="float32", max_batch=2, use_graphs=request.param, runtime=runtime
    )
    yield CropReader(engine)
    engine.close()


def jobs_of(count, size_px=(320, 240)):
    hands = standin.PaintedHand(0, (100, 120), 120), standin.PaintedHand(1, (220, 120), 110, 20)
    image = standin.picture(*hands, size_px=size_px)
    crops = (Crop(30, 50, 140), Crop(140, 40, 160), Crop(0, -40, 320), Crop(40, 60, 120, 0.5))
    return [(image, crop) for crop in crops][:count]


@pytest.mark.parametrize("reader", [True], indirect=True)
def test_reader_gives_the_points_of_the_cpu_path(reader, standin_cpm):
    for count in (2, 1, 3, 4):  # the fourth crop is turned
        jobs = jobs_of(count)
        points, presence = reader(jobs)
        wanted = standin_cpm(jobs)
        flat = wanted.points_px.reshape(count, 170, 3)
        shown = flat[..., 2] > 0.5
        assert shown.any() and points.shape == (count, 170, 3)
        distance = np.linalg.norm(points[..., :2] - flat[..., :2], axis=-1)[shown]
        print(count, np.median(distance), np.percentile(distance, 95), distance.max())
        # The rest are near ties between two cells of a map, which rounding to grey levels decides.
        assert np.median(distance) < 0.15 and np.percentile(distance, 95) < 0.5
        np.testing.assert_allclose(presence, wanted.presence, atol=0.02)
    assert all(r.has_graph for slot in reader._all for r in slot.replays.values())


def test_two_frames_in_flight_come_back_in_order(reader):
    jobs = jobs_of(2)
    alone = [reader([job])[0] for job in jobs]
    for job in jobs:
        reader.submit([job])
    with pytest.raises(InvalidInput, match="All 2 slots are in flight"):
        reader.submit(jobs)
    for wanted in alone:
        np.testing.assert_array_equal(reader.collect()[0], wanted)
    with pytest.raises(InvalidInput, match="Nothing was submitted"):
        reader.collect()


def test_calls_one_at_a_time_stay_with_one_slot_and_overlapped_ones_alternate(reader):
    (job,) = jobs_of(1)
    for _ in range(2):
        reader([job])
    assert [sorted(slot.replays) for slot in reader._all] == [[1], []]
    used = []
    reader.submit([job])
    for _ in range(4):
        reader.submit([job])
        used.append(reader._flying[-1])
        reader.collect()
    reader.collect()
    assert all(a is not b for a, b in pairwise(used))


def test_warm_up_prepares_what_the_first_frames_use(standin_path, launch, monkeypatch):
    monkeypatch.setattr(kernels, "fatbin", lambda name: name.encode())
    runtime = Runtime(GPU, FakeTrt(), lambda gpu: NumpyDevice(gpu, launch))
    cpm = Cpm(TensorRtEngine(standin_path, precision="float32", max_batch=4, runtime=runtime))
    cpm.warm_up((1, 4))
    slot = cpm._reader._all[0]
    warmed = dict(slot.replays)
    assert sorted(warmed) == [1, 2, 4] and all(replay.has_graph for replay in warmed.values())
    assert cpm.engine.replays() == {}
    for count in (1, 2, 3):
        cpm([(np.zeros((720, 1280, 3), np.uint8), Crop(0, -280, 1280))] * count)
    assert slot.replays == warmed and not cpm._reader._all[1].replays
    cpm.close()


def test_larger_pictures_grow_the_staging_and_record_anew(reader):
    before = reader([jobs_of(1)[0]])[0]
    large = [
        (standin.picture(standin.PaintedHand(0, (640, 360), 500), size_px=(1280, 720)), Crop(0, -280, 1280))
    ]
    reader(large)
    reader(large)
    np.testing.assert_array_equal(reader([jobs_of(1)[0]])[0], before)
    with pytest.raises(InvalidInput, match="3 crops; this engine takes 1 to 2 at once"):
        reader.submit(large * 3)
    assert len(reader(jobs_of(1) * 3)[0]) == 3


def test_a_picture_too_large_for_the_memory_leaves_the_reader_as_it_was(reader, monkeypatch):
    before, cuda = reader([jobs_of(1)[0]])[0], reader.engine.cuda

    def full(shape, dtype):
        raise InvalidInput("out of memory")

    large = [(np.zeros((1440, 2560, 3), np.uint8), Crop(0, 0, 1280))]
    monkeypatch.setattr(cuda, "pinned", full)
    with pytest.raises(InvalidInput, match="out of memory"):
        reader(large)
    monkeypatch.undo()
    np.testing.assert_array_equal(reader([jobs_of(1)[0]])[0], before)
    reader(large)


def test_missing_kernels_name_the_way_out(monkeypatch, tmp_path):
    monkeypatch.setattr(kernels, "_FOLDER", tmp_path)
    with pytest.raises(MissingPart, match="built without nvcc"):
        kernels.fatbin("decode")


def test_batches_are_padded_to_powers_of_two():
    assert [padded_batch(n, 12) for n in (1, 2, 3, 5, 8, 9, 12)] == [1, 2, 4, 8, 8, 12, 12]


def test_the_cpm_takes_the_gpu_path_by_itself(reader, standin_cpm):
    cpm = Cpm(reader.engine)
    read, wanted = cpm(jobs_of(2)), standin_cpm(jobs_of(2))
    assert read.points_px.shape == (2, 2, 85, 3) and len(read.belief_maps) == 0
    shown = wanted.points_px[..., 2] > 0.5
    assert np.median(np.abs(read.points_px - wanted.points_px)[shown]) < 0.1
    with_maps = cpm(jobs_of(2), keep_maps=True)
    np.testing.assert_allclose(with_maps.belief_maps, standin_cpm(jobs_of(2)).belief_maps, atol=1e-6)


def test_without_compiled_kernels_the_cpu_crops_and_it_is_said(standin_path, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(kernels, "_FOLDER", tmp_path)
    engine = TensorRtEngine(standin_path, precision="float32", runtime=Runtime(GPU, FakeTrt(), NumpyDevice))
    cpm = Cpm(engine)
    assert (
        "crops and decodes on the CPU: The CUDA kernels are not in this installation"
        in capsys.readouterr().err
    )
    assert cpm(jobs_of(1)).belief_maps.shape == (1, 171, 45, 45)
    cpm.close()


def test_kernels_that_do_not_load_leave_the_rest_usable(standin_path, monkeypatch, capsys):
    def refused(image):
        raise MissingPart("The packaged CUDA kernels don't load on Test GPU.")

    monkeypatch.setattr(kernels, "fatbin", lambda name: name.encode())
    monkeypatch.setattr(NumpyDevice, "load_kernels", staticmethod(refused))
    engine = TensorRtEngine(standin_path, precision="float32", runtime=Runtime(GPU, FakeTrt(), NumpyDevice))
    cpm = Cpm(engine)
    assert "crops and decodes on the CPU: The packaged CUDA kernels don't load" in capsys.readouterr().err
    cpm.warm_up((1, 2))
    assert sorted(engine.replays()) == [1, 2]
    assert cpm(jobs_of(1)).belief_maps.shape == (1, 171, 45, 45)
    cpm.close()


def test_the_network_on_the_gpu_is_told_of_joints(standin_path, launch, monkeypatch, tmp_path):
    model = onnx.load(str(standin_path))
    for node in model.graph.node:
        node.output[:] = ["seen" if name == "presence" else name for name in node.output]
    joints = onnx.helper.make_tensor_value_info("joints", onnx.TensorProto.FLOAT, ["b", 2, 21, 2])
    model.graph.input.append(joints)
    # What it says of the hands is what it was told of them.
    model.graph.node.append(
        onnx.helper.make_node("ReduceMean", ["joints"], ["presence"], axes=[2, 3], keepdims=0)
    )
    onnx.save(model, str(tmp_path / "echo.onnx"))
    monkeypatch.setattr(kernels, "fatbin", lambda name: name.encode())
    runtime = Runtime(GPU, FakeTrt(), lambda gpu: NumpyDevice(gpu, launch))
    engine = TensorRtEngine(tmp_path / "echo.onnx", precision="float32", max_batch=2, runtime=runtime)
    cpm, image = Cpm(engine), np.zeros((240, 320, 3), np.uint8)
    places = [np.full((2, 21, 2), 100.0 + 10 * i) for i in range(3)]
    crop = Crop(0, 0, 240)
    told = cpm([(image, crop)] * 3, told=places).presence
    wanted = [crop.shares_of(p, cpm.input_px).mean((1, 2)) for p in places]
    np.testing.assert_allclose(told, wanted, atol=1e-5)
    np.testing.assert_array_equal(cpm([(image, crop)]).presence, [[NOT_GIVEN] * 2])
    # Larger pictures move the staging, joints and all.
    large = np.zeros((2000, 2000, 3), np.uint8)
    told = cpm([(large, Crop(0, 0, 2000))], told=places[:1]).presence
    np.testing.assert_allclose(
        told[0], Crop(0, 0, 2000).shares_of(places[0], cpm.input_px).mean((1, 2)), atol=1e-5
    )
    engine.close()
