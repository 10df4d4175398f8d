"""The peer cache: what this node knew last, so that it finds its fabric again with nobody to ask.

Theory of operation
===================

The directory is in memory and the cache is its shadow. Whoever changes something says so here and
goes on: nothing that changes something blocks, or fails. Changes wait in memory, the newest of
each key, and one task writes them in one transaction: within :data:`BATCH_EVERY`, but what was
seen of peers within :data:`SEEN_EVERY`, since round trips change all the time and flash wears out.

What can happen to the file, and what then:

================================  =================================================================
damaged, or of a later release    put aside, ``CACHE_MOVED_ASIDE``; a new one takes its place, and
                                  everything held is written to it
no room, no right, locked, I/O    ``CACHE_FAILING``; the node goes on without. Each
                                  :data:`RETRY_EVERY` it is opened anew, and once that works
                                  everything held is written
removed while it was open         the same, at once and without an alarm
could not be opened at the start  read without writing, if that can be done; and what it turns out
                                  to hold once it opens is handed to the holder
used by another process           :exc:`~fabric.errors.ConfigError` at the start
more changes than may wait        they are forgotten, and everything held is written instead
================================  =================================================================

"Everything held" is what the :class:`Holder` says it holds. So what waits is bounded, and a disk
that was away for a week costs one large write. Without a holder only what waited is written.

A batch that was cancelled half-way waits again: to write it twice does no harm.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, Protocol, TypeVar

import structlog
import trio
from attrs import define, field

from fabric.codes import Code
from fabric.core.holding import Heard
from fabric.core.records import Key
from fabric.errors import ConfigError
from fabric.store.blocking import RunBlocking, in_one_thread
from fabric.store.database import Damaged
from fabric.store.disk import Disk
from fabric.store.kept import (
    Fact,
    Item,
    KnownCandidate,
    KnownPeer,
    Seed,
    Snapshot,
    StoredRecord,
    StoredRoot,
)
from fabric.store.pending import Pending
from fabric.store.tables import CANDIDATES, FACTS, PEERS, RECORDS, ROOTS, SEEDS, RowKey, Table

log = structlog.get_logger()
T = TypeVar("T")

CACHE_FILE: Final = "peer-cache.db"
"""In the state folder; its lock and what was put aside bear the same name and more."""

BATCH_EVERY: Final = 0.2
"""Seconds that a change waits for others. What a killed node loses so, it hears again."""

SEEN_EVERY: Final = 30.0
"""Seconds that what was seen of peers may wait."""

RETRY_EVERY: Final = 30.0
"""Seconds between attempts at a failing disk."""

END_WITHIN: Final = 5.0
"""Seconds for the last batch: a disk that hangs must not keep the process."""

_ENVIRONMENT: Final = (OSError, sqlite3.OperationalError)
_UNUSABLE: Final = (*_ENVIRONMENT, Damaged, ConfigError)
"""What keeps an open cache from writing: also a new file that is damaged at once, and a process
that took the lock after somebody had removed its file."""


class Holder(Protocol):
    """Whoever holds in memory what the cache keeps."""

    def everything(self) -> Snapshot:
        """Return all that belongs into the cache now. Records that are not in it are removed."""
        ...

    def take(self, found: Snapshot) -> None:
        """Take in what the disk turned out to hold, after :meth:`PeerCache.load` had to do
        without it. Some of it may be older than what is held."""
        ...


@define(eq=False)
class PeerCache:
    """A node's memory across restarts. Belongs to the trio thread; see :func:`open_peer_cache`."""

    path: Path
    failing: str | None = field(default=None, init=False)
    """Why nothing can be written at present."""

    _run: RunBlocking
    _on_alarm: Callable[[Code, str], None]
    _on_clear: Callable[[Code], None]
    _disk: Disk = field(init=False)
    _pending: Pending = field(init=False, factory=Pending)
    _holder: Holder | None = field(default=None, init=False)
    _is_behind: bool = field(default=False, init=False)
    """Whether the file lacks, or wrongly has, more than what is pending."""
    _is_late: bool = field(default=False, init=False)
    """Whether :meth:`load` was answered without the file."""
    _has_begun: bool = field(default=False, init=False)
    _turn: trio.Lock = field(init=False, factory=trio.Lock)
    _changed: trio.Event = field(init=False, factory=trio.Event)
    _urgent: trio.Event = field(init=False, factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self._disk = Disk(self.path)

    # -- reading, once --
    async def load(self) -> Snapshot:
        """Return all that is kept; as much as there is, however little the disk gives.

        To be called before anything is stored. Records are sorted by key: judge trust roots
        first, then node records, then the rest.
        """
        async with self._turn:
            started = trio.current_time()
            found = await self._read()
        took = round(trio.current_time() - started, 3)
        log.info("cache.loaded", records=len(found.records), peers=len(found.peers), took_s=took)
        return found

    def held_by(self, holder: Holder) -> None:
        """Ask *holder* for everything whenever the file has to be written anew."""
        self._holder = holder
        if self._is_behind or self._is_late:
            self._wake()

    # -- changing: never blocks, never fails for the disk --
    def store(self, key: Key, packed: bytes, heard: Heard) -> None:
        """Keep the packed envelope of the record at *key*, in place of an older one."""
        record = StoredRecord(
            kind=key.kind,
            subject=key.subject,
            packed=packed,
            from_peer=heard.from_peer,
            hops=heard.hops,
            age=heard.age,
            wave_id=heard.wave_id,
            at=heard.at,
        )
        self._put(RECORDS, record)

    def drop(self, key: Key) -> None:
        """Keep nothing at *key* any more."""
        self._remove(RECORDS, tuple(key))

    def store_root(self, version: int, packed: bytes) -> None:
        """Keep one version of the trust root, for good: peers that slept need all of them."""
        self._put(ROOTS, StoredRoot(version, packed))

    def note_peer(self, seen: KnownPeer) -> None:
        """Remember what was last seen of a peer, all of it. Costs nothing, however often."""
        self._put(PEERS, seen, urgent=False)

    def note_candidate(self, candidate: KnownCandidate) -> None:
        """Remember an address of a peer, and what became of trying it."""
        self._put(CANDIDATES, candidate)

    def drop_candidate(self, candidate: KnownCandidate) -> None:
        """Forget that address of that peer."""
        self._remove(CANDIDATES, CANDIDATES.key(candidate))

    def note_seeds(self, addresses: Iterable[str], unix_now: float) -> None:
        """Remember configured seeds, for good."""
        for address in addresses:
            self._put(SEEDS, Seed(address, unix_now))

    def note_fact(self, name: str, value: bytes) -> None:
        """Remember *value*, at most 64 KiB, under *name*."""
        self._put(FACTS, Fact(name, value))

    def drop_fact(self, name: str) -> None:
        self._remove(FACTS, (name,))

    # -- writing --
    async def claim_sequence(self, kind: str, unix_now: float, *, above: int = 0) -> int:
        """Return the next sequence for this node's own records of *kind*, and above *above*.

        When it returns the disk has the number; or it cannot, and ``CACHE_FAILING`` says so.
        """
        async with self._turn:
            number = self._disk.sequences.claim(kind, unix_now, above=above)
            try:
                await self._work(self._disk.write_sequences)
            except _UNUSABLE as error:
                await self._fail(error)
        return number

    async def flush(self) -> bool:
        """Write all that was said so far. Returns whether the file has it.

        Then it outlives the process, however it ends; a loss of power only mostly.
        """
        async with self._turn:
            try:
                await self._write()
            except _UNUSABLE as error:
                await self._fail(error)
                return False
        self._mend()
        return True

    async def _keep_writing(self) -> None:
        while True:
            await self._changed.wait()
            with trio.move_on_after(SEEN_EVERY):
                await self._urgent.wait()
            await trio.sleep(BATCH_EVERY)
            self._changed, self._urgent = trio.Event(), trio.Event()
            if not await self.flush():
                await trio.sleep(RETRY_EVERY)
                self._wake()

    async def _write(self) -> None:
        await self._have_it_open()
        if self._disk.sequences.unwritten:
            await self._work(self._disk.write_sequences)
        if await self._write_once():
            return
        self._is_behind = True
        if not await self._write_once():
            raise OSError("a new file was damaged or removed at once")

    async def _write_once(self) -> bool:
        whole = self._holder.everything() if self._holder and self._is_behind else None
        batch, is_written = self._pending.take(), False
        if not batch and whole is None:
            return True
        try:
            is_written = await self._work(partial(self._disk.write, batch, whole))
        finally:
            if not is_written:
                self._pending.put_back(batch)
                self._hold_no_more_than_fits()
        if is_written and whole is not None:
            self._is_behind = False
        return is_written

    def _put(self, table: Table, item: Item, *, urgent: bool = True) -> None:
        self._pending.put(table, item)
        self._hold_no_more_than_fits()
        self._wake(urgent=urgent)

    def _remove(self, table: Table, key: RowKey) -> None:
        self._pending.remove(table, key)
        self._hold_no_more_than_fits()
        self._wake()

    def _wake(self, *, urgent: bool = True) -> None:
        self._changed.set()
        if urgent:
            self._urgent.set()

    def _hold_no_more_than_fits(self) -> None:
        if self._pending.is_over_full:
            self._pending.take()
            self._is_behind = True

    # -- the file's ups and downs --
    async def _begin(self) -> None:
        async with self._turn:
            try:
                await self._work(self._disk.open)
            except (*_ENVIRONMENT, Damaged) as error:
                await self._fail(error)
        self._has_begun = True

    async def _read(self) -> Snapshot:
        if self._disk.is_open:
            try:
                return await self._work(self._disk.read)
            except (*_ENVIRONMENT, Damaged) as error:
                await self._fail(error)
        self._is_late = True
        try:
            return await self._work(self._disk.read_only)
        except _ENVIRONMENT:
            return Snapshot()

    async def _have_it_open(self) -> None:
        if not self._disk.is_open:
            await self._work(self._disk.open)
            self._is_behind = True
        if self._is_late and self._holder is not None:
            found = await self._work(self._disk.read)
            self._is_late = False
            self._holder.take(found)

    async def _end(self) -> None:
        if self._has_begun:
            await self.flush()
        await self._work(self._disk.close)

    async def _work(self, work: Callable[[], T]) -> T:
        try:
            return await self._run(work)
        finally:
            for moved in self._disk.moved():
                self._tell_moved(moved.to, moved.why)

    def _tell_moved(self, to: Path, why: str) -> None:
        log.error("cache.moved_aside", to=str(to), reason=why, code=Code.CACHE_MOVED_ASIDE.label)
        self._on_alarm(Code.CACHE_MOVED_ASIDE, f"{to}: {why}")

    async def _fail(self, error: Exception) -> None:
        await self._work(self._disk.give_up)
        self._wake()
        if self.failing is None:
            self.failing = str(error)
            log.error("cache.failing", path=str(self.path), reason=str(error))
            self._on_alarm(Code.CACHE_FAILING, str(error))

    def _mend(self) -> None:
        if self.failing is not None:
            self.failing = None
            log.info("cache.recovered", path=str(self.path))
            self._on_clear(Code.CACHE_FAILING)


@asynccontextmanager
async def open_peer_cache(
    path: Path,
    *,
    run_blocking: RunBlocking | None = None,
    on_alarm: Callable[[Code, str], None] = lambda _code, _detail: None,
    on_clear: Callable[[Code], None] = lambda _code: None,
) -> AsyncGenerator[PeerCache]:
    """Open the cache at *path*, and write what changes until the end of the ``async with``.

    Raises :exc:`~fabric.errors.ConfigError` when another process uses the folder; whatever else
    is wrong with the disk raises an alarm and is gone on without. *on_alarm* is told of
    ``CACHE_MOVED_ASIDE``, and of ``CACHE_FAILING`` once, until *on_clear* is told that it is over.
    """
    cache = PeerCache(path, run_blocking or in_one_thread(), on_alarm, on_clear)
    try:
        await cache._begin()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cache._keep_writing)
            yield cache
            nursery.cancel_scope.cancel()
    finally:
        with trio.move_on_after(END_WITHIN, shield=True) as ending:
            await cache._end()
        if ending.cancelled_caught:
            log.warning("cache.left_unfinished", path=str(path), waited_s=END_WITHIN)
