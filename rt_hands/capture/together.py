"""Several recorded sources, one a camera, played as one: their frames bundled by time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

import numpy as np

from rt_hands.capture.bundle import half_period_ns
from rt_hands.capture.offsets import offsets_ns
from rt_hands.capture.source import Notice, Source, to_stderr
from rt_hands.capture.steady import Steady
from rt_hands.errors import InvalidInput
from rt_hands.types import Frame, FrameSet

USUAL_PERIODS = 8
"""Frames of each file read ahead of the bundling, to know its period."""


class TogetherSource(Source):
    """FrameSets of several files that started at the same moment, every frame once; of pictures, by their numbers.

    names: camera ids, one a source. A frame joins the set whose first frame is less than half a period away; otherwise
    that view is absent from the set, as it is after a file's end. clock_offset_ms: by camera, see `Camera`; added to
    the frames' times. notice: told of times that jump, see `Steady`, of starts that differ, of views that never meet.
    starts_ns: of clocks that have nothing in common, as those of videos, one a source: the starts are one moment, that
    of the earliest.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        names: Sequence[str],
        clock_offset_ms: Mapping[str, float] | None = None,
        notice: Notice = to_stderr,
        starts_ns: Sequence[int] | None = None,
    ) -> None:
        if len(set(names)) != len(sources):
            raise InvalidInput(
                f"{len(sources)} sources need as many different camera names; got {', '.join(names)}."
            )
        self._sources = tuple(sources)
        self._notice = notice
        self.cameras = tuple(names)
        self.still = all(source.still for source in sources)
        self.clock_offset_ms = dict(clock_offset_ms or {})
        self._offset_ns = offsets_ns(self.clock_offset_ms, self.cameras)
        starts_ns = [0] * len(sources) if starts_ns is None else starts_ns
        self._late_ns = {name: start - min(starts_ns) for name, start in zip(names, starts_ns, strict=True)}
        self._starts_told = False
        self.name = ", ".join(source.name for source in sources)
        lengths = [source.length for source in sources]
        self.length = None if None in lengths else max(n for n in lengths if n is not None)

    def __iter__(self) -> Iterator[FrameSet]:
        streams = [
            _frames(source, name, self._offset_ns[name] - self._late_ns[name], Steady(name, self._notice))
            for source, name in zip(self._sources, self.cameras, strict=True)
        ]
        waiting = [list(islice(s, USUAL_PERIODS)) for s in streams]
        stamps = [np.array([f.t_ns for f in frames], np.int64) for frames in waiting]
        tolerance_ns = 0 if self.still else half_period_ns(stamps)
        self._tell_starts(tolerance_ns)
        index, met = 0, False
        while any(waiting):
            first_ns = min(frames[0].t_ns for frames in waiting if frames)
            together = []
            for frames, stream in zip(waiting, streams, strict=True):
                if frames and frames[0].t_ns - first_ns <= tolerance_ns:
                    together.append(frames.pop(0))
                    frames.extend(islice(stream, 1))
            yield FrameSet(tuple(together), index)
            index, met = index + 1, met or len(together) > 1
        if not met and len(streams) > 1:
            self._notice(
                f"No moment shows two of {', '.join(self.cameras)}: their times are never within half a period of each "
                "other. Check the clock offsets and that the recordings are of one take."
            )

    def _tell_starts(self, tolerance_ns: float) -> None:
        late_ms = {name: ns * 1e-6 for name, ns in self._late_ns.items() if ns > tolerance_ns}
        if self._starts_told or not late_ms:
            return
        self._starts_told = True
        apart = ", ".join(f"{name} by {ms:.0f} ms" for name, ms in late_ms.items())
        self._notice(
            f"By their own clocks some videos start later than the first ({apart}); their first pictures are taken "
            "for one moment. If not so, give the times as --clock-offset-ms, or the folder with a timestamps.csv."
        )

    def close(self) -> None:
        """Close every file."""
        for source in self._sources:
            source.close()


def _frames(source: Source, camera: str, offset_ns: int, steady: Steady) -> Iterator[Frame]:
    return (
        replace(frame, camera=camera, t_ns=steady(frame.t_ns) + offset_ns)
        for frames in source
        for frame in frames.frames[:1]
    )
