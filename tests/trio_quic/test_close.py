"""How connections end: by either side, by silence, and before they began."""

from __future__ import annotations

import contextlib

import pytest
import trio

from fabric.testing.network import Network
from fabric.testing.quic import ACCEPTOR, an_identity, open_pair, open_streams, read_all
from fabric.trio_quic import (
    ConnectionClosed,
    HandshakeTimeout,
    Settings,
    codes,
    open_endpoint_on,
)

NEAR, FAR = "10.0.0.2", "10.0.0.1"
"""Hosts of a pair's dialler and acceptor: the acceptor's transport is made first."""


@pytest.mark.parametrize("closer", ["dialler", "acceptor"])
async def test_code_and_reason_reach_the_other_end(autojump_clock, virtual_pair, closer):
    here = getattr(virtual_pair, closer)
    there = virtual_pair.acceptor if here is virtual_pair.dialler else virtual_pair.dialler
    here.close(1234, "went home")
    closed = await there.wait_closed()
    assert (closed.code, closed.reason) == (1234, "went home")
    assert closed.by_peer
    assert not closed.is_transport
    assert not here.closed.by_peer


async def test_every_call_tells_the_same_end(autojump_clock, virtual_pair):
    near, far = await open_streams(virtual_pair)
    virtual_pair.dialler.close(7, "over")
    await virtual_pair.acceptor.wait_closed()
    for connection, stream in ((virtual_pair.dialler, near), (virtual_pair.acceptor, far)):
        calls = [
            connection.open_stream,
            connection.accept_stream,
            connection.accept_unidirectional,
            connection.ping,
            stream.receive_some,
            lambda stream=stream: stream.send_all(b"x"),
        ]
        for call in calls:
            with pytest.raises(ConnectionClosed) as closed:
                await call()
            assert closed.value.code == 7


async def test_those_who_wait_are_woken_by_the_end(autojump_clock, virtual_pair):
    near, _far = await open_streams(virtual_pair)
    woken = []

    async def wait(call):
        with pytest.raises(ConnectionClosed):
            await call()
        woken.append(call)

    async with trio.open_nursery() as nursery:
        connection = virtual_pair.dialler
        for call in (
            connection.accept_stream,
            connection.accept_unidirectional,
            near.receive_some,
        ):
            nursery.start_soon(wait, call)
        await trio.sleep(0.1)
        virtual_pair.acceptor.close()
    assert len(woken) == 3


async def test_what_arrived_before_the_end_can_still_be_read(autojump_clock, virtual_pair):
    near, far = await open_streams(virtual_pair)
    await near.send_all(b"last words")
    await trio.sleep(1)
    virtual_pair.dialler.close()
    await virtual_pair.acceptor.wait_closed()
    assert await far.receive_some() == b"last words"
    with pytest.raises(ConnectionClosed):
        await far.receive_some()


async def test_aclose_waits_until_all_is_delivered(autojump_clock, virtual_pair):
    near, far = await open_streams(virtual_pair)
    payload = bytes(60_000)
    await near.send_all_eof(payload)
    await virtual_pair.dialler.aclose(5, "done", flush_within=10)
    closed = await virtual_pair.acceptor.wait_closed()
    assert closed.code == 5
    assert await read_all(far) == payload


async def test_aclose_waits_no_longer_than_allowed(autojump_clock, network, virtual_pair):
    near, _far = await open_streams(virtual_pair)
    network.cut(NEAR, FAR)
    await near.send_all(b"never to arrive")
    started = trio.current_time()
    await virtual_pair.dialler.aclose(flush_within=2)
    assert trio.current_time() - started == pytest.approx(2, abs=0.1)
    assert virtual_pair.dialler.closed is not None


async def test_a_farewell_is_said_before_an_engine_that_is_late_ends(autojump_clock, virtual_pair):
    """The engine's closing time begins with its last packet: after a pause it is over at once."""
    near, _far = await open_streams(virtual_pair)
    await near.send_all(b"timers are set now")
    autojump_clock.jump(5)  # a process that was stopped: they are due
    virtual_pair.dialling.woken = True  # a busy pass: the pump shall send it, timers first
    virtual_pair.dialler.close(7, "after all")
    with trio.fail_after(1):
        closed = await virtual_pair.acceptor.wait_closed()
    assert (closed.code, closed.reason) == (7, "after all")


async def test_a_dialler_that_closes_at_once_is_understood(autojump_clock, network, dials):
    """Even if its Finished has not left yet: the acceptor could read nothing without it."""
    accepts = an_identity(ACCEPTOR)
    async with (
        open_endpoint_on(network.transport(), identity=accepts.identity) as accepting,
        open_endpoint_on(network.transport(), identity=dials.identity) as dialling,
    ):
        failed = []
        accepting.failed = failed.append

        def keep_busy(datagram, source, to):
            if source == accepting.address and datagram[0] != 1:
                network.send(b"\x01busy", source, to)

        network.observers.append(keep_busy)
        dialling.foreign = lambda *_datagram: setattr(dialling, "woken", True)
        (await dialling.connect(accepting.address, pin=accepts.public)).close(7, "wrong number")
        await trio.sleep(1)
        assert not accepting.connections
        with trio.move_on_after(1):
            failed.append(await accepting.accept())
        assert [(each.closed.code, each.closed.by_peer) for each in failed] == [(7, True)]


