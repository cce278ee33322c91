"""The owner thread, the driver probe, graphs by ctypes, and a process without a GPU."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from rt_hands.errors import InvalidInput, MissingPart
from rt_hands.inference.tensorrt import cuda as devices
from rt_hands.inference.tensorrt import graph as graphs
from rt_hands.inference.tensorrt import probe
from rt_hands.inference.tensorrt.owner import Owner


def test_owner_runs_everything_in_one_thread_and_raises_there():
    owner = Owner("The test")
    assert owner.call(threading.get_ident) == owner.call(threading.get_ident) != threading.get_ident()
    assert owner.call(lambda: owner.call(lambda: 7)) == 7
    with pytest.raises(ZeroDivisionError):
        owner.call(lambda: 1 / 0)
    owner.close()
    owner.close()
    with pytest.raises(InvalidInput, match="The test was closed"):
        owner.call(int)


INTERRUPTED = """
    import signal, threading
    from rt_hands.inference.tensorrt.owner import Owner

    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a job in the background
    owner, gone = Owner("The test"), threading.Event()

    def interrupted():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        gone.wait(10)
        return "first"

    try:
        owner.call(interrupted)
    except KeyboardInterrupt:
        gone.set()
        print(*(owner.call(str, text) for text in ("second", "third")))
    owner.close()
