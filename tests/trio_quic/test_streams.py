"""Streams: whole bytes, half-close, resets and stops, in both directions and in any order."""

from __future__ import annotations

import random

import pytest
import trio

from fabric.testing.network import Network, Weather
from fabric.testing.quic import open_pair, open_streams, read_all
from fabric.trio_quic import Settings, StreamReset, StreamStopped, codes

ROUGH = Weather(delay=0.005, jitter=0.002, loss=0.01, duplicate=0.02, reorder=0.05)


@pytest.fixture
async def streams(virtual_pair):
    return await open_streams(virtual_pair)


async def settled(pair):
    """Wait until every acknowledgement that may still come has come."""
    await trio.sleep(1)
    return pair.dialler.stream_count, pair.acceptor.stream_count


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_bytes_arrive_whole_both_ways_over_sockets(host):
    payload = random.Random(1).randbytes(3_000_000)
    async with open_pair(host=host) as pair, trio.open_nursery() as nursery:
        near = await pair.dialler.open_stream()
        nursery.start_soon(near.send_all_eof, payload)
        far = await pair.acceptor.accept_stream()
        nursery.start_soon(far.send_all_eof, payload[::-1])
        assert await read_all(far) == payload
        assert await read_all(near) == payload[::-1]


async def test_many_streams_arrive_whole_through_rough_weather(autojump_clock):
    settings = Settings(max_datagram_bytes=1452)
    chance = random.Random(7)
    sent = [chance.randbytes(chance.randrange(1, 60_000)) for _ in range(60)]
    got = []

    async def echo(stream):
        while piece := await stream.receive_some():
            await stream.send_all(piece)
        await stream.send_eof()

    async def serve(connection, nursery):
        for _ in sent:
            nursery.start_soon(echo, await connection.accept_stream())

    async def ask(connection, payload):
        stream = await connection.open_stream()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all_eof, payload)
            got.append(await read_all(stream))

    network = Network(seed=3, weather=ROUGH)
    async with open_pair(network=network, settings=settings) as pair:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, pair.acceptor, nursery)
            for payload in sent:
                nursery.start_soon(ask, pair.dialler, payload)
        assert network.lost > 0
        assert sorted(got) == sorted(sent)
        assert await settled(pair) == (0, 0)


async def test_each_direction_ends_on_its_own(autojump_clock, virtual_pair, streams):
    near, far = streams
    await near.send_all_eof(b"question")
    assert await read_all(far) == b"question"
    await far.send_all(b"answer, ")
    assert await near.receive_some() == b"answer, "
    await far.send_all_eof(b"end")
    assert await read_all(near) == b"end"
    assert await settled(virtual_pair) == (0, 0)


async def test_data_and_end_travel_in_one_datagram(autojump_clock, network, virtual_pair):
    stream = await virtual_pair.dialler.open_stream()
    await trio.sleep(1)
    sent = []
    network.observers.append(lambda datagram, *_addresses: sent.append(datagram))
    await stream.send_all_eof(b"all there is")
    assert len(sent) == 1


async def test_a_reset_reaches_the_reader_with_its_code(autojump_clock, virtual_pair, streams):
    near, far = streams
    near.reset(77)
    with pytest.raises(StreamReset) as reset:
        await far.receive_some()
    assert reset.value.code == 77
    with pytest.raises(trio.ClosedResourceError):
        await near.send_all(b"x")
    await far.send_all_eof(b"the other direction lives")
    assert await read_all(near) == b"the other direction lives"
    assert await settled(virtual_pair) == (0, 0)


async def test_a_stop_reaches_the_sender_with_its_code(autojump_clock, virtual_pair, streams):
    near, far = streams
    far.stop(78)
    await trio.sleep(0.1)
    with pytest.raises(StreamStopped) as stopped:
        await near.send_all(b"x")
    assert stopped.value.code == 78
    await far.send_all_eof(b"the other direction lives")
    assert await read_all(near) == b"the other direction lives"
    assert await settled(virtual_pair) == (0, 0)


async def test_a_stop_wakes_a_sender_that_waits_for_credit(autojump_clock, streams):
    near, far = streams

    async def send():
        with pytest.raises(StreamStopped):
            await near.send_all(bytes(10_000_000))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.sleep(1)
        far.stop(1)


