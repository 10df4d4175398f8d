"""One-way streams: a kind, bytes in one direction, and nothing in the other."""

from __future__ import annotations

import pytest
import trio

from fabric.testing.quic import read_all
from fabric.trio_quic import StreamReset, StreamStopped


@pytest.fixture
async def one_way(virtual_pair):
    near = virtual_pair.dialler.open_unidirectional(7, b"hello")
    kind, far = await virtual_pair.acceptor.accept_unidirectional()
    assert kind == 7
    return near, far


async def test_a_one_way_stream_says_what_it_is(autojump_clock, one_way):
    near, far = one_way
    await near.send_all_eof(b", world")
    assert await read_all(far) == b"hello, world"


async def test_either_end_may_open_one(autojump_clock, virtual_pair):
    virtual_pair.acceptor.open_unidirectional(63, b"said at once", fin=True)
    kind, far = await virtual_pair.dialler.accept_unidirectional()
    assert (kind, await read_all(far)) == (63, b"said at once")


@pytest.mark.parametrize("kind", [0, 64])
async def test_kinds_outside_one_to_63_are_refused(autojump_clock, virtual_pair, kind):
    with pytest.raises(ValueError, match="kind"):
        virtual_pair.dialler.open_unidirectional(kind)


async def test_the_missing_direction_is_closed(autojump_clock, one_way):
    near, far = one_way
    with pytest.raises(trio.ClosedResourceError):
        await near.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        await far.send_all(b"x")
    with pytest.raises(trio.ClosedResourceError):
        await far.send_eof()


async def test_closing_both_ends_leaves_nothing(autojump_clock, virtual_pair, one_way):
    near, far = one_way
    await near.aclose()
    assert await read_all(far) == b"hello"
    await far.aclose()
    await trio.sleep(1)
    assert (virtual_pair.dialler.stream_count, virtual_pair.acceptor.stream_count) == (0, 0)
    assert virtual_pair.dialler.closed is None
    assert virtual_pair.acceptor.closed is None


async def test_reset_and_stop_work_on_it(autojump_clock, virtual_pair, one_way):
    near, far = one_way
    far.stop(4)
    await trio.sleep(0.1)
    with pytest.raises(StreamStopped):
        await near.send_all(b"x")
    other = virtual_pair.dialler.open_unidirectional(8, b"x")
    _kind, end = await virtual_pair.acceptor.accept_unidirectional()
    other.reset(5)
    assert await end.receive_some() == b"x"
    with pytest.raises(StreamReset):
        await end.receive_some()


async def test_opening_past_the_peers_limit_is_an_error(autojump_clock, virtual_pair):
    for _ in range(16):
        virtual_pair.dialler.open_unidirectional(1)
    with pytest.raises(ValueError, match="limit"):
        virtual_pair.dialler.open_unidirectional(1)