"""


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="Threads take no signals on this system.")
def test_a_call_that_was_interrupted_keeps_its_answer_to_itself():
    # In a process of its own: pytest's faulthandler gives signals a stack too small for the registers of AMX, which an
    # engine of another test may have switched on.
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(INTERRUPTED)], capture_output=True, text=True
    )
    assert done.stdout.split() == ["second", "third"], done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="There is no fork on this system.")
def test_a_forked_child_gets_a_sentence_and_does_not_hang():
    owner = Owner("The engine of x.onnx")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            owner.call(int)
        except InvalidInput as error:
            os.write(write, str(error).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert b"fork after CUDA started" in os.read(read, 1000)
    owner.close()


class Libcuda:
    """A driver for `find_gpu`: count GPUs, or an error code from cuInit."""

    def __init__(self, count=1, init=0):
        self.count, self.init = count, init

    def cuInit(self, flags):
        return self.init

    def cuDeviceGetCount(self, out):
        return _put(out, self.count)

    def cuDeviceGet(self, out, index):
        return _put(out, index)

    def cuDeviceGetName(self, buffer, size, device):
        buffer.value = b"NVIDIA Test"
        return 0

    def cuDeviceGetAttribute(self, out, key, device):
        return _put(out, {75: 8, 76: 9}[key])

    def cuDriverGetVersion(self, out):
        return _put(out, 12080)

    def cuGetErrorName(self, code, out):
        ctypes.cast(out, ctypes.POINTER(ctypes.c_char_p))[0] = {100: b"CUDA_ERROR_NO_DEVICE"}.get(
            code, b"CUDA_ERROR"
        )
        return 0


def _put(out, value):
    ctypes.cast(out, ctypes.POINTER(ctypes.c_int))[0] = value
    return 0


def test_probe_reads_the_gpu_and_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(probe, "_pid", None)
    assert probe.find_gpu(libcuda=Libcuda()) == probe.Gpu(0, "NVIDIA Test", (8, 9), 12080)
    with pytest.raises(MissingPart, match="There is no GPU 1: the NVIDIA driver finds 1"):
        probe.find_gpu(1, Libcuda())
    with pytest.raises(MissingPart, match=r"no GPU it can use \(CUDA_ERROR_NO_DEVICE\)"):
        probe.find_gpu(libcuda=Libcuda(init=100))
    with pytest.raises(MissingPart, match="before this process was forked"):
        probe.find_gpu(libcuda=Libcuda(init=3))
    monkeypatch.setattr(probe, "_pid", -1)
    with pytest.raises(MissingPart, match="before this process was forked"):
        probe.find_gpu(libcuda=Libcuda())


class GraphCuda(Libcuda):
    """The graph calls of a driver; `fail` names one that answers an error."""

    def __init__(self, fail=""):
        super().__init__()
        self.fail, self.calls = fail, []

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append(name)
            if name == self.fail:
                return 900
            if name in ("cuStreamEndCapture", "cuGraphInstantiateWithFlags"):
                out = arguments[1] if name == "cuStreamEndCapture" else arguments[0]
                ctypes.cast(out, ctypes.POINTER(ctypes.c_void_p))[0] = 77
            return 0

        return call


def test_driver_graphs_begin_end_and_free_in_order():
    cuda, done = GraphCuda(), []
    graph = graphs.capture(cuda, 5, lambda: done.append(1))
    graph.launch()
    graph.close()
    graph.close()
    order = ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags", "cuGraphDestroy"]
    assert cuda.calls == [*order, "cuGraphLaunch", "cuGraphExecDestroy"] and done == [1]


@pytest.mark.parametrize(
    "fail", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"]
)
def test_a_failing_driver_refuses_the_graph(fail):
    with pytest.raises(graphs.GraphRefused, match="CUDA_ERROR"):
        graphs.capture(GraphCuda(fail), 5, lambda: None)


def test_work_that_raises_under_capture_still_ends_it():
    cuda = GraphCuda()
    with pytest.raises(ZeroDivisionError):
        graphs.capture(cuda, 5, lambda: 1 / 0)
    assert cuda.calls == ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphDestroy"]


class Pycuda:
    """Its driver module, as far as a device needs it; `fail` names calls and what they say."""

    Error = type("Error", (Exception,), {})
    MemoryError = type("MemoryError", (Error,), {})

    def __init__(self, **fail):
        self.fail, self.calls = fail, []
        self.init = self.call("init")
        self.memcpy_dtoh_async = self.call("memcpy_dtoh_async")
        self.module_from_buffer = self.call("module_from_buffer")
        stream, self._stream = (
            SimpleNamespace(handle=5, synchronize=self.call("synchronize")),
            self.call("Stream"),
        )
        self.Stream = lambda flags: self._stream() or stream
        context = SimpleNamespace(**{name: self.call(name) for name in ("push", "pop", "detach")})
        self.Device = lambda index: SimpleNamespace(retain_primary_context=lambda: context)

    def call(self, name):
        def called(*arguments):
            self.calls.append(name)
            if name in self.fail:
                raise self.Error(f"{name} failed: {self.fail[name]}")

        return called


@pytest.fixture
def open_device(monkeypatch):
    def opened(**fail):
        pycuda = Pycuda(**fail)
        monkeypatch.setattr(devices, "_import_pycuda", lambda: pycuda)
        monkeypatch.setattr(devices, "load_libcuda", GraphCuda)
        return pycuda, lambda: devices.PycudaDevice(probe.Gpu(0, "Test GPU", (9, 0), 13000))

    return opened


def test_a_recording_that_tensorrt_broke_off_is_refused_and_runs_go_on(open_device):
    pycuda, make = open_device()
    device, result = make(), np.zeros(3, np.float32)
    record = device.capture

    def capture(work):
        pycuda.fail["memcpy_dtoh_async"] = "operation failed due to a previous error during capture"
        try:
            return record(work)
        finally:
            pycuda.fail.clear()

    device.capture = capture
    replay = graphs.Replay(device, lambda: device.download(result, 64), (result,), ())
    replay.start()
    assert not replay.has_graph and "recording failed (memcpy_dtoh_async failed: operation" in replay.reason
    assert "lost" not in replay.reason and pycuda.calls.count("memcpy_dtoh_async") == 3
    device.close()


def test_kernels_that_the_gpu_refuses_are_a_missing_part(open_device):
    _, make = open_device(module_from_buffer="device kernel image is invalid")
    device = make()
    with pytest.raises(MissingPart, match=r"packaged CUDA kernels don't load on Test GPU \(sm_90\)"):
        device.load_kernels(b"")
    device.close()


@pytest.mark.parametrize("fail", [{}, {"Stream": "out of range"}], ids=["closing", "opening"])
def test_the_context_is_let_go_even_where_it_does_not_leave_the_stack(open_device, fail):
    pycuda, make = open_device(pop="invalid device context", **fail)
    with pytest.raises(devices.DeviceLost):
        make().close()
    assert pycuda.calls[-2:] == ["pop", "detach"]


def test_without_a_gpu_the_process_lives_and_says_so(tmp_path):
    """In a process of its own: TensorRT without a GPU segfaults where it is asked before the driver."""
    code = """
        import sys
        from pathlib import Path
        from rt_hands.errors import MissingPart
        from rt_hands.inference.tensorrt import why_not
        from rt_hands.inference.tensorrt.engine import TensorRtEngine
        try:
            TensorRtEngine(Path("any.onnx"))
        except MissingPart as error:
            print("said:", error)
        print("why:", why_not())
        print("imported:", [m for m in sys.modules if m in ("tensorrt", "tensorrt_rtx", "pycuda")])
    """
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "said: " in done.stdout and "Use --engine onnxruntime." in done.stdout
    assert "why: None" not in done.stdout and "imported: []" in done.stdout
    assert done.stdout.count("\n") == 3 and done.stderr == ""
