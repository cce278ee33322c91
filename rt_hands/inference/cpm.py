"""The CPM at run time: crops of pictures in, hand points and presence out, all crops in one engine call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from rt_hands import _core
from rt_hands.camera import Rig
from rt_hands.clock import StageClock
from rt_hands.errors import InvalidInput
from rt_hands.inference.engine import Array, CropReading, Engine, SurfaceReading, open_engine
from rt_hands.inference.models import find_model
from rt_hands.inference.preprocess import PEAK_METHOD, Crop, fill_input
from rt_hands.layout import N_HAND, N_HANDS, N_JOINTS, N_POINTS, NOT_GIVEN
from rt_hands.lifting.rtc import Surface
from rt_hands.types import Image

JOINTS_SHAPE: Final = (N_HANDS, N_JOINTS, 2)
_WARM_UP_PX: Final = (1280, 720)  # of the black pictures; for larger ones more room is made when they come
Told = Sequence[NDArray[np.floating] | None]
"""Of each crop, the joints (2, 21, 2) of both hands that are known from elsewhere, px of the picture, NaN where they
aren't; None where nothing is."""


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
    """The network with its pre- and postprocessing. Threads that call it wait for each other.

    takes_joints: whether it can be told of joints that are known from elsewhere; the packaged networks can.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.input_px = check_interface(engine)
        self.takes_joints = len(engine.inputs) > 1
        # TensorRT crops and decodes on the GPU, so that pixels go up as uint8 and only points come back.
        self._reader = engine.crop_reader() if isinstance(engine, CropReading) else None
        # Else two threads would write their crops into the engine's one buffer, and read each other's hands.
        self._lock = Lock()

    @staticmethod
    def load(
        model: str = "default", engine: str = "auto", threads: int | None = None, precision: str = "auto"
    ) -> Cpm:
        """Open a packaged network, or an .onnx path, in an engine; see `find_model` and `open_engine`."""
        return Cpm(open_engine(find_model(model), engine, threads, precision))

    def __call__(
        self,
        jobs: Sequence[tuple[Image, Crop]],
        clock: StageClock | None = None,
        keep_maps: bool = False,
        told: Told | None = None,
    ) -> Read:
        """Read crops, each of its own picture: one engine call for all. Stages preprocess, infer, decode are timed.

        Where the engine does all three on its device, they count as infer. keep_maps: the belief maps are wanted.
        told: joints known from elsewhere, see `Told`, for a network that takes them.
        """
        clock = clock or StageClock()
        crops = tuple(crop for _, crop in jobs)
        if not jobs:
            return _nothing()
        joints = self._joints(crops, told) if told is not None else None
        with self._lock:
            return self._run(jobs, crops, joints, clock, keep_maps)

    def _run(
        self,
        jobs: Sequence[tuple[Image, Crop]],
        crops: tuple[Crop, ...],
        joints: NDArray[np.float32] | None,
        clock: StageClock,
        keep_maps: bool,
    ) -> Read:
        if self._reader is not None and not keep_maps:
            with clock.stage("infer"):
                flat, hands = self._reader(jobs, joints)
            return Read(flat.reshape(len(jobs), N_HANDS, N_HAND, 3), hands, crops, self._no_maps)
        with clock.stage("preprocess"):
            arrays = inputs_for(self.engine, len(jobs), joints)
            fill_input(jobs, arrays[0])
        with clock.stage("infer"):
            maps, presence = (np.asarray(out, np.float32) for out in self.engine.run(*arrays))
        with clock.stage("decode"):
            points = self._decode(maps, crops)
        return Read(points, presence.copy(), crops, maps)

    def warm_up(self, batches: Iterable[int] = (1,)) -> None:
        """Run each batch size twice on nothing, the way that calls go, so that the first frame isn't the slow one.

        An engine that crops on its device pads batches to powers of two: it runs all of them up to the largest.
        """
        if self._reader is None:
            self.engine.warm_up(batches)
            return
        width, height = _WARM_UP_PX
        black = np.zeros((height, width, 3), np.uint8), Crop.around((width / 2, height / 2), width)
        most = max(batches, default=1)
        # The largest first: room for its pixels is made once, and more room would undo what was warmed before.
        for batch in (most, *(1 << i for i in reversed(range((most - 1).bit_length())))):
            for _ in range(2):
                self._reader([black] * batch, None)

    def surface_reader(self, rig: Rig) -> Surface | None:
        """RTC on the device where the CPM runs, for `lift`; None where that is the CPU."""
        return self.engine.surface_reader(rig) if isinstance(self.engine, SurfaceReading) else None

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()

    def __reduce__(self) -> NoReturn:
        raise InvalidInput(
            "A loaded network can't be copied or sent to another process; make a Detector there."
        )

    def _joints(self, crops: Sequence[Crop], told: Told) -> NDArray[np.float32]:
        """(B, 2, 21, 2) what the crops are told, in shares of the input, as the network wants it."""
        if not self.takes_joints:
            raise InvalidInput(
                "This network can't be told of joints known from elsewhere: export it anew with "
                "python -m rt_hands.training.export_cpm."
            )
        out = np.full((len(crops), *JOINTS_SHAPE), NOT_GIVEN, np.float32)
        for row, crop, points_px in zip(out, crops, told, strict=True):
            if points_px is not None:
                shares = crop.shares_of(points_px, self.input_px)
                np.copyto(row, shares, where=np.isfinite(shares).all(-1, keepdims=True))
        return out

    @property
    def _no_maps(self) -> NDArray[np.float32]:
        side = self.engine.outputs[0].shape[-1] or 1
        return np.zeros((0, N_POINTS + 1, side, side), np.float32)

    def _decode(self, maps: NDArray[np.float32], crops: Sequence[Crop]) -> NDArray[np.float32]:
        affine = np.array([crop.picture_from_map(self.input_px, maps.shape[-1]) for crop in crops])
        points = _core.decode_heatmaps(maps[:, :N_POINTS], affine=affine, method=PEAK_METHOD)
        return points.reshape(len(crops), N_HANDS, N_HAND, 3)


def inputs_for(engine: Engine, batch: int, joints: NDArray[np.float32] | None = None) -> tuple[Array, ...]:
    """A CPM engine's own input arrays: the pictures, to be filled, and where it takes them the joints, filled.

    joints: (B, 2, 21, 2) shares of the pictures, NOT_GIVEN where nothing is known, which is everywhere when None.
    """
    arrays = engine.buffers(batch)
    if len(arrays) > 1:
        arrays[1][...] = NOT_GIVEN if joints is None else joints
    return arrays


def check_interface(engine: Engine) -> int:
    """Input side in px; raises InvalidInput where the network is not a CPM of 170 points."""
    given, made = ([spec.shape for spec in specs] for specs in (engine.inputs, engine.outputs))
    image = given[0] if given else ()
    square = len(image) == 4 and image[1] == 3 and image[2] == image[3] and image[2] is not None
    fits = len(made) == 2 and made[0][1] == N_POINTS + 1 and made[1][-1] == N_HANDS
    joints = [shape[1:] for shape in given[1:]]
    if not square or not fits or joints not in ([], [JOINTS_SHAPE]):
        raise InvalidInput(
            f"The network has inputs {given} and outputs {made}; a CPM takes (B, 3, n, n), and (B, 2, 21, 2) if it "
            f"can be told of joints, and gives (B, {N_POINTS + 1}, m, m) and (B, {N_HANDS})."
        )
    return int(image[2] or 0)


def _nothing() -> Read:
    return Read(
        np.zeros((0, N_HANDS, N_HAND, 3), np.float32),
        np.zeros((0, N_HANDS), np.float32),
        (),
        np.zeros((0, N_POINTS + 1, 1, 1), np.float32),
    )
