"""Networks, training and export of RTC on a toy hand: shapes, geometry, determinism, resume, parity."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install 'rt_hands[train]'")
onnx = pytest.importorskip("onnx", reason="export needs onnx: pip install 'rt_hands[train]'")

from scipy.spatial.transform import Rotation  # noqa: E402

from rt_hands.errors import InvalidInput  # noqa: E402
from rt_hands.lifting.canonical import PALM_JOINTS, PALM_TEMPLATE, canonicalise  # noqa: E402
from rt_hands.lifting.rtc import Rtc  # noqa: E402
from rt_hands.training.export import export_onnx, parity, sha256_of, write_card  # noqa: E402
from rt_hands.training.export_rtc import export_run  # noqa: E402
from rt_hands.training.rtc_data import (  # noqa: E402
    Pool,
    Spoil,
    add_noise,
    draw_pool,
    drop_joints,
    make_batch,
    random_rotations,
)
from rt_hands.training.rtc_networks import BoneFrames, build, finger_bones, transport  # noqa: E402
from rt_hands.training.train_rtc import Trainer, Training, learning_rate_at  # noqa: E402

KINDS = ("rtc1", "rtc2", "rtc")


@dataclasses.dataclass(frozen=True)
class ToyBatch:
    joints_mm: np.ndarray
    surface_mm: np.ndarray
    visible: np.ndarray


class ToySampler:
    """Hands of a template palm and curling fingers; skin at fixed offsets from the joints. Same batch every time."""

    def batch(self, index: int, n: int) -> ToyBatch:
        rng = np.random.default_rng((3, index))
        joints = np.zeros((n, 21, 3))
        joints[:, PALM_JOINTS] = PALM_TEMPLATE * 95
        curl = rng.uniform(0, 1.2, (n, 5))
        for f in range(5):
            for k in range(3):
                angle = curl[:, f] * (k + 1)
                bone = np.stack([0 * angle, np.cos(angle), np.sin(angle)], 1) * (40 - 8 * k)
                joints[:, 2 + 4 * f + k] = joints[:, 1 + 4 * f + k] + bone
        at = np.arange(64) % 20
        surface = (joints[:, at] + joints[:, at + 1]) / 2 + 8 * np.random.default_rng(0).normal(size=(64, 3))
        turn = random_rotations(rng, n).transpose(0, 2, 1)
        visible = np.repeat(curl.mean(1, keepdims=True) < 0.6, 64, axis=1)
        return ToyBatch((joints @ turn).astype("f4"), (surface @ turn).astype("f4"), visible.astype("f4"))


@pytest.fixture(scope="module")
def pool() -> Pool:
    return draw_pool(ToySampler(), 600)


def config(out: Path, **changes: object) -> Training:
    """A run of 12 steps."""
    base = Training(out=out, kind="rtc", samples=12 * 32, batch=32, width=16, pool=600)
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def trained(out: Path, pool: Pool, **changes: object) -> Trainer:
    trainer = Trainer(config(out, **changes), pool, pool.take(np.arange(50)))
    trainer.run()
    return trainer


def weights_of(trainer: Trainer) -> np.ndarray:
    return torch.cat([p.detach().flatten() for p in trainer.module.parameters()]).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_networks_give_64_points_and_logits(kind: str) -> None:
    surface, logits = build(kind, 16)(torch.randn(5, 21, 3), torch.ones(5, 21))
    assert surface.shape == (5, 64, 3) and logits.shape == (5, 64)


def test_rtc2_points_are_independent_networks() -> None:
    net = build("rtc2", 16)
    joints, valid = torch.randn(4, 21, 3), torch.ones(4, 21)
    before, _ = net(joints, valid)
    with torch.no_grad():
        for layer in net.layers:
            layer.weight[7] += 0.1
    after, _ = net(joints, valid)
    changed = (after - before).abs().amax((0, 2)) > 0
    assert changed.nonzero().flatten().tolist() == [7]


@pytest.mark.parametrize("kind", KINDS)
def test_missing_joints_are_not_read(kind: str) -> None:
    net = build(kind, 16)
    valid = torch.ones(3, 21)
    valid[:, 6] = 0
    one, two = torch.randn(3, 21, 3), None
    two = one.clone()
    two[:, 6] = 5.0
    torch.testing.assert_close(net(one, valid), net(two, valid), rtol=0, atol=0)


def test_transport_is_the_smallest_rotation() -> None:
    rng = np.random.default_rng(0)
    start, end = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    basis = Rotation.align_vectors([start], [[1, 0, 0]])[0].as_matrix().T  # rows; row 0 along start
    axis = np.cross(start, end)
    angle = np.arctan2(np.linalg.norm(axis), start @ end)
    oracle = Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle).apply(basis)
    turned = transport(*(torch.tensor(x) for x in (basis, start, end)))
    np.testing.assert_allclose(turned.numpy(), oracle, atol=1e-12)


def test_bone_frames_are_orthonormal_and_lie_along_their_bones() -> None:
    joints, _, _ = canonicalise(ToySampler().batch(0, 20).joints_mm, np.zeros(20, int))
    bones = finger_bones(torch.from_numpy(joints))
    frames, _, length = BoneFrames()(bones)
    gram = frames @ frames.transpose(-1, -2)
    torch.testing.assert_close(gram, torch.eye(3).expand_as(gram), rtol=0, atol=3e-5)  # measured 8e-6
    torch.testing.assert_close(frames[..., 0, :] * length[..., None], bones, rtol=0, atol=1e-5)


def test_straight_and_folded_fingers_have_frames() -> None:
    joints = torch.zeros(1, 21, 3)
    joints[0, 1:, 1] = torch.arange(1, 21).float()  # all on a line
    joints[0, 8] = joints[0, 6]  # a bone folded right back
    frames, _, _ = BoneFrames()(finger_bones(joints))
    assert torch.isfinite(frames).all()
    assert torch.isfinite(build("rtc", 16)(torch.zeros(1, 21, 3), torch.ones(1, 21))[0]).all()


def test_rotations_are_proper() -> None:
    turn = random_rotations(np.random.default_rng(0), 100)
    np.testing.assert_allclose(turn @ turn.transpose(0, 2, 1), np.tile(np.eye(3), (100, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(turn), 1, atol=1e-12)


def test_noise_has_its_share_of_clean_hands_and_its_size() -> None:
    rng = np.random.default_rng(0)
    joints = np.zeros((4000, 21, 3))
    shift = np.linalg.norm(add_noise(joints, Spoil(), rng), axis=-1)
    clean = (shift == 0).all(1)
    assert abs(clean.mean() - 0.4) < 0.03
    assert (
        2.5 < shift[~clean].mean() < 5.0
    )  # measured 3.9: mean level 2 mm x 1.6 for three axes x the stretch


def test_dropped_joints_are_one_to_four() -> None:
    spoilt = drop_joints(np.ones((2000, 21, 3)), Spoil(drop_share=1.0), np.random.default_rng(0))
    count = np.isnan(spoilt[..., 0]).sum(1)
    assert set(count) == {1, 2, 3, 4}


def test_clean_batch_only_changes_the_frame(pool: Pool) -> None:
    rng = np.random.default_rng(0)
    batch = make_batch(pool.take(np.arange(10)), True, None, rng)
    torch.testing.assert_close(batch.joints, batch.true)
    raw = make_batch(pool.take(np.arange(10)), False, None, rng)
    np.testing.assert_allclose(raw.joints.numpy() * 100, pool.joints_mm[:10], atol=1e-4)
    lengths = [
        torch.linalg.vector_norm(b.surface[:, 0] - b.surface[:, 50], dim=-1) * b.mm for b in (batch, raw)
    ]
    torch.testing.assert_close(*lengths, rtol=1e-4, atol=0)


def test_pool_is_kept_and_reused(tmp_path: Path) -> None:
    class Counting(ToySampler):
        calls = 0

        def batch(self, index: int, n: int) -> ToyBatch:
            Counting.calls += 1
            return super().batch(index, n)

    first = draw_pool(Counting(), 100, tmp_path / "pool.npy")
    second = draw_pool(Counting(), 100, tmp_path / "pool.npy")
    assert Counting.calls == 1
    draw_pool(Counting(), 100, tmp_path / "pool.npy", start=3)  # other hands
    other = Counting()
    other.seed = 4
    draw_pool(other, 100, tmp_path / "pool.npy", start=3)
    assert Counting.calls == 3
    np.testing.assert_array_equal(first.rows, second.rows)


def test_learning_rate_warms_up_then_falls_to_nothing() -> None:
    rates = [learning_rate_at(step, 1000, 1.0) for step in range(1001)]
    assert rates[0] == 0.05 and max(rates) == 1.0 and rates[-1] < 1e-9
    assert np.argmax(rates) in (19, 20)


def test_training_lowers_the_error(tmp_path: Path, pool: Pool) -> None:
    settings = {"kind": "rtc1", "augment": False, "width": 64}
    short = trained(tmp_path / "a", pool, samples=32, **settings).validate()[0]
    long = trained(tmp_path / "b", pool, samples=150 * 32, **settings).validate()[0]
    assert long < 0.5 * short  # measured 4.7 against 18.9 mm


def test_same_seed_same_weights_and_resume_changes_nothing(tmp_path: Path, pool: Pool) -> None:
    whole = trained(tmp_path / "whole", pool)
    again = trained(tmp_path / "again", pool)
    np.testing.assert_array_equal(weights_of(whole), weights_of(again))
    stopped = trained(tmp_path / "parts", pool, stop_after_s=0.0)
    assert stopped.step == 1
    resumed = trained(tmp_path / "parts", pool)
    assert resumed.step == whole.step
    np.testing.assert_allclose(weights_of(resumed), weights_of(whole), atol=1e-6)
    curve = (tmp_path / "whole" / "curve.csv").read_text().splitlines()
    assert curve[0].startswith("step,samples,seconds") and curve[-1].startswith(f"{whole.step},")


def test_a_process_stops_when_the_time_of_another_is_up(
    tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(config(tmp_path, stop_after_s=1e6), pool, pool.take(np.arange(50)))
    trainer.world = 2
    monkeypatch.setattr(torch.nn.parallel, "DistributedDataParallel", lambda module: module)
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda flag: flag.add_(1.0))
    trainer.run()
    assert trainer.step == 1 and trainer.checkpoint.exists()


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, pool: Pool) -> None:
    trained(tmp_path, pool)
    with pytest.raises(InvalidInput, match="other settings"):
        trained(tmp_path, pool, seed=1)


@pytest.mark.parametrize("kind", KINDS)
def test_exported_file_agrees_with_torch_and_runs(tmp_path: Path, pool: Pool, kind: str) -> None:
    trainer = trained(tmp_path, pool, kind=kind)
    path = export_run(trainer, pool.take(np.arange(50)))
    card = path.with_suffix(".md").read_text()
    assert sha256_of(path) in card and "Apache-2.0" in card and "mm on clean joints" in card
    surface, confidence = Rtc(str(path))(pool.joints_mm[:50], np.zeros(50, int))
    with torch.no_grad():
        wanted, logits = trainer.module.net(trainer.validation.joints, trainer.validation.valid)
    error = np.linalg.norm(surface - pool.surface_mm[:50], axis=-1).mean()
    np.testing.assert_allclose(error, trainer.validate()[0], rtol=1e-3)
    np.testing.assert_allclose(confidence, torch.sigmoid(logits), atol=2e-3)  # rtc2 is stored as float16
    assert wanted.shape == (50, 64, 3)


def test_half_storage_halves_the_file_and_keeps_float32_arithmetic(tmp_path: Path) -> None:
    net = torch.nn.Linear(128, 256)
    x = torch.randn(4, 128)
    whole = export_onnx(net, (x,), tmp_path / "whole.onnx", ["x"], ["y"], metadata={"normalise": "1"})
    half = export_onnx(net, (x,), tmp_path / "half.onnx", ["x"], ["y"], half_storage=True)
    assert half.stat().st_size < 0.55 * whole.stat().st_size
    assert parity(net, whole, {"x": x})["y"] < 1e-5
    assert parity(net, half, {"x": x})["y"] < 1e-3  # weights rounded at 2^-11
    assert {p.key: p.value for p in onnx.load(str(whole)).metadata_props} == {"normalise": "1"}


def test_weights_too_large_for_half_are_refused(tmp_path: Path) -> None:
    net = torch.nn.Linear(64, 64)
    torch.nn.init.constant_(net.weight, 1e6)
    with pytest.raises(InvalidInput, match="float16"):
        export_onnx(net, (torch.ones(1, 64),), tmp_path / "a.onnx", ["x"], ["y"], half_storage=True)


def test_card_lists_facts_and_notes(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"x")
    card = write_card(tmp_path / "net.onnx", "Net", "What it does.", {"seed": "3"}, ["Fails on gloves."])
    assert card.name == "net.md"
    text = card.read_text()
    assert "| seed | 3 |" in text and "- Fails on gloves." in text
