"""8 bits by arithmetic: rounding that keeps answers, channels made equal, whole networks in both CPU engines."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

onnx = pytest.importorskip("onnx", reason="Networks are quantised by way of onnx (pip install onnx).")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from rt_hands.errors import InvalidInput  # noqa: E402
from rt_hands.inference.models import precision_of  # noqa: E402
from rt_hands.inference.quantise import quantise  # noqa: E402
from rt_hands.inference.quantise.equalise import equalise  # noqa: E402
from rt_hands.inference.quantise.graph import Graph, patches, read_tensors  # noqa: E402
from rt_hands.inference.quantise.rounding import LARGEST, best_scale, round_weights, scale_of  # noqa: E402

SIDE = 12


def pictures(count=24, seed=3):
    """Smooth ones, as photographs are: neighbouring pixels are nearly alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((count, 3, 3, 3))
    fine = np.kron(coarse, np.ones((4, 4))) + 0.02 * rng.random((count, 3, SIDE, SIDE))
    return np.clip(fine, 0, 1).astype(np.float32)


def network(clip=True, bias=True):
    """A convolution of faint and strong channels, a depthwise one that makes differences of them strong, two 1 x 1."""
    rng, node = np.random.default_rng(0), helper.make_node
    strength = np.geomspace(0.02, 1, 8)[:, None, None, None]
    edge = np.zeros((8, 1, 3, 3))
    edge[:, 0, 1, 0], edge[:, 0, 1, 1] = 4, -4.03
    values = {
        "first.weight": rng.normal(size=(8, 3, 3, 3)) * strength,
        "edges.weight": edge / strength,
        "mix.weight": rng.normal(size=(8, 8, 1, 1)) / 3,
        "last.weight": rng.normal(size=(4, 16, 1, 1)) / 4,
        "low": np.array(0.0),
        "high": np.array(6.0),
    }
    biases = {f"{k[:-7]}.bias": 0.02 * rng.normal(size=len(v)) for k, v in values.items() if v.ndim == 4}
    values |= biases if bias else {}
    value = helper.make_tensor_value_info

    def conv(name, source, out, **attributes):
        inputs = [source, f"{name}.weight"] + ([f"{name}.bias"] if bias else [])
        return node("Conv", inputs, [out], name=name, **attributes)

    nodes = [
        conv("first", "image", "a", pads=[1, 1, 1, 1]),
        node("Clip", ["a", "low", "high"], ["b"]) if clip else node("Relu", ["a"], ["b"]),
        conv("edges", "b", "c", pads=[1, 1, 1, 1], group=8),
        node("Relu", ["c"], ["d"]),
        conv("mix", "d", "e"),
        node("Concat", ["e", "d"], ["f"], axis=1),
        conv("last", "f", "out"),
    ]
    tensors = [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in values.items()]
    graph = helper.make_graph(
        nodes, "net", [value("image", TensorProto.FLOAT, ["b", 3, SIDE, SIDE])],
        [value("out", TensorProto.FLOAT, ["b", 4, SIDE, SIDE])], tensors,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"network": "test"})
    return model.SerializeToString()


def run(model, image):
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


def off(model, data, images):
    """Root mean square difference as a share of the answers' spread."""
    wanted = run(model, images)
    return float(np.sqrt(((run(data, images) - wanted) ** 2).mean()) / wanted.std())


