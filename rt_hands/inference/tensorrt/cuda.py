"""The few CUDA operations an engine needs, by pycuda; tests put a NumPy device in its place."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rt_hands.errors import InvalidInput, MissingPart, RtHandsError
from rt_hands.inference.tensorrt.graph import Graph, GraphRefused, capture
from rt_hands.inference.tensorrt.probe import Gpu, error_name, load_libcuda

Array = NDArray[np.generic]
Size3 = tuple[int, int, int]
_NON_BLOCKING: Final = (
    1  # CU_STREAM_NON_BLOCKING: work of others on the default stream must not break a recording
)
_PAGE: Final = 4096
_MODULE: Final = "<module>"
_LOST: Final = (
    "illegal", "launch failure", "launch timed out", "assert", "misaligned", "hardware", "uncorrectable", "context",
    "address space", "program counter", "shutting down", "unknown error",
)  # fmt: skip
"""In the driver's words for the errors after which a context takes no more calls."""

Launch = Callable[[str, Size3, Size3, Sequence[np.generic]], None]
"""Queue a kernel: name, grid, block, arguments as NumPy scalars (pointers as uint64)."""

PYCUDA_LINE: Final = "pip install pycuda (it needs nvcc to build)"


class CudaFailed(InvalidInput):
    """A CUDA call failed. said: the driver's own words."""

    def __init__(self, sentence: str, said: str) -> None:
        super().__init__(sentence)
        self.said = said


class DeviceLost(CudaFailed):
    """The CUDA context can't be used any more; the engine must be opened again."""


class Device(Protocol):
    """One GPU with its own stream. Addresses are plain integers. Every call belongs to one thread."""

    gpu: Gpu
    stream: int

    def alloc(self, nbytes: int) -> int:
        """Address of new device memory, freed by `close`. Raises InvalidInput where it doesn't fit."""
        ...

    def free(self, address: int) -> None:
        """Give memory of `alloc` back."""
        ...

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A host array that copies overlap with work on the GPU."""
        ...

    def upload(self, address: int, array: Array) -> None:
        """Queue a copy of a pinned array to the device."""
        ...

    def download(self, array: Array, address: int) -> None:
        """Queue a copy from the device into a pinned array."""
        ...

    def fill(self, address: int, value: int, nbytes: int) -> None:
        """Queue setting bytes of device memory."""
        ...

    def mark(self) -> object:
        """Queue a mark that `wait` waits for."""
        ...

    def wait(self, mark: object) -> None:
        """Wait until the work queued before a mark is done."""
        ...

    def synchronise(self) -> None:
        """Wait for all that is queued."""
        ...

    def capture(self, work: Callable[[], None]) -> Graph:
        """Record what `work` queues. Raises GraphRefused."""
        ...

    def load_kernels(self, image: bytes) -> Launch:
        """Load a fatbin. Raises MissingPart where this GPU or its driver doesn't take it."""
        ...

    def close(self) -> None:
        """Free the device memory and leave the context."""
        ...


