"""Frames in, hands out: the only file that wires the stages together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Rig
from rt_hands.capture.source import Notice, Source, to_stderr
from rt_hands.clock import RateMeter, StageClock
from rt_hands.detector import Detector
from rt_hands.errors import InvalidInput
from rt_hands.inference.cpm import Cpm, Read
from rt_hands.inference.preprocess import Crop
from rt_hands.layout import N_HANDS, N_POINTS
from rt_hands.lifting.watch import RigWatch
from rt_hands.rig_detector import QUICK_ROUNDS, ROUNDS, RigDetector
from rt_hands.tracking.rig import RigTracked, RigTracker, advise, reproject
from rt_hands.tracking.thresholds import Timing
from rt_hands.tracking.track import State
from rt_hands.tracking.tracker import Look, Tracked, Tracker
from rt_hands.types import Frame, FrameSet, Hands2D, Image

SLOW_NS = 90_000_000
"""Between frames: where hands are missing, the Detector, some tenths of a second a view, may look for them; and a
recording's crops are read in two sizes and mirrored, too, as the Detector does."""
DETECT_EVERY_NS, MOST_FRUITLESS = 1_000_000_000, 5
"""So often of a live source; of a recording at every frame until it has found nothing new so many times in a row.
At every frame of both where frames are further apart than `Timing.longest_step_ms`."""
LONGEST_SEARCH_SHARE = 0.5
"""Of `Timing.longest_step_ms`: where the Detector takes longer for a live frame, the next one comes too late to follow
what it found, so windows do the search. Else a rig of four cameras at 8 fps, on a processor that takes 1.6 s, had hands
in every other second only."""


@dataclass(frozen=True, slots=True)
class Belief:
    """Belief maps of one crop, kept for display: maps (170, n, n) float32, picture_from_map (2, 3)."""

    maps: NDArray[np.float32]
    picture_from_map: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Result:
    """One FrameSet and its hands: views[i] belongs to frames.frames[i], beliefs[i] too (empty unless kept).

    rig: the hands in 3D and drawn back into the views; None without a calibrated rig.
    """

    frames: FrameSet
    views: tuple[Tracked, ...]
    beliefs: tuple[tuple[Belief, ...], ...] = ()
    rig: RigTracked | None = None

    def shown(self, view: int, multi_view: bool = True) -> Hands2D:
        """The hands to draw in a view: those all views agree on, or the view's own (or where there is no rig)."""
        if self.rig is None or not multi_view:
            return self.views[view].hands
        return self.rig.agreed[self.frames.frames[view].camera]


