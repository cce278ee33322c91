"""The rig benchmark runs on the bundled sample and its pictures stay on their rays."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from rt_hands.benchmarks import rig as bench
from rt_hands.capture.choose import open_source
from rt_hands.tracking.rig import reproject


def test_widened_cameras_see_the_same_points_in_the_widened_pictures() -> None:
    rig, jpegs = bench.sample_rig(5, 1)
    assert rig.ids[4].startswith("cam_front") and len(jpegs) == 5 and len(jpegs[0]) == 1
    assert cv2.imdecode(jpegs[0][0], cv2.IMREAD_COLOR).shape == (720, 1280, 3)
    original = bench.Rig.load(bench.sample_dir() / "rig.toml")
    points = bench.sample_hands().points_world_mm
    wide, narrow = rig.cameras[0].project(points), original.cameras[0].project(points)
    # 480 to 720 lines, centred in 1280 columns, pixel centres at whole numbers.
    np.testing.assert_allclose(wide, 1.5 * narrow + 0.25 + (160, 0), atol=1e-3)
    with open_source("sample") as source:
        picture = next(iter(source)).frames[0].image_bgr
    shown = cv2.imdecode(jpegs[0][0], cv2.IMREAD_COLOR)[::3, 160:1120:3].astype(int)
    assert np.abs(shown - picture[::2, ::2].astype(int)).mean() < 8  # 3 seen


def test_loop_and_scaling_give_figures(standin_path, tmp_path) -> None:
    out = tmp_path / "rig.json"
    arguments = ["--cameras", "3", "--frames", "6", "--seconds", "0.2", "--model", str(standin_path)]
    assert bench.main([*arguments, "--engine", "onnxruntime", "--threads", "1", "--json", str(out)]) == 0
    figures = json.loads(out.read_text())
    loop = figures["loop"]
    assert set(bench.OURS) < set(loop) and all(loop[name]["p50_ms"] >= 0 for name in bench.OURS)
    assert loop["ours"]["p50_ms"] >= loop["lift"]["min_ms"]
    assert list(figures["lift"]) == [f"{views} views" for views in bench.VIEWS]


@pytest.mark.parametrize("views", [2, 16])
def test_rings_look_at_the_hands(views: int) -> None:
    hands = bench.sample_hands()
    rig = bench.ring(views, hands)
    assert all(view.present.all() for view in reproject(hands, rig).values())
    lifted = bench._lift_call(rig, hands)()
    apart = np.linalg.norm(lifted.points_world_mm - hands.points_world_mm, axis=1)
    assert lifted.present.all() and np.nanmean(apart) < 8  # 4 mm seen with two views
