"""Batches composed on the device agree with their truth and with the shares of `compose`."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install rt_hands[train]")

import cv2  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

from rt_hands.training import device_compose  # noqa: E402
from rt_hands.training.compose import HIDDEN_WEIGHT, Sprite  # noqa: E402
from rt_hands.training.device_compose import DeviceStream  # noqa: E402
from rt_hands.training.loader import PAIR_SHARE, Mix  # noqa: E402
from rt_hands.training.pictures import Picture  # noqa: E402

CPU = torch.device("cpu")
MARKED = 5  # the point that lies on a red spot
SIZE = 144
GREEN = np.full((96, 128, 3), (0, 255, 0), np.uint8)


def points(middle: tuple[float, float], half: float, hands: tuple[bool, bool] = (True, False)) -> np.ndarray:
    made = np.full((2, 85, 2), np.nan, np.float32)
    for hand in np.flatnonzero(hands):
        rng = np.random.default_rng(int(hand))
        made[hand] = np.array(middle) + rng.uniform(-half, half, (85, 2))
        made[hand, :3] = np.array(middle) + ((-half, half), (half, -half), (half, half))
        made[hand, MARKED] = np.array(middle) + (18, -9 + 30 * hand)
    return made


def painted(where: np.ndarray, side: int, half: int, middle: int) -> np.ndarray:
    """A blue square with soft red spots at the marked points."""
    image = np.zeros((side, side, 3), np.float32)
    image[middle - half : middle + half + 1, middle - half : middle + half + 1, 2] = 200
    y, x = np.indices((side, side))
    for spot in where[:, MARKED][np.isfinite(where[:, 0, 0])]:
        image[..., 0] += 250 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / (2 * 1.6**2))
    return image.round().astype(np.uint8)


def sprite(hands: tuple[bool, bool] = (True, False)) -> Sprite:
    where = points((60, 60), 30, hands)
    rgba = np.dstack([painted(where, 120, 38, 60), np.zeros((120, 120), np.uint8)])
    rgba[22:99, 22:99, 3] = 255
    return Sprite(rgba, where, np.repeat(np.array(hands)[:, None], 85, 1))


def picture(side: int = 120, half: int = 30) -> Picture:
    """A hand's joints in the middle, on blue; where nothing is labelled, nothing is known."""
    where = points((side // 2, side // 2), half)
    _, packed = cv2.imencode(".png", painted(where, side, side // 2, side // 2)[..., ::-1])
    trust = np.zeros((2, 85), np.float32)
    trust[0, :21] = 1
    return Picture(packed.ravel(), where, trust, np.array([True, False]), "made/x.png")


def stream(
    mix: Mix,
    sprites: list[Sprite] | None = None,
    pictures: list[Picture] | None = None,
    backgrounds: list[np.ndarray] | None = None,
    seed: int = 3,
) -> DeviceStream:
    banks = (
        device_compose.sprite_bank(sprites or [sprite(), sprite((True, True))], CPU),
        device_compose.picture_bank(pictures or [picture()], CPU),
    )
    stack = device_compose.background_stack(backgrounds or [GREEN], CPU)
    return DeviceStream(*banks, stack, mix, 24, SIZE, seed)


@pytest.fixture
def no_flaws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but cut-outs, on black."""
    monkeypatch.setattr(device_compose.Flaws, "__call__", lambda self, image: image)
    monkeypatch.setattr(
        DeviceStream, "_canvas", lambda self, count, **shares: torch.zeros(count, 3, SIZE, SIZE)
    )


def misses(batch: device_compose.Batch, clear_px: float) -> np.ndarray:
    """How far the red spots lie from the marked points, px, where these are well inside and `clear_px` away from the
    other hand's points and 40 from its spot."""
    points = batch.points.view(-1, 2, 85, 2).numpy()
    away = []
    for n, hand in np.argwhere(np.isfinite(points[:, :, MARKED, 0])):
        x, y = points[n, hand, MARKED]
        other = np.nan_to_num(np.linalg.norm(points[n, 1 - hand] - (x, y), axis=1), nan=999)
        if not (20 < x < SIZE - 20 and 20 < y < SIZE - 20) or other[MARKED] < 40 or other.min() < clear_px:
            continue
        left, top = round(float(x)) - 14, round(float(y)) - 14
        red = batch.image[n, top : top + 29, left : left + 29, 0].numpy().astype(float)
        assert red.sum() > 100
        rows, columns = np.indices(red.shape)
        away.append(
            np.hypot((columns * red).sum() / red.sum() + left - x, (rows * red).sum() / red.sum() + top - y)
        )
    return np.array(away)


@pytest.mark.parametrize("longest", [384, 64])
@pytest.mark.parametrize("close", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["sprite", "two hands", "pair", "picture"])
def test_a_marked_pixel_lands_where_its_point_does(
    no_flaws: None, monkeypatch: pytest.MonkeyPatch, kind: str, close: float, longest: int
) -> None:
    monkeypatch.setattr(device_compose, "LONGEST_PX", longest)
    monkeypatch.setattr(device_compose, "PAIR_SHARE", 0.999 * (kind == "pair"))
    mix = Mix(0.0, 1.0, close) if kind == "picture" else Mix(1.0, 0.0, close)
    batch = stream(mix, [sprite((True, kind == "two hands"))]).batch(90)
    hands = torch.isfinite(batch.points[:, [0, 85], 0]).sum(1)
    assert (hands == (2 if kind in ("two hands", "pair") else 1)).all()
    away = misses(batch, clear_px=26 if kind == "pair" else 0)
    assert len(away) > 12
    assert away.max() < 0.5 and np.median(away) < 0.05  # spots are 1 px wide in small hands


def test_the_second_hand_hides_points_of_the_first(no_flaws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_compose, "PAIR_SHARE", 0.999)
    batch = stream(Mix(1.0, 0.0, 0.0), [sprite()]).batch(60)
    weight = batch.weight.view(60, 2, 85)
    assert set(weight.unique().tolist()) == {HIDDEN_WEIGHT, 1.0}
    under = (weight < 1).any(2)
    assert under.any(0).all()  # right hands over left ones and left over right
    assert not under.all(1).any()


def test_both_sides_pairs_and_empty_pictures_come() -> None:
    batch = stream(Mix(0.6, 0.2)).batch(48)
    hands = torch.isfinite(batch.points[:, [0, 85], 0])
    assert {tuple(row) for row in hands.tolist()} == {
        (True, False),
        (False, True),
        (True, True),
        (False, False),
    }
    assert batch.image.dtype == torch.uint8 and tuple(batch.image.shape) == (48, SIZE, SIZE, 3)
    assert not batch.present[~hands].any()
    assert (batch.weight.view(48, 2, 85)[~hands] == 1).all()


def test_batches_have_the_shares_of_the_mix(no_flaws: None) -> None:
    for number, batch in zip(range(6), stream(Mix(0.5, 0.25)), strict=False):
        assert tuple(batch.image.shape) == (24, SIZE, SIZE, 3), number
        unknown = (batch.weight == 0).any(1)
        empty = torch.isnan(batch.points).all(-1).all(1)
        assert abs(int(unknown.sum()) - 6) <= 1 and abs(int(empty.sum()) - 6) <= 1


@pytest.mark.parametrize("two, share", [(0, PAIR_SHARE), (2, PAIR_SHARE / 2), (1, 0.0)])
def test_a_share_of_lone_hands_become_pairs(no_flaws: None, two: int, share: float) -> None:
    """Sprites of two hands come as often as they are: two of four, all, or none."""
    sprites = {
        0: [sprite()],
        2: [sprite(), sprite((True, True)), sprite(), sprite((True, True))],
        1: [sprite((True, True))],
    }[two]
    batch = stream(Mix(1.0, 0.0, 0.0), sprites).batch(160)
    both = torch.isfinite(batch.points[:, [0, 85], 0]).all(1).float().mean()
    expected = share + {0: 0.0, 2: 0.5, 1: 1.0}[two]
    assert abs(float(both) - expected) < 0.12


def lengths(batch: device_compose.Batch) -> torch.Tensor:
    """(n, 2) how long the boxes of hands are, as shares of the picture; NaN absent. Squeezing changes a little."""
    hand = batch.points.view(-1, 2, 85, 2)
    return (hand[:, :, 0] - hand[:, :, 1]).norm(dim=-1) / 2**0.5 / SIZE


def test_only_hands_of_pairs_are_small_and_apart(no_flaws: None) -> None:
    """Sprites of two hands were as small as those of pairs, and as far from their place."""
    batch = stream(Mix(1.0, 0.0, 0.0), [sprite((True, True))]).batch(120)
    long = lengths(batch)
    assert float(long.min()) > 0.18 and 0.75 < float(long.max()) < 1.0  # 0.22 to 0.88, squeezed
    centre = batch.points.view(-1, 170, 2)[:, [0, 1]].mean(1) / SIZE
    room = ((1 - long[:, :1]) / 2 + 0.12 + 0.05).clamp(min=0)
    assert ((centre - 0.5).abs() <= room).all()
    pairs = stream(Mix(1.0, 0.0, 0.0), [sprite()]).batch(120)
    both = torch.isfinite(lengths(pairs)).all(1)
    assert float(lengths(pairs)[both].max()) < 0.75 < float(lengths(pairs)[~both].nan_to_num().max())


def test_unlabelled_points_of_real_pictures_stay_unknown() -> None:
    batch = stream(Mix(0.0, 1.0)).batch(24)
    hands = torch.isfinite(batch.points[:, [0, 85], 0])
    weight = batch.weight.view(24, 2, 85)[hands]
    assert (weight[:, 21:] == 0).all() and (weight[:, :21] == 1).all()


def green(image: torch.Tensor) -> torch.Tensor:
    """(n, 3, S, S) -> (n,): which pictures are all of the background's colour."""
    return ((image[:, 1] > 250) & (image[:, 0] < 5) & (image[:, 2] < 5)).flatten(1).all(1)


def test_canvases_of_rendered_and_of_real_pictures() -> None:
    made_by = stream(Mix())
    for shares in ({"photo": 0.8, "black": 0.4}, {"photo": 0.35, "black": 0.75}):
        canvas = made_by._canvas(200, **shares)
        assert abs(float(green(canvas).float().mean()) - shares["photo"]) < 0.006
        black = (canvas == 0).flatten(1).all(1).float().mean()
        assert abs(float(black) - (1 - shares["photo"]) * shares["black"]) < 0.006


def test_real_pictures_mostly_lie_on_black(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    keep = DeviceStream._canvas
    monkeypatch.setattr(
        DeviceStream,
        "_canvas",
        lambda self, count, **shares: asked.append(shares) or keep(self, count, **shares),
    )
    stream(Mix(0.0, 1.0)).batch(8)
    assert asked == [{"photo": 0.35, "black": 0.75}]


def test_negatives_are_whole_backgrounds_pieces_and_what_lies_beside_hands() -> None:
    roomy = [picture(side=384, half=40)]
    image = stream(Mix(0.0, 0.0), pictures=roomy)._empty(200).image
    blue = ((image[:, 2] > 190) & (image[:, 1] < 5)).flatten(1).all(1)
    assert abs(float(blue.float().mean()) - 0.3) < 0.012
    assert float(image[blue][:, 0].max()) < 1  # no hand: its spot is red
    dark = (image.amax(1) < 1).flatten(1).float().mean(1)
    some_green = ((image[:, 1] > 250) & (image[:, 0] < 5)).flatten(1).any(1)
    whole = some_green & (dark > 0.05)
    assert abs(float(whole.float().mean()) - 0.4) < 0.04  # a few, turned and zoomed, fill the square
    assert abs(float((green(image) | whole).float().mean()) - 0.67) < 0.03
    tight = stream(Mix(0.0, 0.0), pictures=[picture(side=120)])._empty(100).image
    assert not ((tight[:, 2] > 190) & (tight[:, 1] < 5)).flatten(1).all(1).any()


def test_whole_backgrounds_keep_their_shape() -> None:
    image = stream(Mix(0.0, 0.0), backgrounds=[GREEN])._whole(60)
    shown = (image[:, 1] > 128).flatten(1).sum(1).float().sqrt() / SIZE
    wanted = (96 / 128) ** 0.5  # of a square as wide as the background
    assert float(shown.max()) < 1.31 * wanted and float(shown.min()) > 0.65 * wanted


def test_small_pieces_come_and_pieces_are_mirrored() -> None:
    x = np.tile(np.linspace(0, 255, 200).astype(np.uint8), (200, 1))
    made_by = stream(Mix(), backgrounds=[np.dstack([x] * 3)])
    canvas = made_by._canvas(120, photo=1.0, tiny=0.5)
    slope = (canvas[:, 0, :, -10] - canvas[:, 0, :, 10]).mean(1) / 255 / (SIZE - 20) * SIZE
    assert 0.35 < float((slope > 0).float().mean()) < 0.65
    assert 0.08 < float(slope.abs().min()) < 0.1 and float(slope.abs().max()) > 0.9
    fewer = made_by._canvas(60, photo=1.0)
    assert float((fewer[:, 0, :, -10] - fewer[:, 0, :, 10]).abs().mean(1).min()) / 255 > 0.2


def test_the_same_seed_gives_the_same_batches() -> None:
    one, two, other = (stream(Mix(0.6, 0.3), seed=seed).batch(24) for seed in (3, 3, 4))
    assert all(
        torch.equal(torch.nan_to_num(a.float()), torch.nan_to_num(b.float()))
        for a, b in zip(one, two, strict=True)
    )
    assert not torch.equal(one.image, other.image)


class NothingWaits(TorchDispatchMode):
    """Refuses what makes the host wait for a GPU: reading values, sizes that depend on them, constants sent over."""

    WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "lift_fresh", "linalg_inv_ex", "item")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        assert func.overloadpacket.__name__ not in self.WAITING, func
        return func(*args, **(kwargs or {}))


def test_nothing_waits_for_the_device() -> None:
    made_by = stream(Mix(0.5, 0.3))
    with NothingWaits():
        made_by.batch(24)
