"""Networks of the CPM: shapes, exact alignment, folding and a start from an exported file give the same function."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install rt_hands[train]")

from torch import nn  # noqa: E402

from rt_hands.errors import InvalidInput  # noqa: E402
from rt_hands.training import checkpoint, cpm_networks, trunk  # noqa: E402
from rt_hands.training.depthwise import _FrozenDepthwise, depthwise, freeze_slow_depthwise  # noqa: E402
from rt_hands.training.resnet import ResNet34, regression_loss  # noqa: E402


def scrambled(network: nn.Module) -> nn.Module:
    """A network whose batch norms are not the identity."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.1)
    return network.eval()


@pytest.mark.parametrize(
    ("name", "stages"),
    [("hand", 3), ("light", 3), ("wide", 3), ("cpm3", 3), ("cpm6", 6)],
)
def test_shapes(name: cpm_networks.Name, stages: int) -> None:
    network = cpm_networks.build(name).eval()
    with torch.no_grad():
        maps, presence = network(torch.rand(1, 3, 64, 64))
    assert [tuple(m.shape) for m in maps] == [(1, 171, 8, 8)] * stages
    assert tuple(presence.shape) == (1, 2)


@pytest.mark.parametrize(
    ("name", "million"),
    [("hand", 3.09), ("light", 0.72), ("wide", 1.76), ("cpm3", 21.57), ("cpm6", 43.01)],
)
def test_parameters_are_those_of_the_docstrings(name: cpm_networks.Name, million: float) -> None:
    count = sum(p.numel() for p in cpm_networks.build(name).parameters()) / 1e6
    assert count == pytest.approx(million, rel=0.02), f"{name}: {count:.2f} M"


def test_unknown_network_is_named() -> None:
    with pytest.raises(InvalidInput, match="cpm9"):
        cpm_networks.build("cpm9")  # type: ignore[arg-type]


