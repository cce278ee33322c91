"""A network that is told of joints known from elsewhere: its prior, its export, what the detector and a rig tell it."""

from __future__ import annotations

import numpy as np
import pytest
import standin

from rt_hands.errors import InvalidInput
from rt_hands.inference.cpm import Cpm
from rt_hands.inference.preprocess import Crop
from rt_hands.layout import N_JOINTS, NOT_GIVEN
from rt_hands.tracking.both_ways import SIZES, two_sizes

torch = pytest.importorskip("torch", reason="Networks are made by torch (pip install 'rt_hands[train]').")

from rt_hands.training import cpm_networks  # noqa: E402
from rt_hands.training.given import LARGEST_TURN, disturbed, given_joints, posed_otherwise  # noqa: E402
from rt_hands.training.targets import Batch  # noqa: E402


def batch_of(present: list[list[float]]) -> Batch:
    count = len(present)
    points = torch.rand(count, 170, 2) * 100 + 60
    image = torch.zeros(count, 224, 224, 3, dtype=torch.uint8)
    return Batch(image, points, torch.ones(count, 170), torch.tensor(present))


def test_prior_takes_given_joints_for_its_own():
    network = cpm_networks.HandCpm()
    own, presence = torch.full((1, 2, 21, 2), 0.25), torch.tensor([[9.0, -9.0]])
    given = torch.full((1, 2, 21, 2), NOT_GIVEN)
    given[0, :, 3] = torch.tensor([0.75, 0.5])
    plain, told = (network.prior(own, presence, 28, g)[0] for g in (None, given))
    kept = [i for i in range(42) if i % 21 != 3]
    torch.testing.assert_close(told[kept], plain[kept])
    for channel in (3, 24):  # also of the hand that the network doesn't see
        y, x = np.unravel_index(int(told[channel].argmax()), (28, 28))
        assert (
            abs(x - (0.75 * 28 - network.offset_cells)) <= 0.5 and abs(y - (14 - network.offset_cells)) <= 0.5
        )
        assert 0.7 < float(told[channel].max()) <= 1


def test_told_nothing_the_network_is_the_one_that_takes_no_joints():
    network = cpm_networks.HandCpm().eval()
    for stage in network.stages.stages:
        torch.nn.init.normal_(stage[-1].weight, std=0.1)
    image = torch.rand(2, 3, 224, 224)
    nothing = torch.full((2, 2, 21, 2), NOT_GIVEN)
    with torch.no_grad():
        plain, told = network(image)[0][-1], network(image, nothing)[0][-1]
        moved = network(image, torch.full((2, 2, 21, 2), 0.5))[0][-1]
    torch.testing.assert_close(told, plain)
    assert float((moved - plain).abs().max()) > 0.1


def test_training_tells_a_share_of_the_hands_that_are_there_a_little_off():
    torch.manual_seed(0)
    batch = batch_of([[1.0, 1.0], [1.0, 0.0]] * 500)
    joints = given_joints(batch, 0.4)
    told = (joints[..., 0] > NOT_GIVEN / 2).all(-1)
    there = batch.present > 0.4
    assert abs(float(told[there].float().mean()) - 0.4) < 0.05
    assert 0 < float(told[~there].float().mean()) < 0.1
    truth = batch.points.view(-1, 2, 85, 2)[:, :, :N_JOINTS] / 224
    away = (joints - truth).norm(dim=-1)[told & there]
    size = (truth.amax(2) - truth.amin(2)).amax(-1)[told & there]
    off = (away / size[:, None]).flatten()
    assert 0.01 < float(off.median()) < 0.08 and float(off.max()) < 3  # random points are no hands
    assert not bool((given_joints(batch, 0.0) > NOT_GIVEN / 2).any())


def test_hands_with_unknown_joints_are_not_told_of():
    batch = batch_of([[1.0, 1.0]] * 50)
    batch.points[:, 5] = float("nan")
    batch.weight[:, 85] = 0
    assert not bool((given_joints(batch, 1.0) > NOT_GIVEN / 2).any())


def test_disturbed_fingers_move_together():
    torch.manual_seed(1)
    joints = torch.stack(torch.meshgrid(torch.arange(5.0), torch.arange(4.0), indexing="ij"), -1).flatten(
        0, 1
    )
    joints = torch.cat([torch.tensor([[2.0, -2.0]]), joints]).expand(400, 2, 21, 2)
    step = disturbed(joints) - joints
    tips, middles = step[:, :, 4::4].flatten(), step[:, :, 3::4].flatten()
    assert float(torch.corrcoef(torch.stack([tips, middles]))[0, 1]) > 0.4


