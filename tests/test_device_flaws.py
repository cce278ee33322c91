"""Flaws of whole batches agree with OpenCV's, with `augment`'s, and leave hands where they are."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install rt_hands[train]")

import cv2  # noqa: E402

from rt_hands.training import augment, device_flaws, device_warp  # noqa: E402
from rt_hands.training.device_chance import Chance  # noqa: E402
from rt_hands.training.device_flaws import Flaws, Jpeg  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def flaws() -> Flaws:
    return Flaws(Chance(CPU, 5))


def scenes(count: int, size: int = 96) -> np.ndarray:
    """(n, S, S, 3) uint8: soft colours, a bright disc and a dark bar, as sharp as pictures are."""
    rng, made = np.random.default_rng(2), []
    for _ in range(count):
        image = cv2.resize(rng.uniform(30, 220, (6, 6, 3)).astype(np.float32), (size, size))
        image += cv2.GaussianBlur(rng.normal(0, 60, (size, size, 3)).astype(np.float32), (0, 0), 1.2)
        at = rng.integers(size // 4, 3 * size // 4, 2).tolist()
        cv2.circle(image, at, size // 7, rng.uniform(120, 250, 3).tolist(), -1, cv2.LINE_AA)
        cv2.line(image, (0, at[0]), (size, at[1]), rng.uniform(0, 60, 3).tolist(), 3, cv2.LINE_AA)
        made.append(image.clip(0, 255).astype(np.uint8))
    return np.stack(made)


def tensor(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def array(images: torch.Tensor) -> np.ndarray:
    return (images * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def sharpness(images: np.ndarray) -> np.ndarray:
    return np.array(
        [cv2.Laplacian(cv2.cvtColor(i, cv2.COLOR_RGB2GRAY), cv2.CV_32F).std() for i in images.copy()]
    )


def matrices(*rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows)


def test_warp_agrees_with_opencv() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    matrix = [[1.3, -0.4, 5.0], [0.3, 1.1, -2.0]]
    levels = device_warp.pyramid(255 * tensor(image[None]))
    ours = device_warp.warp(levels, matrices(matrix), 60)
    theirs = cv2.warpAffine(image.astype(np.float32), np.array(matrix), (60, 60), flags=cv2.INTER_LINEAR)
    away = np.abs(ours[0].permute(1, 2, 0).numpy() - theirs)
    assert np.percentile(away, 95) < 6  # OpenCV rounds places to 1/32 px; measured 3.5 of 255 on noise


@pytest.mark.parametrize("scale", [0.9, 0.5, 0.3, 0.15, 0.07])
def test_shrinking_is_as_smooth_as_that_of_the_other_composer(scale: float) -> None:
    image = scenes(1, 256)[0]
    c, s = np.cos(0.4) * scale, np.sin(0.4) * scale
    matrix = np.array([[c, -s, 40.0], [s, c, 8.0]])
    ours = device_warp.warp(
        device_warp.pyramid(255 * tensor(image[None])), matrices(matrix.tolist()).float(), 96
    )
    theirs = cv2.warpAffine(*augment.shrunk(image, matrix), (96, 96), flags=cv2.INTER_LINEAR)
    away = np.abs(ours[0].permute(1, 2, 0).numpy() - theirs)
    plain = np.abs(cv2.warpAffine(image, matrix, (96, 96)).astype(float) - theirs)
    assert away.mean() < 2.5
    assert scale > 0.4 or away.mean() < plain.mean()


def test_copies_do_not_bleed_into_one_another() -> None:
    """A white picture at any size is white inside, black outside, and half between."""
    white = torch.ones(1, 3, 64, 64)
    for scale in (1.0, 0.4, 0.2, 0.1, 0.05):
        matrix = device_warp.about(
            torch.eye(2)[None] * scale, torch.full((1, 2), 31.5), torch.full((1, 2), 40.0)
        )
        made = device_warp.warp(device_warp.pyramid(white), matrix, 80)[0, 0]
        assert float(made.sum()) == pytest.approx((64 * scale) ** 2, rel=0.15)
        columns = made.sum(0) / made.sum()
        assert float((columns * torch.arange(80)).sum()) == pytest.approx(40.0, abs=0.05)
        assert (device_warp.warp(device_warp.pyramid(white), matrix, 80, edge=True) > 0.999).all()


def test_pictures_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="8 n pixels"):
        device_warp.pyramid(torch.zeros(1, 3, 60, 60))


def test_an_affine_and_its_inverse_undo_each_other() -> None:
    generator = torch.Generator().manual_seed(1)
    matrix = torch.randn(20, 2, 3, generator=generator)
    both = device_warp.chain(matrix, device_warp.inverse(matrix))
    torch.testing.assert_close(both, device_warp.unchanged(20, CPU).clone(), atol=2e-3, rtol=0)


def dots(size: int, count: int) -> tuple[np.ndarray, torch.Tensor]:
    """Places (n, 2) and pictures of a white disc at each."""
    places = np.random.default_rng(3).integers(size // 3, 2 * size // 3, (count, 2))
    images = np.zeros((count, size, size, 3), np.uint8)
    for image, at in zip(images, places, strict=True):
        cv2.circle(image, at.tolist(), size // 10, (255, 255, 255), -1)
    return places, tensor(images)


def centres(images: torch.Tensor) -> np.ndarray:
    """(n, 2) middle of what is brighter than half of the brightest."""
    bright = images.mean(1)
    bright = (bright - 0.5 * bright.amax((1, 2), keepdim=True)).clamp(min=0)
    at = torch.arange(images.shape[-1], dtype=torch.float32)
    total = bright.sum((1, 2))
    return torch.stack([(bright.sum(1) * at).sum(1) / total, (bright.sum(2) * at).sum(1) / total], 1).numpy()


@pytest.mark.parametrize(
    "flaw, tolerance",
    [
        ("_toned", 0.05),
        ("_softened", 0.4),
        ("_moved", 0.1),
        ("_noisy", 0.3),
        ("_compressed", 0.3),
        ("_far", 0.7),
    ],
)
def test_hands_stay_where_they_are(flaws: Flaws, flaw: str, tolerance: float) -> None:
    places, images = dots(224, 12)
    np.testing.assert_allclose(centres(getattr(flaws, flaw)(images.clone())), places, atol=tolerance)


def test_flaws_of_far_hands_are_as_coarse_as_their_pixels_and_differ(flaws: Flaws) -> None:
    """Two pixels of the crop that are one of the camera's have the same noise; every picture has its own size."""
    noise = flaws._far(torch.full((24, 3, 224, 224), 0.5))[..., 60:-60, 60:-60].mean(1) - 0.5
    assert float(noise.mean().abs()) < 0.01
    noise = noise - noise.mean((1, 2), keepdim=True)
    noise = noise[noise.flatten(1).std(1) > 1 / 255]
    alike = (noise[:, :, 1:] * noise[:, :, :-1]).mean((1, 2)) / noise.var((1, 2))
    assert len(alike) > 5 and float(alike.median()) > 0.6
    assert float(alike.max() - alike.min()) > 0.1


