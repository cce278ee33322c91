"""A network of three layers, and a TensorRT engine of it on the fake TensorRT."""

from __future__ import annotations

import numpy as np
import onnx
from fake_tensorrt import GPU, FakeTrt, NumpyDevice
from onnx import TensorProto, helper, numpy_helper

from rt_hands.inference.tensorrt.engine import Runtime, TensorRtEngine


def write_small(path):
    """y = relu(x W + b), z = sum of x: (B, 4) -> (B, 3), (B, 1). The ONNX file and its answer in NumPy."""
    rng = np.random.default_rng(0)
    weights = {"W": rng.normal(size=(4, 3)), "b": rng.normal(size=3)}
    nodes = [
        helper.make_node("Gemm", ["x", "W", "b"], ["h"]),
        helper.make_node("Relu", ["h"], ["y"]),
        helper.make_node("ReduceSum", ["x", "axes"], ["z"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "small", [value("x", TensorProto.FLOAT, ["batch", 4])],
        [value("y", TensorProto.FLOAT, ["batch", 3]), value("z", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()]
        + [numpy_helper.from_array(np.array([1]), "axes")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)

    def answer(x):
        return np.maximum(x @ weights["W"] + weights["b"], 0), x.sum(1, keepdims=True)

    return path, answer


def open_small(small, trt=None, precision="float32", max_batch=4, device=NumpyDevice, **options):
    runtime = Runtime(GPU, trt or FakeTrt(), device)
    return TensorRtEngine(small[0], precision=precision, max_batch=max_batch, runtime=runtime, **options)


def batch_of(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)
