"""Types written into a network for TensorRT: float16 within, what goes in and comes out as before."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="TensorRT plans are built by way of onnx (pip install onnx).")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from rt_hands.inference.tensorrt.onnx_types import with_types  # noqa: E402


def resizing_network():
    """Conv, Resize to a fixed size, a Constant, a weight stored as half: all that the shipped networks hold."""
    rng, value, node = np.random.default_rng(0), helper.make_tensor_value_info, helper.make_node
    weights = {
        "W": rng.normal(size=(5, 3, 3, 3)).astype(np.float32),
        "scales": np.array([1, 1, 0.5, 0.5], np.float32),
        "gain_half": np.array([0.5], np.float16),
    }
    constant = numpy_helper.from_array(np.array([0.25], np.float32), "c")
    nodes = [
        node("Resize", ["image", "", "scales"], ["r"], mode="linear"),
        node("Conv", ["r", "W"], ["h"], pads=[1, 1, 1, 1]),
        node("Constant", [], ["c"], value=constant),
        node("Cast", ["gain_half"], ["gain"], to=TensorProto.FLOAT),
        node("Mul", ["h", "gain"], ["m"]),
        node("Add", ["m", "c"], ["belief_maps"]),
    ]
    graph = helper.make_graph(
        nodes, "resizing", [value("image", TensorProto.FLOAT, ["b", 3, 16, 16])],
        [value("belief_maps", TensorProto.FLOAT, ["b", 5, 8, 8])],
        [numpy_helper.from_array(v, k) for k, v in weights.items()],
    )  # fmt: skip
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    ).SerializeToString()


def test_float16_keeps_inputs_outputs_and_resize_scales():
    import onnxruntime

    data = resizing_network()
    half = onnx.load_model_from_string(with_types(data, "float16", "resizing"))
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*half.graph.input, *half.graph.output)}
    assert set(kinds.values()) == {TensorProto.FLOAT}
    assert {t.name: t.data_type for t in half.graph.initializer} == {
        "W": TensorProto.FLOAT16, "scales": TensorProto.FLOAT, "gain_half": TensorProto.FLOAT16,
    }  # fmt: skip
    image = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)
    single, halved = (
        onnxruntime.InferenceSession(m, providers=["CPUExecutionProvider"]).run(None, {"image": image})[0]
        for m in (data, half.SerializeToString())
    )
    np.testing.assert_allclose(halved, single, atol=2e-3)  # measured 6.3e-4 of values up to 3.1
    assert not np.array_equal(halved, single)


def test_a_side_that_counts_and_multiplies_gets_both_types():
    import onnxruntime

    node, value = helper.make_node, helper.make_tensor_value_info
    constants = {"last": np.array(3), "zero": np.array(0, np.float32), "one": np.array(1, np.float32)}
    nodes = [
        node("Shape", ["image"], ["shape"]),
        node("Gather", ["shape", "last"], ["whole"]),
        node("Cast", ["whole"], ["side"], to=TensorProto.FLOAT),
        node("Range", ["zero", "side", "one"], ["grid"]),
        node("Mul", ["image", "side"], ["large"]),
        node("Add", ["large", "grid"], ["out"]),
    ]
    shape = ["b", 1, 2, 8]
    graph = helper.make_graph(
        nodes, "side", [value("image", TensorProto.FLOAT, shape)], [value("out", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    half = with_types(model.SerializeToString(), "float16", "side")
    image = np.random.default_rng(0).random((2, 1, 2, 8), np.float32)
    session = onnxruntime.InferenceSession(half, providers=["CPUExecutionProvider"])
    got = session.run(None, {"image": image})[0]
    np.testing.assert_allclose(got, image * 8 + np.arange(8), atol=0.02)  # measured 0.006
