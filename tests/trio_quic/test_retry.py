"""Retry: addresses are proved before they cost anything; a flood keeps no honest dialler out."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager

import pytest
import trio
from aioquic._buffer import Buffer
from aioquic.quic.packet import pull_quic_header

from fabric.testing.hostile import an_honest_hello, hello_datagrams
from fabric.testing.quic import an_identity
from fabric.trio_quic import HandshakeTimeout, Settings, open_endpoint, open_endpoint_on
from fabric.trio_quic.tokens import TOKEN_LIFE

ALWAYS = Settings(retry_rate=0)
"""Every stranger is asked to prove its address."""

STRANGER = ("198.51.100.9", 4000)
LOCAL_STRANGER = ("127.0.0.9", 4000)


class Caller:
    """Someone at an address who sends hellos by hand."""

    def __init__(self, network, to, address=STRANGER, seed=7):
        self.transport = network.transport(address)
        self.to = to
        self.hello = an_honest_hello(an_identity(seed).identity)

    def call(self, *, token=b"", to_cid=None):
        message, source_cid = self.hello.message, self.hello.source_cid
        datagrams = hello_datagrams(message, source_cid=source_cid, to=to_cid, token=token)
        self.transport.send(datagrams, self.to)

    async def answer(self):
        """Return the next answer's header."""
        while (got := self.transport.receive()) is None:
            await self.transport.wait_readable()
        return pull_quic_header(Buffer(data=got[0]), host_cid_length=8)

    async def token(self):
        """Ask, and return the Retry's token and the connection ID to use it with."""
        self.call()
        header = await self.answer()
        assert header.packet_type.name == "RETRY"
        return header.token, header.source_cid


@asynccontextmanager
async def open_acceptor(network, settings):
    async with open_endpoint_on(
        network.transport(), identity=an_identity(2).identity, settings=settings
    ) as endpoint:
        yield endpoint


@asynccontextmanager
async def open_dialler(network, *, address=None):
    async with open_endpoint_on(
        network.transport(address), identity=an_identity(1).identity
    ) as endpoint:
        yield endpoint


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_dialler_answers_retry_and_gets_in(host, dials, accepts):
    async with (
        open_endpoint(host, 0, identity=accepts.identity, settings=ALWAYS) as accepting,
        open_endpoint(host, 0, identity=dials.identity) as dialling,
    ):
        dialler = await dialling.connect(accepting.address, pin=accepts.public)
        acceptor = await accepting.accept()
        acceptor.admit()
        near = await dialler.open_stream()
        await near.send_all_eof(b"after a Retry")
        far = await acceptor.accept_stream()
        assert await far.receive_some() == b"after a Retry"
        assert accepting.counters.retries_sent > 0
        assert accepting.strangers.unadmitted == 0


async def test_a_retry_makes_no_connection(network, autojump_clock):
    async with open_acceptor(network, ALWAYS) as accepting:
        caller = Caller(network, accepting.address)
        await caller.token()
        assert not accepting.connections
        assert accepting.strangers.handshaking == 0


async def test_a_retry_is_smaller_than_what_it_answers(network, autojump_clock):
    sizes = []
    async with open_acceptor(network, ALWAYS) as accepting:
        network.observers.append(
            lambda datagram, source, _to: sizes.append((source, len(datagram)))
        )
        await Caller(network, accepting.address).token()
        answered = [size for source, size in sizes if source == accepting.address]
        assert answered[0] < 120


async def test_a_token_begins_a_connection_from_its_own_address(network, autojump_clock):
    async with open_acceptor(network, ALWAYS) as accepting:
        caller = Caller(network, accepting.address)
        token, cid = await caller.token()
        caller.call(token=token, to_cid=cid)
        await trio.sleep(0.1)
        assert len(accepting.connections) == 1
        (connection,) = accepting.connections
        assert connection.remote_address == STRANGER


@pytest.mark.parametrize("elsewhere", [("198.51.100.10", 4000), ("198.51.100.9", 4001)])
async def test_a_token_of_another_address_begins_nothing(network, autojump_clock, elsewhere):
    async with open_acceptor(network, ALWAYS) as accepting:
        token, cid = await Caller(network, accepting.address).token()
        thief = Caller(network, accepting.address, elsewhere)
        thief.call(token=token, to_cid=cid)
        assert (await thief.answer()).packet_type.name == "RETRY"
        assert not accepting.connections


async def test_an_expired_token_begins_nothing(network, autojump_clock):
    async with open_acceptor(network, ALWAYS) as accepting:
        caller = Caller(network, accepting.address)
        token, cid = await caller.token()
        await trio.sleep(TOKEN_LIFE)
        while caller.transport.receive():
            pass
        caller.call(token=token, to_cid=cid)
        assert (await caller.answer()).packet_type.name == "RETRY"
        assert not accepting.connections


