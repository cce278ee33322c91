"""Your own use of the hands: here, tell when thumb and index finger pinch. Runs in its own thread and queue.

python demos/own_consumer.py [source] [frames]
"""

import sys
from contextlib import closing
from itertools import islice

import numpy as np

from rt_hands.capture import open_source
from rt_hands.consumers import Worker
from rt_hands.errors import run_command, typed_number
from rt_hands.inference.cpm import Cpm
from rt_hands.layout import HANDS, index_of
from rt_hands.pipeline import Pipeline

THUMB, INDEX, WRIST, KNUCKLE = (index_of(name) for name in ("thumb_tip", "index_tip", "wrist", "middle_mcp"))


class PinchTeller:
    """Takes results; `name`, `accept` and `close` are all that a consumer needs."""

    name = "pinch"

    def __init__(self):
        self.pinching = [False, False]

    def accept(self, result):
        """Print a line when a pinch begins or ends in the first camera; distances in lengths of the palm."""
        for side, name in enumerate(HANDS):
            points = result.views[0].hands.hand(side)[:, :2]
            gap = np.linalg.norm(points[THUMB] - points[INDEX]) / np.linalg.norm(
                points[WRIST] - points[KNUCKLE]
            )
            # Two thresholds, so that it does not flutter; NaN of an absent hand compares false, which ends a pinch.
            pinching = bool(gap < (0.45 if self.pinching[side] else 0.3))
            if pinching != self.pinching[side]:
                print(f"{result.frames.t_ns / 1e9:8.3f} s  {name} pinch {'begins' if pinching else 'ends'}")
            self.pinching[side] = pinching

    def close(self):
        """Nothing to finish."""


def main(argv):
    """Feed every result to the consumer; for cameras it may drop some, for files it may not."""
    frames = int(typed_number(argv[1], "The number of frames")) if len(argv) > 1 else None
    with open_source(argv[:1]) as source, closing(Worker(PinchTeller(), wait=not source.live)) as worker:
        for result in islice(Pipeline(source, Cpm.load()), frames):
            worker.offer(result)
    print(f"Done, {worker.dropped} results dropped.")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