async def test_a_stop_before_the_first_byte_is_remembered(autojump_clock, virtual_pair):
    near = await virtual_pair.dialler.open_stream()
    near.stop(9)
    await near.send_all(b"I will not listen")
    far = await virtual_pair.acceptor.accept_stream()
    with pytest.raises(StreamStopped) as stopped:
        await far.send_all(b"x")
    assert stopped.value.code == 9
    assert await far.receive_some() == b"I will not listen"


async def test_reset_and_stop_may_cross(autojump_clock, virtual_pair, streams):
    near, far = streams
    near.abort(5)
    far.abort(6)
    for stream in streams:
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"x")
    assert await settled(virtual_pair) == (0, 0)


async def test_a_reset_after_delivery_changes_nothing(autojump_clock, virtual_pair, streams):
    near, far = streams
    await near.send_all_eof(b"complete")
    await trio.sleep(0.1)
    near.reset(5)
    assert await read_all(far) == b"complete"
    await far.aclose()
    assert await settled(virtual_pair) == (0, 0)


async def test_a_reset_that_overtakes_the_end_never_looks_clean(autojump_clock, network, streams):
    near, far = streams
    network.cut("10.0.0.1", "10.0.0.2")
    await near.send_all_eof(b"never complete")
    near.reset(5)
    network.heal()
    with pytest.raises(StreamReset) as reset:
        await read_all(far)
    assert reset.value.code == 5


async def test_an_end_lost_beside_its_data_still_arrives(autojump_clock, network, virtual_pair):
    near, far = await open_streams(virtual_pair)
    other, _end = await open_streams(virtual_pair)
    network.cut("10.0.0.1", "10.0.0.2")
    await near.send_all(b"data")
    await near.send_eof()
    network.heal()
    for _ in range(6):  # what is acknowledged after them proves them lost
        await other.send_all(b"more")
        await trio.sleep(0.05)
    with trio.fail_after(5):
        assert await read_all(far) == b"data"
    await far.aclose()
    await trio.sleep(1)
    assert near.id not in virtual_pair.dialler.streams


async def test_an_end_acknowledged_before_its_data_ends_the_stream(
    autojump_clock, network, virtual_pair
):
    near, far = await open_streams(virtual_pair)
    network.loses = lambda *_datagram: True
    await near.send_all(b"data")
    network.loses = lambda *_datagram: False
    await near.send_eof()
    assert await read_all(far) == b"data"
    await far.aclose()
    assert await settled(virtual_pair) == (0, 0)


async def test_data_after_our_stop_is_dropped(autojump_clock, virtual_pair, streams):
    near, far = streams
    await near.send_all(bytes(50_000))
    far.stop(3)
    await trio.sleep(1)
    with pytest.raises(trio.ClosedResourceError):
        await far.receive_some()
    assert virtual_pair.acceptor.credit.unread == 0


async def test_a_cancelled_aclose_still_delivers_what_was_sent(autojump_clock, streams):
    near, far = streams
    payload = random.Random(4).randbytes(40_000)
    await near.send_all(payload)
    with trio.CancelScope() as scope:
        scope.cancel()
        await near.aclose()
    assert await read_all(far) == payload


async def test_opening_waits_at_the_peers_limit_and_goes_on(autojump_clock):
    async with open_pair(network=Network(), settings=Settings(max_streams=4)) as pair:
        first = [await pair.dialler.open_stream() for _ in range(4)]
        for stream in first:
            await stream.send_all(b"x")
        assert pair.dialler.open_stream_nowait() is None
        with trio.move_on_after(5) as waiting:
            await pair.dialler.open_stream()
        assert waiting.cancelled_caught
        first[2].abort(1)
        ends = [await pair.acceptor.accept_stream() for _ in range(4)]
        ends[2].abort(1)
        with trio.fail_after(1):
            fifth = await pair.dialler.open_stream()
        await fifth.send_all(b"fifth")
        assert await (await pair.acceptor.accept_stream()).receive_some() == b"fifth"


async def test_streams_that_nobody_accepts_are_refused_beyond_the_backlog(autojump_clock):
    async with open_pair(network=Network(), settings=Settings(accept_backlog=2)) as pair:
        opened = [await pair.dialler.open_stream() for _ in range(3)]
        for stream in opened:
            await stream.send_all(b"x")
            await trio.sleep(0.1)
        with pytest.raises(StreamReset) as refused:
            await opened[2].receive_some()
        assert refused.value.code == codes.STREAM_REFUSED
        for _ in range(2):
            assert await (await pair.acceptor.accept_stream()).receive_some() == b"x"
        await opened[0].send_all(b"y")
