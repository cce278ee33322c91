"""The renderer and its truth: independent geometry, dots found by colour, looks, skins, the bundled sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rt_hands.camera import Camera, Rig
from rt_hands.errors import InvalidInput, MissingPart
from rt_hands.layout import N_HAND, N_POINTS
from rt_hands.paths import sample_dir

pytest.importorskip("moderngl", reason="Rendering needs moderngl: pip install 'rt_hands[synth]'.")
pytest.importorskip("anny", reason="The data engine needs anny: pip install 'rt_hands[synth]'.")

from rt_hands.synth import check, lights, look, props, render, scene, skins, sprites, truth, views
from rt_hands.synth.render import Lights, Mesh, Rendered


@pytest.fixture(scope="session")
def gl() -> render.Renderer:
    """A renderer, or a skip with the sentence that says what is missing."""
    try:
        return render.renderer()
    except MissingPart as error:
        pytest.skip(str(error))


def _camera(size: tuple[int, int] = (320, 240), distortion: tuple[float, ...] = (0, 0, 0, 0, 0)) -> Camera:
    k = [[300, 0, 155], [0, 290, 122], [0, 0, 1]]
    turn, _ = cv2.Rodrigues(np.array([0.1, -0.2, 0.05]))
    return Camera("c", size, np.array(k, float), np.array(distortion), np.column_stack([turn, [10, -5, 20]]))


def _square(camera: Camera, x: float, y: float, z: float, half: float, colour: tuple[int, int, int]) -> Mesh:
    """A small square that faces the camera, its middle at (x, y, z) in the camera's frame."""
    # A quarter of a right angle askew, so that pixels cut its edges evenly.
    turn = np.array([[0.92, 0.38, 0], [-0.38, 0.92, 0], [0, 0, 1.0]])
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) @ turn * half + (x, y, z)
    world = (corners - camera.translation_mm) @ camera.rotation
    normal = -camera.rotation[2]
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    texture = np.full((2, 2, 3), colour, np.uint8)
    normals = np.tile(normal, (4, 1)).astype(np.float32)
    uv = np.zeros((4, 2), np.float32)
    return Mesh(world.astype(np.float32), normals, faces, uv, texture, two_sided=True)


def _lights(towards: tuple[float, float, float] = (0, 0, -1)) -> Lights:
    ambient = np.zeros((9, 3), np.float32)
    ambient[0] = 0.2
    table = np.tile(np.array([[*towards, 0]], np.float32), (3, 1))
    return Lights(ambient, table, np.array([[0.6] * 3, [0] * 3, [0] * 3], np.float32))


# --- pixels against geometry -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "distortion", [(0, 0, 0, 0, 0), (-0.25, 0.08, 0.002, -0.003, 0.01), (0.2, -0.1, -0.001, 0, 0)]
)
def test_pixels_lie_where_the_camera_projects(gl: render.Renderer, distortion: tuple[float, ...]) -> None:
    camera = _camera(distortion=distortion)
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(np.linspace(-150, 150, 6), np.linspace(-110, 110, 5)), -1).reshape(-1, 2)
    places = np.column_stack([grid, rng.uniform(380, 520, len(grid))])
    meshes = [_square(camera, *p, 6.0, (i + 1, 200, 0)) for i, p in enumerate(places)]
    drawn = gl.draw_flat(meshes, camera)
    expected = camera.project((places - camera.translation_mm) @ camera.rotation)
    errors = []
    for i, point in enumerate(expected):
        rows, columns = np.nonzero((drawn.rgba[..., :3] == (i + 1, 200, 0)).all(-1))
        whole = len(rows) >= 30 and (np.abs(point - (160, 120)) < (150, 110)).all()
        if whole:
            errors.append(np.hypot(columns.mean() - point[0], rows.mean() - point[1]))
    assert len(errors) > 12
    assert np.mean(errors) < 0.15  # 0.07 measured


