"""Write a capture session: one MP4 a camera, frames.csv, session.json, rig.toml; safe against a kill at any moment."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Lock
from typing import Final, TextIO

from rt_hands.camera import Rig
from rt_hands.capture.live import LiveSource
from rt_hands.capture.offsets import offsets_ns
from rt_hands.capture.session_info import COLUMNS, ClockAnchor, SessionInfo, file_stem
from rt_hands.capture.source import Source
from rt_hands.display.encoders import Encoder, capture_encoder
from rt_hands.display.video_file import VideoFile, cut_size
from rt_hands.errors import InvalidInput, SourceError
from rt_hands.threads import Stop, Threaded
from rt_hands.types import Frame, FrameSet

QUEUE: Final = 30
"""Pictures of one camera that may wait for its encoder: a second, 83 MB of 720p."""
FLUSH_EVERY_S: Final = 0.4
"""frames.csv and the system's buffers go to the disk so often: with a fragment of video under a second in all."""
FREE_TO_START: Final = 500_000_000
FREE_TO_GO_ON: Final = 150_000_000
"""Bytes free on the disk, below which a recording is not begun, and is ended in good order."""


@dataclass(slots=True)
class Count:
    """What became of one camera's frames. dropped: came while the queue was full. waiting: in it now.

    size_px: of the video, which every picture was fitted into.
    """

    written: int = 0
    dropped: int = 0
    waiting: int = 0
    size_px: tuple[int, int] = (0, 0)


class SessionWriter:
    """Takes frames of several cameras from any threads; each camera has its own queue, encoder thread and counts.

    cameras: ids; files are named after them. rig: copied in, its cameras named as their files, of the
    videos' even sizes. wait: a full queue makes `add` wait (files) instead of dropping and counting (cameras).
    settings: sentences on what cameras were asked for and gave.
    A recording that ends without a picture is no session: its files, and a folder made for it, are removed.
    Raises SourceError where the folder holds anything, can't be written, or its disk is nearly full.
    """

    def __init__(
        self,
        folder: str | Path,
        cameras: Sequence[str],
        *,
        rig: Rig | None = None,
        wait: bool = False,
        settings: Sequence[str] = (),
        queue: int = QUEUE,
    ) -> None:
        self.folder = Path(folder)
        self.name = f"session {self.folder}"
        stems = [file_stem(camera) for camera in cameras]
        if not stems or len(set(stems)) != len(stems):
            raise InvalidInput(
                f"A session needs cameras of different names; got {', '.join(cameras) or 'none'}."
            )
        if rig is not None:
            rig = _as_recorded(rig)
        self._made_folder = _new_folder(self.folder)
        _check_space(self.folder, FREE_TO_START, "before the recording")
        encoder = capture_encoder(len(stems))
        self.info = SessionInfo(ClockAnchor.now(), encoder=str(encoder), settings=tuple(settings))
        self._writers: dict[str, _CameraWriter] = {}
        try:
            self._lines = _Lines(self.folder / "frames.csv")
            for camera, stem in zip(cameras, stems, strict=True):
                path = self.folder / f"{stem}.mp4"
                self._writers[camera] = _CameraWriter(path, self._lines, encoder, wait, queue)
            self.info.save(self.folder)
            if rig is not None:
                rig.save(self.folder / "rig.toml")
        except OSError as error:
            for writer in self._writers.values():
                writer.end()
            reason = str(error) if isinstance(error, SourceError) else f"{self.folder}: {error.strerror}."
            raise SourceError(reason) from error
        self._ended = Stop()
        self._problem: SourceError | None = None
        self._keeping = Threaded(self._keep, "session to disk")

    @property
    def counts(self) -> dict[str, Count]:
        """By camera."""
        return {camera: writer.count for camera, writer in self._writers.items()}

    @property
    def dropped(self) -> int:
        """Frames dropped so far, over all cameras."""
        return sum(writer.count.dropped for writer in self._writers.values())

    def add(self, frame: Frame) -> None:
        """Take one frame; never raises for the disk's sake, so that a camera's thread goes on. See `check`."""
        self._writers[frame.camera].add(frame)

    def check(self) -> None:
        """Raise SourceError where the recording has come to an end by itself: a full disk, a failed write."""
        for writer in self._writers.values():
            writer.check()
        if self._problem is not None:
            raise self._problem

    def close(self) -> None:
        """Write everything that still waits, finish the files, mark the session finished. Raises as `check` does."""
        if self._ended.is_set():
            return
        self._ended.set()
        failures: list[SourceError] = []
        for writer in self._writers.values():
            writer.end()
        for writer in self._writers.values():
            try:
                writer.join()
            except SourceError as error:
                failures.append(error)
        self._keeping.join()
        try:
            self._finish()
        except SourceError as error:
            failures.append(error)
        if self._problem is not None:
            failures.insert(0, self._problem)
        if not any(count.written for count in self.counts.values()):
            self._remove()
        if failures:
            raise failures[0]

    def _remove(self) -> None:
        """The files of a recording without a picture."""
        names = ["frames.csv", "session.json", "rig.toml", *(f"{file_stem(c)}.mp4" for c in self._writers)]
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
        if self._made_folder and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _finish(self) -> None:
        try:
            self._lines.close()
        except OSError as error:
            raise SourceError(f"{self.folder}/frames.csv can't be finished: {error.strerror}.") from error
        counts = {file_stem(c): (n.written, n.dropped, n.size_px) for c, n in self.counts.items()}
        # Last, so that a session marked finished has everything.
        self.info.finished_with(counts).save(self.folder)

    def free_bytes(self) -> int:
        """What is left on the session's disk."""
        return shutil.disk_usage(self.folder).free

    def _keep(self) -> None:
        """Put everything on the disk now and then, and watch its space."""
        while not self._ended.wait(FLUSH_EVERY_S):
            try:
                self._lines.flush()
                for writer in self._writers.values():
                    writer.sync()
                _check_space(self.folder, FREE_TO_GO_ON, "so the recording was ended in good order")
            except SourceError as error:
                self._problem = error
            except OSError as error:
                self._problem = SourceError(f"{self.folder} can't be written any more: {error.strerror}.")
            if self._problem is not None:
                return

    def __enter__(self) -> SessionWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Lines:
    """frames.csv, written by several threads."""

    def __init__(self, path: Path) -> None:
        self._lock = Lock()
        try:
            self._file: TextIO = open(path, "x", encoding="utf-8", newline="")  # noqa: SIM115
        except OSError as error:
            raise SourceError(f"{path} can't be written: {error.strerror}.") from error
        self._file.write(",".join(COLUMNS) + "\n")

    def add(self, *cells: object) -> None:
        """One line. Raises SourceError where it can't be written."""
        with self._lock:
            try:
                self._file.write(",".join(map(str, cells)) + "\n")
            except OSError as error:
                raise SourceError(f"{self._file.name} can't be written: {error.strerror}.") from error

    def flush(self) -> None:
        """Hand what was written to the system."""
        with self._lock:
            self._file.flush()

    def close(self) -> None:
        """Finish the file."""
        with self._lock:
            self._file.close()


