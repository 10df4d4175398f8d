"""Streams whose end, or whose room to send, comes at the moment when nobody looks for it."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from fabric.testing.quic import open_streams
from fabric.trio_quic import INITIAL_CREDIT, QuicError, StreamStopped, codes


async def test_a_cancelled_sender_may_find_room_in_the_moment_it_parks(
    autojump_clock, virtual_pair
):
    dialler = virtual_pair.dialler
    near = await dialler.open_stream()
    dialler.room._in_window = 0  # as of the last flush: the one that parking causes finds more
    with trio.CancelScope() as scope:
        scope.cancel()
        await near.send_all(bytes(INITIAL_CREDIT))
    assert scope.cancelled_caught


async def test_a_sender_whose_engine_fails_as_it_parks_is_told(autojump_clock, virtual_pair):
    dialler = virtual_pair.dialler
    near = await dialler.open_stream()

    def broken(*_):
        raise RuntimeError("a bug of the engine")

    dialler.room._in_window = 0
    dialler.engine.poll = broken
    with trio.fail_after(1), pytest.raises(QuicError):
        await near.send_all(bytes(INITIAL_CREDIT))


async def test_a_sender_whose_engine_fails_between_two_slices_is_told(
    autojump_clock, virtual_pair
):
    dialler = virtual_pair.dialler
    near = await dialler.open_stream()

    def broken(*_):
        raise RuntimeError("a bug of the engine")

    dialler.engine.poll = broken
    with trio.fail_after(1), pytest.raises(QuicError):
        await near.send_all(bytes(2 * INITIAL_CREDIT))


async def test_whoever_sends_on_a_stream_that_was_cut_off_hears_the_code(
    autojump_clock, virtual_pair
):
    near, far = await open_streams(virtual_pair)
    near.on_grant(1 << 30)  # a peer that does as it likes
    with trio.move_on_after(1), suppress(StreamStopped):  # it may be told before all is sent
        await near.send_all(bytes(4 * INITIAL_CREDIT))
    await trio.sleep(1)
    with pytest.raises(StreamStopped) as stopped:
        await far.send_all(b"an answer")
    assert stopped.value.code == codes.FLOW_CONTROL


@pytest.fixture
def deaf(virtual_pair):
    """A dialler's connection whose engine has heard all, and told nothing yet."""
    engine = virtual_pair.dialler.engine
    engine._take_events = lambda _now: None
    return virtual_pair.dialler


async def test_a_stop_that_only_the_engine_knows_of_is_no_error_of_the_sender(
    autojump_clock, virtual_pair, deaf
):
    near, far = await open_streams_before(deaf, virtual_pair)
    far.stop(77)
    await trio.sleep(1)
    await near.send_all(b"into the void")
    del deaf.engine._take_events
    await deaf.ping()
    with pytest.raises(StreamStopped):
        await near.send_all(b"more")


async def test_a_close_that_only_the_engine_knows_of_is_no_error_of_the_opener(
    autojump_clock, virtual_pair, deaf
):
    near, _far = await open_streams_before(deaf, virtual_pair)
    virtual_pair.acceptor.close(99)
    await trio.sleep(0.05)
    assert deaf.open_stream_nowait() is None
    await near.send_all(b"into the void")


async def open_streams_before(deaf, pair):
    muted = deaf.engine.__dict__.pop("_take_events")
    streams = await open_streams(pair)
    deaf.engine._take_events = muted
    return streams


async def test_a_cancelled_opening_leaves_no_stream(autojump_clock, virtual_pair):
    with trio.CancelScope() as scope:
        scope.cancel()
        await virtual_pair.dialler.open_stream()
    assert scope.cancelled_caught
    assert virtual_pair.dialler.stream_count == 0


async def test_a_close_for_a_very_long_reason_is_still_said(autojump_clock, virtual_pair):
    virtual_pair.dialler.close(99, "\N{SNOWMAN}" * 2000)
    closed = await virtual_pair.acceptor.wait_closed()
    assert closed.code == 99
    assert closed.reason.startswith("\N{SNOWMAN}" * 50)
    assert len(closed.reason) <= 400
