"""Networks, data, losses, training and export. Needs torch; nothing outside this package imports it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from rt_hands.errors import MissingPart, run_command

_NEEDED: Final = ("torch", "onnx")
_WITHOUT: Final = "rt_hands.training.pseudo_label"
"""The one command that needs neither."""


def _check_packages(_: Sequence[str] = ()) -> int:
    """Raise MissingPart where a command here would meet a package that is not installed."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise MissingPart(
            f"Training needs {' and '.join(missing)}: pip install 'rt_hands[train]'. Its hands are made by the data "
            "engine: pip install 'rt_hands[synth]'."
        )
    return 0


# Commands import torch before their `main` could say so; "-m" is what argv holds while Python looks for their module.
if sys.argv[:1] == ["-m"] and _WITHOUT not in sys.orig_argv and (_code := run_command(_check_packages)):
    raise SystemExit(_code)
