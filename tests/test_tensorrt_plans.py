"""TensorRT's plans: built once, kept with what they were built by, built anew when that changed or they are damaged."""

from __future__ import annotations

import json
import threading

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="TensorRT plans are built by way of onnx (pip install onnx).")

from fake_tensorrt import DEVICES, FakeTrt, NumpyDevice  # noqa: E402
from small_engine import batch_of, open_small  # noqa: E402

from rt_hands.errors import InvalidInput  # noqa: E402
from rt_hands.inference.tensorrt import probe  # noqa: E402
from rt_hands.inference.tensorrt.engine import Runtime, TensorRtEngine  # noqa: E402
from rt_hands.inference.tensorrt.owner import Owner  # noqa: E402

pytestmark = pytest.mark.usefixtures("cache")


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
