"""The mark behind a stream's last byte: none too many and none too few, in any order of frames."""

from __future__ import annotations

import random

import pytest
import trio

from fabric.testing.network import Network, Weather
from fabric.testing.quic import open_pair
from fabric.trio_quic import Settings

AROUND_A_DATAGRAM = [0, 1, 2, *range(1130, 1175), 2300, 2350, 4096, 65_535, 65_536, 65_537]
"""Where one more byte begins a frame of its own, or a slice, or a grant."""


@pytest.mark.parametrize("peer_credit", [True, False])
@pytest.mark.parametrize("seed", range(3))
async def test_every_small_stream_is_whole_to_the_byte(autojump_clock, seed, peer_credit):
    chance = random.Random(seed)
    weather = Weather(delay=0.003, jitter=0.003, loss=0.03, duplicate=0.1, reorder=0.2)
    sent = [chance.randbytes(chance.choice(AROUND_A_DATAGRAM)) for _ in range(400)]
    got: dict[bytes, bytes] = {}
    limit = trio.CapacityLimiter(40)

    async def send(connection, number, payload):
        async with limit:
            stream = await connection.open_stream()
            whole = number.to_bytes(4, "big") + payload
            for piece in _cut(whole, chance):
                await stream.send_all(piece)
            await _end(stream, chance)

    async def receive(stream):
        whole = b""
        while piece := await stream.receive_some(chance.choice([None, 1000])):
            whole += piece
        got[whole[:4]] = whole[4:]
        await stream.aclose()

    network = Network(seed=seed, weather=weather)
    settings = Settings(peer_credit=peer_credit)
    async with (
        open_pair(network=network, settings=settings) as pair,
        trio.open_nursery() as nursery,
    ):
        for number, payload in enumerate(sent):
            nursery.start_soon(send, pair.dialler, number, payload)
        for _ in sent:
            nursery.start_soon(receive, await pair.acceptor.accept_stream())
    assert [got[number.to_bytes(4, "big")] for number in range(len(sent))] == sent


def _cut(whole, chance):
    at = chance.randrange(len(whole) + 1)
    return [whole] if chance.random() < 0.5 else [whole[:at], whole[at:]]


async def _end(stream, chance):
    """By each of the three ways to end a direction."""
    match chance.randrange(3):
        case 0:
            await stream.send_eof()
        case 1:
            await stream.send_all_eof(b"")
        case _:
            await stream.aclose()
