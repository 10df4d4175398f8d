"""What a cache is filled with, and what it says of itself."""

from __future__ import annotations

import pytest
from attrs import evolve, frozen

from fabric.core.identity import NodeId
from fabric.core.records import Key
from fabric.store.database import Database
from fabric.store.kept import (
    Fact,
    KnownCandidate,
    KnownPeer,
    Seed,
    Snapshot,
    StoredRecord,
    StoredRoot,
)
from fabric.store.peer_cache import open_peer_cache
from fabric.testing.disk import in_place

PEER = NodeId("peer-1")


@frozen
class Told:
    """How a record came."""

    from_peer: NodeId | None = PEER
    hops: int = 2
    age: float = 0.25
    wave_id: bytes = b"wave-id."
    at: float = 1_000.5


TOLD = Told()
KEY = Key("node", "one")


def a_record(key=KEY, packed=b"packed", told=TOLD):
    return StoredRecord(*key, packed, told.from_peer, told.hops, told.age, told.wave_id, told.at)


SOME = Snapshot(
    records=(
        a_record(Key("endpoint", "one"), b"endpoint"),
        a_record(told=evolve(TOLD, from_peer=None)),
    ),
    roots=(StoredRoot(1, b"first"), StoredRoot(2, b"second")),
    peers=(KnownPeer(PEER, "192.0.2.1:4433", 0.02, "alive", 7, 1_000.0),),
    candidates=(
        KnownCandidate(PEER, "192.0.2.1:4433", "observed", 999.0, None, 1_000.0),
        KnownCandidate(PEER, "[2001:db8::1]:4433", "", None, 998.0, 999.5),
    ),
    seeds=(Seed("seed.example:4433", 1_000.0),),
    facts=(Fact("floor", b"\x00\xff"),),
)
"""One of everything, sorted as it is read."""


def fill(cache, snapshot=SOME):
    """Say everything in *snapshot* to *cache*."""
    for record in snapshot.records:
        cache.store(record.key, record.packed, record)
    for root in snapshot.roots:
        cache.store_root(root.version, root.packed)
    for peer in snapshot.peers:
        cache.note_peer(peer)
    for candidate in snapshot.candidates:
        cache.note_candidate(candidate)
    for seed in snapshot.seeds:
        cache.note_seeds([seed.address], seed.at)
    for fact in snapshot.facts:
        cache.note_fact(fact.name, fact.value)


class Holding:
    """A holder: what it holds, and what was handed to it."""

    def __init__(self, held=SOME):
        self.held = held
        self.taken = []

    def everything(self):
        return self.held

    def take(self, found):
        self.taken.append(found)


class Alarms:
    """What a cache raised, and whether it said that it is over."""

    def __init__(self):
        self.raised = []
        self.cleared = []

    @property
    def codes(self):
        return [code for code, _detail in self.raised]

    def open(self, path, run_blocking=in_place):
        return open_peer_cache(
            path,
            run_blocking=run_blocking,
            on_alarm=lambda code, detail: self.raised.append((code, detail)),
            on_clear=self.cleared.append,
        )


@pytest.fixture
def alarms():
    return Alarms()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "peer-cache.db"


@pytest.fixture
def reopened(path, alarms):
    """Return `await reopened()`: what a cache reads at the next start."""

    async def reopen(path=path):
        async with alarms.open(path) as cache:
            return await cache.load()

    return reopen


@pytest.fixture
def filled(path):
    """The path of a cache that holds SOME, and is closed."""
    made = Database.open(path)
    made.write({}, whole=SOME)
    made.close()
    return path
