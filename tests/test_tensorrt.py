"""TensorRT without a GPU: a fake TensorRT on a NumPy device drives the whole engine; each failure is one sentence."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="TensorRT plans are built by way of onnx (pip install onnx).")

from fake_tensorrt import GPU, FakeTrt, NumpyDevice  # noqa: E402
from onnx import helper, numpy_helper  # noqa: E402
from small_engine import batch_of, open_small  # noqa: E402

from rt_hands.errors import InvalidInput, MissingPart  # noqa: E402
from rt_hands.inference.tensorrt import plan  # noqa: E402
from rt_hands.inference.tensorrt.cuda import CudaFailed, DeviceLost, cuda_error  # noqa: E402
from rt_hands.inference.tensorrt.engine import choose_precision  # noqa: E402
from rt_hands.inference.tensorrt.onnx_types import with_types  # noqa: E402
from rt_hands.inference.tensorrt.reader import CropReader  # noqa: E402

pytestmark = pytest.mark.usefixtures("cache")


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
