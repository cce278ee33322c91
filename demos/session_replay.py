"""A recorded session played again: any moment of it, any speed, the hands found anew.

    python demos/session_replay.py [session] [first] [last]

Without a session it plays the bundled sample. Sessions are recorded by python -m rt_hands.capture.
"""

import sys

from rt_hands import Session
from rt_hands.errors import run_command, typed_number
from rt_hands.inference.cpm import Cpm
from rt_hands.layout import HANDS, index_of
from rt_hands.paths import sample_dir
from rt_hands.pipeline import Pipeline

TIP = index_of("index_tip")


def main(argv):
    """Say what is in the session, then follow the tips of the index fingers through a part of it."""
    with Session(argv[0] if argv else sample_dir()) as session:
        seconds = (session.set_times_ns[-1] - session.set_times_ns[0]) / 1e9
        print(f"{len(session)} FrameSets of {', '.join(session.cameras)}: {seconds:.1f} s")
        first = int(typed_number(argv[1], "The first frame", 0)) if len(argv) > 1 else 0
        last = int(typed_number(argv[2], "The last frame", 0)) if len(argv) > 2 else len(session)
        # realtime=True plays it at its own speed and drops late frames, as cameras would.
        with session.replay(realtime=False, first=first, last=last) as source:
            for result in Pipeline(source, Cpm.load(), rig=session.rig):
                print(f"{result.frames.index:5d} {result.frames.t_ns / 1e9:8.3f} s  {where(result)}")
    return 0


def where(result):
    """The tip of each index finger: in mm with a calibrated rig, in the first camera's px without."""
    words = []
    for side, name in enumerate(HANDS):
        if result.rig is not None:
            place, there, unit = result.rig.hands.hand_mm(side)[TIP], result.rig.hands.present[side], "mm"
        else:
            hands = result.views[0].hands
            place, there, unit = hands.hand(side)[TIP, :2], hands.present[side], "px"
        words.append(
            f"{name} {' '.join(f'{x:7.1f}' for x in place)} {unit}" if there else f"{name} not there"
        )
    return "   ".join(words)


if __name__ == "__main__":
    sys.exit(run_command(main))
