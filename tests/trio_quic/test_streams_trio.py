"""A stream keeps the contract that trio's own tests hold every stream to."""

from __future__ import annotations

import pytest
import trio.testing


@pytest.fixture
async def make_streams(virtual_pair):
    """Makes connected pairs of streams."""

    async def make():
        near = await virtual_pair.dialler.open_stream()
        await near.send_all(b"!")
        far = await virtual_pair.acceptor.accept_stream()
        assert await far.receive_some() == b"!"
        return near, far

    return make


@pytest.fixture
async def make_clogged(make_streams):
    """Makes pairs of which neither end can send until the other receives."""

    async def make():
        streams = await make_streams()
        for stream in streams:
            with trio.move_on_after(1):
                await stream.send_all(b"x" * 10_000_000)
        return streams

    return make


async def test_a_stream_does_what_trio_asks_of_one(autojump_clock, make_streams, make_clogged):
    await trio.testing.check_half_closeable_stream(make_streams, make_clogged)