def test_far_pictures_larger_than_the_crop_stay_as_they_are(flaws: Flaws) -> None:
    image = tensor(scenes(30, 64))
    made = flaws._far(image)
    same = (made == image).flatten(1).all(1)
    share = np.log(220 / 64) / np.log(220 / 48)
    assert abs(float(same.float().mean()) - share) < 0.25 and not same.all()


def test_the_camera_is_turned_in_far_pictures(flaws: Flaws) -> None:
    """Edges along the crop's own rows become steps of the turned pixels: they are no longer alike in every column."""
    image = torch.zeros(16, 3, 224, 224)
    image[:, :, 112:] = 1
    soft, sharp = flaws._far(image), image
    across = soft[..., 100:124, 60:-60].mean(1).std(2).mean(1)
    assert float(sharp[..., 100:124, 60:-60].std(3).max()) == 0
    assert float((across > 0.004).float().mean()) > 0.7


def test_soft_focus_and_movement_agree_with_opencv() -> None:
    image = scenes(2)
    sigma = torch.tensor([1.5, 0.7])
    ours = device_flaws.blurred(tensor(image), sigma, torch.zeros(2, 2))
    theirs = np.stack([cv2.GaussianBlur(i, (0, 0), s) for i, s in zip(image, sigma.tolist(), strict=True)])
    assert np.abs(array(ours).astype(int) - theirs)[:, 8:-8, 8:-8].mean() < 0.6
    ours = device_flaws.blurred(tensor(image), torch.zeros(2), torch.tensor([[5.0, 0.0], [0.0, 5.0]]))
    theirs = np.stack([cv2.blur(image[0], (5, 1)), cv2.blur(image[1], (1, 5))])
    assert np.abs(array(ours).astype(int) - theirs)[:, 8:-8, 8:-8].mean() < 1.5