@pytest.mark.parametrize("at", [0, 7, 8, 15, 16, 31])
async def test_an_altered_token_begins_nothing(network, autojump_clock, at):
    async with open_acceptor(network, ALWAYS) as accepting:
        caller = Caller(network, accepting.address)
        token, cid = await caller.token()
        altered = token[:at] + bytes([token[at] ^ 1]) + token[at + 1 :]
        caller.call(token=altered, to_cid=cid)
        await trio.sleep(0.1)
        assert not accepting.connections


async def test_a_token_for_another_connection_id_begins_nothing(network, autojump_clock):
    async with open_acceptor(network, ALWAYS) as accepting:
        caller = Caller(network, accepting.address)
        token, _cid = await caller.token()
        caller.call(token=token, to_cid=os.urandom(8))
        await trio.sleep(0.1)
        assert not accepting.connections


async def flood(network, to, count, *, address=LOCAL_STRANGER, per_second=5_000):
    """Send the first datagrams of *count* hellos, evenly, from one address."""
    hello = an_honest_hello(an_identity(7).identity)
    for number in range(count):
        datagram = hello_datagrams(hello.message, source_cid=hello.source_cid)[0]
        network.send(datagram, address, to)
        if number % 50 == 49:
            await trio.sleep(50 / per_second)


async def test_an_honest_dialler_gets_in_beside_5000_hellos_from_one_address(
    network, autojump_clock, accepts
):
    half_open = []
    async with (
        open_acceptor(network, Settings()) as accepting,
        open_dialler(network) as dialling,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(flood, network, accepting.address, 5_000)
        await trio.sleep(0.5)
        dialler = await dialling.connect(accepting.address, pin=accepts.public, timeout=1.0)
        half_open.append(len(accepting.connections))
        await trio.sleep(1.0)
        half_open.append(len(accepting.connections))
        assert dialler.closed is None
        assert max(half_open) <= Settings().retry_above + 3
        assert accepting.counters.retries_sent > 4_800
        await trio.sleep(Settings().handshake_timeout)
        assert len(accepting.connections) <= 1
        assert accepting.strangers.handshaking == 0


async def test_the_cap_bounds_half_open_connections_where_retry_is_off(network, autojump_clock):
    settings = Settings(retry_above=0, stranger_cap=100)
    async with open_acceptor(network, settings) as accepting:
        await flood(network, accepting.address, 400)
        await trio.sleep(0.1)
        assert len(accepting.connections) == 100
        assert accepting.counters.strangers_dropped == 300


async def test_without_retry_and_cap_every_hello_stays(network, autojump_clock):
    """The two guards are what bounds a flood: nothing else does."""
    settings = Settings(retry_above=0, stranger_cap=0)
    async with open_acceptor(network, settings) as accepting:
        await flood(network, accepting.address, 400)
        await trio.sleep(0.1)
        assert len(accepting.connections) == 400


async def test_one_prefix_may_hold_8_half_open_connections(network, autojump_clock, accepts):
    async with (
        open_acceptor(network, Settings()) as accepting,
        open_dialler(network, address=("198.51.100.9", 5000)) as same,
        open_dialler(network, address=("198.51.100.10", 5000)) as other,
    ):
        await flood(network, accepting.address, 20, address=STRANGER)
        await trio.sleep(0.1)
        assert len(accepting.connections) == 8
        with pytest.raises(HandshakeTimeout):
            await same.connect(accepting.address, pin=accepts.public, timeout=2.0)
        await other.connect(accepting.address, pin=accepts.public, timeout=1.0)


async def test_a_known_address_gets_in_when_strangers_fill_the_cap(
    network, autojump_clock, accepts
):
    settings = Settings(stranger_cap=10, retry_above=0)
    known = ("203.0.113.5", 4433)
    async with (
        open_acceptor(network, settings) as accepting,
        open_dialler(network, address=known) as peer,
        open_dialler(network) as nobody,
    ):
        accepting.exempt = lambda address: address == known
        await flood(network, accepting.address, 50)
        with pytest.raises(HandshakeTimeout):
            await nobody.connect(accepting.address, pin=accepts.public, timeout=1.0)
        await peer.connect(accepting.address, pin=accepts.public, timeout=1.0)
        assert accepting.strangers.known == 1


async def test_a_known_address_is_spared_retry(network, autojump_clock, accepts):
    known = ("203.0.113.5", 4433)
    async with (
        open_acceptor(network, ALWAYS) as accepting,
        open_dialler(network, address=known) as peer,
    ):
        accepting.exempt = lambda address: address == known
        await peer.connect(accepting.address, pin=accepts.public)
        assert accepting.counters.retries_sent == 0


async def test_an_unproven_address_gets_at_most_three_times_what_it_sent(network, autojump_clock):
    async with open_acceptor(network, Settings()) as accepting:
        sent = {}

        def watch(datagram, source, _to):
            sent[source] = sent.get(source, 0) + len(datagram)

        network.observers.append(watch)
        Caller(network, accepting.address).call()
        await trio.sleep(30)
        assert sent[STRANGER] == 2_400
        assert 1_200 < sent[accepting.address] <= 3 * sent[STRANGER]
        assert not accepting.connections
