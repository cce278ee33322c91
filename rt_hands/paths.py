"""Where files live: packaged weights and sample, the user's cache, the optional data folder; how names are sorted."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rt_hands.errors import InvalidInput

_PACKAGE = Path(__file__).resolve().parent


def weights_dir() -> Path:
    """Folder of the packaged ONNX files and their model cards."""
    return _PACKAGE / "weights"


def sample_dir() -> Path:
    """Folder of the bundled four-camera session."""
    return _PACKAGE / "data" / "sample"


def session_folder(word: str | Path) -> Path:
    """The folder of a session by its name; `sample` is the bundled one unless there is a folder called so."""
    return sample_dir() if str(word) == "sample" and not Path(word).exists() else Path(word)


def clasped_dir() -> Path:
    """Folder of the bundled clip of interlocked hands."""
    return _PACKAGE / "data" / "clasped"


def cache_dir() -> Path:
    """The user's cache folder for engines and compiled models; made when missing. `RT_HANDS_CACHE` moves it.

    Raises InvalidInput where it can't be made, as for a user without a home.
    """
    root = os.environ.get("RT_HANDS_CACHE")
    try:
        base = (
            Path(root)
            if root
            else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rt_hands"
        )
        base.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise InvalidInput(
            f"There is no folder for what is kept between runs ({error}). Set RT_HANDS_CACHE to one."
        ) from error
    return base


def data_dir() -> Path | None:
    """Folder of training pictures, skins and the real rig: `RT_HANDS_DATA`, else `../shared/data`; None if absent."""
    root = os.environ.get("RT_HANDS_DATA")
    folder = Path(root) if root else _PACKAGE.parent.parent / "shared" / "data"
    return folder if folder.is_dir() else None


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sort key that puts cam_2 before cam_10, whatever the case of letters."""
    texts_and_numbers = re.split(r"([0-9]+)", name.lower())
    # Numbers are every second part, compared as digits: int() takes no long ones, and no superscripts.
    parts = [part.lstrip("0") if i % 2 else part for i, part in enumerate(texts_and_numbers)]
    return [(len(part) if i % 2 else 0, part) for i, part in enumerate(parts)]


def parse_toml(text: str) -> dict[str, Any]:
    """The table of a TOML text. Raises ValueError, or RecursionError where it is nested too deep."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The table of a TOML file. what: its name in errors, as `rig file`. Raises InvalidInput that names the file."""
    try:
        return parse_toml(path.read_bytes().decode())
    except OSError as error:
        raise InvalidInput(f"Can't read {what} '{path}': {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{what.capitalize()} '{path}' is not valid TOML: {error}.") from None


def write_figures(path: Path, figures: object) -> None:
    """Figures as JSON, atomically; null for those that are not finite, which JSON does not know."""
    write_atomically(path, json.dumps(_finite(figures), indent=1).encode() + b"\n")


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file beside its place and rename it there, so that readers never see half of it; pipes as they are."""
    if (
        path.exists() and not path.is_file()
    ):  # a pipe or a terminal, such as /dev/stdout: never to be replaced
        path.write_bytes(content)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = str(path)  # the name that its user knows
        raise