def test_depth_is_millimetres_along_the_axis(gl: render.Renderer) -> None:
    camera = _camera()
    drawn = gl.draw([_square(camera, 0, 0, 512.5, 80, (255, 255, 255))], camera, _lights())
    assert drawn.depth_mm[122, 155] == pytest.approx(512.5, abs=0.05)
    assert np.isinf(drawn.depth_mm[2, 2])


def test_colour_is_premultiplied_and_masks_name_the_owner(gl: render.Renderer) -> None:
    camera = _camera()
    right = replace(_square(camera, -30, 0, 500, 25, (250, 200, 180)), owner=0)
    left = replace(_square(camera, 30, 0, 500, 25, (250, 200, 180)), owner=1)
    drawn = gl.draw([right, left], camera, _lights())
    assert (drawn.rgba[..., :3].max(-1) <= drawn.rgba[..., 3]).all()
    whole = drawn.rgba[..., 3] == 255
    assert (drawn.masks.astype(int).sum(-1)[whole] >= 254).all()
    columns = [np.nonzero(drawn.masks[..., h])[1].mean() for h in (0, 1)]
    assert columns[0] < columns[1]
    assert ((drawn.rgba[..., 3] > 0) & ~whole).any()  # smoothed edges exist


def test_the_first_light_throws_a_shadow(gl: render.Renderer) -> None:
    camera = Camera(
        "c", (200, 200), np.array([[300, 0, 99.5], [0, 300, 99.5], [0, 0, 1.0]]), np.zeros(5), np.eye(4)[:3]
    )
    wall = _square(camera, 0, 0, 600, 190, (200, 200, 200))
    blocker = _square(camera, 60, 0, 500, 15, (200, 200, 200))
    # The light comes from the upper right of the camera, so the shadow falls to the left of the blocker.
    lit = gl.draw([wall, blocker], camera, _lights((0.5, 0.0, -1.0)))
    bare = gl.draw([wall], camera, _lights((0.5, 0.0, -1.0)))
    shadow_px = camera.project(np.array([[60 - 50.0, 0, 600]]))[0].round().astype(int)
    at = (shadow_px[1], shadow_px[0])
    assert lit.rgba[at][0] < 0.75 * bare.rgba[at][0]
    assert abs(int(lit.rgba[20, 20, 0]) - int(bare.rgba[20, 20, 0])) <= 2


def test_painted_dots_lie_at_the_truth(gl: render.Renderer) -> None:
    found = [check.compare(1, i) for i in range(6)]
    offset = np.concatenate([np.linalg.norm(f.offset_px, axis=1) for f in found])
    assert len(offset) > 30
    assert offset.mean() < 0.5  # 0.23 measured over 200 scenes


# --- visibility --------------------------------------------------------------------------------------------


def _flat_depth(camera: Camera, depth_mm: float) -> Rendered:
    w, h = camera.size_px
    blank = np.zeros((h, w, 4), np.uint8)
    return Rendered(blank, np.full((h, w), depth_mm, np.float32), blank[..., :3])


def test_visibility_tells_four_cases_apart() -> None:
    camera = Camera(
        "c", (320, 240), np.array([[300, 0, 160], [0, 300, 120], [0, 0, 1.0]]), np.zeros(5), np.eye(4)[:3]
    )
    points = np.full((N_POINTS, 3), np.nan)
    normals = np.full((N_POINTS, 3), np.nan)
    points[:N_HAND] = (0, 0, 500)
    points[9] = (0, 92, 500)  # a palm of average size
    points[21:N_HAND] = np.column_stack([np.linspace(-50, 50, 64), np.zeros(64), np.full(64, 501.0)])
    normals[21:N_HAND] = (0, 0, -1)
    points[30], points[31] = (400, 0, 500), (0, 0, 530)
    normals[40] = (0, 0, 1)
    seen = truth.view_truth(_flat_depth(camera, 500), camera, points, normals).visibility
    assert (
        seen[22] == truth.VISIBLE and seen[0] == truth.VISIBLE
    )  # a joint lies under the skin and still counts
    assert seen[30] == truth.OUTSIDE
    assert seen[31] == truth.OCCLUDED  # 30 mm behind what is drawn
    assert seen[40] == truth.OCCLUDED  # faces away
    assert (seen[N_HAND:] == truth.ABSENT).all()


