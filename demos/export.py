"""Hands to a file that other programs read: .csv, .parquet, .jsonl, COCO's .json; with a rig .c3d in mm.

    python demos/export.py source out.csv [frames]

The offline pass over a whole session, smoothed both ways in time: python -m rt_hands.process session
"""

import sys
from itertools import islice
from pathlib import Path

from rt_hands.camera import Rig
from rt_hands.capture import open_source
from rt_hands.errors import InvalidInput, check_target, run_command, typed_number
from rt_hands.formats import HandsSample, export_hands
from rt_hands.inference.cpm import Cpm
from rt_hands.paths import sample_dir
from rt_hands.pipeline import Pipeline


def main(argv):
    """Find the hands in a source and write them; 3D where the source is a session with a rig, else 2D."""
    if len(argv) < 2:
        raise InvalidInput("Give a source and a file: python demos/export.py source out.csv [frames]")
    out = Path(argv[1])
    check_target(out)
    if out.exists():
        raise InvalidInput(f"{out} is already there; give a new file's name.")
    frames = int(typed_number(argv[2], "The number of frames")) if len(argv) > 2 else None
    # A session that was recorded with a calibrated rig has it in its folder.
    calibration = (sample_dir() if argv[0] == "sample" else Path(argv[0])) / "rig.toml"
    rig = Rig.load(calibration) if calibration.is_file() else None
    samples = []
    with open_source(argv[0]) as source:
        for result in islice(Pipeline(source, Cpm.load(), rig=rig), frames):
            moment = result.frames
            if result.rig is not None:
                samples.append(HandsSample(moment.index, moment.t_ns, result.rig.hands))
                continue
            for frame, view in zip(moment.frames, result.views, strict=True):
                picture = (frame.file, frame.size_px) if frame.file else ()
                samples.append(HandsSample(frame.index, frame.t_ns, view.hands, frame.camera, *picture))
    export_hands(out, samples)
    print(f"Saved {len(samples)} samples, {'3D' if rig else '2D'}, as {out}.")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
