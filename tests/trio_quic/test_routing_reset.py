"""Stateless reset: diallers of a restarted acceptor learn at once that it forgot them."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager

import pytest
import trio

from fabric.testing.quic import ACCEPTOR, DIALLER, an_identity
from fabric.trio_quic import ConnectionClosed, codes, open_endpoint_on
from fabric.trio_quic.acceptor import RESETS_PER_SECOND

HERE = ("10.1.0.1", 4433)
KEY = b"kept across restarts".ljust(32)


@asynccontextmanager
async def open_acceptor(network, *, reset_key=KEY):
    async with open_endpoint_on(
        network.transport(HERE), identity=an_identity(ACCEPTOR).identity, reset_key=reset_key
    ) as endpoint:
        yield endpoint


@asynccontextmanager
async def open_dialler(network):
    async with open_endpoint_on(
        network.transport(), identity=an_identity(DIALLER).identity
    ) as endpoint:
        yield endpoint


async def connect_and_kill(network, dialling):
    """Connect, and let the acceptor vanish without a word."""
    async with open_acceptor(network) as accepting:
        dialler = await dialling.connect(HERE, pin=an_identity(ACCEPTOR).public)
        (await accepting.accept()).admit()
        await dialler.ping()
        network.cut(HERE[0], dialling.address[0])
    network.heal()
    return dialler


async def test_a_restarted_acceptor_ends_the_diallers_connection_at_once(autojump_clock, network):
    async with open_dialler(network) as dialling:
        dialler = await connect_and_kill(network, dialling)
        async with open_acceptor(network) as accepting:
            started = trio.current_time()
            with pytest.raises(ConnectionClosed) as caught:
                await dialler.ping()
            assert (caught.value.code, caught.value.by_peer) == (codes.FORGOTTEN, True)
            assert caught.value.reason.startswith("forgotten ")
            assert trio.current_time() - started < 0.1
            assert accepting.counters.resets_sent == 1
        await trio.sleep(10)
        assert not dialling.connections


async def test_a_peer_that_stays_silent_ends_as_idle_not_as_forgotten(autojump_clock, network):
    async with open_dialler(network) as dialling:
        dialler = await connect_and_kill(network, dialling)
        ended = await dialler.wait_closed()
        assert (ended.code, ended.by_peer) == (codes.IDLE_TIMEOUT, False)
        assert ended.reason.startswith("idle_timeout ")


async def test_another_key_ends_nothing(autojump_clock, network):
    async with open_dialler(network) as dialling:
        dialler = await connect_and_kill(network, dialling)
        async with open_acceptor(network, reset_key=os.urandom(32)) as accepting:
            with trio.move_on_after(5):
                await dialler.ping()
            assert dialler.closed is None
            assert accepting.counters.resets_sent > 0


async def test_a_reset_from_elsewhere_ends_the_connection_too(autojump_clock, network):
    """What counts is the token, which only the acceptor can make."""
    async with open_dialler(network) as dialling:
        dialler = await connect_and_kill(network, dialling)
        seen = []
        network.observers.append(lambda datagram, _source, _to: seen.append(datagram))
        dialler.engine.ping(1)
        dialler.touch()
        with trio.move_on_after(1):
            await dialler.wait_closed()
        async with open_acceptor(network) as accepting:
            accepting._acceptor._answer_by_reset(seen[0], dialling.address, trio.current_time())
            with trio.fail_after(1):
                await dialler.wait_closed()


async def noise(network, source, size, count=1):
    heard = []
    network.observers.append(
        lambda datagram, sender, _to: heard.append(len(datagram)) if sender == HERE else None
    )
    for _ in range(count):
        network.send(b"\x41" + os.urandom(size - 1), source, HERE)
    await trio.sleep(0.5)
    return heard


async def test_no_reset_answers_what_is_as_short_as_the_shortest(autojump_clock, network):
    async with open_acceptor(network) as accepting:
        assert await noise(network, ("10.1.0.2", 1), 21) == []
        assert accepting.counters.unknown == 1


@pytest.mark.parametrize("size", [22, 30, 41, 42, 100, 1200])
async def test_a_reset_is_shorter_than_what_it_answers(autojump_clock, network, size):
    async with open_acceptor(network):
        (answer,) = await noise(network, ("10.1.0.2", 1), size)
        assert 21 <= answer < size


async def test_two_endpoints_answer_each_others_resets_by_ever_shorter_ones(
    autojump_clock, network
):
    async with open_acceptor(network), open_dialler(network) as other:
        answers = await noise(network, other.address, 1200)
        assert answers == list(range(41, 20, -2))
        assert other.counters.resets_sent == 10


async def test_resets_are_rate_limited(autojump_clock, network):
    async with open_acceptor(network) as accepting:
        await trio.sleep(0.1)
        heard = await noise(network, ("10.1.0.2", 1), 100, count=500)
        assert len(heard) == accepting.counters.resets_sent == RESETS_PER_SECOND
        assert accepting.counters.unknown == 500


async def test_what_is_shorter_than_any_packet_is_dropped(autojump_clock, network):
    async with open_acceptor(network) as accepting:
        assert await noise(network, ("10.1.0.2", 1), 20) == []
        assert accepting.counters.unknown == 1


async def test_foreign_packets_go_to_their_handler(autojump_clock, network):
    taken = []
    async with open_acceptor(network) as accepting:
        accepting.foreign = lambda datagram, source: taken.append((datagram, source))
        network.send(b"\x01probe", ("10.1.0.2", 1), HERE)
        network.send(b"\x3frelayed", ("10.1.0.3", 2), HERE)
        await trio.sleep(0.1)
    assert taken == [(b"\x01probe", ("10.1.0.2", 1)), (b"\x3frelayed", ("10.1.0.3", 2))]
    assert accepting.counters.foreign == 2
