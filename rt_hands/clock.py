"""The stage clock: how long each stage of a frame takes, as percentiles over the last frames."""

from __future__ import annotations

import time
from collections import deque
from threading import Lock

import numpy as np

KEPT, KEPT_FRAMES = 2048, 60
"""Durations of each stage, and times of frames for the rate."""
PERCENTS = (50.0, 95.0, 99.0)


class _Stage:
    """What `StageClock.stage` gives; a class, because a generator costs several times as much in every stage."""

    __slots__ = ("_clock", "_name", "_start_ns")

    def __init__(self, clock: StageClock, name: str) -> None:
        self._clock, self._name, self._start_ns = clock, name, 0

    def __enter__(self) -> None:
        self._start_ns = time.perf_counter_ns()

    def __exit__(self, *_: object) -> None:
        self._clock.add(self._name, time.perf_counter_ns() - self._start_ns)


class StageClock:
    """Durations by stage name, the last KEPT of each. Safe to use from several threads.

    Percentiles are over whole frames seen by that stage; a stage that did not run in a frame adds nothing.
    """

    def __init__(self) -> None:
        self._durations_ns: dict[str, deque[int]] = {}
        self._lock = Lock()

    def stage(self, name: str) -> _Stage:
        """Time the body of a `with` block."""
        return _Stage(self, name)

    def add(self, name: str, duration_ns: int) -> None:
        """Add one duration measured elsewhere, such as the age of a frame."""
        with self._lock:
            if name not in self._durations_ns:
                self._durations_ns[name] = deque(maxlen=KEPT)
            self._durations_ns[name].append(duration_ns)

    def durations_ms(self, name: str) -> np.ndarray:
        """The kept durations of one stage, oldest first; empty where it never ran."""
        with self._lock:
            return np.array(self._durations_ns.get(name, ()), float) / 1e6

    def latest_ms(self, name: str) -> float:
        """The last duration of a stage; NaN where it never ran."""
        with self._lock:
            kept = self._durations_ns.get(name)
            return kept[-1] / 1e6 if kept else float("nan")

    def percentiles_ms(self) -> dict[str, tuple[float, ...]]:
        """p50, p95 and p99 of every stage in the order in which stages first ran."""
        with self._lock:
            names = list(self._durations_ns)
        return {
            name: tuple(float(p) for p in np.percentile(self.durations_ms(name), PERCENTS)) for name in names
        }


class RateMeter:
    """Frames per second as (n - 1) / span over the last KEPT_FRAMES, which long frames can't flatter."""

    def __init__(self) -> None:
        self._times_ns: deque[int] = deque(maxlen=KEPT_FRAMES)

    def tick(self, t_ns: int | None = None) -> None:
        """One frame, now or at a time of any steady clock."""
        self._times_ns.append(time.perf_counter_ns() if t_ns is None else t_ns)

    @property
    def fps(self) -> float:
        """0 until two frames have come."""
        if len(self._times_ns) < 2 or self._times_ns[-1] == self._times_ns[0]:
            return 0.0
        return (len(self._times_ns) - 1) * 1e9 / (self._times_ns[-1] - self._times_ns[0])
