"""Hands from the first webcam, or from the bundled sample where there is none, in a plain OpenCV window.

python demos/webcam.py [source] [frames]
"""

import sys

import cv2

from rt_hands.capture import open_source
from rt_hands.display.view import ViewOptions, draw_result
from rt_hands.display.window import why_no_window
from rt_hands.errors import run_command, typed_number
from rt_hands.inference.cpm import Cpm
from rt_hands.pipeline import Pipeline


def main(argv):
    """Show every result until q is pressed; without a display, say where the first hand is."""
    no_window = why_no_window()
    if no_window:
        print(f"No window: {no_window}. Printing instead.")
    frames = int(typed_number(argv[1], "The number of frames")) if len(argv) > 1 else None
    with open_source(argv[:1]) as source:
        pipeline = Pipeline(source, Cpm.load())
        options = ViewOptions(mirror=source.webcams)
        for count, result in enumerate(pipeline, start=1):
            if no_window:
                right, left = result.views[0].states
                print(f"frame {count}: right {right.value}, left {left.value}, {pipeline.rate.fps:.0f} fps")
            else:
                cv2.imshow("rt_hands", draw_result(result, options))
                if cv2.waitKey(1) == ord("q"):
                    break
            if count == frames:
                break
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
