"""load_rig and save_rig: every calibration format behind two functions; lengths become mm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rt_hands.camera import Rig
from rt_hands.capture.offsets import in_words
from rt_hands.capture.source import Notice, to_stderr
from rt_hands.errors import InvalidInput
from rt_hands.formats import anipose, caliscope, easymocap, fields, interhand, kalibr, opencv_yaml
from rt_hands.formats.document import ENDINGS as CALIBRATION_ENDINGS
from rt_hands.formats.document import Document, parse
from rt_hands.formats.options import ReadOptions
from rt_hands.paths import write_atomically

# Rigs outside these are not rigs of hands: a unit was taken for another.
SMALLEST_RIG_MM = 10.0
LARGEST_RIG_MM = 100_000.0


def _none(_: Document) -> str | None:
    return None


@dataclass(frozen=True)
class RigFormat:
    """One calibration format.

    name: as `load_rig` and `save_rig` take it. what: for people. unit: of its lengths, unless the file says
    (`stated_unit`) or the caller knows better. write: None where it is only read.
    """

    name: str
    what: str
    unit: str
    recognise: Callable[[Document], bool]
    read: Callable[[Document, ReadOptions], Rig]
    write: Callable[[Rig], bytes] | None
    stated_unit: Callable[[Document], str | None] = _none


def _read_own(document: Document, _: ReadOptions) -> Rig:
    return Rig.load(document.path)


def _is_own(document: Document) -> bool:
    return document.kind == "toml" and "schema_version" in document.data and "cameras" in document.data


def _says_mm(_: Document) -> str | None:
    return "mm"


_ALL = (
    RigFormat("rt_hands", "this package's rig.toml", "mm", _is_own, _read_own, None, _says_mm),
    RigFormat(
        "pose2sim",
        "Pose2Sim Calib.toml",
        "m",
        anipose.recognise_pose2sim,
        anipose.read,
        anipose.write_pose2sim,
        anipose.stated_unit,
    ),
    RigFormat(
        "aniposelib",
        "aniposelib calibration.toml",
        "mm",
        anipose.recognise,
        anipose.read,
        anipose.write,
        anipose.stated_unit,
    ),
    RigFormat(
        "caliscope",
        "Caliscope camera_array.toml",
        "m",
        caliscope.recognise,
        caliscope.read,
        caliscope.write,
    ),
    RigFormat("kalibr", "Kalibr camchain.yaml", "m", kalibr.recognise, kalibr.read, kalibr.write),
    RigFormat("easymocap", "EasyMocap intri.yml + extri.yml", "m", easymocap.recognise, easymocap.read, None),
    RigFormat(
        "opencv",
        "OpenCV YAML",
        "mm",
        opencv_yaml.recognise,
        opencv_yaml.read,
        opencv_yaml.write,
        opencv_yaml.stated_unit,
    ),
    RigFormat(
        "interhand",
        "InterHand2.6M camera JSON",
        "mm",
        interhand.recognise,
        interhand.read,
        interhand.write,
    ),
)
FORMATS = {f.name: f for f in _ALL}
"""By name, in the order in which they are tried."""


def _known() -> str:
    return ", ".join(f"{f.what} ({f.name})" for f in _ALL)


def find_format(name: str) -> RigFormat:
    """A format of `FORMATS` by name. Raises InvalidInput that lists them."""
    if name not in FORMATS:
        raise InvalidInput(f"Unknown calibration format '{name}'. Known: {', '.join(FORMATS)}.")
    return FORMATS[name]


def _document(path: Path) -> Document:
    if path.is_dir():
        if easymocap.is_folder(path):
            return parse(path / easymocap.FILES[0])
        own = ": " + str(path / "rig.toml") if (path / "rig.toml").is_file() else ""
        raise InvalidInput(
            f"'{path}' is a folder without intri.yml and extri.yml (EasyMocap). Name the calibration file itself{own}."
        )
    return _read(path)


def _read(path: Path) -> Document:
    """The parsed file. Raises InvalidInput that also says what is known where it is no text, TOML, YAML or JSON."""
    try:
        return parse(path)
    except InvalidInput as error:
        if path.suffix.lower() in CALIBRATION_ENDINGS or not path.is_file():
            raise
        raise InvalidInput(f"{error} Known calibration files: {_known()}.") from None


def _recognise(document: Document) -> RigFormat:
    found = next((f for f in _ALL if f.recognise(document)), None)
    if found is None:
        raise InvalidInput(
            f"'{document.path}' is no calibration file that rt_hands knows. Known: {_known()}."
        )
    return found


def recognise(path: str | Path) -> str:
    """Name of the format of a file or EasyMocap folder, by content."""
    return _recognise(_document(Path(path))).name


def _unit(document: Document, format: RigFormat, asked: str | None) -> str:
    """Of the file's lengths. asked: decides where the file says nothing, or a word that means nothing here."""
    said = format.stated_unit(document)
    stated = None if said is None else fields.short_unit(said)
    asked = None if asked is None else fields.short_unit(asked) or asked
    if asked is not None and stated is not None and asked != stated:
        raise InvalidInput(
            f"The file says that its unit is '{said}'; you asked for '{asked}'. Leave unit out."
        )
    if said is not None and stated is None and asked is None:
        raise InvalidInput(
            f"The file says that its unit is '{said}', which is none of mm, cm and m. Say which of them it is: "
            "unit='m', or --unit m."
        )
    return asked or stated or format.unit


