"""Sources of forgeries: heard a while, then no more; the peer, wherever it is, always."""

from __future__ import annotations

import random

import pytest
import trio

from fabric.testing.network import Network
from fabric.testing.quic import open_pair, open_streams, read_all
from fabric.trio_quic import Settings
from fabric.trio_quic._native import Engine
from fabric.trio_quic.doubts import MOST_SOURCES, PERIOD, Doubts

NEAR, STRANGER = ("10.0.0.9", 1000), ("10.6.6.6", 666)
HERE, THERE = ("192.0.2.1", 1), ("192.0.2.2", 2)


def test_a_source_is_tried_so_often_and_then_no_more_until_the_period_is_over():
    doubts = Doubts(most=3)
    for _ in range(3):
        assert not doubts.holds(HERE, 10.0)
        doubts.note(HERE, 1)
    assert doubts.holds(HERE, 10.5)
    assert not doubts.holds(THERE, 10.5)
    assert not doubts.holds(HERE, 10.0 + PERIOD)


def test_a_run_counts_as_many_as_it_holds():
    doubts = Doubts(most=3)
    doubts.holds(HERE, 10.0)
    doubts.note(HERE, 3)
    assert doubts.holds(HERE, 10.0)


def test_nothing_is_doubted_where_that_is_turned_off():
    doubts = Doubts(most=0)
    doubts.note(HERE, 1000)
    assert not doubts.holds(HERE, 0.5)


def test_sources_are_counted_up_to_a_bound():
    doubts = Doubts(most=1)
    doubts.holds(HERE, 10.0)
    for port in range(2 * MOST_SOURCES):
        doubts.note(("192.0.2.3", port), 1)
    assert len(doubts._counts) == MOST_SOURCES


class Eavesdropper:
    """Hears what the dialler of a pair sends, and sends changed copies from elsewhere."""

    def __init__(self, network):
        self._mouth = network.transport(STRANGER)
        self._chance = random.Random(1)
        self.heard = []
        network.observers.append(self._overhear)

    def _overhear(self, datagram, source, to):
        if source[0] == NEAR[0] and len(datagram) > 60:
            self.heard.append((datagram, to))

    def send(self, count):
        for _ in range(count):
            datagram, to = self._chance.choice(self.heard[-50:])
            copy = bytearray(datagram)
            copy[self._chance.randrange(20, len(copy))] ^= 1
            self._mouth.send([bytes(copy)], to)


def counted(monkeypatch, connection):
    """Return a list that grows by one with each buffer that *connection*'s engine is fed."""
    fed, feed = [], Engine.feed

    def feeding(engine, *arguments):
        if engine is connection.engine:
            fed.append(arguments)
        return feed(engine, *arguments)

    monkeypatch.setattr(Engine, "feed", feeding)
    return fed


@pytest.mark.parametrize(("most", "tried"), [(100, 100), (0, 1000)])
async def test_forged_copies_from_elsewhere_are_tried_a_hundred_times_a_second(
    autojump_clock, monkeypatch, most, tried
):
    network = Network()
    settings = Settings(doubtful_per_second=most)
    transport = network.transport(NEAR)
    async with open_pair(network=network, dialling_on=transport, settings=settings) as pair:
        eavesdropper = Eavesdropper(network)
        near, far = await open_streams(pair)
        await near.send_all(bytes(50_000))
        await trio.sleep(3)
        received = pair.accepting.counters.datagrams_received
        fed = counted(monkeypatch, pair.acceptor)
        eavesdropper.send(1000)
        await trio.sleep(0.5)
        assert pair.accepting.counters.datagrams_received >= received + 1000
        assert tried <= len(fed) <= tried + 5  # its own acknowledgements are among them
        assert pair.accepting.counters.doubted == 1000 - tried
        monkeypatch.undo()
        assert far.unread == 50_000


async def test_a_peer_that_moves_amid_forgeries_is_followed(autojump_clock):
    network = Network()
    transport = network.transport(NEAR)
    payload = random.Random(2).randbytes(300_000)
    async with open_pair(network=network, dialling_on=transport) as pair:
        eavesdropper = Eavesdropper(network)
        near, far = await open_streams(pair)
        await near.send_all(bytes(10_000))
        assert len(await far.receive_some()) > 0

        async def forge():
            while True:
                eavesdropper.send(100)
                await trio.sleep(0.005)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(forge)
            await trio.sleep(0.2)
            transport.rebind((NEAR[0], 2000))
            nursery.start_soon(near.send_all_eof, payload)
            with trio.fail_after(10):
                assert (await read_all(far)).endswith(payload)
            nursery.cancel_scope.cancel()
        assert pair.acceptor.peer == (NEAR[0], 2000)
        assert pair.accepting.counters.doubted > 1000
