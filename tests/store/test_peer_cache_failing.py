"""A disk that takes no writes: an alarm, the node goes on, and all is written when it is back."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import trio
from attrs import evolve

from fabric.codes import Code
from fabric.core.records import Key
from fabric.errors import ConfigError
from fabric.store import database
from fabric.store.database import read_only
from fabric.store.kept import Snapshot
from fabric.store.peer_cache import RETRY_EVERY
from fabric.store.pending import Pending
from fabric.store.tables import RECORDS
from tests.store.conftest import KEY, SOME, TOLD, Holding, a_record, fill

LARGE = Snapshot(records=tuple(a_record(Key("node", f"n{n}"), bytes(60_000)) for n in range(20)))


class Room:
    """Lets a database grow to so many pages: SQLite's own way to be full."""

    def __init__(self, monkeypatch):
        self.pages = None
        connect = database._connect

        def limited(place):
            connection = connect(place)
            if self.pages is not None:
                connection.execute(f"PRAGMA max_page_count = {self.pages}")
            return connection

        monkeypatch.setattr(database, "_connect", limited)


@pytest.fixture
def room(monkeypatch):
    return Room(monkeypatch)


async def test_a_full_disk_is_told_once_and_all_is_written_when_there_is_room(
    path, alarms, room, reopened, autojump_clock
):
    room.pages = 40
    async with alarms.open(path) as cache:
        await cache.load()
        cache.held_by(Holding(LARGE))
        fill(cache, LARGE)
        await trio.sleep(3 * RETRY_EVERY)
        assert alarms.codes == [Code.CACHE_FAILING]
        assert "full" in cache.failing
        assert alarms.cleared == []

        room.pages = 4000
        await trio.sleep(RETRY_EVERY * 1.1)
        assert cache.failing is None
        assert alarms.cleared == [Code.CACHE_FAILING]
    assert (await reopened()).records == tuple(sorted(LARGE.records, key=lambda each: each.key))


async def test_without_a_holder_what_waited_is_written(
    path, alarms, room, reopened, autojump_clock
):
    async with alarms.open(path) as cache:
        cache._disk._database._connection.execute("PRAGMA max_page_count = 20")
        fill(cache, LARGE)
        assert not await cache.flush()
        cache.drop(Key("node", "n0"))
        cache.store(Key("node", "n1"), b"newer", TOLD)
        assert await cache.flush()

    found = {record.subject: len(record.packed) for record in (await reopened()).records}
    assert found == {"n1": 5} | {f"n{n}": 60_000 for n in range(2, 20)}


async def test_somebody_who_locks_the_file_delays_what_is_written(
    filled, alarms, reopened, autojump_clock
):
    other = sqlite3.connect(filled, isolation_level=None)
    async with alarms.open(filled) as cache:
        other.execute("BEGIN IMMEDIATE")
        cache.store(KEY, b"new", TOLD)
        assert not await cache.flush()
        assert "locked" in cache.failing
        other.execute("ROLLBACK")
        other.close()
        await trio.sleep(RETRY_EVERY * 1.5)
        assert alarms.cleared == [Code.CACHE_FAILING]

    assert (await reopened()).records == (SOME.records[0], a_record(KEY, b"new"))


@pytest.fixture
def unopenable(monkeypatch):
    """A disk that refuses to open a database, until it is told not to."""

    class Disk:
        refuses = True
        attempts = 0

    prepare = database._prepare

    def refuse(connection):
        Disk.attempts += 1
        if Disk.refuses:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("CREATE TABLE refused (x)")
        prepare(connection)

    monkeypatch.setattr(database, "_prepare", refuse)
    return Disk


async def test_a_failing_disk_is_tried_each_half_minute_and_not_in_between(
    filled, alarms, unopenable, autojump_clock
):
    async with alarms.open(filled) as cache:
        await cache.load()
        cache.held_by(Holding(SOME))
        await trio.sleep(1)
        before = unopenable.attempts
        await trio.sleep(3 * RETRY_EVERY)
        assert unopenable.attempts == before + 3


async def test_a_file_that_cannot_be_opened_is_read_all_the_same(filled, alarms, unopenable):
    async with alarms.open(filled) as cache:
        assert alarms.codes == [Code.CACHE_FAILING]
        assert await cache.load() == SOME


NOBODY = 65_534