class Pipeline:
    """An iterator of Results: one engine call a FrameSet for all views and hands.

    Hands are followed from frame to frame, each camera by its own tracker; in unrelated pictures (`source.still`)
    they are found anew, in a rig by all views together. `smooth` and `keep_beliefs` may be changed while it runs.
    `clock` has the stages grab, preprocess, infer, decode, track; `rate` the frames a second. Closing the source and
    the network is the caller's.
    rig: the cameras' calibration; then the views' hands are also lifted to 3D (stage lift), and a view that lost a hand
    is told where the others see it. notice: takes one sentence when a camera does not fit the rig.
    Raises InvalidInput for a rig that lacks a camera of the source, or where that has only one.
    """

    def __init__(
        self,
        source: Source,
        cpm: Cpm,
        smooth: bool = True,
        keep_beliefs: bool = False,
        rig: Rig | None = None,
        notice: Notice = to_stderr,
    ) -> None:
        if not all(hasattr(source, name) for name in ("cameras", "still", "live")):
            raise InvalidInput(
                f"A Pipeline reads a source, not {type(source).__name__}: give open_source(...), or of a Session its "
                "replay()."
            )
        if rig is not None:
            rig.subset(source.cameras).check_depth()
        self.source = source
        self.cpm = cpm
        self.smooth = smooth
        self.keep_beliefs = keep_beliefs
        self.clock = StageClock()
        self.rate = RateMeter()
        self._trackers = {camera: Tracker() for camera in source.cameras}
        self._detector = Detector(cpm=cpm, alone=rig is None)
        self.rig = rig
        self._notice = notice
        self._rtc = cpm.surface_reader(rig) if rig is not None else None
        self._rig_tracker = RigTracker(rig, self._rtc) if rig is not None else None
        self._watch = RigWatch(rig) if rig is not None else None
        self._fitted: dict[str, bool] = {}
        self._last_ns: int | None = None
        self._detected_ns: int | None = None
        self._search_ns = 0
        self._fruitless = 0

    def __iter__(self) -> Iterator[Result]:
        frame_sets = iter(self.source)
        while True:
            with self.clock.stage("grab"):
                frames = next(frame_sets, None)
            if frames is None:
                return
            frames = self._of_known_sizes(frames)
            if frames is None:
                continue
            result = self.step(frames)
            self.rate.tick()
            yield result

    def step(self, frames: FrameSet) -> Result:
        """The hands in one FrameSet."""
        if self.source.still:
            return self._found(frames)
        step_ns = frames.t_ns - self._last_ns if self._last_ns is not None else 0
        slow = step_ns >= SLOW_NS
        self._last_ns = frames.t_ns
        if slow and self._worth_detecting(frames) and not self._outlasts(step_ns):
            started_ns = perf_counter_ns()
            found = self._found(frames, QUICK_ROUNDS)
            self._search_ns = perf_counter_ns() - started_ns
            # The time that a search took is not the cameras': it makes them no slower.
            self._last_ns = self.source.now_ns() or frames.t_ns
            if self._has_more_hands(found):
                return self._lifted(self._adopted(found))
        plans = [self._tracker(frame).plan(frame.size_px, frame.t_ns) for frame in frames.frames]
        jobs = [
            (frame.image_bgr, look.crop)
            for frame, looks in zip(frames.frames, plans, strict=True)
            for look in looks
        ]
        read = self._read(jobs, slow)
        with self.clock.stage("track"):
            views, beliefs, first = [], [], 0
            for frame, looks in zip(frames.frames, plans, strict=True):
                part = read.part(first, first + len(looks))
                first += len(looks)
                views.append(self._tracker(frame).update(looks, part, frame.t_ns))
                beliefs.append(self._beliefs(part, looks))
        return self._lifted(Result(frames, tuple(views), tuple(beliefs)))

    def _of_known_sizes(self, frames: FrameSet) -> FrameSet | None:
        """The frames that are as large as the rig has them; None where no one is.

        A camera's first must be. One that comes back with another size is left out, and told of: the rest goes on.
        """
        if self.rig is None:
            return frames
        fitting = []
        for frame in frames.frames:
            name, due_px = frame.camera, self.rig[frame.camera].size_px
            if frame.size_px == due_px:
                fitting.append(frame)
                self._fitted[name] = True
                continue
            if name not in self._fitted:
                self.rig[name].check_image(frame.size_px)
            if self._fitted[name]:
                sizes = "{}x{}, the calibration is for {}x{}".format(*frame.size_px, *due_px)
                self._notice(f"Camera '{name}' now gives {sizes}. It is left out until it does again.")
            self._fitted[name] = False
        return replace(frames, frames=tuple(fitting)) if fitting else None

    def _worth_detecting(self, frames: FrameSet) -> bool:
        """Whether hands are missing, of slow cameras: a search by windows takes many of their frames.

        Where frames are too far apart for anything to be followed, they always are.
        """
        missing = not self._hands_now(frames).all()
        self._fruitless *= missing
        soon = self._detected_ns is not None and frames.t_ns - self._detected_ns < DETECT_EVERY_NS
        waits = soon and (self.source.live or self._fruitless >= MOST_FRUITLESS) and self._following(frames)
        return bool(missing) and not waits

    def _outlasts(self, step_ns: int) -> bool:
        """Whether the last search took so long that live hands were lost meanwhile which could be followed."""
        longest_ns = Timing().longest_step_ms * 1e6
        takes_long = self._search_ns > LONGEST_SEARCH_SHARE * longest_ns
        return self.source.live and takes_long and step_ns <= longest_ns

    def _read(self, jobs: Sequence[tuple[Image, Crop]], slow: bool) -> Read:
        """What the network says of crops; in a slow recording, which leaves the time, four times a crop."""
        if slow and not self.source.live and not self.keep_beliefs:
            return self._detector.read(jobs, self.clock)
        return self.cpm(jobs, self.clock, self.keep_beliefs)

    def _hands_now(self, frames: FrameSet) -> NDArray[np.bool_]:
        """(2,) which hands the rig has; without one both or none, as anything is followed: people may show one hand."""
        following = self._following(frames)
        if self._rig_tracker is not None:
            return self._rig_tracker.hands.present & bool(following)
        return np.full(N_HANDS, any(t.follows(hand) for t in following for hand in range(N_HANDS)))

    def _following(self, frames: FrameSet) -> list[Tracker]:
        """Those whose last frame is so near that they go on from it."""
        return [t for frame in frames.frames if not (t := self._tracker(frame)).lapsed(frame.t_ns)]

    def _has_more_hands(self, found: Result) -> bool:
        self._detected_ns = found.frames.t_ns
        views = [found.rig.hands] if found.rig is not None else [view.measured for view in found.views]
        more = np.any([view.present for view in views], axis=0).sum() > self._hands_now(found.frames).sum()
        self._fruitless += not more
        return bool(more)

    def _adopted(self, found: Result) -> Result:
        """Hands that the Detector found, for the trackers to follow."""
        pairs = zip(found.frames.frames, found.views, strict=True)
        with self.clock.stage("track"):
            views = tuple(self._tracker(frame).adopt(view.measured, frame.t_ns) for frame, view in pairs)
        return replace(found, views=views)

    def _lifted(self, result: Result) -> Result:
        """The result with its hands in 3D, where there is a rig."""
        if self.rig is None or self._rig_tracker is None or self._watch is None:
            return result
        frames = result.frames
        for frame in frames.frames:
            self.rig[frame.camera].check_image(frame.size_px)
        self.clock.add("spread", frames.spread_ns)
        with self.clock.stage("lift"):
            self._rig_tracker.smooth = self.smooth
            measured = {c: view.measured for c, view in zip(frames.cameras, result.views, strict=True)}
            times_ns = {frame.camera: frame.t_ns for frame in frames.frames}
            tracked = self._rig_tracker.update(measured, frames.t_ns, times_ns)
            advise(self._trackers, measured, tracked.agreed, frames.frames)
            sentence = self._watch.update(measured, tracked.measured, times_ns)
        if sentence:
            self._notice(sentence)
        return replace(result, rig=tracked)

    def _tracker(self, frame: Frame) -> Tracker:
        tracker = self._trackers.get(frame.camera)
        if tracker is None:
            tracker = self._trackers[frame.camera] = Tracker()
        tracker.smooth = self.smooth
        return tracker

    def _beliefs(self, read: Read, looks: list[Look]) -> tuple[Belief, ...]:
        if not self.keep_beliefs:
            return ()
        input_px, map_px = self.cpm.input_px, read.belief_maps.shape[-1]
        # Copied, because the engine writes the next frame into the same buffer.
        return tuple(
            Belief(read.belief_maps[i, :N_POINTS].copy(), look.crop.picture_from_map(input_px, map_px))
            for i, look in enumerate(looks)
        )

    def _found(self, frames: FrameSet, rounds: int = ROUNDS) -> Result:
        """The hands in pictures that have nothing to do with those before."""
        if self.rig is None:
            hands = (self._detector(frame.image_bgr, self.clock) for frame in frames.frames)
            return Result(frames, tuple(map(_as_tracked, hands)))
        for frame in frames.frames:
            self.rig[frame.camera].check_image(frame.size_px)
        images = {frame.camera: frame.image_bgr for frame in frames.frames}
        found = RigDetector(self.rig, self._detector, self._rtc, rounds)(images, self.clock)
        views = tuple(_as_tracked(found.views[camera]) for camera in images)
        rig = RigTracked(found.hands, found.hands, reproject(found.hands, self.rig))
        return Result(frames, views, rig=rig)


def _as_tracked(hands: Hands2D) -> Tracked:
    right, left = (State.SEEN if there else State.LOST for there in hands.present)
    return Tracked(hands, hands, (right, left))
