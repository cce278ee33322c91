"""TensorRT without a GPU: a fake TensorRT on a NumPy device drives the whole engine; each failure is one sentence."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="TensorRT plans are built by way of onnx (pip install onnx).")

from fake_tensorrt import DEVICES, GPU, FakeTrt, NumpyDevice  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from rt_hands.errors import InvalidInput, MissingPart  # noqa: E402
from rt_hands.inference.tensorrt import plan, probe  # noqa: E402
from rt_hands.inference.tensorrt.cuda import CudaFailed, DeviceLost, cuda_error  # noqa: E402
from rt_hands.inference.tensorrt.engine import Runtime, TensorRtEngine, choose_precision  # noqa: E402
from rt_hands.inference.tensorrt.onnx_types import with_types  # noqa: E402
from rt_hands.inference.tensorrt.owner import Owner  # noqa: E402
from rt_hands.inference.tensorrt.reader import CropReader  # noqa: E402

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def small(tmp_path):
    """y = relu(x W + b), z = sum of x: (B, 4) -> (B, 3), (B, 1)."""
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
    path = tmp_path / "small.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)

    def answer(x):
        return np.maximum(x @ weights["W"] + weights["b"], 0), x.sum(1, keepdims=True)

    path_and_answer = path, answer
    return path_and_answer


def open_small(small, trt=None, precision="float32", max_batch=4, device=NumpyDevice, **options):
    runtime = Runtime(GPU, trt or FakeTrt(), device)
    return TensorRtEngine(small[0], precision=precision, max_batch=max_batch, runtime=runtime, **options)


def batch_of(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)


# The engine ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("typed", [True, False], ids=["10", "8.6"])
@pytest.mark.parametrize(("precision", "atol"), [("float32", 1e-6), ("float16", 5e-3)])
def test_runs_every_batch_through_checked_graphs(small, typed, precision, atol):
    trt = FakeTrt(typed=typed)
    engine = open_small(small, trt, precision)
    assert engine.device == "Test GPU (sm_90)" and engine.precision == precision
    assert [s.name for s in engine.inputs + engine.outputs] == ["x", "y", "z"]
    assert engine.inputs[0].shape == (None, 4) and engine.inputs[0].dtype == "float32"
    for n in (1, 4, 2, 1, 4):
        x = batch_of(n, n)
        for got, wanted in zip(engine.run(x), small[1](x), strict=True):
            np.testing.assert_allclose(got, wanted, atol=atol)
    assert all(r.has_graph and r.reason is None for r in engine.replays().values())
    assert sorted(engine.replays()) == [1, 2, 4]
    flag = trt.NetworkDefinitionCreationFlag
    assert trt.network_flags == 1 << int(flag.STRONGLY_TYPED if typed else flag.EXPLICIT_BATCH)
    is_half = precision == "float16"
    assert trt.flags_set == (["no TF32"] * (not is_half) if typed else ["FP16"] * is_half + ["tactics 0x18"])
    engine.close()


def test_buffers_are_filled_in_place_and_kept(small):
    engine = open_small(small)
    (own,) = engine.buffers(2)
    first = engine.run(own)
    own[:] = batch_of(2, 5)
    second = engine.run(own)
    assert engine.buffers(2)[0] is own and all(a is b for a, b in zip(first, second, strict=True))
    np.testing.assert_allclose(second[0], small[1](own)[0], atol=1e-6)
    engine.close()


def test_more_than_max_batch_runs_in_parts(small):
    engine = open_small(small)
    (own,) = engine.buffers(9)
    own[:] = batch_of(9)
    for got, wanted in zip(engine.run(own), small[1](own), strict=True):
        np.testing.assert_allclose(got, wanted, atol=1e-6)
    assert engine.buffers(9)[0] is own and sorted(engine.replays()) == [1, 4]
    with pytest.raises(InvalidInput, match="built for up to 4 crops at once, got 5"):
        engine.owner.call(engine.network.bind, 5, {})
    engine.close()


def test_bad_input_and_closed_engine_are_sentences(small):
    engine = open_small(small)
    with pytest.raises(InvalidInput, match=r"'x' is float64 \(1, 4\); wanted float32"):
        engine.run(np.zeros((1, 4)))
    engine.close()
    engine.close()
    with pytest.raises(InvalidInput, match="was closed; open another one"):
        engine.run(batch_of(1))


def test_any_thread_may_call_and_two_engines_live_together(small):
    first, second = open_small(small), open_small(small)
    assert first.cuda.thread != second.cuda.thread != threading.get_ident()
    answers = {}

    def work(i):
        x = batch_of(2, i)
        answers[i] = ((first, second)[i % 2].run(x)[0].copy(), small[1](x)[0])

    for i in range(6):
        thread = threading.Thread(target=work, args=(i,))
        thread.start()
        thread.join()
    first.close()
    assert all(np.allclose(*pair, atol=1e-6) for pair in answers.values()) and len(answers) == 6
    np.testing.assert_allclose(second.run(batch_of(1))[0], small[1](batch_of(1))[0], atol=1e-6)
    second.close()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("refuse", "TensorRT refused to run small.onnx"),
        ("graph", "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"),
        ("stale", "first replay differs from the eager run"),
    ],
)
def test_a_graph_that_can_not_be_trusted_is_not_used(small, fault, said, capsys):
    engine = open_small(small, FakeTrt(fault=fault))
    for seed in range(3):
        x = batch_of(2, seed)
        np.testing.assert_allclose(engine.run(x)[0], small[1](x)[0], atol=1e-6)
    replay = engine.replays()[2]
    assert not replay.has_graph and said in replay.reason
    assert capsys.readouterr().err.count("runs without a CUDA graph") == 1
    engine.close()


def test_graphs_can_be_switched_off(small, capsys):
    engine = open_small(small, use_graphs=False)
    np.testing.assert_allclose(engine.run(batch_of(1))[0], small[1](batch_of(1))[0], atol=1e-6)
    assert engine.cuda.launches == 0 and "without a CUDA graph" not in capsys.readouterr().err
    engine.close()


# Plans --------------------------------------------------------------------------------------------------------------


def test_plan_is_built_once_and_then_cached(small, cache, capsys):
    trt = FakeTrt()
    open_small(small, trt).close()
    open_small(small, trt).close()
    assert (
        trt.builds == 1 and capsys.readouterr().err.count("Building small.onnx in float32 for Test GPU") == 1
    )
    (sidecar,) = cache.glob("*.json")
    assert json.loads(sidecar.read_text())["capability"] == "9.0"
    head = json.loads(next(cache.glob("*.plan")).read_bytes().split(b"\n", 1)[0])
    assert head["profiles"] == [{"x": [[1, 4], [4, 4], [4, 4]]}] and head["aux"] == 0


def test_timings_of_one_build_serve_the_next(small, cache):
    trt = FakeTrt()
    open_small(small, trt).close()
    (timings,) = cache.glob("timings-*.cache")
    assert timings.read_bytes() == b"timings of 10.3.0.26"
    open_small(small, trt, rebuild=True).close()
    assert trt.timings_offered == [b"", b"timings of 10.3.0.26"]
    timings.write_bytes(b"something else")
    open_small(small, trt, max_batch=2).close()  # refused, so measured again and written anew
    assert trt.timings_offered[2:] == [b""] and timings.read_bytes() == b"timings of 10.3.0.26"
    open_small(small, FakeTrt(version="10.16.1.11")).close()
    assert len(list(cache.glob("timings-*.cache"))) == 2


def test_rtx_keeps_no_timings(small, cache):
    trt = FakeTrt()
    trt.__name__ = "tensorrt_rtx"
    open_small(small, trt).close()
    assert trt.builds == 1 and trt.timings_offered == [] and not list(cache.glob("timings-*"))


@pytest.mark.parametrize("typed", [True, False], ids=["10", "8.6"])
def test_ctrl_c_ends_a_build_and_leaves_no_context(small, cache, typed, monkeypatch, capsys):
    """A build that can't be ended (8.6) is waited for, and its plan kept."""
    trt, ends, call = FakeTrt(typed=typed, fault="slow build"), [], Owner.call

    def answered(*arguments):
        try:
            call(*arguments)
            ends.append("opened")
        except InvalidInput as error:
            ends.append(str(error))

    def interrupted(*arguments):
        waiting = threading.Thread(target=answered, args=arguments)
        waiting.start()
        assert trt.building.wait(10)
        monkeypatch.setattr(Owner, "call", call)
        threads.append(waiting)
        raise KeyboardInterrupt

    monkeypatch.setattr(Owner, "call", interrupted)
    threads = []
    with pytest.raises(KeyboardInterrupt):
        open_small(small, trt)
    threads[0].join()
    assert ends == ["Building small.onnx was cancelled." if typed else "opened"]
    assert list(DEVICES.values())[-1].closed and "can't build" not in capsys.readouterr().err
    assert len(list(cache.glob("*.plan"))) == (not typed)