class PycudaDevice:
    """See `Device`. Uses the GPU's primary context, shared with torch or other engines of this process."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu = gpu
        self._cuda = _import_pycuda()
        self._libcuda = load_libcuda()
        with self._sentences():
            self._cuda.init()
            self._context: Any = self._cuda.Device(gpu.index).retain_primary_context()
            self._context.push()
            try:
                self._stream = self._cuda.Stream(_NON_BLOCKING)
            except BaseException:
                # A context left on a thread's stack has pycuda abort the process when the thread ends.
                self._leave_context()
                raise
        self.stream = int(self._stream.handle)
        self._allocations: dict[int, Any] = {}
        self._loaded: list[dict[str, Any]] = []
        self._pins: list[Array] = []

    def alloc(self, nbytes: int) -> int:
        with self._sentences():
            allocation = self._cuda.mem_alloc(max(nbytes, 1))
        self._allocations[int(allocation)] = allocation
        return int(allocation)

    def free(self, address: int) -> None:
        with self._sentences():
            self._stream.synchronize()
            self._allocations.pop(address).free()

    def pinned(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        # NumPy's own memory, pinned afterwards: an array that outlives the engine stays valid. By ctypes, since
        # pycuda's register_host_memory segfaults with NumPy 2 (seen with pycuda 2026.1).
        array = _page_aligned(shape, np.dtype(dtype))
        pointer, nbytes = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(max(array.nbytes, 1))
        code = self._libcuda.cuMemHostRegister_v2(pointer, nbytes, 0)
        if code:
            raise InvalidInput(
                f"{array.nbytes} bytes of memory can't be pinned for {self.gpu.name} "
                f"({error_name(self._libcuda, code)}). Raise `ulimit -l`, or lower max_batch."
            )
        self._pins.append(array)
        return array

    def upload(self, address: int, array: Array) -> None:
        with self._sentences():
            self._cuda.memcpy_htod_async(address, array, self._stream)

    def download(self, array: Array, address: int) -> None:
        with self._sentences():
            self._cuda.memcpy_dtoh_async(array, address, self._stream)

    def fill(self, address: int, value: int, nbytes: int) -> None:
        with self._sentences():
            self._cuda.memset_d8_async(address, value, nbytes, self._stream)

    def mark(self) -> object:
        with self._sentences():
            event = self._cuda.Event(self._cuda.event_flags.DISABLE_TIMING)
            event.record(self._stream)
        return event

    def wait(self, mark: Any) -> None:
        with self._sentences():
            mark.synchronize()

    def synchronise(self) -> None:
        with self._sentences():
            self._stream.synchronize()

    def capture(self, work: Callable[[], None]) -> Graph:
        try:
            return capture(self._libcuda, self.stream, work)
        except CudaFailed as error:
            # pycuda's next call fails where TensorRT broke the recording off; a lost context shows at the call after.
            raise GraphRefused(f"recording failed ({error.said})") from error

    def load_kernels(self, image: bytes) -> Launch:
        with self._sentences():
            module = self._cuda.module_from_buffer(image)
        # Held here alone, so that `close` frees them in this thread whoever still has `launch`.
        loaded: dict[str, Any] = {_MODULE: module}
        self._loaded.append(loaded)

        def launch(name: str, grid: Size3, block: Size3, arguments: Sequence[np.generic]) -> None:
            with self._sentences():
                if name not in loaded:
                    loaded[name] = loaded[_MODULE].get_function(name)
                loaded[name](*arguments, block=block, grid=grid, stream=self._stream)

        return launch

    def close(self) -> None:
        try:
            with self._sentences():
                self._stream.synchronize()
                for allocation in self._allocations.values():
                    allocation.free()
        finally:
            # Done in a lost context too: pycuda aborts the process when a thread ends with a context on its stack.
            self._leave()

    def _leave(self) -> None:
        for pinned in self._pins:
            self._libcuda.cuMemHostUnregister(ctypes.c_void_p(pinned.ctypes.data))
        self._pins.clear()
        self._allocations.clear()
        for loaded in self._loaded:
            loaded.clear()
        self._stream = None
        with self._sentences():
            self._leave_context()

    def _leave_context(self) -> None:
        try:
            self._context.pop()
        finally:
            self._context.detach()

    def _sentences(self) -> _Sentences:
        return _Sentences(self._cuda, self.gpu)


class _Sentences:
    """Turns pycuda's errors into ours: `with _Sentences(cuda, gpu): ...`."""

    def __init__(self, cuda: Any, gpu: Gpu) -> None:
        self._cuda, self._gpu = cuda, gpu

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None and isinstance(error, self._cuda.Error):
            raise cuda_error(self._cuda, self._gpu, error) from error


def cuda_error(cuda: Any, gpu: Gpu, error: BaseException) -> RtHandsError:
    """The sentence for a pycuda error.

    InvalidInput where memory is out, MissingPart for kernels that don't load, DeviceLost, else CudaFailed.
    """
    text = (str(error).splitlines() or [type(error).__name__])[0]
    lower = text.lower()
    if isinstance(error, cuda.MemoryError) or "out of memory" in text:
        return InvalidInput(
            f"{gpu.name} is out of memory. Close other programs on it, or open the engine with a smaller max_batch."
        )
    if any(word in lower for word in ("kernel image", "symbol", "ptx")):
        return MissingPart(
            f"The packaged CUDA kernels don't load on {gpu.label} ({text}). Update the NVIDIA driver, or rebuild "
            "rt_hands where nvcc is: pip install --no-build-isolation -e ."
        )
    if any(word in lower for word in _LOST):
        return DeviceLost(
            f"The CUDA context on {gpu.name} was lost ({text}). Close this engine and open it again.", text
        )
    return CudaFailed(
        f"A CUDA call failed on {gpu.name} ({text}). Open the engine again; if that doesn't mend it, update the "
        "NVIDIA driver, or use --engine onnxruntime.",
        text,
    )


def _page_aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    nbytes = max(int(np.prod(shape)) * dtype.itemsize, 1)
    raw = np.zeros(nbytes + _PAGE, np.uint8)
    start = -raw.ctypes.data % _PAGE
    count = int(np.prod(shape))
    return raw[start : start + nbytes][: count * dtype.itemsize].view(dtype).reshape(shape)


def _import_pycuda() -> Any:
    try:
        import pycuda.driver as cuda
    except ImportError as error:
        raise MissingPart(f"pycuda does not load ({error}). {PYCUDA_LINE}") from error
    return cuda


__all__ = ["Array", "CudaFailed", "Device", "DeviceLost", "Launch", "PycudaDevice", "Size3", "cuda_error"]
