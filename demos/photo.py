"""Hands in one photograph: prints what was found and writes the picture with the hands drawn on it.

python demos/photo.py photo.jpg [out.png]
"""

import sys
from pathlib import Path

import cv2

from rt_hands.capture.images import read_image
from rt_hands.detector import Detector
from rt_hands.display.draw import draw_hands
from rt_hands.errors import InvalidInput, check_target, run_command
from rt_hands.layout import HANDS, JOINT_NAMES


def main(argv):
    """Find, print, draw, save."""
    if not argv:
        raise InvalidInput("Give a picture: python demos/photo.py photo.jpg [out.png]")
    path = Path(argv[0])
    out = Path(argv[1] if len(argv) > 1 else f"{path.stem}_hands.png")
    check_target(out)
    if out.exists() or not cv2.haveImageWriter(out.name):
        why = "is already there" if out.exists() else "is no kind of picture that OpenCV writes"
        raise InvalidInput(f"{out} {why}; give a new picture's name, such as hands.png.")
    image = read_image(path)
    hands = Detector()(image)
    for side, name in enumerate(HANDS):
        if not hands.present[side]:
            print(f"{name} hand: not in the picture")
            continue
        print(f"{name} hand: presence {hands.presence[side]:.2f}")
        for joint in ("wrist", "thumb_tip", "index_tip", "middle_tip", "ring_tip", "pinky_tip"):
            x, y, score = hands.hand(side)[JOINT_NAMES.index(joint)]
            print(f"  {joint:<10} x {x:7.1f}  y {y:7.1f}  score {score:.2f}")
    if not cv2.imwrite(str(out), draw_hands(image, hands)):
        raise InvalidInput(f"{out} can't be written.")
    print(f"Saved {out}.")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
