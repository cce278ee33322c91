"""Batches composed on the device agree with their truth: points on their pixels, sides, unknown points."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install rt_hands[train]")

import cv2  # noqa: E402

from rt_hands.training import device_compose  # noqa: E402
from rt_hands.training.compose import Sprite  # noqa: E402
from rt_hands.training.loader import Mix  # noqa: E402
from rt_hands.training.pictures import Picture  # noqa: E402

CPU = torch.device("cpu")


def points(seed: int) -> np.ndarray:
    made = np.full((2, 85, 2), np.nan, np.float32)
    made[0] = 50 + np.random.default_rng(seed).uniform(-25, 25, (85, 2))
    return made


def sprite(seed: int) -> Sprite:
    """A right hand: an opaque white square with its points inside."""
    rgba = np.zeros((100, 100, 4), np.uint8)
    rgba[20:81, 20:81] = 255
    return Sprite(rgba, points(seed), np.repeat([[True], [False]], 85, 1))


def picture() -> Picture:
    image = np.zeros((100, 100, 3), np.uint8)
    image[20:81, 20:81] = 255
    _, packed = cv2.imencode(".png", image)
    trust = np.zeros((2, 85), np.float32)
    trust[0, :21] = 1
    return Picture(packed.ravel(), points(9), trust, np.array([True, False]), "made/x.png")


def stream(rendered: float, real: float) -> device_compose.DeviceStream:
    sprites = device_compose.sprite_bank([sprite(i) for i in range(3)], CPU)
    pictures = device_compose.picture_bank([picture()], CPU)
    black = device_compose.background_stack([np.zeros((64, 64, 3), np.uint8)], CPU)
    return device_compose.DeviceStream(sprites, pictures, black, Mix(rendered, real), 24, 96, seed=3)


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_compose.DeviceStream, "_flaws", lambda self, image: image)
    black = torch.zeros(24, 3, 96, 96)
    monkeypatch.setattr(device_compose.DeviceStream, "_canvas", lambda self: black)


@pytest.mark.parametrize("shares", [(1.0, 0.0), (0.0, 1.0)])
def test_points_lie_on_the_hand(plain: None, shares: tuple[float, float]) -> None:
    batch = stream(*shares).batch()
    there = torch.isfinite(batch.points[..., 0])
    assert there.view(24, 2, 85).all(2).any(1).all()
    at = torch.nan_to_num(batch.points, nan=-1).round().long()
    inside = there & ((at >= 1) & (at < 95)).all(-1)
    index = at.clamp(0, 95)
    colour = batch.image[torch.arange(24)[:, None], index[..., 1], index[..., 0], 0]
    assert float((colour[inside] > 100).float().mean()) > 0.98


def test_both_sides_pairs_and_empty_pictures_come() -> None:
    batch = stream(0.6, 0.2).batch()
    hands = torch.isfinite(batch.points[:, [0, 85], 0])
    assert {tuple(row) for row in hands.tolist()} == {
        (True, False),
        (False, True),
        (True, True),
        (False, False),
    }
    assert batch.image.dtype == torch.uint8 and tuple(batch.image.shape) == (24, 96, 96, 3)
    assert not batch.present[~hands].any()
    assert (batch.weight.view(24, 2, 85)[~hands] == 1).all()


def test_unlabelled_points_of_real_pictures_stay_unknown() -> None:
    batch = stream(0.0, 1.0).batch()
    hands = torch.isfinite(batch.points[:, [0, 85], 0])
    weight = batch.weight.view(24, 2, 85)[hands]
    assert (weight[:, 21:] == 0).all() and (weight[:, :21] == 1).all()


def test_the_same_seed_gives_the_same_batches() -> None:
    one, two = stream(0.6, 0.3).batch(), stream(0.6, 0.3).batch()
    assert all(
        torch.equal(torch.nan_to_num(a.float()), torch.nan_to_num(b.float()))
        for a, b in zip(one, two, strict=True)
    )


def test_warp_agrees_with_opencv() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    matrix = np.array([[1.3, -0.4, 5.0], [0.3, 1.1, -2.0]])
    ours = device_compose.warp(
        torch.from_numpy(image).permute(2, 0, 1)[None], torch.from_numpy(matrix).float()[None], 60
    )
    theirs = cv2.warpAffine(image.astype(np.float32), matrix, (60, 60), flags=cv2.INTER_LINEAR)
    away = np.abs(ours[0].permute(1, 2, 0).numpy() - theirs)
    assert np.percentile(away, 95) < 6  # OpenCV rounds places to 1/32 px; measured 3.5 of 255 on noise


def test_far_pictures_keep_their_light_and_have_coarse_noise() -> None:
    made_by, grey, alike = stream(1.0, 0.0), torch.full((24, 3, 96, 96), 0.5), []
    for _ in range(30):
        noise = made_by._far(grey) - 0.5
        assert abs(float(noise.mean())) < 0.01
        noise = noise[noise.flatten(1).std(1) > 0.005]
        if len(noise):
            alike.append(float((noise[..., 1:] * noise[..., :-1]).mean() / noise.var()))
    assert len(alike) > 3 and min(alike) > 0.2
