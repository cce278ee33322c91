"""Camera and Rig: intrinsics, distortion and pose in mm, and their TOML file.

OpenCV conventions: x_cam = R x_world + t, +z forward, pixel centre at (0, 0), distortion (k1, k2, p1, p2, k3).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from numpy.typing import ArrayLike, NDArray

from rt_hands import _core, lens
from rt_hands.errors import InvalidInput
from rt_hands.paths import read_toml, write_atomically

SCHEMA_VERSION = 1
SAME_SHAPE = 0.01
"""Difference of width over height up to which a picture is taken for a scaled one: sizes are whole pixels."""
_ROTATION_TOLERANCE = (
    1e-4  # six printed decimals of a rotation leave about 1e-6; a scale of 1.001 leaves 1e-3
)

_FREE_OF_K = np.array([[1, 0, 1], [0, 1, 1], [0, 0, 0]], bool)
"""Entries of K that a camera chooses: the core has no skew."""


def _numbers(camera: str, name: str, value: ArrayLike) -> NDArray[np.float64]:
    """A float64 array; None, text, ragged rows and whole numbers beyond a double raise InvalidInput."""
    try:
        if value is None:
            raise TypeError
        return np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(f"Camera '{camera}': {name} is not a table of numbers.") from None


def _field(camera: str, name: str, value: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """A read-only float64 array of the wanted shape, all finite, or an error that names camera and field."""
    array = _numbers(camera, name, value)
    if array.shape != shape:
        raise InvalidInput(f"Camera '{camera}': {name} has shape {array.shape}; wanted {shape}.")
    if not np.isfinite(array).all():
        raise InvalidInput(f"Camera '{camera}': {name} holds NaN or infinity.")
    array.flags.writeable = False
    return array


def _distortion(camera: str, value: ArrayLike) -> NDArray[np.float64]:
    terms = _numbers(camera, "distortion", value).ravel()
    if terms.size > 5:
        raise InvalidInput(
            f"Camera '{camera}': distortion has {terms.size} terms; up to 5 (k1, k2, p1, p2, k3) are supported. "
            "Calibrate again without CALIB_RATIONAL_MODEL, thin-prism and tilt terms."
        )
    return _field(camera, "distortion", np.pad(terms, (0, 5 - terms.size)), (5,))


def _check_rotation(camera: str, cam_from_world: NDArray[np.float64]) -> None:
    r = cam_from_world[:3, :3]
    if np.abs(r @ r.T - np.eye(3)).max() > _ROTATION_TOLERANCE or np.linalg.det(r) < 0:
        raise InvalidInput(
            f"Camera '{camera}': the 3x3 part of cam_from_world is not a rotation "
            f"(determinant {np.linalg.det(r):.4f}, |R R^T - I| {np.abs(r @ r.T - np.eye(3)).max():.1e})."
        )
    if not np.allclose(cam_from_world[3], (0, 0, 0, 1)):
        raise InvalidInput(f"Camera '{camera}': the last row of cam_from_world is not 0 0 0 1.")


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera with up to five OpenCV distortion terms.

    id: its name. size_px: (width, height). K: (3, 3). distortion: up to (5,) k1 k2 p1 p2 k3.
    cam_from_world: (4, 4) or (3, 4), translation in mm. clock_offset_ms: how much later (+) than their stamps say its
    pictures are taken, against the rig's first camera. Raises InvalidInput that names camera and field.
    """

    id: str
    size_px: tuple[int, int]
    K: NDArray[np.float64]
    distortion: NDArray[np.float64]
    cam_from_world: NDArray[np.float64]
    clock_offset_ms: float = 0.0

    def __post_init__(self) -> None:
        size = _field(self.id, "size_px", self.size_px, (2,))
        if (size < 1).any() or (size != np.round(size)).any():
            raise InvalidInput(
                f"Camera '{self.id}': size_px is {self.size_px}; wanted two whole numbers above 0."
            )
        k = _field(self.id, "K", self.K, (3, 3))
        plain = np.where(_FREE_OF_K, k, np.eye(3))
        if k[0, 0] <= 0 or k[1, 1] <= 0 or not np.allclose(k, plain):
            raise InvalidInput(
                f"Camera '{self.id}': K is not [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with fx, fy > 0."
            )
        # Products and decompositions of matrices leave rounding where the core wants 0 and 1.
        k = _field(self.id, "K", plain, (3, 3))
        pose = _numbers(self.id, "cam_from_world", self.cam_from_world)
        if pose.shape == (3, 4):
            pose = np.vstack([pose, (0, 0, 0, 1)])
        pose = _field(self.id, "cam_from_world", pose, (4, 4))
        _check_rotation(self.id, pose)
        for name, value in (
            ("size_px", (int(size[0]), int(size[1]))),
            ("K", k),
            ("distortion", _distortion(self.id, self.distortion)),
            ("cam_from_world", pose),
            ("clock_offset_ms", float(_field(self.id, "clock_offset_ms", self.clock_offset_ms, ()))),
        ):
            object.__setattr__(self, name, value)

    @property
    def rotation(self) -> NDArray[np.float64]:
        """(3, 3) world to camera."""
        return self.cam_from_world[:3, :3]

    @property
    def translation_mm(self) -> NDArray[np.float64]:
        """(3,) world origin in the camera's frame."""
        return self.cam_from_world[:3, 3]

    @property
    def centre_world_mm(self) -> NDArray[np.float64]:
        """(3,) the camera's own place in the world."""
        return -self.rotation.T @ self.translation_mm

    def project(self, points_world_mm: NDArray[np.floating]) -> NDArray[np.float32]:
        """Image points with distortion: (N, 3) mm -> (N, 2) px; NaN behind the camera."""
        return Rig((self,)).project(points_world_mm)[0]

    def undistort(self, points_px: NDArray[np.floating]) -> NDArray[np.float64]:
        """Where the points would lie without distortion, same K: (N, 2) px -> (N, 2) px; NaN where no ray leads."""
        points = _numbers(self.id, "points_px", points_px)
        if points.ndim != 2 or points.shape[1] != 2:
            raise InvalidInput(f"points_px has shape {points.shape}; wanted (N, 2), without a score.")
        rays = lens.directions(points, self.K, self.distortion)
        return rays * self.K[[0, 1], [0, 1]] + self.K[:2, 2]

    def resized(self, size_px: tuple[int, int]) -> Camera:
        """The same camera for pictures scaled to another size, pixel centres kept at whole numbers."""
        s = np.array(size_px, np.float64) / self.size_px
        k = self.K.copy()
        k[:2] *= s[:, None]
        k[:2, 2] += 0.5 * s - 0.5
        return replace(self, size_px=size_px, K=k)

    def check_image(self, size_px: tuple[int, int]) -> None:
        """Raise InvalidInput when a picture's (width, height) is not the calibrated one."""
        if tuple(size_px) != self.size_px:
            raise InvalidInput(
                f"Camera '{self.id}': the picture is {size_px[0]}x{size_px[1]}, the calibration is for "
                f"{self.size_px[0]}x{self.size_px[1]}. {self._way_to(size_px)}"
            )

    def has_shape_of(self, size_px: tuple[int, int]) -> bool:
        """Whether pictures of this size can be the calibrated ones scaled: of another shape they were cut."""
        across, down = (new / old for new, old in zip(size_px, self.size_px, strict=True))
        return abs(across / down - 1) < SAME_SHAPE

    def _way_to(self, size_px: tuple[int, int]) -> str:
        if not self.has_shape_of(size_px):
            return "Set the camera to the latter, or calibrate it anew: pictures of another shape are cut, not scaled."
        return (
            "Set the camera to the latter, or scale the calibration: "
            f"python -m rt_hands.formats RIG NEW --resize {size_px[0]} {size_px[1]}"
        )


