"""Machine-made labels for real pictures: `python -m rt_hands.training.pseudo_label real --out labels`.

real: the teacher's joints of single pictures, cleaned, lifted by RTC and projected back. rig: the four-camera
recording, our own detector in every view, triangulated, RTC, drawn back into every view. interhand: your copy of
InterHand2.6M, its joints, RTC, projected. One part file per set; parts that are there already are kept.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import tyro
from numpy.typing import NDArray
from rich.progress import track

from rt_hands.errors import InvalidInput, run_command
from rt_hands.evaluation.labels import is_trusted, read_labels, real_folder, usual_bone_lengths
from rt_hands.layout import HANDS, N_HAND, N_HANDS, N_JOINTS, N_POINTS, hand_slice
from rt_hands.lifting.rtc import Rtc
from rt_hands.training.compose import MIDDLE_MCP
from rt_hands.training.dense_fit import dense_points
from rt_hands.training.pictures import Picture

DENSE_TRUST = 0.6  # a skin point from a single picture is never as sure as a joint the teacher saw
BOX_SHARE = 0.6
RIG_RESIDUAL = 0.06  # of the hand's box in a view: beyond it the view's picture is left out


class Source(IntEnum):
    """Where a point comes from."""

    NONE = 0
    TEACHER = 1
    RTC_ONE_VIEW = 2
    MULTI_VIEW = 3
    RTC_MULTI_VIEW = 4
    DATASET = 5


@dataclass(frozen=True, slots=True)
class Labelled:
    """One picture: file under the folder of its set; points_px (170, 2), trust (170,) 0..1, source (170,) uint8."""

    file: str
    points_px: NDArray[np.float32]
    trust: NDArray[np.float32]
    source: NDArray[np.uint8]


@dataclass
class Options:
    """Which pictures to label, and where the parts go."""

    kind: tyro.conf.Positional[Literal["real", "rig", "interhand"]]
    """Real pictures with a teacher's joints, the four-camera recording, or InterHand2.6M."""
    out: Path
    """Folder of the parts."""
    data: Path | None = None
    """Folder of InterHand2.6M, or of the four-camera recording."""
    split: Literal["train", "val"] = "train"
    """Part of the real pictures or of InterHand2.6M."""
    model: str = "default"
    """light (default), int8, quality, or a path to an .onnx file."""
    step: int = 1
    """Of rig and interhand: every so many-th picture."""
    limit: int = 0
    """Of rig and interhand: moments of the recording, or pictures of a capture, at most; 0: all."""


def blank(file: str) -> Labelled:
    """A picture without any label yet; its arrays are filled in place."""
    nan = np.full((N_POINTS, 2), np.nan, np.float32)
    return Labelled(file, nan, np.zeros(N_POINTS, np.float32), np.zeros(N_POINTS, np.uint8))


def put(
    label: Labelled, hand: int, part: slice, points: NDArray[Any], trust: NDArray[Any] | float, source: Source
) -> None:
    """Set points of one hand; part: which of its 85."""
    at = np.arange(N_POINTS)[hand_slice(hand)][part]
    label.points_px[at] = points
    label.trust[at] = trust
    label.source[at] = source


JOINTS, SURFACE = slice(0, N_JOINTS), slice(N_JOINTS, N_HAND)


def write_part(path: Path, labels: list[Labelled]) -> None:
    """One npz of a set, written beside and renamed: a cut-off run leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part.npz")
    np.savez_compressed(
        partial,
        name=np.array([label.file for label in labels]),
        points_px=np.array([label.points_px for label in labels], np.float32).reshape(-1, N_POINTS, 2),
        trust=np.array([label.trust for label in labels], np.float32).reshape(-1, N_POINTS),
        source=np.array([label.source for label in labels], np.uint8).reshape(-1, N_POINTS),
    )
    partial.replace(path)


def read_parts(folder: Path, *without: str) -> Iterator[Labelled]:
    """All labels under a folder, but those of files that match a pattern of `without`."""
    paths = sorted(p for p in folder.rglob("*.npz") if not p.name.endswith(".part.npz"))
    if not paths:
        raise InvalidInput(
            f"No pseudo-labels in '{folder}'. Make some: python -m rt_hands.training.pseudo_label real"
        )
    for path in paths:
        if any(path.match(pattern) for pattern in without):
            continue
        with np.load(path, allow_pickle=False) as part:
            yield from (
                Labelled(str(f), p, t, s)
                for f, p, t, s in zip(
                    part["name"], part["points_px"], part["trust"], part["source"], strict=True
                )
            )


def dense_by_file(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Skin points for `pictures.load_real`: file -> (2, 64, 3) x_px, y_px, trust."""
    found = {}
    for label in read_parts(folder):
        both = np.column_stack([label.points_px, label.trust]).reshape(N_HANDS, N_HAND, 3)
        found[label.file] = both[:, SURFACE].astype(np.float32)
    return found


