"""Drawing: pure, exact to the sub-pixel, robust; overlays; MP4 files with true timing; the check for a display."""

from __future__ import annotations

import socket

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standin import PaintedHand, truth

from rt_hands.capture.video import VideoSource
from rt_hands.display import window
from rt_hands.display.draw import Style, draw_belief_maps, draw_hands
from rt_hands.display.overlay import HELP, draw_help, draw_status, fit, fit_into, tile
from rt_hands.display.text import put_text
from rt_hands.display.video_file import VideoFile
from rt_hands.errors import SourceError
from rt_hands.layout import N_POINTS, PART_COLOURS_RGB
from rt_hands.types import Hands2D

GREY = np.full((360, 480, 3), 90, np.uint8)


def hands_at(*painted: PaintedHand) -> Hands2D:
    points = Hands2D.empty().points_px
    there = np.isfinite(truth(*painted)[:, 0])
    points[:, :2] = truth(*painted)
    points[there, 2] = 1
    return Hands2D(points, np.array([there[0], there[85]]))


ONE = hands_at(PaintedHand(0, (240, 180), 200))


def test_picture_in_is_left_alone():
    image = GREY.copy()
    out = draw_hands(image, ONE)
    assert (image == 90).all() and out.shape == image.shape and out.dtype == np.uint8 and (out != image).any()


def test_no_hands_no_change():
    np.testing.assert_array_equal(draw_hands(GREY, Hands2D.empty()), GREY)


def test_joints_are_drawn_where_they_are():
    """The white core of each joint's dot: its centre of mass is the joint, to a tenth of a pixel."""
    points = Hands2D.empty().points_px
    points[8] = 200.4, 100.7, 1
    out = draw_hands(
        np.zeros((200, 300, 3), np.uint8), Hands2D(points, np.array([True, False])), Style(scale=2.0)
    )
    weight = out[90:112, 190:212].min(-1).astype(float) ** 3
    ys, xs = np.mgrid[90:112, 190:212]
    centre = (weight * xs).sum() / weight.sum(), (weight * ys).sum() / weight.sum()
    # Measured: 0.06 px.
    assert np.hypot(centre[0] - 200.4, centre[1] - 100.7) < 0.25


def test_every_finger_shows_its_colour():
    out = draw_hands(GREY, ONE, Style(scale=1.5)).reshape(-1, 3)
    for colour in PART_COLOURS_RGB[:, ::-1]:
        assert (out == colour).all(1).sum() > 10


def test_dense_draws_more():
    changed = [(draw_hands(GREY, ONE, Style(dense=dense)) != GREY).sum() for dense in (False, True)]
    assert changed[1] > 1.1 * changed[0]


def test_mirror_flips_the_picture_and_keeps_the_labels_readable():
    image = np.random.default_rng(0).integers(0, 255, GREY.shape, np.uint8)
    out = draw_hands(image, Hands2D.empty(), mirrored=True)
    np.testing.assert_array_equal(out, image[:, ::-1])
    flipped = draw_hands(GREY, ONE, Style(labels=False), mirrored=True)
    straight = draw_hands(GREY, ONE, Style(labels=False))
    # Measured: 1 % of the pixels differ, by how OpenCV rounds lines.
    assert (np.abs(flipped[:, ::-1].astype(int) - straight) > 60).any(-1).mean() < 0.005


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 300.0, 1e5, 1e30]), st.floats(0, 1))
def test_no_points_crash_it(seed, spread, share_absent):
    rng = np.random.default_rng(seed)
    points = np.concatenate([rng.normal(0, spread, (N_POINTS, 2)), rng.random((N_POINTS, 1))], 1).astype(
        np.float32
    )
    points[rng.random(N_POINTS) < share_absent, :2] = np.nan
    points[rng.random(N_POINTS) < 0.05, 0] = np.inf
    out = draw_hands(GREY, Hands2D(points, np.ones(2, bool)))
    assert out.shape == GREY.shape


def test_low_scores_can_be_left_out():
    points = ONE.points_px.copy()
    points[:, 2] = 0.1
    faint = Hands2D(points, ONE.present)
    np.testing.assert_array_equal(draw_hands(GREY, faint, Style(least_score=0.2)), GREY)


def test_belief_maps_glow_where_they_are_strong():
    maps = np.zeros((170, 45, 45), np.float32)
    maps[3, 10, 20] = 1
    affine = np.array([[4.0, 0, 50], [0, 4.0, 30]])
    out = draw_belief_maps(np.zeros((360, 480, 3), np.uint8), maps, affine).sum(-1)
    assert np.unravel_index(out.argmax(), out.shape) == (70, 130)
    assert out[200:].sum() == 0


# --- overlays ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(48, 64), (480, 640), (1080, 1920)])
def test_overlays_fit_pictures_of_any_size(size):
    image = np.full((*size, 3), 200, np.uint8)
    draw_status(image, ["30 fps", "h help"])
    draw_help(image)
    assert image.shape == (*size, 3) and (image != 200).any()


