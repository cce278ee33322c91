"""`python -m rt_hands.synth`: make training data and the bundled sample, check and measure them."""

from __future__ import annotations

from collections.abc import Sequence

from rt_hands.cli import dispatch
from rt_hands.errors import run_command

PARTS = {
    "sprites": ("rt_hands.synth.make_sprites", "cut-out hands with truth, for mixing at training time"),
    "images": ("rt_hands.synth.make_scenes:images", "whole pictures, one view each"),
    "rig": ("rt_hands.synth.make_scenes:rig", "scenes seen by several cameras"),
    "interhand": (
        "rt_hands.synth.make_scenes:interhand_layout",
        "a studio session in InterHand2.6M's layout",
    ),
    "points": ("rt_hands.synth.make_points", "3D-only samples: joints and surface, no pictures"),
    "sample": ("rt_hands.synth.sample", "the bundled four-camera session"),
    "clasped": ("rt_hands.synth.clasped", "the bundled clip of interlocked hands"),
    "check": ("rt_hands.synth.check", "truth against pixels: dots painted on the skin, found by colour"),
    "bench": ("rt_hands.synth.bench", "pictures a second, and what each part costs"),
    "sheet": ("rt_hands.synth.sheet", "a contact sheet, to look at"),
}


def main(argv: Sequence[str]) -> int:
    """Run one part."""
    return dispatch("rt_hands.synth", PARTS, argv)


if __name__ == "__main__":
    raise SystemExit(run_command(main))