def test_another_version_gpu_or_file_builds_anew_and_says_why(small, capsys):
    open_small(small).close()
    capsys.readouterr()
    open_small(small, FakeTrt(version="10.16.1.11")).close()
    assert "it was built by tensorrt 10.3.0.26, wanted is tensorrt 10.16.1.11" in capsys.readouterr().err
    other = probe.Gpu(0, "Other GPU", (8, 6), 13000)
    TensorRtEngine(
        small[0], precision="float32", max_batch=4, runtime=Runtime(other, FakeTrt(), NumpyDevice)
    ).close()
    assert "built for GPU Test GPU, wanted is Other GPU" in capsys.readouterr().err
    open_small(small, max_batch=2).close()
    assert "batches up to" in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage", ["short", "flipped", "no sidecar", "torn sidecar", "another build's sidecar"]
)
def test_a_damaged_plan_is_built_again(small, cache, damage, capsys):
    trt = FakeTrt()
    open_small(small, trt).close()
    path = next(cache.glob("*.plan"))
    side, data = path.with_suffix(".json"), bytearray(path.read_bytes())
    if damage == "short":
        path.write_bytes(data[:-10])
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "no sidecar":
        side.unlink()
    elif damage == "torn sidecar":
        side.write_text(side.read_text()[:40])
    else:
        side.write_text(side.read_text().replace("10.3.0.26", "8.6.0"))
    capsys.readouterr()
    engine = open_small(small, trt)
    assert trt.builds == 2
    said = capsys.readouterr().err
    assert path.name in said or side.name in said
    np.testing.assert_allclose(engine.run(batch_of(1))[0], small[1](batch_of(1))[0], atol=1e-6)
    engine.close()


