"""A picture or a folder of pictures, in natural order of their names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from rt_hands.capture.source import Notice, Source, first_only, to_stderr
from rt_hands.errors import SourceError
from rt_hands.paths import natural_key
from rt_hands.types import Frame, FrameSet, Image

SUFFIXES: Final = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff"),
    *(".jp2", ".pbm", ".pgm", ".pnm", ".ppm"),
)
BESIDE: Final = (
    *(".csv", ".db", ".html", ".ini", ".json", ".jsonl", ".log", ".md", ".npy", ".npz", ".parquet", ".pkl"),
    *(".py", ".toml", ".tsv", ".txt", ".xml", ".xmp", ".yaml", ".yml"),
)
"""Endings of what is kept beside pictures, and missed by nobody."""
DEPTHS: Final = (8, 10, 12, 14, 16)
"""Bits of a sensor's values that 16-bit files hold."""
NOMINAL_STEP_NS: Final = 1_000_000_000
"""Pictures carry no time; one a second, so that a film of them can be watched."""


@dataclass(slots=True)
class Depth:
    """The most bits that 16-bit files of one camera have used so far: a dark picture uses fewer than the sensor has."""

    bits: int = DEPTHS[0]


def read_image(path: Path, notice: Notice = to_stderr, depth: Depth | None = None) -> Image:
    """(h, w, 3) uint8 BGR, turned upright by its EXIF tag; 16-bit files scaled by the bits they use, told if fewer.

    depth: of the pictures read before, for the next one. Raises SourceError with the reason.
    """
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise SourceError(f"{path} can't be opened: {error.strerror}. Check its permissions.") from error
    if data.size == 0:
        raise SourceError(f"{path} is empty (0 bytes).")
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
        if image is not None and image.dtype not in (np.uint8, np.uint16):
            image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise SourceError(
            f"{path} is no picture that can be decoded; the file is damaged or of another kind."
        )
    if image.dtype == np.uint16:
        bits = _bits(int(image.max()))
        if depth is not None and image.any():
            bits = depth.bits = max(depth.bits, bits)
        if bits < DEPTHS[-1]:
            notice(f"{path} has {bits}-bit values in 16 bits: scaled up.")
        image = image >> (bits - 8)
    return np.asarray(image, np.uint8)


def _bits(most: int) -> int:
    """Of the values of a 16-bit file, as its greatest tells; black tells nothing."""
    return next(bits for bits in DEPTHS if most < 1 << bits) if most else DEPTHS[-1]


class ImageSource(Source):
    """Single pictures. Of several, damaged ones are told of and skipped; SourceError where none is left."""

    still = True

    def __init__(self, path: str | Path, notice: Notice = to_stderr, camera: str | None = None) -> None:
        self.name = str(path)
        self._notice = notice
        self.paths, left_out = _pictures(Path(path))
        if left_out:
            notice(f"{path}: {left_out}.")
        self.cameras = (camera or Path(path).stem,)
        self.length = len(self.paths)

    def __iter__(self) -> Iterator[FrameSet]:
        readable, on_depth, depth = False, first_only(self._notice), Depth()
        # A picture that can't be read keeps its number: those of another camera would else meet the wrong ones.
        for index, path in enumerate(self.paths):
            try:
                image = read_image(path, on_depth, depth)
            except SourceError as error:
                if len(self.paths) == 1:
                    raise
                self._notice(f"Skipped: {error}")
                continue
            readable = True
            frame = Frame(image, self.cameras[0], index, index * NOMINAL_STEP_NS, path.name)
            yield FrameSet((frame,), index)
        if not readable:
            raise SourceError(f"None of the {len(self.paths)} pictures in {self.name} can be read.")


def _pictures(path: Path) -> tuple[list[Path], str]:
    """Of a folder, in natural order; and in words how many other files are left out, "" for none that were meant."""
    if path.is_file():
        return [path], ""
    try:
        inside = sorted(path.iterdir(), key=lambda p: natural_key(p.name))
    except OSError as error:
        raise SourceError(
            f"The folder {path} can't be read: {error.strerror}. Check its permissions."
        ) from error
    found = [p for p in inside if p.suffix.lower() in SUFFIXES]
    left_out = _left_out(inside, {p.stem for p in found})
    if not found:
        reason = f": {left_out}" if left_out else ""
        raise SourceError(
            f"The folder {path} holds no pictures ({', '.join(SUFFIXES)}) and no session{reason}."
        )
    return found, left_out


def _left_out(inside: list[Path], stems: set[str]) -> str:
    """Files of a folder that may have been meant as pictures: not hidden ones, nor a picture's companions."""
    kinds = Counter(
        p.suffix.lower() or "without an ending"
        for p in inside
        if p.suffix.lower() not in {*SUFFIXES, *BESIDE}
        and p.stem not in stems
        and not p.name.startswith(".")
        and p.is_file()
    )
    if not (count := kinds.total()):
        return ""
    listed = ", ".join(f"{kind} {n}" for kind, n in kinds.most_common())
    return (
        f"{count} file{' of another kind is' if count == 1 else 's of other kinds are'} left out ({listed})"
    )
