"""Results in the rerun viewer: cameras where they stand, their pictures, the hands in 3D, all on one timeline."""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Camera, Rig
from rt_hands.display.overlay import fit
from rt_hands.display.window import why_no_window
from rt_hands.errors import InvalidInput, MissingPart
from rt_hands.layout import (
    HANDS,
    JOINT_BONES,
    N_HANDS,
    N_JOINTS,
    SURFACE_BONES,
    hand_slice,
    point_colours_bgr,
)
from rt_hands.pipeline import Result
from rt_hands.types import Hands3D, Image

PICTURE_WIDTH_PX: Final = 640
JPEG_QUALITY: Final = 80
JOINT_M: Final = 0.003
SURFACE_M: Final = 0.0015
PICTURE_PLANE_M: Final = 0.15
_COLOURS_RGB: Final = point_colours_bgr()[:, ::-1]
_BONES: Final = np.array(JOINT_BONES)
_CAGE: Final = np.array(SURFACE_BONES)


class RerunView:
    """A `Consumer` of results. file: an .rrd to write; None opens the viewer's window.

    World axes are the rig's, in metres. Raises MissingPart without the package, InvalidInput without a display.
    """

    def __init__(self, rig: Rig | None, file: str | None = None) -> None:
        self.name = f"rerun {file or 'viewer'}"
        check_viewer(file)
        self._rr = _package()
        self._stream: Any = self._rr.RecordingStream("rt_hands")
        self._known: set[str] = set()
        self._rig = rig
        self._to_begin = file
        if file is not None:
            return
        self._stream.spawn()
        self._log_axes()

    def accept(self, result: Result) -> None:
        """Log one moment."""
        if self._to_begin is not None:
            # Not before the first result: a source that gives none leaves the file that is there.
            self._stream.save(self._to_begin)
            self._to_begin = None
            self._log_axes()
        self._stream.set_time("capture", duration=result.frames.t_ns * 1e-9)
        self._stream.set_time("frame", sequence=result.frames.index)
        for i, frame in enumerate(result.frames.frames):
            camera = None if self._rig is None else self._rig[frame.camera]
            self._log_picture(frame.camera, frame.image_bgr, camera, result.shown(i).points_px)
        if result.rig is not None:
            self._log_hands(result.rig.hands)

    def close(self) -> None:
        """Send what waits, and finish the file."""
        self._stream.flush()
        self._stream.disconnect()

    def _log_axes(self) -> None:
        self._stream.log("world", self._rr.ViewCoordinates.RDF, static=True)

    def _log_picture(
        self, name: str, image: Image, camera: Camera | None, points_px: NDArray[np.float32]
    ) -> None:
        rr, at = self._rr, f"world/cameras/{name}"
        small = _smaller(image)
        share = small.shape[1] / image.shape[1]
        if camera is not None and name not in self._known:
            self._log_camera(at, camera.resized((small.shape[1], small.shape[0])))
        self._known.add(name)
        jpeg = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
        self._stream.log(at, rr.EncodedImage(contents=jpeg, media_type="image/jpeg"))
        there = np.isfinite(points_px[:, 0])
        points = (points_px[there, :2] + 0.5) * share
        self._stream.log(f"{at}/hands", rr.Points2D(points, colors=_COLOURS_RGB[there], radii=2.0))

    def _log_camera(self, at: str, camera: Camera) -> None:
        """Lens and place. The viewer knows no lens distortion, so its pictures lie a little off their rays."""
        rr = self._rr
        place = rr.Transform3D(translation=camera.centre_world_mm / 1000, mat3x3=camera.rotation.T)
        lens = rr.Pinhole(
            image_from_camera=camera.K,
            resolution=list(camera.size_px),
            camera_xyz=rr.ViewCoordinates.RDF,
            image_plane_distance=PICTURE_PLANE_M,
        )
        self._stream.log(at, place, lens, static=True)

    def _log_hands(self, hands: Hands3D) -> None:
        rr = self._rr
        for hand, name in enumerate(HANDS[:N_HANDS]):
            at = f"world/hands/{name}"
            if not hands.present[hand]:
                self._stream.log(at, rr.Clear(recursive=True))
                continue
            points_m, colours = hands.hand_mm(hand) / 1000, _COLOURS_RGB[hand_slice(hand)]
            there = np.isfinite(points_m[:, 0])
            radii = np.where(np.arange(len(points_m)) < N_JOINTS, JOINT_M, SURFACE_M)
            shown = rr.Points3D(points_m[there], colors=colours[there], radii=radii[there])
            self._stream.log(f"{at}/points", shown)
            for part, bones, radius in (("bones", _BONES, JOINT_M / 2), ("skin", _CAGE, SURFACE_M / 3)):
                drawn = bones[there[bones].all(1)]
                lines = rr.LineStrips3D(points_m[drawn], colors=colours[drawn[:, 1]], radii=radius)
                self._stream.log(f"{at}/{part}", lines)


def check_viewer(file: str | None) -> None:
    """Raise what `RerunView` raises, before anything else is done."""
    _package()
    if file is None and (reason := why_no_window()) is not None:
        raise InvalidInput(f"No rerun viewer: {reason}. Give --rerun-file hands.rrd and open it elsewhere.")


def _package() -> Any:
    try:
        import rerun
    except ImportError:
        raise MissingPart("--rerun needs the rerun viewer: pip install 'rt_hands[rerun]'") from None
    return rerun


def _smaller(image: Image) -> Image:
    if image.shape[1] <= PICTURE_WIDTH_PX:
        return image
    return fit(image, PICTURE_WIDTH_PX, round(image.shape[0] * PICTURE_WIDTH_PX / image.shape[1]))
