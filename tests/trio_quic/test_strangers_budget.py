"""What a stranger may do before it is admitted, and that one thing more closes it, cheaply."""

from __future__ import annotations

import gc
from contextlib import asynccontextmanager

import psutil
import pytest
import trio
from aioquic.buffer import encode_uint_var
from aioquic.quic import events
from attrs import evolve, frozen

from fabric.testing.hostile import an_honest_hello, crypto_frame, seal_initial
from fabric.testing.oracle import Oracle, open_oracle
from fabric.testing.quic import ACCEPTOR, DIALLER, an_identity
from fabric.trio_quic import (
    Connection,
    ConnectionClosed,
    Endpoint,
    Settings,
    codes,
    open_endpoint,
    open_endpoint_on,
)
from fabric.trio_quic.endpoint import MOST_TURNED_AWAY

KIB = 1 << 10
LIMITS = Settings()


@frozen
class Visit:
    """A stranger's connection, seen from both ends."""

    dialler: Connection
    stranger: Connection
    accepting: Endpoint

    async def refused(self):
        """Return why each end closed."""
        there = await self.stranger.wait_closed()
        return await self.dialler.wait_closed(), there


@asynccontextmanager
async def open_visit(network, settings=LIMITS):
    dials, accepts = an_identity(DIALLER), an_identity(ACCEPTOR)
    async with (
        open_endpoint_on(
            network.transport(), identity=accepts.identity, settings=settings
        ) as accepting,
        open_endpoint_on(network.transport(), identity=dials.identity) as dialling,
    ):
        dialler = await dialling.connect(accepting.address, pin=accepts.public)
        yield Visit(dialler, await accepting.accept(), accepting)


@pytest.fixture
async def visit(network):
    async with open_visit(network) as both:
        yield both


async def test_a_stranger_has_five_seconds(autojump_clock, visit):
    started = trio.current_time()
    here, there = await visit.refused()
    assert here.code == there.code == codes.HANDSHAKE_TIMEOUT
    assert (here.by_peer, there.by_peer) == (True, False)
    assert trio.current_time() - started == pytest.approx(5.0, abs=0.1)
    assert visit.accepting.strangers.unadmitted == 0


async def test_a_stranger_that_keeps_talking_has_five_seconds_all_the_same(autojump_clock, visit):
    started = trio.current_time()
    stream = await visit.dialler.open_stream()
    with pytest.raises(ConnectionClosed):
        await drip(stream)
    assert trio.current_time() - started < 5.5


async def drip(stream):
    while True:
        await stream.send_all(b".")
        await trio.sleep(0.25)


async def test_a_second_stream_closes_it(autojump_clock, visit):
    for _ in range(2):
        await (await visit.dialler.open_stream()).send_all(b"x")
    here, there = await visit.refused()
    assert here.code == there.code == codes.STRANGER_BUDGET
    assert "second stream" in here.reason


async def test_only_the_last_strangers_turned_away_are_kept_to_be_told_again(
    autojump_clock, network
):
    """A closed one lingers for three probe timeouts; with what it sent, hundreds are megabytes."""
    dials, accepts = an_identity(DIALLER), an_identity(ACCEPTOR)
    network.weather = evolve(network.weather, delay=0.5)
    settings = evolve(LIMITS, stranger_cap_per_prefix=1000)
    async with (
        open_endpoint_on(
            network.transport(), identity=accepts.identity, settings=settings
        ) as accepting,
        open_endpoint_on(network.transport(), identity=dials.identity) as dialling,
        trio.open_nursery() as nursery,
    ):
        strangers = []

        async def knock():
            await dialling.connect(accepting.address, pin=accepts.public)
            strangers.append(await accepting.accept())

        for _ in range(2 * MOST_TURNED_AWAY):
            nursery.start_soon(knock)
            await trio.sleep(0.02)
        await trio.sleep(1.5)
        assert len(strangers) == 2 * MOST_TURNED_AWAY
        for number, stranger in enumerate(strangers, 1):
            stranger.close(codes.STRANGER_BUDGET)
            await trio.sleep(0.01)
            lingering = len([each for each in accepting.connections if each.closed])
            assert lingering == min(number, MOST_TURNED_AWAY)
        assert not strangers[0].cids
        assert strangers[0].engine._core is None
        assert not strangers[-1].terminated.is_set()


