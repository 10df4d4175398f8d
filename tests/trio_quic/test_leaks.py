"""Nothing is left behind: streams and connections by the thousand, one after another."""

from __future__ import annotations

import gc

import psutil
import pytest
import trio

from fabric.testing.network import Network
from fabric.testing.quic import ACCEPTOR, DIALLER, an_identity, open_pair, open_streams, read_all
from fabric.trio_quic import Settings, open_endpoint, open_endpoint_on

MB = 1_000_000
MINUTES = 180
"""For the slow ones, which therefore run trio themselves: half a minute is for others."""
FORGOTTEN_WITHIN = 20
"""Seconds for the last ones to end: three probe timeouts, of round trips on a crowded machine."""
OPEN_DOORS = Settings(retry_above=0, stranger_cap=0)


def resident():
    gc.collect()
    return psutil.Process().memory_info().rss


async def answer(connection):
    async def one(stream):
        await stream.send_all_eof(await read_all(stream))
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        while True:
            nursery.start_soon(one, await connection.accept_stream())


async def ask(connection, times):
    for _ in range(times):
        stream = await connection.open_stream()
        await stream.send_all_eof(b"x" * 100)
        assert await read_all(stream) == b"x" * 100
        await stream.aclose()


async def streams_in_sequence(pair, count):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer, pair.acceptor)
        async with trio.open_nursery() as asking:
            for _ in range(8):
                asking.start_soon(ask, pair.dialler, count // 8)
        await trio.sleep(0.5)
        nursery.cancel_scope.cancel()


def nothing_is_left(pair):
    for connection in (pair.dialler, pair.acceptor):
        assert connection.stream_count == 0
        assert not connection.room.waiting
        assert connection.credit.unread == 0
        assert connection.credit.promised == 0
        assert len(connection._peer_streams._skipped) == 0
        assert not connection.engine._created_local_stream_ids
    for endpoint in (pair.dialling, pair.accepting):
        assert len(endpoint._routes) <= 6
        assert len(endpoint._timers) < 200


async def test_2000_streams_in_sequence_leave_nothing():
    async with open_pair() as pair:
        await streams_in_sequence(pair, 2_000)
        nothing_is_left(pair)


@pytest.mark.slow
def test_100000_streams_in_sequence_leave_nothing():
    async def main():
        with trio.fail_after(MINUTES):
            async with open_pair() as pair:
                await streams_in_sequence(pair, 8_000)
                before = resident()
                await streams_in_sequence(pair, 92_000)
                assert resident() - before < 8 * MB
                nothing_is_left(pair)

    trio.run(main)


async def connections_in_sequence(dialling, accepting, count):
    async def accept():
        while True:
            (await accepting.accept()).admit()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        async with trio.open_nursery() as asking:

            async def dial():
                for _ in range(count // 8):
                    connection = await dialling.connect(accepting.address, pin=None)
                    connection.close()

            for _ in range(8):
                asking.start_soon(dial)
        with trio.move_on_after(FORGOTTEN_WITHIN):
            while dialling.connections or accepting.connections:
                await trio.sleep(0.1)
        nursery.cancel_scope.cancel()


def no_connection_is_left(*endpoints):
    for endpoint in endpoints:
        assert not endpoint.connections
        assert not endpoint._routes
        assert endpoint.strangers.handshaking == 0
        assert endpoint.strangers.unadmitted == 0
        assert len(endpoint._timers) < 200


async def test_100_connections_in_sequence_leave_nothing(autojump_clock):
    network = Network()
    async with (
        open_endpoint_on(
            network.transport(), identity=an_identity(ACCEPTOR).identity, settings=OPEN_DOORS
        ) as accepting,
        open_endpoint_on(
            network.transport(), identity=an_identity(DIALLER).identity, settings=OPEN_DOORS
        ) as dialling,
    ):
        await connections_in_sequence(dialling, accepting, 100)
        no_connection_is_left(dialling, accepting)


@pytest.mark.slow
def test_10000_connections_in_sequence_leave_nothing():
    async def main():
        here = [an_identity(seed).identity for seed in (ACCEPTOR, DIALLER)]
        with trio.fail_after(MINUTES):
            async with (
                open_endpoint("127.0.0.1", 0, identity=here[0], settings=OPEN_DOORS) as accepting,
                open_endpoint("127.0.0.1", 0, identity=here[1], settings=OPEN_DOORS) as dialling,
            ):
                await connections_in_sequence(dialling, accepting, 1_000)
                before = resident()
                await connections_in_sequence(dialling, accepting, 9_000)
                assert resident() - before < 10 * MB
                no_connection_is_left(dialling, accepting)

    trio.run(main)


async def test_a_closed_connection_is_collected(autojump_clock):
    """Engine, TLS half and sink refer to each other: the cycle must be cut, not waited for."""
    async with open_pair(network=Network()) as pair:
        engines = [pair.dialler.engine, pair.acceptor.engine]
        pair.dialler.close()
        await trio.sleep(5)
        for engine in engines:
            assert engine._sink is None
            assert engine._tls.handshake_complete
        assert not pair.dialling._routes


async def end_by_word(pair):
    pair.dialler.close()
    await trio.sleep(5)


async def end_by_silence(pair):
    pair.dialler.endpoint._transport.unplug()
    pair.acceptor.endpoint._transport.unplug()
    await trio.sleep(60)


@pytest.mark.parametrize("end", [end_by_word, end_by_silence])
async def test_a_closed_connection_lets_go_of_its_core_at_once(autojump_clock, end):
    """Connection and streams refer to each other until they are collected: minutes, in a flood."""
    async with open_pair(network=Network()) as pair:
        near, far = await open_streams(pair)
        await end(pair)
        for connection, stream in ((pair.dialler, near), (pair.acceptor, far)):
            assert connection.engine._core is None
            assert connection.rtt is None
            stream.abort(1)
            await stream.aclose()
            await connection.aclose()
