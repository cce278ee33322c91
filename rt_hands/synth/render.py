"""Meshes, lights and a camera in; a picture, its depth and its masks out, through OpenGL (EGL, no window)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Camera
from rt_hands.errors import MissingPart
from rt_hands.synth import shaders

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

NEAR_FAR_MM: Final = (40.0, 6000.0)
SHADOW_MAP_PX: Final = 512
SAMPLES: Final = 4
KEPT_TEXTURES: Final = 40
MIPMAP_ABOVE_PX: Final = 512


@dataclass(frozen=True, slots=True)
class Mesh:
    """One thing with one texture.

    vertices_mm, normals: (N, 3) float32, world. faces: (F, 3) int32. uv: (N, 2) float32, (0, 0) at the texture's
    top left. texture: (h, w, 3) uint8 RGB. scatter: how far red, green and blue bleed past the shadow's edge, 0 for
    cloth.
    owner: 0 right hand, 1 left hand, 2 anything else. casts: whether it throws shadows.
    two_sided: drawn from behind too; faces are counter-clockwise seen from outside.
    """

    vertices_mm: F32
    normals: F32
    faces: NDArray[np.int32]
    uv: F32
    texture: U8
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    scatter: tuple[float, float, float] = (0.0, 0.0, 0.0)
    roughness: float = 0.6
    reflectance: float = 0.03
    bump_mm: float = 0.0
    owner: int = 2
    casts: bool = True
    two_sided: bool = False


@dataclass(frozen=True, slots=True)
class Lights:
    """What shines.

    ambient_sh: (9, 3) irradiance / pi in the order 1, y, z, x, xy, yz, 3zz-1, xz, xx-yy. towards: (3, 4) unit
    vector to the light and 0, or its place in mm and 1; the first one throws the shadow. colours: (3, 3) linear,
    black ones last.
    """

    ambient_sh: F32
    towards: F32
    colours: F32
    exposure: float = 1.0
    shadow_softness_px: float = 2.0
    shadow_strength: float = 1.0
    ao_strength: float = 0.85


@dataclass(frozen=True, slots=True)
class Rendered:
    """rgba: (h, w, 4) uint8, colour already multiplied by alpha. depth_mm: (h, w) float32, inf where nothing is.

    masks: (h, w, 3) uint8 share of each pixel that belongs to the right hand, left hand, anything else.
    """

    rgba: U8
    depth_mm: F32
    masks: U8


def _open_context() -> Any:
    """A headless OpenGL context, or MissingPart with the line that mends it."""
    # llvmpipe starts a thread a core; the commands here split work over processes instead.
    os.environ.setdefault("LP_NUM_THREADS", "1")
    try:
        import moderngl
    except ImportError:
        raise MissingPart("Rendering needs moderngl: pip install 'rt_hands[synth]'.") from None
    try:
        return moderngl.create_context(standalone=True, backend="egl")  # type: ignore[arg-type]
    except Exception as error:  # noqa: BLE001 - moderngl and glcontext raise bare Exception
        raise MissingPart(
            f"No OpenGL through EGL here ({error}). On Debian and Ubuntu: "
            "apt-get install libegl1 libgl1-mesa-dri (software rendering, no GPU needed)."
        ) from None


@cache
def _context() -> Any:
    """The process's one context: with two, calls would go to whichever was opened last."""
    return _open_context()