def test_help_names_every_key_of_the_window():
    names = {key for key, _ in HELP}
    assert names == set("msdbv3pcrhq")


@pytest.mark.parametrize("count, shape", [(1, (100, 200)), (2, (100, 404)), (3, (204, 404)), (4, (204, 404))])
def test_views_are_tiled(count, shape):
    out = tile([np.full((100, 200, 3), 50 * i + 50, np.uint8) for i in range(count)])
    assert out.shape == (*shape, 3)
    for i in range(count):
        assert (out[i // 2 * 104 :, i % 2 * 204 :][:100, :200] == 50 * i + 50).all()


def test_many_large_views_fit_a_screen():
    out = tile([np.full((1080, 1920, 3), 9, np.uint8)] * 9)
    assert out.shape[0] <= 1080 + 8 and out.shape[1] <= 1920 + 8 and (out == 9).mean() > 0.98


def test_fit_keeps_proportions():
    out = fit(np.full((100, 200, 3), 9, np.uint8), 100, 100)
    assert (out[25:75] == 9).all() and not out[:25].any() and not out[75:].any()


def test_views_smaller_than_their_tile_leave_nothing_of_what_was_there():
    box = np.full((100, 100, 3), 7, np.uint8)
    part, share = fit_into(box, np.full((50, 200, 3), 9, np.uint8))
    assert part.shape == (25, 100, 3) and share == 0.5
    assert (box[37:62] == 9).all() and not box[:37].any() and not box[62:].any()


@pytest.mark.parametrize("place", [(100, 60), (-40, 60), (290, 5), (150, 500)])
def test_text_is_the_same_wherever_it_stands(place):
    """A stamp is laid in whole, moved inside; it shows on white and on black, and changes nothing beside it."""
    black, white = np.zeros((120, 300, 3), np.uint8), np.full((120, 300, 3), 255, np.uint8)
    for image in (black, white):
        assert put_text(image, "right", place) == put_text(
            np.zeros((120, 300, 3), np.uint8), "right", (100, 60)
        )
    assert black.max() >= 250 and white.min() < 60
    rows, columns = np.nonzero(white.min(-1) < 200)
    assert np.ptp(rows) < 30 and np.ptp(columns) < 70


def test_text_stays_inside():
    image = np.zeros((60, 200, 3), np.uint8)
    put_text(image, "left", (500, -50))
    assert image.any()


# --- MP4 ---------------------------------------------------------------------------------------------------

TIMES_NS = [5_000_000_000 + t for t in (0, 33_000_000, 34_000_000, 180_000_000, 1_200_345_000)]


def write(path, times_ns=TIMES_NS, sizes=((64, 48),)):
    with VideoFile(path) as file:
        for i, t in enumerate(times_ns):
            width, height = sizes[i % len(sizes)]
            file.add(np.full((height, width, 3), 30 * i + 40, np.uint8), t)
    return path


def test_times_survive_to_the_microsecond(tmp_path):
    path = write(tmp_path / "o.mp4")
    with VideoSource(path) as source:
        times = [frames.t_ns for frames in source]
    assert [round((t - times[0]) / 1000) for t in times] == [(t - TIMES_NS[0]) // 1000 for t in TIMES_NS]


def test_times_that_stand_still_do_not_break_the_file(tmp_path):
    path = write(tmp_path / "o.mp4", [7, 7, 6, 10_000_000])
    with VideoSource(path) as source:
        assert len(list(source)) == 4


def test_changing_and_odd_sizes_fit_the_first(tmp_path):
    path = write(tmp_path / "o.mp4", sizes=((65, 49), (30, 90), (64, 48)))
    with VideoSource(path) as source:
        assert {frames.frames[0].size_px for frames in source} == {(64, 48)}


def test_another_size_is_told_once(tmp_path, said):
    with VideoFile(tmp_path / "o.mp4", notice=said.append) as file:
        for i, (width, height) in enumerate(((64, 48), (32, 24), (65, 49), (20, 90))):
            file.add(np.full((height, width, 3), 90, np.uint8), i * 33_000_000)
    assert file.size_px == (64, 48)
    assert said == [
        f"Pictures of 32x24 come for {file.path}, which was begun at 64x48: they are fitted into that size."
    ]


@pytest.mark.parametrize("size", [(641, 481), (641, 480), (640, 481)])
def test_an_odd_last_row_and_column_are_cut_off(tmp_path, said, size):
    """Stripes of 0 and 255 a pixel wide come back with a spread of 127; resampled, 641x481 to 640x480, of 73."""
    stripes = np.zeros((size[1], size[0], 3), np.uint8)
    stripes[:, ::2] = 255
    with VideoFile(tmp_path / "o.mp4", notice=said.append) as file:
        file.add(stripes, 0)
    with VideoSource(file.path) as source:
        (frames,) = source
    # Measured: 127.
    assert frames.frames[0].image_bgr.std() > 120
    assert len(said) == 1 and "are cut to 640x480" in said[0]


def test_the_time_of_what_comes_after_a_long_break_is_right(tmp_path):
    """MP4 takes no step of 2^31 us, 35.8 min: FFmpeg gave all that came after one times 1 us apart."""
    times_ns = [0, 33_000_000, 3_600_000_000_000, 3_600_033_000_000, 3_600_066_000_000]
    with VideoSource(write(tmp_path / "o.mp4", times_ns)) as source:
        given = [frames.t_ns for frames in source]
    assert given[:2] + given[3:] == times_ns[:2] + times_ns[3:]
    assert given[2] - given[1] == (2**31 - 2) * 1000


def test_what_was_written_before_a_kill_can_be_read(tmp_path):
    """The file as it lies on disk without `close`: the finished fragments play."""
    path = tmp_path / "o.mp4"
    file = VideoFile(path)
    for i in range(100):
        file.add(np.full((48, 64, 3), i, np.uint8), i * 33_333_333)
    on_disk = tmp_path / "killed.mp4"
    on_disk.write_bytes(path.read_bytes())
    file.close()
    with av.open(str(on_disk)) as container:
        # Measured: 60 of 100; a key frame every 30, the encoder holds some back.
        assert sum(1 for _ in container.decode(video=0)) >= 30


def test_unwritable_file_is_one_sentence(tmp_path):
    with pytest.raises(SourceError, match=r"o\.mp4 can't be written"):
        VideoFile(tmp_path / "no_folder" / "o.mp4")


def test_empty_file_closes(tmp_path):
    file = VideoFile(tmp_path / "o.mp4")
    file.close()
    file.close()
    assert file.frames == 0 and (tmp_path / "o.mp4").is_file()


# --- is there a display ------------------------------------------------------------------------------------


@pytest.fixture
def on_linux(monkeypatch):
    monkeypatch.setattr(window.sys, "platform", "linux")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    return monkeypatch


def test_headless_opencv_is_a_clause(on_linux):
    on_linux.setattr(window.cv2, "getBuildInformation", lambda: "\n  GUI:                           NONE\n")
    assert "pip install opencv-python, not -headless" in window.why_no_window()


def test_no_display_is_a_clause(on_linux):
    on_linux.delenv("DISPLAY", raising=False)
    assert "no display" in window.why_no_window()


@pytest.mark.parametrize("wayland", [True, False], ids=["Qt for both", "Qt for X only"])
def test_under_wayland_opencvs_wheels_need_x(on_linux, tmp_path, wayland):
    """They bring Qt without Wayland, which ended the program where only Wayland was there."""
    plugins = tmp_path / "qt/plugins/platforms"
    plugins.mkdir(parents=True)
    (plugins / "libqxcb.so").touch()
    if wayland:
        (plugins / "libqwayland-generic.so").touch()
    on_linux.setattr(window.cv2, "__file__", str(tmp_path / "__init__.py"))
    on_linux.setenv("WAYLAND_DISPLAY", "wayland-0")
    on_linux.setenv("QT_QPA_PLATFORM", "wayland")
    on_linux.delenv("DISPLAY", raising=False)
    assert (window.why_no_window() is None) == wayland
    assert window.os.environ["QT_QPA_PLATFORM"] == ("wayland" if wayland else "xcb")


@pytest.mark.parametrize("display", [":987", "localhost:987", "nonsense", ":x"])
def test_a_display_that_does_not_answer_is_a_clause(on_linux, display):
    on_linux.setenv("DISPLAY", display)
    assert f"{display} does not answer" in window.why_no_window()


def test_a_display_that_answers_is_used(on_linux):
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        if port < 6000:
            pytest.skip("The free port is below X11's.")
        on_linux.setenv("DISPLAY", f"127.0.0.1:{port - 6000}.0")
        assert window.why_no_window() is None


@pytest.mark.parametrize("size", [(640, 360), (637, 358), (480, 270), (427, 240), (160, 90), (960, 540)])
def test_pictures_shrink_without_shift_and_without_moire(size):
    """A ramp stays where it is; stripes of one pixel become their mean, as by area."""
    ramp = np.repeat(np.linspace(0, 255, 1280)[None], 720, 0)
    out = np.zeros((size[1], size[0], 3), np.uint8)
    part, _ = fit_into(out, np.dstack([ramp.round().astype(np.uint8)] * 3))
    places = (np.arange(part.shape[1]) + 0.5) * 1280 / part.shape[1] - 0.5
    assert np.abs(part[len(part) // 2, :, 0] - np.clip(places, 0, 1279) * 255 / 1279).max() < 1.5
    stripes = np.zeros((720, 1280, 3), np.uint8)
    stripes[:, ::2] = 200
    fit_into(out, stripes)
    if size[0] <= 640:
        assert np.ptp(part) <= 2


def test_sides_that_nothing_divides_shrink_without_moire():
    stripes = np.zeros((479, 853, 3), np.uint8)
    stripes[:, ::2] = 200
    out = np.zeros((120, 200, 3), np.uint8)
    part, _ = fit_into(out, stripes)
    assert np.ptp(part) < 60  # by area; 200 where single pixels are picked
