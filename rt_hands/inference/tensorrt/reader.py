"""Pictures up, points down: crop, network and decode on the GPU, so that 170 x 3 floats come back a crop.

Two slots: while the GPU works on one set of crops, the next is packed into the other's pinned memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput
from rt_hands.inference.cpm import check_interface
from rt_hands.inference.preprocess import Crop
from rt_hands.inference.tensorrt.engine import TensorRtEngine, start
from rt_hands.inference.tensorrt.graph import Replay
from rt_hands.inference.tensorrt.kernels import CROP_DTYPE, Kernels, bytes_needed, describe_crop, visible_rect
from rt_hands.layout import N_POINTS, NOT_GIVEN
from rt_hands.types import Image

Job = tuple[Image, Crop]
_AFFINE_BYTES = 2 * 3 * 8
_ALIGNED = 256  # bytes
_FIRST_PIXELS = 1 << 20  # bytes of pixels a slot starts with; it doubles when crops need more


@dataclass
class _Slot:
    """Fixed memory of one set of crops in flight. Staging: crops, affines, joints it is told, then packed pixels."""

    staging: NDArray[np.uint8]
    staging_address: int
    addresses: dict[str, int]
    points: NDArray[np.float32]
    points_address: int
    presence: NDArray[np.float32]
    replays: dict[int, Replay] = field(default_factory=dict)
    mark: object = None
    batch: int = 0


class CropReader:
    """Reads crops of pictures with a CPM on TensorRT. Call it, or `submit` and `collect` to overlap frames; not both.

    engine: a TensorRT engine with a CPM in it; it owns all memory, so closing it closes this.
    Raises InvalidInput for another kind of network, MissingPart where the kernels weren't compiled.
    """

    def __init__(self, engine: TensorRtEngine, slots: int = 2) -> None:
        self.input_px = check_interface(engine)
        if engine.outputs[1].dtype != "float32":
            raise InvalidInput(f"'presence' is {engine.outputs[1].dtype}; wanted float32.")
        self.engine = engine
        self._image, (self._maps, self._presence) = engine.inputs[0], engine.outputs
        self._joints = engine.inputs[1] if len(engine.inputs) > 1 else None
        self.map_px = int(self._maps.shape[-1] or 0)
        n = engine.max_batch
        self._affines_at = n * CROP_DTYPE.itemsize
        self._joints_at = _aligned(self._affines_at + n * _AFFINE_BYTES)
        joints_bytes = engine.network.nbytes(self._joints, n) if self._joints is not None else 0
        self._pixels_at = _aligned(self._joints_at + joints_bytes)
        self._flying: deque[_Slot] = deque()
        self._kernels = engine.owner.call(Kernels, engine.cuda)
        self._free = deque(engine.owner.call(self._new_slot) for _ in range(slots))
        self._all = tuple(self._free)
        engine.before_close.append(self._retire)

    def __call__(
        self, jobs: Sequence[Job], joints: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Points (B, 170, 3): x_px, y_px in each whole picture, score; and presence (B, 2). Any number of crops.

        joints: what the network is told, see `cpm.inputs_for`.
        """
        step = self.engine.max_batch
        parts = []
        for first in range(0, len(jobs), step):
            part = slice(first, first + step)
            self.submit(jobs[part], joints[part] if joints is not None else None)
            parts.append(self.collect())
        points, presence = zip(*parts, strict=True)
        return np.concatenate(points), np.concatenate(presence)

    def submit(self, jobs: Sequence[Job], joints: NDArray[np.float32] | None = None) -> None:
        """Queue crops and return at once. Raises InvalidInput when every slot is in flight or there are too many."""
        if not 1 <= len(jobs) <= self.engine.max_batch:
            raise InvalidInput(f"{len(jobs)} crops; this engine takes 1 to {self.engine.max_batch} at once.")
        if not self._free:
            raise InvalidInput(f"All {len(self._all)} slots are in flight; collect one first.")
        slot = self._free[0]
        rects = [visible_rect(image, crop, self.input_px) for image, crop in jobs]
        self._fit(slot, self._pixels_at + bytes_needed(rects))
        self._tell(slot, joints)
        used = self._pack(slot, jobs, rects)
        self.engine.owner.call(self._start, slot, len(jobs), used)
        self._flying.append(self._free.popleft())

    def collect(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The oldest submitted crops' points and presence, as new arrays; waits for them."""
        if not self._flying:
            raise InvalidInput("Nothing was submitted.")
        slot = self._flying.popleft()
        try:
            self.engine.owner.call(self.engine.cuda.wait, slot.mark)
            return slot.points[: slot.batch].copy(), slot.presence[: slot.batch].copy()
        finally:
            # Calls one at a time stay with one slot, or each size would be bound and recorded in both.
            if self._flying:
                self._free.append(slot)
            else:
                self._free.appendleft(slot)

    def _pack(self, slot: _Slot, jobs: Sequence[Job], rects: Sequence[tuple[int, int, int, int]]) -> int:
        """Write crops, affines and pixels into the pinned staging; bytes to upload. Unused crops are empty: black."""
        n = self.engine.max_batch
        crops = slot.staging[: self._affines_at].view(CROP_DTYPE)
        affines = slot.staging[self._affines_at :][: n * _AFFINE_BYTES].view(np.float64).reshape(n, 2, 3)
        crops[:], affines[:] = np.zeros((), CROP_DTYPE), 0.0
        at = self._pixels_at
        for i, ((image, crop), rect) in enumerate(zip(jobs, rects, strict=True)):
            crops[i] = describe_crop(crop, rect, slot.staging_address + at, self.input_px)
            affines[i] = crop.picture_from_map(self.input_px, self.map_px)
            x0, y0, x1, y1 = rect
            pixels = slot.staging[at : at + bytes_needed([rect])]
            np.copyto(pixels.reshape(y1 - y0, x1 - x0, 3), image[y0:y1, x0:x1])
            at += pixels.size
        return at

    def _tell(self, slot: _Slot, joints: NDArray[np.float32] | None) -> None:
        """Write what the network is told into the staging."""
        if self._joints is None:
            return
        nbytes = self.engine.network.nbytes(self._joints, self.engine.max_batch)
        told = slot.staging[self._joints_at :][:nbytes].view(self._joints.dtype)
        told[:] = NOT_GIVEN
        if joints is not None:
            told[: joints.size] = joints.ravel()

    def _fit(self, slot: _Slot, nbytes: int) -> None:
        if nbytes > slot.staging.size:
            self.engine.owner.call(self._stage, slot, 1 << (nbytes - 1).bit_length())

    # Everything below runs in the owner thread.

    def _stage(self, slot: _Slot, nbytes: int) -> None:
        """Larger staging memory: addresses change, so the slot's graphs are recorded anew."""
        cuda = self.engine.cuda
        for replay in slot.replays.values():
            replay.retire()
        slot.replays.clear()
        # Where there is no memory for the larger one, the slot keeps what it has.
        staging, address = _bytes(cuda.pinned((nbytes,), np.uint8)), cuda.alloc(nbytes)
        cuda.free(slot.staging_address)
        slot.staging, slot.staging_address = staging, address

    def _new_slot(self) -> _Slot:
        cuda, network, n = self.engine.cuda, self.engine.network, self.engine.max_batch
        nbytes = self._pixels_at + _FIRST_PIXELS
        points = cuda.pinned((n, N_POINTS, 3), np.float32)
        return _Slot(
            staging=_bytes(cuda.pinned((nbytes,), np.uint8)),
            staging_address=cuda.alloc(nbytes),
            addresses={s.name: cuda.alloc(network.nbytes(s, n)) for s in (self._image, *network.outputs)},
            points=points.view(np.float32),
            points_address=cuda.alloc(points.nbytes),
            presence=cuda.pinned(self._presence.sized(n), self._presence.dtype).view(np.float32),
        )

    def _start(self, slot: _Slot, batch: int, nbytes: int) -> None:
        cuda = self.engine.cuda
        size = padded_batch(batch, self.engine.max_batch)
        if size not in slot.replays:
            slot.replays[size] = self._record(slot, size)
        # Outside the graph: how many bytes go up differs from frame to frame, and a graph would freeze it.
        cuda.upload(slot.staging_address, slot.staging[:nbytes])
        start(self.engine, slot.replays[size])
        slot.mark, slot.batch = cuda.mark(), batch

    def _record(self, slot: _Slot, size: int) -> Replay:
        """The fixed work of a slot for a batch size: crop, network, decode, points and presence down."""
        cuda, network, kernels = self.engine.cuda, self.engine.network, self._kernels
        image, maps, presence = (slot.addresses[s.name] for s in (self._image, self._maps, self._presence))
        affines = slot.staging_address + self._affines_at
        told = {self._joints.name: slot.staging_address + self._joints_at} if self._joints is not None else {}
        shape = (size, N_POINTS + 1, self.map_px, self.map_px)
        context = network.bind(size, slot.addresses | told)
        points_down, presence_down = slot.points[:size], slot.presence[:size]

        def enqueue() -> None:
            kernels.crop_rgb(slot.staging_address, image, self._image.dtype, size, self.input_px)
            network.enqueue(context)
            kernels.decode(maps, self._maps.dtype, shape, N_POINTS, affines, slot.points_address)
            cuda.download(points_down, slot.points_address)
            cuda.download(presence_down, presence)

        wipe = (
            (maps, network.nbytes(self._maps, size)),
            (presence, network.nbytes(self._presence, size)),
            (slot.points_address, points_down.nbytes),
        )
        return Replay(cuda, enqueue, (points_down, presence_down), wipe, self.engine.use_graphs)

    def _retire(self) -> None:
        for slot in self._all:
            for replay in slot.replays.values():
                replay.retire()
            slot.replays.clear()
            slot.mark = None


def padded_batch(batch: int, max_batch: int) -> int:
    """The batch size that is run for so many crops: a power of two, so that few graphs serve every rig."""
    return min(1 << (batch - 1).bit_length(), max_batch)


def _aligned(nbytes: int) -> int:
    """Where the next tensor may start: TensorRT wants multiples of 256."""
    return -(-nbytes // _ALIGNED) * _ALIGNED


def _bytes(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    return array.view(np.uint8)


__all__ = ["CropReader", "padded_batch"]
