"""`python -m rt_hands.synth`: make training data and the bundled sample, check and measure them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from rt_hands.errors import run_command

PARTS = {
    "sprites": ("rt_hands.synth.make_sprites:main", "cut-out hands with truth, for mixing at training time"),
    "images": ("rt_hands.synth.make_scenes:images", "whole pictures, one view each"),
    "rig": ("rt_hands.synth.make_scenes:rig", "scenes seen by several cameras"),
    "interhand": (
        "rt_hands.synth.make_scenes:interhand_layout",
        "a studio session in InterHand2.6M's layout",
    ),
    "points": ("rt_hands.synth.make_points:main", "3D-only samples: joints and surface, no pictures"),
    "sample": ("rt_hands.synth.sample:main", "the bundled four-camera session"),
    "clasped": ("rt_hands.synth.clasped:main", "the bundled clip of interlocked hands"),
    "check": ("rt_hands.synth.check:main", "truth against pixels: dots painted on the skin, found by colour"),
    "bench": ("rt_hands.synth.bench:main", "pictures a second, and what each part costs"),
    "sheet": ("rt_hands.synth.sheet:main", "a contact sheet, to look at"),
}


def main(argv: Sequence[str]) -> int:
    """Run the part named by argv[0] with the rest of argv."""
    name = argv[0] if argv else "--help"
    if name in PARTS:
        module, _, function = PARTS[name][0].partition(":")
        return int(getattr(importlib.import_module(module), function)(list(argv[1:])))
    known = "\n".join(f"  {part:<10} {what}" for part, (_, what) in PARTS.items())
    asked = name in ("-h", "--help")
    out = sys.stdout if asked else sys.stderr
    if not asked:
        print(f"error: rt_hands.synth has no part '{name}'.", file=out)
    print(f"usage: python -m rt_hands.synth PART [--help]\n\n{known}", file=out)
    return 0 if asked else 2


if __name__ == "__main__":
    sys.exit(run_command(main))
