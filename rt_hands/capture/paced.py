"""Recorded frames played at their own speed, as if a camera gave them; and read ahead in a thread."""

from __future__ import annotations

import time
from collections.abc import Iterator
from queue import Empty, Full, Queue
from threading import Condition

from rt_hands.capture.source import Source
from rt_hands.threads import Stop, Threaded
from rt_hands.types import FrameSet


class Played(Source):
    """Another source in real time: a thread hands out each FrameSet when it is due, the newest replaces the last.

    The clock of `now_ns` runs with the frames' own times, so the age of a frame means what it means for a camera.
    """

    live = True

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name, self.cameras = source.name, source.cameras
        self.still, self.length = source.still, source.length
        self.clock_offset_ms = source.clock_offset_ms
        self._changed = Condition()
        self._newest: FrameSet | None = None
        self._ended = False
        self._offset_ns: int | None = None
        self._stop = Stop()
        self.dropped = 0
        self._playing: Threaded | None = None

    def now_ns(self) -> int | None:
        """Present time on the recording's clock; None before the first frame."""
        return None if self._offset_ns is None else time.perf_counter_ns() - self._offset_ns

    def __iter__(self) -> Iterator[FrameSet]:
        # Left before its end, it goes on playing; after its end it begins again.
        if self._playing is None and not self._stop.is_set():
            self._ended, self._offset_ns = False, None
            self._playing = Threaded(self._play, "play")
        playing = self._playing
        while playing is not None:
            with self._changed:
                self._changed.wait_for(lambda: self._newest is not None or self._ended)
                frames, self._newest = self._newest, None
            if frames is None:
                self._playing = None
                playing.result()
                return
            yield frames

    def _play(self) -> None:
        try:
            for frames in self._source:
                if self._offset_ns is None:
                    self._offset_ns = time.perf_counter_ns() - frames.t_ns
                due_s = (frames.t_ns + self._offset_ns - time.perf_counter_ns()) * 1e-9
                if self._stop.wait(max(due_s, 0.0)):
                    break
                with self._changed:
                    self.dropped += self._newest is not None
                    self._newest = frames
                    self._changed.notify_all()
        finally:
            self._end()

    def _end(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Stop playing."""
        self._stop.set()
        self._end()
        if (playing := self._playing) is not None:
            playing.join()
        self._source.close()


class ReadAhead(Source):
    """Another source decoded in a thread, up to `ahead` FrameSets before they are taken; none is dropped."""

    def __init__(self, source: Source, ahead: int = 3) -> None:
        self._source = source
        self.name, self.cameras = source.name, source.cameras
        self.still, self.length = source.still, source.length
        self.clock_offset_ms = source.clock_offset_ms
        self._queue: Queue[FrameSet | None] = Queue(ahead)
        self._stop = Stop()
        self._reading: Threaded | None = None

    def __iter__(self) -> Iterator[FrameSet]:
        # Left before its end, the rest of what is being read comes first.
        reading = self._reading = self._reading or Threaded(self._read, "read ahead")
        while not self._stop.is_set():
            try:
                frames = self._queue.get(timeout=0.25)
            except Empty:
                continue
            if frames is None:
                self._reading = None
                reading.result()
                return
            yield frames

    def _read(self) -> None:
        try:
            for frames in self._source:
                if not self._put(frames):
                    return
        finally:
            self._put(None)

    def _put(self, item: FrameSet | None) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.25)
            except Full:
                continue
            return True
        return False

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        if self._reading is not None:
            self._reading.join()
        self._source.close()
