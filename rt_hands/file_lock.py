"""One process at a time in a folder: a lock of the operating system, which ends with its process, however that ends."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from pathlib import Path
from typing import BinaryIO, Final

NAME: Final = "lock"
TAKEN: Final = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
TRIES: Final = 100
"""A folder that another process removes just now is made again; not for ever."""


class FolderLock:
    """Makes a folder and holds it until `release` or `remove`. held: False where its file system knows no locks.

    Raises BlockingIOError where another process holds it, OSError where the folder can't be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / NAME
        self.held = True
        self._file = self._taken()

    def _taken(self) -> BinaryIO:
        for _ in range(TRIES):
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                file = open(self.path, "ab")  # noqa: SIM115
            except FileNotFoundError:
                continue
            try:
                self._lock(file)
                # Another process may have removed the file while this one waited to lock it: then it locks nothing.
                if os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                    return file
            except FileNotFoundError:
                pass
            except BaseException:
                file.close()
                raise
            file.close()
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path))

    def _lock(self, file: BinaryIO) -> None:
        try:
            if sys.platform == "win32":
                import msvcrt

                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in TAKEN:
                raise BlockingIOError(error.errno, error.strerror, str(self.path)) from None
            self.held = False

    def release(self) -> None:
        """Let others in; what is in the folder stays."""
        self._file.close()

    def remove(self) -> None:
        """Remove the folder and all that is in it."""
        if sys.platform == "win32":  # which removes no open file
            self.release()
        # What is left is of a process that came in between.
        shutil.rmtree(self.folder, ignore_errors=True)
        self.release()
