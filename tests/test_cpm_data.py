"""Training samples: points follow the pixels through every warp, sides follow mirrors, hidden points weigh less."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install rt_hands[train]")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from rt_hands.training import augment, compose, loader, sprite_source  # noqa: E402
from rt_hands.training.augment import photometric  # noqa: E402
from rt_hands.training.pictures import Picture  # noqa: E402

BACKGROUND = [np.full((120, 160, 3), 40, np.uint8)]


def hand_points(centre: tuple[float, float], spread: float, seed: int = 0) -> np.ndarray:
    return (np.array(centre) + np.random.default_rng(seed).uniform(-spread, spread, (85, 2))).astype(
        np.float32
    )


def one_hand(side: int, centre: tuple[float, float], spread: float) -> np.ndarray:
    points = np.full((2, 85, 2), np.nan, np.float32)
    points[side] = hand_points(centre, spread)
    return points


def dotted_picture(side: int) -> Picture:
    """A black picture with a white dot on joint 8 of one hand."""
    points = one_hand(side, (150, 120), 60)
    image = np.zeros((240, 300, 3), np.uint8)
    cv2.circle(image, tuple(int(v) for v in points[side, 8].round()), 6, (255, 255, 255), -1)
    points[side, 8] = points[side, 8].round()
    _, packed = cv2.imencode(".png", image)
    trust = np.zeros((2, 85), np.float32)
    trust[side, :21] = 1
    return Picture(packed.ravel(), points, trust, np.array([side == 0, side == 1]), "made/one.png")


def brightest(image: np.ndarray) -> np.ndarray:
    weight = np.maximum(image[..., 0].astype(float) - 128, 0)
    y, x = np.indices(weight.shape)
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples without a camera's flaws, on black."""
    monkeypatch.setattr(compose, "photometric", lambda image, rng: image)
    monkeypatch.setattr(compose, "random_canvas", lambda size, *_, **__: np.zeros((size, size, 3), np.uint8))


@pytest.mark.parametrize("side", [0, 1])
def test_points_of_real_samples_stay_on_their_pixels(plain: None, side: int) -> None:
    sides, worst = set(), 0.0
    for seed in range(25):
        sample = compose.real_sample(dotted_picture(side), 224, BACKGROUND, np.random.default_rng(seed))
        hand = int(np.isfinite(sample.points[85, 0]))
        sides.add(hand)
        assert np.isnan(sample.points[(1 - hand) * 85 :][:85]).all()
        assert (sample.weight[(1 - hand) * 85 :][:85] == 1).all()
        assert (sample.weight[hand * 85 :][21:85] == 0).all() and (sample.weight[hand * 85 :][:21] == 1).all()
        at = sample.points[hand * 85 + 8]
        if (at > 12).all() and (at < 212).all():
            worst = max(worst, float(np.abs(brightest(sample.image) - at).max()))
    assert sides == {0, 1}
    assert 0 < worst < 0.9  # px; measured 0.45


def test_the_share_of_close_looks_is_the_mix_s(plain: None) -> None:
    def away_px(close: float) -> float:
        mix = loader.Mix(rendered=0.5, real=0.5, close=close)
        samples = loader.Stream([dotted_picture(0)], BACKGROUND, OneSprite(), loader.Clock(1e9), mix, 0)
        rng = np.random.default_rng(0)
        points = [samples.sample(224, rng).points.reshape(2, 85, 2) for _ in range(40)]
        hands = [one[int(np.isfinite(one[1, 0, 0]))] for one in points]
        return float(np.mean([np.linalg.norm((h.min(0) + h.max(0)) / 2 - 112) for h in hands]))

    assert away_px(1.0) < 20 < 25 < away_px(0.0)


@pytest.mark.parametrize("scale", [0.12, 0.3, 0.55, 0.8])
def test_a_picture_that_is_shrunk_stays_under_its_labels(scale: float) -> None:
    image = np.zeros((400, 400, 3), np.uint8)
    cv2.circle(image, (230, 170), 40, (255, 255, 255), -1)
    matrix = np.array([[scale, 0, 20.3], [0, scale, 11.7]])
    wanted = compose.apply(matrix, np.array([[230, 170]], np.float32))[0]
    pasted = compose.paste(image, matrix, np.zeros((400, 400, 3), np.uint8))[..., 0]
    sprite = compose.Sprite(
        cv2.merge([image, image[..., :1]]), one_hand(0, (230, 170), 40), np.ones((2, 85), bool)
    )
    alpha = compose.blend(np.zeros((400, 400, 3), np.uint8), sprite, matrix)
    for drawn in (pasted, alpha):
        moments = cv2.moments(drawn.astype(np.float32))
        centre = moments["m10"] / moments["m00"], moments["m01"] / moments["m00"]
        np.testing.assert_allclose(centre, wanted, atol=0.04)


