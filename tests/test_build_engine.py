"""build_engine on the fake TensorRT: plan, report, int8 calibration; and int8 files made fit for TensorRT."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import standin
from rich.console import Console

onnx = pytest.importorskip("onnx", reason="TensorRT plans are built by way of onnx (pip install onnx).")

import onnxruntime  # noqa: E402
from fake_tensorrt import GPU, FakeTrt, NumpyDevice  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from rt_hands.build_engine import Options, build  # noqa: E402
from rt_hands.errors import InvalidInput  # noqa: E402
from rt_hands.inference.engine import open_engine  # noqa: E402
from rt_hands.inference.quantise import quantise  # noqa: E402
from rt_hands.inference.tensorrt.engine import Runtime  # noqa: E402
from rt_hands.inference.tensorrt.onnx_types import to_signed, with_types  # noqa: E402
from rt_hands.inference.tensorrt.parity import compare, latency_ms  # noqa: E402

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(2):
        hands = standin.PaintedHand(0, (170 + 20 * i, 240), 180), standin.PaintedHand(1, (450, 240), 170)
        cv2.imwrite(str(folder / f"{i}.png"), standin.picture(*hands))
    return folder


def conv_network():
    """Two convolutions with a ReLU between, 8 x 8 pictures."""
    rng, value, node = np.random.default_rng(0), helper.make_tensor_value_info, helper.make_node
    weights = {f"W{i}": rng.normal(size=(4, n, 3, 3)).astype(np.float32) / 4 for i, n in enumerate((3, 4))}
    nodes = [
        node("Conv", ["image", "W0"], ["h"], pads=[1, 1, 1, 1], name="first"),
        node("Relu", ["h"], ["r"]),
        node("Conv", ["r", "W1"], ["out"], pads=[1, 1, 1, 1], name="second"),
    ]
    graph = helper.make_graph(
        nodes, "conv", [value("image", TensorProto.FLOAT, ["b", 3, 8, 8])],
        [value("out", TensorProto.FLOAT, ["b", 4, 8, 8])], [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )  # fmt: skip
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


def run(model, image):
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(
        None, {"image": image}
    )[0]


def zero_points(model):
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return [values[n.input[2]] for n in model.graph.node if "quantizelinear" in n.op_type.lower()]


def test_command_builds_and_reports_distances(standin_path, pictures, cache):
    trt, console = FakeTrt(), Console(record=True, width=200)
    options = Options(str(standin_path), "float32", 4, str(pictures), 2, runs=3)
    assert build(options, Runtime(GPU, trt, NumpyDevice), console) == 0
    said = console.export_text()
    assert "standin.onnx in float32 for Test GPU (sm_90), batches of 1 to 4: built." in said
    # The fake runs the same onnxruntime, so the distance is 0; four crops of two pictures, two hands each.
    assert "points on 4 crops" in said and "mean 0.000, p50 0.000, p99 0.000, max 0.00" in said
    assert "tensorrt, Test GPU (sm_90), float32" in said and "onnxruntime, CPU, float32" in said
    assert len(list(cache.glob("*.plan"))) == 1
    build(options, Runtime(GPU, trt, NumpyDevice), console)
    assert trt.builds == 2, "the command builds anew each time"


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"runs": 0}, "--runs is 0"),
        ({"max_batch": 0}, "--max-batch is 0"),
        ({"frames": 0}, "--frames is 0"),
        ({"model": "rtc", "precision": "int8"}, "rtc.onnx is no CPM or has too few"),
    ],
)
def test_what_cannot_be_built_is_told_before_the_work(options, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        build(Options(**options), Runtime(GPU, FakeTrt(), NumpyDevice), Console())


def test_comparison_sees_a_moved_point(standin_path, pictures):
    engine = open_engine(standin_path, "onnxruntime", threads=1, quiet=True)

    class Moved:
        """The same engine, each belief map moved by one cell to the right."""

        outputs = engine.outputs
        buffers = staticmethod(engine.buffers)

        def run(self, batch):
            maps, presence = engine.run(batch)
            return np.roll(maps, 1, axis=3), presence

    image = standin.picture(standin.PaintedHand(0, (184, 184), 250), size_px=(368, 368))
    batch = np.ascontiguousarray(image[None, ..., ::-1].transpose(0, 3, 1, 2), np.float32) / 255
    found = compare(engine, Moved(), [batch])
    cell = 368 / 45
    assert (
        found.p50_px == pytest.approx(cell, abs=0.01)
        and found.max_px < cell + 0.1
        and found.worst_presence == 0
    )
    with pytest.raises(InvalidInput, match="nothing to compare"):
        compare(engine, engine, [np.zeros((1, 3, 368, 368), np.float32)])
    p50, p99 = latency_ms(engine, (batch,), runs=3)
    assert 0 < p50 <= p99


def test_quantise_is_signed_symmetric_and_close():
    rng = np.random.default_rng(1)
    batches = rng.random((8, 3, 8, 8), np.float32)
    data = quantise(conv_network(), "conv", batches, signed=True)
    model = onnx.load_model_from_string(data)
    zeros = zero_points(model)
    assert len(zeros) >= 4 and all(z.dtype == np.int8 and not z.any() for z in zeros)
    wanted, got = run(conv_network(), batches[:2]), run(data, batches[:2])
    assert np.abs(got - wanted).mean() < 0.02 * np.abs(wanted).mean()  # measured 1.2 %


def test_unsigned_int8_becomes_signed_over_the_same_range():
    rng = np.random.default_rng(1)
    batches = rng.random((8, 3, 8, 8), np.float32)
    model = onnx.load_model_from_string(quantise(conv_network(), "conv", batches))
    assert any(z.dtype == np.uint8 for z in zero_points(model))
    assert to_signed(model) >= 2 and to_signed(model) == 0
    assert all(z.dtype == np.int8 and not z.any() for z in zero_points(model))
    onnx.checker.check_model(model)
    wanted, got = run(conv_network(), batches[:2]), run(model.SerializeToString(), batches[:2])
    assert np.abs(got - wanted).mean() < 0.03 * np.abs(wanted).mean()  # measured 1.3 %


@pytest.mark.parametrize("typed", [True, False], ids=["typed", "8.6"])
def test_int8_files_keep_their_answers_in_the_types_tensorrt_gets(typed):
    rng = np.random.default_rng(1)
    batches = rng.random((8, 3, 8, 8), np.float32)
    data = with_types(quantise(conv_network(), "conv", batches), "int8", "conv", typed)
    model = onnx.load_model_from_string(data)
    scales = {n.input[1] for n in model.graph.node if "quantizelinear" in n.op_type.lower()}
    kinds = {t.data_type for t in model.graph.initializer if t.name in scales}
    assert kinds == {TensorProto.FLOAT16 if typed else TensorProto.FLOAT}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    )  # it can't fuse halves
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    wanted, got = run(conv_network(), batches[:2]), session.run(None, {"image": batches[:2]})[0]
    assert got.dtype == np.float32
    error = np.abs(got - wanted).mean() / np.abs(wanted).mean()
    print(error)
    assert error < 0.03  # measured 1.3 % both
