"""What becomes of results: files written in threads of their own, each with its own queue and count of drops."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any, Protocol, TextIO

import cv2
import numpy as np

from rt_hands.display.video_file import VideoFile
from rt_hands.display.view import Canvas, ViewOptions, draw_result
from rt_hands.errors import SourceError
from rt_hands.paths import write_atomically
from rt_hands.pipeline import Result
from rt_hands.threads import Stop, Threaded
from rt_hands.types import Frame, FrameSet, Hands2D, Hands3D

QUEUE = 8
"""Results that may wait for one consumer: a quarter of a second of a camera, 25 MB of 720p pictures."""

STILL_PX = 960
"""Longer side, at least, of a video of pictures: the first may be the smallest, and all are fitted to it."""


class Consumer(Protocol):
    """Takes every Result it can keep up with; `close` finishes its file."""

    name: str

    def accept(self, result: Result) -> None:
        """Take one result, in the consumer's own thread; an error here is raised to the caller's next `offer`."""
        ...

    def close(self) -> None:
        """Finish; called once, after the last result."""
        ...


class JsonLines:
    """One JSON object a line, for each frame of each camera, to a file or, for `-`, stdout.

    t_ns, camera, index, present [right, left], points: 170 x [x_px, y_px, score], or null where absent; before them
    file and size_px [width, height] of a picture that is a file of its own.
    With a rig the points are those that all views agree on, and one more line a moment has `points_world_mm`:
    170 x [x, y, z, score, residual_px, views], or null, and no camera.
    `rt_hands.formats` reads these files, of a rig what is in 3D.
    """

    def __init__(self, target: str) -> None:
        self.name = f"jsonl {target}"
        self._target = target
        self._file: TextIO | None = None

    def accept(self, result: Result) -> None:
        """Write one line a view, and one for the rig. Raises SourceError where that fails."""
        records = [as_record(frame, result.shown(i)) for i, frame in enumerate(result.frames.frames)]
        if result.rig is not None:
            records.append(as_rig_record(result.frames, result.rig.hands))
        with _writing(self._target):
            # Not before the first result: a source that gives none leaves the file that is there.
            if self._file is None:
                self._file = sys.stdout if self._target == "-" else open(self._target, "w", encoding="utf-8")  # noqa: SIM115
            for record in records:
                self._file.write(json.dumps(record, separators=(",", ":")) + "\n")
            # Who reads a pipe wants each result now: buffered, two a second came 2.5 s late.
            self._file.flush()

    def close(self) -> None:
        """Close a file. Raises SourceError where that can't be written."""
        if self._file is not None and self._file is not sys.stdout:
            with _writing(self._target):
                self._file.close()


@contextmanager
def _writing(target: str) -> Iterator[None]:
    """A full disk is a SourceError; a reader of stdout that went away is for `run_command`."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        name = "stdout" if target == "-" else target
        raise SourceError(f"{name} can't be written: {error.strerror}.") from error


def as_rig_record(frames: FrameSet, hands: Hands3D) -> dict[str, Any]:
    """One moment's hands in the world as plain values, ready for JSON."""
    columns = (hands.points_world_mm, hands.score, hands.residual_px, hands.views)
    points = np.round(np.column_stack(columns).astype(float), 3)
    rows = [
        None if np.isnan(x) else [x, y, z, score, None if np.isnan(px) else px, int(views)]
        for x, y, z, score, px, views in points.tolist()
    ]
    return {
        "t_ns": frames.t_ns,
        "index": frames.index,
        "present": hands.present.tolist(),
        "points_world_mm": rows,
    }


def as_record(frame: Frame, hands: Hands2D) -> dict[str, Any]:
    """One frame's hands as plain values, ready for JSON."""
    points = np.round(hands.points_px.astype(float), 3)
    rows = [None if np.isnan(x) else [x, y, score] for x, y, score in points.tolist()]
    return {
        **({"file": frame.file, "size_px": [*frame.size_px]} if frame.file else {}),
        "t_ns": frame.t_ns,
        "camera": frame.camera,
        "index": frame.index,
        "present": hands.present.tolist(),
        "points": rows,
    }


class AnnotatedVideo:
    """An MP4 of the pictures with the hands drawn on them, with the frames' own times."""

    def __init__(self, path: str, options: ViewOptions | None = None) -> None:
        self.name = f"video {path}"
        self._path = path
        self._file: VideoFile | None = None
        self._options = options or ViewOptions()
        self._canvas = Canvas()

    def accept(self, result: Result) -> None:
        """Draw and append."""
        first = result.frames.frames[0]
        if first.file and self._options.view_px is None:
            grown = max(1.0, STILL_PX / max(first.size_px))
            view_px = (round(first.size_px[0] * grown), round(first.size_px[1] * grown))
            self._options = replace(self._options, view_px=view_px)
        # Not opened before the first result: a source that gives none leaves the file that is there.
        self._file = self._file or VideoFile(self._path)
        self._file.add(draw_result(result, self._options, self._canvas), result.frames.t_ns)

    def close(self) -> None:
        """Finish the file."""
        if self._file is not None:
            self._file.close()


class AnnotatedPicture:
    """The picture of a single-picture source with the hands drawn on it, as .png or .jpg."""

    def __init__(self, path: str, options: ViewOptions | None = None) -> None:
        self.name = f"picture {path}"
        self._path = Path(path)
        self._options = options or ViewOptions()

    def accept(self, result: Result) -> None:
        """Draw and write."""
        encoded = cv2.imencode(self._path.suffix, draw_result(result, self._options))[1]
        try:
            write_atomically(self._path, encoded.tobytes())
        except OSError as error:
            raise SourceError(f"{self._path} can't be written: {error.strerror}.") from error

    def close(self) -> None:
        """Nothing is left to do."""


class Worker:
    """A consumer in its own thread.

    wait = False (cameras): a result that finds the queue full is dropped and counted. wait = True (files): the caller
    waits, nothing is dropped. An error in the consumer is raised by the next `offer` or by `close`.
    """

    def __init__(self, consumer: Consumer, wait: bool) -> None:
        self.name = consumer.name
        self.dropped = 0
        self._wait = wait
        self._consumer = consumer
        self._queue: Queue[Result] = Queue(QUEUE)
        self._ended = Stop()
        self._working = Threaded(self._run, consumer.name)

    def offer(self, result: Result) -> None:
        """Hand over one result."""
        while True:
            if self._working.done():
                self._working.result()
            try:
                self._queue.put(result, block=self._wait, timeout=0.25)
            except Full:
                if self._wait:
                    continue
                self.dropped += 1
            return

    def close(self) -> None:
        """Let the thread finish what is queued, then close the file. Raises what went wrong in it."""
        self._ended.set()
        self._working.result()

    def _run(self) -> None:
        try:
            while not (self._ended.is_set() and self._queue.empty()):
                try:
                    result = self._queue.get(timeout=0.1)
                except Empty:
                    continue
                self._consumer.accept(result)
        finally:
            self._consumer.close()


def close_all(workers: Iterable[Worker]) -> None:
    """Close every worker, whatever goes wrong in one of them; then raise the first failure."""
    failure: Exception | None = None
    for worker in workers:
        try:
            worker.close()
        except Exception as error:  # noqa: BLE001  raised below, after the others are closed
            failure = failure or error
    if failure is not None:
        raise failure


__all__ = ["AnnotatedPicture", "AnnotatedVideo", "Consumer", "JsonLines", "Worker", "as_record", "close_all"]