async def test_16_kib_are_within_the_budget(autojump_clock, visit):
    stream = await visit.dialler.open_stream()
    await stream.send_all(bytes(LIMITS.stranger_bytes))
    far = await visit.stranger.accept_stream()
    got = 0
    while got < LIMITS.stranger_bytes:
        got += len(await far.receive_some())
    assert visit.stranger.closed is None


async def test_more_bytes_close_it_whether_they_are_read_or_not(autojump_clock, visit):
    stream = await visit.dialler.open_stream()
    await stream.send_all(bytes(32 * KIB))
    here, there = await visit.refused()
    assert here.code == there.code == codes.STRANGER_BUDGET
    assert visit.stranger.credit.unread <= LIMITS.stranger_bytes + 8 * KIB


async def test_admission_lifts_the_budget(autojump_clock, visit):
    visit.stranger.admit()
    streams = [await visit.dialler.open_stream() for _ in range(3)]
    for stream in streams:
        await stream.send_all(bytes(32 * KIB))
    await trio.sleep(8)
    assert visit.stranger.closed is None
    assert visit.accepting.strangers.unadmitted == 0


async def test_without_the_budget_a_stranger_may_do_it_all(autojump_clock, network):
    """Or the tests above would pass for another reason."""
    unbounded = evolve(LIMITS, stranger_bytes=0, handshake_timeout=1000.0)
    async with open_visit(network, unbounded) as visit:
        for _ in range(3):
            await (await visit.dialler.open_stream()).send_all(bytes(32 * KIB))
        await trio.sleep(8)
        assert visit.stranger.closed is None


async def test_who_nobody_accepts_in_time_is_told_that_we_are_busy(autojump_clock, network):
    settings = evolve(LIMITS, accept_connections=2)
    dials, accepts = an_identity(DIALLER), an_identity(ACCEPTOR)
    async with (
        open_endpoint_on(
            network.transport(), identity=accepts.identity, settings=settings
        ) as accepting,
        open_endpoint_on(network.transport(), identity=dials.identity) as dialling,
    ):
        connections = [
            await dialling.connect(accepting.address, pin=accepts.public) for _ in range(3)
        ]
        ended = await connections[2].wait_closed()
        assert ended.code == codes.BUSY
        assert accepting.counters.busy == 1
        assert accepting.strangers.unadmitted == 2


# -- by hand: what no driver of ours would send --


@frozen
class Intruder:
    """A stranger that seals what it likes."""

    theirs: Oracle
    ours: Connection
    accepting: Endpoint

    def send(self, *frames):
        for each in frames:
            self.theirs.emit(self.theirs.seal(each))


@pytest.fixture
async def intruder():
    dials, accepts = an_identity(DIALLER), an_identity(ACCEPTOR)
    async with (
        open_endpoint("127.0.0.1", 0, identity=accepts.identity) as accepting,
        open_oracle(dials.identity, dial=accepting.address) as theirs,
    ):
        ours = await accepting.accept()
        await theirs.event(events.HandshakeCompleted)
        yield Intruder(theirs, ours, accepting)


def stream_frame(stream_id, data, offset=0):
    head = b"\x0e" + encode_uint_var(stream_id) + encode_uint_var(offset)
    return head + encode_uint_var(len(data)) + data


def reset_frame(stream_id, code=0, size=0):
    return b"\x04" + b"".join(map(encode_uint_var, (stream_id, code, size)))


def stop_frame(stream_id, code=0):
    return b"\x05" + b"".join(map(encode_uint_var, (stream_id, code)))


LAST = 4 * (LIMITS.max_streams - 1)


def resident():
    gc.collect()
    return psutil.Process().memory_info().rss


async def refused(intruder):
    ended = await intruder.theirs.event(events.ConnectionTerminated)
    assert (await intruder.ours.wait_closed()).code == codes.STRANGER_BUDGET
    assert ended.error_code == codes.STRANGER_BUDGET