def test_boxes_hold_their_points() -> None:
    points = np.full((N_POINTS, 2), np.nan, np.float32)
    points[:N_HAND] = np.random.default_rng(0).uniform(50, 150, (N_HAND, 2))
    boxes = truth.boxes_px(points)
    assert (boxes[0, :2] < points[:N_HAND].min(0)).all() and (boxes[0, 2:] > points[:N_HAND].max(0)).all()
    assert np.isnan(boxes[1]).all()


# --- sprites and scenes ------------------------------------------------------------------------------------


def test_a_sprite_is_a_pure_function_of_seed_and_index(gl: render.Renderer) -> None:
    first, again, other = sprites.make(5, 3), sprites.make(5, 3), sprites.make(5, 4)
    assert (first.rgba == again.rgba).all() and (first.points_px == again.points_px).all()
    assert (first.rgba != other.rgba).any()


@pytest.mark.parametrize(("hands", "count"), [("one", N_HAND), ("two", N_POINTS)])
def test_sprites_hold_their_hands(gl: render.Renderer, hands: sprites.Hands, count: int) -> None:
    for index in range(4):
        sprite = sprites.make(2, index, hands)
        assert sprite.points_px.shape == (count, 2) and np.isfinite(sprite.points_px).all()
        extent = np.ptp(sprite.points_px, axis=0).max() / sprites.SPRITE_PX
        assert sprites.SHARE[0] - 0.01 < extent < sprites.SHARE[1] + 0.01
        seen = sprite.points_px[sprite.visibility == 1].round().astype(int)
        assert len(seen) > 0.15 * count
        # What counts as seen lies on the hand, or within a pixel of its outline.
        near = cv2.dilate(sprite.rgba[..., 3], np.ones((3, 3), np.uint8))
        assert (near[seen[:, 1], seen[:, 0]] > 0).mean() > 0.99


def test_splits_make_different_people(gl: render.Renderer) -> None:
    people = {
        split: {sprites.make(0, i, "one", split).subject % 10 for i in range(3)} for split in ("val", "test")
    }  # type: ignore[arg-type]
    assert people == {"val": {8}, "test": {9}}


@pytest.mark.parametrize("name", lights.LOOKS)
def test_every_look_makes_a_scene(gl: render.Renderer, name: lights.Look) -> None:
    sampled = scene.sample_scene(3, 0, name, cameras=2)
    pictures = scene.render_scene(sampled)
    for view in pictures:
        assert view.image_rgb.shape[1::-1] == view.camera.size_px
        assert view.image_rgb.std() > 3
        assert (view.truth.visibility > truth.ABSENT).sum() in (N_HAND, N_POINTS)
        np.testing.assert_allclose(
            view.truth.points_cam_mm[0], view.camera.cam_from_world[:3] @ [*_points(sampled)[0], 1], atol=0.01
        )
    if name == "studio":
        assert {v.camera.size_px for v in pictures} <= {(334, 512), (512, 334)}


def _points(sampled: scene.Scene) -> np.ndarray:
    from rt_hands.synth import staging

    points, _ = staging.points_of(sampled.hands)
    return points[:N_HAND] if np.isfinite(points[0]).all() else points[N_HAND:]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), share=st.floats(0.3, 0.9))