def square_sprite() -> compose.Sprite:
    """A right hand: an opaque square with points in it."""
    rgba = np.zeros((100, 100, 4), np.uint8)
    rgba[20:80, 20:80] = 255
    return compose.Sprite(rgba, one_hand(0, (50, 50), 28), np.repeat([[True], [False]], 85, 1))


def test_sprites_are_drawn_where_their_points_say(plain: None) -> None:
    for seed in range(10):
        sample = compose.sprite_sample(square_sprite(), None, 160, BACKGROUND, np.random.default_rng(seed))
        hand = int(np.isfinite(sample.points[85, 0]))
        at = sample.points[hand * 85 :][:85].round().astype(int)
        inside = ((at >= 1) & (at < 159)).all(1)
        assert (sample.image[at[inside, 1], at[inside, 0], 0] > 100).mean() > 0.97
        assert sample.present[1 - hand] == 0


def test_either_hand_of_two_is_laid_over_the_other_and_hides_its_points(plain: None) -> None:
    hidden = set()
    for seed in range(24):
        sprite = square_sprite()
        sample = compose.sprite_sample(sprite, sprite, 160, BACKGROUND, np.random.default_rng(seed))
        assert np.isfinite(sample.points[:, 0]).all()
        assert set(np.unique(sample.weight)) <= {np.float32(compose.HIDDEN_WEIGHT), np.float32(1)}
        of_hand = {hand for hand in range(2) if (sample.weight[85 * hand :][:85] < 1).any()}
        assert len(of_hand) < 2
        hidden |= of_hand
    assert hidden == {0, 1}


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000))
def test_flip_swaps_hands_and_undoes_itself(seed: int) -> None:
    points = one_hand(seed % 2, (40, 60), 30)
    flipped = compose.flip_hands(points, 100)
    assert np.isfinite(flipped[1 - seed % 2]).all() and np.isnan(flipped[seed % 2]).all()
    np.testing.assert_allclose(compose.flip_hands(flipped, 100), points, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.floats(20, 200), st.floats(10, 150))
def test_affine_brings_the_centre_to_its_place(seed: int, side: float, fill: float) -> None:
    rng = np.random.default_rng(seed)
    matrix = compose.random_affine(np.array([30.0, 70.0], np.float32), side, (100.0, 90.0), fill, rng)
    np.testing.assert_allclose(
        compose.apply(matrix, np.array([[30, 70]], np.float32))[0], [100, 90], atol=1e-3
    )
    assert np.sqrt(np.linalg.det(matrix[:, :2])) == pytest.approx(fill / side, rel=1e-6)


def test_camera_flaws_keep_shape_and_kind() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    for seed in range(40):
        made = photometric(image.copy(), np.random.default_rng(seed))
        assert made.shape == image.shape and made.dtype == np.uint8


def test_far_hands_stay_where_they_are() -> None:
    for seed in range(60):
        image = np.zeros((224, 224, 3), np.uint8)
        at = np.random.default_rng(seed).integers(60, 160, 2)
        cv2.circle(image, (int(at[0]), int(at[1])), 14, (255, 255, 255), -1)
        made = augment.far(image, np.random.default_rng(seed))
        np.testing.assert_allclose(brightest(made), at, atol=1.0)


def test_flaws_of_far_hands_are_as_coarse_as_their_pixels() -> None:
    """Two pixels of the crop that are one of the camera's have the same noise."""
    grey = np.full((224, 224, 3), 128, np.uint8)
    alike = []
    for seed in range(40):
        noise = augment.far(grey, np.random.default_rng(seed)).astype(float)[60:-60, 60:-60].mean(2)
        noise -= noise.mean()
        if noise.std() > 1:
            alike.append((noise[:, 1:] * noise[:, :-1]).mean() / noise.var())
    assert len(alike) > 5 and np.median(alike) > 0.6


