"""Engines: the choice among them, equal answers, no copies, errors in one sentence; crops into the network's input."""

from __future__ import annotations

import importlib.util
import os
import pickle
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import standin
from hypothesis import given, settings
from hypothesis import strategies as st

from rt_hands.errors import InvalidInput, MissingPart
from rt_hands.inference import engine as engines
from rt_hands.inference.cpm import Cpm
from rt_hands.inference.engine import ENGINES, choose, open_engine
from rt_hands.inference.models import MODELS, find_model, precision_of
from rt_hands.inference.preprocess import Crop

HERE = [name for name in ENGINES if importlib.util.find_spec(name)]


@pytest.fixture(scope="module", params=ENGINES)
def engine(request, standin_path):
    if request.param not in HERE:
        pytest.skip(f"{request.param} is not installed.")
    loaded = open_engine(standin_path, request.param, threads=1, precision="float32", quiet=True)
    yield loaded
    loaded.close()


def test_reports_what_it_runs(engine):
    assert engine.name in ENGINES and engine.device == "CPU" and engine.precision == "float32"
    assert engine.inputs[0].name == "image" and engine.inputs[0].shape == (None, 3, 368, 368)
    assert [spec.name for spec in engine.outputs] == ["belief_maps", "presence"]


@pytest.mark.parametrize("batch", [1, 3])
def test_engines_agree(engine, standin_path, batch):
    rng = np.random.default_rng(batch)
    images = rng.random((batch, 3, 368, 368), np.float32)
    images[:, 0] = 1.0
    reference = open_engine(standin_path, "onnxruntime", threads=1, quiet=True)
    for ours, theirs in zip(engine.run(images), reference.run(images), strict=True):
        # Measured: 0 for onnxruntime against itself, 5e-5 for OpenVINO (sums in another order inside an exponential).
        np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_buffers_are_used_without_copies(engine):
    (own,) = engine.buffers(2)
    first = engine.run(own)
    own[:] = 0.25
    second = engine.run(own)
    assert engine.buffers(2)[0] is own
    assert all(np.shares_memory(a, b) for a, b in zip(first, second, strict=True))


def test_batches_of_different_sizes_keep_apart(engine):
    one = np.zeros((1, 3, 368, 368), np.float32)
    answer = engine.run(one)[0].copy()
    engine.run(np.ones((2, 3, 368, 368), np.float32))
    np.testing.assert_array_equal(engine.run(one)[0], answer)


def test_batches_of_all_sizes_share_one_room(engine):
    """Each size its own arrays came to 2 GB in a rig of 16 views."""
    small, large = engine.buffers(2), engine.buffers(5)
    again = engine.buffers(3)
    assert np.shares_memory(again[0], large[0]) and again[0].flags.c_contiguous
    assert small[0].shape[0] == 2 and again[0].shape[0] == 3
    again[0][:] = 0.5
    ours = [out.copy() for out in engine.run(*again)]
    for mine, theirs in zip(ours, engine.run(np.full_like(large[0], 0.5)), strict=True):
        np.testing.assert_allclose(mine, theirs[:3], atol=2e-4)


def test_threads_that_share_a_network_read_their_own_pictures(standin_cpm):
    """They once wrote into one buffer: one of twelve hands was 173 px off, without an error."""
    pictures = [
        standin.picture(standin.PaintedHand(0, (x, 240), 160), size_px=(640, 480)) for x in (150, 450)
    ]
    jobs = [[(image, Crop(0, 0, 640))] for image in pictures]
    alone = [standin_cpm(job).points_px for job in jobs]
    wrong = [0, 0]

    def read(i: int) -> None:
        for _ in range(12):
            wrong[i] += not np.array_equal(standin_cpm(jobs[i]).points_px, alone[i], equal_nan=True)

    threads = [threading.Thread(target=read, args=(i,)) for i in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [0, 0]


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((1, 3, 300, 368), np.float32),
        np.zeros((1, 3, 368, 368), np.uint8),
        np.zeros((0, 3, 368, 368), np.float32),
    ],
)
def test_wrong_input_is_named(engine, bad):
    with pytest.raises(InvalidInput, match="image"):
        engine.run(bad)