@pytest.mark.parametrize("frame", [stream_frame(LAST, b"x"), reset_frame(LAST), stop_frame(LAST)])
async def test_the_last_of_65536_streams_costs_no_memory_for_the_others(intruder, frame):
    before = resident()
    intruder.send(frame)
    await refused(intruder)
    assert len(intruder.ours._peer_streams._skipped) == 0
    assert intruder.ours.stream_count <= 1
    assert resident() - before < 2 * (1 << 20)


async def test_a_flood_of_resets_closes_it(intruder):
    intruder.send(b"".join(reset_frame(4 * number) for number in range(100)))
    await refused(intruder)


async def test_a_flood_of_empty_streams_closes_it(intruder):
    """They cause no event: only what they cost on the wire betrays them."""
    before = resident()
    for number in range(0, 10_000, 200):
        piece = range(number, number + 200)
        intruder.send(b"".join(stream_frame(4 * each, b"") for each in piece))
        await trio.lowlevel.checkpoint()
    await refused(intruder)
    assert resident() - before < 3 * (1 << 20)


async def test_data_with_gaps_is_charged_like_any_other(intruder):
    """Every second byte: nothing is delivered, all of it waits in the engine."""
    before, sent = resident(), 0
    while intruder.ours.closed is None and sent < 4_000:
        piece = range(sent, sent + 40)
        intruder.send(b"".join(stream_frame(0, b"x", 2 * number + 1) for number in piece))
        sent += 40
        await trio.lowlevel.checkpoint()
    await refused(intruder)
    assert resident() - before < 2 * (1 << 20)


async def test_a_byte_far_ahead_reserves_no_memory(intruder):
    before = resident()
    intruder.send(stream_frame(0, b"x", LIMITS.engine_stream_window - 1))
    await trio.sleep(0.1)
    assert intruder.ours.closed is None
    assert resident() - before < 1 << 20


async def test_one_way_streams_beyond_two_are_refused(intruder):
    for _ in range(6):
        stream_id = intruder.theirs.quic.get_next_available_stream_id(is_unidirectional=True)
        intruder.theirs.send(stream_id, b"\x05mine")
    stopped = await intruder.theirs.event(events.StopSendingReceived)
    assert stopped.error_code == codes.STREAM_REFUSED
    assert intruder.ours.stream_count == 2


async def test_one_way_streams_beyond_the_limit_close_it(intruder):
    intruder.send(stream_frame(2 + 4 * 16, b"\x05mine"))
    ended = await intruder.ours.wait_closed()
    assert (ended.is_transport, ended.code) == (True, 0x04)  # STREAM_LIMIT_ERROR


async def test_a_hello_that_never_ends_is_cut_short(autojump_clock, network):
    """16 MB of ClientHello are announced and come, in order, from an unproven address."""
    hello = an_honest_hello(an_identity(DIALLER).identity)
    endless = b"\x01\xff\xff\xff" + bytes(60_000)
    dcid = b"endless!"
    failed = []
    async with open_endpoint_on(
        network.transport(), identity=an_identity(ACCEPTOR).identity
    ) as accepting:
        accepting.failed = failed.append
        for number in range(60):
            frames = crypto_frame(endless[number * 1000 : (number + 1) * 1000], number * 1000)
            packet = seal_initial(frames, to=dcid, source_cid=hello.source_cid, number=number)
            network.send(packet, ("198.51.100.9", 4000), accepting.address)
            await trio.sleep(0.02)
        await trio.sleep(1)
        (connection,) = failed
        assert connection.closed.code == 0x0D  # CRYPTO_BUFFER_EXCEEDED


async def test_a_hello_with_gaps_holds_no_more_than_one_without(autojump_clock, network):
    hello = an_honest_hello(an_identity(DIALLER).identity)
    async with open_endpoint_on(
        network.transport(), identity=an_identity(ACCEPTOR).identity
    ) as accepting:
        before = resident()
        for number in range(1_000):
            frames = crypto_frame(bytes(1000), 1 + number * 1001)
            packet = seal_initial(frames, to=b"with gap", source_cid=hello.source_cid)
            network.send(packet, ("198.51.100.9", 4000), accepting.address)
        await trio.sleep(0.1)
        assert resident() - before < 2 * (1 << 20)
        await trio.sleep(LIMITS.handshake_timeout + 5)
        assert not accepting.connections
