"""TensorRT's timing cache: how fast each way of running a layer was on this GPU, so that a rebuild need not measure.

One file for a version of TensorRT and a kind of GPU, beside the plans; networks share it. It only saves time: a file
that TensorRT does not take is replaced by what the build measures. Not for TensorRT-RTX, see `build_plan`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from rt_hands.paths import cache_dir, write_atomically


def timing_cache_path(tensorrt: str, gpu: str, capability: str) -> Path:
    """Where the timings of a TensorRT on a GPU lie in the user's cache."""
    digest = hashlib.sha256("\n".join((tensorrt, gpu, capability)).encode()).hexdigest()[:16]
    return cache_dir() / "tensorrt" / f"timings-{digest}.cache"


def offer_timings(config: Any, path: Path) -> None:
    """Give a build the timings of earlier builds, or an empty cache to fill."""
    known = path.read_bytes() if path.is_file() else b""
    for content in (known, b""):
        cache = config.create_timing_cache(content)
        # False: refuse timings of another device; a GPU's name says less than TensorRT checks.
        if cache is not None and config.set_timing_cache(cache, False):
            return


def keep_timings(config: Any, path: Path) -> None:
    """Write what a build knows now, where it is more than the file holds."""
    cache = config.get_timing_cache()
    if cache is None:
        return
    content = bytes(cache.serialize())
    if not path.is_file() or path.read_bytes() != content:
        write_atomically(path, content)


__all__ = ["keep_timings", "offer_timings", "timing_cache_path"]
