"""python -m rt_hands.evaluate: accuracy of the shipped networks, beside the source's figures."""

from __future__ import annotations

from collections.abc import Sequence

from rt_hands.cli import dispatch
from rt_hands.errors import run_command

PARTS: dict[str, tuple[str, str]] = {}


def main(argv: Sequence[str]) -> int:
    """Run one evaluation."""
    return dispatch("rt_hands.evaluate", PARTS, argv)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
