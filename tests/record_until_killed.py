"""Record two simulated cameras into the folder argv[1] until killed; prints a line when the first frame is taken."""

from __future__ import annotations

import sys

from rt_hands.capture.live import LiveSource
from rt_hands.capture.simulated import SimulatedReader
from rt_hands.recording import Recorded

readers = [
    SimulatedReader(name, (256, 144), phase_ms=phase) for name, phase in (("cam_2", 0.0), ("cam_10", 6.0))
]
with LiveSource(readers, notice=lambda _: None) as cameras:
    recorded = Recorded(cameras, sys.argv[1])
    for frames in recorded:
        if frames.index == 0:
            print("recording", flush=True)
