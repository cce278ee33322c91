"""Fixtures that several test files share; what takes long is made once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from rt_hands import _core

# The same examples in every CI run, so that a red run means a change; at a desk new examples are tried each time.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(params=_core.simd_levels())
def level(request):
    """The core with each kind of vector unit that this processor has."""
    before = _core.simd_level()
    _core.set_simd_level(request.param)
    yield request.param
    _core.set_simd_level(before)


@pytest.fixture(scope="session")
def standin_path(tmp_path_factory):
    """Path of the stand-in ONNX; see `standin`."""
    pytest.importorskip("onnx", reason="The stand-in network is built with onnx (pip install onnx).")
    import standin

    return standin.write_model(tmp_path_factory.mktemp("model") / "standin.onnx")


@pytest.fixture(scope="session")
def standin_cpm(standin_path):
    """The stand-in network in onnxruntime, one thread."""
    from rt_hands.inference.cpm import Cpm

    cpm = Cpm.load(str(standin_path), "onnxruntime", threads=1)
    yield cpm
    cpm.close()


@pytest.fixture
def results(standin_cpm):
    """A pipeline over six painted pictures, and what it found in them."""
    from painted import Painted

    from rt_hands.pipeline import Pipeline

    pipeline = Pipeline(Painted(6), standin_cpm)
    return pipeline, list(pipeline)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The user's cache in a folder of the test's own; gives that of TensorRT's plans in it."""
    monkeypatch.setenv("RT_HANDS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tensorrt"


@pytest.fixture
def small(tmp_path):
    """A network of three layers for the fake TensorRT, and its answer; see `small_engine`."""
    from small_engine import write_small

    return write_small(tmp_path / "small.onnx")


@pytest.fixture(scope="session")
def launch(tmp_path_factory):
    """The CUDA kernels, compiled once for the CPU."""
    from cuda_twins import compile_for_cpu

    run = compile_for_cpu(tmp_path_factory.mktemp("cuda"))
    if run is None:
        pytest.skip("The kernels run on the CPU by way of g++, which is not here.")
    return run


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """Folder and true grab times of a session of two cameras; not to be changed."""
    folder = tmp_path_factory.mktemp("sessions") / "take"
    from takes import record

    return folder, record(folder)


@pytest.fixture
def copy(recorded, tmp_path):
    """A copy of the recorded session that a test may damage."""
    return Path(shutil.copytree(recorded[0], tmp_path / "take")), recorded[1]


@pytest.fixture
def said():
    """What a `notice` was told."""
    return []


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """A video of 15 painted pictures, two hands each."""
    from painted import SIZE, STEP_NS, pair
    from standin import picture

    from rt_hands.display.video_file import VideoFile

    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    with VideoFile(path) as file:
        for i in range(15):
            file.add(picture(*pair(i), size_px=SIZE), i * STEP_NS)
    return path


@pytest.fixture
def run_live(standin_path, monkeypatch, tmp_path):
    """The live command in a folder of its own, without a display; exit code."""
    from rt_hands import live
    from rt_hands.errors import run_command

    monkeypatch.setenv("DISPLAY", "")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.chdir(tmp_path)

    def command(*words):
        common = ["--model", str(standin_path), "--engine", "onnxruntime", "--threads", "1"]
        return run_command(live.main, [*map(str, words), *common])

    return command
