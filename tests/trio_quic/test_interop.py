"""Ours against aioquic, in both roles: what two readings of the standard must agree on."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager

import pytest
import trio
from aioquic.quic import events
from aioquic.tls import Epoch
from attrs import evolve, frozen

from fabric.testing.oracle import Oracle, open_oracle
from fabric.testing.quic import ACCEPTOR, DIALLER, an_identity
from fabric.trio_quic import (
    Connection,
    ConnectionClosed,
    Endpoint,
    Settings,
    StreamReset,
    StreamStopped,
    open_endpoint,
)

SETTINGS = Settings(peer_credit=False)
BULK = random.Random(1).randbytes(2_000_000)


@frozen
class Mixed:
    """A connection with us at one end and aioquic at the other."""

    ours: Connection
    theirs: Oracle
    endpoint: Endpoint


@asynccontextmanager
async def open_mixed(role, settings=SETTINGS):
    """Connect the two; *role* is ours."""
    dials, accepts = an_identity(DIALLER), an_identity(ACCEPTOR)
    mine, other = (dials, accepts) if role == "dialler" else (accepts, dials)
    async with open_endpoint(
        "127.0.0.1", 0, identity=mine.identity, settings=settings
    ) as endpoint:
        to = endpoint.address if role == "acceptor" else None
        async with open_oracle(other.identity, dial=to) as theirs:
            if role == "dialler":
                ours = await endpoint.connect(theirs.address, pin=accepts.public)
            else:
                ours = await endpoint.accept()
                ours.admit()
            await theirs.event(events.HandshakeCompleted)
            yield Mixed(ours, theirs, endpoint)


@pytest.fixture(params=["dialler", "acceptor"])
async def mixed(request):
    """One with us in each role."""
    async with open_mixed(request.param) as both:
        yield both


async def read_all(stream):
    return b"".join([piece async for piece in stream])


async def send_for_ever(stream):
    while True:
        await stream.send_all(bytes(10_000))


async def accept_from(theirs, ours, data=b"hello", *, fin=False):
    """Let aioquic open a stream; return its id and our end."""
    stream_id = theirs.quic.get_next_available_stream_id()
    theirs.send(stream_id, data, fin=fin)
    return stream_id, await ours.accept_stream()


async def open_to(ours, theirs, data=b"hello"):
    """Open a stream to aioquic; return once *data* was heard."""
    stream = await ours.open_stream()
    await stream.send_all(data)
    await theirs.until(lambda: len(theirs.received[stream.id]) == len(data))
    return stream


async def test_bulk_arrives_whole_both_ways(mixed):
    stream = await mixed.ours.open_stream()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all_eof, BULK)
        await mixed.theirs.until(lambda: mixed.theirs.received[stream.id])
        mixed.theirs.send(stream.id, BULK, fin=True)
        assert await read_all(stream) == BULK
        await mixed.theirs.until(lambda: stream.id in mixed.theirs.ended)
    assert mixed.theirs.received[stream.id] == BULK
    assert mixed.endpoint.counters.engine_failures == {}


async def test_200_streams_of_ours_at_once(mixed):
    """aioquic allows 128 at a time: the rest waits for others to end."""
    streams = []

    async def exchange(number):
        stream = await mixed.ours.open_stream()
        streams.append(stream)
        await stream.send_all_eof(b"%d" % number)
        assert await read_all(stream) == b"echo of %d" % number

    answered = set()
    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(exchange, number)
        while len(answered) < 200:
            await mixed.theirs.until(lambda: mixed.theirs.ended - answered)
            for stream_id in mixed.theirs.ended - answered:
                said = bytes(mixed.theirs.received[stream_id])
                mixed.theirs.send(stream_id, b"echo of " + said, fin=True)
                answered.add(stream_id)
    assert len(streams) == 200
    with trio.fail_after(2):  # what they owe acknowledgements for may be later than their answers
        while mixed.ours.stream_count:
            await trio.sleep(0.01)


async def test_200_streams_of_theirs_at_once(mixed):
    ids = []
    for number in range(200):
        ids.append(mixed.theirs.quic.get_next_available_stream_id())
        mixed.theirs.quic.send_stream_data(ids[-1], b"%d" % number, True)
    mixed.theirs.flush()
    for _ in ids:
        stream = await mixed.ours.accept_stream()
        await stream.send_all_eof(b"echo of " + await read_all(stream))
    await mixed.theirs.until(lambda: mixed.theirs.ended >= set(ids))
    expected = {stream_id: b"echo of %d" % number for number, stream_id in enumerate(ids)}
    assert mixed.theirs.received == expected


async def test_our_reset_and_stop_reach_them_with_their_codes(mixed):
    stream = await open_to(mixed.ours, mixed.theirs)
    stream.reset(71)
    stream.stop(72)
    reset = await mixed.theirs.event(events.StreamReset)
    stopped = await mixed.theirs.event(events.StopSendingReceived)
    assert (reset.stream_id, reset.error_code) == (stream.id, 71)
    assert (stopped.stream_id, stopped.error_code) == (stream.id, 72)


async def test_their_reset_reaches_our_reader_with_its_code(mixed):
    stream_id, stream = await accept_from(mixed.theirs, mixed.ours)
    assert await stream.receive_some() == b"hello"
    mixed.theirs.quic.reset_stream(stream_id, 73)
    mixed.theirs.flush()
    with pytest.raises(StreamReset) as caught:
        await stream.receive_some()
    assert caught.value.code == 73


async def test_their_stop_reaches_our_sender_with_its_code(mixed):
    stream_id, stream = await accept_from(mixed.theirs, mixed.ours)
    mixed.theirs.quic.stop_stream(stream_id, 74)
    mixed.theirs.flush()
    with pytest.raises(StreamStopped) as caught:
        await send_for_ever(stream)
    assert caught.value.code == 74


async def test_half_close_leaves_the_other_direction_open(mixed):
    stream = await open_to(mixed.ours, mixed.theirs)
    mixed.theirs.send(stream.id, b"", fin=True)
    assert await stream.receive_some() == b""
    await stream.send_all_eof(b" and more")
    await mixed.theirs.until(lambda: stream.id in mixed.theirs.ended)
    assert mixed.theirs.received[stream.id] == b"hello and more"


async def test_our_close_reaches_them_with_code_and_reason(mixed):
    mixed.ours.close(75, "enough for today")
    ended = await mixed.theirs.event(events.ConnectionTerminated)
    assert (ended.error_code, ended.reason_phrase) == (75, "enough for today")


async def test_their_close_reaches_us_with_code_and_reason(mixed):
    mixed.theirs.quic.close(error_code=76, reason_phrase="not you again")
    mixed.theirs.flush()
    ended = await mixed.ours.wait_closed()
    assert (ended.code, ended.reason, ended.by_peer) == (76, "not you again", True)
    assert not ended.is_transport


async def test_their_key_update_in_the_middle_of_bulk(mixed):
    stream = await open_to(mixed.ours, mixed.theirs, b"!")
    await mixed.theirs.until(lambda: mixed.theirs.quic._handshake_confirmed)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stream.send_all_eof, BULK)
        mixed.theirs.send(stream.id, BULK[: len(BULK) // 2])
        mixed.theirs.quic.request_key_update()
        mixed.theirs.send(stream.id, BULK[len(BULK) // 2 :], fin=True)
        assert await read_all(stream) == BULK
        await mixed.theirs.until(lambda: stream.id in mixed.theirs.ended)
    assert mixed.theirs.received[stream.id] == b"!" + BULK
    assert mixed.theirs.quic._cryptos[Epoch.ONE_RTT].key_phase == 1


@pytest.mark.parametrize("role", ["dialler", "acceptor"])
async def test_our_key_updates_in_the_middle_of_bulk(role):
    phases = set()
    async with open_mixed(role, evolve(SETTINGS, packets_per_key=300)) as mixed:
        stream = await mixed.ours.open_stream()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all_eof, BULK)

            def ended():
                phases.add(mixed.theirs.quic._cryptos[Epoch.ONE_RTT].key_phase)
                return stream.id in mixed.theirs.ended

            await mixed.theirs.until(ended)
        assert mixed.theirs.received[stream.id] == BULK
    assert phases == {0, 1}


@pytest.mark.parametrize("role", ["dialler", "acceptor"])
async def test_a_reader_that_stalls_loses_its_stream_and_nothing_else(role):
    """Without the peer's credit the guard is all there is."""
    settings = evolve(SETTINGS, guard_bytes=300_000, engine_stream_window=1 << 20)
    async with open_mixed(role, settings) as mixed:
        stalled_id, stalled = await accept_from(mixed.theirs, mixed.ours)
        mixed.theirs.send(stalled_id, bytes(2_000_000))
        stopped = await mixed.theirs.event(events.StopSendingReceived)
        assert stopped.stream_id == stalled_id
        with pytest.raises(StreamReset):
            await read_all(stalled)
        _other_id, other = await accept_from(mixed.theirs, mixed.ours, b"alive", fin=True)
        assert await read_all(other) == b"alive"


async def test_an_end_of_another_protocol_is_refused_by_both(accepts, dials):
    async with (
        open_endpoint("127.0.0.1", 0, identity=accepts.identity) as endpoint,
        open_oracle(dials.identity, dial=endpoint.address, alpn="h3") as theirs,
    ):
        ended = await theirs.event(events.ConnectionTerminated)
        assert ended.error_code in (0x128, 0x178)
    async with (
        open_endpoint("127.0.0.1", 0, identity=dials.identity) as endpoint,
        open_oracle(accepts.identity, alpn="h3") as theirs,
    ):
        with pytest.raises(ConnectionClosed) as caught:
            await endpoint.connect(theirs.address, pin=accepts.public)
        assert caught.value.code in (0x128, 0x178)
        assert caught.value.by_peer
