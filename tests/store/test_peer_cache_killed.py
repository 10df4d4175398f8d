"""SIGKILL at any moment: the file is sound, batches are whole, and what was confirmed is there."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest
import trio

from fabric.store.aside import all_aside
from fabric.store.peer_cache import open_peer_cache

pytestmark = pytest.mark.slow

KILLS = 60
KEYS = 40
"""Written together each round."""

WRITER = f"""
import sys
from pathlib import Path
import structlog, trio
from fabric.core.records import Key
from fabric.store.kept import StoredRecord
from fabric.store.peer_cache import open_peer_cache

structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

async def main(path, round):
    print("opening", flush=True)
    async with open_peer_cache(path) as cache:
        await cache.load()
        while True:
            round += 1
            how = StoredRecord("node", "x", b"x", at=float(round))
            for number in range({KEYS}):
                cache.store(Key("node", f"n{{number}}"), b"%d " % round * (number * 20 + 1), how)
            cache.drop(Key("node", f"dropped-{{round - 1}}"))
            cache.store(Key("node", f"dropped-{{round}}"), b"x", how)
            sequence = await cache.claim_sequence("offers", round)
            assert await cache.flush()
            print(round, sequence, flush=True)

trio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
"""


@contextmanager
def a_writer(path, last_round):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(last_round)], stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def killed_after(path, last_round, *, lines, delay):
    """Kill a writer *delay* seconds after it has said so many lines; return what it said."""
    with a_writer(path, last_round) as process:
        said = [process.stdout.readline() for _ in range(lines)]
        trio.run(trio.sleep, delay)
        process.kill()
        said += process.stdout.read().splitlines(keepends=True)
        assert process.wait() == -signal.SIGKILL
    return [tuple(map(int, line.split())) for line in said[1:] if line.endswith(b"\n")]


async def read(path):
    async with open_peer_cache(path) as cache:
        found = await cache.load()
        return found, await cache.claim_sequence("offers", 0)


def rounds_of(found):
    """The rounds that the records on the disk are of, each looked at closely."""
    for record in found.records:
        if not record.subject.startswith("dropped"):
            size = int(record.subject[1:]) * 20 + 1
            assert record.packed == b"%d " % int(record.at) * size
    return {int(record.at) for record in found.records}


def test_a_killed_writer_leaves_a_sound_file_with_all_that_was_confirmed(path):
    rng = random.Random(7)
    confirmed, highest, kills_while_opening = 0, 0, 0
    for number in range(KILLS):
        is_early = number % 3 == 0
        delay = rng.uniform(0, 0.03) if is_early else rng.uniform(0, 0.15)
        said = killed_after(path, confirmed, lines=1 if is_early else 2, delay=delay)
        kills_while_opening += not said
        confirmed = max([confirmed, *(each[0] for each in said)])
        highest = max([highest, *(each[1] for each in said)])

        found, sequence = trio.run(read, path)
        assert sequence > highest
        highest = sequence
        assert not all_aside(path)
        rounds = rounds_of(found)
        if confirmed:
            assert len(rounds) == 1, "a batch is whole or not there"
            assert len(found.records) == KEYS + 1
            assert rounds.pop() >= confirmed
            confirmed = int(found.records[0].at)
    assert confirmed > KILLS
    assert 0 < kills_while_opening < KILLS


async def test_a_killed_owner_leaves_the_folder_to_the_next_one(path):
    with a_writer(path, 0) as process:
        assert process.stdout.readline() == b"opening\n"
        assert process.stdout.readline()
        process.kill()
        process.wait()
        async with open_peer_cache(path) as cache:
            assert len((await cache.load()).records) == KEYS + 1
