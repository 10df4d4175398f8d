"""Sequences of a node's own records: never the same twice, whatever happened to the disk."""

from __future__ import annotations

import json
import os

import trio

from fabric.codes import Code
from fabric.store import sequences
from fabric.store.peer_cache import RETRY_EVERY
from fabric.store.sequences import HIGHEST, Sequences


async def test_a_sequence_is_on_the_disk_when_it_is_handed_out(path, alarms):
    async with alarms.open(path) as cache:
        number = await cache.claim_sequence("offers", 1_000.9)
        assert number == 1_001
        assert json.loads((path.parent / "sequences.json").read_text()) == {"offers": 1_001}


async def test_sequences_rise_by_kind_and_over_restarts_even_when_the_clock_goes_back(
    path, alarms
):
    async with alarms.open(path) as cache:
        assert await cache.claim_sequence("offers", 1_000) == 1_001
        assert await cache.claim_sequence("offers", 1_000) == 1_002
        assert await cache.claim_sequence("endpoint", 10) == 11
    async with alarms.open(path) as cache:
        assert await cache.claim_sequence("offers", 500) == 1_003
        assert await cache.claim_sequence("offers", 5_000) == 5_001


async def test_an_own_word_heard_again_is_answered_with_a_higher_one(path, alarms):
    async with alarms.open(path) as cache:
        assert await cache.claim_sequence("offers", 1_000, above=9_000) == 9_001
        assert await cache.claim_sequence("offers", 1_000, above=5) == 9_002


async def test_two_claims_at_once_get_two_numbers(path, alarms):
    claimed = []

    async def claim():
        claimed.append(await cache.claim_sequence("offers", 1_000))

    async with alarms.open(path) as cache, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(claim)
    assert sorted(claimed) == [1_001, 1_002, 1_003, 1_004, 1_005]


async def test_a_disk_that_takes_no_writes_keeps_no_node_from_speaking(
    path, alarms, monkeypatch, autojump_clock
):
    async with alarms.open(path) as cache:
        with monkeypatch.context() as patch:

            def full(descriptor):
                raise OSError(28, "No space left on device")

            patch.setattr(os, "fsync", full)
            assert await cache.claim_sequence("offers", 1_000) == 1_001
            assert await cache.claim_sequence("offers", 1_000) == 1_002
            assert alarms.codes == [Code.CACHE_FAILING]
            assert not (path.parent / "sequences.json").exists()
        await trio.sleep(RETRY_EVERY * 1.1)
        assert alarms.cleared == [Code.CACHE_FAILING]
        assert json.loads((path.parent / "sequences.json").read_text()) == {"offers": 1_002}


async def test_a_damaged_document_is_put_aside_and_sequences_go_on_from_the_clock(path, alarms):
    path.parent.mkdir(mode=0o700)
    document = path.parent / "sequences.json"
    for damaged in (b"{", b"[]", b'{"offers": true}', b'{"offers": -1}', b"[" * 100_000, b"\xff"):
        alarms.raised.clear()
        document.write_bytes(damaged)
        async with alarms.open(path) as cache:
            assert alarms.codes == [Code.CACHE_MOVED_ASIDE]
            assert await cache.claim_sequence("offers", 1_000) == 1_001


def test_a_document_that_could_not_be_read_at_first_still_counts(tmp_path, monkeypatch):
    path = tmp_path / "sequences.json"
    path.write_text('{"offers": 5000}')
    own = Sequences(path)
    assert own.claim("offers", 1_000) == 1_001
    own.read()
    assert own.claim("offers", 1_000) == 5_001
    own.write()
    assert json.loads(path.read_text()) == {"offers": 5_001}


def test_no_sequence_is_higher_than_a_record_can_bear():
    assert Sequences(None).claim("offers", 0, above=HIGHEST) == HIGHEST
    assert sequences.HIGHEST == 2**53 - 1
