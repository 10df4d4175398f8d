"""aioquic behind a UDP socket, moved by trio: the end of another make that ours must agree with.

aioquic is none of the product's dependencies: import this in tests only.
"""

from __future__ import annotations

import math
import ssl
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio
from aioquic._buffer import Buffer  # aioquic.buffer does not re-export it for type checkers
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.packet import pull_quic_header
from aioquic.tls import Epoch
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from fabric.trio_quic.identity import Identity

Event = TypeVar("Event", bound=events.QuicEvent)

MAX_READ = 65_535


class Oracle:
    """One aioquic connection. ``quic`` is aioquic's own; call :meth:`flush` after using it."""

    def __init__(self, sock: trio.socket.SocketType, shared: QuicConfiguration) -> None:
        self.quic: QuicConnection
        self.heard: list[events.QuicEvent] = []
        self.received: defaultdict[int, bytearray] = defaultdict(bytearray)
        self.ended: set[int] = set()
        """Streams whose FIN came."""
        self.peer: tuple[str, int]
        self._sock = sock
        self._shared = shared
        self._news = trio.lowlevel.ParkingLot()
        self._again = trio.CancelScope()

    @property
    def address(self) -> tuple[str, int]:
        name = self._sock.getsockname()
        return name[0], name[1]

    @property
    def is_dialled(self) -> bool:
        """Whether anybody has dialled us yet, or we them."""
        return hasattr(self, "quic")

    def flush(self) -> None:
        """Send what aioquic has to say; loopback never blocks for long."""
        for datagram, to in self.quic.datagrams_to_send(trio.current_time()):
            self.emit(datagram, to)
        self._again.cancel()  # the timer has moved

    def emit(self, datagram: bytes, to: tuple[str, int] | None = None) -> None:
        """Send *datagram* as it is."""
        raw: Any = self._sock
        raw._sock.sendto(datagram, to or self.peer)

    def send(self, stream_id: int, data: bytes, *, fin: bool = False) -> None:
        """Queue on a stream and send what may go."""
        self.quic.send_stream_data(stream_id, data, fin)
        self.flush()

    def seal(self, frames: bytes, *, epoch: Epoch = Epoch.ONE_RTT) -> bytes:
        """Return a packet of this connection with *frames* in it, whatever they say."""
        number, self.quic._packet_number = self.quic._packet_number, self.quic._packet_number + 1
        to = self.quic._peer_cid.cid
        crypto = self.quic._cryptos[epoch]
        frames = frames.ljust(24, b"\x00")  # enough to take the header protection's sample from
        if epoch is Epoch.ONE_RTT:
            head = bytes([0x43 | crypto.key_phase << 2]) + to
        else:
            head = b"\xe3\x00\x00\x00\x01" + bytes([len(to)]) + to
            head += bytes([len(self.quic.host_cid)]) + self.quic.host_cid
            head += (0x4000 | (4 + len(frames) + 16)).to_bytes(2, "big")
        return crypto.encrypt_packet(head + number.to_bytes(4, "big"), frames, number)

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until *holds* after something was heard."""
        while not holds():
            await self._news.park()

    async def event(self, kind: type[Event]) -> Event:
        """Wait for the first event of *kind*, however long ago it was heard."""
        found: list[Event] = []

        def find() -> bool:
            found.extend(each for each in self.heard if isinstance(each, kind))
            return bool(found)

        await self.until(find)
        return found[0]

    async def run(self) -> None:
        """Move datagrams and timers until cancelled."""
        while True:
            due = self.quic.get_timer() if self.is_dialled else None
            with trio.CancelScope(deadline=math.inf if due is None else due) as self._again:
                datagram, source = await self._sock.recvfrom(MAX_READ)
                self._receive(datagram, source)
            if self.is_dialled:
                now = trio.current_time()
                if due is not None and now >= due:
                    self.quic.handle_timer(now)
                self._listen()
                self.flush()

    def _receive(self, datagram: bytes, source: tuple[str, int]) -> None:
        if not self.is_dialled:
            header = pull_quic_header(Buffer(data=datagram), host_cid_length=8)
            self.quic = QuicConnection(
                configuration=self._shared,
                original_destination_connection_id=header.destination_cid,
            )
            self.peer = source
        self.quic.receive_datagram(datagram, source, trio.current_time())

    def _listen(self) -> None:
        while (event := self.quic.next_event()) is not None:
            self.heard.append(event)
            if isinstance(event, events.StreamDataReceived):
                self.received[event.stream_id] += event.data
                if event.end_stream:
                    self.ended.add(event.stream_id)
        self._news.unpark_all()


@asynccontextmanager
async def open_oracle(
    identity: Identity, *, dial: tuple[str, int] | None = None, alpn: str = "fabric/1"
) -> AsyncGenerator[Oracle]:
    """Run an aioquic end on loopback: one that dials *dial*, or one that waits to be dialled."""
    shared = QuicConfiguration(
        is_client=dial is not None,
        alpn_protocols=[alpn],
        verify_mode=ssl.CERT_NONE,
        certificate=load_pem_x509_certificate(identity.certificate_pem),
        private_key=load_pem_private_key(identity.key_pem, None),
        max_datagram_frame_size=None,
    )
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as sock:
        await sock.bind(("127.0.0.1", 0))
        oracle = Oracle(sock, shared)
        if dial is not None:
            oracle.quic, oracle.peer = QuicConnection(configuration=shared), dial
            oracle.quic.connect(dial, trio.current_time())
            oracle.flush()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(oracle.run)
            yield oracle
            nursery.cancel_scope.cancel()
