"""Anything at all in datagrams: one connection may end, the endpoint and the others live on."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager

import pytest
import trio

from fabric.testing.hostile import (
    X25519_ML_KEM_768,
    an_honest_hello,
    hello_datagrams,
    key_share,
)
from fabric.testing.quic import ACCEPTOR, DIALLER, an_identity, open_pair
from fabric.trio_quic import Settings, open_endpoint_on

STRANGER = ("198.51.100.66", 4000)

PANIC = "PanicException"


async def echoes(pair):
    """Whether the pair's connection still carries bytes both ways."""
    near = await pair.dialler.open_stream()
    await near.send_all_eof(b"still here?")
    far = await pair.acceptor.accept_stream()
    await far.send_all_eof(await far.receive_some())
    return await near.receive_some() == b"still here?"


def mutated(chance, datagram):
    """Return *datagram* changed somewhere: bits, length, or a piece of it elsewhere."""
    data = bytearray(datagram)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data))
        match chance.randrange(5):
            case 0:
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                data[at] = chance.randrange(256)
            case 2:
                del data[at + 1 :]
            case 3:
                data[at:at] = chance.randbytes(chance.randint(1, 40))
            case 4:
                data[at:] = data[chance.randrange(len(data)) :]
    return bytes(data) or b"\x40"


def nonsense(chance, corpus):
    """Return a random, a mutated or a replayed datagram."""
    match chance.randrange(4):
        case 0:
            return chance.randbytes(chance.randint(1, 1500))
        case 1:
            first = chance.choice([0x40, 0x43, 0x5F, 0x7F, 0xC0, 0xC3, 0xD0, 0xE0, 0xF0, 0x80])
            version = chance.choice([b"\x00\x00\x00\x01", bytes(4), chance.randbytes(4)])
            return bytes([first]) + version + chance.randbytes(chance.randint(0, 1300))
        case 2:
            return mutated(chance, chance.choice(corpus))
        case _:
            return chance.choice(corpus)


async def pour(network, chance, corpus, to, sources, count):
    for number in range(count):
        network.send(nonsense(chance, corpus), chance.choice(sources), to)
        if number % 20 == 19:
            await trio.sleep(0.02)


async def survives(network, seed, count):
    """Pour nonsense over both ends of a live pair, from their addresses and from elsewhere."""
    chance, corpus = random.Random(seed), []
    network.observers.append(lambda datagram, _source, _to: corpus.append(datagram))
    async with open_pair(network=network) as pair:
        assert await echoes(pair)
        network.observers.clear()
        here, there = pair.dialling.address, pair.accepting.address
        await pour(network, chance, corpus, there, [here, STRANGER], count)
        await pour(network, chance, corpus, here, [there, STRANGER], count)
        await trio.sleep(10)
        assert await echoes(pair)
        for endpoint in (pair.accepting, pair.dialling):
            assert not endpoint.counters.engine_failures
            assert endpoint.strangers.handshaking == endpoint.strangers.unadmitted == 0
            assert len(endpoint.connections) == 1


@pytest.mark.parametrize("seed", range(3))
async def test_nonsense_leaves_a_live_pair_alone(autojump_clock, network, seed):
    await survives(network, seed, 1_000)


@pytest.mark.slow
async def test_much_nonsense_leaves_a_live_pair_alone(autojump_clock, network):
    await survives(network, 99, 90_000)


