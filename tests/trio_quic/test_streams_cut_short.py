"""Streams cut short while their packets are on the way: the connection lives, nothing is left."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
import trio

from fabric.testing.network import Network, Weather
from fabric.testing.quic import open_pair, open_streams, read_all
from fabric.trio_quic import QuicError

NOTHING = ([0, 0], [0, 0])


async def nothing_on_the_way(pair):
    """Let packets pass until what went before them, either way, has arrived or counts as lost."""
    for connection in (pair.dialler, pair.acceptor) * 5:
        await connection.ping()


def left(pair):
    """How many streams the drivers keep, and the engines of those that are their own."""
    ends = (pair.dialler, pair.acceptor)
    own = [end.engine._core.active_local_streams[0] for end in ends]
    return [end.stream_count for end in ends], own


def lose(network):
    network.loses = lambda *_datagram: True


def deliver_late(network):
    network.weather = Weather(delay=0.025, reorder=1.0)


async def reset_it(near, _far, send):
    await send()
    near.reset(5)


async def have_it_stopped(_near, far, send):
    far.stop(5)
    await trio.sleep(0.0095)  # just before it hears of that
    await send()


@pytest.mark.parametrize("cut_short", [reset_it, have_it_stopped])
@pytest.mark.parametrize("spoil", [lose, deliver_late])
async def test_a_reset_acknowledged_before_the_data_that_it_cuts_short_ends_the_stream(
    autojump_clock, network, virtual_pair, spoil, cut_short
):
    near, far = await open_streams(virtual_pair)

    async def send():
        spoil(network)
        await near.send_all(b"cut short")
        network.loses, network.weather = (lambda *_datagram: False), Weather()

    await cut_short(near, far, send)
    await nothing_on_the_way(virtual_pair)
    await far.send_all_eof(b"answer")
    assert await read_all(near) == b"answer"
    await far.aclose()
    await nothing_on_the_way(virtual_pair)
    assert left(virtual_pair) == NOTHING


async def test_a_stop_sent_again_when_its_stream_has_ended_does_no_harm(
    autojump_clock, network, virtual_pair
):
    """It waits for the window behind what was lost with it, and meanwhile the stream's end comes.

    Times are those of 10 ms each way: the proof of loss is there after 20, the end 3 later, the
    first acknowledgement of what was sent again after 40.
    """
    near, far = await open_streams(virtual_pair)
    await near.send_eof()
    assert await read_all(far) == b""
    others = [(await open_streams(virtual_pair))[0] for _ in range(11)]
    await nothing_on_the_way(virtual_pair)
    network.loses = lambda *_datagram: True
    for other in others:  # nearly a window full, each a packet
        await other.send_all(bytes(1100))
    near.stop(5)
    await trio.sleep(0.001)
    for other in others[:2]:
        await other.send_all(b"x")
        await trio.sleep(0.001)
    network.loses = lambda *_datagram: False
    await others[2].send_all(b"the third packet after them proves them lost")
    await trio.sleep(0.013)
    await far.send_eof()
    await nothing_on_the_way(virtual_pair)
    assert virtual_pair.dialler.closed is None
    assert near.id not in virtual_pair.dialler.streams
    assert far.id not in virtual_pair.acceptor.streams


async def test_cutting_short_a_stream_that_ended_1200_streams_ago_does_nothing(autojump_clock):
    """The engine, which has forgotten that it ended, would open it again."""
    async with open_pair(network=Network()) as pair:
        near, far = await open_streams(pair)
        await near.send_all_eof(b"")
        await far.send_all_eof(b"")
        await nothing_on_the_way(pair)
        for _ in range(12):
            for stream in [(await open_streams(pair)) for _ in range(100)]:
                for end in stream:
                    await end.aclose()
        await nothing_on_the_way(pair)
        near.abort(5)
        far.abort(5)
        await nothing_on_the_way(pair)
        assert left(pair) == NOTHING


async def _talk(stream, chance):
    for _ in range(chance.randrange(4)):
        await stream.send_all(chance.randbytes(chance.choice([1, 300, 3000, 30_000])))
        await trio.sleep(chance.choice([0, 0, 0.05]))
    if chance.random() < 0.5:
        await stream.send_eof()


async def _listen(stream, chance):
    while await stream.receive_some():
        await trio.sleep(chance.choice([0, 0, 0.05]))


async def _use(stream, chance):
    """Send and receive at random, and break it off at a random time in a random way."""

    async def as_far_as_it_goes(half):
        with suppress(QuicError, trio.ClosedResourceError):
            await half(stream, chance)

    async with trio.open_nursery() as halves:
        halves.start_soon(as_far_as_it_goes, _talk)
        halves.start_soon(as_far_as_it_goes, _listen)
        await trio.sleep(chance.uniform(0, 0.3))
        match chance.randrange(6):
            case 0 | 1:
                stream.abort(1)
            case 2:
                stream.reset(2)
            case 3:
                stream.stop(3)
        await trio.sleep(0.3)
        halves.cancel_scope.cancel()
    await stream.aclose()


@pytest.mark.parametrize("seed", [0, 1, 4, 5, 11, 12])
async def test_a_crowd_cut_short_in_every_phase_through_loss_leaves_nothing(autojump_clock, seed):
    chance = random.Random(seed)
    weather = Weather(delay=0.01, jitter=0.003, loss=0.12, reorder=0.1, duplicate=0.02)
    network = Network(seed=seed)

    async def use_all_that_come(connection, nursery):
        while True:
            nursery.start_soon(_use, await connection.accept_stream(), chance)

    async with open_pair(network=network) as pair, trio.open_nursery() as nursery:
        network.weather = weather
        nursery.start_soon(use_all_that_come, pair.acceptor, nursery)
        async with trio.open_nursery() as crowd:
            for _ in range(150):
                crowd.start_soon(_use, await pair.dialler.open_stream(), chance)
        network.weather = Weather()
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
        assert pair.dialler.closed is None
        assert pair.acceptor.closed is None
        with trio.CancelScope(shield=True):
            await nothing_on_the_way(pair)
        assert left(pair) == NOTHING