def test_a_crop_camera_frames_its_points(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 40, (20, 3))
    direction, up = rng.normal(0, 1, (2, 3))
    direction /= np.linalg.norm(direction)
    camera = views.crop_camera(rng, points, direction, up, 256, share)
    projected = camera.project(points)
    low, high = projected.min(0), projected.max(0)
    assert (high - low).max() == pytest.approx(256 * share, rel=1e-3)
    np.testing.assert_allclose((low + high) / 2, 127.5, atol=0.1)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_no_camera_looks_out_of_a_sleeve(seed: int) -> None:
    rng = np.random.default_rng(seed)
    arm = np.array([0.0, -1.0, 0.0])
    direction = views.direction_to_hand(rng, np.array([0.0, 0, 1]), np.array([0.0, 1, 0]), [arm])
    assert np.linalg.norm(direction) == pytest.approx(1)
    assert direction @ arm < views.INSIDE_ARM_COSINE


# --- looks, skins, sleeves ---------------------------------------------------------------------------------


def test_effects_at_rest_change_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    assert (look.apply(image, look.Effects()) == image).all()


def test_effects_do_what_they_say() -> None:
    image = np.full((64, 64, 3), 120, np.uint8)
    image[:, 32:] = 60
    warm = look.apply(image, look.Effects(gain=(1.2, 1.0, 0.8)))
    assert warm[5, 5].tolist() == [144, 120, 96]
    grey = look.apply(warm, look.Effects(saturation=0.0, noise=6.0))
    assert (np.ptp(grey.astype(int), axis=-1) <= 1).all()  # a grey camera's noise is grey
    noise = look.apply(image, look.Effects(noise=5.0, seed=1))[:, :30].astype(float) - 120
    assert noise.std() == pytest.approx(5.0, rel=0.15) and abs(noise.mean()) < 0.5
    streaked = look.apply(image, look.Effects(motion_px=(9.0, 0.0)))
    assert (
        60 < streaked[30, 32, 0] < 120
        and (look.apply(image, look.Effects(motion_px=(0, 9.0))) == image).all()
    )
    assert look.apply(image, look.Effects(jpeg=40)).shape == image.shape


def test_light_is_finite_and_its_first_lamp_shines() -> None:
    for index, name in enumerate(lights.LOOKS * 4):
        sampled = lights.sample(
            name, np.random.default_rng(index), np.array([0, 0, 1.0]), np.array([0, 1.0, 0])
        )
        assert np.isfinite(sampled.ambient_sh).all() and sampled.colours[0].min() > 0 and sampled.exposure > 0
        np.testing.assert_allclose(np.linalg.norm(sampled.towards[:, :3], axis=1), 1, rtol=1e-5)