def test_a_plan_that_tensorrt_refuses_is_built_once_more(small, capsys):
    trt = FakeTrt()
    open_small(small, trt).close()
    trt.fault = "none engine once"
    open_small(small, trt).close()
    assert (
        trt.builds == 2
        and "TensorRT refused the plan of small.onnx: Serialization" in capsys.readouterr().err
    )
    trt.fault = "none engine"
    with pytest.raises(InvalidInput, match="built just now, so TensorRT and the driver don't fit"):
        open_small(small, trt)
    assert all(device.closed for device in list(DEVICES.values())[-2:])


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("build", "TensorRT can't build small.onnx: .*no implementation of node conv"),
        ("build memory", "GPU ran out of memory while small.onnx was built"),
    ],
)
def test_a_failed_build_says_why(small, fault, said):
    with pytest.raises(InvalidInput, match=said):
        open_small(small, FakeTrt(fault=fault))


def test_no_context_and_no_memory_are_sentences(small):
    engine = open_small(small, FakeTrt(fault="none context"))
    with pytest.raises(InvalidInput, match=r"Test GPU has no room for another context of small\.onnx"):
        engine.run(batch_of(1))
    engine.close()
    engine = open_small(small, device=lambda gpu: NumpyDevice(gpu, limit_bytes=8))
    with pytest.raises(InvalidInput, match="Test GPU is out of memory"):
        engine.run(batch_of(1))
    engine.close()


PYCUDA = SimpleNamespace(MemoryError=type("MemoryError", (Exception,), {}))


