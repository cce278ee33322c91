"""Threads that work beside the caller and never keep Python from ending: what is left open closes itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

POLL_S: Final = 0.25
"""So late at most a waiting thread learns that the program is over."""


class Stop(threading.Event):
    """An event that is also set by the end of the program: the threads that ask it finish by themselves then.

    Python waits for its threads before anything registered with `atexit` runs, so nobody else could tell them.
    """

    def is_set(self) -> bool:
        """Set by `set`, or the main thread is over."""
        return super().is_set() or not threading.main_thread().is_alive()

    def wait(self, timeout: float | None = None) -> bool:
        """Until set, at most `timeout` seconds; whether it is set."""
        end_s = float("inf") if timeout is None else time.monotonic() + timeout
        while not self.is_set() and (left_s := end_s - time.monotonic()) > 0:
            super().wait(min(left_s, POLL_S))
        return self.is_set()


class Threaded:
    """A call in a thread of its own, begun at once. What it raises is kept for `result`."""

    def __init__(self, call: Callable[[], None], name: str) -> None:
        self._outcome: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(call,), name=name)
        self._thread.start()

    def _run(self, call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001  raised by `result`
            self._outcome.set_exception(error)
        else:
            self._outcome.set_result(None)

    def done(self) -> bool:
        """Whether it has returned or raised."""
        return self._outcome.done()

    def join(self) -> None:
        """Wait for its end, whatever comes of it."""
        self._thread.join()

    def result(self) -> None:
        """Wait for its end; raises what it raised."""
        self._outcome.result()
