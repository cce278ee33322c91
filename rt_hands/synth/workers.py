"""Jobs over several processes with one progress bar."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from rt_hands.errors import InvalidInput

T = TypeVar("T")
_advance: Callable[[int], None] | None = None


def tick(samples: int = 1) -> None:
    """Called by a job after each sample, moves the bar."""
    if _advance is not None:
        _advance(samples)


def _start(counter: Any, started: Any) -> None:
    """A worker process: counts for the parent, leaves Ctrl-C to it, works on one core."""
    global _advance
    with started.get_lock():
        started.value += 1

    def advance(samples: int) -> None:
        with counter.get_lock():
            counter.value += samples

    _advance = advance
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    os.environ["OMP_NUM_THREADS"] = os.environ["LP_NUM_THREADS"] = "1"


def _leave(_signal: int, _frame: object) -> None:
    """Unwind instead of dying on the spot, so that half-written files are removed."""
    raise SystemExit(1)


def for_each(
    job: Callable[[T], None], items: Sequence[T], processes: int, label: str, total: int, done: int = 0
) -> None:
    """Run a job on every item, here when processes is 1, else in that many others (then it must be picklable).

    total, done: samples in all and made before, for the bar. Jobs call `tick` once a sample. An error in a job ends
    the rest and is raised here; InvalidInput where a process died.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(label, total=total, completed=done)
        if processes <= 1:
            _here(job, items, lambda samples: progress.advance(task, samples))
        elif items:
            _elsewhere(job, items, processes, lambda made: progress.update(task, completed=done + made))
        progress.update(task, completed=total)


def _here(job: Callable[[T], None], items: Sequence[T], advance: Callable[[int], None]) -> None:
    global _advance
    _advance = advance
    try:
        for item in items:
            job(item)
    finally:
        _advance = None


def _elsewhere(
    job: Callable[[T], None], items: Sequence[T], processes: int, show: Callable[[int], None]
) -> None:
    context = multiprocessing.get_context("spawn")  # a GL context does not survive a fork
    counter, started = context.Value("q", 0), context.Value("q", 0)
    count = min(processes, len(items))
    with context.Pool(count, _start, (counter, started)) as pool:
        pending = pool.map_async(job, items, chunksize=1)
        while not pending.ready():
            pending.wait(0.5)
            show(counter.value)
            # A pool puts another process in the place of one that died, and waits for its answer for ever.
            if started.value > count:
                raise InvalidInput(
                    "A process that made samples died (killed, out of memory, or a fault in the OpenGL driver). "
                    "What is finished is kept: run the same command again, with fewer --processes if memory was short."
                )
        pending.get()