class Reading(nn.Module):
    """Instead of a network: the picture itself, read where its cells are said to lie."""

    def __init__(self, first_px: int) -> None:
        super().__init__()
        self.first_px, self.offset_cells = first_px, first_px / 8

    def forward(self, x: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        return [x[:, :1, self.first_px :: 8, self.first_px :: 8].expand(-1, 171, -1, -1)], torch.zeros(
            len(x), 2
        )


@pytest.mark.parametrize(("side", "first_px"), [(224, 7), (264, 0), (360, 0)])
def test_cell_i_of_the_exported_maps_lies_at_i_times_input_over_45(side: int, first_px: int) -> None:
    ramp = torch.arange(float(side)).expand(1, 3, side, side) / side
    maps, _ = cpm_networks.Deployed(Reading(first_px), side)(ramp)
    column = maps[0, 0, 20, 4:40] * side
    assert maps.shape == (1, 171, 45, 45)
    np.testing.assert_allclose(column, np.arange(4, 40) * side / 45, atol=1e-3)  # measured 3e-5


def test_deployed_takes_the_size_its_network_works_at() -> None:
    assert cpm_networks.Deployed(cpm_networks.HandCpm()).input_px == 224
    assert cpm_networks.Deployed(cpm_networks.LightCpm()).input_px == 360


def test_resampling_keeps_a_gaussian_and_its_peak() -> None:
    n, at = 28, 14.3
    peak = torch.exp(-((torch.arange(n) - at) ** 2) / (2 * 1.2**2))
    where = cpm_networks.places(224, 7 / 8)
    finer = cpm_networks.resampling(where, n) @ peak
    wanted = torch.exp(-((where - at) ** 2) / (2 * 1.2**2))
    assert float((finer - wanted).abs().max()) < 0.03  # measured 0.013


def test_a_committee_gives_the_mean_of_its_members() -> None:
    members = [scrambled(cpm_networks.HandCpm()), scrambled(cpm_networks.HandCpm())]
    members[1].stages.gain.data.fill_(0.2)
    image = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        single = [cpm_networks.Deployed(member)(image) for member in members]
        maps, presence = cpm_networks.Deployed(cpm_networks.Committee(members))(image)
        logits = [member(image)[1] for member in members]
    assert float((single[0][0] - single[1][0]).abs().max()) > 0.1
    torch.testing.assert_close(maps, (single[0][0] + single[1][0]) / 2, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(presence, torch.sigmoid((logits[0] + logits[1]) / 2))
    with torch.no_grad():
        maps, _ = cpm_networks.Deployed(cpm_networks.Committee(members, (3, 1)))(image)
    torch.testing.assert_close(maps, 0.75 * single[0][0] + 0.25 * single[1][0], atol=1e-5, rtol=1e-4)
    with pytest.raises(InvalidInput, match="2 networks want as many shares above 0"):
        cpm_networks.Committee(members, (1, 0))


class Joined(nn.Module):
    """Three joined tensors read by a 1x1 convolution, and two by a 3x3 one, which cannot be split so cheaply."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.ModuleDict(
            {"one": nn.Conv2d(3 * 40, 32, 1), "three": nn.Conv2d(64, 8, 3, padding=1)}
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.network["one"](torch.cat([x, 2 * x, torch.tanh(x)], 1)))
        return self.network["three"](torch.cat([y, -y], 1))


def test_convolutions_of_joined_tensors_are_split(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="export needs onnx: pip install rt_hands[train]")
    from rt_hands.training.export import export_onnx, parity

    module, x = Joined(), torch.rand(2, 40, 6, 6)
    path = export_onnx(module, (x,), tmp_path / "joined.onnx", ["x"], ["y"], half_storage=True)
    kinds = [node.op_type for node in onnx.load(str(path)).graph.node]
    assert kinds.count("Concat") == 1 and kinds.count("Conv") == 4 and kinds.count("Add") == 2
    assert parity(module, path, {"x": x})["y"] < 2e-3  # weights rounded at 2^-11
    weights = checkpoint.weights_of_onnx(path)
    assert weights.keys() == module.network.state_dict().keys()
    for name, wanted in module.network.state_dict().items():
        torch.testing.assert_close(weights[name], wanted, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_frozen_depthwise_gives_torchs_gradient(kernel: int, stride: int) -> None:
    torch.manual_seed(1)
    layer = trunk.halving(6, 6, kernel, 6) if stride == 2 else trunk.conv(6, 6, kernel, 6)
    x = torch.randn(2, 6, 10, 10, requires_grad=True)
    wanted = layer(trunk.pad_for(layer, x))
    outside = torch.randn_like(wanted)
    (plain,) = torch.autograd.grad(wanted, x, outside)
    padding = int(layer.padding[0])
    padded = trunk.pad_for(layer, x)
    got = _FrozenDepthwise.apply(padded, layer.weight.detach(), layer.bias.detach(), stride, padding)
    (ours,) = torch.autograd.grad(got, x, outside)
    assert got.shape[-1] == 10 // stride
    torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=1e-5)  # measured 6e-7


def test_depthwise_picks_the_gradients_that_are_asked_for() -> None:
    layer = nn.Conv2d(8, 8, 5, 1, 2, groups=8)
    x = torch.randn(1, 8, 7, 7, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        depthwise(x, layer).sum().backward()
        assert layer.weight.grad is not None
        assert freeze_slow_depthwise(nn.Sequential(layer)) == 1
        layer.weight.grad = None
        depthwise(x, layer).sum().backward()
    assert layer.weight.grad is None and x.grad is not None


def test_folding_norms_keeps_the_function() -> None:
    network = scrambled(cpm_networks.build("hand"))
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        wanted, got = network(x), checkpoint.fold_norms(network)(x)
    torch.testing.assert_close(got[0][-1], wanted[0][-1], atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(got[1], wanted[1], atol=2e-4, rtol=1e-3)


def test_training_goes_on_from_an_exported_file_with_the_same_function(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="export needs onnx: pip install rt_hands[train]")
    from rt_hands.training.export import export_onnx

    network = scrambled(cpm_networks.build("light"))
    path = tmp_path / "light.onnx"
    folded = cpm_networks.Deployed(checkpoint.fold_norms(network), 136)
    export_onnx(
        folded,
        (torch.rand(1, 3, 136, 136),),
        path,
        ("image",),
        ("belief_maps", "presence"),
        half_storage=True,
    )
    images = torch.rand(2, 3, 136, 136)
    again = cpm_networks.build("light")
    checkpoint.init_from_folded(again, checkpoint.weights_of_onnx(path), images)
    with torch.no_grad():
        wanted, got = network(images)[0][-1], again.eval()(images)[0][-1]
    # float16 storage is the difference; measured 4e-4 of a range of 1.
    assert float((wanted - got).abs().max()) < 5e-3 * float(wanted.abs().max())


class Resized(nn.Module):
    """How networks were exported once: pictures of 368 px, made smaller inside."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps, presence = self.network(nn.functional.interpolate(image, size=(136, 136), mode="bilinear"))
        return maps[-1], torch.sigmoid(presence)


def test_files_that_resize_their_pictures_give_the_same_weights(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="export needs onnx: pip install rt_hands[train]")
    from rt_hands.training.export import export_onnx

    network = checkpoint.fold_norms(scrambled(cpm_networks.build("light")))
    found = []
    for module, side in ((Resized(network), 368), (cpm_networks.Deployed(network, 136), 136)):
        path = tmp_path / f"{side}.onnx"
        image = torch.rand(1, 3, side, side)
        export_onnx(module, (image,), path, ("image",), ("belief_maps", "presence"), half_storage=True)
        found.append(checkpoint.weights_of_onnx(path))
    assert found[0].keys() == found[1].keys() == network.state_dict().keys()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="another network"):
        light = cpm_networks.build("light")
        checkpoint.init_from_folded(light, {"no.such.weight": torch.zeros(1)}, torch.rand(1, 3, 72, 72))


def test_trunk_gives_four_scales_and_a_vector() -> None:
    with torch.no_grad():
        finest, fine, middle, coarse, pooled = trunk.HandTrunk().eval()(torch.rand(1, 3, 192, 192))
    assert [t.shape[-1] for t in (finest, fine, middle, coarse)] == [48, 24, 12, 6]
    assert [t.shape[1] for t in (finest, fine, middle, coarse, pooled)] == [24, 40, 112, 192, 1152]


def test_untrained_stages_give_the_prior() -> None:
    network = cpm_networks.HandCpm().eval()
    joints = torch.full((1, 2, 21, 2), 0.5)
    prior = network.prior(joints, torch.tensor([[9.0, -9.0]]), 28)
    maps = network.stages(torch.rand(1, 128, 28, 28), prior)
    assert len(maps) == 3
    torch.testing.assert_close(maps[2][0, 4], 0.8 * prior[0, 4])
    # 0.5 of 224 px is 112 px; cells lie at 8 i + 7, so the peak is at 13.1.
    assert int(maps[2][0, 4].argmax()) == 13 * 28 + 13
    assert maps[2][0, 85:].abs().max().item() < 1e-3


def test_moving_average_starts_fast_and_ends_slow() -> None:
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    average = checkpoint.MovingAverage(layer, decay=0.9)
    nn.init.ones_(layer.weight)
    average.update(layer)
    assert float(average.network.weight) == pytest.approx(1 - 2 / 11)
    for _ in range(200):
        average.update(layer)
    assert float(average.network.weight) == pytest.approx(1, abs=1e-6)


def test_resnet_regresses_points_and_leaves_out_unknown_ones() -> None:
    network = ResNet34().eval()
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(21.5, rel=0.01)
    with torch.no_grad():
        points, presence = network(torch.rand(1, 3, 64, 64))
    assert tuple(points.shape) == (1, 170, 2) and tuple(presence.shape) == (1, 2)
    truth = torch.full((1, 170, 2), 0.5)
    truth[0, 5:] = float("nan")
    truth[0, 0] += 0.1
    loss = regression_loss(torch.full((1, 170, 2), 0.5), truth, torch.ones(1, 170))
    assert float(loss) == pytest.approx(0.2 / 5)
