"""Fixtures that several test files share: the stand-in network, written once."""

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
