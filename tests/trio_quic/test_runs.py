"""How much of a stream fills the datagrams that leave by one system call."""

from __future__ import annotations

import pytest
import trio

from fabric.testing.quic import open_pair, open_streams
from fabric.trio_quic import Settings
from fabric.trio_quic.runs import bytes_in_a_run, datagrams_in_a_run
from fabric.trio_quic.udp import MAX_GSO_BYTES, MAX_SEGMENTS

SIZES = [1200, 1452, 9000]


@pytest.mark.parametrize("size", SIZES)
def test_a_run_is_one_call_and_nearly_all_that_one_takes(size):
    count = datagrams_in_a_run(size)
    assert count <= MAX_SEGMENTS
    assert count * (size - 20) <= MAX_GSO_BYTES  # 20: what the longest headers leave of it
    assert (count + 1) * size > MAX_GSO_BYTES - size


@pytest.mark.parametrize("size", SIZES)
async def test_a_run_handed_over_leaves_as_full_datagrams_by_one_call(size):
    async with open_pair(settings=Settings(max_datagram_bytes=size)) as pair:
        near, far = await open_streams(pair)
        assert near.run_bytes == bytes_in_a_run(size)
        await _widen(near, far)
        assert await _sent_for(pair, near, near.run_bytes) == (datagrams_in_a_run(size), 1)


async def _widen(near, far):
    """Let the stream's credit and the congestion window grow, and all of it be acknowledged."""
    whole = 32 * near.run_bytes
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.send_all, bytes(whole))
        while whole:
            whole -= len(await far.receive_some())
    await trio.sleep(0.1)


async def _sent_for(pair, near, size):
    """Return by how many datagrams and calls *size* bytes leave."""
    counters = pair.dialling.transport_counters
    before = counters.datagrams_sent, counters.sends
    await near.send_all(bytes(size))
    return counters.datagrams_sent - before[0], counters.sends - before[1]