class Renderer:
    """Draws meshes. All of a process share one context, bound to the thread that made it."""

    def __init__(self, samples: int = SAMPLES, shadow_px: int = SHADOW_MAP_PX) -> None:
        self._gl = _context()
        self._gl.front_face = "cw"  # row 0 is drawn first, which turns the winding over
        self._samples = samples
        self._lit = self._gl.program(shaders.LIT_VERTEX, shaders.LIT_FRAGMENT)
        self._unlit = self._gl.program(shaders.UNLIT_VERTEX, shaders.UNLIT_FRAGMENT)
        self._shade = self._gl.program(shaders.SHADOW_VERTEX, shaders.SHADOW_FRAGMENT)
        self._shadow_map = self._gl.depth_texture((shadow_px, shadow_px))
        self._shadow_map.compare_func = "<="
        self._shadow_map.repeat_x = self._shadow_map.repeat_y = False  # beyond the map all is lit
        self._shadow_fbo = self._gl.framebuffer(depth_attachment=self._shadow_map)
        self._shadow_px = shadow_px
        self._targets: dict[tuple[int, int, int], _Target] = {}
        self._textures: dict[tuple[int, bool], tuple[U8, Any]] = {}

    @property
    def name(self) -> str:
        """The driver's own name, as in `llvmpipe`."""
        return str(self._gl.info["GL_RENDERER"])

    def draw(
        self, meshes: Sequence[Mesh], camera: Camera, lights: Lights, capsules: F32 | None = None
    ) -> Rendered:
        """A lit picture. capsules: (C, 7) end a, end b, radius in mm, for the soft darkening between fingers."""
        buffers = [_Buffers(self._gl, mesh) for mesh in meshes]
        target = self._target(camera.size_px, self._samples)
        shadow = shadow_matrix(meshes, lights.towards[0])
        self._draw_shadow(buffers, shadow)
        target.begin()
        _set_camera(self._lit, camera)
        self._set_lights(lights, shadow, camera, capsules)
        self._shadow_map.use(1)
        for buffer in buffers:
            self._set_material(buffer.mesh)
            self._gl.enable_only(self._gl.DEPTH_TEST | (0 if buffer.mesh.two_sided else self._gl.CULL_FACE))
            buffer.draw(self._lit, "position", "normal", "uv")
        for buffer in buffers:
            buffer.release()
        return target.read()

    def draw_flat(self, meshes: Sequence[Mesh], camera: Camera) -> Rendered:
        """Texture colours as they are: no light, no smoothing of edges or texels. For checks of the truth."""
        target = self._target(camera.size_px, 0)
        target.begin()
        _set_camera(self._unlit, camera)
        for mesh in meshes:
            buffer = _Buffers(self._gl, mesh)
            texture = self._texture(mesh.texture, False)
            texture.filter = (self._gl.NEAREST, self._gl.NEAREST)
            texture.use(0)
            buffer.draw(self._unlit, "position", "uv")
            buffer.release()
        return target.read()

    def _target(self, size_px: tuple[int, int], samples: int) -> _Target:
        key = (*size_px, samples)
        if key not in self._targets:
            if len(self._targets) > 8:
                self._targets.pop(next(iter(self._targets))).release()
            self._targets[key] = _Target(self._gl, size_px, samples)
        return self._targets[key]

    def _texture(self, pixels: U8, mipmaps: bool) -> Any:
        """The GL texture of an array, kept while the same array comes again (skins repeat, props do not)."""
        key = (id(pixels), mipmaps)
        if key in self._textures:
            self._textures[key] = self._textures.pop(key)  # used last, dropped last
            return self._textures[key][1]
        if len(self._textures) >= KEPT_TEXTURES:
            self._textures.pop(next(iter(self._textures)))[1].release()
        texture = self._gl.texture(
            pixels.shape[1::-1], 3, np.ascontiguousarray(pixels).tobytes(), alignment=1
        )
        if mipmaps:
            texture.build_mipmaps()
        # The array is kept beside its texture so that its id can't be given to another one.
        self._textures[key] = (pixels, texture)
        return texture

    def _draw_shadow(self, buffers: Sequence[_Buffers], shadow: F32) -> None:
        self._shadow_fbo.use()
        self._gl.enable_only(self._gl.DEPTH_TEST)
        self._shadow_fbo.clear(depth=1.0)
        self._shade["shadow_from_world"].write(shadow.T.tobytes())
        for buffer in buffers:
            if buffer.mesh.casts:
                buffer.draw(self._shade, "position")

    def _set_lights(self, lights: Lights, shadow: F32, camera: Camera, capsules: F32 | None) -> None:
        program = self._lit
        table = np.zeros((0, 7), np.float32) if capsules is None else capsules[: shaders.MAX_CAPSULES]
        ends = np.zeros((2, shaders.MAX_CAPSULES, 4), np.float32)
        ends[0, : len(table), :3], ends[0, : len(table), 3] = table[:, :3], table[:, 6]
        ends[1, : len(table), :3] = table[:, 3:6]
        program["capsule_count"].value = len(table)
        program["capsule_a"].write(ends[0].tobytes())
        program["capsule_b"].write(ends[1].tobytes())
        program["shadow_from_world"].write(shadow.T.tobytes())
        program["ambient"].write(lights.ambient_sh.astype(np.float32).tobytes())
        program["light_from"].write(lights.towards.astype(np.float32).tobytes())
        program["light_colour"].write(lights.colours.astype(np.float32).tobytes())
        program["light_count"].value = int((lights.colours.max(1) > 0).sum())
        program["exposure"].value = lights.exposure
        program["ao_strength"].value = lights.ao_strength
        program["shadow_strength"].value = lights.shadow_strength
        program["shadow_softness"].value = lights.shadow_softness_px / self._shadow_px
        program["shadow_map"].value = 1
        program["eye_world"].value = tuple(camera.centre_world_mm)

    def _set_material(self, mesh: Mesh) -> None:
        program = self._lit
        # Mipmaps cost 30 ms in software; they pay for skins, which come again, not for a sleeve's 128 px tile.
        mipmaps = max(mesh.texture.shape) > MIPMAP_ABOVE_PX
        texture = self._texture(mesh.texture, mipmaps)
        texture.filter = (self._gl.LINEAR_MIPMAP_LINEAR if mipmaps else self._gl.LINEAR, self._gl.LINEAR)
        texture.use(0)
        program["tint"].value = mesh.tint
        program["scatter"].value = mesh.scatter
        program["roughness"].value = mesh.roughness
        program["gloss"].value = mesh.roughness**4
        program["reflectance"].value = mesh.reflectance
        program["two_sided"].value = mesh.two_sided
        program["bump_mm"].value = mesh.bump_mm
        program["owner"].value = tuple(float(mesh.owner == i) for i in range(3))