class _CameraWriter:
    """One camera's queue and the thread that encodes it."""

    def __init__(self, path: Path, lines: _Lines, encoder: Encoder, wait: bool, queue: int) -> None:
        self._queue: Queue[tuple[Frame, int]] = Queue(queue)
        self._written = self._dropped = self._dropped_before = 0
        self._lines = lines
        self._wait = wait
        self._ended = Stop()
        self._video = VideoFile(path, encoder)
        self._writing = Threaded(lambda: self._run(path.stem), f"record {path.stem}")

    @property
    def count(self) -> Count:
        """What became of the frames so far."""
        return Count(self._written, self._dropped, self._queue.qsize(), self._video.size_px)

    def add(self, frame: Frame) -> None:
        """In the camera's own thread."""
        while not self._writing.done() and not self._ended.is_set():
            try:
                self._queue.put((frame, self._dropped - self._dropped_before), self._wait, 0.25)
            except Full:
                if self._wait:
                    continue
                self._dropped += 1
                return
            self._dropped_before = self._dropped
            return

    def check(self) -> None:
        """Raise what ended the thread, if anything did."""
        if self._writing.done():
            self._writing.result()

    def sync(self) -> None:
        """Put the video on the disk."""
        if not self._writing.done():
            self._video.sync()

    def end(self) -> None:
        """Take no more; what waits is still written."""
        self._ended.set()

    def join(self) -> None:
        """Wait for the thread; raises what ended it."""
        self._writing.result()

    def _run(self, camera: str) -> None:
        try:
            while True:
                last_round = self._ended.is_set()
                try:
                    frame, dropped = self._queue.get(timeout=0.1)
                except Empty:
                    if last_round:
                        return
                    continue
                self._video.add(frame.image_bgr, frame.t_ns)
                self._lines.add(camera, self._written, frame.t_ns, dropped)
                self._written += 1
        finally:
            self._video.close()