def labelled_pictures(folder: Path) -> list[Picture]:
    """The crops that were saved with their labels (rig, interhand), as training pictures.

    Those of InterHand2.6M's other splits are left out, and hands without a wrist or middle knuckle, by which close
    looks are turned.
    """
    found = []
    for label in read_parts(folder, "interhand_val_*", "interhand_test_*"):
        if (folder / label.file).is_file():
            points = label.points_px.reshape(N_HANDS, N_HAND, 2)
            trust = label.trust.reshape(N_HANDS, N_HAND)
            known = np.isfinite(points[:, :N_JOINTS, 0])
            present = np.asarray(known.any(1))
            if not known[present][:, [0, MIDDLE_MCP]].all():
                continue
            found.append(
                Picture(np.fromfile(folder / label.file, np.uint8), points, trust, present, label.file)
            )
    return found


# --- single pictures -----------------------------------------------------------------------------------------


def label_real(label: dict[str, Any], rtc: Rtc) -> Labelled:
    """The teacher's joints of one picture and RTC's skin."""
    made = blank(label["file"])
    joints_mm = 1000 * np.array([h["joints_world_m"] for h in label["hands"]], float)
    sides = np.array([HANDS.index(h["side"]) for h in label["hands"]])
    surface_mm, confidence = rtc(joints_mm, sides)
    for i, hand in enumerate(label["hands"]):
        joints_px = np.array(hand["joints_px"], float)[:, :2]
        points, trust = dense_points(joints_mm[i], joints_px, surface_mm[i], confidence[i])
        put(made, sides[i], JOINTS, joints_px, hand["score"], Source.TEACHER)
        put(made, sides[i], SURFACE, points, DENSE_TRUST * trust, Source.RTC_ONE_VIEW)
    return made


def real_sets(options: Options) -> dict[str, list[dict[str, Any]]]:
    """Trusted labels of the split by set."""
    labels = read_labels(options.split)
    usual = usual_bone_lengths(labels)
    sets: dict[str, list[dict[str, Any]]] = {}
    for label in labels:
        if is_trusted(label, usual):
            sets.setdefault(label["file"].split("/")[0], []).append(label)
    return sets


def run_real(options: Options) -> None:
    """Label all real pictures, a part per set."""
    rtc = Rtc()
    for name, labels in real_sets(options).items():
        part = options.out / f"{name}.npz"
        if not part.is_file():
            write_part(part, [label_real(label, rtc) for label in track(labels, name)])


# --- several views -------------------------------------------------------------------------------------------


def square_round(points_px: NDArray[np.floating]) -> tuple[int, int, int]:
    """Left, top and side of a square in which the points' box takes BOX_SHARE of the side."""
    finite = points_px[np.isfinite(points_px[:, 0])]
    low, high = finite.min(0), finite.max(0)
    side = round(float((high - low).max()) / BOX_SHARE)
    left, top = ((low + high) / 2 - side / 2).round().astype(int)
    return int(left), int(top), side


def save_crop(image: NDArray[np.uint8], label: Labelled, folder: Path) -> Labelled:
    """Cut the square round the labelled points out of a picture, save it, and give the label in its pixels."""
    left, top, side = square_round(label.points_px)
    h, w = image.shape[:2]
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + side, w), min(top + side, h)
    path = folder / label.file
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image[y0:y1, x0:x1]):
        raise InvalidInput(f"Could not write {path}.")
    return Labelled(label.file, label.points_px - np.array([x0, y0], np.float32), label.trust, label.source)