async def test_a_closed_connection_is_forgotten_by_both_ends(autojump_clock, virtual_pair):
    virtual_pair.dialler.close()
    await trio.sleep(5)
    assert not virtual_pair.dialling.connections
    assert not virtual_pair.accepting.connections


async def test_leaving_the_endpoint_tells_its_peers(autojump_clock, network, dials):
    accepts = an_identity(ACCEPTOR)
    async with open_endpoint_on(network.transport(), identity=dials.identity) as dialling:
        async with open_endpoint_on(network.transport(), identity=accepts.identity) as accepting:
            connection = await dialling.connect(accepting.address, pin=accepts.public)
        closed = await connection.wait_closed()
    assert (closed.code, closed.by_peer) == (codes.DONE, True)


async def test_keepalive_holds_an_idle_connection(autojump_clock, virtual_pair):
    await trio.sleep(300)
    assert virtual_pair.dialler.closed is None
    assert virtual_pair.acceptor.closed is None
    near, far = await open_streams(virtual_pair)
    await near.send_all(b"still here")
    assert await far.receive_some() == b"still here"


@pytest.mark.parametrize(("ours", "theirs"), [(30.0, 5.0), (5.0, 30.0)])
async def test_the_shorter_idle_timeout_counts(autojump_clock, ours, theirs):
    settings, other = (Settings(idle_timeout=idle, keepalive=0) for idle in (ours, theirs))
    network = Network()
    async with open_pair(network=network, settings=settings, accepting_settings=other) as pair:
        started = trio.current_time()
        for connection in (pair.dialler, pair.acceptor):
            closed = await connection.wait_closed()
            assert closed.code == codes.IDLE_TIMEOUT
            assert not closed.by_peer
        assert trio.current_time() - started == pytest.approx(5, abs=0.5)


async def test_a_killed_peer_is_noticed_within_the_idle_timeout(
    autojump_clock, network, virtual_pair
):
    near, _far = await open_streams(virtual_pair)
    network.cut(NEAR, FAR)
    await near.send_all(b"into the void")
    started = trio.current_time()
    closed = await virtual_pair.dialler.wait_closed()
    assert closed.code == codes.IDLE_TIMEOUT
    assert trio.current_time() - started <= 31


async def test_ping_tells_the_round_trip(autojump_clock, virtual_pair):
    assert await virtual_pair.dialler.ping() == pytest.approx(0.02, abs=0.03)
    assert virtual_pair.dialler.rtt == pytest.approx(0.02, abs=0.02)


async def test_nobody_there_is_a_handshake_timeout(autojump_clock, network, dials):
    async with open_endpoint_on(network.transport(), identity=dials.identity) as dialling:
        with pytest.raises(HandshakeTimeout):
            await dialling.connect(("10.9.9.9", 4433), pin=None, timeout=3)
        assert trio.current_time() == pytest.approx(3, abs=0.1)
        assert not dialling.connections


@pytest.mark.parametrize("datagrams", range(8))
async def test_a_dialler_that_leaves_in_any_state_leaves_nothing(
    autojump_clock, network, dials, datagrams
):
    """The dial is given up when *datagrams* datagrams have been sent in all, by either end."""
    accepts, count = an_identity(ACCEPTOR), 0
    giving_up = trio.Event()

    def observe(*_datagram):
        nonlocal count
        count += 1
        if count > datagrams:
            giving_up.set()

    network.observers.append(observe)
    async with (
        open_endpoint_on(network.transport(), identity=accepts.identity) as accepting,
        open_endpoint_on(network.transport(), identity=dials.identity) as dialling,
    ):
        async with trio.open_nursery() as nursery:

            async def dial():
                connection = await dialling.connect(accepting.address, pin=accepts.public)
                connection.close()
                giving_up.set()

            nursery.start_soon(dial)
            await giving_up.wait()
            nursery.cancel_scope.cancel()
        await trio.sleep(10)
        assert not dialling.connections
        assert not accepting.connections
        assert accepting.strangers.unadmitted == 0
        assert accepting.strangers.handshaking == 0


@pytest.mark.parametrize("datagrams", range(8))
async def test_an_acceptor_that_vanishes_in_any_state_ends_the_dial(
    autojump_clock, network, dials, datagrams
):
    accepts, count = an_identity(ACCEPTOR), 0

    def loses(*_datagram):
        nonlocal count
        count += 1
        return count > datagrams

    network.loses = loses
    async with (
        open_endpoint_on(network.transport(), identity=accepts.identity) as accepting,
        open_endpoint_on(network.transport(), identity=dials.identity) as dialling,
    ):
        with contextlib.suppress(ConnectionClosed), trio.fail_after(60):
            connection = await dialling.connect(accepting.address, pin=accepts.public)
            await connection.wait_closed()
        await trio.sleep(40)
        assert not dialling.connections
        assert not accepting.connections
