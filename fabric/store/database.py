"""The cache's file: opened and checked, read whole, written in transactions. All of it blocks.

Theory of operation
===================

SQLite in WAL mode with ``synchronous=NORMAL``: a transaction is appended to a log, and the log is
flushed only before it is copied into the file. A killed process loses nothing that was committed,
since the kernel has it. A machine that loses power may lose the last transactions, never half of
one, and never the file: what is lost is asked for again at the next sync, which is cheaper than a
flush for every batch.

Whatever goes wrong is one of two things. The *environment* (no room, no right to write, a lock, a
failing disk) may mend: :exc:`sqlite3.Error` or :exc:`OSError`. A *damaged* file does not: no
database, or one that breaks its own rules or ours, or one of a later release: :exc:`Damaged`.
"""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

from attrs import define, field

from fabric import durable
from fabric.store.kept import Item, Snapshot
from fabric.store.pending import Batch
from fabric.store.tables import FORMAT, TABLES, RowKey, Table

BUSY_WAIT: Final = 0.5
"""Seconds to wait for somebody who looks into the file; the next attempt comes anyhow."""

MOST_LOG: Final = 4 << 20
"""Bytes to which the log is cut back after a rare large batch."""

MOST_MEMORY_KIB: Final = 512
"""Of pages held in memory: the file is read once and then only written."""

_MAGIC: Final = b"SQLite format 3\0"

_ENVIRONMENT: Final = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)


class Damaged(Exception):
    """The file is of no use and will not get better; says why."""


class Removed(Exception):
    """Somebody took the file away from under the open database."""


@contextmanager
def _damage_told() -> Generator[None]:
    """Raise what says that the file is at fault as :exc:`Damaged`."""
    try:
        yield
    except (sqlite3.InterfaceError, sqlite3.ProgrammingError):
        raise  # a bug here
    except UnicodeDecodeError as error:  # SQLite's message quotes the file
        raise Damaged(str(error)) from error
    except sqlite3.DatabaseError as error:
        # What Python itself found, as text that is no UTF-8, has no code of SQLite's.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
        if code & 0xFF in _ENVIRONMENT:
            raise
        raise Damaged(str(error)) from error


@define(eq=False)
class Database:
    """One open file. Used by one thread at a time, but not always by the same."""

    path: Path
    _connection: sqlite3.Connection
    _found: os.stat_result = field(init=False)

    @_found.default
    def _stat_at_opening(self) -> os.stat_result:
        return os.stat(self.path)

    @classmethod
    def open(cls, path: Path) -> Database:
        """Open the cache at *path*, empty where there is none, readable by its owner alone.

        Raises :exc:`Damaged`, :exc:`sqlite3.Error` or :exc:`OSError`.
        """
        durable.own_folder(path.parent)
        _make_private(path)
        connection = _connect(str(path))
        try:
            with _damage_told():
                _prepare(connection)
            return cls(path, connection)
        except BaseException:
            _close(connection)
            raise

    def close(self) -> None:
        """Give the file back, its log copied into it. Never raises for the disk."""
        _close(self._connection)

    def read(self) -> Snapshot:
        """Return everything. Raises :exc:`Damaged` or :exc:`sqlite3.Error`."""
        return _read(self._connection)

    def write(self, batch: Batch, *, whole: Snapshot | None = None) -> None:
        """Write *batch* in one transaction; where *whole* is given, that in place of all before.

        Raises :exc:`Damaged`, :exc:`Removed`, :exc:`sqlite3.Error` or :exc:`OSError`; then
        nothing of it was written.
        """
        if not self._is_still_there():
            raise Removed
        by_table = _by_table(batch)
        with _damage_told(), _transaction(self._connection) as connection:
            for table in TABLES:
                changes = _all_of(table, whole) if whole is not None else {}
                changes |= by_table.get(table, {})
                if whole is not None and table.is_pruned:
                    connection.execute(table.clear)
                _apply(connection, table, changes)
                _shorten(connection, table, changes)

    def _is_still_there(self) -> bool:
        try:
            return os.path.samestat(self._found, os.stat(self.path))
        except FileNotFoundError:
            return False


