"""Hands of one moment in a rig: `RigDetector(rig)(images) -> RigFound`. For moments in a row there is the Pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rt_hands.camera import Rig
from rt_hands.clock import StageClock
from rt_hands.detector import Detector, check_picture
from rt_hands.errors import InvalidInput, check_least
from rt_hands.inference.cpm import Read
from rt_hands.inference.preprocess import Crop
from rt_hands.layout import N_HANDS, N_JOINTS
from rt_hands.lifting.lift import lift, settled
from rt_hands.lifting.rtc import Surface
from rt_hands.tracking.crops import crop_round
from rt_hands.tracking.readings import HandsBuilder
from rt_hands.tracking.rig import LEAST_INSIDE, exchanged, reproject
from rt_hands.types import Hands2D, Hands3D, Image

ROUNDS: Final = 5
"""Of looking again. On train people seen by four cameras the mean error is 6.2 mm after the first round; after the next
ones, with the network told what the other views see, 5.6, 5.2, 5.2 and 5.1; untold 6.0 after the second."""
QUICK_ROUNDS: Final = 2
"""Where hands are only to be found, and followed from there."""
FAR: Final = 0.5
"""A reading that lies so far from where the rig sees the hand, in sizes of the hand, is of something else."""
TURNED: Final = 1.0
"""Log ratio of evidence over all crops from which on right and left are exchanged."""


@dataclass(frozen=True, slots=True)
class RigFound:
    """hands: in 3D. views: {camera: what it saw itself, under the names that all views agree on}."""

    hands: Hands3D
    views: Mapping[str, Hands2D]


@dataclass(frozen=True, slots=True)
class _Look:
    """A crop of a camera's picture for a hand, and where the rig says that its joints are: (21, 2) px."""

    camera: str
    hand: int
    crop: Crop
    joints_px: NDArray[np.float32]