def plainly(model, images, tmp_path):
    """onnxruntime's own quantiser, per channel."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    class Reader:
        def __init__(self):
            self.feeds = iter([{"image": image[None]} for image in images])

        def get_next(self):
            return next(self.feeds, None)

    (tmp_path / "float.onnx").write_bytes(model)
    quantize_static(
        str(tmp_path / "float.onnx"), str(tmp_path / "plain.onnx"), Reader(), quant_format=QuantFormat.QDQ,
        per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        extra_options={"WeightSymmetric": True},
    )  # fmt: skip
    return (tmp_path / "plain.onnx").read_bytes()


@pytest.mark.parametrize("signed", [False, True])
def test_a_scale_meets_zero_and_both_ends(signed):
    scale = scale_of(-1.0, 3.0, signed)
    values = np.array([-1.0, 0.0, 3.0], np.float32)
    np.testing.assert_allclose(scale.rounded(values), values, atol=scale.step)
    assert scale.rounded(values)[1] == 0
    assert scale.rounded(np.array([9.0], np.float32))[0] == pytest.approx(3.0, abs=scale.step)


def test_best_scale_cuts_one_wild_value_off():
    values = np.append(np.random.default_rng(0).random(20_000), 2.0).astype(np.float32)
    error = [
        ((s.rounded(values) - values) ** 2).mean() for s in (best_scale(values, False), scale_of(0, 2, False))
    ]
    assert error[0] < error[1]
    assert best_scale(np.zeros(4, np.float32), False).step > 0


@pytest.mark.parametrize("each", [False, True], ids=["all channels", "one each"])
def test_weights_are_rounded_for_the_answers_not_for_themselves(each):
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(6, 20)).astype(np.float32)
    basis = rng.normal(size=(6, 20, 20)) * np.geomspace(1, 0.01, 20)
    spread = basis @ basis.swapaxes(1, 2)
    spread = spread if each else spread[0]
    rounded = round_weights(weight, spread)
    steps = np.abs(weight).max(1, keepdims=True) / LARGEST
    plain = np.rint(weight / steps) * steps
    error = [
        ((weight - w)[:, None] @ spread @ (weight - w)[..., None]).sum() for w in (rounded.values(), plain)
    ]
    assert error[0] < 0.5 * error[1]  # measured: 0.13 and 0.1 times
    assert rounded.codes.dtype == np.int8 and np.abs(rounded.codes).max() <= LARGEST


def test_an_empty_channel_gets_a_scale_that_biases_do_not_overflow():
    weight = np.random.default_rng(0).normal(size=(3, 4, 1, 1)).astype(np.float32)
    weight[1] = 0
    rounded = round_weights(weight, np.eye(4))
    assert not rounded.codes[1].any()
    # Engines add biases as 32-bit multiples of input step x weight step.
    assert 6 / (6 / 255 * rounded.steps[1]) < 2**31


def test_patches_are_what_a_convolution_reads():
    graph = Graph(network(), "net")
    images = pictures(2)
    for layer in graph.layers:
        source, output = next(read_tensors(graph.model, [layer.source, layer.output], images))
        places = np.random.default_rng(0).random((5, 2))
        rows = graph.get(layer.weight).reshape(len(output[0]), -1)
        read = patches(source, layer, places)
        product = (read * rows).sum(-1) if layer.is_depthwise else read.reshape(len(read), -1) @ rows.T
        y, x = (places * SIDE).astype(int).T
        wanted = output[:, :, y, x].transpose(0, 2, 1).reshape(10, -1)
        np.testing.assert_allclose(product + graph.get(layer.bias), wanted, atol=1e-4)


@pytest.mark.parametrize("clip", [True, False], ids=["relu6", "relu"])
def test_equal_channels_give_the_same_answers(clip):
    images = pictures()
    model = network(clip)
    graph = Graph(model, "net")
    names = [layer.activated for layer in graph.layers[:1]]
    before = next(read_tensors(graph.model, names, images[:4]))[0].max((0, 2, 3))
    assert equalise(graph, images) >= 1
    after = next(read_tensors(graph.model, names, images[:4]))[0].max((0, 2, 3))
    assert np.ptp(np.log(after[before > 0.01])) < 0.6 * np.ptp(np.log(before[before > 0.01]))
    np.testing.assert_allclose(run(graph.model.SerializeToString(), images), run(model, images), atol=2e-3)


def test_a_network_that_plain_rounding_ruins_keeps_its_answers(tmp_path):
    images = pictures()
    model = network()
    ours = quantise(model, "net", images[:16])
    errors = off(model, ours, images[16:]), off(model, plainly(model, images[:16], tmp_path), images[16:])
    print(errors)
    assert errors[0] < 0.05 and errors[0] < 0.5 * errors[1]
    (tmp_path / "ours.onnx").write_bytes(ours)
    assert precision_of(tmp_path / "ours.onnx") == "int8"
    kept = {p.key: p.value for p in onnx.load_model_from_string(ours).metadata_props}
    assert kept == {"network": "test"}


def test_both_engines_agree_on_it(tmp_path):
    openvino = pytest.importorskip("openvino", reason="The other engine is OpenVINO (pip install openvino).")
    images = pictures()
    path = tmp_path / "int8.onnx"
    path.write_bytes(quantise(network(), "net", images))
    wanted = run(path.read_bytes(), images[:3])
    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert np.abs(compiled(images[:3])[0] - wanted).max() < 0.1 * wanted.std()


def test_layers_without_bias_and_first_layers_in_float(tmp_path):
    images = pictures()
    model = network(bias=False)
    whole, part = (quantise(model, "net", images, keep_float=k) for k in ((), ("first", "edges")))
    assert off(model, part, images) < off(model, whole, images) < 0.05
    weights = {t.name for t in onnx.load_model_from_string(part).graph.initializer}
    assert "first.weight" in weights and "mix.weight_codes" in weights and "mix.weight" not in weights


def test_a_float_layer_behind_an_8_bit_one_is_refused():
    with pytest.raises(InvalidInput, match="'mix' reads 8 bits"):
        quantise(network(), "net", pictures(4), keep_float=("mix",))


def test_a_damaged_file_is_one_sentence():
    with pytest.raises(InvalidInput, match=r"cut\.onnx is no ONNX network"):
        quantise(network()[:500], "cut.onnx", pictures(2))
