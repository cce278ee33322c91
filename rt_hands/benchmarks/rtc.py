"""Latency of RTC for one pair of hands: one batched graph beside 64 sessions, interleaved in one run.

`python -m rt_hands.bench rtc`
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime as ort
import tyro
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from rt_hands.benchmarks.timing import print_machine, write_json
from rt_hands.errors import InvalidInput, MissingPart
from rt_hands.layout import N_JOINTS, N_SURFACE
from rt_hands.lifting.canonical import PALM_JOINTS, PALM_TEMPLATE, canonicalise
from rt_hands.lifting.rtc import Rtc, model_path

_BURST: Final = 5
Feeds = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Options:
    """How long to measure."""

    rounds: int = 200
    """Rounds; each runs every candidate five times in a row, the candidates in a new order."""
    threads: tuple[int, ...] = (1, 2)
    """onnxruntime threads of the batched graphs; the 64 sessions run one after the other on one thread each."""
    json: Path | None = None
    """Write the figures to this file."""


def pair_of_hands() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A right and a left hand: joints (2, 21, 3) mm and side (2,)."""
    joints = np.zeros((N_JOINTS, 3))
    joints[list(PALM_JOINTS)] = PALM_TEMPLATE * 95
    for base in PALM_JOINTS[1:]:
        joints[base + 1 : base + 4] = joints[base] + np.arange(1, 4)[:, None] * [0.0, 26.0, 6.0]
    return np.stack([joints, joints * [-1, 1, 1]]), np.array([0, 1])


def _session(model: str | bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _grouped_weights(path: Path) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Weight (64, a, b) and bias (64, b) of each layer of a batched RTC 2.0 file."""
    try:
        import onnx
    except ImportError as error:
        raise MissingPart("The 64 sessions are built with onnx: pip install onnx") from error
    kept = {t.name.removesuffix("_half"): t for t in onnx.load(str(path)).graph.initializer}
    layers = []
    for i in range(3):
        pair = (onnx.numpy_helper.to_array(kept[f"net.layers.{i}.{part}"]) for part in ("weight", "bias"))
        weight, bias = (array.astype(np.float32) for array in pair)
        layers.append((weight, bias[:, 0]))
    return layers


def single_point_models(path: Path) -> list[bytes]:
    """RTC 2.0 taken apart: one small ONNX network per point, input `features` (N, 84), output `point` (N, 4)."""
    layers = _grouped_weights(path)
    return [_one_point([(weight[k], bias[k]) for weight, bias in layers]) for k in range(N_SURFACE)]


def _one_point(layers: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]]) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    nodes, kept, name = [], [], "features"
    for i, (weight, bias) in enumerate(layers):
        kept += [numpy_helper.from_array(weight, f"w{i}"), numpy_helper.from_array(bias, f"b{i}")]
        last = i == len(layers) - 1
        nodes.append(helper.make_node("Gemm", [name, f"w{i}", f"b{i}"], ["point" if last else f"g{i}"]))
        if not last:
            nodes.append(helper.make_node("Relu", [f"g{i}"], [f"h{i}"]))
        name = f"h{i}"
    ends = [
        helper.make_tensor_value_info(label, TensorProto.FLOAT, ["batch", size])
        for label, size in (("features", len(layers[0][0])), ("point", len(layers[-1][1])))
    ]
    graph = helper.make_graph(nodes, "point", ends[:1], ends[1:], kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def candidates(threads: Sequence[int]) -> dict[str, Callable[[], object]]:
    """What is timed, by name; all for the same pair of hands."""
    joints_mm, side = pair_of_hands()
    joints, valid, _ = canonicalise(joints_mm, side)
    feeds: Feeds = {"joints": joints, "valid": valid}
    out: dict[str, Callable[[], object]] = {}
    for model, count in ((m, t) for m in ("rtc", "rtc2", "rtc1") for t in threads):
        session = _session(str(model_path(model)), count)
        out[f"{model}, graph, {count} thr."] = partial(session.run, None, feeds)
    small = [_session(model, 1) for model in single_point_models(model_path("rtc2"))]
    features = np.concatenate([joints.reshape(2, -1), valid], axis=1)
    out["rtc2, 64 sessions"] = lambda: [s.run(None, {"features": features}) for s in small]
    out["rtc, whole call"] = partial(Rtc("rtc"), joints_mm, side)
    return out


def interleaved(run: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, NDArray[np.float64]]:
    """Milliseconds of every call: in each round every candidate runs a burst, in a new order.

    The first call of a burst finds the caches full of another candidate's weights and is dropped, as is round one.
    """
    names, rng = list(run), np.random.default_rng(0)
    ms = {name: np.zeros((rounds + 1, _BURST + 1)) for name in names}
    for i in track(range(rounds + 1), description="timing"):
        for k in rng.permutation(len(names)):
            for call in range(_BURST + 1):
                start = time.perf_counter_ns()
                run[names[k]]()
                ms[names[k]][i, call] = (time.perf_counter_ns() - start) / 1e6
    return {name: values[1:, 1:].ravel() for name, values in ms.items()}


def main(argv: Sequence[str]) -> int:
    """Print best, p50, p95, p99 of each candidate and how many times faster than 64 sessions it is (p50)."""
    options = tyro.cli(Options, args=list(argv), description=__doc__, prog="python -m rt_hands.bench rtc")
    if options.rounds < 1:
        raise InvalidInput(f"{options.rounds} rounds can't be timed; --rounds wants 1 or more.")
    header = print_machine()
    ms = interleaved(candidates(options.threads), options.rounds)
    slow = float(np.median(ms["rtc2, 64 sessions"]))
    table = Table(
        title=f"RTC, one pair of hands, ms (onnxruntime {ort.__version__}, n = {_BURST * options.rounds})"
    )
    for column in ("", "best", "p50", "p95", "p99", "x faster than 64"):
        table.add_column(column, justify="left" if column == "" else "right")
    figures = {}
    for name, values in ms.items():
        best, p50, p95, p99 = np.percentile(values, (0, 50, 95, 99))
        figures[name] = {"best_ms": best, "p50_ms": p50, "p95_ms": p95, "p99_ms": p99, "n": len(values)}
        figures[name]["x_faster_than_64"] = slow / p50
        table.add_row(name, *(f"{x:.3f}" for x in (best, p50, p95, p99)), f"{slow / p50:.1f}")
    Console().print(table)
    if options.json is not None:
        write_json(options.json, header, {"one_pair_of_hands": figures})
    return 0