def _check_span(rig: Rig, format: RigFormat, unit: str) -> None:
    """Refuse a rig whose size shows that the format's usual unit was not the file's."""
    centres = np.array([c.centre_world_mm for c in rig])
    # Float overflow of absurd numbers is only another way to be too large.
    with np.errstate(over="ignore", invalid="ignore"):
        span_mm = float(np.linalg.norm(np.ptp(centres, axis=0)))
    if span_mm != 0 and not SMALLEST_RIG_MM <= span_mm <= LARGEST_RIG_MM:
        raise InvalidInput(
            f"the file does not say its unit; read as {unit}, which {format.what} mostly is, "
            f"the cameras span {span_mm:.3g} mm. "
            "Say the unit: unit='m' or 'cm' or 'mm', or --unit m."
        )


def load_rig(
    path: str | Path,
    *,
    format: str | None = None,
    unit: str | None = None,
    size_px: tuple[int, int] | None = None,
    capture: str | None = None,
    notice: Notice = to_stderr,
) -> Rig:
    """Read a rig from any known calibration file; lengths in mm, cameras under their names.

    format: a name of `FORMATS`; None recognises it by content. unit: "mm", "cm" or "m" of lengths in files that
    don't say it (default: the format's habit; a span of cameras that can't be is refused). size_px: (width, height)
    for files without it. capture: of an InterHand2.6M file. notice: told of lenses that don't reach their corners.
    Raises InvalidInput that names file, camera and field.
    """
    document = _document(Path(path))
    kind = _recognise(document) if format is None else find_format(format)
    if format is not None and not kind.recognise(document):
        raise InvalidInput(f"'{path}' is no {kind.what}. Leave the format out to have it recognised.")
    try:
        chosen = _unit(document, kind, unit)
        rig = kind.read(document, ReadOptions(chosen, size_px, capture))
        if unit is None and kind.stated_unit(document) is None:
            _check_span(rig, kind, chosen)
    except InvalidInput as error:
        raise InvalidInput(f"'{path}' ({kind.what}): {error}") from None
    if rig.unreached:
        notice(rig.unreached)
    return rig


def save_rig(path: str | Path, rig: Rig, format: str = "rt_hands", notice: Notice = to_stderr) -> None:
    """Write a rig in a format of `FORMATS`, atomically. Raises InvalidInput where the format would lose geometry.

    Kalibr files hold no world frame: theirs is the first camera's. notice: told of clock offsets, for which only
    rt_hands' own file has a place.
    """
    kind = find_format(format)
    if kind.name == "rt_hands":
        rig.save(path)
        return
    if kind.write is None:
        writable = ", ".join(f.name for f in _ALL if f.write or f.name == "rt_hands")
        raise InvalidInput(f"{kind.what} is only read. Formats that can be written: {writable}.")
    write_atomically(Path(path), kind.write(rig))
    offsets = in_words(rig.clock_offset_ms)
    if offsets:
        notice(
            f"{kind.what} has no place for the cameras' clock offsets: {offsets} (ms) left out. "
            "Give them to commands again as --clock-offset-ms."
        )
