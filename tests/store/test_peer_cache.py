"""The peer cache on a healthy disk: what it keeps, when it writes, and whom it keeps out."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time

import pytest
import trio
from attrs import evolve

from fabric.core.identity import NodeId
from fabric.core.records import Key
from fabric.errors import ConfigError
from fabric.store.kept import KnownCandidate, KnownPeer, Snapshot
from fabric.store.peer_cache import BATCH_EVERY, END_WITHIN, SEEN_EVERY, open_peer_cache
from fabric.store.tables import MOST_CANDIDATES, MOST_PEERS
from fabric.testing.disk import in_place
from tests.store.conftest import KEY, SOME, TOLD, Holding, a_record, fill


async def test_everything_comes_back_after_a_restart(path, reopened):
    async with open_peer_cache(path) as cache:
        assert await cache.load() == Snapshot()
        fill(cache)

    assert await reopened() == SOME


async def test_facts_are_found_by_name(filled, reopened):
    assert (await reopened()).known() == {"floor": b"\x00\xff"}


async def test_the_newest_of_a_key_is_kept_and_what_is_dropped_is_gone(path, reopened):
    other = Key("node", "two")
    async with open_peer_cache(path) as cache:
        cache.store(KEY, b"old", TOLD)
        cache.store(other, b"doomed", TOLD)
        await cache.flush()
        cache.store(KEY, b"new", evolve(TOLD, hops=1))
        cache.drop(other)
        cache.drop(Key("node", "never there"))

    assert (await reopened()).records == (a_record(KEY, b"new", evolve(TOLD, hops=1)),)


async def test_what_was_dropped_and_stored_again_is_there(path, reopened):
    async with open_peer_cache(path) as cache:
        cache.store(KEY, b"old", TOLD)
        cache.drop(KEY)
        cache.store(KEY, b"new", TOLD)

    assert (await reopened()).records == (a_record(KEY, b"new"),)


async def test_a_candidate_and_a_fact_can_be_forgotten(filled, reopened):
    async with open_peer_cache(filled) as cache:
        cache.drop_candidate(SOME.candidates[0])
        cache.drop_fact("floor")

    found = await reopened()
    assert found.candidates == SOME.candidates[1:]
    assert found.facts == ()


# -- when --
def on_disk(path, table="records"):
    """How many rows anybody can see in the file now."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    finally:
        connection.close()


async def test_changes_are_written_together_after_a_fifth_of_a_second(
    path, alarms, autojump_clock
):
    works = []

    async def counted(work):
        works.append(work)
        return await in_place(work)

    async with alarms.open(path, counted) as cache:
        before = len(works)
        for number in range(100):
            cache.store(Key("node", f"n{number % 50}"), b"x", TOLD)
        await trio.sleep(BATCH_EVERY * 0.9)
        assert on_disk(path) == 0
        await trio.sleep(BATCH_EVERY * 0.2)
        assert on_disk(path) == 50
        assert len(works) - before == 1


async def test_what_was_seen_of_peers_waits_for_half_a_minute(path, alarms, autojump_clock):
    async with alarms.open(path) as cache:
        cache.note_peer(SOME.peers[0])
        await trio.sleep(SEEN_EVERY * 0.9)
        assert on_disk(path, "peers") == 0
        await trio.sleep(SEEN_EVERY * 0.2)
        assert on_disk(path, "peers") == 1


async def test_what_was_seen_of_peers_goes_with_the_next_batch(path, alarms, autojump_clock):
    async with alarms.open(path) as cache:
        cache.note_peer(SOME.peers[0])
        await trio.sleep(1)
        cache.store(KEY, b"x", TOLD)
        await trio.sleep(BATCH_EVERY * 1.1)
        assert on_disk(path, "peers") == 1


async def test_an_idle_cache_leaves_the_disk_alone(path, alarms, autojump_clock):
    async def counted(work):
        counted.works += 1
        return await in_place(work)

    counted.works = 0
    async with alarms.open(path, counted):
        before = counted.works
        await trio.sleep(3600)
        assert counted.works == before


async def test_flush_returns_when_the_file_has_everything(path, alarms, autojump_clock):
    async with alarms.open(path) as cache:
        fill(cache)
        assert await cache.flush()
        assert (on_disk(path), on_disk(path, "peers")) == (2, 1)


async def test_the_last_batch_is_written_at_the_end_even_of_one_cancelled(path, alarms, reopened):
    with trio.CancelScope() as scope:
        async with alarms.open(path) as cache:
            fill(cache)
            scope.cancel()
            await trio.sleep_forever()

    assert await reopened() == SOME


