"""Folders of pictures and single ones as sources: order, depth, kinds, every fault in one sentence."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_capture import SIZE, grey, is_root

from rt_hands.capture import open_source
from rt_hands.capture.images import ImageSource, read_image
from rt_hands.errors import SourceError
from rt_hands.paths import natural_key


def write_images(folder: Path, names) -> Path:
    folder.mkdir(exist_ok=True)
    for i, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), grey(10 * i, (60 + i, 40)))
    return folder


def test_folder_is_read_in_natural_order_with_changing_sizes(tmp_path):
    folder = write_images(tmp_path / "f", ["img_10.png", "img_2.png", "img_1.jpg"])
    source = open_source(str(folder))
    assert source.still and source.length == 3
    assert [frames.frames[0].size_px for frames in source] == [(62, 40), (61, 40), (60, 40)]


def test_damaged_pictures_are_skipped_and_told(tmp_path, said):
    folder = write_images(tmp_path / "f", ["1.png", "2.png", "3.png", "4.png"])
    (folder / "2.png").write_bytes(b"\x89PNG broken")
    (folder / "3.png").write_bytes(b"")
    # Each keeps its number, by which the pictures of several cameras meet.
    frames = [frames.frames[0] for frames in ImageSource(folder, said.append)]
    assert [(f.index, f.file, f.t_ns) for f in frames] == [(0, "1.png", 0), (3, "4.png", 3_000_000_000)]
    assert len(said) == 2 and "2.png" in said[0] and "empty" in said[1]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_pictures_are_scaled_by_the_bits_they_use(tmp_path, said, bits, suffix):
    ramp = np.linspace(0, 255, 64 * 48, dtype=np.uint8).reshape(48, 64)
    low_bits = np.random.default_rng(0).integers(0, 1 << (bits - 8), ramp.shape)
    deep = ((ramp.astype(np.uint16) << (bits - 8)) + low_bits).astype(np.uint16)
    for name in ("1", "2"):
        cv2.imwrite(str(tmp_path / f"{name}.{suffix}"), deep)
    for frames in ImageSource(tmp_path, said.append):
        np.testing.assert_array_equal(frames.frames[0].image_bgr, np.dstack([ramp] * 3))
    assert said == (
        [] if bits == 16 else [f"{tmp_path}/1.{suffix} has {bits}-bit values in 16 bits: scaled up."]
    )


def test_a_dark_sixteen_bit_picture_is_scaled_as_the_bright_ones_before_it(tmp_path, said):
    bright, dark = np.full((48, 64), 4000, np.uint16), np.full((48, 64), 200, np.uint16)
    for name, picture in (("0", 0 * dark), ("1", bright), ("2", dark)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), picture)
    values = [int(frames.frames[0].image_bgr.max()) for frames in ImageSource(tmp_path, said.append)]
    assert values == [0, 4000 >> 4, 200 >> 4]
    assert said == [f"{tmp_path}/1.png has 12-bit values in 16 bits: scaled up."]


def test_a_black_sixteen_bit_picture_tells_nothing(tmp_path, said):
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((48, 64), np.uint16))
    assert len(list(ImageSource(tmp_path, said.append))) == 1 and not said


def test_folder_of_damaged_pictures_only_is_an_error(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(b"no")
    with pytest.raises(SourceError, match=r"1\.jpg is no picture that can be decoded"):
        list(ImageSource(folder, lambda _: None))


def test_empty_folder_is_an_error(tmp_path):
    with pytest.raises(SourceError, match="holds no pictures"):
        open_source(str(tmp_path))


@pytest.mark.skipif(is_root, reason="Root may read everything.")
def test_unreadable_folder_is_about_permissions(tmp_path):
    folder = write_images(tmp_path / "f", ["1.png"])
    folder.chmod(0)
    try:
        with pytest.raises(SourceError, match="permissions"):
            open_source(str(folder))
    finally:
        folder.chmod(0o755)


@given(st.permutations([f"frame_{i}" for i in (0, 1, 2, 9, 10, 11, 100)]))
def test_natural_order(names):
    assert sorted(names, key=natural_key) == [f"frame_{i}" for i in (0, 1, 2, 9, 10, 11, 100)]


def test_natural_order_of_odd_names(tmp_path):
    stamps = ["9999999999", "10000000000", "9" * 5000]  # too long for int() too
    assert sorted([stamps[2], stamps[1], stamps[0]], key=natural_key) == stamps
    assert sorted(["b_2", "B_01", "a_10"], key=natural_key) == ["a_10", "B_01", "b_2"]
    names = ["2.png", "10.png", "x.png", "\u00b21.png", "\u0663.png"]  # other digits than ASCII's are letters
    write_images(tmp_path, names)
    assert [path.name for path in ImageSource(tmp_path).paths] == names


def test_one_picture_is_a_source_of_one(tmp_path):
    write_images(tmp_path, ["a.png"])
    (frames,) = open_source(str(tmp_path / "a.png"))
    np.testing.assert_array_equal(frames.frames[0].image_bgr, read_image(tmp_path / "a.png"))


@pytest.mark.parametrize(
    "name, kind",
    [
        *(("a.jfif", ".jpg"), ("a.ppm", ".ppm"), ("a.jp2", ".jp2"), ("a", ".png"), ("a.mp4", ".png")),
        *(("a.ras", ".ras"), ("a.dat", ".jpg")),
    ],
)
def test_a_picture_is_one_whatever_its_ending(tmp_path, name, kind):
    path = tmp_path / name
    path.write_bytes(cv2.imencode(kind, grey(90))[1].tobytes())
    source = open_source(str(path))
    assert source.still and source.length == 1
    (frames,) = source
    np.testing.assert_allclose(frames.frames[0].image_bgr, grey(90), atol=2)


def test_a_picture_that_only_ffmpeg_knows_is_single(tmp_path):
    """TGA: a header of 18 bytes, then the pixels, the lowest row first."""
    header = bytes([0, 0, 2, *bytes(9), SIZE[0], 0, SIZE[1], 0, 24, 0])
    (tmp_path / "a.tga").write_bytes(header + grey(90).tobytes())
    source = open_source(str(tmp_path / "a.tga"))
    assert source.still and source.length == 1
    (frames,) = source
    np.testing.assert_array_equal(frames.frames[0].image_bgr, grey(90))


@pytest.mark.parametrize("name", ["film.mjpeg", "film.dat"])
def test_a_film_of_jpegs_is_no_picture(tmp_path, name):
    jpegs = [
        cv2.imencode(".jpg", np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8))[1]
        for i in range(3)
    ]
    (tmp_path / name).write_bytes(b"".join(jpeg.tobytes() for jpeg in jpegs))
    with open_source(str(tmp_path / name)) as source:
        assert not source.still and len(list(source)) == 3


def test_an_animation_is_a_video_whatever_its_ending(tmp_path):
    with av.open(str(tmp_path / "a.gif"), "w") as container:
        stream = container.add_stream("gif", rate=10)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "rgb8"
        for i in range(3):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey(60 * i), format="bgr24")))
        container.mux(stream.encode(None))
    (tmp_path / "a.gif").rename(tmp_path / "a.dat")
    with open_source(str(tmp_path / "a.dat")) as source:
        assert not source.still and len(list(source)) == 3


def test_files_of_other_kinds_in_a_folder_of_pictures_are_told_once(tmp_path, said):
    folder = write_images(tmp_path / "f", ["1.png", "2.jpg"])
    for name in ("1.heic", "1.xml", "3.heic", "4.HEIC", "5.mov", "about.txt", ".DS_Store", "notes.json"):
        (folder / name).write_bytes(b"x")
    (folder / "more").mkdir()
    source = ImageSource(folder, said.append)
    assert len(list(source)) == len(list(source)) == 2
    assert said == [f"{folder}: 3 files of other kinds are left out (.heic 2, .mov 1)."]


def test_a_folder_of_pictures_that_can_t_be_read_names_their_kind(tmp_path):
    (tmp_path / "1.heic").write_bytes(b"x")
    with pytest.raises(SourceError, match=r"no session: 1 file of another kind is left out \(\.heic 1\)"):
        open_source(str(tmp_path))
