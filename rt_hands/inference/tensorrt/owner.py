"""The one thread that owns a CUDA context.

A CUDA context is current per thread. Whoever uses an engine may be any thread, so all its CUDA and TensorRT calls are
made in one thread of its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

from rt_hands.errors import InvalidInput

T = TypeVar("T")
_Task = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class Owner:
    """A thread that runs calls one after another; `call` waits for the answer and raises what the call raised."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._closed = False
        # A daemon, so that a program that forgets close() still ends.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    @property
    def usable(self) -> bool:
        """Whether `call` would run: neither closed nor inherited by a fork."""
        return not self._closed and os.getpid() == self._pid

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a function in the owner thread. Raises InvalidInput after `close` and in a forked child."""
        if os.getpid() != self._pid:
            raise InvalidInput(
                f"{self._name} was opened in another process (fork after CUDA started). "
                "Open it in this process, started with multiprocessing.get_context('spawn')."
            )
        if threading.current_thread() is self._thread:
            return function(*arguments)
        # One for each call: the answer to a call that Ctrl-C ended must not become the next one's.
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise InvalidInput(f"{self._name} was closed; open another one.")
            self._tasks.put((future, function, arguments))
        return future.result()

    def close(self) -> None:
        """End the thread; doing so twice is harmless."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            already, self._closed = self._closed, True
        if not already:
            self._tasks.put(None)
            self._thread.join()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, function, arguments = task
            try:
                future.set_result(function(*arguments))
            except BaseException as error:  # noqa: BLE001  whatever it is belongs to the caller, not to this thread
                future.set_exception(error)


__all__ = ["Owner"]
