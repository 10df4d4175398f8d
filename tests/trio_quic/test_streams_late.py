"""What comes late: acknowledgements after a probe, and frames of streams long finished."""

from __future__ import annotations

import random

import pytest
import trio

from fabric.testing.network import Network, Weather
from fabric.testing.quic import open_pair, open_streams, read_all

CALM = Weather(delay=0.01, loss=0.01)


async def answer(connection, nursery):
    async def one(stream):
        await stream.send_all_eof((await read_all(stream))[:1000])
        await stream.aclose()

    while True:
        nursery.start_soon(one, await connection.accept_stream())


async def ask(connection, question):
    stream = await connection.open_stream()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all_eof, question)
        assert await read_all(stream) == question[:1000]
    await stream.aclose()


@pytest.mark.parametrize("seed", [3, 5, 7, 8])
async def test_acknowledgements_later_than_a_probe_do_no_harm(autojump_clock, seed):
    """The network stalls now and then for longer than a probe waits, beside full windows."""
    chance, network = random.Random(seed), Network(seed=seed, weather=CALM)

    async def repeat(connection, size):
        while True:
            await ask(connection, chance.randbytes(size))

    async with open_pair(network=network) as pair:
        with trio.move_on_after(4):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer, pair.acceptor, nursery)
                for size in [10, 1000, 5000] * 20 + [300_000] * 4:
                    nursery.start_soon(repeat, pair.dialler, size)
                while True:
                    await trio.sleep(chance.uniform(0.05, 0.3))
                    network.weather = Weather(delay=chance.uniform(0.1, 0.6), loss=0.01)
                    await trio.sleep(chance.uniform(0.005, 0.05))
                    network.weather = CALM
        assert pair.dialler.closed is None
        assert pair.acceptor.closed is None
        assert not pair.dialling.counters.engine_failures
        assert not pair.accepting.counters.engine_failures


async def test_frames_of_a_stream_finished_2000_streams_ago_do_nothing(autojump_clock):
    """The engine would bring stream 0 back to life: it remembers 1,024 finished ones."""
    async with open_pair(network=Network()) as pair, trio.open_nursery() as nursery:
        nursery.start_soon(answer, pair.acceptor, nursery)
        for _ in range(40):
            async with trio.open_nursery() as batch:
                for _ in range(50):
                    batch.start_soon(ask, pair.dialler, b"x")
        nursery.cancel_scope.cancel()
        pair.dialler.engine.send(0, b"back from the dead", fin=True)
        pair.dialler.touch()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + 5) as waiting:
            await pair.acceptor.accept_stream()
        assert waiting.cancelled_caught
        assert pair.acceptor.stream_count == 0
        assert pair.acceptor.closed is None


async def test_credit_for_a_stream_long_finished_is_ignored(autojump_clock, virtual_pair):
    near, far = await open_streams(virtual_pair)
    await near.aclose()
    await far.aclose()
    await trio.sleep(1)
    virtual_pair.acceptor.credit.grant(near.id, 10, 1 << 40)
    await trio.sleep(1)
    assert virtual_pair.dialler.closed is None
    assert virtual_pair.dialler.stream_count == 0
