"""Loaded networks and `fork`, by which multiprocessing starts processes on Linux.

Their threads stay behind in the parent, so that a child which frees an inherited network waits for them for ever, or is
aborted. Reading pictures with it works: the calling thread does all the work.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any
from weakref import WeakValueDictionary

_loaded: WeakValueDictionary[int, Any] = WeakValueDictionary()


def keep_in_children(*loaded: Any) -> None:
    """Objects that hold threads: processes forked from this one never free them, whoever lets go of them."""
    _loaded.update((id(each), each) for each in loaded)


def _keep() -> None:
    for each in list(_loaded.values()):
        # A list of ours would be emptied at the child's end, and they freed after all.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(each))
    _loaded.clear()  # so that a child's own children don't count them again; they are never freed anyway


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_keep)