async def dial_under_fire(network, seed, count):
    """Dial nobody while nonsense comes back for the dialler's connection ID."""
    chance, corpus = random.Random(seed), []
    nobody = ("10.99.0.1", 1)
    network.observers.append(lambda datagram, _source, to: corpus.append((datagram, to)))
    async with (
        open_endpoint_on(network.transport(), identity=an_identity(DIALLER).identity) as dialling,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(try_to_dial, dialling, nobody)
        await trio.sleep(0.01)
        hello = corpus[0][0]
        ours = hello[15 : 15 + hello[14]]
        for number in range(count):
            long = bytes([chance.choice([0xC0, 0xC3, 0xD0, 0xE0, 0xF0])]) + b"\x00\x00\x00\x01"
            head = chance.choice([b"\x40" + ours, long + bytes([8]) + ours + bytes([8])])
            tail = chance.choice([mutated(chance, hello), chance.randbytes(1200)])
            network.send(head + tail, nobody, dialling.address)
            if number % 50 == 49:
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    return dialling


async def try_to_dial(dialling, address):
    with trio.move_on_after(60):
        await dialling.connect(address, pin=None, timeout=60)


@pytest.mark.parametrize("seed", range(2))
async def test_a_live_dialler_takes_nonsense_for_an_answer_of_nobody(
    autojump_clock, network, seed
):
    dialling = await dial_under_fire(network, seed, 500)
    assert not dialling.counters.engine_failures


# -- well sealed: what is inside reaches the TLS parser of an acceptor --


@asynccontextmanager
async def open_acceptor(network):
    settings = Settings(retry_above=0, stranger_cap=0)
    async with open_endpoint_on(
        network.transport(), identity=an_identity(ACCEPTOR).identity, settings=settings
    ) as accepting:
        yield accepting


async def still_accepts(network, accepting):
    async with open_endpoint_on(
        network.transport(), identity=an_identity(DIALLER).identity
    ) as dialling:
        await dialling.connect(accepting.address, pin=an_identity(ACCEPTOR).public, timeout=2.0)
        (await accepting.accept()).admit()
        return True


def send_hello(network, to, message):
    source_cid = an_honest_hello(an_identity(DIALLER).identity).source_cid
    for datagram in hello_datagrams(message, source_cid=source_cid):
        network.send(datagram, STRANGER, to)


async def mutate_hellos(network, seed, count):
    """Return what engines failed with over *count* mutated ClientHellos."""
    chance = random.Random(seed)
    honest = an_honest_hello(an_identity(DIALLER).identity).message
    async with open_acceptor(network) as accepting:
        for _ in range(count):
            message = mutated(chance, honest)
            if chance.random() < 0.7:  # with a length that fits, more of the parser is reached
                body = message[4:]
                message = message[:1] + len(body).to_bytes(3, "big") + body
            send_hello(network, accepting.address, message[:6_000])
            await trio.sleep(0.05)
        assert await still_accepts(network, accepting)
        await trio.sleep(10)
        assert not accepting.connections
        assert accepting.strangers.handshaking == accepting.strangers.unadmitted == 0
        return dict(accepting.counters.engine_failures)


@pytest.mark.parametrize("seed", range(2))
async def test_mutated_hellos_end_their_own_connections_only(autojump_clock, network, seed):
    failures = await mutate_hellos(network, seed, 150)
    assert all(kind.startswith(PANIC) for kind in failures)


@pytest.mark.slow
async def test_many_mutated_hellos_end_their_own_connections_only(autojump_clock, network):
    failures = await mutate_hellos(network, 99, 2_250)
    assert all(kind.startswith(PANIC) for kind in failures)


async def test_a_panic_of_ml_kem_ends_one_connection_and_is_counted(
    autojump_clock, network, capfd
):
    """A share whose numbers are not below the modulus: the Rust part panics, and says so."""
    honest = an_honest_hello(an_identity(DIALLER).identity).message
    share = key_share(honest, X25519_ML_KEM_768)
    size = share.stop - share.start
    assert size == 1_184 + 32
    message = honest[: share.start] + b"\xff" * size + honest[share.stop :]
    failed = []
    async with open_acceptor(network) as accepting:
        accepting.failed = failed.append
        send_hello(network, accepting.address, message)
        await trio.sleep(0.1)
        (kind,) = accepting.counters.engine_failures
        assert kind.startswith(PANIC)
        assert failed[0].closed.code == 1
        assert not accepting.connections
        assert accepting.strangers.handshaking == 0
        assert await still_accepts(network, accepting)
    assert "panicked" in capfd.readouterr().err
