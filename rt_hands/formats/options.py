"""What a caller may add to a file that leaves it out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadOptions:
    """unit: of lengths in the file. size_px: (width, height) where the file has none. capture: of InterHand2.6M."""

    unit: str
    size_px: tuple[int, int] | None = None
    capture: str | None = None
