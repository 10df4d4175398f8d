"""Cancellation, anywhere and at random, loses no byte and leaves nothing behind."""

from __future__ import annotations

import random

import pytest
import trio

from fabric.testing.network import Network, Weather
from fabric.testing.quic import open_pair, open_streams

SIZE = 3_000_000


async def send_with_interruptions(stream, payload, chance, interrupted):
    start = stream.sent
    while (at := stream.sent - start) < len(payload):
        with trio.move_on_after(chance.uniform(0, 0.1)) as scope:
            await stream.send_all(payload[at:])
        interrupted.append(scope.cancelled_caught)
    await stream.send_eof()


async def receive_with_interruptions(stream, chance, interrupted):
    got = bytearray()
    while True:
        with trio.move_on_after(chance.uniform(0, 0.01)) as scope:
            piece = await stream.receive_some(chance.choice([None, 1000, 70_000]))
            if not piece:
                return bytes(got)
            got += piece
        interrupted.append(scope.cancelled_caught)


@pytest.mark.parametrize("seed", range(3))
async def test_random_cancellations_keep_the_bytes_whole(autojump_clock, seed):
    chance = random.Random(seed)
    payload = chance.randbytes(SIZE)
    senders, receivers = [], []
    network = Network(seed=seed, weather=Weather(delay=0.005, loss=0.01))
    async with open_pair(network=network) as pair:
        near, far = await open_streams(pair)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_with_interruptions, near, payload, chance, senders)
            assert await receive_with_interruptions(far, chance, receivers) == payload
        assert sum(senders) > 5
        assert sum(receivers) > 50
        await far.aclose()
        await trio.sleep(2)
        assert (pair.dialler.stream_count, pair.acceptor.stream_count) == (0, 0)


async def test_cancelled_waits_leave_no_waiter_behind(autojump_clock, virtual_pair):
    near, far = await open_streams(virtual_pair)
    waits = [
        near.receive_some,
        virtual_pair.dialler.accept_stream,
        virtual_pair.dialler.accept_unidirectional,
        virtual_pair.dialler.wait_closed,
        virtual_pair.dialling.accept,
    ]
    for wait in waits:
        with trio.move_on_after(1) as scope:
            await wait()
        assert scope.cancelled_caught
    await far.send_all(b"for whoever still reads")
    assert await near.receive_some() == b"for whoever still reads"
    await virtual_pair.acceptor.open_stream()
    assert (await virtual_pair.dialler.ping()) > 0
    assert not virtual_pair.dialler._pings


async def test_a_cancelled_dial_leaves_no_connection(
    autojump_clock, network, virtual_pair, accepts
):
    network.cut("10.0.0.1", "10.0.0.2")
    before = set(virtual_pair.dialling.connections)
    with trio.move_on_after(0.5):
        await virtual_pair.dialling.connect(virtual_pair.accepting.address, pin=accepts.public)
    await trio.sleep(1)
    assert set(virtual_pair.dialling.connections) == before
