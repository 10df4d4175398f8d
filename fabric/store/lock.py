"""One process for one state folder: a lock that the kernel takes back however its owner ends.

A copy of the folder has a lock of its own: two nodes with one key are told apart by their peers.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from attrs import define, field

from fabric.errors import ConfigError


@define(eq=False)
class FileLock:
    """A lock on the file *path*, which nobody reads or writes."""

    path: Path
    _descriptor: int | None = field(default=None, init=False)

    def hold(self) -> None:
        """Take the lock unless this process has it; anew if its file was removed meanwhile.

        Raises :exc:`ConfigError` when another process has it, :exc:`OSError` as the disk does.
        """
        if self._is_held():
            return
        self.release()
        # Reading will do for a lock, and is allowed on a disk that takes no writes any more.
        descriptor = os.open(self.path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            what = "another process uses this state folder; give each node one of its own"
            raise ConfigError([f"{self.path.parent}: {what}"]) from None
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _is_held(self) -> bool:
        try:
            return self._descriptor is not None and os.path.samestat(
                os.fstat(self._descriptor), os.stat(self.path)
            )
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Let others have it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
