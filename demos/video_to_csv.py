"""A video to a table: one line a frame and camera, 170 points as columns named after the points.

    python demos/video_to_csv.py video.mp4 out.csv [frames]

JSON lines come from the command itself: python -m rt_hands.live --source video.mp4 --no-window --jsonl out.jsonl
"""

import csv
import sys
from itertools import islice
from pathlib import Path

import numpy as np

from rt_hands.capture import open_source
from rt_hands.errors import InvalidInput, check_target, run_command, typed_number
from rt_hands.inference.cpm import Cpm
from rt_hands.layout import POINT_NAMES
from rt_hands.pipeline import Pipeline


def header():
    """Time, camera, a picture's file, presence, then x, y, score of every point."""
    points = [f"{name}_{value}" for name in POINT_NAMES for value in ("x_px", "y_px", "score")]
    return ["t_ns", "camera", "file", "right_present", "left_present", *points]


def main(argv):
    """Follow the hands through the video and write them; absent points are empty cells."""
    if len(argv) < 2:
        raise InvalidInput(
            "Give a video and a table: python demos/video_to_csv.py video.mp4 out.csv [frames]"
        )
    out = Path(argv[1])
    check_target(out)
    if out.exists() or out.suffix.lower() != ".csv":
        raise InvalidInput(
            f"{out} {'is already there' if out.exists() else 'is no .csv'}; give a new table's name."
        )
    frames = int(typed_number(argv[2], "The number of frames")) if len(argv) > 2 else None
    with open_source(argv[0]) as source, open(out, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(header())
        for result in islice(Pipeline(source, Cpm.load()), frames):
            for frame, view in zip(result.frames.frames, result.views, strict=True):
                values = np.round(view.hands.points_px.astype(float), 3).ravel().tolist()
                cells = ["" if np.isnan(value) else value for value in values]
                present = view.hands.present.astype(int).tolist()
                table.writerow([frame.t_ns, frame.camera, frame.file, *present, *cells])
    print(f"Saved {out}.")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