def hand(bend: float, turn: float, scale: float) -> torch.Tensor:
    """(21, 2): straight up from a wrist at 0, fingers side by side, the second bone turned by `bend`."""
    knuckles = torch.tensor([[x, 1.0] for x in (-0.8, -0.4, 0.0, 0.4, 0.8)])
    along = torch.tensor([[0.0, 0.0], [0.0, 0.5], [np.sin(bend) * 0.3, 0.5 + np.cos(bend) * 0.3], [0.0, 0.5]])
    joints = torch.cat([torch.zeros(1, 2), (knuckles[:, None] + along).flatten(0, 1)])
    c, s = np.cos(turn), np.sin(turn)
    return scale * joints @ torch.tensor([[c, s], [-s, c]], dtype=joints.dtype) + 3.0


def test_fingers_are_posed_as_the_next_pictures_on_their_own_knuckles():
    straight, curled = hand(0.0, 0.4, 1.0), hand(2.5, -1.2, 1.3)
    away = torch.full((21, 2), 0.5)  # a hand that is not there
    joints = torch.stack([torch.stack([straight, away]), torch.stack([curled, curled])])
    posed = posed_otherwise(joints)
    torch.testing.assert_close(posed[0, 0].flatten(0, 1), hand(2.5, 0.4, 1.0)[1:])
    torch.testing.assert_close(posed[1, 0].flatten(0, 1), hand(0.0, -1.2, 1.3)[1:])
    torch.testing.assert_close(posed[1, 1].flatten(0, 1), curled[1:])  # nobody lends
    end_on = curled.clone()
    end_on[9] = end_on[0] + 0.2 * (end_on[9] - end_on[0])
    big = posed_otherwise(torch.stack([straight[None], end_on[None]]))[0, 0, 0, :2].diff(dim=0).norm()
    assert float(big) <= LARGEST_TURN * 1.3 * 0.5 + 1e-5


@pytest.mark.parametrize("turn", [0.0, 0.7])
def test_shares_of_a_crop_are_the_places_of_its_input(turn):
    crop, n = Crop(40, 10, 120, turn), 224
    zoom = crop.side / n
    affine = crop.picture_from(zoom, 0.5 * zoom - 0.5)
    inside = np.array([[0.0, 0.0], [100.0, 37.5], [223.0, 10.0]])
    in_picture = inside @ affine[:, :2].T + affine[:, 2]
    np.testing.assert_allclose(crop.shares_of(in_picture, n) * n, inside, atol=1e-3)


def test_the_network_is_told_in_shares_of_each_crop(standin_cpm):
    image, engine = np.zeros((240, 320, 3), np.uint8), standin.Listening(standin_cpm.engine)
    cpm = Cpm(engine)
    assert cpm.takes_joints and not standin_cpm.takes_joints
    joints = np.random.default_rng(0).uniform(50, 150, (2, 21, 2))
    joints[1, 4] = np.nan
    crops = Crop(40, 10, 120, 0.3), Crop(0, 0, 240)
    cpm([(image, crop) for crop in crops], told=[joints, None])
    wanted = crops[0].shares_of(joints, cpm.input_px)
    wanted[1, 4] = NOT_GIVEN
    np.testing.assert_array_equal(engine.heard[-1][0], wanted)
    assert (engine.heard[-1][1] == NOT_GIVEN).all()
    cpm([(image, crops[0])])  # what was told once is not told again
    assert (engine.heard[-1] == NOT_GIVEN).all()
    with pytest.raises(InvalidInput, match="can't be told of joints .* export it anew"):
        standin_cpm([(image, crops[0])], told=[joints])


def test_mirrored_crops_are_told_of_mirrored_joints(standin_cpm):
    image, engine = np.zeros((240, 320, 3), np.uint8), standin.Listening(standin_cpm.engine)
    joints, crop = np.random.default_rng(0).uniform(50, 150, (2, 21, 2)), Crop(40, 10, 120, 0.3)
    two_sizes(Cpm(engine), [(image, crop)], told=[joints])
    heard = engine.heard[-1]
    assert len(heard) == 2 * len(SIZES)
    for plain, mirrored in zip(heard[: len(SIZES)], heard[len(SIZES) :], strict=True):
        across = mirrored[::-1].copy()
        across[..., 0] = 1 - 1 / engine.inputs[0].shape[-1] - across[..., 0]
        np.testing.assert_allclose(plain, across, atol=2e-3)
