"""Training's commands say in one sentence which package they miss."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rt_hands.errors import InvalidInput

ROOT = Path(__file__).resolve().parent.parent
HIDDEN = """
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = classmethod(
    lambda cls, name, *rest: None if name in ("torch", "onnx") else find(name, *rest)
)
"""
"""Packages that are installed here, as if they were not."""


def run(tmp_path: Path, module: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "sitecustomize.py").write_text(HIDDEN)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", f"rt_hands.training.{module}", "--help"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)


@pytest.mark.parametrize(
    "module", ["train_cpm", "train_rtc", "quantise", "validate", "export_cpm", "export_rtc"]
)
def test_a_missing_package_is_one_sentence(tmp_path: Path, module: str) -> None:
    ended = run(tmp_path, module)
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith("error: Training needs torch and onnx: pip install 'rt_hands[train]'.")
    assert ended.stderr.count("\n") == 1


def test_labels_need_neither(tmp_path: Path) -> None:
    ended = run(tmp_path, "pseudo_label")
    assert ended.returncode == 0 and "usage" in ended.stdout


def test_a_contact_sheet_that_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    sheet = pytest.importorskip(
        "rt_hands.synth.sheet", reason="The data engine: pip install rt_hands[synth]."
    )
    (tmp_path / "s.png").write_bytes(b"mine")
    with pytest.raises(InvalidInput, match=r"s\.png is already there.*--overwrite"):
        sheet.main(["--out", str(tmp_path / "s.png")])
