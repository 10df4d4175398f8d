"""A cache of no use: put aside with an error, an empty one in its place, and the node goes on."""

from __future__ import annotations

import os
import shutil
import sqlite3

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fabric.codes import Code
from fabric.core.records import Key
from fabric.store.aside import MOST_ASIDE, all_aside, put_aside
from fabric.store.kept import Snapshot
from fabric.store.tables import FORMAT
from tests.store.conftest import KEY, SOME, TOLD, Alarms, Holding, a_record, fill


def statement(sql):
    def spoil(path):
        connection = sqlite3.connect(path)
        connection.execute(sql)
        connection.commit()
        connection.close()

    return spoil


def written(offset, data):
    def spoil(path):
        with open(path, "r+b") as file:
            file.seek(offset)
            file.write(data)

    return spoil


def replaced(old, new):
    def spoil(path):
        before = path.read_bytes()
        assert before.count(old) == 1
        path.write_bytes(before.replace(old, new))

    return spoil


def something_else(path):
    path.unlink()
    statement("CREATE TABLE recipes (name)")(path)


SPOILT = {
    "no database": lambda path: path.write_bytes(b"never a database, " * 100),
    "cut off": lambda path: os.truncate(path, 4096 + 100),
    "zeros in its middle": written(4096, bytes(3 * 4096)),
    "noise in its middle": written(2 * 4096, b"\xa5" * 4096),
    "noise in its schema": replaced(b"CREATE TABLE seeds", b"CREATE T\x80BLE seeds"),
    "an index of something else": replaced(b"nodeone\x02", b"nodetwo\x02"),
    "of a later release": statement(f"PRAGMA user_version = {FORMAT + 1}"),
    "a database of something else": something_else,
    "without a table": statement("DROP TABLE peers"),
    "without a column": statement("ALTER TABLE seeds DROP COLUMN at"),
    "a number for a kind": statement("UPDATE records SET kind = 7 WHERE kind = 'node'"),
    "nothing for a record": statement("UPDATE records SET packed = x''"),
    "text that is none": statement(
        "UPDATE records SET kind = CAST(x'ff' AS TEXT) WHERE kind = 'node'"
    ),
}


@pytest.mark.parametrize("how", SPOILT)
async def test_a_useless_file_is_put_aside_and_an_empty_one_made(how, filled, alarms, reopened):
    SPOILT[how](filled)
    spoilt = filled.read_bytes()

    async with alarms.open(filled) as cache:
        assert await cache.load() == Snapshot()
        [aside] = all_aside(filled)
        assert aside.read_bytes() == spoilt
        [(code, detail)] = alarms.raised
        assert code is Code.CACHE_MOVED_ASIDE
        assert str(aside) in detail
        fill(cache)

    assert await reopened() == SOME
    assert alarms.codes == [Code.CACHE_MOVED_ASIDE]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_keeps_a_node_from_starting(filled, tmp_path, data):
    spoilt = bytearray(filled.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(spoilt) - 1))
        noise = data.draw(st.binary(min_size=1, max_size=64))
        spoilt[where : where + len(noise)] = noise
    path = tmp_path / "spoilt" / "peer-cache.db"
    shutil.rmtree(path.parent, ignore_errors=True)
    path.parent.mkdir()
    path.write_bytes(spoilt)

    async def start():
        async with Alarms().open(path) as cache:
            await cache.load()
            cache.store(KEY, b"after", TOLD)
            assert await cache.flush()

        async with Alarms().open(path) as cache:
            assert a_record(KEY, b"after") in (await cache.load()).records

    trio.run(start)


async def test_the_log_of_a_useless_file_goes_with_it(filled, alarms, tmp_path):
    async with alarms.open(filled) as cache:
        cache.store(Key("node", "two"), b"in the log", TOLD)
        await cache.flush()
        copied = shutil.copytree(filled.parent, tmp_path / "copy") / filled.name
    copied.write_bytes(b"never a database, " * 100)

    async with alarms.open(copied) as cache:
        assert await cache.load() == Snapshot()
    [aside] = all_aside(copied)
    assert aside.with_name(f"{aside.name}-wal").stat().st_size


def test_three_files_stay_aside_and_what_lay_beside_older_ones_goes_too(tmp_path):
    path = tmp_path / "peer-cache.db"
    for number in range(MOST_ASIDE + 2):
        path.write_text(str(number))
        path.with_name("peer-cache.db-wal").write_text("log")
        put_aside(path)
    (tmp_path / "peer-cache.db.aside-note").touch()

    assert [aside.read_text() for aside in all_aside(path)] == ["2", "3", "4"]
    assert len(list(tmp_path.iterdir())) == 2 * MOST_ASIDE + 1


# -- while it is open --
MANY = Snapshot(records=tuple(a_record(Key("node", f"n{n:03}"), bytes(900)) for n in range(900)))
"""More than is held in memory, so that it has to be read from the file."""


async def test_damage_met_later_costs_nothing_that_is_held(path, alarms, reopened, autojump_clock):
    async with alarms.open(path) as cache:
        fill(cache, MANY)
    async with alarms.open(path) as cache:
        cache.held_by(Holding(MANY))
        await cache.load()
        written(4096, b"\xa5" * (path.stat().st_size - 4096))(path)
        cache.store(Key("node", "n003"), b"new", TOLD)
        await trio.sleep(1)
        assert alarms.codes == [Code.CACHE_MOVED_ASIDE]
        assert cache.failing is None

    found = {record.key: record for record in (await reopened()).records}
    expected = {record.key: record for record in MANY.records}
    expected[Key("node", "n003")] = a_record(Key("node", "n003"), b"new")
    assert found == expected


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
async def test_what_is_removed_under_an_open_cache_is_written_anew(
    folder, filled, alarms, reopened, autojump_clock
):
    async with alarms.open(filled) as cache:
        await cache.load()
        cache.held_by(Holding(SOME))
        if folder:
            shutil.rmtree(filled.parent)
        else:
            filled.unlink()
        cache.store(KEY, b"new", TOLD)
        await trio.sleep(1)
        assert filled.exists()

    found = await reopened()
    assert found.records == (SOME.records[0], a_record(KEY, b"new"))
    assert (found.roots, found.peers, found.seeds) == (SOME.roots, SOME.peers, SOME.seeds)
    assert alarms.raised == []
