"""Commands with parts: `python -m rt_hands.bench core ...` runs `rt_hands.benchmarks.core.main`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence


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