class _Buffers:
    """A mesh on the GL side."""

    def __init__(self, gl: Any, mesh: Mesh) -> None:
        n = len(mesh.vertices_mm)
        table = np.zeros((n, 8), np.float32)
        table[:, :3], table[:, 3:6], table[:, 6:8] = mesh.vertices_mm, mesh.normals, mesh.uv
        self.mesh = mesh
        self._gl = gl
        self._vertices = gl.buffer(table.tobytes())
        self._faces = gl.buffer(np.ascontiguousarray(mesh.faces, np.int32).tobytes())

    def draw(self, program: Any, *fields: str) -> None:
        """All triangles, with these of position, normal and uv given to the program."""
        columns = {"position": "3f", "normal": "3f", "uv": "2f"}
        layout = " ".join(form if name in fields else _padding(form) for name, form in columns.items())
        array = self._gl.vertex_array(program, [(self._vertices, layout, *fields)], index_buffer=self._faces)
        array.render()
        array.release()

    def release(self) -> None:
        """Free the memory of the renderer."""
        self._vertices.release()
        self._faces.release()


def _padding(form: str) -> str:
    return f"{4 * int(form[0])}x"


class _Target:
    """Colour, masks and depth of one picture size; smoothed edges when samples > 0."""

    def __init__(self, gl: Any, size_px: tuple[int, int], samples: int) -> None:
        self._gl, self._size = gl, size_px
        plain = [gl.texture(size_px, 4), gl.texture(size_px, 4)]
        self._plain = gl.framebuffer(plain, gl.depth_texture(size_px))
        self._drawn = self._plain
        if samples:
            colours = [gl.renderbuffer(size_px, 4, samples=samples) for _ in range(2)]
            self._drawn = gl.framebuffer(colours, gl.depth_renderbuffer(size_px, samples=samples))

    def begin(self) -> None:
        """Draw here from now on, on an empty picture."""
        self._drawn.use()
        self._gl.enable_only(self._gl.DEPTH_TEST)
        self._drawn.clear(0.0, 0.0, 0.0, 0.0, depth=1.0)

    def read(self) -> Rendered:
        """What was drawn."""
        if self._drawn is not self._plain:
            self._gl.copy_framebuffer(self._plain, self._drawn)
        w, h = self._size
        rgba = np.frombuffer(self._plain.read(components=4, alignment=1), np.uint8).reshape(h, w, 4)
        mask = np.frombuffer(self._plain.read(components=3, attachment=1, alignment=1), np.uint8).reshape(
            h, w, 3
        )
        raw = self._plain.read(components=1, attachment=-1, dtype="f4", alignment=1)
        return Rendered(rgba, _linear_depth_mm(np.frombuffer(raw, np.float32).reshape(h, w)), mask)

    def release(self) -> None:
        """Free the memory of the renderer."""
        self._drawn.release()
        self._plain.release()


def _linear_depth_mm(window: F32) -> F32:
    """Window depth 0..1 -> distance along the camera's axis in mm, inf at the far plane."""
    n, f = NEAR_FAR_MM
    depth = 2 * f * n / ((f + n) - (2 * window - 1) * (f - n))
    return np.where(window >= 1, np.float32(np.inf), depth).astype(np.float32)


def _set_camera(program: Any, camera: Camera) -> None:
    k = camera.K
    program["cam_from_world"].write(camera.cam_from_world.T.astype(np.float32).tobytes())
    program["intrinsics"].value = (k[0, 0], k[1, 1], k[0, 2], k[1, 2])
    program["size_px"].value = camera.size_px
    program["near_far_mm"].value = NEAR_FAR_MM
    program["distortion"].write(camera.distortion.astype(np.float32).tobytes())


def shadow_matrix(meshes: Sequence[Mesh], towards: F32) -> F32:
    """(4, 4) world mm to the shadow map's clip space: parallel rays that cover everything that throws a shadow."""
    points = np.concatenate([m.vertices_mm for m in meshes if m.casts] or [np.zeros((1, 3), np.float32)])
    centre = (points.min(0) + points.max(0)) / 2
    ray = towards[:3] - centre if towards[3] > 0.5 else towards[:3]
    ray = ray / np.linalg.norm(ray)
    side = np.cross(ray, (0.0, 0.0, 1.0) if abs(ray[2]) < 0.9 else (1.0, 0.0, 0.0))
    side /= np.linalg.norm(side)
    axes = np.stack([side, np.cross(ray, side), -ray])
    local = (points - centre) @ axes.T
    low, high = local.min(0) - 2, local.max(0) + 2
    scale = 2 / (high - low)
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, :3] = axes * scale[:, None]
    matrix[:3, 3] = -matrix[:3, :3] @ centre - scale * (high + low) / 2
    return matrix


@cache
def renderer(samples: int = SAMPLES) -> Renderer:
    """This process's own renderer, opened on first use."""
    return Renderer(samples)