@dataclass(frozen=True, eq=False)
class Rig:
    """Calibrated cameras in one world, matched by id, never by order."""

    cameras: tuple[Camera, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "cameras", tuple(self.cameras))
        ids = [c.id for c in self.cameras]
        if not ids:
            raise InvalidInput("A rig needs at least one camera; got none.")
        twice = sorted({i for i in ids if ids.count(i) > 1})
        if twice:
            raise InvalidInput(f"Camera id '{twice[0]}' stands twice in the rig; ids must differ.")

    def __len__(self) -> int:
        return len(self.cameras)

    def __iter__(self) -> Iterator[Camera]:
        return iter(self.cameras)

    def __getitem__(self, camera: str) -> Camera:
        found = next((c for c in self.cameras if c.id == camera), None)
        if found is None:
            raise InvalidInput(f"The rig has no camera '{camera}'. It has: {', '.join(self.ids)}.")
        return found

    @property
    def ids(self) -> tuple[str, ...]:
        """Camera ids, in order."""
        return tuple(c.id for c in self.cameras)

    @property
    def clock_offset_ms(self) -> dict[str, float]:
        """By camera id; see `Camera`."""
        return {c.id: c.clock_offset_ms for c in self.cameras}

    def with_clock_offsets(self, offset_ms: Mapping[str, float]) -> Rig:
        """The rig with other offsets for the cameras named. Raises InvalidInput for one that it doesn't have."""
        for camera in offset_ms:
            self[camera]
        return Rig(
            tuple(replace(c, clock_offset_ms=offset_ms.get(c.id, c.clock_offset_ms)) for c in self.cameras)
        )

    def subset(self, ids: Sequence[str]) -> Rig:
        """The rig of these cameras, in this order."""
        return Rig(tuple(self[i] for i in ids))

    def check_depth(self) -> None:
        """Raise InvalidInput for a rig of one camera: it takes two for depth."""
        if len(self) < 2:
            raise InvalidInput(
                f"3D needs two cameras of the rig; got {self.ids[0]}: give another source, or no rig."
            )

    @cached_property
    def K(self) -> NDArray[np.float64]:
        """(V, 3, 3)."""
        return np.stack([c.K for c in self.cameras])

    @cached_property
    def distortion(self) -> NDArray[np.float64]:
        """(V, 5)."""
        return np.stack([c.distortion for c in self.cameras])

    @cached_property
    def cam_from_world(self) -> NDArray[np.float64]:
        """(V, 3, 4), mm."""
        return np.stack([c.cam_from_world[:3] for c in self.cameras])

    @cached_property
    def size_px(self) -> NDArray[np.float64]:
        """(V, 2) width, height."""
        return np.array([c.size_px for c in self.cameras], np.float64)

    @property
    def unreached(self) -> str:
        """A sentence on cameras whose lens models have no rays for the corners of their pictures; empty for none."""
        shares = {c.id: lens.unreached_share(c.size_px, c.K, c.distortion) for c in self.cameras}
        return lens.unreached_words(shares)

    @cached_property
    def level(self) -> Rig:
        """The rig as if all pictures were as large as the largest, so that a pixel is worth the same in each.

        By their longer sides: a camera on its side has the pixels of one that is upright.
        """
        return Rig(tuple(_enlarged(camera, int(self.side_px)) for camera in self.cameras))

    @property
    def side_px(self) -> float:
        """Longer side of the largest picture, of which limits in pixels are shares."""
        return float(self.size_px.max())

    @cached_property
    def level_scale(self) -> NDArray[np.float64]:
        """(V, 2) by which pixels across and down become those of `level`."""
        return self.level.size_px / self.size_px

    def levelled(self, points_px: NDArray[np.float32]) -> NDArray[np.float32]:
        """Points (V, N, 2 or more: x, y) in the pixels of `level`: the same array where all are as large."""
        if (self.level_scale == 1).all():
            return points_px
        out = points_px.copy()
        scale = self.level_scale[:, None]
        out[..., :2] = (points_px[..., :2] + 0.5) * scale - 0.5
        return out

    def project(self, points_world_mm: NDArray[np.floating]) -> NDArray[np.float32]:
        """Image points in every view: (N, 3) mm -> (V, N, 2) px with distortion.

        NaN behind a camera, and where a point far out of view would land in the picture: beyond some angle the
        distortion's polynomial turns back.
        """
        points_px, in_front, inside = _core.project(
            np.ascontiguousarray(points_world_mm, np.float64),
            self.K,
            self.distortion,
            self.cam_from_world,
            self.size_px,
        )
        pixels = points_px.astype(np.float32)
        pixels[~in_front] = np.nan
        if not inside.all():
            within = ((points_px >= -0.5) & (points_px < self.size_px[:, None] - 0.5)).all(2)
            pixels[within & ~inside] = np.nan
        return pixels

    def undistort(self, points_px: NDArray[np.floating]) -> NDArray[np.float64]:
        """Undistorted image points of every view: (V, N, 2) px -> (V, N, 2) px."""
        if points_px.ndim != 3 or points_px.shape[0] != len(self) or points_px.shape[2] != 2:
            raise InvalidInput(f"points_px has shape {points_px.shape}; wanted ({len(self)}, N, 2).")
        return np.stack([c.undistort(p) for c, p in zip(self.cameras, points_px, strict=True)])

    def save(self, path: str | Path) -> None:
        """Write the rig's TOML file, atomically: a crash leaves the old file or the new one.

        `schema_version`, `units`, and a table [cameras.<id>] a camera with size_px, K, distortion, cam_from_world and,
        where it is not 0, clock_offset_ms.
        """
        text = tomli_w.dumps(
            {
                "schema_version": SCHEMA_VERSION,
                "units": "mm",
                "cameras": {c.id: _to_table(c) for c in self.cameras},
            }
        )
        write_atomically(Path(path), text.encode())

    @staticmethod
    def load(path: str | Path) -> Rig:
        """Read a rig's TOML file. Raises InvalidInput that names the file, the camera and the field."""
        path = Path(path)
        data = read_toml(path, "rig file")
        try:
            return _from_tables(data)
        except InvalidInput as error:
            raise InvalidInput(f"Rig file '{path}': {error}") from None


