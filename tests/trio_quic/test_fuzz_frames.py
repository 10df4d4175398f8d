"""Authentic packets with arbitrary frames: at worst their connection is closed, with a code."""

from __future__ import annotations

import random

import pytest
import trio
from aioquic.buffer import encode_uint_var
from aioquic.quic import events

from fabric.testing.oracle import open_oracle
from fabric.testing.quic import ACCEPTOR, DIALLER, an_identity
from fabric.trio_quic import Settings, open_endpoint

SETTINGS = Settings(retry_above=0)

ARGUMENTS = {
    0x01: 0, 0x02: 4, 0x03: 7, 0x04: 3, 0x05: 2, 0x08: 1, 0x0A: 2, 0x0E: 3, 0x0F: 3, 0x10: 1,
    0x11: 2, 0x12: 1, 0x13: 1, 0x14: 1, 0x15: 2, 0x16: 1, 0x17: 1, 0x19: 1, 0x1E: 0, 0x31: 1,
}  # fmt: skip
"""Varints after the type of a frame (RFC 9000, 19)."""


def number(chance):
    """Return a varint that is likely to be a limit, an id, or far too much."""
    small = chance.choice([0, 1, 2, 3, 4, 8, 63, 64, chance.randrange(1 << 14)])
    return chance.choice([small, small, chance.randrange(1 << 30), (1 << 62) - 1])


def a_frame(chance):
    kind = chance.choice([*ARGUMENTS, 0x06, 0x07, 0x18, 0x1A, 0x1B, 0x1C, 0x1D, None])
    if kind is None:
        return chance.randbytes(chance.randint(1, 40))
    data = chance.randbytes(chance.randint(0, 60))
    sized = encode_uint_var(len(data)) + data
    head = encode_uint_var(kind)
    match kind:
        case 0x06:
            return head + encode_uint_var(number(chance)) + sized
        case 0x07:
            return head + sized
        case 0x18:
            return head + bytes([chance.randrange(8), 0, 8]) + chance.randbytes(24)
        case 0x1A | 0x1B:
            return head + chance.randbytes(8)
        case 0x1C:
            return head + encode_uint_var(number(chance)) + b"\x00" + sized
        case 0x1D:
            return head + encode_uint_var(number(chance)) + sized
        case 0x0E | 0x0F:
            where = encode_uint_var(number(chance)) + encode_uint_var(number(chance))
            return head + where + sized
    return head + b"".join(encode_uint_var(number(chance)) for _ in range(ARGUMENTS[kind]))


async def bombard(chance, oracle, connection, packets):
    """Send sealed nonsense until the connection is closed or it is enough."""
    for _ in range(packets):
        if connection.closed is not None:
            return
        frames = b"".join(a_frame(chance) for _ in range(chance.choice([1, 1, 2, 6])))
        oracle.emit(oracle.seal(frames))
        await trio.sleep(0.001)


async def use(connection):
    """Do with the connection what an application does, whatever becomes of it."""
    try:
        stream = await connection.open_stream()
        await stream.send_all(b"hello")
        while True:
            far = await connection.accept_stream()
            await far.receive_some()
    except trio.BrokenResourceError:
        await connection.wait_closed()


async def meet(chance, oracle, connection, packets):
    connection.admit()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(use, connection)
        await bombard(chance, oracle, connection, packets)
        nursery.cancel_scope.cancel()
    connection.close(77, "enough")


async def bombard_acceptors(seed, connections, packets):
    chance = random.Random(seed)
    dials, accepts = an_identity(DIALLER), an_identity(ACCEPTOR)
    async with open_endpoint(
        "127.0.0.1", 0, identity=accepts.identity, settings=SETTINGS
    ) as accepting:
        for _ in range(connections):
            async with open_oracle(dials.identity, dial=accepting.address) as oracle:
                connection = await accepting.accept()
                await oracle.event(events.HandshakeCompleted)
                await meet(chance, oracle, connection, packets)
        return accepting.counters.engine_failures


async def bombard_diallers(seed, connections, packets):
    chance = random.Random(seed)
    dials, accepts = an_identity(DIALLER), an_identity(ACCEPTOR)
    async with open_endpoint("127.0.0.1", 0, identity=dials.identity) as dialling:
        for _ in range(connections):
            async with open_oracle(accepts.identity) as oracle:
                connection = await dialling.connect(oracle.address, pin=accepts.public)
                await oracle.event(events.HandshakeCompleted)
                await meet(chance, oracle, connection, packets)
        return dialling.counters.engine_failures


BOMBARDED = [bombard_acceptors, bombard_diallers]


@pytest.mark.parametrize("bombarded", BOMBARDED)
@pytest.mark.parametrize("seed", range(2))
async def test_arbitrary_frames_close_their_connection_at_most(bombarded, seed):
    assert await bombarded(seed, connections=120, packets=12) == {}


@pytest.mark.slow
@pytest.mark.parametrize("bombarded", BOMBARDED)
@pytest.mark.parametrize("seed", range(100, 110))
async def test_very_many_arbitrary_frames_close_their_connection_at_most(bombarded, seed):
    assert await bombarded(seed, connections=300, packets=40) == {}
