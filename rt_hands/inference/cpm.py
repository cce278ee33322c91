"""The CPM at run time: crops of pictures in, hand points and presence out, all crops in one engine call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rt_hands import _core
from rt_hands.camera import Rig
from rt_hands.clock import StageClock
from rt_hands.errors import InvalidInput
from rt_hands.inference.engine import CropReading, Engine, SurfaceReading, open_engine
from rt_hands.inference.models import find_model
from rt_hands.inference.preprocess import PEAK_METHOD, Crop, fill_input
from rt_hands.layout import N_HAND, N_HANDS, N_POINTS
from rt_hands.lifting.rtc import Surface
from rt_hands.types import Image


@dataclass(frozen=True, slots=True)
class Read:
    """What the network says of B crops.

    points_px: (B, 2, 85, 3) float32: x_px, y_px in the whole picture, peak of the belief map; every channel has a
    peak, so whether a hand is there must be judged (see `tracking.readings`).
    presence: (B, 2) float32 probabilities, right then left. crops: the B crops.
    belief_maps: (B, 171, n, n) float32, the engine's own buffer, good until the next call. Surely there only where
    they were asked for: engines that decode on their device leave them there, and this is (0, 171, n, n).
    """

    points_px: NDArray[np.float32]
    presence: NDArray[np.float32]
    crops: tuple[Crop, ...]
    belief_maps: NDArray[np.float32]

    def part(self, first: int, end: int) -> Read:
        """What it says of crops first .. end - 1."""
        if (first, end) == (0, len(self.crops)):
            return self
        at = slice(first, end)
        return Read(self.points_px[at], self.presence[at], self.crops[at], self.belief_maps[at])

    def mirrored(self, width_px: int) -> Read:
        """The same of the mirrored picture: hands change places. The belief maps are left out."""
        points = self.points_px[:, ::-1].copy()
        points[..., 0] = width_px - 1 - points[..., 0]
        crops = tuple(crop.mirrored(width_px) for crop in self.crops)
        return Read(points, self.presence[:, ::-1].copy(), crops, self.belief_maps[:0])


class Cpm:
    """The network with its pre- and postprocessing. One thread at a time."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.input_px = _check_interface(engine)
        # TensorRT crops and decodes on the GPU, so that pixels go up as uint8 and only points come back.
        self._reader = engine.crop_reader() if isinstance(engine, CropReading) else None

    @staticmethod
    def load(
        model: str = "default", engine: str = "auto", threads: int | None = None, precision: str = "auto"
    ) -> Cpm:
        """Open a packaged network, or an .onnx path, in an engine; see `find_model` and `open_engine`."""
        return Cpm(open_engine(find_model(model), engine, threads, precision))

    def __call__(
        self, jobs: Sequence[tuple[Image, Crop]], clock: StageClock | None = None, keep_maps: bool = False
    ) -> Read:
        """Read crops, each of its own picture: one engine call for all. Stages preprocess, infer, decode are timed.

        Where the engine does all three on its device, they count as infer. keep_maps: the belief maps are wanted.
        """
        clock = clock or StageClock()
        crops = tuple(crop for _, crop in jobs)
        if not jobs:
            return _nothing()
        if self._reader is not None and not keep_maps:
            with clock.stage("infer"):
                flat, hands = self._reader(jobs)
            return Read(flat.reshape(len(jobs), N_HANDS, N_HAND, 3), hands, crops, self._no_maps)
        with clock.stage("preprocess"):
            (batch,) = self.engine.buffers(len(jobs))
            fill_input(jobs, batch)
        with clock.stage("infer"):
            maps, presence = (np.asarray(out, np.float32) for out in self.engine.run(batch))
        with clock.stage("decode"):
            points = self._decode(maps, crops)
        return Read(points, presence.copy(), crops, maps)

    def surface_reader(self, rig: Rig) -> Surface | None:
        """RTC on the device where the CPM runs, for `lift`; None where that is the CPU."""
        return self.engine.surface_reader(rig) if isinstance(self.engine, SurfaceReading) else None

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()

    @property
    def _no_maps(self) -> NDArray[np.float32]:
        side = self.engine.outputs[0].shape[-1] or 1
        return np.zeros((0, N_POINTS + 1, side, side), np.float32)

    def _decode(self, maps: NDArray[np.float32], crops: Sequence[Crop]) -> NDArray[np.float32]:
        affine = np.array([crop.picture_from_map(self.input_px, maps.shape[-1]) for crop in crops])
        points = _core.decode_heatmaps(maps[:, :N_POINTS], affine=affine, method=PEAK_METHOD)
        return points.reshape(len(crops), N_HANDS, N_HAND, 3)


def _check_interface(engine: Engine) -> int:
    """Input side in px; raises InvalidInput where the network is not a CPM of 170 points."""
    shapes = [spec.shape for spec in engine.inputs + engine.outputs]
    square = len(shapes) == 3 and len(shapes[0]) == 4 and shapes[0][1] == 3 and shapes[0][2] == shapes[0][3]
    if not square or shapes[0][2] is None or shapes[1][1] != N_POINTS + 1 or shapes[2][-1] != N_HANDS:
        raise InvalidInput(
            f"The network has inputs and outputs {shapes}; a CPM takes (B, 3, n, n) and gives "
            f"(B, {N_POINTS + 1}, m, m) and (B, {N_HANDS})."
        )
    return int(shapes[0][2])


def _nothing() -> Read:
    return Read(
        np.zeros((0, N_HANDS, N_HAND, 3), np.float32),
        np.zeros((0, N_HANDS), np.float32),
        (),
        np.zeros((0, N_POINTS + 1, 1, 1), np.float32),
    )