class RigDetector:
    """Finds the hands in each view, lifts them, and reads each again in crops round the lifted hands drawn back.

    So a view that missed a hand, saw another thing or named it wrongly sees it where the others do, as with a video.
    The network, where it can be told, then hears where the others see each joint: a finger taken for its neighbour in
    one view comes right.
    Use as a context manager, or close it.
    detector: finds hands in single views; the default one when None; closing one that is given is the caller's.
    rounds: of looking again; from the second on the network is told.
    """

    def __init__(
        self,
        rig: Rig,
        detector: Detector | None = None,
        rtc: Surface | None = None,
        rounds: int = ROUNDS,
    ) -> None:
        if not isinstance(rig, Rig):
            raise InvalidInput(f"The rig is {rig!r}; give a Rig, such as Rig.load(FILE) or load_rig(FILE).")
        if isinstance(detector, str | Path):
            raise InvalidInput(f"The detector is {detector!r}; give a Detector(model=...), or None.")
        check_least("rounds", rounds, 0)
        self.rig = rig
        self.detector = detector or Detector(alone=False)
        self._owned = detector is None
        self.rounds = rounds
        self._rtc = rtc

    def __call__(self, images: Mapping[str, Image], clock: StageClock | None = None) -> RigFound:
        """The hands in pictures of one moment, {camera: (h, w, 3) uint8 BGR}, of any of the rig's cameras.

        Raises InvalidInput for a camera that the rig lacks, for what is no picture, and for one of another size than
        it is calibrated for.
        """
        # One camera is no mistake: in videos the others miss a moment now and then.
        if not isinstance(images, Mapping) or not images:
            raise InvalidInput(
                f"The pictures are {'none' if images == {} else type(images).__name__}; give {{camera: picture}}, of a "
                "FrameSet {frame.camera: frame.image_bgr for frame in frame_set.frames}."
            )
        for camera, image in images.items():
            check_picture(image)
            self.rig[camera].check_image((image.shape[1], image.shape[0]))
        clock = clock or StageClock()
        return self.refined(images, {c: self.detector(image, clock) for c, image in images.items()}, clock)

    def refined(
        self, images: Mapping[str, Image], seen: Mapping[str, Hands2D], clock: StageClock | None = None
    ) -> RigFound:
        """The same for hands that were found in the views before."""
        clock = clock or StageClock()
        with clock.stage("lift"):
            views = dict(zip(self.rig.ids, settled(seen, self.rig), strict=True))
            hands = lift(views, self.rig, rtc=self._rtc, settle=False)
        for number in range(self.rounds):
            looks = self._looks(images, hands)
            if not looks:
                break
            told = None
            if number and self.detector.cpm.takes_joints:
                with clock.stage("lift"):
                    told = self._told(views, hands)
            read = self._read(images, looks, clock, told)
            if told is None and _log_ratio(read, looks) < -TURNED:
                hands, views = exchanged(hands, self._rtc), {c: _exchanged(view) for c, view in views.items()}
                looks = [_Look(k.camera, 1 - k.hand, k.crop, k.joints_px) for k in looks]
            views = self._views(views, looks, read)
            with clock.stage("lift"):
                hands = lift(views, self.rig, rtc=self._rtc, settle=False)
        return RigFound(hands, {camera: views[camera] for camera in images})

    def close(self) -> None:
        """Free the detector that it made."""
        if self._owned:
            self.detector.close()

    def __enter__(self) -> RigDetector:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _looks(self, images: Mapping[str, Image], hands: Hands3D) -> list[_Look]:
        """A crop for each hand in each view that it lies in."""
        found = []
        for camera, drawn in reproject(hands, self.rig).items():
            if camera not in images:
                continue
            height, width = images[camera].shape[:2]
            for hand in np.flatnonzero(drawn.present).tolist():
                points = drawn.hand(hand)
                inside = ((points[:, :2] >= 0) & (points[:, :2] < (width, height))).all(1)
                if np.isfinite(points[:, 0]).all() and inside.mean() > LEAST_INSIDE:
                    found.append(_Look(camera, hand, crop_round(points, 0.0), points[:N_JOINTS, :2]))
        return found

    def _told(self, views: Mapping[str, Hands2D], hands: Hands3D) -> dict[str, NDArray[np.floating]]:
        """Where the other views of each camera see the joints in its picture: (2, 21, 2) px, NaN where they don't.

        Its own reading has no say, for told of it the network would say the same again; but of two cameras, where the
        other one alone sees no depth, it has.
        """
        told = {}
        for camera in self.rig.ids:
            others = [other for other in self.rig.ids if other != camera]
            if len(others) > 1:
                part = {other: views[other] for other in others}
                hands = lift(part, self.rig.subset(others), rtc=self._rtc, settle=False)
            drawn = self.rig.subset([camera]).project(hands.points_world_mm)[0]
            told[camera] = drawn.reshape(N_HANDS, -1, 2)[:, :N_JOINTS]
        return told

    def _read(
        self,
        images: Mapping[str, Image],
        looks: list[_Look],
        clock: StageClock,
        told: Mapping[str, NDArray[np.floating]] | None = None,
    ) -> list[Read]:
        """What the network says of each crop, see `Detector.read`: one call for all. told: joints by camera."""
        joints = [told[k.camera] for k in looks] if told is not None else None
        read = self.detector.read([(images[k.camera], k.crop) for k in looks], clock, joints)
        return [read.part(i, i + 1) for i in range(len(looks))]

    def _views(
        self, before: Mapping[str, Hands2D], looks: list[_Look], read: list[Read]
    ) -> dict[str, Hands2D]:
        """What the views say of each hand now; where that is nothing, what they said before."""
        builders = {camera: HandsBuilder() for camera in self.rig.ids}
        for camera, view in before.items():
            for hand in np.flatnonzero(view.present).tolist():
                builders[camera].put(hand, view.hand(hand), float(view.presence[hand]))
        bar = self.detector.limits.kept
        for look, part in zip(looks, read, strict=True):
            points, presence = part.points_px[0, look.hand], float(part.presence[0, look.hand])
            apart = np.linalg.norm(points[:N_JOINTS, :2] - look.joints_px, axis=1).mean()
            near = apart < FAR * float(np.ptp(look.joints_px, axis=0).max())
            if near and presence >= bar.presence and np.median(points[:, 2]) >= bar.peak:
                builders[look.camera].put(look.hand, points, presence)
        return {camera: builder.build() for camera, builder in builders.items()}


def _log_ratio(read: list[Read], looks: list[_Look]) -> float:
    """How much surer the network is of the hands' names than of the other ones, over all crops."""
    peaks = np.array([np.median(part.points_px[0, :, :, 2], axis=1) for part in read])
    evidence = np.array([part.presence[0] for part in read]) * np.minimum(peaks, 1.0) + 0.02
    hand, at = np.array([look.hand for look in looks]), np.arange(len(looks))
    logs = np.log(evidence[at, hand] / evidence[at, 1 - hand])
    # One hand may look like either; where both are there, both must be taken for the other.
    by_hand = [logs[hand == h].sum() for h in range(N_HANDS) if (hand == h).any()]
    return float(max(by_hand))


def _exchanged(view: Hands2D) -> Hands2D:
    points = np.concatenate([view.hand(1), view.hand(0)])
    return Hands2D(points, view.present[::-1].copy(), view.presence[::-1].copy())