def _enlarged(camera: Camera, side: int) -> Camera:
    own = max(camera.size_px)
    if own == side:
        return camera
    width, height = (max(round(n * side / own), 1) for n in camera.size_px)
    return camera.resized((width, height))


def _to_table(camera: Camera) -> dict[str, Any]:
    table: dict[str, Any] = {
        "size_px": list(camera.size_px),
        "K": camera.K.tolist(),
        "distortion": camera.distortion.tolist(),
        "cam_from_world": camera.cam_from_world.tolist(),
    }
    return table | ({"clock_offset_ms": camera.clock_offset_ms} if camera.clock_offset_ms else {})


def _from_tables(data: Mapping[str, Any]) -> Rig:
    version = data.get("schema_version")
    if version != SCHEMA_VERSION:
        raise InvalidInput(
            f"schema_version is {version}; this rt_hands reads {SCHEMA_VERSION}. "
            "Another program's file is read by rt_hands.formats.load_rig."
        )
    if data.get("units") != "mm":
        raise InvalidInput(f"units is {data.get('units')!r}; wanted 'mm'.")
    tables = data.get("cameras")
    if not isinstance(tables, dict) or not tables:
        raise InvalidInput("there is no [cameras.<id>] table.")
    return Rig(tuple(_from_table(name, table) for name, table in tables.items()))


def _from_table(name: str, table: object) -> Camera:
    if not isinstance(table, dict):
        raise InvalidInput(f"Camera '{name}' is not a table.")
    if table.get("fisheye") or table.get("model", "pinhole") != "pinhole":
        raise InvalidInput(
            f"Camera '{name}': fisheye lenses are not supported yet. Undistort its pictures to a pinhole camera first."
        )
    fields = ("size_px", "K", "distortion", "cam_from_world")
    for field in fields:
        if field not in table:
            raise InvalidInput(f"Camera '{name}': {field} is missing.")
    try:
        return Camera(name, *(table.get(field, 0.0) for field in (*fields, "clock_offset_ms")))
    except TypeError:
        raise InvalidInput(
            f"Camera '{name}': a field has the wrong type; see `Rig.save` for the form."
        ) from None
