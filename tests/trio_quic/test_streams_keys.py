"""Key updates in the middle of bulk, asked for by either side, under loss."""

from __future__ import annotations

import random

import trio

from fabric.testing.network import Network, Weather
from fabric.testing.quic import open_pair, open_streams, read_all
from fabric.trio_quic import Settings

ROUGH = Weather(delay=0.005, loss=0.005)


async def phases_seen(pair, seen):
    """Note each change of the dialler's sending key phase."""
    while True:
        phase = pair.dialler.engine._core.send_key_phase
        if not seen or seen[-1] != phase:
            seen.append(phase)
        await trio.sleep(0.001)


async def exchange(pair, payload):
    near, far = await open_streams(pair)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.send_all_eof, payload)
        nursery.start_soon(far.send_all_eof, payload[::-1])

        async def read_near():
            assert await read_all(near) == payload[::-1]

        nursery.start_soon(read_near)
        assert await read_all(far) == payload


async def test_keys_change_after_so_many_packets_and_no_byte_is_lost(autojump_clock):
    settings = Settings(packets_per_key=300)
    payload = random.Random(1).randbytes(2_000_000)
    seen: list[int] = []
    network = Network(seed=2, weather=ROUGH)
    async with (
        open_pair(network=network, settings=settings) as pair,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(phases_seen, pair, seen)
        await exchange(pair, payload)
        nursery.cancel_scope.cancel()
    assert len(seen) >= 4


async def test_either_side_may_ask_at_any_time(autojump_clock):
    payload = random.Random(3).randbytes(1_500_000)
    seen: list[int] = []
    async with open_pair(network=Network(seed=4, weather=ROUGH)) as pair:

        async def ask():
            while True:
                await trio.sleep(0.04)
                pair.dialler.engine.update_keys()
                await trio.sleep(0.04)
                pair.acceptor.engine.update_keys()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(phases_seen, pair, seen)
            nursery.start_soon(ask)
            await exchange(pair, payload)
            nursery.cancel_scope.cancel()
        assert pair.dialler.closed is None
    assert len(seen) >= 4


async def test_keys_stay_while_few_packets_were_sent(autojump_clock):
    seen: list[int] = []
    async with open_pair(network=Network()) as pair, trio.open_nursery() as nursery:
        nursery.start_soon(phases_seen, pair, seen)
        await exchange(pair, bytes(100_000))
        nursery.cancel_scope.cancel()
    assert len(seen) == 1
