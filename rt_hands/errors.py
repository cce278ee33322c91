"""Errors that are shown to a person: one sentence that names the object and the way out."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

PLACES: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
"""No room, no right to write: nothing that the program could have known."""

RECORDED: Final = ("frames.csv", "session.json", "timestamps.csv")
"""A folder that holds one of them beside MP4 files is a recorded session's; the last comes from other programs."""
BROKEN_PIPE: Final = 141
"""Exit code where the reader of stdout went away, as `| head` does: 128 + SIGPIPE, what a shell says of it."""


class RtHandsError(Exception):
    """Base of everything rt_hands raises on purpose; commands print it as one sentence."""


class InvalidInput(RtHandsError, ValueError):
    """A file, array or option that can't be used as it is."""


class MissingPart(RtHandsError, ImportError):
    """An optional package, driver or device that isn't here; the message holds the line that mends it."""


class SourceError(RtHandsError, OSError):
    """A camera, video, folder or session that can't be opened or read."""


def check_least(option: str, value: float | None, least: float = 1) -> None:
    """Raise InvalidInput for an option's number below the least that makes sense; None is no number and passes."""
    if value is not None and not value >= least:
        raise InvalidInput(f"{option} is {value}; give {least:g} or more.")


def typed_number(text: str, what: str, least: float = 1) -> float:
    """A number as a user typed it; raises InvalidInput for a word that is none, or a number below the least."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not least <= number < float("inf"):
        raise InvalidInput(f"{what} is '{text}'; give a number, {least:g} or more.")
    return number


def check_not_recorded(path: Path) -> None:
    """Raise InvalidInput for a file to write that is one of a recorded session's, or would be taken for one.

    Whatever the flags: RECORDED and MP4 files of a folder that holds one of RECORDED, and a rig.toml that is there.
    """
    for place in (path, path.resolve()):
        if not any((place.parent / name).is_file() for name in RECORDED):
            continue
        name = place.name.lower()
        if name in RECORDED or name.endswith(".mp4") or (name == "rig.toml" and place.exists()):
            raise InvalidInput(
                f"{path} belongs to the recording in that folder, which is never written over; give another name "
                "or folder."
            )


def check_target(path: Path | None) -> None:
    """Raise SourceError where a file can't be written: no folder, no right, or a folder itself; before the work.

    InvalidInput for a file of a recorded session.
    """
    if path is None:
        return
    check_not_recorded(path)
    if not path.parent.is_dir():
        raise SourceError(
            f"{path} can't be written: there is no folder {path.parent}. Make it, or give another."
        )
    if path.is_dir():
        raise SourceError(f"{path} is a folder; give the name of a file in it.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise SourceError(f"{path} can't be written: you have no right to. Give another place.")


def check_folder(path: Path | None) -> None:
    """Make a folder to write into, before the work, not after it. Raises SourceError where it can't be made."""
    if path is None:
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(
            f"The folder {path} can't be made: {error.strerror}. Give one in another place."
        ) from error


def run_command(main: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """Run a command's `main`; an RtHandsError becomes one line on stderr and exit code 2, Ctrl-C 130.

    So does a disk that is full or may not be written, wherever a command meets it; other OSErrors are mistakes of ours.
    A reader of stdout that went away ends it quietly.
    """
    try:
        code = main(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
        return code
    except RtHandsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The interpreter flushes stdout once more at its end, and would speak of it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except OSError as error:
        if error.errno not in PLACES:
            raise
        what = error.filename or "What this command writes"
        print(f"error: {what} can't be written: {error.strerror}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