def read_only(path: Path) -> Snapshot:
    """Return what the cache at *path* holds, without changing it.

    For a full or write-protected disk, on which it cannot be opened for writing. Raises
    :exc:`Damaged`, :exc:`sqlite3.Error` or :exc:`OSError`.
    """
    uri = path.absolute().as_uri()
    try:
        return _read_at(f"{uri}?mode=ro")
    except sqlite3.Error:  # there is no log, and none can be made: then it is not needed either
        return _read_at(f"{uri}?mode=ro&immutable=1")


def _read_at(uri: str) -> Snapshot:
    connection = _connect(uri)
    try:
        with _damage_told():
            if _format(connection) != FORMAT:
                raise Damaged("of another format")
            _check(connection)
        return _read(connection)
    finally:
        _close(connection)


# -- opening --
def _make_private(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_mode & 0o777 != 0o600:
            with suppress(OSError):  # another user's, or on a disk that takes no writes
                os.fchmod(descriptor, 0o600)
        if os.pread(descriptor, len(_MAGIC), 0) not in (b"", _MAGIC):
            raise Damaged("no database")  # said here, since SQLite would delete the log beside it
    finally:
        os.close(descriptor)


def _connect(place: str) -> sqlite3.Connection:
    return sqlite3.connect(
        place,
        timeout=BUSY_WAIT,
        isolation_level=None,  # transactions are begun and ended here, not guessed
        check_same_thread=False,  # trio's worker threads come and go; one works at a time
        uri=place.startswith("file:"),
    )


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA cell_size_check = ON")
    found = _format(connection)
    if found not in (0, FORMAT):
        raise Damaged(f"of format {found}; this release reads {FORMAT}")
    if found == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise Damaged("a database of something else")
    # Nothing was written so far: what is put aside is as it was found.
    for setting in (
        "journal_mode = WAL",
        "synchronous = NORMAL",
        f"journal_size_limit = {MOST_LOG}",
        f"cache_size = -{MOST_MEMORY_KIB}",
    ):
        connection.execute(f"PRAGMA {setting}")
    if found == 0:
        _create(connection)
    else:
        _check(connection)


def _format(connection: sqlite3.Connection) -> int:
    found: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return found


def _check(connection: sqlite3.Connection) -> None:
    """Read every page, 15 ms for 10,000 records: damage met later would come at a worse time."""
    verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if verdict != "ok":
        raise Damaged(verdict)


def _create(connection: sqlite3.Connection) -> None:
    with _transaction(connection):
        for table in TABLES:
            connection.execute(table.create)
        connection.execute(f"PRAGMA user_version = {FORMAT}")


def _close(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):  # closing writes; what could not be is in the log
        connection.close()


# -- reading and writing --
def _read(connection: sqlite3.Connection) -> Snapshot:
    with _damage_told():
        return Snapshot(**{table.name: _items(connection, table) for table in TABLES})


def _items(connection: sqlite3.Connection, table: Table) -> tuple[Any, ...]:
    try:
        return tuple(table.item(*row) for row in connection.execute(table.select))
    except (ValueError, TypeError) as error:
        raise Damaged(f"{table.name}: {error}") from error


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Generator[sqlite3.Connection]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite may have done it already
            connection.execute("ROLLBACK")
        raise


_Changes: TypeAlias = dict[RowKey, Item | None]


def _all_of(table: Table, whole: Snapshot) -> _Changes:
    return {table.key(item): item for item in table.items(whole)}


def _by_table(batch: Batch) -> dict[Table, _Changes]:
    sorted_out: dict[Table, _Changes] = defaultdict(dict)
    for (table, key), item in batch.items():
        sorted_out[table][key] = item
    return sorted_out


def _apply(connection: sqlite3.Connection, table: Table, changes: _Changes) -> None:
    removed = (key for key, item in changes.items() if item is None)
    connection.executemany(table.remove, removed)
    put = (table.row(item) for item in changes.values() if item is not None)
    connection.executemany(table.put, put)


def _shorten(connection: sqlite3.Connection, table: Table, changes: _Changes) -> None:
    if table.most_of_one is not None:
        touched = sorted({key[0] for key in changes})
        connection.executemany(table.shorten_one, ((each, table.most_of_one) for each in touched))
    if table.most is not None and connection.execute(table.count).fetchone()[0] > table.most:
        connection.execute(table.shorten, (table.most,))
