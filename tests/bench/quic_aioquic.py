"""aioquic at the same work between two processes; called as `quic_task` says.

It is driven by its events, the fastest of its public ways: its asyncio streams cost a task and two
objects more for each request.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import serve as listen
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionTerminated,
    ProtocolNegotiated,
    QuicEvent,
    StreamDataReceived,
)

from fabric.net.tls import NodeKey
from tests.bench import hello, quic_task
from tests.bench.aioquic_setup import configuration, unsent
from tests.bench.quic_task import DIALLERS, KIB, MIB, REQUEST, SWALLOW, Figures, Task

PIECE = 64 * KIB
UNSENT_BYTES = MIB
"""Queued ahead of the wire: several of its windows, so that it never runs dry."""


class Acceptor(QuicConnectionProtocol):
    """Greets in its first flight, admits, then answers streams by their first byte."""

    def __init__(self, quic: QuicConnection, *, key: NodeKey) -> None:
        super().__init__(quic)
        self._key = key
        self._nonce = b""
        self._hello = hello.Reply()
        self._counts: dict[int, tuple[bytes, int]] = {}

    def quic_event_received(self, event: QuicEvent) -> None:
        match event:
            case ProtocolNegotiated():
                self._nonce, greeting = hello.challenge()
                stream = self._quic.get_next_available_stream_id(is_unidirectional=True)
                self._quic.send_stream_data(stream, greeting, end_stream=True)
            case StreamDataReceived(data=data, stream_id=0):
                if frame := self._hello.after(data):
                    ok = hello.verdict(frame, self._key.public, self._nonce)
                    self._quic.send_stream_data(0, ok)
            case StreamDataReceived(data=data, end_stream=is_end, stream_id=stream):
                mode, count = self._counts.pop(stream, (data[:1], 0))
                count += len(data)
                if is_end:
                    told = count.to_bytes(8, "big") if mode == SWALLOW else REQUEST
                    self._quic.send_stream_data(stream, told, end_stream=True)
                else:
                    self._counts[stream] = mode, count


class Dialler(QuicConnectionProtocol):
    """Gives what arrives on each stream to whoever waits for its end."""

    def __init__(self, quic: QuicConnection, *, key: NodeKey, pin: bytes) -> None:
        super().__init__(quic)
        self._key, self._pin = key, pin
        self._challenge, self._answer = hello.Reply(), hello.Reply()
        self._bodies: dict[int, tuple[bytearray, asyncio.Future[bytes]]] = {}
        self.admitted: asyncio.Future[None] = self._loop.create_future()

    def quic_event_received(self, event: QuicEvent) -> None:
        match event:
            case StreamDataReceived(data=data, stream_id=3):
                if frame := self._challenge.after(data):
                    stream = self._quic.get_next_available_stream_id()
                    told = hello.answer(self._key, frame, self._pin)
                    self._quic.send_stream_data(stream, told)
            case StreamDataReceived(data=data, stream_id=0):
                if self._answer.after(data):
                    self.admitted.set_result(None)
            case StreamDataReceived(data=data, end_stream=is_end, stream_id=stream):
                body, whole = self._bodies[stream]
                body += data
                if is_end:
                    del self._bodies[stream]
                    whole.set_result(bytes(body))
            case ConnectionTerminated(reason_phrase=reason) if not self.admitted.done():
                self.admitted.set_exception(ConnectionError(reason or "closed"))

    def begin(self, data: bytes, *, is_end: bool) -> tuple[int, asyncio.Future[bytes]]:
        """A new stream and the future of all that comes back on it."""
        stream = self._quic.get_next_available_stream_id()
        whole: asyncio.Future[bytes] = self._loop.create_future()
        self._bodies[stream] = bytearray(), whole
        self.send(stream, data, is_end=is_end)
        return stream, whole

    def send(self, stream: int, data: bytes, *, is_end: bool) -> None:
        self._quic.send_stream_data(stream, data, end_stream=is_end)
        self.transmit()

    def unsent(self, stream: int) -> int:
        return unsent(self._quic, stream)

    def hang_up(self) -> None:
        self._quic.close()
        self.transmit()


async def dial(
    address: tuple[str, int], settings: QuicConfiguration, key: NodeKey, pin: bytes
) -> tuple[asyncio.DatagramTransport, Dialler]:
    """Returns once HelloOk is here."""
    dialler = Dialler(QuicConnection(configuration=settings), key=key, pin=pin)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: dialler, ("127.0.0.1", 0))
    dialler.connect(address)
    await dialler.admitted
    return transport, dialler


def settings_of(task: Task) -> QuicConfiguration:
    return configuration(datagram_bytes=task.datagram_bytes)


@asynccontextmanager
async def connected(task: Task) -> AsyncIterator[Dialler]:
    key, pin = NodeKey.from_seed(os.urandom(32)), task.own_key().public
    transport, dialler = await dial(task.address, settings_of(task), key, pin)
    yield dialler
    dialler.hang_up()
    transport.close()


async def serve(task: Task) -> Figures:
    key = task.own_key()
    server = await listen(
        "127.0.0.1",
        0,
        configuration=configuration(key, datagram_bytes=task.datagram_bytes),
        create_protocol=lambda quic, **_: Acceptor(quic, key=key),
    )
    task.announce(cast("asyncio.BaseTransport", server._transport).get_extra_info("sockname")[1])
    await asyncio.Event().wait()
    return {}


async def bulk(task: Task) -> Figures:
    """MB/s from the first byte until the acceptor has told that all have arrived."""
    block = os.urandom(PIECE)
    async with connected(task) as dialler:
        start, sent = time.perf_counter(), 1
        stream, count = dialler.begin(SWALLOW, is_end=False)
        while time.perf_counter() - start < task.seconds:
            while dialler.unsent(stream) < UNSENT_BYTES:
                dialler.send(stream, block, is_end=False)
                sent += len(block)
            await asyncio.sleep(0)
        dialler.send(stream, b"", is_end=True)
        arrived = int.from_bytes(await count, "big")
        elapsed = time.perf_counter() - start
    if arrived != sent:
        raise ValueError(f"{arrived} bytes arrived of {sent}")
    return {f"bulk_{task.datagram_bytes}": sent / elapsed / 1e6}


async def request_rate(dialler: Dialler, in_flight: int, seconds: float) -> float:
    """Requests answered per second, each on a new stream."""
    done, end = 0, time.perf_counter() + seconds

    async def ask() -> None:
        nonlocal done
        while time.perf_counter() < end:
            _, answer = dialler.begin(REQUEST, is_end=True)
            if len(await answer) != len(REQUEST):
                raise ValueError("an answer of the wrong length")
            done += 1

    start = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(in_flight)))
    return done / (time.perf_counter() - start)


async def requests(task: Task) -> Figures:
    async with connected(task) as dialler:
        return {f"requests_{n}": await request_rate(dialler, n, task.seconds) for n in (1, 32)}


async def shake_hands(task: Task) -> Figures:
    """Diallers of as many identities, each from sockets of its own, over and over.

    A connection is closed at once; its socket stays for a moment, so that the peer's last packets
    find it. That wait is counted for nobody.
    """
    done, loop, settings = 0, asyncio.get_running_loop(), settings_of(task)
    pin, address = task.own_key().public, task.address

    async def repeat(key: NodeKey) -> None:
        nonlocal done
        while time.perf_counter() < end:
            transport, dialler = await dial(address, settings, key, pin)
            dialler.hang_up()
            loop.call_later(0.5, transport.close)
            done += 1

    keys = [NodeKey.from_seed(os.urandom(32)) for _ in range(DIALLERS)]
    start = time.perf_counter()
    end = start + task.seconds
    await asyncio.gather(*map(repeat, keys))
    return {"handshakes_16": done / (time.perf_counter() - start)}


WORKS = {"serve": serve, "bulk": bulk, "requests": requests, "handshakes": shake_hands}

if __name__ == "__main__":
    quic_task.main(lambda work, task: asyncio.run(work(task)), WORKS)