def _as_recorded(rig: Rig) -> Rig:
    """Cameras named as their files. An odd last row or column is not in the videos: the size shrinks, K stays."""
    return Rig(tuple(replace(c, id=file_stem(c.id), size_px=cut_size(c.size_px)) for c in rig))


def _new_folder(folder: Path) -> bool:
    """Make it; whether it was not there before."""
    is_new = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.iterdir())
    except OSError as error:
        raise SourceError(
            f"{folder} can't be made into a session's folder: {error.strerror}. Give another place."
        ) from error
    if taken:
        raise SourceError(
            f"{folder} is not empty; a session is never written over another. Give a new folder."
        )
    return is_new


def _check_space(folder: Path, wanted: int, when: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise SourceError(
            f"Only {free / 1e6:.0f} MB are free on the disk of {folder}, {when}; {wanted / 1e6:.0f} MB are wanted. "
            "Make room or give another place."
        )


def default_folder() -> Path:
    """A new folder's name, here, with date and time of day in it."""
    stem = f"session_{time.strftime('%Y%m%d_%H%M%S')}"
    names = [Path(stem), *(Path(f"{stem}_{i}") for i in range(1, 1000))]
    return next(name for name in names if not name.exists())


class Beside:
    """A recording of a source that somebody else reads, begun and ended at any time.

    Cameras are tapped where they are grabbed, at their full rate; of other sources the FrameSets given to `offer` are
    taken, with their stamps as they were before the source added clock offsets: the rig that is copied in adds them.
    wait: for other sources, let `offer` wait for a full queue instead of dropping and counting.
    Raises SourceError where the folder can't be used, or the source is being recorded already.
    """

    def __init__(
        self, source: Source, folder: str | Path, rig: Rig | None = None, wait: bool = False
    ) -> None:
        self._cameras = source if isinstance(source, LiveSource) else None
        if isinstance(source, Recorded) or (self._cameras is not None and self._cameras.tap is not None):
            raise SourceError(f"{source.name} is being recorded already; one recording at a time.")
        settings = self._cameras.settings if self._cameras is not None else ()
        wait = wait and self._cameras is None
        self.writer = SessionWriter(folder, source.cameras, rig=rig, wait=wait, settings=settings)
        self._offset_ns = offsets_ns(source.clock_offset_ms, source.cameras)
        if self._cameras is not None:
            self._cameras.tap = self.writer.add

    def offer(self, frames: FrameSet) -> None:
        """Take a FrameSet that was read, unless its cameras are tapped. Raises SourceError where recording failed."""
        self.writer.check()
        if self._cameras is None:
            for frame in frames.frames:
                self.writer.add(replace(frame, t_ns=frame.t_ns - self._offset_ns[frame.camera]))

    def close(self) -> None:
        """Let go of the cameras, write what waits, finish the files. Raises as `SessionWriter.close` does."""
        if self._cameras is not None:
            self._cameras.tap = None
        self.writer.close()


class Recorded(Source):
    """Another source, recorded beside: iterate it in its place. `dropped` is the other source's own.

    Frames that the reader of this source is too slow for are recorded too. Raises SourceError while iterated where the
    recording fails, InvalidInput where the first pictures are not of the rig's sizes; closing finishes the session.
    """

    def __init__(self, source: Source, folder: str | Path, rig: Rig | None = None) -> None:
        self.source = source
        self.name, self.cameras, self.still = source.name, source.cameras, source.still
        self.live, self.length, self.webcams = source.live, source.length, source.webcams
        self.clock_offset_ms = source.clock_offset_ms
        self._rig = rig
        self._beside = Beside(source, folder, rig, wait=True)
        self.writer = self._beside.writer

    @property
    def dropped(self) -> int:  # type: ignore[override]
        """Frames that the reader of this source missed; what the recording missed is in `writer.dropped`."""
        return self.source.dropped

    def now_ns(self) -> int | None:
        """As of the other source."""
        return self.source.now_ns()

    def __iter__(self) -> Iterator[FrameSet]:
        for i, frames in enumerate(self.source):
            if self._rig is not None and i == 0:
                for frame in frames.frames:
                    self._rig[frame.camera].check_image(frame.size_px)
            self._beside.offer(frames)
            yield frames
        self.writer.check()

    def close(self) -> None:
        """Stop the cameras, then write what waits, then finish the files."""
        self.source.close()
        self._beside.close()
