"""Cameras that run by themselves: a thread each does grab, stamp, slot, and nothing else."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Condition, Event, Thread
from typing import Protocol

from rt_hands.capture.offsets import offsets_ns
from rt_hands.capture.source import Notice, Source, to_stderr
from rt_hands.capture.webcam import WebcamReader
from rt_hands.errors import InvalidInput, SourceError
from rt_hands.types import Frame, FrameSet, Image

RETRY_EVERY_S = 1.0
RETRY_AT_MOST_S = 30.0
"""A camera that opens and fails is left alone for twice as long each time, up to this."""
GIVE_UP_AFTER_S = 15.0
"""With every camera gone for this long there is nothing left to wait for: a loose plug is back sooner."""
DAMAGED_IN_A_ROW = 30
"""One damaged picture is a glitch; so many one after another are a broken camera."""
BUNDLE_WAIT_S = 0.02
"""How long the first fresh frame of a set waits for the other cameras: over half an interval at 30 fps."""
SILENT_AFTER_S = 2.0
"""A camera without a picture for so long is told of, and sets wait for it no more."""
HELD_POLL_S = 0.002
"""How often held frames are looked at where cameras' clocks are apart: no thread tells when one is due."""


class Reader(Protocol):
    """One camera. grab blocks until the next frame; None where it was damaged; SourceError when the camera is gone.

    A picture of None: something came, from which none can be made yet, as before a stream's first key frame.
    """

    camera: str
    name: str

    def open(self) -> str:
        """Connect; one sentence on what was asked for and got. Raises SourceError, leaving the camera free."""
        ...

    def grab(self) -> tuple[int, Image | None] | None:
        """`time.perf_counter_ns()` at the grab of the next picture, before decoding, and the picture."""
        ...

    def close(self) -> None:
        """Free the camera; safe to call twice."""
        ...


@dataclass(slots=True)
class _Slot:
    """The newest frame of one camera, and what became of the others. period_ns: its usual interval, 0 when unknown.

    offset_ns: of its clock. hold_ns: frames stay in `held` for so long, until those of the slowest camera are here.
    opened_ns: None while it is closed. gone_since_ns: from its failure to its next picture. silent: that was told.
    arrived_ns: when something came from which no picture could be made.
    """

    offset_ns: int = 0
    hold_ns: int = 0
    held: deque[Frame] = field(default_factory=deque)
    frame: Frame | None = None
    last_ns: int | None = None
    period_ns: float = 0.0
    grabbed: int = 0
    dropped: int = 0
    opened_ns: int | None = None
    gone_since_ns: int | None = None
    arrived_ns: int | None = None
    silent: bool = False

    @property
    def quiet_since_ns(self) -> int:
        """When its last picture came, or it was opened after that."""
        return max(self.last_ns or 0, self.opened_ns or 0)

    @property
    def lost_since_ns(self) -> int | None:
        """Since when it is gone or silent; None for one that sends pictures."""
        return self.quiet_since_ns if self.silent and self.gone_since_ns is None else self.gone_since_ns

    def sends(self, now_ns: int) -> bool:
        """Whether it is open and something comes, though no picture can be made from it yet."""
        came_ns = self.arrived_ns if self.opened_ns is not None else None
        return came_ns is not None and now_ns - came_ns < SILENT_AFTER_S * 1e9

    def put(self, frame: Frame) -> None:
        """A frame with the stamp of its grab."""
        self.held.append(replace(frame, t_ns=frame.t_ns + self.offset_ns) if self.offset_ns else frame)
        self.release(frame.t_ns)

    def release(self, now_ns: int) -> None:
        """Make the newest frame that has been held long enough the frame to take."""
        while self.held and self.held[0].t_ns - self.offset_ns + self.hold_ns <= now_ns:
            self.dropped += self.frame is not None
            self.frame = self.held.popleft()


@dataclass(slots=True)
class _Camera:
    """wait_s: before it is tried again, 0 while it gives pictures. why: it failed last, "" since it gave a picture.

    back: what it said when it was opened again, told with its first picture after that.
    """

    reader: Reader
    slot: _Slot = field(default_factory=_Slot)
    thread: Thread | None = None
    wait_s: float = 0.0
    why: str = ""
    back: str = ""


