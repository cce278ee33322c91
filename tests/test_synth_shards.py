"""Shards: whole or absent, resumable, the same bytes from any number of processes, and read back as written."""

from __future__ import annotations

import errno
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt_hands.errors import InvalidInput, MissingPart, RtHandsError
from rt_hands.synth import shards
from rt_hands.synth.shards import Plan


def made_up(seed: int, index: int) -> shards.Sample:
    """A sample without rendering; at module level, because workers import it by name."""
    rng = np.random.default_rng([seed, index])
    return {
        "bin": rng.bytes(50),
        "npz": shards.encode_arrays(index=np.array(index), points=rng.normal(size=(3, 2))),
    }


def breaks_at_ten(seed: int, index: int) -> shards.Sample:
    """Fails in the second shard of eight."""
    if index == 10:
        raise RtHandsError("sample 10 can't be made")
    return made_up(seed, index)


def dies_at_ten(seed: int, index: int) -> shards.Sample:
    """Takes its process along, as a fault in a driver does."""
    if index == 10:
        os._exit(9)
    return made_up(seed, index)


PLAN = Plan("things", seed=3, count=20, per_shard=8)


def _bytes(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


@given(count=st.integers(1, 500), per_shard=st.integers(1, 64), first=st.integers(0, 10_000))
def test_shards_part_the_samples(count: int, per_shard: int, first: int) -> None:
    plan = Plan("x", 0, count, per_shard, first)
    every = [i for s in range(plan.shards) for i in plan.indices(s)]
    assert every == list(range(first, first + count))
    assert len({plan.shard_name(s) for s in range(plan.shards)}) == plan.shards


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    assert shards.write_dataset(tmp_path, PLAN, made_up) == 20
    read = list(shards.read_samples(shards.shard_paths(tmp_path)))
    assert [int(key) for key, _ in read] == list(range(20))
    for index, (_, files) in enumerate(read):
        assert files == made_up(3, index)
        assert shards.decode_arrays(files["npz"])["index"] == index


def test_any_number_of_processes_makes_the_same_bytes(tmp_path: Path) -> None:
    shards.write_dataset(tmp_path / "one", PLAN, made_up, processes=1)
    shards.write_dataset(tmp_path / "two", PLAN, made_up, processes=2)
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "two")


def test_webdataset_reads_it(tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed.")
    shards.write_dataset(tmp_path, PLAN, made_up)
    urls = [str(p) for p in shards.shard_paths(tmp_path)]
    read = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert len(read) == 20 and read[7]["bin"] == made_up(3, 7)["bin"]


def test_a_process_that_dies_ends_the_run_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="A process that made samples died .* run the same command again"):
        shards.write_dataset(tmp_path, PLAN, dies_at_ten, 2)
    assert 0 < shards.write_dataset(tmp_path, PLAN, made_up, 2) < 20  # what was finished is kept
    assert len(list(shards.read_samples(shards.shard_paths(tmp_path)))) == 20
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("processes", [1, 2])
def test_a_broken_run_leaves_whole_shards_only_and_goes_on(tmp_path: Path, processes: int) -> None:
    with pytest.raises(RtHandsError, match="sample 10"):
        shards.write_dataset(tmp_path, PLAN, breaks_at_ten, processes)
    left = {p.name for p in tmp_path.iterdir()}
    assert PLAN.shard_name(0) in left and PLAN.shard_name(1) not in left
    assert not [name for name in left if name.endswith(".part")]
    whole = [s for s in range(PLAN.shards) if PLAN.shard_name(s) in left]
    assert shards.write_dataset(tmp_path, PLAN, made_up) == 20 - sum(len(PLAN.indices(s)) for s in whole)
    assert len(list(shards.read_samples(shards.shard_paths(tmp_path)))) == 20


def test_a_folder_keeps_its_plan_and_may_grow(tmp_path: Path) -> None:
    shards.write_dataset(tmp_path, PLAN, made_up)
    with pytest.raises(InvalidInput, match="seed 3, now 4"):
        shards.write_dataset(tmp_path, Plan("things", 4, 20, 8), made_up)
    # 20 samples fill two shards and a half; the half one is made anew.
    assert shards.write_dataset(tmp_path, Plan("things", 3, 30, 8), made_up) == 14
    assert [int(k) for k, _ in shards.read_samples(shards.shard_paths(tmp_path))] == list(range(30))