def test_empty_samples_have_no_hand() -> None:
    sample = compose.empty_sample([dotted_picture(0)], 96, BACKGROUND, np.random.default_rng(3))
    assert np.isnan(sample.points).all() and (sample.weight == 1).all() and (sample.present == 0).all()


class OneSprite:
    """Always the same sprite."""

    def draw(self, rng: np.random.Generator) -> compose.Sprite:
        return square_sprite()


def stream(minutes: float = 1e9, done: float = 0.0, size_px: int | None = None) -> loader.Stream:
    clock = loader.Clock(minutes, done)
    mix = loader.Mix(batch_px=6 * 136 * 136)
    return loader.Stream([dotted_picture(0)], BACKGROUND, OneSprite(), clock, mix, 0, size_px)


def test_batches_keep_to_their_pixels() -> None:
    batches = iter(stream())
    for _ in range(6):
        batch = next(batches)
        size = batch.image.shape[1]
        assert size in loader.SIZES_PX
        assert batch.image.dtype == torch.uint8 and tuple(batch.points.shape[1:]) == (170, 2)
        assert len(batch.image) == max(4, round(6 * 136 * 136 / size**2))
    assert next(iter(stream(size_px=224))).image.shape[1:] == (224, 224, 3)


def test_late_batches_are_larger() -> None:
    rng = np.random.default_rng(0)
    early, late = ([loader.size_at(p, rng) for _ in range(300)] for p in (0.1, 0.9))
    assert np.mean(early) + 40 < np.mean(late)


def test_progress_counts_the_minutes_before_a_resume() -> None:
    assert loader.Clock(100, done=25).progress() == pytest.approx(0.25, abs=1e-3)
    assert loader.Clock(1, done=5).progress() == 1


def test_small_sets_and_pairs_come_more_often() -> None:
    one, two = dotted_picture(0), dotted_picture(0)
    both = Picture(two.packed, two.points_px, two.trust, np.array([True, True]), "other/two.png")
    odds = loader.picture_odds([one] * 9 + [both])
    assert odds.sum() == pytest.approx(1)
    assert odds[-1] / odds[0] == pytest.approx(2.5 * 3)


def test_fists_come_more_often() -> None:
    """A thumb that sticks out is a fist, too; one straight finger is none."""
    open_hand = dotted_picture(0)
    points = np.zeros((2, 85, 2), np.float32)
    points[0, :21, 1] = -40
    points[0, 0] = 0
    points[0, 4] = [60, -80]
    fist = Picture(open_hand.packed, points, open_hand.trust, np.array([True, False]), "made/fist.png")
    pointing = points.copy()
    pointing[0, 8, 1] = -90
    other = Picture(open_hand.packed, pointing, open_hand.trust, np.array([True, False]), "made/point.png")
    odds = loader.picture_odds([other, fist])
    assert odds[1] / odds[0] == pytest.approx(loader.FIST_ODDS)


def test_sprites_are_drawn_alike_until_new_ones_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest quarter was the last by name: two.tar, of 8 sprites here, had 62 % of the draws."""
    held = {"one": range(8), "two": range(8, 16), "three": range(16, 32)}
    monkeypatch.setattr(
        sprite_source.shards, "read_samples", lambda paths: [("", i) for p in paths for i in held[p.stem]]
    )
    monkeypatch.setattr(sprite_source, "unpack", lambda sample: sample)
    for name in ("one", "two"):
        (tmp_path / f"{name}.tar").touch()
    folder, rng = sprite_source.FolderSprites(tmp_path), np.random.default_rng(0)
    draws = np.array([folder.draw(rng) for _ in range(4000)])
    assert abs((draws >= 8).mean() - 0.5) < 0.03
    (tmp_path / "three.tar").touch()
    monkeypatch.setattr(folder, "_looked", -sprite_source.RESCAN_S)
    monkeypatch.setattr(sprite_source.time, "monotonic", lambda: 1.0)
    draws = np.array([folder.draw(rng) for _ in range(4000)])
    assert abs((draws >= 24).mean() - (0.25 + 0.75 / 4)) < 0.03


def test_noise_is_in_all_colours() -> None:
    """It was in red alone: OpenCV takes a plain number for the first channel's."""
    noisy = augment._noise(np.full((64, 64, 3), 128, np.uint8), np.random.default_rng(0))
    spread = noisy.std((0, 1))
    assert spread.min() > 1.5 and spread.max() < 1.1 * spread.min()
