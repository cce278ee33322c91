"""rt_hands behind the same JSON lines as `mediapipe_worker`, so that time and memory are measured alike.

python -m rt_hands.benchmarks.our_worker ENGINE MODEL
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from rt_hands.benchmarks.mediapipe_worker import serve
from rt_hands.capture.source import Source
from rt_hands.detector import Detector
from rt_hands.errors import run_command
from rt_hands.inference.cpm import Cpm
from rt_hands.layout import N_HANDS, N_JOINTS
from rt_hands.pipeline import Pipeline
from rt_hands.types import Frame, FrameSet, Hands2D, Image

PERIOD_NS = 33_333_333
Finder = Callable[[Image], list[dict[str, Any]]]


class _Clip(Source):
    """The name of a camera whose pictures come by hand."""

    name, cameras = "clip", ("clip",)

    def __iter__(self) -> Iterator[FrameSet]:
        return iter(())


def as_hands(hands: Hands2D) -> list[dict[str, Any]]:
    """Present hands as the worker's lines have them."""
    return [
        {"side": side, "joints": hands.hand(side)[:N_JOINTS, :2].astype(float).round(2).tolist()}
        for side in range(N_HANDS)
        if hands.present[side]
    ]


def main(argv: Sequence[str]) -> int:
    """Serve until stdin ends."""
    os.dup2(2, 1)
    engine, model = argv
    cpm = Cpm.load(model, engine)
    cpm.warm_up((1, 2))

    def open_finder(request: dict[str, Any]) -> Finder:
        if request["still"]:
            detector = Detector(cpm=cpm)
            return lambda image: as_hands(detector(image))
        pipeline, count = Pipeline(_Clip(), cpm), iter(range(10**9))

        def follow(image: Image) -> list[dict[str, Any]]:
            i = next(count)
            frame = Frame(np.asarray(image, np.uint8), "clip", i, i * PERIOD_NS)
            return as_hands(pipeline.step(FrameSet((frame,), i)).views[0].hands)

        return follow

    serve(open_finder, f"rt_hands, {cpm.engine.name} {cpm.engine.precision}")
    cpm.close()
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
