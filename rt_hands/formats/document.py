"""A calibration file parsed once, by content: JSON, TOML or YAML, into plain dicts, lists, strings and numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from rt_hands.errors import InvalidInput
from rt_hands.paths import parse_toml

Kind = Literal["json", "toml", "yaml"]
MAX_BYTES = 32_000_000  # the InterHand2.6M camera file of all captures is about 4 MB


@dataclass(frozen=True)
class Document:
    """path: where it came from. kind: how it is written. data: its top-level table."""

    path: Path
    kind: Kind
    data: dict[str, Any]

    def table(self, key: str) -> dict[str, Any]:
        """A sub-table by name; an empty one when it is absent or not a table."""
        value = self.data.get(key)
        return value if isinstance(value, dict) else {}


def read_text(path: Path) -> str:
    """The file as text. Raises InvalidInput when it can't be read or is no text."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidInput(f"'{path}' is over {MAX_BYTES // 1_000_000} MB: not a calibration file.")
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"Can't read '{path}': {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"'{path}' is not a text file.") from None


def _yaml(text: str) -> Any:
    """YAML with every scalar left a string, so that no value can fail to convert here.

    cv2.FileStorage is not used for reading: it corrupts the heap on damaged files (OpenCV 5.0), which no
    caller can catch. Its header `%YAML:1.0` is not YAML, so it is dropped.
    """
    return yaml.load(re.sub(r"\A%YAML[^\n]*\n", "", text), Loader=yaml.BaseLoader)


_PARSERS: dict[Kind, Callable[[str], Any]] = {"json": json.loads, "toml": parse_toml, "yaml": _yaml}
_SUFFIXES: dict[str, Kind] = {".json": "json", ".toml": "toml", ".yml": "yaml", ".yaml": "yaml"}
ENDINGS = tuple(_SUFFIXES)


def _order(path: Path, text: str) -> list[Kind]:
    """Which syntaxes to try, the likeliest first."""
    start = text.lstrip()[:5]
    if start.startswith("{"):
        return ["json"]
    if start == "%YAML":
        return ["yaml"]
    named = _SUFFIXES.get(path.suffix.lower())
    return [named] if named in ("toml", "yaml") else ["toml", "yaml"]


def parse(path: Path) -> Document:
    """Read and parse a file. Raises InvalidInput that names the file and the first mistake in it."""
    text = read_text(path)
    kinds = _order(path, text)
    mistakes = []
    for kind in kinds:
        try:
            data = _PARSERS[kind](text)
        except (ValueError, yaml.YAMLError, RecursionError) as error:
            mistakes.append(f"not valid {kind.upper()} ({' '.join(str(error).split())[:120]})")
            continue
        if isinstance(data, dict):
            return Document(path, kind, {str(k): v for k, v in data.items()})
        mistakes.append(f"{kind.upper()} without a table at its top level")
    raise InvalidInput(f"'{path}' is {' and '.join(mistakes)}.")