@pytest.fixture
def unwritable(filled):
    """SOME in a folder in which this process may write nothing, until it is told that it may."""

    class Folder:
        path = Path(tempfile.mkdtemp()) / filled.name  # pytest's own are closed to others

        def make_writable(self, is_writable=True):
            self.path.chmod(0o600 if is_writable else 0o400)
            self.path.parent.chmod(0o700 if is_writable else 0o500)

    folder = Folder()
    shutil.copy(filled, folder.path)
    is_root = os.geteuid() == 0  # whom no mode stops
    if is_root:
        os.chown(folder.path, NOBODY, NOBODY)
        os.chown(folder.path.parent, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    folder.make_writable(False)
    yield folder
    if is_root:
        os.seteuid(0)
    folder.make_writable()
    shutil.rmtree(folder.path.parent)


async def test_a_disk_without_the_right_to_write_still_tells_what_it_knows(
    unwritable, alarms, autojump_clock
):
    async with alarms.open(unwritable.path) as cache:
        assert await cache.load() == SOME
        cache.held_by(Holding())
        cache.store(KEY, b"new", TOLD)
        assert await cache.claim_sequence("offers", 1_000) == 1_001
        await trio.sleep(2 * RETRY_EVERY)
        assert alarms.codes == [Code.CACHE_FAILING]

        unwritable.make_writable()
        await trio.sleep(RETRY_EVERY * 1.1)
        assert alarms.cleared == [Code.CACHE_FAILING]
    async with alarms.open(unwritable.path) as cache:
        assert (await cache.load()).records == (SOME.records[0], a_record(KEY, b"new"))
        assert await cache.claim_sequence("offers", 1_000) == 1_002


async def test_what_a_disk_held_back_is_handed_over_and_not_overwritten(
    filled, alarms, unopenable, monkeypatch, reopened, autojump_clock
):
    def silent(path):
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr("fabric.store.disk.read_only", silent)
    later = a_record(Key("offers", "one"), b"heard meanwhile")
    async with alarms.open(filled) as cache:
        assert await cache.load() == Snapshot()
        holding = Holding()
        cache.held_by(holding)
        cache.store(later.key, later.packed, later)
        await trio.sleep(RETRY_EVERY)
        unopenable.refuses = False
        holding.held = evolve(SOME, records=(*SOME.records, later))
        await trio.sleep(RETRY_EVERY * 1.1)
        assert holding.taken == [SOME]
        assert alarms.cleared == [Code.CACHE_FAILING]

    assert await reopened() == holding.held


async def test_seeds_facts_and_roots_outlive_a_holder_that_does_not_name_them(
    filled, alarms, reopened, autojump_clock
):
    async with alarms.open(filled) as cache:
        cache._disk.give_up()
        cache.held_by(Holding(Snapshot()))
        assert await cache.flush()

    assert await reopened() == evolve(SOME, records=(), peers=(), candidates=())


async def test_more_than_may_wait_is_forgotten_and_everything_held_written_instead(
    path, alarms, reopened, autojump_clock
):
    async with alarms.open(path) as cache:
        cache._pending = Pending(most_changes=5)
        cache.held_by(Holding(LARGE))
        fill(cache, LARGE)
        assert len(cache._pending) <= 5
        assert await cache.flush()

    assert len((await reopened()).records) == len(LARGE.records)


def test_what_waits_is_bounded_in_bytes_too_and_counted_once_for_each_key():
    pending = Pending(most_bytes=1000)
    for size in (900, 800, 700):
        pending.put(RECORDS, a_record(KEY, bytes(size)))
    assert not pending.is_over_full
    pending.put(RECORDS, a_record(Key("node", "two"), bytes(301)))
    assert pending.is_over_full
    pending.remove(RECORDS, tuple(KEY))
    assert not pending.is_over_full


def test_what_is_put_back_does_not_undo_what_came_meanwhile():
    pending = Pending()
    pending.put(RECORDS, a_record(KEY, b"old"))
    pending.put(RECORDS, a_record(Key("node", "two"), b"old"))
    batch = pending.take()
    pending.remove(RECORDS, tuple(KEY))
    pending.put_back(batch)
    assert set(pending.take().values()) == {None, a_record(Key("node", "two"), b"old")}


def test_reading_only_takes_in_the_log_even_where_no_index_can_be_made(filled, tmp_path):
    opened = database.Database.open(filled)
    opened.write({(RECORDS, tuple(KEY)): a_record(KEY, b"in the log")})
    copied = shutil.copytree(filled.parent, tmp_path / "copy") / filled.name
    opened.close()

    index = copied.with_name(f"{copied.name}-shm")
    index.unlink()
    index.mkdir()
    assert read_only(copied).records == (SOME.records[0], a_record(KEY, b"in the log"))


def test_reading_only_does_without_a_log_where_none_can_be_made(filled):
    filled.with_name(f"{filled.name}-wal").mkdir()
    assert read_only(filled) == SOME


LIMITED = """
import json, resource, signal, sys
from pathlib import Path
import trio
from fabric.core.records import Key
from fabric.store.kept import StoredRecord
from fabric.store.peer_cache import open_peer_cache

HOW = StoredRecord("node", "x", b"x")

async def main(path):
    alarms, cleared = [], []
    async with open_peer_cache(
        path, on_alarm=lambda code, why: alarms.append(code.label), on_clear=cleared.append
    ) as cache:
        cache.store(Key("node", "small"), b"small", HOW)
        assert await cache.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, resource.RLIM_INFINITY))
        for number in range(20):
            cache.store(Key("node", f"n{number}"), bytes(50_000), HOW)
        refused = not await cache.flush(), not await cache.flush()
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        written = await cache.flush()
    async with open_peer_cache(path) as cache:
        found = len((await cache.load()).records)
    print(json.dumps([alarms, refused, written, len(cleared), found]))

trio.run(main, Path(sys.argv[1]))
"""


def test_a_kernel_that_lets_no_file_grow_is_a_full_disk(path):
    """RLIMIT_FSIZE, which anybody may set: the kernel refuses writes, as on a full disk."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path)], stdout=subprocess.PIPE, check=True, timeout=20
    )
    [*_lines, result] = done.stdout.splitlines()
    assert json.loads(result) == [["cache_failing"], [True, True], True, 1, 21]


async def test_a_lock_lost_with_its_folder_is_not_taken_from_somebody_else(
    filled, alarms, autojump_clock
):
    async with alarms.open(filled) as cache:
        shutil.rmtree(filled.parent)
        async with alarms.open(filled):
            cache.store(KEY, b"new", TOLD)
            assert not await cache.flush()
            assert "another process" in cache.failing
        assert await cache.flush()
        with pytest.raises(ConfigError):
            async with alarms.open(filled):
                pytest.fail("opened twice")