def test_a_full_disk_is_told_and_nothing_half_stays(tmp_path: Path) -> None:
    def fills(samples: int) -> Iterator[tuple[int, shards.Sample]]:
        for index in range(samples):
            yield index, made_up(0, index)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(RtHandsError, match=r"disk is full.*a\.tar.*run the same command again"):
        shards.write_shard(tmp_path / "a.tar", fills(3))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_removes_what_was_begun(tmp_path: Path) -> None:
    def interrupted() -> Iterator[tuple[int, shards.Sample]]:
        yield 0, made_up(0, 0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shards.write_shard(tmp_path / "a.tar", interrupted())
    assert list(tmp_path.iterdir()) == []


def test_bad_folders_and_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No shards"):
        shards.shard_paths(tmp_path)
    broken = tmp_path / "x.tar"
    broken.write_bytes(b"not a tar file at all" * 100)
    with pytest.raises(InvalidInput, match=r"x\.tar.*make it again"):
        list(shards.read_samples([broken]))
    (tmp_path / "file").write_text("")
    with pytest.raises(RtHandsError, match="Can't write to"):
        shards.write_dataset(tmp_path / "file", PLAN, made_up)


def test_entries_carry_no_owner_or_time(tmp_path: Path) -> None:
    shards.write_dataset(tmp_path, PLAN, made_up)
    with tarfile.open(shards.shard_paths(tmp_path)[0]) as tar:
        assert {(e.mtime, e.uid, e.uname) for e in tar} == {(0, 0, "")}


# --- what the engine puts into them --------------------------------------------------------------------------


@pytest.fixture
def gl() -> None:
    """A renderer, or a skip with the sentence that says what is missing."""
    pytest.importorskip("anny", reason="The data engine needs anny: pip install 'rt_hands[synth]'.")
    from rt_hands.synth.render import renderer

    try:
        renderer()
    except MissingPart as error:
        pytest.skip(str(error))


@pytest.mark.usefixtures("gl")
def test_a_sprite_survives_its_shard() -> None:
    from rt_hands.synth import sprites

    sprite = sprites.make(1, 2)
    back = sprites.decode(sprites.encode(sprite))
    assert (back.rgba[..., 3] == sprite.rgba[..., 3]).all()  # alpha is stored without loss
    assert (back.rgba[..., :3] <= back.rgba[..., 3:]).all()
    whole = sprite.rgba[..., 3] == 255
    off = np.abs(back.rgba[whole][:, :3].astype(int) - sprite.rgba[whole][:, :3])
    assert off.mean() < 4  # 1.5 measured
    for name in ("points_px", "visibility", "points_cam_mm", "K"):
        assert (getattr(back, name) == getattr(sprite, name)).all()
    assert back.subject == sprite.subject
    with pytest.raises(InvalidInput, match="can't be decoded"):
        sprites.decode({"webp": b"no picture", "npz": sprites.encode(sprite)["npz"]})


@pytest.mark.usefixtures("gl")
def test_a_rig_scene_comes_back_as_a_frame_set(tmp_path: Path) -> None:
    from rt_hands.synth import scene, scene_shards
    from rt_hands.synth.truth import ABSENT

    sampled = scene.sample_scene(4, 0, "webcam", cameras=3)
    views = scene.render_scene(sampled)
    files = scene_shards.encode(sampled, views)
    shards.write_shard(tmp_path / "rig.tar", iter([(0, files)]))
    (back,) = scene_shards.read(tmp_path)
    assert back.frames.cameras == back.rig.ids == tuple(v.camera.id for v in views)
    for v, view in enumerate(views):
        frame = back.frames.frames[v]
        off = np.abs(frame.image_bgr[..., ::-1].astype(int) - view.image_rgb)
        assert off.mean() < 6  # JPEG and noise
        np.testing.assert_array_equal(back.visibility[v], view.truth.visibility)
        np.testing.assert_array_equal(back.masks[v], view.truth.masks)
    # Truth is consistent with itself: world points through the rig give the image points.
    known = back.visibility[0] != ABSENT
    projected = back.rig.project(back.points_world_mm.astype(np.float64))
    np.testing.assert_allclose(projected[:, known], back.points_px[:, known], atol=2e-3)
    del files["truth.npz"]
    with pytest.raises(InvalidInput, match="has no file 'truth.npz'"):
        scene_shards.decode("0", files)
