"""WebDataset tar shards: written whole or not at all, by several processes, resumable; and read back."""

from __future__ import annotations

import errno
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rt_hands.errors import InvalidInput, RtHandsError
from rt_hands.paths import write_atomically
from rt_hands.synth import workers

Sample = Mapping[str, bytes]
"""Extension -> content of one sample's files, as in {'webp': ..., 'npz': ...}."""
MakeSample = Callable[[int, int], Sample]
"""(seed, index) -> sample. A pure function, so that any machine can make any part."""

MANIFEST = "dataset.json"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a folder of shards holds: sample `index` of `count` lies in shard index // per_shard."""

    kind: str
    seed: int
    count: int
    per_shard: int = 256
    first: int = 0

    def shard_name(self, shard: int) -> str:
        """File name of a shard, by the index of its first sample."""
        return f"{self.kind}-{self.first + shard * self.per_shard:08d}.tar"

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return -(-self.count // self.per_shard)

    def indices(self, shard: int) -> range:
        """Sample indices of a shard."""
        start = shard * self.per_shard
        return range(self.first + start, self.first + min(start + self.per_shard, self.count))


def encode_arrays(**arrays: NDArray[Any]) -> bytes:
    """Named arrays as compressed npz bytes."""
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    return stream.getvalue()


def decode_arrays(content: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of `encode_arrays`."""
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


@contextmanager
def disk_full_told(path: Path) -> Iterator[None]:
    """Turns a full disk into one sentence that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RtHandsError(
                f"The disk is full: '{path}' could not be written. What was finished before is whole; "
                "free some space and run the same command again."
            ) from None
        raise


def write_shard(path: Path, samples: Iterator[tuple[int, Sample]]) -> None:
    """Write one shard beside its place and rename it there. A failure removes what was begun."""
    part = path.with_name(f".{path.name}.part")
    try:
        with disk_full_told(path), tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
            for index, sample in samples:
                for extension, content in sample.items():
                    # Owner and time stay 0: the same (seed, index) gives the same bytes.
                    entry = tarfile.TarInfo(f"{index:09d}.{extension}")
                    entry.size = len(content)
                    tar.addfile(entry, io.BytesIO(content))
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _agree_on_plan(out: Path, plan: Plan) -> None:
    """Write the manifest, or check that the folder was begun with the same one."""
    manifest = out / MANIFEST
    try:
        out.mkdir(parents=True, exist_ok=True)
        if not manifest.exists():
            write_atomically(manifest, json.dumps(asdict(plan), indent=2).encode())
            return
        begun = json.loads(manifest.read_text())
    except OSError as error:
        raise RtHandsError(f"Can't write to '{out}': {error.strerror}.") from None
    changed = {k: (begun.get(k), v) for k, v in asdict(plan).items() if k != "count" and begun.get(k) != v}
    if changed:
        told = ", ".join(f"{k} {a!r}, now {b!r}" for k, (a, b) in changed.items())
        raise InvalidInput(
            f"'{out}' was begun with other settings ({told}). Use the same ones or another folder."
        )
    if begun["count"] < plan.count:
        _drop_short_last_shard(out, plan, int(begun["count"]))
    if begun["count"] != plan.count:
        write_atomically(manifest, json.dumps(asdict(plan), indent=2).encode())


def _drop_short_last_shard(out: Path, plan: Plan, old_count: int) -> None:
    """A data set that grows makes its last, not quite full shard anew."""
    if old_count % plan.per_shard:
        (out / plan.shard_name(old_count // plan.per_shard)).unlink(missing_ok=True)


def _make_shard(shard: int, out: Path, plan: Plan, make: MakeSample) -> None:
    def samples() -> Iterator[tuple[int, Sample]]:
        for index in plan.indices(shard):
            yield index, make(plan.seed, index)
            workers.tick()

    write_shard(out / plan.shard_name(shard), samples())


def write_dataset(out: Path, plan: Plan, make: MakeSample, processes: int = 1) -> int:
    """Make the shards of a plan that are not there yet; returns how many samples were made.

    make must be picklable. Interrupted, it leaves whole shards only, and goes on from them when it is called again.
    Raises InvalidInput when the folder holds another plan, RtHandsError on a full disk.
    """
    _agree_on_plan(out, plan)
    missing = [s for s in range(plan.shards) if not (out / plan.shard_name(s)).exists()]
    todo = sum(len(plan.indices(s)) for s in missing)
    job = partial(_make_shard, out=out, plan=plan, make=make)
    workers.for_each(job, missing, processes, plan.kind, plan.count, plan.count - todo)
    return todo


def shard_paths(folder: Path) -> list[Path]:
    """The shards of a folder, in order. Raises InvalidInput when there are none."""
    found = sorted(folder.glob("*.tar")) if folder.is_dir() else []
    if not found:
        raise InvalidInput(
            f"No shards (*.tar) in '{folder}'. Make some with: python -m rt_hands.synth --help"
        )
    return found


def read_samples(paths: Sequence[Path]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(key, {extension: content}) of each sample, in the order of the files. Raises InvalidInput on a broken file."""
    for path in paths:
        try:
            with tarfile.open(path) as tar:
                yield from _grouped(tar)
        except (tarfile.TarError, OSError) as error:
            reason = str(error).splitlines()[0]  # tarfile lists every format it tried
            raise InvalidInput(f"Can't read shard '{path}': {reason}. Delete it and make it again.") from None


def _grouped(tar: tarfile.TarFile) -> Iterator[tuple[str, dict[str, bytes]]]:
    key, files = "", dict[str, bytes]()
    for entry in tar:
        stem, _, extension = entry.name.partition(".")
        if stem != key and files:
            yield key, files
            files = {}
        key = stem
        stream = tar.extractfile(entry)
        if stream is not None:
            files[extension] = stream.read()
    if files:
        yield key, files
