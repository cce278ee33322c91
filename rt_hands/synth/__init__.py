"""The hand data engine: parametric hands, poses, people, and (with moderngl) pictures of them with exact truth."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sources_digest(*names: str) -> str:
    """Hex SHA-256 of the data engine's source files, of these or of all: what is kept of its making is bound to it."""
    folder = Path(__file__).parent
    names = names or tuple(sorted(p.name for p in folder.iterdir() if p.suffix in (".py", ".csv")))
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()