def test_a_dead_context_is_a_sentence_closing_stays_quiet_and_another_engine_runs(small, monkeypatch):
    engine = open_small(small)
    engine.run(batch_of(1))

    def lost():
        raise cuda_error(PYCUDA, GPU, Exception("cuStreamSynchronize failed: an illegal memory access"))

    monkeypatch.setattr(engine.cuda, "synchronise", lost)
    for _ in range(2):
        with pytest.raises(
            DeviceLost, match=r"CUDA context on Test GPU was lost \(.*illegal memory access\)"
        ):
            engine.run(batch_of(1))
    engine.close()
    again = open_small(small)
    np.testing.assert_allclose(again.run(batch_of(1))[0], small[1](batch_of(1))[0], atol=1e-6)
    again.close()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (PYCUDA.MemoryError("cuMemAlloc failed"), "Test GPU is out of memory"),
        (Exception("no kernel image is available for execution"), "kernels don't load on Test GPU"),
        (Exception("cuModuleLoadDataEx failed: device kernel image is invalid - "), "kernels don't load"),
        (Exception("cuModuleGetFunction failed: named symbol not found"), "kernels don't load on Test GPU"),
        (Exception("cuLaunchKernel failed: invalid argument"), "A CUDA call failed on Test GPU"),
        (Exception("cuStreamSynchronize failed: unspecified launch failure"), "context on Test GPU was lost"),
    ],
)
def test_errors_of_the_driver_are_sentences(error, said):
    assert said in str(cuda_error(PYCUDA, GPU, error))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("device kernel image is invalid", MissingPart),
        ("invalid argument", CudaFailed),
        ("an illegal memory access was encountered", DeviceLost),
    ],
)
def test_errors_of_the_driver_are_of_the_kind_that_callers_catch(text, kind):
    assert type(cuda_error(PYCUDA, GPU, Exception(text))) is kind


def test_corrupt_and_truncated_onnx_are_sentences(small, tmp_path):
    data = small[0].read_bytes()
    for name, content in (
        ("cut.onnx", data[: len(data) // 2]),
        ("text.onnx", b"hello there"),
        ("empty.onnx", b""),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InvalidInput, match=f"{name} is no ONNX network, or is damaged or cut short"):
            open_small((tmp_path / name, None))
    with pytest.raises(InvalidInput, match="Can't read model"):
        open_small((tmp_path / "absent.onnx", None), precision="auto")


def test_an_unknown_operator_names_itself(small, tmp_path):
    model = onnx.load(small[0])
    model.graph.node.append(helper.make_node("NonZero", ["y"], ["n"]))
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(
        InvalidInput, match=r"TensorRT can't read odd\.onnx: No importer registered for op: NonZero"
    ):
        open_small((tmp_path / "odd.onnx", None))


def test_progress_is_reported(small):
    seen = []
    open_small(small, progress=lambda *step: seen.append(step)).close()
    assert seen == [("Building", 0, 1), ("Building", 1, 1), ("Building", -1, 1)]


# Types --------------------------------------------------------------------------------------------------------------


def test_precisions_that_do_not_fit_are_refused(small, tmp_path):
    with pytest.raises(InvalidInput, match="holds no 8-bit layers, so it can't be built in int8"):
        with_types(small[0].read_bytes(), "int8", "small.onnx")
    with pytest.raises(InvalidInput, match="No precision is called 'fp8'"):
        choose_precision(small[0], "fp8")
    model = onnx.load(small[0])
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.full((4, 3), 1e5, np.float32), "W"))
    with pytest.raises(InvalidInput, match="'W' holds 100000, beyond float16"):
        with_types(model.SerializeToString(), "float16", "small.onnx")
    assert choose_precision(small[0], "auto") == "float16"
    (tmp_path / "rtc.onnx").write_bytes(small[0].read_bytes())
    assert choose_precision(tmp_path / "rtc.onnx", "auto") == "float32"


def test_plan_keys_name_what_differs():
    key = plan.PlanKey("a", "tensorrt 10.3", "G", "9.0", "float16", 8)
    assert key.difference({"onnx_sha256": "b"}) == "it was built from another ONNX file"
    assert "GPU unknown" in key.difference({"onnx_sha256": "a", "tensorrt": "tensorrt 10.3"})


def test_reader_wants_a_cpm_and_its_kernels(small):
    engine = open_small(small)
    with pytest.raises(InvalidInput, match="a CPM takes"):
        CropReader(engine)
    engine.close()