def label_views(
    frames: dict[str, NDArray[np.uint8]], rig: Any, detect: Callable[..., Any], index: int
) -> list[Labelled]:
    """Labels of all views of one moment: detect, lift, draw back; views that disagree with the others are left out."""
    from rt_hands.lifting.lift import lift

    hands = {name: detect(image) for name, image in frames.items()}
    lifted = lift(hands, rig)
    projected = rig.project(lifted.points_world_mm)
    made = []
    for view, name in enumerate(rig.ids):
        if name not in hands:
            continue
        label = blank(f"rig/{name}_{index:05d}.jpg")
        sure = [
            _put_view(label, hand, projected[view][hand_slice(hand)], hands[name].hand(hand))
            for hand in np.flatnonzero(lifted.present).tolist()
        ]
        # A view with a hand left unlabelled would teach that it isn't there.
        if sure and all(sure):
            made.append(label)
    return made


def _put_view(label: Labelled, hand: int, points: NDArray[Any], seen: NDArray[Any]) -> bool:
    """Points of one hand in one view; False, and nothing put, where its own detection disagrees with the others."""
    box = max(float(np.ptp(points[JOINTS], axis=0).max()), 1.0)
    away = np.linalg.norm(seen[JOINTS, :2] - points[JOINTS], axis=1) / box
    away = away[np.isfinite(away)]
    if not len(away) or np.median(away) >= RIG_RESIDUAL:
        return False
    trust = 0.5 ** ((np.median(away) / RIG_RESIDUAL) ** 2)
    put(label, hand, JOINTS, points[JOINTS], trust, Source.MULTI_VIEW)
    put(label, hand, SURFACE, points[SURFACE], trust * DENSE_TRUST, Source.RTC_MULTI_VIEW)
    return True


def run_rig(options: Options) -> None:
    """Label the four-camera recording; the crops are saved beside the part."""
    from rt_hands.capture.choose import open_source
    from rt_hands.capture.offsets import told_offsets
    from rt_hands.detector import Detector
    from rt_hands.formats.rigs import load_rig

    folder = options.data or real_folder().parent / "rig_four_cameras"
    part = options.out / "rig.npz"
    if part.is_file():
        return
    rig = load_rig(folder / "camera_array.toml")
    words = [f"{name}={folder / name}.mp4" for name in rig.ids]
    detect, made = Detector(model=options.model, alone=False), []
    # Pictures of one moment by the cameras' clocks, which the rig file tells; their numbers may lie a picture apart.
    with open_source(words, cameras=rig.ids, clock_offset_ms=told_offsets(rig)) as source:
        for frame_set in islice(source, 0, options.limit or None, options.step):
            frames = {frame.camera: frame.image_bgr for frame in frame_set.frames}
            for label in label_views(frames, rig, detect, frame_set.index):
                image = frames[Path(label.file).stem.rsplit("_", 1)[0]]
                made.append(save_crop(np.asarray(image), label, options.out))
    write_part(part, made)


# --- InterHand2.6M -------------------------------------------------------------------------------------------


def run_interhand(options: Options) -> None:
    """Label your copy of InterHand2.6M: a part per capture."""
    from rt_hands.training.interhand_labels import captures, label_picture

    if options.data is None:
        raise InvalidInput("Say where InterHand2.6M lies: --data FOLDER (with annotations/ and images/).")
    rtc = Rtc()
    for name, pictures in captures(options.data, options.split).items():
        part = options.out / f"interhand_{options.split}_{name}.npz"
        if part.is_file():
            continue
        chosen = pictures[:: options.step][: options.limit or None]
        made = (label_picture(p, rtc, options.data, options.out) for p in track(chosen, f"capture {name}"))
        write_part(part, [label for label in made if label is not None])


def main(argv: Sequence[str]) -> int:
    """Command line of the labelling."""
    options = tyro.cli(Options, args=list(argv), description=__doc__)
    {"real": run_real, "rig": run_rig, "interhand": run_interhand}[options.kind](options)
    counts = np.bincount(
        [s for label in read_parts(options.out) for s in label.source], minlength=len(Source)
    )
    print(", ".join(f"{source.name.lower()} {counts[source]}" for source in Source))
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
