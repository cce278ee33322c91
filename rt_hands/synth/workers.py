"""Jobs over several processes with one progress bar."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T")
_done: Any = None


def tick(samples: int = 1) -> None:
    """Called by a job after each sample, moves the bar."""
    if _done is not None:
        with _done.get_lock():
            _done.value += samples


def _start(counter: Any) -> None:
    global _done
    _done = counter
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it ends the pool
    signal.signal(signal.SIGTERM, _leave)
    os.environ["OMP_NUM_THREADS"] = os.environ["LP_NUM_THREADS"] = "1"


def _leave(_signal: int, _frame: object) -> None:
    """Unwind instead of dying on the spot, so that half-written files are removed."""
    raise SystemExit(1)


def for_each(
    job: Callable[[T], None], items: Sequence[T], processes: int, label: str, total: int, done: int = 0
) -> None:
    """Run a picklable job on every item. total, done: samples in all and made before, for the bar.

    Jobs call `tick` once a sample. An error in a job ends the rest and is raised here.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    context = multiprocessing.get_context("spawn")  # a GL context does not survive a fork
    counter = context.Value("q", 0)
    with Progress(*columns) as progress:
        task = progress.add_task(label, total=total, completed=done)
        with context.Pool(max(1, processes), _start, (counter,)) as pool:
            pending = pool.map_async(job, items, chunksize=1)
            while not pending.ready():
                pending.wait(0.5)
                progress.update(task, completed=done + counter.value)
            pending.get()
        progress.update(task, completed=total)
