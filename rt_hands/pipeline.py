"""Frames in, hands out: the only file that wires the stages together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rt_hands.capture.source import Source
from rt_hands.clock import RateMeter, StageClock
from rt_hands.detector import Detector
from rt_hands.inference.cpm import Cpm, Read
from rt_hands.layout import N_POINTS
from rt_hands.tracking.track import State
from rt_hands.tracking.tracker import Look, Tracked, Tracker
from rt_hands.types import Frame, FrameSet, Hands2D


@dataclass(frozen=True, slots=True)
class Belief:
    """Belief maps of one crop, kept for display: maps (170, n, n) float32, picture_from_map (2, 3)."""

    maps: NDArray[np.float32]
    picture_from_map: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Result:
    """One FrameSet and its hands: views[i] belongs to frames.frames[i], beliefs[i] too (empty unless kept)."""

    frames: FrameSet
    views: tuple[Tracked, ...]
    beliefs: tuple[tuple[Belief, ...], ...] = ()


class Pipeline:
    """An iterator of Results: one engine call a FrameSet for all views and hands.

    Hands are followed from frame to frame, each camera by its own tracker; in unrelated pictures (`source.still`)
    they are found anew. `smooth` and `keep_beliefs` may be changed while it runs. `clock` has the stages grab,
    preprocess, infer, decode, track; `rate` the frames a second. Closing the source and the network is the caller's.
    """

    def __init__(self, source: Source, cpm: Cpm, smooth: bool = True, keep_beliefs: bool = False) -> None:
        self.source = source
        self.cpm = cpm
        self.smooth = smooth
        self.keep_beliefs = keep_beliefs
        self.clock = StageClock()
        self.rate = RateMeter()
        self._trackers = {camera: Tracker() for camera in source.cameras}
        self._detector = Detector(cpm=cpm)

    def __iter__(self) -> Iterator[Result]:
        frame_sets = iter(self.source)
        while True:
            with self.clock.stage("grab"):
                frames = next(frame_sets, None)
            if frames is None:
                return
            result = self.step(frames)
            self.rate.tick()
            yield result

    def step(self, frames: FrameSet) -> Result:
        """The hands in one FrameSet."""
        if self.source.still:
            return Result(frames, tuple(self._detect(frame) for frame in frames.frames))
        plans = [self._tracker(frame).plan(frame.size_px, frame.t_ns) for frame in frames.frames]
        jobs = [
            (frame.image_bgr, look.crop)
            for frame, looks in zip(frames.frames, plans, strict=True)
            for look in looks
        ]
        read = self.cpm(jobs, self.clock)
        with self.clock.stage("track"):
            views, beliefs, first = [], [], 0
            for frame, looks in zip(frames.frames, plans, strict=True):
                part = read.part(first, first + len(looks))
                first += len(looks)
                views.append(self._tracker(frame).update(looks, part, frame.t_ns))
                beliefs.append(self._beliefs(part, looks))
        return Result(frames, tuple(views), tuple(beliefs))

    def _tracker(self, frame: Frame) -> Tracker:
        tracker = self._trackers.setdefault(frame.camera, Tracker())
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

    def _detect(self, frame: Frame) -> Tracked:
        hands: Hands2D = self._detector(frame.image_bgr, self.clock)
        right, left = (State.SEEN if there else State.LOST for there in hands.present)
        return Tracked(hands, hands, (right, left))
