"""What commands share: parts (`bench core ...` runs `rt_hands.benchmarks.core.main`), and --source."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, TypeAlias

import tyro

from rt_hands.errors import InvalidInput

Sources: TypeAlias = Annotated[
    tuple[tuple[str, ...], ...], tyro.conf.UseAppendAction, tyro.conf.arg(metavar="WORD ...")
]
"""An option that takes one or several words and may be given several times; see `source_words`."""


def source_words(given: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """All words of --source. Raises InvalidInput for one without any, as an empty variable of a shell leaves it."""
    if not all(given):
        raise InvalidInput("--source stands without a camera, file, folder or URL; give one or more.")
    return tuple(word for words in given for word in words)


def dispatch(command: str, parts: Mapping[str, tuple[str, str]], argv: Sequence[str]) -> int:
    """Run the part named by argv[0] with the rest of argv.

    parts: name -> (module with `main(argv) -> int`, or `module:function`; what it does). Unknown or no name: the list,
    and 2 or 0.
    """
    name = argv[0] if argv else "--help"
    if name in parts:
        module, _, function = parts[name][0].partition(":")
        return int(getattr(importlib.import_module(module), function or "main")(list(argv[1:])))
    width = max(map(len, parts))
    known = "\n".join(f"  {part:<{width}} {what}" for part, (_, what) in parts.items())
    asked_for_help = name in ("-h", "--help")
    out = sys.stdout if asked_for_help else sys.stderr
    if not asked_for_help:
        print(f"error: {command} has no part '{name}'.", file=out)
    print(f"usage: python -m {command} PART [--help]\n\n{known}", file=out)
    return 0 if asked_for_help else 2