@pytest.fixture
def no_data(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A data folder without skins or backgrounds, with the caches as on a fresh start, and restored after."""
    cached = (skins.names, skins.load)
    for function in cached:
        function.cache_clear()
    monkeypatch.setenv("RT_HANDS_DATA", str(tmp_path))
    yield
    for function in cached:
        function.cache_clear()


@pytest.mark.usefixtures("no_data")
def test_without_the_folder_skins_are_made_up_and_it_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    names = skins.names()
    assert len(names) == skins.N_PROCEDURAL and all(n.startswith("procedural") for n in names)
    skins.names()
    assert capsys.readouterr().err.count("procedural") == 1
    tones = [skins.load(n).tone for n in names]
    assert min(tones) < 1.5 and max(tones) > 4.5
    assert (skins.procedural(3).texture == skins.procedural(3).texture).all()
    with pytest.raises(InvalidInput, match="No skin 'nobody'"):
        skins.load("nobody")


def test_without_egl_the_debian_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import moderngl

    def fail(**_: object) -> None:
        raise Exception("libEGL.so.1: cannot open shared object file")

    monkeypatch.setattr(moderngl, "create_context", fail)
    with pytest.raises(MissingPart, match="libegl1 libgl1-mesa-dri"):
        render._open_context()


def test_a_sleeve_goes_round_its_arm() -> None:
    rng = np.random.default_rng(0)
    around, along = rng.uniform(0, 2 * np.pi, 4000), rng.uniform(0, 180, 4000)
    skin = np.column_stack([30 * np.cos(around), 22 * np.sin(around), -along]).astype(np.float32)
    arm = props.measure_arm(skin, np.zeros(3), np.array([0, 0, -1.0]), np.array([0, 1.0, 0]))
    sleeve = props.sleeve(arm, rng, 30, 240)
    radius = np.hypot(sleeve.vertices_mm[:, 0] / 30, sleeve.vertices_mm[:, 1] / 22)
    assert radius.min() > 1.0
    outward = (sleeve.normals[:, :2] * sleeve.vertices_mm[:, :2]).sum(1)
    assert (outward > 0).mean() > 0.85
    np.testing.assert_allclose(np.linalg.norm(sleeve.normals, axis=1), 1, atol=1e-3)


# --- the bundled sample ------------------------------------------------------------------------------------


def test_the_bundled_session_is_whole_and_its_truth_lies_on_skin() -> None:
    from rt_hands.capture.session_files import SessionSource

    folder = sample_dir()
    assert sum(p.stat().st_size for p in folder.iterdir()) < 5_000_000
    rig = Rig.load(folder / "rig.toml")
    with np.load(folder / "truth.npz") as known:
        points, visibility, t_ns = (known[k] for k in ("points_world_mm", "visibility", "t_ns"))
    assert points.shape == (len(t_ns), N_POINTS, 3) and visibility.shape == (len(t_ns), len(rig), N_POINTS)
    speeds = np.linalg.norm(np.diff(points, axis=0), axis=-1)
    assert speeds.max() < 60  # mm a frame: quick at most, never a jump
    source = SessionSource(folder)
    sets = list(source)
    source.close()
    assert [s.t_ns for s in sets] == t_ns.tolist() and set(sets[0].cameras) == set(rig.ids)
    reds = []
    for index in (0, 45, len(sets) - 1):
        projected = rig.project(points[index])
        for v, camera in enumerate(rig):
            frame = sets[index].get(camera.id)
            assert frame is not None and frame.size_px == camera.size_px
            seen = projected[v][visibility[index, v] == truth.VISIBLE].round().astype(int)
            pixels = frame.image_bgr[seen[:, 1], seen[:, 0]].astype(int)
            reds.append((pixels[:, 2] > pixels[:, 0] + 15).mean())
    assert np.mean(reds) > 0.93  # skin is redder than blue; the jumper and the room's walls are not


def test_the_bundled_clip_of_interlocked_hands_has_its_truth_on_skin() -> None:
    from rt_hands.capture import open_source
    from rt_hands.paths import clasped_dir

    with np.load(clasped_dir() / "truth.npz") as known:
        points, visibility = known["points_px"], known["visibility"]
    with open_source(str(clasped_dir() / "clasped.mp4")) as source:
        pictures = [frames.frames[0].image_bgr for frames in source]
    assert len(pictures) == len(points) == len(visibility) == 3 * 40
    reds = []
    for i in (0, 39, 60, 119):
        seen = points[i][visibility[i] == truth.VISIBLE].round().astype(int)
        pixels = pictures[i][seen[:, 1], seen[:, 0]].astype(int)
        reds.append((pixels[:, 2] > pixels[:, 0] + 15).mean())
    # Hands between hands: about a third of the points is seen.
    assert np.mean(reds) > 0.93 and 0.25 < (visibility == truth.VISIBLE).mean() < 0.6


def test_the_clip_of_interlocked_hands_is_made_again(gl: object, tmp_path: Path) -> None:
    from rt_hands.synth import clasped

    assert clasped.main(["--out", str(tmp_path), "--frames", "1"]) == 0
    with (
        np.load(tmp_path / "truth.npz") as made,
        np.load(sample_dir().parent / "clasped" / "truth.npz") as known,
    ):
        assert np.abs(made["points_px"][0] - known["points_px"][0]).max() < 0.02
