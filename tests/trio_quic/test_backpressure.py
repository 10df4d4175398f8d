"""Back-pressure both ways: a reader that stalls stops its own sender and nobody else."""

from __future__ import annotations

import hashlib

import pytest
import trio

from fabric.testing.network import Network
from fabric.testing.quic import open_pair, open_streams, read_all
from fabric.trio_quic import INITIAL_CREDIT, ConnectionClosed, Settings, StreamReset, codes

LOTS = 20_000_000
MIB = 1 << 20


async def pour(stream, seed, size=LOTS):
    """Send *size* bytes that only this seed makes, then the end."""
    block = hashlib.sha256(bytes([seed])).digest() * 2048
    for _ in range(size // len(block)):
        await stream.send_all(block)
    await stream.send_eof()


def sum_of(seed, size=LOTS):
    whole = hashlib.sha256()
    block = hashlib.sha256(bytes([seed])).digest() * 2048
    for _ in range(size // len(block)):
        whole.update(block)
    return whole.digest()


async def sum_read(stream):
    whole = hashlib.sha256()
    while piece := await stream.receive_some():
        whole.update(piece)
    return whole.digest()


async def read_at_most(stream, size):
    got = 0
    while got < size:
        got += len(await stream.receive_some())
    return got


async def echo(stream):
    while piece := await stream.receive_some():
        await stream.send_all(piece)


async def exchange(near, rounds):
    """Send and get back 10 kB *rounds* times; return the time it took."""
    started = trio.current_time()
    for _ in range(rounds):
        await near.send_all(bytes(10_000))
        await read_at_most(near, 10_000)
    return trio.current_time() - started


async def test_a_stalled_reader_holds_its_sender_and_loses_nothing(autojump_clock, virtual_pair):
    near, far = await open_streams(virtual_pair)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pour, near, 1)
        await trio.sleep(10)
        assert far.unread == INITIAL_CREDIT - 1
        assert near.sent == INITIAL_CREDIT
        assert await sum_read(far) == sum_of(1)


async def test_a_reader_that_stalls_late_leaves_its_window_and_no_more(
    autojump_clock, virtual_pair
):
    near, far = await open_streams(virtual_pair)
    whole = hashlib.sha256()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pour, near, 2)
        got = 0
        while got < LOTS // 2:
            piece = await far.receive_some()
            got += len(piece)
            whole.update(piece)
        await trio.sleep(10)
        assert INITIAL_CREDIT < far.unread <= virtual_pair.acceptor.limits.max_stream_credit_far
        while piece := await far.receive_some():
            whole.update(piece)
    assert whole.digest() == sum_of(2)


@pytest.mark.parametrize("stalled", [20, 200])
async def test_stalled_streams_leave_the_others_their_pace(autojump_clock, virtual_pair, stalled):
    async with trio.open_nursery() as nursery:
        near, far = await open_streams(virtual_pair)
        nursery.start_soon(echo, far)
        alone = await exchange(near, 20)
        held = [await open_streams(virtual_pair) for _ in range(stalled)]
        for number, (sender, _reader) in enumerate(held):
            nursery.start_soon(pour, sender, number, 4 * INITIAL_CREDIT)
        await trio.sleep(10)
        assert all(reader.unread == INITIAL_CREDIT - 1 for _sender, reader in held)
        assert await exchange(near, 20) <= 1.1 * alone
        for number, (_sender, reader) in enumerate(held):
            assert await sum_read(reader) == sum_of(number, 4 * INITIAL_CREDIT)
        nursery.cancel_scope.cancel()


async def test_a_peer_that_ignores_credit_is_stopped(autojump_clock, virtual_pair):
    near, far = await open_streams(virtual_pair)
    live, end = await open_streams(virtual_pair)
    virtual_pair.dialler.engine.send(near.id, bytes(3 * INITIAL_CREDIT), fin=False)
    virtual_pair.dialler.touch()
    await trio.sleep(1)
    with pytest.raises(StreamReset) as cut:
        await far.receive_some()
    assert cut.value.code == codes.FLOW_CONTROL
    assert virtual_pair.acceptor.credit.unread == 0
    await live.send_all(b"unharmed")
    assert await end.receive_some() == b"unharmed"


