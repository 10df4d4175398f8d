"""The state folder's lock and the file in it, and what becomes of a file that is of no use.

All of it blocks and belongs to whoever runs it one call at a time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from attrs import define, field, frozen

from fabric import durable
from fabric.store.aside import put_aside
from fabric.store.database import Damaged, Database, Removed, read_only
from fabric.store.kept import Snapshot
from fabric.store.lock import FileLock
from fabric.store.pending import Batch
from fabric.store.sequences import Sequences

SEQUENCES_FILE: Final = "sequences.json"


@frozen
class Moved:
    """A file that was put aside."""

    to: Path
    why: str


@define(eq=False)
class Disk:
    """The cache's file while it is open, this node's sequences, and the lock over both.

    Methods raise :exc:`sqlite3.OperationalError` and :exc:`OSError` as the environment does.
    """

    path: Path
    sequences: Sequences = field(init=False)
    _lock: FileLock = field(init=False)
    _database: Database | None = field(default=None, init=False)
    _moved: list[Moved] = field(init=False, factory=list)

    @sequences.default
    def _sequences_beside(self) -> Sequences:
        return Sequences(self.path.with_name(SEQUENCES_FILE))

    @_lock.default
    def _lock_beside(self) -> FileLock:
        return FileLock(self.path.with_name(f"{self.path.name}.lock"))

    @property
    def is_open(self) -> bool:
        return self._database is not None

    def moved(self) -> list[Moved]:
        """Return what was put aside since the last call."""
        moved, self._moved = self._moved, []
        return moved

    def open(self) -> None:
        """Take the lock and open the file, unless that was done; put a damaged one aside.

        Raises :exc:`~fabric.errors.ConfigError` when another process has the lock, and
        :exc:`Damaged` when not even a new file is sound.
        """
        self._own()
        if self._database is None:
            try:
                self._database = Database.open(self.path)
            except Damaged as damaged:
                self._start_anew(damaged)

    def read(self) -> Snapshot:
        """Return everything in the open file: nothing, where it turns out to be damaged."""
        try:
            return self._opened().read()
        except Damaged as damaged:
            self._start_anew(damaged)
            return Snapshot()

    def read_only(self) -> Snapshot:
        """Return what can be read of a file that cannot be opened."""
        try:
            return read_only(self.path)
        except Damaged:
            return Snapshot()

    def write(self, batch: Batch, whole: Snapshot | None) -> bool:
        """Write *batch*, after *whole* where it is given; all of it or nothing.

        Returns whether it is written. If not, a new file lacks all that was in the old one.
        """
        try:
            self._opened().write(batch, whole=whole)
        except Removed:
            self.give_up()
            self.open()
        except Damaged as damaged:
            self._start_anew(damaged)
        else:
            return True
        return False

    def write_sequences(self) -> None:
        """Make the sequences drawn so far durable. Raises as :meth:`open`."""
        self._own()
        self.sequences.write()

    def give_up(self) -> None:
        """Close the file, to be opened anew; keep the lock."""
        if self._database is not None:
            database, self._database = self._database, None
            database.close()

    def close(self) -> None:
        """Close the file and let others have it."""
        self.give_up()
        self._lock.release()

    def _own(self) -> None:
        durable.own_folder(self.path.parent)
        self._lock.hold()
        if aside := self.sequences.read():
            self._moved.append(Moved(aside, "not a document of sequences"))

    def _opened(self) -> Database:
        assert self._database is not None, "the caller has opened it"
        return self._database

    def _start_anew(self, damaged: Damaged) -> None:
        self.give_up()
        self._moved.append(Moved(put_aside(self.path), str(damaged)))
        self._database = Database.open(self.path)
