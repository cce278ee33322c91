"""CUDA graphs by ctypes on the driver, which pycuda lacks; and replay that is checked against the eager run.

A refused TensorRT enqueue under capture leaves an empty graph that replays stale buffers in silence. So before a graph
is trusted, its outputs are wiped, it is replayed, and the answer is compared with that of the eager run.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import RtHandsError
from rt_hands.inference.tensorrt.probe import error_name

_THREAD_LOCAL: Final = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: other threads may go on allocating
_RELATIVE_TOLERANCE: Final = (
    1e-3  # a kernel that adds in another order moves half-precision sums by this much
)


class GraphRefused(RtHandsError):
    """Work that can't be recorded; run it without a graph."""


class Graph(Protocol):
    """Recorded work."""

    def launch(self) -> None:
        """Queue it."""
        ...

    def close(self) -> None:
        """Free it."""
        ...


class DriverGraph:
    """A graph of the CUDA driver, bound to the stream it was captured on."""

    def __init__(self, libcuda: Any, stream: int, executable: ctypes.c_void_p) -> None:
        self._cuda, self._stream, self._executable = libcuda, ctypes.c_void_p(stream), executable

    def launch(self) -> None:
        code = self._cuda.cuGraphLaunch(self._executable, self._stream)
        if code:
            raise GraphRefused(f"the graph does not start ({error_name(self._cuda, code)})")

    def close(self) -> None:
        if self._executable:
            self._cuda.cuGraphExecDestroy(self._executable)
            self._executable = ctypes.c_void_p()


def capture(libcuda: Any, stream: int, work: Callable[[], None]) -> DriverGraph:
    """Record what `work` queues on a stream other than 0. Raises GraphRefused; what `work` raises comes through."""
    handle, graph, executable = ctypes.c_void_p(stream), ctypes.c_void_p(), ctypes.c_void_p()
    _check(libcuda, libcuda.cuStreamBeginCapture_v2(handle, _THREAD_LOCAL), "recording does not begin")
    try:
        work()
    except BaseException:
        # Ended all the same, or the stream stays unusable.
        libcuda.cuStreamEndCapture(handle, ctypes.byref(graph))
        libcuda.cuGraphDestroy(graph)
        raise
    _check(libcuda, libcuda.cuStreamEndCapture(handle, ctypes.byref(graph)), "recording failed")
    code = libcuda.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
    libcuda.cuGraphDestroy(graph)
    _check(libcuda, code, "the recording can't be made into a graph")
    return DriverGraph(libcuda, stream, executable)


def _check(libcuda: Any, code: int, what: str) -> None:
    if code:
        raise GraphRefused(f"{what} ({error_name(libcuda, code)})")


class Recordable(Protocol):
    """The part of a device that replay needs."""

    def capture(self, work: Callable[[], None]) -> Graph: ...

    def fill(self, address: int, value: int, nbytes: int) -> None: ...

    def synchronise(self) -> None: ...


class Replay:
    """Work that is queued again and again on fixed addresses: eager at first, then from a checked graph.

    enqueue: queues everything, down to the copies into `results`. results: its host arrays. wipe: (address, bytes) of
    the device outputs behind them. reason: why there is no graph, None while there is one or none was tried yet.
    """

    def __init__(
        self,
        device: Recordable,
        enqueue: Callable[[], None],
        results: tuple[NDArray[np.generic], ...],
        wipe: tuple[tuple[int, int], ...],
        use_graph: bool = True,
    ) -> None:
        self._device, self._enqueue, self._results, self._wipe = device, enqueue, results, wipe
        self._graph: Graph | None = None
        self.reason: str | None = None if use_graph else "graphs are switched off"
        self._tried = not use_graph

    @property
    def has_graph(self) -> bool:
        """Whether runs replay a graph."""
        return self._graph is not None

    def start(self) -> None:
        """Queue one run; the results hold after the device's next `synchronise`."""
        if not self._tried:
            self._record()
        if self._graph is not None:
            self._graph.launch()
        else:
            self._enqueue()

    def close(self) -> None:
        """Free the graph."""
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def retire(self) -> None:
        """Free the graph and let go of the work, whoever still holds this object."""
        self.close()
        self._enqueue = _retired

    def _record(self) -> None:
        """Run once eagerly (first enqueues allocate, which a recording can't), record, replay, compare."""
        self._tried = True
        self._enqueue()
        self._device.synchronise()
        wanted = [array.copy() for array in self._results]
        try:
            self._graph = self._device.capture(self._enqueue)
            alike = self._replay_is(wanted, self._graph)
        except GraphRefused as error:
            self.close()
            self.reason = str(error)
            return
        if not alike:
            self.close()
            self.reason = "the graph's first replay differs from the eager run"

    def _replay_is(self, wanted: list[NDArray[np.generic]], graph: Graph) -> bool:
        for address, nbytes in self._wipe:
            self._device.fill(address, 0xFF, nbytes)  # NaN in every float type
        for array in self._results:
            array.fill(0)
        graph.launch()
        self._device.synchronise()
        return all(_alike(a, b) for a, b in zip(self._results, wanted, strict=True))


def _retired() -> None:
    raise GraphRefused("the engine was closed")


def _alike(got: NDArray[np.generic], wanted: NDArray[np.generic]) -> bool:
    known = wanted[np.isfinite(wanted)]
    scale = float(np.abs(known.astype(np.float64)).max(initial=0.0)) or 1.0
    return np.allclose(
        got, wanted, rtol=_RELATIVE_TOLERANCE, atol=_RELATIVE_TOLERANCE * scale, equal_nan=True
    )


__all__ = ["DriverGraph", "Graph", "GraphRefused", "Replay", "capture"]