@pytest.mark.parametrize("how", ["reset", "finish", "lower"])
async def test_a_broken_credit_stream_closes_the_connection(autojump_clock, virtual_pair, how):
    near, far = await open_streams(virtual_pair)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pour, far, 1, 4 * INITIAL_CREDIT)
        await read_at_most(near, 2 * INITIAL_CREDIT)  # so that a grant has been given
        nursery.cancel_scope.cancel()
    dialler = virtual_pair.dialler
    own = dialler.credit._own_stream
    if how == "reset":
        dialler.engine.reset(own, 0)
    elif how == "finish":
        dialler.engine.send(own, b"", fin=True)
    else:
        dialler.credit.grant(near.id, consumed=10, limit=9)
    dialler.touch()
    closed = await dialler.wait_closed()
    assert (closed.code, closed.by_peer) == (codes.FLOW_CONTROL, True)


async def test_the_guard_resets_who_went_unread_longest(autojump_clock):
    settings = Settings(guard_bytes=4 * INITIAL_CREDIT)
    async with open_pair(network=Network(), settings=settings) as pair:
        held = [await open_streams(pair) for _ in range(5)]
        async with trio.open_nursery() as nursery:
            for near, _far in held:

                async def send(near=near):
                    with pytest.raises(trio.BrokenResourceError):
                        await near.send_all(bytes(LOTS))

                nursery.start_soon(send)
                await trio.sleep(1)
            with pytest.raises(StreamReset) as cut:
                await held[0][1].receive_some()
            assert cut.value.code == codes.READER_STALLED
            assert pair.acceptor.credit.unread <= settings.guard_bytes
            assert all(far.unread for _near, far in held[1:])
            pair.dialler.close()


async def test_the_guard_resets_finished_streams_left_unread_rather_than_newcomers(
    autojump_clock,
):
    """The sender stops the other direction, so that the engine is done with each at once."""
    settings = Settings(guard_bytes=4 * INITIAL_CREDIT)
    async with open_pair(network=Network(), settings=settings) as pair:
        for _ in range(100):
            near = await pair.dialler.open_stream()
            await near.send_all_eof(bytes(INITIAL_CREDIT))
            near.stop(1)
        await trio.sleep(5)
        assert pair.acceptor.stream_count == 0
        assert 0 < pair.acceptor.credit.unread <= settings.guard_bytes
        with pytest.raises(StreamReset) as cut:
            await (await pair.acceptor.accept_stream()).receive_some()
        assert cut.value.code == codes.READER_STALLED
        last = [await pair.acceptor.accept_stream() for _ in range(99)][-1]
        assert len(await read_all(last)) == INITIAL_CREDIT


async def test_what_is_promised_to_slow_readers_stays_under_the_guard(autojump_clock):
    settings = Settings(guard_bytes=2 * MIB)
    async with open_pair(network=Network(), settings=settings) as pair:
        held = [await open_streams(pair) for _ in range(12)]
        async with trio.open_nursery() as nursery:
            for number, (near, far) in enumerate(held):
                nursery.start_soon(pour, near, number)
                await read_at_most(far, 2 * MIB)  # keeps up, then stalls
            await trio.sleep(10)
            assert pair.acceptor.credit.unread <= settings.guard_bytes
            assert all(far.unread > 0 for _near, far in held)
            nursery.cancel_scope.cancel()


async def test_a_sender_waits_while_the_wire_is_dead_and_can_be_cancelled(
    autojump_clock, network, virtual_pair
):
    near, far = await open_streams(virtual_pair)
    network.cut("10.0.0.1", "10.0.0.2")
    with trio.move_on_after(5) as waiting:
        await near.send_all(bytes(LOTS))
    assert waiting.cancelled_caught
    taken = near.sent - 1
    assert taken < virtual_pair.dialler.limits.unsent_high
    network.heal()
    await near.send_all_eof(b"end")
    assert await read_all(far) == bytes(taken) + b"end"


async def test_a_sender_that_waits_learns_of_the_connections_end(autojump_clock, virtual_pair):
    near, _far = await open_streams(virtual_pair)

    async def send():
        with pytest.raises(ConnectionClosed) as closed:
            await near.send_all(bytes(LOTS))
        assert (closed.value.code, closed.value.reason) == (99, "enough")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.sleep(1)
        virtual_pair.acceptor.close(99, "enough")


async def test_an_end_needs_no_credit(autojump_clock, virtual_pair):
    near, far = await open_streams(virtual_pair)
    await near.send_all(bytes(INITIAL_CREDIT - 1))
    with trio.fail_after(1):
        await near.send_eof()
    assert len(await read_all(far)) == INITIAL_CREDIT - 1
