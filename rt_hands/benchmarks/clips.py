"""Pictures on which hand finders are compared: one hand, two apart, touching, interlocked; rendered and real."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from rt_hands.capture.choose import open_source
from rt_hands.layout import N_HAND, N_HANDS, N_JOINTS
from rt_hands.paths import clasped_dir, data_dir, sample_dir
from rt_hands.session import Session
from rt_hands.types import Image

JPEG_QUALITY: Final = 90
MEETING: Final = 42
"""In the bundled sample the hands are apart before this FrameSet, and near, touching or crossing from it on."""
NEAR: Final = 0.3
"""A found hand is a true one where its joints are on average this much of the hand's size from the truth, or less."""


@dataclass(frozen=True)
class Clip:
    """images: BGR, in order. hands: that every picture shows. still: unrelated pictures.

    truth_px: (n, 2, 21, 2) true joints, right then left; None where nobody knows them. note: what to know. cuts: where
    another video begins, so that every finder starts anew.
    """

    name: str
    images: list[Image]
    hands: int
    still: bool = False
    truth_px: NDArray[np.floating] | None = None
    note: str = ""
    cuts: tuple[int, ...] = ()

    def turns(self, most: int) -> Iterator[tuple[int, int]]:
        """Ranges first <= i < last of so many pictures at most, none across a cut."""
        for begin, end in pairwise((0, *self.cuts, len(self.images))):
            yield from ((first, min(first + most, end)) for first in range(begin, end, most))

    def save(self, folder: Path) -> None:
        """As numbered JPEGs, as a camera sends them."""
        folder.mkdir(parents=True)
        for i, image in enumerate(self.images):
            cv2.imwrite(str(folder / f"{i:06d}.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])


@dataclass
class Count:
    """Of one finder on one clip. right_side: of the found ones. invented: reported where no hand is."""

    there: int = 0
    found: int = 0
    right_side: int = 0
    invented: int = 0

    def add(self, clip: Clip, i: int, hands: list[dict[str, Any]]) -> None:
        """Count the hands that a finder reported in picture i."""
        self.there += clip.hands
        if clip.truth_px is None:
            found = min(_distinct(hands), clip.hands)
            self.found, self.invented = self.found + found, self.invented + len(hands) - found
            return
        free = list(range(N_HANDS))
        for hand in hands:
            joints = np.array(hand["joints"])
            near = [side for side in free if _is_near(joints, clip.truth_px[i, side])]
            if not near:
                self.invented += 1
                continue
            side = hand["side"] if hand["side"] in near else near[0]
            free.remove(side)
            self.found += 1
            self.right_side += side == hand["side"]


def _size(joints: NDArray[np.floating]) -> float:
    return float(np.ptp(joints, axis=0).max())


def _is_near(joints: NDArray[np.floating], true: NDArray[np.floating]) -> bool:
    return bool(np.linalg.norm(joints - true, axis=1).mean() <= NEAR * _size(true))


def _distinct(hands: list[dict[str, Any]]) -> int:
    """How many hands were reported, the same hand twice counted once."""
    joints = [np.array(hand["joints"]) for hand in hands]
    return sum(not any(_is_near(j, other) for other in joints[:i]) for i, j in enumerate(joints))


def clips(frames: int) -> Iterator[Clip]:
    """Those that can be made here, `frames` pictures of each at most; real ones need the data folder."""
    yield from _sample(frames)
    yield _clasped(frames)
    folder = data_dir()
    if folder is None:
        return
    video = folder / "video" / "one_hand.mp4"
    if video.is_file():
        with open_source(str(video)) as source:
            images = [frame_set.frames[0].image_bgr for frame_set in islice(source, frames)]
        yield Clip("one hand, real video 1280x720", images, 1)
    note = "MediaPipe chose these pictures: only those where it found two hands were kept"
    people = ("webcam_4-mina", "webcam_hieu")
    yield from _stills("two hands touching, real pictures", folder, people, frames, note)
    note += "; this person's other pictures trained our network"
    yield from _stills("two hands crossing, real pictures", folder, ("webcam_dacrron",), frames, note)


def _stills(name: str, folder: Path, people: tuple[str, ...], most: int, note: str) -> Iterator[Clip]:
    paths = [path for p in people for path in sorted((folder / "real" / p).glob("*_both.jpg"))]
    every = max(len(paths) // most, 1)
    chosen = paths[::every][:most]
    images = [image for path in chosen if (image := cv2.imread(str(path))) is not None]
    if images:
        yield Clip(name, [np.asarray(image, np.uint8) for image in images], N_HANDS, True, note=note)


def _clasped(frames: int) -> Clip:
    """The bundled clip of three people's interlocked hands; as many pictures of each."""
    with open_source(str(clasped_dir() / "clasped.mp4")) as source:
        images = [frame_set.frames[0].image_bgr for frame_set in source]
    points = np.load(clasped_dir() / "truth.npz")["points_px"]
    truth = points.reshape(-1, N_HANDS, N_HAND, 2)[:, :, :N_JOINTS]
    person = json.loads((clasped_dir() / "about.json").read_text())["frames_a_person"]
    # The beginning of each person's part, so that the camera still moves as it did.
    people = len(images) // person
    kept = [p * person + i for p in range(people) for i in range(min(person, max(frames // people, 2)))]
    cuts = tuple(range(len(kept) // people, len(kept), len(kept) // people))
    name = "two hands interlocked, rendered 640x480"
    return Clip(name, [images[i] for i in kept], N_HANDS, truth_px=truth[kept], cuts=cuts)


def _sample(frames: int) -> Iterator[Clip]:
    """The bundled session, one camera after the other: hands apart, and hands that meet."""
    with Session(sample_dir(), notice=lambda _: None) as session:
        sets, rig = list(session), session.rig
    world_mm = np.load(sample_dir() / "truth.npz")["points_world_mm"]
    assert rig is not None
    cases: tuple[tuple[str, Callable[[int], bool]], ...] = (
        ("two hands apart, rendered 640x480", lambda i: i < MEETING),
        ("two hands touching and crossing, rendered 640x480", lambda i: i >= MEETING),
    )
    for name, wanted in cases:
        chosen = [frame_set for frame_set in sets if wanted(frame_set.index)]
        chosen = chosen[: max(frames // len(rig), 2)]
        images, truth = [], []
        for camera in rig:
            for frame_set in chosen:
                frame = frame_set.get(camera.id)
                assert frame is not None
                images.append(frame.image_bgr)
                points = camera.project(world_mm[frame_set.index].astype(float))
                truth.append(points.reshape(N_HANDS, N_HAND, 2)[:, :N_JOINTS])
        cuts = tuple(range(len(chosen), len(images), len(chosen)))
        yield Clip(name, images, N_HANDS, truth_px=np.array(truth), cuts=cuts)
