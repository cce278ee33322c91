"""`python -m rt_hands.synth`: make training data, the bundled sample, and measure both."""

from __future__ import annotations

import sys

from rt_hands.cli import dispatch
from rt_hands.errors import run_command

PARTS = {
    "check": ("rt_hands.synth.check", "truth against pixels: dots painted on the skin, found by colour"),
    "sprites": ("rt_hands.synth.make_sprites", "cut-out hands with truth, for mixing at training time"),
}


def main(argv: list[str]) -> int:
    """Run the part named by argv[0]."""
    return dispatch("rt_hands.synth", PARTS, argv)


if __name__ == "__main__":
    sys.exit(run_command(main))  # type: ignore[arg-type]