def test_wrong_count_of_inputs_is_named(engine):
    image = np.zeros((1, 3, 368, 368), np.float32)
    with pytest.raises(InvalidInput, match="wants 1 arrays"):
        engine.run(image, image)


@pytest.mark.parametrize("name", HERE)
def test_closed_engine_says_so(standin_path, name):
    loaded = open_engine(standin_path, name, threads=1, quiet=True)
    loaded.warm_up((1,))
    loaded.close()
    with pytest.raises(InvalidInput, match="closed"):
        loaded.run(np.zeros((1, 3, 368, 368), np.float32))


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize("content", [b"", b"not a network", None])
def test_broken_file_is_one_sentence(tmp_path, standin_path, name, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(standin_path.read_bytes()[:5000] if content is None else content)
    with pytest.raises(InvalidInput, match=r"broken\.onnx") as error:
        open_engine(path, name, quiet=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", HERE)
def test_a_file_that_can_not_be_read_is_one_sentence(tmp_path, name):
    with pytest.raises(InvalidInput, match=r"Can't read model .*gone\.onnx: No such file or directory\."):
        open_engine(tmp_path / "gone.onnx", name, quiet=True)
    with pytest.raises(InvalidInput, match="Can't read model"):
        open_engine(tmp_path, name, quiet=True)


def test_auto_takes_the_first_installed(monkeypatch):
    monkeypatch.setattr(engines.tensorrt, "why_not", lambda: "TensorRT is not installed.")
    monkeypatch.setattr(engines.tensorrt, "is_installed", lambda: False)
    monkeypatch.setattr(engines, "is_installed", lambda name: name == "onnxruntime")
    assert choose("auto") == ("onnxruntime", "openvino is not installed (pip install openvino)")
    monkeypatch.setattr(engines, "is_installed", lambda name: True)
    assert choose("auto")[0] == "openvino"


def test_auto_takes_tensorrt_where_a_gpu_is_and_says_why_not(monkeypatch):
    monkeypatch.setattr(engines.tensorrt, "why_not", lambda: None)
    assert choose("auto") == ("tensorrt", "TensorRT and an NVIDIA GPU are here")
    assert choose("tensorrt") == ("tensorrt", "asked for")
    monkeypatch.setattr(engines.tensorrt, "why_not", lambda: "The NVIDIA driver finds no GPU.")
    monkeypatch.setattr(engines.tensorrt, "is_installed", lambda: True)
    monkeypatch.setattr(engines.tensorrt, "has_driver", lambda: True)
    assert "The NVIDIA driver finds no GPU" in choose("auto")[1]
    monkeypatch.setattr(engines.tensorrt, "has_driver", lambda: False)
    assert "GPU" not in choose("auto")[1]  # no machine for it
    with pytest.raises(MissingPart, match="finds no GPU"):
        choose("tensorrt")


def test_without_a_gpu_that_is_what_is_missing(monkeypatch):
    def no_gpu():
        raise MissingPart("There is no GPU.")

    monkeypatch.setattr(engines.tensorrt, "installed_module", lambda: "tensorrt")
    monkeypatch.setattr(engines.tensorrt, "find_gpu", no_gpu)
    monkeypatch.setattr(engines.tensorrt.importlib.util, "find_spec", lambda _: None)
    assert engines.tensorrt.why_not() == "There is no GPU."
    monkeypatch.setattr(engines.tensorrt, "find_gpu", lambda: None)
    assert "pycuda is not (pip install pycuda)" in engines.tensorrt.why_not()


def test_missing_engine_gives_the_pip_line(monkeypatch):
    monkeypatch.setattr(engines.tensorrt, "why_not", lambda: "TensorRT is not installed.")
    monkeypatch.setattr(engines, "is_installed", lambda name: False)
    for name in ("openvino", "onnxruntime"):
        with pytest.raises(MissingPart, match=f"pip install {name}"):
            choose(name)
    with pytest.raises(MissingPart, match="pip install onnxruntime"):
        choose("auto")


def test_unknown_engine_lists_the_known():
    with pytest.raises(InvalidInput, match="auto, tensorrt, openvino, onnxruntime"):
        choose("torch")


def test_choice_is_printed_once(standin_path, capsys, monkeypatch):
    monkeypatch.setattr(engines, "_said", set())
    for _ in range(2):
        open_engine(standin_path, "onnxruntime")
    assert capsys.readouterr().err.count("engine: onnxruntime on CPU, float32, standin.onnx") == 1


def test_onnxruntime_refuses_bfloat16(standin_path):
    with pytest.raises(InvalidInput, match="openvino"):
        open_engine(standin_path, "onnxruntime", precision="bfloat16", quiet=True)


def test_models_are_found_by_name_and_path(standin_path, tmp_path):
    assert find_model(str(standin_path)) == standin_path
    with pytest.raises(InvalidInput, match="Known: light, int8, quality"):
        find_model("enormous")
    with pytest.raises(InvalidInput, match=r"no model file .*gone\.onnx"):
        find_model(str(tmp_path / "gone.onnx"))


def test_absent_weights_say_what_is_here(tmp_path, monkeypatch):
    monkeypatch.setattr("rt_hands.inference.models.weights_dir", lambda: tmp_path)
    with pytest.raises(MissingPart, match=r"cpm_light\.onnx is absent.*Here: none"):
        find_model("default")
    (tmp_path / "cpm_light_int8.onnx").write_bytes(b"")
    with pytest.raises(MissingPart, match="Here: int8"):
        find_model("default")
    assert find_model("cpm_light_int8") == find_model("int8") == tmp_path / "cpm_light_int8.onnx"


def test_precision_is_read_from_the_file(tmp_path, standin_path):
    quantised = tmp_path / "q.onnx"
    quantised.write_bytes(b"...DequantizeLinear...")
    assert precision_of(standin_path) == "float32" and precision_of(quantised) == "int8"


def test_a_network_that_is_no_cpm_is_refused(tmp_path):
    import onnx
    from onnx import TensorProto, helper

    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", 3]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "relu", tensors[:1], tensors[1:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "r.onnx",
    )
    with pytest.raises(InvalidInput, match="a CPM takes"):
        Cpm.load(str(tmp_path / "r.onnx"), "onnxruntime")


def test_registry_names_files_as_the_brief_has_them():
    assert {model.stem for model in MODELS.values()} == {"cpm_light", "cpm_light_int8", "cpm_quality"}


# --- crops -------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(-500, 2000), st.integers(-500, 2000), st.integers(8, 3000), st.integers(0, 44))
def test_map_cells_follow_the_sources_rule(left, top, side, cell):
    """x = x_hm * w / 45 in the input, then the grid of cv2.resize to the picture."""
    affine = Crop(left, top, side).picture_from_map(368, 45)
    u = cell * 368 / 45
    np.testing.assert_allclose(
        affine @ [cell, 0, 1], [left + (u + 0.5) * side / 368 - 0.5, top + 0.5 * side / 368 - 0.5]
    )


@settings(max_examples=25, deadline=None)
@given(st.floats(150, 490), st.floats(150, 330), st.floats(100, 220), st.sampled_from([0, 1]))
def test_cpm_reads_points_back_into_the_picture(standin_cpm, x, y, size, side):
    hand = standin.PaintedHand(side, (x, y), size)
    crop = Crop.around((x, y), size * 1.4)
    read = standin_cpm([(standin.picture(hand), crop)])
    apart = np.hypot(*(read.points_px[0, side, :, :2] - hand.points_px()).T)
    # Measured: mean 0.4 px, worst 2.3 px of a 220 px hand (5 x 5 mean at the hand's own edge).
    assert apart.mean() < 0.009 * size and apart.max() < 0.03 * size
    assert read.presence[0, side] > 0.95 > 0.2 > read.presence[0, 1 - side]


def test_cpm_without_crops_reads_nothing(standin_cpm):
    read = standin_cpm([])
    assert read.points_px.shape == (0, 2, 85, 3) and read.crops == ()


def test_warm_up_leaves_answers_alone(standin_cpm):
    hand = standin.PaintedHand(0, (300, 200), 150)
    job = [(standin.picture(hand), Crop.around((300, 200), 210))]
    before = standin_cpm(job).points_px
    standin_cpm.warm_up((1, 2))
    np.testing.assert_array_equal(standin_cpm(job).points_px, before)


def test_model_path_type_is_a_path(standin_path):
    assert isinstance(find_model(str(standin_path)), Path)


@pytest.mark.parametrize("home", ["a file", None])
def test_without_a_folder_for_the_cache_openvino_runs_and_says_so(
    home, standin_path, tmp_path, monkeypatch, capsys
):
    """As in a container run under a user who has no home."""
    pytest.importorskip("openvino", reason="openvino is not installed.")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file/below") if home else "")
    (tmp_path / "file").touch()
    monkeypatch.delenv("RT_HANDS_CACHE", raising=False)
    if home is None:
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    engine = open_engine(standin_path, "openvino", threads=1, precision="float32", quiet=True)
    assert engine.run(np.zeros((1, 3, 368, 368), np.float32))[1].shape == (1, 2)
    assert "Set RT_HANDS_CACHE" in capsys.readouterr().err


def test_a_damaged_file_is_a_reason_too(tmp_path):
    """OpenVINO's own may end in an empty line."""
    openvino_engine = pytest.importorskip("rt_hands.inference.openvino_engine")

    def refuse(_):
        raise RuntimeError("Check failed:\n\n")

    with pytest.raises(InvalidInput, match=r"can load: the file is damaged or of another kind\.$"):
        openvino_engine._compile(
            SimpleNamespace(read_model=refuse, compile_model=refuse), tmp_path / "d.onnx", {}
        )


FORKED = """
import gc, os, sys
from pathlib import Path
import numpy as np
from rt_hands.inference.engine import open_engine

loaded = open_engine(Path(sys.argv[1]), sys.argv[2], threads=2, quiet=True)
image = np.zeros((1, 3, 368, 368), np.float32)
expected = [array.copy() for array in loaded.run(image)]
child = os.fork()
if child == 0:
    if sys.argv[3] == "run":
        assert all((a == b).all() for a, b in zip(loaded.run(image), expected, strict=True))
    elif sys.argv[3] == "close":
        loaded.close()
    else:
        loaded = open_engine(Path(sys.argv[1]), sys.argv[2], threads=1, quiet=True)
        gc.collect()
        loaded.run(image)
    os._exit(0)  # as multiprocessing's children end
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="This system does not fork.")
@pytest.mark.parametrize("what", ["run", "close", "replace"])
@pytest.mark.parametrize("name", HERE)
def test_a_forked_child_reads_closes_and_replaces_what_it_inherits(standin_path, name, what):
    """Without the parent's threads, of which the child would wait for ever, or die of (OpenVINO)."""
    command = [sys.executable, "-c", FORKED, str(standin_path), name, what]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        try:
            _, said = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, said


def test_a_loaded_network_can_t_be_sent_to_another_process(standin_path):
    cpm = Cpm(open_engine(standin_path, HERE[-1], threads=1, quiet=True))
    with pytest.raises(InvalidInput, match="make a Detector there"):
        pickle.dumps(cpm)
    cpm.close()


def test_a_typo_starts_no_ten_thousand_threads(standin_path):
    with pytest.raises(InvalidInput, match="--threads is 10000; give .* or fewer"):
        open_engine(standin_path, HERE[-1], threads=10000)
