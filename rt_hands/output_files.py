"""Files that a command is to write: what may be wrong with their names, said before the work begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Final

from rt_hands.errors import InvalidInput, check_target

FILM: Final = ".mp4"
PICTURES: Final = (".png", ".jpg", ".jpeg")
"""What --save writes, by its ending: a film, or of a single picture that picture."""


def check_outputs(
    files: Mapping[str, str | None], record: str | None, sources: Sequence[str], overwrite: bool
) -> None:
    """Raise InvalidInput for a file to write that is there already, is read from, or is written twice.

    files: by option, `save` among them; `-` is stdout. record: folder of a new session. sources: words of --source.
    SourceError for a file that can't be written.
    """
    given = [Path(name) for name in (*files.values(), record) if name and name != "-"]
    for one, other in combinations(given, 2):
        if one.resolve() == other.resolve():
            raise InvalidInput(f"{one} and {other}, both to be written, are the same file; give two names.")
    save = files["save"]
    if save and Path(save).suffix.lower() not in (FILM, *PICTURES):
        raise InvalidInput(f"--save writes .mp4, or of a single picture .png or .jpg; got {save}.")
    for name in files.values():
        if name and name != "-":
            _check_file(Path(name), sources, overwrite)


def check_new(path: Path | None, overwrite: bool) -> None:
    """Raise InvalidInput for a file to write that is there already, SourceError where it can't be written."""
    check_target(path)
    if path is not None and path.exists() and not overwrite:
        raise _there(path)


def _there(path: Path) -> InvalidInput:
    return InvalidInput(f"{path} is already there. Give another name, or --overwrite to replace it.")


def _check_file(path: Path, sources: Sequence[str], overwrite: bool) -> None:
    check_target(path)
    if not path.is_file():
        return
    read = [Path(place) for word in sources for place in (word, word.partition("=")[2]) if place]
    if any(path.resolve() in (place.resolve(), *_inside(place)) for place in read):
        raise InvalidInput(f"{path} is read from, so it can't be written; give another name.")
    if not overwrite:
        raise _there(path)


def _inside(place: Path) -> list[Path]:
    return [path.resolve() for path in place.iterdir()] if place.is_dir() else []
