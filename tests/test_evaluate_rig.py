"""The rig evaluation: states by geometry, figures on a rendered scene whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from test_lift import hands_mm

from rt_hands.errors import InvalidInput, MissingPart, RtHandsError
from rt_hands.evaluation import rig as command
from rt_hands.evaluation import rig_real
from rt_hands.evaluation import rig_rendered as evaluation
from rt_hands.lifting.lift import FUSION_WEIGHT
from rt_hands.types import Hands3D


def test_state_is_read_from_the_points() -> None:
    apart = hands_mm()
    assert evaluation.state_of(apart) == "apart"
    alone = apart.copy()
    alone[85:] = np.nan
    assert evaluation.state_of(alone) == "one"
    over = apart.copy()
    over[85:] = apart[:85] + (5, 0, 0)
    assert evaluation.state_of(over) == "clasped"
    near = apart.copy()
    near[85:] += apart[8] - apart[93] + (10, 0, 0)  # index tips 10 mm apart
    assert evaluation.state_of(near) in ("touching", "clasped")


def test_errors_leave_out_hands_that_were_not_found() -> None:
    errors = evaluation.Errors()
    truth = hands_mm()
    errors.add(FUSION_WEIGHT, 4, "apart", Hands3D.empty(), truth)
    assert np.isnan(errors.mean_mm(4))
    moved = Hands3D.empty()
    moved.points_world_mm[:85] = truth[:85] + (0, 3, 4)
    errors.add(FUSION_WEIGHT, 4, "apart", moved, truth)
    moved.points_world_mm[85:] = truth[85:] + (0, evaluation.LOST_MM + 1, 0)  # the other hand's name, a face
    errors.add(FUSION_WEIGHT, 4, "apart", moved, truth)
    assert (
        errors.mean_mm(4) == pytest.approx(5)
        and len(errors.mm[FUSION_WEIGHT, 4, "apart", "joints"]) == 2 * 21
    )


def test_exchange_is_counted_only_when_wrists_swap_places() -> None:
    def hands(order: list[int]) -> Hands3D:
        points = hands_mm().reshape(2, 85, 3)[order].reshape(170, 3)
        empty = Hands3D.empty()
        return Hands3D(points, empty.score, empty.residual_px, empty.views, np.ones(2, bool))

    assert rig_real.exchanged(hands([0, 1]), hands([0, 1])) == 0
    assert rig_real.exchanged(hands([0, 1]), hands([1, 0])) == 1
    assert rig_real.exchanged(Hands3D.empty(), hands([1, 0])) == 0


def test_more_views_are_better_on_a_rendered_rig(tmp_path) -> None:
    for package in ("anny", "moderngl"):
        pytest.importorskip(package, reason=f"Rendered rigs need {package}: pip install 'rt_hands[synth]'.")
    from rt_hands.synth.render import renderer

    try:
        renderer()
    except MissingPart as error:
        pytest.skip(str(error))
    errors = evaluation.evaluate_rendered(evaluation.noisy_truth(2.0, 0), 1, 11, tmp_path)
    figures = evaluation.rendered_figures(errors)
    assert figures["rig16_found"] == 1.0 and figures["rig2_found"] == 1.0
    assert figures["rig16_all_mm"] < figures["rig4_all_mm"] < figures["rig2_all_mm"]  # 0.8, 2.4, 4.2 mm seen
    assert figures["rig16_reprojection_px"] < 2.0
    assert (tmp_path / "rendered_00.png").stat().st_size > 10_000


def test_nothing_to_evaluate_is_said() -> None:
    with pytest.raises(InvalidInput, match="nothing to evaluate: --scenes is 0 and no rig is given"):
        command.main(["--scenes", "0"])


def test_pictures_of_before_are_not_replaced_unasked(tmp_path) -> None:
    """Nor do those of another kind stand in the way."""
    (tmp_path / "rendered_00.png").write_bytes(b"kept")
    with pytest.raises(InvalidInput, match=r"rendered_00\.png is already there. Give another --pictures"):
        command.main(["--scenes", "1", "--pictures", str(tmp_path)])
    words = ["--scenes", "0", "--rig", str(tmp_path / "none.toml"), "--source", "sample"]
    with pytest.raises(RtHandsError, match=r"none\.toml"):
        command.main([*words, "--pictures", str(tmp_path)])
    assert (tmp_path / "rendered_00.png").read_bytes() == b"kept"


def test_hands_on_the_wrong_side_are_counted() -> None:
    usual = [np.array([[0.0, 0, 0], [300, 0, 0]]) + i for i in range(9)]
    assert rig_real.on_wrong_side(usual) == 0
    assert rig_real.on_wrong_side([*usual, usual[0][::-1]]) == pytest.approx(0.1)
    alone = usual[0].copy()
    alone[1] = np.nan
    assert rig_real.on_wrong_side([*usual, alone]) == 0 and rig_real.on_wrong_side([]) == 0
