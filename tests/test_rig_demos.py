"""The demos of rigs: the bundled sample replayed, two cameras with a rig from a ruler."""

from __future__ import annotations

import re

import numpy as np
import pytest
from test_bench_rig import bench
from test_demos import demo

from rt_hands.capture.video import VideoSource
from rt_hands.errors import InvalidInput
from rt_hands.lifting.lift import lift
from rt_hands.paths import sample_dir
from rt_hands.types import Hands2D


def test_the_sample_is_replayed_in_mm(tmp_path, capsys) -> None:
    assert demo("rig_replay").main([str(tmp_path / "out.mp4"), "8"]) == 0
    out = capsys.readouterr().out
    assert "index tip [" in out and "mm by 4 views" in out
    # 9 mm seen with the network of this version.
    assert float(re.search(r"from the truth: ([0-9.]+) mm", out)[1]) < 30
    with VideoSource(tmp_path / "out.mp4") as film:
        assert len(list(film)) == 8


def test_two_cameras_from_the_sample_run(capsys) -> None:
    """The sample's cameras do not stand as the demo says: it runs, and says so by finding little."""
    words = [str(sample_dir() / f"{name}.mp4") for name in ("cam_left", "cam_right")]
    assert demo("two_webcams_rig").main([*words, "300", "59", "4"]) == 0
    with pytest.raises(InvalidInput, match="Give two cameras"):
        demo("two_webcams_rig").main(["0"])


def test_a_rough_rig_lifts_hands_to_some_percent() -> None:
    rig = demo("two_webcams_rig").rough_rig((1280, 720), 200.0, 65.0)
    # Sample hands turned to face the cameras, half a metre ahead between them; 3 % wider lenses than believed.
    points = bench.sample_hands().points_world_mm
    points = points - np.nanmean(points, axis=0) + (100, 0, 500)
    seen = rig.project(points) - (639.5, 359.5)
    seen = seen / 1.03 + (639.5, 359.5)
    views = [
        Hands2D(np.column_stack([p, np.full(170, 0.8)]).astype(np.float32), np.ones(2, bool)) for p in seen
    ]
    hands = lift(views, rig)
    depth = hands.points_world_mm[:, 2].mean()
    assert hands.present.all() and abs(depth / 500 - 1) < 0.05  # 515 mm seen