def test_movement_is_as_long_as_asked_and_in_its_direction() -> None:
    spot = torch.zeros(1, 1, 64, 64)
    spot[..., 32, 32] = 1
    made = device_flaws.blurred(spot, torch.tensor([1.0]), torch.tensor([[6.0, 8.0]]))[0, 0]
    at = torch.arange(64.0) - 32
    xx, yy, xy = (made * at**2).sum(), (made * at[:, None] ** 2).sum(), (made * at * at[:, None]).sum()
    assert float(made.sum()) == pytest.approx(1, abs=1e-4)
    for found, wanted in ((xx, 36 / 12 + 1), (yy, 64 / 12 + 1), (xy, 48 / 12)):  # a line of 10 px and sigma 1
        assert float(found) == pytest.approx(wanted, rel=0.02)


def test_softened_pictures_agree_with_opencv() -> None:
    image = scenes(2)
    ours = array(device_flaws.softened(tensor(image), torch.tensor([0.25, 0.7])))
    for made, given, side in zip(ours, image, (24, 67), strict=True):
        small = cv2.resize(given, (side, side), interpolation=cv2.INTER_AREA)
        theirs = cv2.resize(small, (96, 96), interpolation=cv2.INTER_LINEAR)
        assert np.abs(made.astype(int) - theirs).mean() < 0.6


def test_hues_agree_with_opencv() -> None:
    image = scenes(2).astype(np.float32) / 255
    turn, strength = torch.tensor([-14.0, 9.0]), torch.tensor([0.7, 1.3])
    ours = device_flaws.hue_turned(torch.from_numpy(image).permute(0, 3, 1, 2), turn, strength)
    for n in range(2):
        hsv = cv2.cvtColor(image[n], cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0] + float(turn[n])) % 360
        hsv[..., 1] = (hsv[..., 1] * float(strength[n])).clip(0, 1)
        theirs = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        np.testing.assert_allclose(ours[n].permute(1, 2, 0).numpy(), theirs, atol=2e-3)


@pytest.mark.parametrize("size", [96, 104])
def test_jpeg_agrees_with_opencv(size: int) -> None:
    image, quality = scenes(4, size), [20, 45, 70, 95]
    ours = array(Jpeg(CPU)(tensor(image), torch.tensor(quality).float())).astype(float)
    for made, given, q in zip(ours, image, quality, strict=True):
        _, packed = cv2.imencode(".jpg", given[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, q])
        theirs = cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1].astype(float)
        lost, away = np.abs(theirs - given).mean(), np.abs(made - theirs).mean()
        assert away < 0.3 * lost, (q, away, lost)


def test_cameras_are_those_of_the_data_engine(flaws: Flaws) -> None:
    soft, length, _, noise, grain, quality = flaws.cameras.unbind(1)
    assert set(grain.unique().tolist()) == {1.0, 1.5, 2.0}
    assert abs(float((length > 0).float().mean()) - 0.25) < 0.03
    assert abs(float((quality == 100).float().mean()) - 0.15) < 0.03 and float(quality.min()) >= 45
    assert 0.4 < float(soft.mean()) < 0.6 and 1.5 < 255 * float(noise.mean()) < 3.5


def test_batches_are_as_soft_and_as_light_as_those_of_workers(flaws: Flaws) -> None:
    image, rng = scenes(200, 224 // 2), np.random.default_rng(0)
    theirs = np.stack([augment.photometric(i.copy(), rng) for i in image])
    ours = array(flaws(tensor(image)))
    # `augment` has grain in red alone, which counts in sharp pictures.
    for percent, tolerance in ((10, 0.35), (25, 0.3), (50, 0.3)):
        a, b = np.percentile(sharpness(ours), percent), np.percentile(sharpness(theirs), percent)
        assert a == pytest.approx(b, rel=tolerance), percent
    assert ours.mean() == pytest.approx(theirs.mean(), rel=0.06)
    assert ours.mean((1, 2, 3)).std() == pytest.approx(theirs.mean((1, 2, 3)).std(), rel=0.25)


def test_shares_are_right_on_average() -> None:
    chance = Chance(CPU, 1)
    assert np.mean([chance.part(0.15, 7) for _ in range(2000)]) == pytest.approx(1.05, abs=0.03)
    assert chance.part(1.0, 9) == 9 and chance.part(0.0, 9) == 0
    chosen, others = chance.split(0.25, 40)
    assert len(chosen) == 10 and sorted(torch.cat([chosen, others]).tolist()) == list(range(40))
