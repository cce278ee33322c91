"""The training loop on made-up pictures: schedule, frozen layers, checkpoints, resume; and export of the result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install rt_hands[train]")
pytest.importorskip("onnx", reason="export needs onnx: pip install rt_hands[train]")

import cv2  # noqa: E402

from rt_hands.errors import InvalidInput  # noqa: E402
from rt_hands.training import (  # noqa: E402
    checkpoint,
    compose,
    cpm_networks,
    export_cpm,
    hints,
    sprite_source,
    train_cpm,
    validate,
)
from rt_hands.training.hints import Hints  # noqa: E402
from rt_hands.training.loader import Mix  # noqa: E402
from rt_hands.training.pictures import Picture  # noqa: E402
from rt_hands.training.resnet import ResNet34  # noqa: E402
from rt_hands.training.targets import Batch  # noqa: E402


def picture(seed: int) -> Picture:
    rng = np.random.default_rng(seed)
    points = np.full((2, 85, 2), np.nan, np.float32)
    points[0] = rng.uniform(20, 80, (85, 2))
    _, packed = cv2.imencode(".jpg", rng.integers(0, 256, (100, 100, 3)).astype(np.uint8))
    trust = np.where(np.isfinite(points[..., 0]), 1, 0).astype(np.float32)
    return Picture(packed.ravel(), points, trust, np.array([True, False]), f"made/{seed}.jpg")


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [picture(i) for i in range(4)]
    monkeypatch.setattr(train_cpm, "load_real", lambda split, dense=None: pictures)
    monkeypatch.setattr(validate, "load_real", lambda split: pictures)
    monkeypatch.setattr(train_cpm, "load_backgrounds", lambda: [np.zeros((90, 90, 3), np.uint8)])


def settings(out: Path, **changes: object) -> train_cpm.Settings:
    given = {"network": "light", "minutes": 0.02, "workers": 0, "threads": 1, "val_pictures": 2} | changes
    return train_cpm.Settings(out=out, mix=Mix(batch_px=4 * 136**2), **given)  # type: ignore[arg-type]


def test_rate_ramps_up_and_comes_down() -> None:
    rates = [train_cpm.rate(p) for p in np.linspace(0, 1, 101)]
    assert rates[0] == pytest.approx(0.02) and max(rates) == pytest.approx(1, abs=0.01)
    assert rates[-1] == pytest.approx(0.02, abs=1e-6)
    assert np.argmax(rates) < 5 and all(np.diff(rates[5:]) < 0)


def test_a_run_writes_what_it_promises_and_resumes(tmp_path: Path, made_up: None) -> None:
    train_cpm.Trainer(settings(tmp_path)).run()
    state = checkpoint.load(tmp_path / "last.pt")
    assert state["name"] == "light" and state["steps"] >= 1 and list(tmp_path.glob("val_*.png"))
    first = json.loads((tmp_path / "curve.jsonl").read_text().splitlines()[-1])
    assert {"map", "presence", "pck10", "side_wrong", "samples"} <= set(first)
    again = train_cpm.Trainer(settings(tmp_path, minutes=0.05, resume=True))
    assert again.steps == state["steps"] and again.clock.done == pytest.approx(state["minutes"])
    # Hints are disturbed anew, not as from the start.
    assert torch.initial_seed() == settings(tmp_path).seed + 1000 + state["steps"]
    again.run()
    assert checkpoint.load(tmp_path / "last.pt")["steps"] > state["steps"]

    out = tmp_path / "cpm_light.onnx"
    assert export_cpm.main(["--checkpoint", str(tmp_path / "last.pt"), "--out", str(out)]) == 0
    assert out.stat().st_size < 3e6 and "0.7" in out.with_suffix(".md").read_text()

    with pytest.raises(InvalidInput, match=r"cpm_light\.onnx is already there"):
        export_cpm.main(["--checkpoint", str(tmp_path / "last.pt"), "--out", str(out)])
    out.rename(tmp_path / "moved.onnx")
    with pytest.raises(InvalidInput, match=r"cpm_light\.md is already there"):
        export_cpm.main(["--checkpoint", str(tmp_path / "last.pt"), "--out", str(out)])
    assert export_cpm.main(["--checkpoint", str(tmp_path / "last.pt"), "--out", str(out), "--overwrite"]) == 0

    with pytest.raises(InvalidInput, match="holds a run; --resume goes on with it, or give another --out"):
        train_cpm.Trainer(settings(tmp_path))
    continued = train_cpm.Trainer(settings(tmp_path / "next", init=out))
    continued.run()
    assert (tmp_path / "next" / "last.pt").is_file()


def test_several_checkpoints_make_a_committee(tmp_path: Path) -> None:
    for name in ("hand", "hand", "light"):
        weights = cpm_networks.build(name).state_dict()
        path = tmp_path / f"{name}{len(list(tmp_path.glob('*.pt')))}.pt"
        checkpoint.save(path, name=name, average=weights, samples=7, minutes=1.0)
    out, two = tmp_path / "two.onnx", ["--checkpoint", str(tmp_path / "hand0.pt"), str(tmp_path / "hand1.pt")]
    assert export_cpm.main([*two, "--out", str(out)]) == 0
    card = out.with_suffix(".md").read_text()
    assert "6.18 M" in card and "7 samples in 1 min; 7 samples in 1 min" in card
    with pytest.raises(InvalidInput, match="these checkpoints are of hand, hand, light"):
        export_cpm.main([*two, str(tmp_path / "light2.pt"), "--out", str(tmp_path / "three.onnx")])


def test_runs_that_went_on_are_merged(tmp_path: Path) -> None:
    paths, means = [], []
    for i in range(2):
        network = cpm_networks.build("hand")
        for norm in (m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)):
            norm.running_var.fill_(4.0**i)
        for weights in (p for p in network.parameters() if not p.any()):  # the export leaves out what is 0
            torch.nn.init.normal_(weights, std=0.1)
        paths.append(tmp_path / f"{i}.pt")
        checkpoint.save(paths[-1], name="hand", average=network.state_dict(), samples=i + 1, minutes=1.0)
        means.append(checkpoint.fold_norms(network).state_dict())
    one = export_cpm.merged([export_cpm.read(path) for path in paths])
    for key, value in one["folded"].items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (means[0][key] + means[1][key]) / 2)
    out = tmp_path / "one.onnx"
    assert export_cpm.main(["--checkpoint", *map(str, paths), "--merge", "2", "--out", str(out)]) == 0
    assert (
        "1 samples in 1 min, then 2 samples in 1 min, mean of the weights"
        in out.with_suffix(".md").read_text()
    )
    again = [str(out), str(paths[1])]  # an exported file stands for its weights
    assert export_cpm.main(["--checkpoint", *again, "--merge", "2", "--out", str(tmp_path / "b.onnx")]) == 0
    assert "one.onnx, then 2 samples in 1 min" in (tmp_path / "b.md").read_text()
    with pytest.raises(InvalidInput, match=r"--merge 3 wants 1 \.\. 2"):
        export_cpm.main(["--checkpoint", *map(str, paths), "--merge", "3", "--out", str(tmp_path / "c.onnx")])


def test_the_baseline_trains_and_exports(tmp_path: Path, made_up: None) -> None:
    trainer = train_cpm.Trainer(settings(tmp_path, network="resnet34", minutes=0.01))
    trainer.run()
    assert trainer.steps >= 1
    out = tmp_path / "resnet34.onnx"
    assert export_cpm.main(["--checkpoint", str(tmp_path / "last.pt"), "--out", str(out)]) == 0
    from rt_hands.training.export import run_onnx

    given = run_onnx(out, {"image": np.zeros((2, 3, 224, 224), np.float32)})
    assert given["points"].shape == (2, 170, 2) and given["presence"].shape == (2, 2)


def test_the_baseline_learns_from_hints_too(tmp_path: Path, made_up: None) -> None:
    teacher = tmp_path / "teacher.pt"
    torch.manual_seed(0)
    checkpoint.save(teacher, name="hand", average=cpm_networks.HandCpm().state_dict())
    run = tmp_path / "run"
    given = settings(run, network="resnet34", minutes=0.1, hints=teacher)
    train_cpm.Trainer(given).run()
    state = checkpoint.load(run / "last.pt")
    losses = [json.loads(line)["hints"] for line in (run / "curve.jsonl").read_text().splitlines()]
    assert 0 < losses[-1] < 2
    given.resume = True
    again = train_cpm.Trainer(given)
    assert again.hints is not None
    torch.testing.assert_close(again.hints.state_dict(), state["hints"])
    with pytest.raises(InvalidInput, match="'resnet34', not for 'light'"):
        train_cpm.Trainer(settings(tmp_path / "light", hints=teacher))
    checkpoint.save(teacher, name="light", average={})
    with pytest.raises(InvalidInput, match=r"teacher\.pt is 'light'"):
        train_cpm.Trainer(given)


def test_a_share_of_the_hands_is_told(tmp_path: Path, made_up: None, monkeypatch: pytest.MonkeyPatch) -> None:
    start = tmp_path / "start.pt"
    checkpoint.save(start, name="hand", average=cpm_networks.HandCpm().state_dict())
    heard: list[torch.Tensor | None] = []
    plain = cpm_networks.HandCpm.prior

    def spy(self: cpm_networks.HandCpm, *args: torch.Tensor) -> torch.Tensor:
        heard.append(args[3])
        return plain(self, *args)

    monkeypatch.setattr(cpm_networks.HandCpm, "prior", spy)
    for share in (0.0, 0.9):
        trainer = train_cpm.Trainer(settings(tmp_path / "run", network="hand", init=start, given=share))
        points = torch.rand(3, 170, 2) * 200
        image = torch.zeros(3, 224, 224, 3, dtype=torch.uint8)
        trainer.loss(Batch(image, points, torch.ones(3, 170), torch.ones(3, 2)))
    assert heard[0] is None
    assert heard[1] is not None and (heard[1] > 0).float().mean() > 0.4


def test_hints_reach_every_layer_and_their_loss_is_a_share() -> None:
    torch.manual_seed(0)
    hints, network = Hints(cpm_networks.HandCpm()), ResNet34().train()
    hints.train()
    image = torch.rand(4, 3, 112, 112)
    loss = hints.loss(image, network.features(image))
    loss.backward()
    assert 0.5 < loss.item() < 3
    body = dict(network.body.named_parameters())
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in body.values())
    assert all(p.grad is None for p in hints.teacher.parameters())
    points, presence = network.eval()(image)
    assert points.shape == (4, 170, 2) and presence.shape == (4, 2)


class TwoSprites:
    """Two made-up rendered hands, as a folder of shards would give them."""

    def all(self) -> list[compose.Sprite]:
        rgba = np.full((60, 60, 4), 255, np.uint8)
        return [compose.Sprite(rgba, picture(i).points_px / 2, np.ones((2, 85), bool)) for i in range(2)]


def test_a_run_composed_on_the_device(tmp_path: Path, made_up: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sprite_source, "open_sprites", lambda folder: TwoSprites())
    changes = {"compose": "device", "sprites": tmp_path, "minutes": 0.005, "val_pictures": 0}
    trainer = train_cpm.Trainer(settings(tmp_path, **changes))
    trainer.run()
    assert trainer.steps >= 1 and trainer.samples == 4 * trainer.steps


def test_trained_trunk_needs_its_weights(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="--trunk or --init"):
        train_cpm.prepare_network(settings(tmp_path, network="hand"))


def test_first_layers_of_the_trunk_stay_and_the_rest_learns_slower(tmp_path: Path) -> None:
    network = cpm_networks.build("hand")
    train_cpm.freeze(network, on_cpu=True)
    free = [name for name, p in network.named_parameters() if p.requires_grad]
    assert not any(name.startswith(("trunk.stem", "trunk.blocks.0.", "trunk.blocks.1.")) for name in free)
    assert "trunk.blocks.3.expand.weight" in free and "trunk.blocks.3.depthwise.weight" not in free
    groups = train_cpm.optimiser(network, settings(tmp_path, network="hand")).param_groups
    assert [g["peak"] for g in groups] == [2e-3, 3e-4]
    assert sum(len(g["params"]) for g in groups) == len(free)


def test_letterbox_keeps_points_on_their_pixels() -> None:
    image = np.zeros((60, 100, 3), np.uint8)
    image[30, 80] = 255
    square, points = validate.letterbox(image, np.array([[80.0, 30.0]], np.float32), size=200)
    weight = square[..., 0].astype(float)
    y, x = np.indices(weight.shape)
    found = [(x * weight).sum() / weight.sum(), (y * weight).sum() / weight.sum()]
    np.testing.assert_allclose(found, points[0], atol=0.1)  # measured 0.02 px


def test_what_is_no_checkpoint_is_a_sentence(tmp_path: Path) -> None:
    whole, foreign = tmp_path / "whole.pt", tmp_path / "foreign.pt"
    checkpoint.save(whole, name="light", average=cpm_networks.build("light").state_dict())
    torch.save({"model": torch.zeros(3)}, foreign)
    cut, clip, onnx = tmp_path / "cut.pt", tmp_path / "clip.mp4", tmp_path / "cut.onnx"
    cut.write_bytes(whole.read_bytes()[:5000])
    clip.write_bytes(bytes(range(256)) * 9)
    onnx.write_bytes(clip.read_bytes())
    for path in (cut, clip, foreign):
        with pytest.raises(InvalidInput, match=f"{path.name} is no checkpoint of train_cpm"):
            export_cpm.main(["--checkpoint", str(path), "--out", str(tmp_path / "o.onnx")])
        with pytest.raises(InvalidInput, match=f"{path.name} is no checkpoint of train_cpm"):
            train_cpm.prepare_network(settings(tmp_path, init=path))
        with pytest.raises(InvalidInput, match=f"{path.name} is no checkpoint of train_cpm"):
            hints.load_hints(path)
    with pytest.raises(InvalidInput, match=r"cut\.onnx is no ONNX network that can be read"):
        export_cpm.main(["--checkpoint", str(onnx), "--out", str(tmp_path / "o.onnx")])
    with pytest.raises(InvalidInput, match=r"whole\.pt is a checkpoint of 'light', not of 'hand'"):
        train_cpm.prepare_network(settings(tmp_path, network="hand", init=whole))


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"last\.pt\.$"):
        checkpoint.load(tmp_path / "last.pt")
    with pytest.raises(InvalidInput, match=r"last\.pt\. Start without --resume"):
        train_cpm.Trainer(settings(tmp_path, network="hand", resume=True))