async def test_a_batch_that_was_cancelled_half_way_is_written_again(path, alarms, reopened):
    hangs = False

    async def run(work):
        if hangs:
            await trio.sleep_forever()
        return await in_place(work)

    async with alarms.open(path, run) as cache:
        fill(cache)
        hangs = True
        with trio.move_on_after(0.05):
            await cache.flush()
        hangs = False

    assert await reopened() == SOME


async def test_a_disk_that_hangs_keeps_nobody_from_storing_or_from_ending(
    path, alarms, autojump_clock
):
    hangs = False

    async def run(work):
        if hangs:
            await trio.sleep_forever()
        return await in_place(work)

    async with alarms.open(path, run) as cache:
        hangs = True
        fill(cache)
        await trio.sleep(1)
        fill(cache)
        ended = trio.current_time()
    assert trio.current_time() - ended == pytest.approx(END_WITHIN, abs=0.01)
    cache._disk.close()  # as the end of the process would


# -- how much --
async def test_what_a_peer_can_fill_is_bounded_and_the_oldest_go(path, reopened):
    peers = [KnownPeer(NodeId(f"peer-{n}"), at=float(n)) for n in range(MOST_PEERS + 10)]
    one = [KnownCandidate(NodeId("one"), f"10.0.0.{n}:1", at=float(n)) for n in range(30)]
    two = KnownCandidate(NodeId("two"), "10.1.0.0:1")
    async with open_peer_cache(path) as cache:
        for peer in peers:
            cache.note_peer(peer)
        for candidate in (two, *one):
            cache.note_candidate(candidate)

    found = await reopened()
    assert {peer.at for peer in found.peers} == {peer.at for peer in peers[10:]}
    assert set(found.candidates) == {two, *one[-MOST_CANDIDATES:]}


def test_what_is_no_item_is_refused_before_it_reaches_the_disk():
    for wrong in ({"packed": b""}, {"packed": bytes(73 << 10)}, {"hops": -1}, {"hops": True}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            evolve(SOME.records[0], **wrong)
    for wrong in ({"at": float("nan")}, {"rtt": "1"}, {"state": "x" * 65}, {"peer": "\ud800"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            evolve(SOME.peers[0], **wrong)


async def test_ten_thousand_records_are_read_in_less_than_half_a_second(path):
    async with open_peer_cache(path) as cache:
        for number in range(10_000):
            cache.store(Key("node", f"node-{number:05}"), os.urandom(700), TOLD)
        assert await cache.flush()
    drop_from_page_cache(path)

    started = time.process_time()  # of all threads; what others do here does not count
    async with open_peer_cache(path) as cache:
        found = await cache.load()
        took = time.process_time() - started
    assert len(found.records) == 10_000
    assert took < 0.5


def drop_from_page_cache(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# -- whose --
async def test_the_files_are_for_their_owner_alone(path):
    before = os.umask(0)
    try:
        async with open_peer_cache(path) as cache:
            fill(cache)
            await cache.flush()
            modes = {
                each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()
            }
    finally:
        os.umask(before)
    assert set(modes) >= {"peer-cache.db", "peer-cache.db-wal", "peer-cache.db-shm"}
    assert set(modes.values()) == {0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def test_a_file_that_others_could_read_is_made_private(filled):
    filled.chmod(0o644)
    async with open_peer_cache(filled):
        assert stat.S_IMODE(filled.stat().st_mode) == 0o600


async def test_a_second_opener_is_told_whose_folder_it_is(filled, alarms, reopened):
    async with alarms.open(filled):
        with pytest.raises(ConfigError, match="another process uses this state folder"):
            async with alarms.open(filled):
                pytest.fail("opened twice")

    assert alarms.raised == []
    assert await reopened() == SOME


async def test_a_copy_of_the_folder_is_a_cache_of_its_own(filled, reopened, tmp_path):
    async with open_peer_cache(filled) as cache:
        cache.store(Key("node", "two"), b"in the log", TOLD)
        await cache.flush()
        copied = shutil.copytree(filled.parent, tmp_path / "copy") / filled.name
        found = await reopened(copied)
    assert [record.packed for record in found.records] == [b"endpoint", b"packed", b"in the log"]


async def test_a_holder_is_asked_for_nothing_on_a_healthy_disk(path, alarms, autojump_clock):
    class Silent(Holding):
        def everything(self):
            pytest.fail("asked")

    async with alarms.open(path) as cache:
        await cache.load()
        cache.held_by(Silent())
        fill(cache)
        await trio.sleep(100)