class LiveSource(Source):
    """One or more cameras; each FrameSet holds the newest frame of every camera that has a fresh one.

    Opening fails at once where a camera can't be opened. One that goes away or fails later is told of and tried again
    every second, less and less often where it opens but gives no picture; one that hangs is told of. The others go on.
    SourceError when all are so for give_up_after_s, unless something comes that may become a picture.
    tap: takes every grabbed frame in its camera's thread, before a newer one may replace it; it must not wait. It gets
    the stamps of the grab, sets get them with the clock's offset.
    readers: the cameras; settings: what each said when it was opened.
    clock_offset_ms: by camera, see `Camera`. Frames of prompt cameras are held until the slowest one's are here.
    """

    live = True
    tap: Callable[[Frame], None] | None = None

    def __init__(
        self,
        readers: Sequence[Reader],
        notice: Notice = to_stderr,
        give_up_after_s: float = GIVE_UP_AFTER_S,
        retry_every_s: float = RETRY_EVERY_S,
        clock_offset_ms: Mapping[str, float] | None = None,
    ) -> None:
        self.readers = tuple(readers)
        self.cameras = tuple(reader.camera for reader in readers)
        if twice := [camera for camera, count in Counter(self.cameras).items() if count > 1]:
            raise InvalidInput(
                f"Two cameras are called '{twice[0]}'; give each a name of its own, as ID=SOURCE."
            )
        self.name = ", ".join(reader.name for reader in readers)
        self.webcams = all(isinstance(reader, WebcamReader) for reader in readers)
        self._notice = notice
        self._give_up_after_s = give_up_after_s
        self._retry_every_s = retry_every_s
        self._changed = Condition()
        self._stop = Event()
        self._begun = False
        self.clock_offset_ms = dict(clock_offset_ms or {})
        offset_ns = offsets_ns(self.clock_offset_ms, self.cameras)
        slowest_ns = min(offset_ns.values(), default=0)
        self._running = [
            _Camera(reader, _Slot(offset_ns[reader.camera], offset_ns[reader.camera] - slowest_ns))
            for reader in readers
        ]
        self._holds = any(camera.slot.hold_ns for camera in self._running)
        self.settings: tuple[str, ...] = ()
        self._open_all()

    def _open_all(self) -> None:
        opened: list[Reader] = []
        try:
            for camera in self._running:
                opened.append(camera.reader)
                self.settings += (camera.reader.open(),)
                self._notice(self.settings[-1])
        except SourceError:
            for reader in opened:
                reader.close()
            raise
        for camera in self._running:
            camera.slot.opened_ns = self.now_ns()
            # A daemon, so that a camera driver stuck in grab can't keep the program from ending.
            camera.thread = Thread(
                target=self._capture, args=(camera,), name=f"capture {camera.reader.camera}", daemon=True
            )
            camera.thread.start()

    @property
    def dropped(self) -> int:  # type: ignore[override]
        """Frames that a newer one replaced before they were taken, over all cameras, from the first set on."""
        return sum(camera.slot.dropped for camera in self._running)

    def now_ns(self) -> int:
        """perf_counter_ns, the clock of live frames."""
        return time.perf_counter_ns()

    def __iter__(self) -> Iterator[FrameSet]:
        index = 0
        while not self._stop.is_set():
            frames = self._next_frames()
            if frames:
                yield FrameSet(tuple(frames), index)
                index += 1

    def _next_frames(self) -> list[Frame]:
        """Wait for a fresh frame, then shortly for the other cameras; empty after a while without one."""
        with self._changed:
            self._wait_until_fresh(1, 0.25)
            self._tell_silent()
            if self._fresh():
                living = [c for c in self._running if c.slot.lost_since_ns is None]
                self._wait_until_fresh(len(living), BUNDLE_WAIT_S)
            else:
                self._check_alive()
            frames = self._take_together()
            if frames and not self._begun:
                # What came while networks were loaded was not too fast for anybody.
                self._begun = True
                for camera in self._running:
                    camera.slot.dropped = 0
            return frames

    def _wait_until_fresh(self, cameras: int, timeout_s: float) -> None:
        """Until so many cameras have a fresh frame; held frames come due without anybody telling."""
        end_s = time.monotonic() + timeout_s
        while self._fresh() < cameras and not self._stop.is_set():
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return
            self._changed.wait(min(left_s, HELD_POLL_S) if self._holds else left_s)

    def _take_together(self) -> list[Frame]:
        """The fresh frames less than half a period after the first of them; later ones stay for the next set."""
        slots = [camera.slot for camera in self._running if camera.slot.frame is not None]
        periods = [slot.period_ns for slot in slots if slot.period_ns > 0]
        first_ns = min((slot.frame.t_ns for slot in slots if slot.frame is not None), default=0)
        frames = []
        for slot in slots:
            if slot.frame is not None and (not periods or slot.frame.t_ns - first_ns <= min(periods) / 2):
                frames.append(slot.frame)
                slot.frame = None
        return frames

    def _fresh(self) -> int:
        if self._holds:
            for camera in self._running:
                camera.slot.release(self.now_ns())
        return sum(camera.slot.frame is not None for camera in self._running)

    def _tell_silent(self) -> None:
        """A driver may hang in grab without any error."""
        others = " The other cameras go on without it." if len(self._running) > 1 else ""
        for camera in self._running:
            slot, name, now_ns = camera.slot, camera.reader.name, self.now_ns()
            if slot.silent or slot.opened_ns is None:
                continue
            quiet_s = (now_ns - slot.quiet_since_ns) * 1e-9
            if quiet_s > max(SILENT_AFTER_S, 2e-9 * slot.period_ns):
                slot.silent = True
                if slot.sends(now_ns):
                    self._notice(f"{name} sends, but pictures begin with its next key frame.{others}")
                else:
                    self._notice(
                        f"{name} has sent no picture for {quiet_s:.0f} s.{others} "
                        "Check its cable and its exposure."
                    )

    def _check_alive(self) -> None:
        now_ns, slots = self.now_ns(), [camera.slot for camera in self._running]
        lost_ns = [now_ns - slot.lost_since_ns for slot in slots if slot.lost_since_ns is not None]
        given_up = len(lost_ns) == len(slots) and min(lost_ns) >= self._give_up_after_s * 1e9
        if given_up and not any(slot.sends(now_ns) for slot in slots):
            why = next((f"{camera.why} " for camera in self._running if camera.why), "")
            raise SourceError(
                f"No frames from {self.name} for {self._give_up_after_s:.0f} s. {why}"
                "Check the camera and its cable, then start again."
            )

    def close(self) -> None:
        """Stop the threads, then free the cameras."""
        self._stop.set()
        with self._changed:
            self._changed.notify_all()
        for camera in self._running:
            if camera.thread is not None:
                camera.thread.join(timeout=3.0)

    # --- in the thread of one camera ----------------------------------------------------------------------

    def _capture(self, camera: _Camera) -> None:
        try:
            while not self._stop.is_set():
                try:
                    self._grab_until_gone(camera)
                except Exception as error:  # noqa: BLE001  of a driver or the tap: nobody else would hear of it
                    camera.why = _why(camera, error)
                    if not camera.wait_s:
                        self._notice(f"{camera.why} Trying again, first in {self._retry_every_s:.0f} s.")
                    self._reopen(camera)
        finally:
            camera.reader.close()

    def _grab_until_gone(self, camera: _Camera) -> None:
        damaged = 0
        while not self._stop.is_set():
            grabbed = camera.reader.grab()
            if grabbed is None:
                damaged += 1
                if damaged >= DAMAGED_IN_A_ROW:
                    raise SourceError(f"{camera.reader.name} gave {damaged} damaged pictures in a row.")
                continue
            t_ns, image = grabbed
            if image is None:
                camera.slot.arrived_ns = t_ns
                continue
            damaged = 0
            self._put(camera, t_ns, image)

    def _put(self, camera: _Camera, t_ns: int, image: Image) -> None:
        slot = camera.slot
        frame = Frame(image, camera.reader.camera, slot.grabbed, t_ns)
        tap = self.tap
        if tap is not None:  # asked of `tap`: the end of a recording may take `self.tap` away just now
            tap(frame)
        with self._changed:
            slot.grabbed += 1
            if slot.last_ns is not None:
                interval_ns = t_ns - slot.last_ns
                slot.period_ns += 0.1 * (interval_ns - slot.period_ns) if slot.period_ns else interval_ns
            if camera.back or slot.silent:
                again = "" if slot.last_ns is None and slot.arrived_ns is not None else " again"
                self._notice(camera.back or f"{camera.reader.name} sends pictures{again}.")
            camera.back, camera.why, camera.wait_s, slot.silent = "", "", 0.0, False
            slot.last_ns, slot.gone_since_ns = t_ns, None
            slot.put(frame)
            self._changed.notify_all()

    def _reopen(self, camera: _Camera) -> None:
        slot = camera.slot
        with self._changed:
            slot.opened_ns, slot.gone_since_ns = None, slot.gone_since_ns or self.now_ns()
        camera.reader.close()
        # Twice the last, unless it gave a picture since.
        camera.wait_s = min(2 * camera.wait_s, RETRY_AT_MOST_S) or self._retry_every_s
        while not self._stop.wait(camera.wait_s):
            try:
                sentence = camera.reader.open()
            except Exception:  # noqa: BLE001  told of already
                continue
            with self._changed:
                slot.opened_ns, camera.back = self.now_ns(), f"Back again: {sentence}"
            return


def _why(camera: _Camera, error: Exception) -> str:
    """A SourceError names its camera; of other errors the kind says more than the words."""
    if isinstance(error, SourceError):
        return str(error)
    return f"{camera.reader.name} failed: {type(error).__name__}: {str(error).rstrip('.')}."
