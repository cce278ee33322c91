"""The graph that is made 8-bit: channels filled up, gains in the weights, pictures resized between the same codes."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

onnx = pytest.importorskip("onnx", reason="Networks are quantised by way of onnx (pip install onnx).")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from rt_hands.inference.quantise import quantise  # noqa: E402
from rt_hands.inference.quantise.align import AT_ONCE  # noqa: E402
from rt_hands.inference.quantise.graph import Graph  # noqa: E402

SIDE, WIDE = 12, 37
IMAGES = np.kron(np.random.default_rng(3).random((12, 3, 3, 3)), np.ones((4, 4))).astype(np.float32)


def network():
    """Like the stages of a CPM: maps that are not 16 n, summed, times a gain, and a coarse path that is resized."""
    rng, node = np.random.default_rng(0), helper.make_node
    shapes = {
        "first": (WIDE, 3),
        "prior": (WIDE, WIDE),
        "again": (WIDE, WIDE),
        "down": (WIDE, WIDE),
        "last": (WIDE, WIDE),
    }
    values = {f"{k}.weight": rng.normal(size=(*s, 1, 1)) / np.sqrt(s[1]) for k, s in shapes.items()}
    values |= {f"{k}.bias": 0.1 * rng.normal(size=s[0]) for k, s in shapes.items() if k != "prior"}
    values |= {"shift": rng.normal(size=(WIDE, 1, 1))}
    values |= {"gain": np.array(0.8), "scales": np.array([1, 1, 2, 2])}

    def conv(name, source, out, **attributes):
        inputs = [
            name for name in (source, f"{name}.weight", f"{name}.bias") if name == source or name in values
        ]
        return node("Conv", inputs, [out], name=name, **attributes)

    linear = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    nodes = [
        conv("first", "image", "a"),
        node("Relu", ["a"], ["b"]),
        conv("down", "b", "c", strides=[2, 2]),
        node("Resize", ["c", "", "scales"], ["d"], **linear),
        node("Add", ["b", "d"], ["e"]),
        node("Mul", ["gain", "e"], ["f"]),
        conv("prior", "f", "g"),
        conv("again", "e", "h"),
        node("Add", ["g", "h"], ["i"]),
        node("Relu", ["i"], ["positive"]),
        node("Add", ["positive", "shift"], ["shifted"]),
        conv("last", "shifted", "j"),
        node("Add", ["i", "j"], ["k"]),
        node("Exp", ["k"], ["out"]),
    ]
    tensors = [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in values.items()]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "net", [value("image", TensorProto.FLOAT, ["b", 3, SIDE, SIDE])],
        [value(k, TensorProto.FLOAT, ["b", WIDE, SIDE, SIDE]) for k in ("out", "i")], tensors,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


def run(model):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": IMAGES})


def test_filled_channels_change_no_answer():
    graph = Graph(network(), "net", aligned=True)
    for given, wanted in zip(run(graph.model.SerializeToString()), run(network()), strict=True):
        assert given.shape == wanted.shape
        np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-5)
    shapes = {layer.name: graph.get(layer.weight).shape[:2] for layer in graph.layers}
    full = -(-WIDE // AT_ONCE) * AT_ONCE
    assert shapes["first"] == (full, 3) and shapes["down"] == (full, full)
    # What the network gives and what is made of a resized tensor stay as wide as they are.
    assert shapes["again"] == (full, full) and shapes["last"][1] == full


def test_channels_are_left_alone_where_nobody_asks():
    graph = Graph(network(), "net")
    assert {graph.get(layer.weight).shape[0] for layer in graph.layers} == {WIDE}


def test_a_gain_goes_into_the_weights_that_it_is_read_by():
    graph = Graph(network(), "net")
    assert "Mul" not in {node.op_type for node in graph.model.graph.node}
    layer = next(layer for layer in graph.layers if layer.name == "prior")
    before = {
        t.name: numpy_helper.to_array(t) for t in onnx.load_model_from_string(network()).graph.initializer
    }
    np.testing.assert_allclose(graph.get(layer.weight), 0.8 * before["prior.weight"], rtol=1e-6)
    for given, wanted in zip(run(graph.model.SerializeToString()), run(network()), strict=True):
        np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("signed", [False, True])
def test_a_picture_is_resized_between_the_same_codes(signed):
    model = onnx.load_model_from_string(quantise(network(), "net", IMAGES, signed=signed, keep_float=()))
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    resize = next(node for node in model.graph.node if node.op_type == "Resize")
    pairs = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    codes = {node.input[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    before, after = pairs[resize.input[0]], codes[resize.output[0]]
    assert (
        values[before.input[1]] == values[after.input[1]]
        and values[before.input[2]] == values[after.input[2]]
    )
    given, wanted = (np.log(run(m)[0]) for m in (model.SerializeToString(), network()))
    assert np.sqrt(((given - wanted) ** 2).mean()) < 0.03 * wanted.std()
