"""The bundled four-camera sample through the whole rig: hands in mm, drawn back into every view, beside the truth.

python demos/rig_replay.py [out.mp4] [frames]
"""

import sys
from itertools import islice
from pathlib import Path

import numpy as np

from rt_hands.display.video_file import VideoFile
from rt_hands.display.view import ViewOptions, draw_result
from rt_hands.display.view3d import World
from rt_hands.errors import InvalidInput, check_target, run_command, typed_number
from rt_hands.inference.cpm import Cpm
from rt_hands.layout import HANDS, index_of
from rt_hands.paths import sample_dir
from rt_hands.pipeline import Pipeline
from rt_hands.session import Session

TIP = index_of("index_tip")


def main(argv):
    """Follow the hands, say where the index fingers point from, save a film with all views and the 3D view."""
    out = Path(argv[0] if argv else "rig_replay.mp4")
    check_target(out)
    if out.exists() or out.suffix.lower() != ".mp4":
        raise InvalidInput(
            f"{out} {'is already there' if out.exists() else 'is no .mp4'}; give a new film's name."
        )
    frames = int(typed_number(argv[1], "The number of frames")) if len(argv) > 1 else None
    truth = np.load(sample_dir() / "truth.npz")["points_world_mm"]
    errors_mm = []
    with Session(sample_dir()) as session, session.replay(realtime=False) as source, VideoFile(out) as film:
        options = ViewOptions(world=World(session.rig))
        pipeline = Pipeline(source, Cpm.load(), rig=session.rig)
        for result in islice(pipeline, frames):
            film.add(draw_result(result, options), result.frames.t_ns)
            hands = result.rig.hands
            told = []
            for side, name in enumerate(HANDS):
                if hands.present[side]:
                    tip, views = hands.hand_mm(side)[TIP], hands.views[85 * side + TIP]
                    told.append(f"{name} index tip {np.round(tip).astype(int).tolist()} mm by {views} views")
            print(f"frame {result.frames.index:3}: {', '.join(told) or 'no hand in 3D yet'}")
            apart = np.linalg.norm(hands.points_world_mm - truth[result.frames.index], axis=1)
            errors_mm += apart[np.isfinite(apart)].tolist()
    if errors_mm:
        print(f"Mean distance of all points from the truth: {np.mean(errors_mm):.1f} mm.")
    print(f"Saved {out}.")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
