"""python -m rt_hands.bench picture: the README's picture, rendered hands and a real one as the network sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import tyro
from rich.console import Console

from rt_hands.capture.choose import open_source
from rt_hands.detector import Detector
from rt_hands.display.draw import draw_hands
from rt_hands.errors import InvalidInput
from rt_hands.paths import data_dir, sample_dir
from rt_hands.session import Session
from rt_hands.types import Hands2D, Image

SAMPLE_SET, VIDEO_FRAME = 12, 210
HEIGHT_PX = 380
ENLARGED = 3.0
"""Pictures are drawn on at this size, so that 170 points have room."""
MARGIN = 0.25


@dataclass(frozen=True)
class Options:
    """Find and draw hands in a picture of the bundled sample and, where the data folder is, in a real one."""

    out: Path = Path("docs/images/hands.png")
    """PNG to write."""
    model: str = "default"
    """light, int8, quality, or a path to an .onnx file."""


def main(argv: Sequence[str]) -> int:
    """Find, draw, write."""
    options = tyro.cli(
        Options, args=list(argv), prog="python -m rt_hands.bench picture", description=Options.__doc__
    )
    detector = Detector(model=options.model)
    pictures = [_cut(image, detector(image)) for image in _images()]
    detector.close()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(options.out), np.hstack(pictures)):
        raise InvalidInput(f"{options.out} can't be written.")
    Console().print(f"Wrote {options.out}.")
    return 0


def _images() -> list[Image]:
    """Two rendered hands; one real hand of the MIT-licensed video, if it is there."""
    with Session(sample_dir(), notice=lambda _: None) as session:
        rendered = session[SAMPLE_SET].frames[0].image_bgr
    images = [rendered]
    folder = data_dir()
    video = folder / "video" / "one_hand.mp4" if folder else None
    if video is not None and video.is_file():
        with open_source(str(video)) as source:
            images += [s.frames[0].image_bgr for s in islice(source, VIDEO_FRAME, VIDEO_FRAME + 1)]
    return images


def _cut(image: Image, hands: Hands2D) -> Image:
    """The part round the hands, enlarged, with their points, at the height of the others."""
    scaled = hands.points_px * np.array([ENLARGED, ENLARGED, 1], np.float32)
    size = (round(ENLARGED * image.shape[1]), round(ENLARGED * image.shape[0]))
    large = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    drawn = draw_hands(large, replace(hands, points_px=scaled))
    seen = scaled[np.isfinite(scaled[:, 0]), :2]
    low, high = seen.min(0), seen.max(0)
    margin = MARGIN * (high - low).max()
    x0, y0 = np.maximum(low - margin, 0).astype(int)
    x1, y1 = np.minimum(high + margin, size).astype(int)
    part = drawn[y0:y1, x0:x1]
    scale = HEIGHT_PX / part.shape[0]
    return np.asarray(cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
