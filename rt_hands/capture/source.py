"""The interface of every source of frames, with the ways of a file that is read as fast as it is taken."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

from rt_hands.types import FrameSet

Notice = Callable[[str], None]
"""Takes one sentence for the user: what a camera was asked for and gave, what was skipped, what went away."""


def to_stderr(sentence: str) -> None:
    """The ordinary `Notice`."""
    print(sentence, file=sys.stderr, flush=True)


def first_only(notice: Notice) -> Notice:
    """A `Notice` that passes on the first sentence alone."""
    told: list[str] = []

    def tell(sentence: str) -> None:
        if not told:
            notice(sentence)
        told.append(sentence)

    return tell


class Source(ABC):
    """An iterator of FrameSets. Use as a context manager, or close it.

    name: for people. cameras: ids, in the order of the views. live: frames come at their own pace, the newest is the
    one that matters, missed ones are counted in `dropped`; otherwise every frame is given, as fast as it is taken.
    length: how many FrameSets there will be, None where unknown.
    clock_offset_ms: by camera, what is added to its stamps; see `capture.offsets`.
    still: the pictures have nothing to do with one another, so nothing is tracked from one to the next.
    webcams: all pictures come from this machine's webcams, before which people expect to see themselves mirrored.
    """

    name: str = ""
    cameras: tuple[str, ...] = ()
    live: bool = False
    still: bool = False
    webcams: bool = False
    length: int | None = None
    dropped: int = 0
    clock_offset_ms: Mapping[str, float] = MappingProxyType({})

    @abstractmethod
    def __iter__(self) -> Iterator[FrameSet]:
        """FrameSets until the source ends or is closed. Raises SourceError where it breaks for good."""

    def now_ns(self) -> int | None:
        """The present time on the clock of the frames' t_ns; None where frames have no present (a file, read fast)."""
        return None

    def close(self) -> None:  # noqa: B027
        """Stop threads and free devices; safe to call twice."""

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
