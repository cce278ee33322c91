"""The regression guard: parsing valgrind's table and comparing with a baseline, without valgrind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rt_hands import _core
from rt_hands.benchmarks import guard, guard_calls
from rt_hands.errors import InvalidInput, MissingPart

ANNOTATED = """
--------------------------------------------------------------------------------
Ir
--------------------------------------------------------------------------------
500,000,000 (100.0%)  PROGRAM TOTALS

 60,000,000 (12.00%)  ???:rt_hands::baseline::decode(rt_hands::MapBatch const&, double const*) [/x/_core.so]
  4,000,020 ( 0.80%)  ???:rt_hands::avx2::decode(rt_hands::MapBatch const&, double const*) [/x/_core.so]
  3,000,000 ( 0.60%)  ???:void rt_hands::avx2::decode_typed<rt_hands::avx2::Float32Map>(float*) [/x/_core.so]
  2,600,000 ( 0.52%)  ???:void rt_hands::avx2::project<float>(float const*, long) [/x/_core.so]
  2,500,000 ( 0.50%)  ???:void rt_hands::avx2::project<double>(double const*, long) [/x/_core.so]
  1,900,000 ( 0.38%)  ???:rt_hands::avx2::triangulate(double const*, double const*, long) [/x/_core.so]
     17,000 ( 0.00%)  ???:rt_hands::(anonymous namespace)::project_py(pybind11::object const&) [/x/_core.so]
"""
COUNTED = {
    "decode avx2": 200001,
    "decode baseline": 3000000,
    "project avx2": 130000,
    "triangulate avx2": 95000,
}


def test_valgrinds_table_is_read() -> None:
    assert guard.parse(ANNOTATED, 20) == COUNTED
    with pytest.raises(InvalidInput, match="none of the core's kernels"):
        guard.parse("12 (0.1%)  ???:main [/usr/bin/python]", 20)


def test_each_kernel_gets_a_verdict() -> None:
    before = {"decode avx2": 200000, "decode baseline": 3200000, "project avx2": 123000, "project neon": 7}
    verdicts = {row.name: row.verdict for row in guard.compare(COUNTED, before, 0.05)}
    assert verdicts == {
        "decode avx2": "same",
        "decode baseline": "fewer",
        "project avx2": "more",
        "project neon": "gone",
        "triangulate avx2": "new",
    }


@pytest.mark.parametrize(("factor", "code"), [(1.0, 0), (1.04, 0), (0.5, 1), (3.0, 0)])
def test_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float, code: int) -> None:
    """0 at or below the baseline, 1 above it by more than the tolerance."""
    monkeypatch.setattr(guard, "count_instructions", lambda: dict(COUNTED))
    before = {name: int(count * factor) for name, count in COUNTED.items()}
    path = tmp_path / "guard.json"
    path.write_text(json.dumps({"compiler": "another", "instructions": before}))
    assert guard.main(["--baseline", str(path)]) == code


def test_update_writes_what_the_next_run_compares_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "count_instructions", lambda: dict(COUNTED))
    path = tmp_path / "guard.json"
    with pytest.raises(InvalidInput, match="--update"):
        guard.main(["--baseline", str(path)])
    assert guard.main(["--update", "--baseline", str(path)]) == 0
    assert guard.read_baseline(path) == {"compiler": _core.compiler, "instructions": COUNTED}
    path.write_text("[]")
    with pytest.raises(InvalidInput, match="no baseline"):
        guard.main(["--baseline", str(path)])


def test_the_committed_baseline_has_every_kernel() -> None:
    wanted = {f"{kernel} {level}" for kernel in guard.KERNELS for level in guard_calls.LEVELS}
    assert set(guard.read_baseline(guard.BASELINE)["instructions"]) == wanted


def test_without_valgrind_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard.shutil, "which", lambda name: None)
    with pytest.raises(MissingPart, match="apt-get install valgrind"):
        guard.count_instructions()


def test_the_counted_calls_run_and_see_what_they_should() -> None:
    """Level by level, and the scene is one where float32 and float64 answer the same."""
    before = _core.simd_level()
    guard_calls.make_calls(_core, tuple(_core.simd_levels()[:1]))
    assert _core.simd_level() == _core.simd_levels()[0]
    _core.set_simd_level(before)
    points, *cameras = guard_calls.scene(8, 42)
    single = points.astype(np.float32)
    assert np.abs(_core.project(single, *cameras)[0] - _core.project(single * 1.0, *cameras)[0]).max() < 1e-4
    assert guard_calls.load_core(_core.__file__).__name__ == "rt_hands._core"
