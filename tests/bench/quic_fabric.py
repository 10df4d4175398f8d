"""Our QUIC driver at work between two processes; called as `quic_task` says."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import trio

from fabric.core.frames import CHALLENGE_KIND, Frame
from fabric.net.tls import NodeKey, certificate_for
from fabric.trio_quic import (
    Connection,
    Endpoint,
    Identity,
    QuicError,
    Settings,
    Stream,
    open_endpoint,
)
from tests.bench import hello, quic_task
from tests.bench.quic_task import DIALLERS, MIB, REQUEST, STALL, SWALLOW, Figures, Task

TICK = 0.010
"""Seconds between the ticks whose lateness is measured."""
STALL_AFTER = 0.5
"""Seconds in which streams whose reader has stopped use up their windows."""


# ---- the acceptor ----
@asynccontextmanager
async def acceptor(task: Task) -> AsyncIterator[Endpoint]:
    """Serves every connection for the body of the `async with`."""
    key, nonces = task.own_key(), dict[Connection, bytes]()

    def greet(connection: Connection) -> tuple[int, bytes]:
        nonces[connection], frame = hello.challenge()
        return CHALLENGE_KIND, frame

    async def serve(connection: Connection) -> None:
        try:
            await admit(connection, key.public, nonces.pop(connection))
            async with trio.open_nursery() as streams:
                while True:
                    streams.start_soon(serve_stream, await connection.accept_stream())
        except* QuicError:
            pass  # the dialler has what it wanted

    async def accept(endpoint: Endpoint) -> None:
        async with trio.open_nursery() as connections:
            while True:
                connections.start_soon(serve, await endpoint.accept())

    async with (
        open_endpoint(
            "127.0.0.1", 0, identity=identity(key), settings=settings(task), greeting=greet
        ) as endpoint,
        trio.open_nursery() as nursery,
    ):
        endpoint.exempt = lambda _: True  # as known peers' addresses are: no Retry, no cap
        nursery.start_soon(accept, endpoint)
        yield endpoint
        nursery.cancel_scope.cancel()


async def admit(connection: Connection, own_key: bytes, nonce: bytes) -> None:
    control = await connection.accept_stream()
    answer = hello.verdict(await one_frame(control), own_key, nonce)
    connection.admit()
    await control.send_all(answer)


async def serve_stream(stream: Stream) -> None:
    try:
        first = await stream.receive_some()
        if first.startswith(STALL):
            await trio.sleep_forever()
        count = len(first)
        async for piece in stream:
            count += len(piece)
        await stream.send_all_eof(
            count.to_bytes(8, "big") if first.startswith(SWALLOW) else REQUEST
        )
        await stream.aclose()
    except QuicError:
        return


async def one_frame(stream: Stream) -> Frame:
    reply = hello.Reply()
    while (frame := reply.after(await stream.receive_some())) is None:
        pass
    return frame


def identity(key: NodeKey) -> Identity:
    return Identity(*certificate_for(key))


def settings(task: Task) -> Settings:
    return Settings(max_datagram_bytes=task.datagram_bytes)


# ---- the dialler ----
@asynccontextmanager
async def open_dialler(task: Task, key: NodeKey) -> AsyncIterator[Endpoint]:
    async with open_endpoint(
        "127.0.0.1", 0, identity=identity(key), settings=settings(task)
    ) as endpoint:
        yield endpoint


async def dial(
    endpoint: Endpoint, address: tuple[str, int], key: NodeKey, pin: bytes
) -> Connection:
    """Returns once HelloOk is here."""
    connection = await endpoint.connect(address, pin=pin)
    _, challenged = await connection.accept_unidirectional()
    control = await connection.open_stream()
    await control.send_all(hello.answer(key, await one_frame(challenged), pin))
    await one_frame(control)
    return connection


@asynccontextmanager
async def connected(task: Task) -> AsyncIterator[Connection]:
    key = NodeKey.from_seed(os.urandom(32))
    async with open_dialler(task, key) as endpoint:
        connection = await dial(endpoint, task.address, key, task.own_key().public)
        yield connection
        connection.close()


async def bulk_rate(connection: Connection, seconds: float) -> float:
    """MB/s from the first byte until the acceptor has told that all have arrived."""
    stream, block = await connection.open_stream(), os.urandom(MIB)
    start, sent = time.perf_counter(), 1
    await stream.send_all(SWALLOW)
    while time.perf_counter() - start < seconds:
        await stream.send_all(block)
        sent += len(block)
    await stream.send_eof()
    count = b"".join([piece async for piece in stream])
    elapsed = time.perf_counter() - start
    if int.from_bytes(count, "big") != sent:
        raise ValueError(f"{int.from_bytes(count, 'big')} bytes arrived of {sent}")
    return sent / elapsed / 1e6


async def request_rate(connection: Connection, in_flight: int, seconds: float) -> float:
    """Requests answered per second, each on a new stream."""
    done, end = 0, time.perf_counter() + seconds

    async def ask() -> None:
        nonlocal done
        while time.perf_counter() < end:
            stream = await connection.open_stream()
            await stream.send_all_eof(REQUEST)
            have = 0
            async for piece in stream:
                have += len(piece)
            if have != len(REQUEST):
                raise ValueError(f"an answer of {have} bytes")
            done += 1

    start = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(in_flight):
            nursery.start_soon(ask)
    return done / (time.perf_counter() - start)


async def shake_hands(task: Task) -> Figures:
    """Diallers of as many identities, each from a socket of its own, over and over."""
    done, pin, address = 0, task.own_key().public, task.address

    async def repeat(endpoint: Endpoint, key: NodeKey, end: float) -> None:
        nonlocal done
        while time.perf_counter() < end:
            (await dial(endpoint, address, key, pin)).close()
            done += 1

    async with AsyncExitStack() as stack:
        keys = [NodeKey.from_seed(os.urandom(32)) for _ in range(DIALLERS)]
        endpoints = [await stack.enter_async_context(open_dialler(task, key)) for key in keys]
        start = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for endpoint, key in zip(endpoints, keys, strict=True):
                nursery.start_soon(repeat, endpoint, key, start + task.seconds)
        return {"handshakes_16": done / (time.perf_counter() - start)}


async def stall_beside(
    connection: Connection, streams: int, seconds: float
) -> tuple[float, float]:
    """Bulk rate of one stream alone, then beside `streams` whose reader has stopped."""

    async def feed() -> None:
        stream, block = await connection.open_stream(), STALL + bytes(MIB)
        while True:
            await stream.send_all(block)

    alone = await bulk_rate(connection, seconds)
    async with trio.open_nursery() as nursery:
        for _ in range(streams):
            nursery.start_soon(feed)
        await trio.sleep(STALL_AFTER)
        beside = await bulk_rate(connection, seconds)
        nursery.cancel_scope.cancel()
    return alone, beside


async def worst_tick(end: float) -> float:
    """Seconds by which the latest tick until `end` was late."""
    worst, due = 0.0, trio.current_time()
    while due < end:
        due += TICK
        await trio.sleep_until(due)
        worst = max(worst, trio.current_time() - due)
    return worst


# ---- the tasks ----
async def serve(task: Task) -> Figures:
    async with acceptor(task) as endpoint:
        task.announce(endpoint.address[1])
        await trio.sleep_forever()


async def bulk(task: Task) -> Figures:
    async with connected(task) as connection:
        return {f"bulk_{task.datagram_bytes}": await bulk_rate(connection, task.seconds)}


async def requests(task: Task) -> Figures:
    async with connected(task) as connection:
        return {f"requests_{n}": await request_rate(connection, n, task.seconds) for n in (1, 32)}


async def stalled(task: Task) -> Figures:
    """Each number of stalled streams on a connection of its own, beside its own rate alone."""
    figures: Figures = {}
    for streams in (20, 200):
        async with connected(task) as connection:
            alone, beside = await stall_beside(connection, streams, task.seconds)
        figures |= {f"stalled_rate_{streams}": beside, f"stalled_rate_{streams}_alone": alone}
    return figures


async def ticker(task: Task) -> Figures:
    """Both roles share this process, so that every pause of either is felt."""
    async with acceptor(task) as endpoint:
        task.announce(endpoint.address[1])
        worst = 0.0

        async def tick() -> None:
            nonlocal worst
            worst = await worst_tick(trio.current_time() + task.seconds)

        async with connected(task) as connection, trio.open_nursery() as nursery:
            nursery.start_soon(tick)
            await bulk_rate(connection, task.seconds)
    return {"ticker_max_ms": worst * 1e3}


WORKS = {
    "serve": serve,
    "bulk": bulk,
    "requests": requests,
    "handshakes": shake_hands,
    "stalled": stalled,
    "ticker": ticker,
}

if __name__ == "__main__":
    quic_task.main(trio.run, WORKS)
