"""Joints up, dense hands down: canonical frame, RTC, back to the world and into every view, in one GPU graph."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Rig
from rt_hands.errors import InvalidInput
from rt_hands.inference.tensorrt.cuda import Array, Device, Launch
from rt_hands.inference.tensorrt.engine import TensorRtEngine, start
from rt_hands.inference.tensorrt.graph import Replay
from rt_hands.inference.tensorrt.kernels import fatbin
from rt_hands.layout import N_HAND, N_JOINTS, N_SURFACE
from rt_hands.lifting.canonical import (
    METRIC_UNIT_MM,
    MIN_SCALE_MM,
    MIN_SPREAD,
    PALM_JOINTS,
    PALM_TEMPLATE,
    check_joints,
)
from rt_hands.lifting.rtc import MIN_VALID_JOINTS

_FRAME_BYTES: Final = 14 * 8  # struct Frame of csrc/cuda/lift.cu
_VIEW_DOUBLES: Final = 21  # struct View


@dataclass(frozen=True, slots=True)
class Lifted:
    """hands_mm: (N, 85, 3) float64 world, NaN for absent hands. confidence: (N, 64) float32, 0 for absent hands.

    points_px: (V, N, 85, 2) float32 in every view of the rig, NaN behind a camera or where the hand is absent.
    """

    hands_mm: NDArray[np.float64]
    confidence: NDArray[np.float32]
    points_px: NDArray[np.float32]


class LiftKernels:
    """The kernels of csrc/cuda/lift.cu; each call queues one launch."""

    def __init__(self, device: Device) -> None:
        self._launch: Launch = device.load_kernels(fatbin("lift"))

    def canonicalise(
        self,
        joints_mm: int,
        side: int,
        count: int,
        constants: tuple[int, int],
        unit_mm: float,
        out: tuple[int, int, int],
    ) -> None:
        """(N, 21, 3) mm, (N,) -> joints, valid, frames at `out`. constants: palm template and palm joints."""
        arguments: list[np.generic] = [np.uint64(joints_mm), np.uint64(side), np.int32(count)]
        arguments += [np.uint64(address) for address in constants]
        arguments += [np.float64(MIN_SCALE_MM), np.float64(MIN_SPREAD), np.int32(MIN_VALID_JOINTS)]
        arguments += [np.float64(unit_mm), *(np.uint64(address) for address in out)]
        self._launch("canonicalise", (-(-count // 32), 1, 1), (32, 1, 1), arguments)

    def place(self, joints_mm: int, side: int, surface: int, frames: int, hands_mm: int, count: int) -> None:
        """Joints and canonical surface (N, 64, 3) -> hands (N, 85, 3) mm."""
        arguments = tuple(np.uint64(a) for a in (joints_mm, side, surface, frames, hands_mm))
        self._launch("place", (count, 1, 1), (N_HAND, 1, 1), arguments)

    def project(self, points_mm: int, count: int, views: int, view_count: int, points_px: int) -> None:
        """(count, 3) mm -> (V, count, 2) px."""
        arguments = (np.uint64(points_mm), np.int32(count), np.uint64(views), np.uint64(points_px))
        self._launch("project", (-(-count // 128), view_count, 1), (128, 1, 1), arguments)


class RtcLifter:
    """`Rtc` and `Rig.project` in one launch. engine: TensorRT with an RTC network in it; it owns all memory.

    normalised: whether the network was trained in the canonical frame (its metadata `normalise`, see `Rtc`).
    Raises InvalidInput for another kind of network, MissingPart where the kernels weren't compiled.
    """

    def __init__(self, engine: TensorRtEngine, rig: Rig, normalised: bool = True) -> None:
        names = [spec.name for spec in (*engine.inputs, *engine.outputs)]
        if sorted(names) != ["confidence", "joints", "surface", "valid"]:
            raise InvalidInput(f"The network has inputs and outputs {names}; an RTC is wanted.")
        self.engine, self.rig = engine, rig
        self._unit_mm = 0.0 if normalised else METRIC_UNIT_MM
        self._bound: dict[int, _Bound] = {}
        self._kernels = engine.owner.call(LiftKernels, engine.cuda)
        engine.before_close.append(self._retire)

    def __call__(self, joints_mm: NDArray[np.floating], side: NDArray[np.integer]) -> Lifted:
        """Joints (N, 21, 3) mm in the world, NaN where missing; side (N,) 0 right, 1 left. New arrays every time.

        Raises InvalidInput for wrong shapes, and for more hands than the engine's max_batch.
        """
        side = np.asarray(side)
        check_joints(joints_mm, side)
        n = len(side)
        if n not in self._bound:
            self._bound[n] = self.engine.owner.call(self._bind, n)
        bound = self._bound[n]
        bound.joints_mm[...], bound.side[...] = joints_mm, side
        self.engine.owner.call(self._step, bound)
        hands_mm, confidence, points_px = (array.copy() for array in bound.results)
        confidence[np.isnan(hands_mm[:, N_JOINTS, 0])] = 0
        return Lifted(hands_mm, confidence, points_px.reshape(len(self.rig), n, N_HAND, 2))

    def surface(
        self, joints_mm: NDArray[np.floating], side: NDArray[np.integer]
    ) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
        """The same as an `Rtc` gives it, for `lift`: (N, 64, 3) mm and confidence (N, 64)."""
        lifted = self(joints_mm, side)
        return lifted.hands_mm[:, N_JOINTS:], lifted.confidence

    # Everything below runs in the owner thread.

    def _step(self, bound: _Bound) -> None:
        start(self.engine, bound.replay)
        self.engine.cuda.synchronise()

    def _constants(self) -> tuple[int, int, int]:
        """Addresses of the palm template, the palm joints and the views."""
        cuda, addresses = self.engine.cuda, []
        palm = np.asarray(PALM_TEMPLATE, np.float64), np.asarray(PALM_JOINTS, np.int32)
        for array in (*palm, view_table(self.rig)):
            pinned = cuda.pinned(array.shape, array.dtype)
            pinned[...] = array
            addresses.append(cuda.alloc(array.nbytes))
            cuda.upload(addresses[-1], pinned)
            cuda.synchronise()
        return addresses[0], addresses[1], addresses[2]

    def _bind(self, n: int) -> _Bound:
        cuda, network, kernels = self.engine.cuda, self.engine.network, self._kernels
        template, palm_joints, views = self._constants()
        tensors = {s.name: cuda.alloc(network.nbytes(s, n)) for s in network.inputs + network.outputs}
        context = network.bind(n, tensors)
        joints_mm, side = cuda.pinned((n, N_JOINTS, 3), np.float64), cuda.pinned((n,), np.int32)
        hands_mm, confidence = (
            cuda.pinned((n, N_HAND, 3), np.float64),
            cuda.pinned((n, N_SURFACE), np.float32),
        )
        points_px = cuda.pinned((len(self.rig), n * N_HAND, 2), np.float32)
        joints_at, side_at, frames_at, hands_at, points_at = (
            cuda.alloc(size)
            for size in (joints_mm.nbytes, side.nbytes, n * _FRAME_BYTES, hands_mm.nbytes, points_px.nbytes)
        )

        def enqueue() -> None:
            cuda.upload(joints_at, joints_mm)
            cuda.upload(side_at, side)
            out = (tensors["joints"], tensors["valid"], frames_at)
            kernels.canonicalise(joints_at, side_at, n, (template, palm_joints), self._unit_mm, out)
            network.enqueue(context)
            kernels.place(joints_at, side_at, tensors["surface"], frames_at, hands_at, n)
            kernels.project(hands_at, n * N_HAND, views, len(self.rig), points_at)
            cuda.download(hands_mm, hands_at)
            cuda.download(confidence, tensors["confidence"])
            cuda.download(points_px, points_at)

        results = (hands_mm, confidence, points_px)
        places = (hands_at, tensors["confidence"], points_at)
        wipe = tuple((at, array.nbytes) for at, array in zip(places, results, strict=True))
        replay = Replay(cuda, enqueue, results, wipe, self.engine.use_graphs)
        return _Bound(joints_mm, side, results, replay)

    def _retire(self) -> None:
        for bound in self._bound.values():
            bound.replay.retire()
        self._bound.clear()


@dataclass(frozen=True, slots=True)
class _Bound:
    """Pinned arrays of one number of hands, and the work on them. results: hands_mm, confidence, points_px."""

    joints_mm: Array
    side: Array
    results: tuple[Any, Any, Any]
    replay: Replay


def view_table(rig: Rig) -> NDArray[np.float64]:
    """The cameras as `struct View` wants them: (V, 21) fx fy cx cy, k1 k2 p1 p2 k3, rotation, translation."""
    k, pose = rig.K, rig.cam_from_world
    pinhole = np.stack([k[:, 0, 0], k[:, 1, 1], k[:, 0, 2], k[:, 1, 2]], 1)
    table = np.concatenate([pinhole, rig.distortion, pose[:, :, :3].reshape(-1, 9), pose[:, :, 3]], 1)
    if table.shape[1] != _VIEW_DOUBLES:
        raise InvalidInput(
            f"The cameras give {table.shape[1]} numbers each; the kernel reads {_VIEW_DOUBLES}."
        )
    return np.ascontiguousarray(table)


__all__ = ["LiftKernels", "Lifted", "RtcLifter", "view_table"]
