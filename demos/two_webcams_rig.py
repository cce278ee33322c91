"""Two ordinary webcams side by side, measured with a ruler: hands in mm without any calibration, right to some percent.

    python demos/two_webcams_rig.py LEFT RIGHT [baseline_mm] [field_of_view_deg] [frames]

LEFT and RIGHT are what --source takes, 0 and 1 for the first two webcams; both look straight ahead. For exact
millimetres calibrate: python -m rt_hands.calibrate live --help
"""

import sys

import numpy as np

from rt_hands import Camera, Rig
from rt_hands.capture import open_source
from rt_hands.errors import InvalidInput, run_command, typed_number
from rt_hands.inference.cpm import Cpm
from rt_hands.layout import HANDS, index_of
from rt_hands.pipeline import Pipeline

WRIST, THUMB, INDEX = (index_of(name) for name in ("wrist", "thumb_tip", "index_tip"))


def rough_rig(size_px, baseline_mm, field_of_view_deg):
    """Two equal cameras without lens distortion, looking the same way. World: the left one's frame."""
    width, height = size_px
    focal = width / 2 / np.tan(np.radians(field_of_view_deg / 2))
    k = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    shifted = np.eye(4)
    shifted[0, 3] = -baseline_mm
    poses = {"left": np.eye(4), "right": shifted}
    return Rig(tuple(Camera(name, size_px, k, np.zeros(5), pose) for name, pose in poses.items()))


def main(argv):
    """Print how far each hand is away and how wide its thumb and index finger are open."""
    if len(argv) < 2:
        raise InvalidInput("Give two cameras: python demos/two_webcams_rig.py 0 1")
    baseline_mm = typed_number(argv[2], "The baseline in mm") if len(argv) > 2 else 200.0
    degrees = typed_number(argv[3], "The field of view in degrees") if len(argv) > 3 else 65.0
    frames = int(typed_number(argv[4], "The number of frames")) if len(argv) > 4 else None
    words = [f"left={argv[0]}", f"right={argv[1]}"]
    pipeline = None
    with open_source(words, cameras=("left", "right")) as source:
        for count, pictures in enumerate(source, start=1):
            if pipeline is None:
                rig = rough_rig(pictures.frames[0].size_px, baseline_mm, degrees)
                pipeline = Pipeline(source, Cpm.load(), rig=rig)
            hands = pipeline.step(pictures).rig.hands
            for side in np.flatnonzero(hands.present):
                points = hands.hand_mm(side)
                far_mm, gap_mm = points[WRIST, 2], np.linalg.norm(points[THUMB] - points[INDEX])
                print(f"{count:4} {HANDS[side]}: {far_mm:5.0f} mm away, thumb to index {gap_mm:4.0f} mm")
            if count == frames:
                break
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
