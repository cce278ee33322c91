"""Belief maps and losses: encode and decode agree, weights count what they should, gradients are torch's."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install rt_hands[train]")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from rt_hands import _core  # noqa: E402
from rt_hands.training import targets  # noqa: E402


@settings(max_examples=40, deadline=None)
@given(st.floats(30, 330), st.floats(30, 330))
def test_decode_finds_what_was_encoded(x: float, y: float) -> None:
    points = torch.full((1, 170, 2), float("nan"))
    points[0, 7] = torch.tensor([x, y])
    maps = targets.belief_maps(points, 368, 45).numpy()
    found = _core.decode_heatmaps(maps, size=np.array([[368, 368]], np.float32), method="log_parabola")[0]
    np.testing.assert_allclose(found[7, :2], [x, y], atol=0.05)
    mean = _core.decode_heatmaps(maps, size=np.array([[368, 368]], np.float32))[0, 7, :2]
    np.testing.assert_allclose(
        mean, [x, y], atol=1.2
    )  # the cut-off 5 x 5 patch leans to its middle: up to 0.13 cells
    assert np.isnan(found[8, 0]) and found[8, 2] == 0


def batch(points: object, weight: float = 1.0, count: int = 1) -> targets.Batch:
    image = torch.zeros(count, 72, 72, 3, dtype=torch.uint8)
    present = torch.tensor([[1.0, 0.0]] * count)
    return targets.Batch(image, points, torch.full((count, 170), weight), present)  # type: ignore[arg-type]


def one_point() -> object:
    points = torch.full((1, 170, 2), float("nan"))
    points[0, 3] = 32.0
    return points


def test_cells_of_the_point_and_of_its_twin_weigh_more() -> None:
    target = targets.belief_maps(one_point(), 72, 9)
    weight = targets.cell_weights(target, torch.ones(1, 170), k=8)
    assert float(weight[0, 3, 4, 4]) == pytest.approx(9, abs=0.1)
    assert float(weight[0, 85 + 3, 4, 4]) == pytest.approx(9, abs=0.1)
    assert float(weight[0, 4, 4, 4]) == pytest.approx(1)


def test_unknown_points_have_no_say() -> None:
    data = batch(one_point())
    masked = data._replace(weight=torch.zeros(1, 170))
    maps = [torch.rand(1, 171, 9, 9, requires_grad=True)]
    loss, _ = targets.cpm_loss(maps, torch.zeros(1, 2), masked)
    loss.backward()
    assert float(maps[0].grad.abs().max()) == 0


def test_gradient_is_that_of_the_plain_formula() -> None:
    torch.manual_seed(0)
    data = batch(one_point())
    maps = torch.rand(1, 171, 9, 9, requires_grad=True)
    loss, parts = targets.cpm_loss([maps, maps], torch.zeros(1, 2), data)
    loss.backward()
    target = targets.belief_maps(data.points, 72, 9)
    weight = torch.cat([targets.cell_weights(target, data.weight), torch.ones(1, 1, 9, 9)], 1)
    target = torch.cat([target, 1 - target.amax(1, keepdim=True)], 1)
    plain = maps.detach().clone().requires_grad_()
    wanted = (weight * (plain - target) ** 2).sum() / 81
    (2 * wanted).backward()
    torch.testing.assert_close(parts["map"], wanted.detach())
    torch.testing.assert_close(maps.grad, plain.grad)


def test_firing_both_hands_is_not_the_optimum() -> None:
    """With p = 0.5 for the side, the best constant answer at the peak must stay near one half."""
    right, left = one_point(), torch.full((1, 170, 2), float("nan"))
    left[0, 88] = 32.0
    both = torch.cat([right, left])
    value = torch.zeros(1, requires_grad=True)
    shape = targets.belief_maps(right, 72, 9)[0, 3]
    optimiser = torch.optim.SGD([value], 0.02)
    for _ in range(200):
        maps = torch.zeros(2, 171, 9, 9)
        maps = maps + 0 * value
        maps[:, 3], maps[:, 88] = value * shape, value * shape
        loss, _ = targets.cpm_loss([maps], torch.zeros(2, 2), batch(both, count=2))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert value.item() == pytest.approx(0.5, abs=0.03)  # own weight alone: 0.85 and more


def test_joint_loss_counts_present_hands_and_known_joints() -> None:
    points = torch.full((1, 170, 2), float("nan"))
    points[0, :21] = 36.0
    data = batch(points)
    joints = torch.full((1, 2, 21, 2), 0.5)
    joints[0, 0, :, 0] += 0.1
    joints[0, 1] = 7.0  # an absent hand's coordinates mean nothing
    assert float(targets.joint_loss(joints, data)) == pytest.approx(0.1, abs=1e-6)
    weight = torch.ones(1, 170)
    weight[0, :20] = 0
    joints[0, 0, 20] = 0.5
    assert float(targets.joint_loss(joints, data._replace(weight=weight))) == pytest.approx(0, abs=1e-6)
