"""One QUIC connection: its streams, its credit, its end.

Theory of operation
===================

The engine (:mod:`._native`) decides what the protocol does; a connection is its sink and turns
events into wake-ups of tasks. It owns no task: the endpoint's pump feeds it and flushes it, and
an application's call that produces bytes flushes at once, unless the pump is about to send for
all the tasks that it has just woken (see :meth:`Endpoint.touch`).

A connection ends once, by :meth:`Connection._fail`, whoever began it; from then on every stream
raises the same :exc:`ConnectionClosed`, while the engine may still repeat its close packet until
``on_terminated``, when the endpoint forgets it.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from typing import TYPE_CHECKING, Any

import trio

from fabric.trio_quic import codes
from fabric.trio_quic._native import IDLE_REASON, Engine
from fabric.trio_quic.credit import CREDIT_KIND, SHORT_PATH, Credit
from fabric.trio_quic.errors import ConnectionClosed
from fabric.trio_quic.room import Room
from fabric.trio_quic.settings import Settings
from fabric.trio_quic.stream import Stream
from fabric.trio_quic.stream_ids import PeerStreams, is_further
from fabric.trio_quic.timers import Entry

if TYPE_CHECKING:
    from fabric.trio_quic.endpoint import Endpoint
    from fabric.trio_quic.udp import SockAddr

MAX_KIND = 63

UNIDIRECTIONAL = 2
ACCEPTOR = 1
"""Bits of a stream id (RFC 9000, 2.1)."""

MAX_REASON = 400
"""Bytes of a close's reason: its packet must fit a datagram, or the engine says nothing at all.
What a peer gives for one is cut to so many characters, for it ends up in logs."""

APPLICATION_ERROR = 0x0C
"""What an application code becomes in a packet that a stranger could read (RFC 9000, 10.2.3)."""

STRANGER_UNIDIRECTIONAL = 2
"""A stranger may open the credit stream and one more."""

PACKET_OVERHEAD = 4 * 1024
"""What headers, acknowledgements and a resent Hello may add to a stranger's payload. It is also
all that can hide in the engine: data out of order, and streams without data, 1 kB for 5 bytes."""


class Connection:
    """Made by :meth:`Endpoint.connect` and :meth:`Endpoint.accept`; whoever got it must close it.

    An accepted one is a stranger's until :meth:`admit`: it may use one bidirectional stream and
    ``Settings.stranger_bytes`` within ``Settings.handshake_timeout``, or it is closed.
    """

    def __init__(
        self, endpoint: Endpoint, peer: SockAddr, *, is_dialler: bool, pin: bytes | None = None
    ) -> None:
        self.endpoint = endpoint
        self.limits: Settings = endpoint.settings
        self.is_dialler = is_dialler
        self.peer = peer
        """Where packets go now: a socket address, changed only by authentic packets."""
        self.peer_key: bytes | None = None
        """The acceptor's raw Ed25519 key as proved in TLS; ``None`` on the acceptor itself."""
        self.admitted = is_dialler
        self.closed: ConnectionClosed | None = None
        self.engine: Engine
        self.streams: dict[int, Stream] = {}
        self.room = Room(self.limits)
        self.credit = Credit(self)
        self.bytes_sent = 0
        self.bytes_received = 0
        self.last_heard = trio.current_time()
        """When the last authentic packet came, by trio's clock."""
        self.established = trio.Event()
        self.terminated = trio.Event()
        self._over = trio.Event()
        # for the endpoint alone
        self.cids: set[bytes] = set()
        self.dirty = False
        self.entry: Entry | None = None
        self.handshaking = False
        self.counted_as_stranger = False
        self.known_address = False
        self._stranger_bytes = 0
        self.stranger_address = self.remote_address
        self.allowance: int | None = None
        """Bytes that may go to an address not yet validated; ``None`` once it is."""
        self._pin = pin
        self._accepted: deque[Stream] = deque()
        self._accepted_unidirectional: deque[tuple[int, Stream]] = deque()
        self._arrivals = trio.lowlevel.ParkingLot()
        self._slots = trio.lowlevel.ParkingLot()
        self._progress = trio.lowlevel.ParkingLot()
        self._peer_streams = PeerStreams()
        self._pings: dict[int, tuple[float, trio.Event]] = {}
        self._ping_ids = itertools.count(1)
        self._has_said = False
        """Whether anything but the engine may have something to send."""
        self._path_ping = 0
        self._packets_under_key = 0
        self._probed_at = self.last_heard
        # a dialler's own deadline is the one that connect() was given
        self._deadline = (
            math.inf if is_dialler else self.last_heard + self.limits.handshake_timeout
        )

    def __repr__(self) -> str:
        role = "dialler" if self.is_dialler else "acceptor"
        return f"<Connection {role} to {self.remote_address} {self.closed or 'open'}>"

    # -- what is seen of it --
    @property
    def remote_address(self) -> tuple[str, int]:
        return self.peer[0], self.peer[1]

    @property
    def rtt(self) -> float | None:
        """Smoothed round trip in seconds."""
        return self.engine.rtt

    @property
    def is_far(self) -> bool:
        """Whether the round trip asks for larger stream windows."""
        rtt = self.engine.rtt
        return rtt is not None and rtt > SHORT_PATH

    @property
    def stream_count(self) -> int:
        """Streams not finished in both directions, the driver's own left out."""
        return len(self.streams)

    # -- life --
    def admit(self) -> None:
        """Lift the stranger's budget: the endpoint's user knows who this is."""
        if not self.admitted:
            self.admitted = True
            self._deadline = self._next_keepalive()
            self.endpoint.stranger_settled(self)

    def close(self, code: int = codes.DONE, reason: str = "") -> None:
        """Close at once; what is unsent is thrown away. Later calls do nothing."""
        if self.closed is not None:
            return
        if not self.established.is_set() and (label := codes.LABELS.get(code)):
            reason = f"{label} {reason}".rstrip()
        reason = reason.encode()[:MAX_REASON].decode(errors="ignore")
        self._fail(ConnectionClosed(code, reason, by_peer=False))
        self.engine.end(code, reason, trio.current_time())
        self.touch()

    async def aclose(
        self, code: int = codes.DONE, reason: str = "", *, flush_within: float = 1.0
    ) -> None:
        """Wait, at most *flush_within* seconds, until all is acknowledged; then close."""
        with trio.move_on_after(flush_within):
            while self.closed is None and self.engine.unsent_in_all():
                self.touch()
                await self._progress.park()
        self.close(code, reason)
        await trio.lowlevel.checkpoint()

    async def wait_closed(self) -> ConnectionClosed:
        """Wait until the connection is over, and return why."""
        await self._over.wait()
        assert self.closed is not None
        return self.closed

    async def ping(self) -> float:
        """Return the time until the peer acknowledged a packet sent now, in seconds."""
        self._check_open()
        uid, started = next(self._ping_ids), trio.current_time()
        answered = trio.Event()
        self._pings[uid] = (started, answered)
        self.engine.ping(uid)
        self.touch()
        try:
            await answered.wait()
        finally:
            self._pings.pop(uid, None)
        self._check_open()
        return trio.current_time() - started

    def acknowledge(self) -> None:
        """Acknowledge now what was heard, since nothing will be said that it could ride on.

        Else it would wait for that, and the process wake up once more for it.
        """
        self.touch()

    # -- streams --
    async def open_stream(self) -> Stream:
        """Open a bidirectional stream; waits while the peer's limit of streams is reached."""
        await trio.lowlevel.checkpoint()  # before there is a stream that nobody would close
        while (stream := self.open_stream_nowait()) is None:
            await self._slots.park()
        return stream

    def open_stream_nowait(self) -> Stream | None:
        """Open a bidirectional stream, or return ``None`` while the peer's limit is reached."""
        self._check_open()
        try:
            stream_id = self.engine.open()
        except (ValueError, RuntimeError):  # or it is closed, and its word for that on its way
            return None
        stream = self.streams[stream_id] = Stream(self, stream_id)
        return stream

    def open_unidirectional(self, kind: int, data: bytes = b"", *, fin: bool = False) -> Stream:
        """Open a stream that only sends; *kind* (1-63) tells the peer what it is.

        On an acceptor this may be called before the handshake: *data* then travels with its first
        flight. Raises :exc:`ValueError` past the peer's limit.
        """
        self._check_open()
        if not 1 <= kind <= MAX_KIND:
            raise ValueError(f"kind must be 1-{MAX_KIND}, not {kind}")
        stream = self._open_one_way(kind)
        if data or fin:
            stream.send_nowait(data, fin=fin)
        return stream

    async def accept_stream(self) -> Stream:
        """Wait for a stream that the peer opened. Raises :exc:`ConnectionClosed`."""
        await self._wait_arrival(self._accepted)
        self.expect_answer()
        return self._accepted.popleft()

    def accept_stream_nowait(self) -> Stream | None:
        """Return a stream that the peer opened, or ``None`` when none waits."""
        return self._accepted.popleft() if self._accepted else None

    async def accept_unidirectional(self) -> tuple[int, Stream]:
        """Wait for a one-way stream of the peer's; return its kind and the stream to read."""
        await self._wait_arrival(self._accepted_unidirectional)
        return self._accepted_unidirectional.popleft()

    # -- for streams --
    def hand_over(
        self, stream: Stream, data: bytes | bytearray | memoryview, *, fin: bool
    ) -> None:
        self.room.take(len(data), stream.header_bytes)
        self.engine.send(stream.id, data, fin=fin)
        self.touch()

    def unsent_room(self, stream: Stream) -> int:
        """Return how much a stream may queue now."""
        return self.room.beside(self.engine.unsent(stream.id), stream.header_bytes)

    def is_roomy(self, stream: Stream) -> bool:
        """Return whether a sender that waits for room should go on."""
        return self.room.is_enough_beside(self.engine.unsent(stream.id), stream.header_bytes)

    def abandon(self, stream_id: int, code: int) -> None:
        if self._is_live(stream_id):
            self.engine.reset(stream_id, code)
            self.touch()

    def refuse(self, stream_id: int, code: int) -> None:
        if self._is_live(stream_id):
            self.engine.stop(stream_id, code)
            self.touch()

    def touch(self) -> None:
        """Have what is queued sent: now, or with the others' in the pump's next pass."""
        self._has_said = True
        if not self.dirty:
            self.endpoint.touch(self)

    def woke(self) -> None:
        self.endpoint.woke()

    def expect_answer(self) -> None:
        """A stream, or the last piece of one, was given to a task: an answer may follow."""
        self.endpoint.expect_answer()

    # -- for the endpoint --
    def became_stranger(self, address: tuple[str, int], *, known: bool, proven: bool) -> None:
        """Remember under which address this one is counted, wherever it moves later.

        Unless *proven*, the address gets at most three times what came from it (RFC 9000, 8.1)
        until the handshake is complete.
        """
        self.handshaking = self.counted_as_stranger = True
        self.allowance = None if proven else 0
        self.stranger_address, self.known_address = address, known

    def feed(self, buffer: bytes, segment: int, now: float) -> bool:
        """Take what the socket read; return whether the engine found it authentic and new."""
        self.bytes_received += len(buffer)
        fresh = self.engine.feed(buffer, segment, now)
        if not self.admitted and self.established.is_set():
            self._charge_stranger(len(buffer))
        if fresh or not self.established.is_set():
            self.last_heard = now
            if self.engine.pto_count > 1:
                self.engine.kick()
        if self._progress:
            self._progress.unpark_all()
        return fresh

    def poll(self, now: float, limit: int) -> list[bytes]:
        """Return datagrams to send to :attr:`peer` now."""
        self.credit.write()
        has_said, self._has_said = self._has_said, False
        if not has_said and self.engine.may_wait(now):
            return []
        if self.allowance is None:
            datagrams = self.engine.poll(now, limit)
        else:
            datagrams = self.engine.poll_within(self.allowance, now, limit)
        if datagrams:
            self._probed_at = now
            self._count_sent(datagrams)
        if self.established.is_set():
            self.room.measure(self.engine)
        return datagrams

    def next_timer(self) -> float:
        """Return when :meth:`on_timer` is due."""
        if self._is_muted:  # else due at once and again, for what may not be sent
            return min(self._latest_probe, self._deadline)
        engine = self.engine.next_timer(self._latest_probe)
        return self._deadline if engine is None else min(engine, self._deadline)

    def on_timer(self, now: float) -> None:
        self.engine.on_timer(now)
        if now >= self._deadline:  # last: told to close, the engine must speak before time moves
            self._on_deadline(now)
        if now >= self._latest_probe:
            self._probe(now)
        self._progress.unpark_all()

    def _probe(self, now: float) -> None:
        """Look whether the hole has closed, when loss detection would wait for too long.

        A kick passes a full congestion window, a ping does not, but kicks are few: the last is
        kept for the first packet that comes, which at the latest is the peer's keepalive.
        """
        self._probed_at = now
        kicked = self.engine.kick(saving_one_at=now)
        if not kicked and self.engine.is_probing and self.closed is None:
            self.engine.ping(next(self._ping_ids))

    @property
    def _latest_probe(self) -> float:
        return self._probed_at + self.limits.probe_interval

    def adopt(self, peer: SockAddr, size: int, now: float) -> None:
        """Send to *peer* from now on, at most 3 times *size* bytes until it acknowledges one.

        A host that only changed its port, as a NAT does, remains proven.
        """
        if peer[0] != self.peer[0] or self.allowance is not None:
            self.allowance = 0
            self._path_ping = next(self._ping_ids)
            self.allow(size)
        self.peer = peer
        self.engine.kick()

    def allow(self, size: int) -> None:
        """Let 3 times *size* bytes more go to the address not yet proven, and ask it again."""
        self.allowance = (self.allowance or 0) + 3 * size
        if self.established.is_set() and self.closed is None:
            self.engine.ping(self._path_ping)  # the one before may have been lost

    def fail_engine(self, exc: BaseException) -> None:
        """The engine broke: nothing can be sent any more, everyone here is told."""
        self.engine.abandon()
        self._fail(
            ConnectionClosed(codes.INTERNAL_ERROR, f"engine failed: {exc!r}", by_peer=False)
        )
        self.terminated.set()

    # -- the engine's sink --
    def on_peer_key(self, peer_key: bytes | None) -> bool:
        if self._pin is None or peer_key == self._pin:
            return True
        self.close(codes.PIN_MISMATCH, "the acceptor's key is not the pinned one")
        return False

    def on_handshake_completed(self, peer_key: bytes | None) -> None:
        self.peer_key = peer_key
        if self.is_dialler:
            self._deadline = self._next_keepalive()
            if (token := self.engine.peer_reset_token) is not None:
                self.endpoint.route(self, token, issued=True)
        self.allowance = None  # whoever can finish a handshake receives what we send
        self.established.set()
        self.endpoint.handshake_ended(self)
        if self._accepted or self._accepted_unidirectional:
            self._arrivals.unpark_all()

    def on_stream_data(self, stream_id: int, data: bytes, fin: bool) -> None:
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.on_data(data, fin)
        elif stream_id == self.credit.peer_stream:
            self.credit.receive(data, fin)
        elif self._is_new(stream_id):
            self._arrived(stream_id, data, fin)

    def on_stream_reset(self, stream_id: int, code: int) -> None:
        if stream_id == self.credit.peer_stream:
            self.close(codes.FLOW_CONTROL, "credit stream was reset")
        stream = self._known(stream_id)
        if stream is not None:
            stream.on_reset(code)

    def on_stop_sending(self, stream_id: int, code: int) -> None:
        stream = self._known(stream_id)
        if stream is not None:
            stream.on_stopped(code)

    def on_stream_finished(self, stream_id: int) -> None:
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            self.room.waiting.pop(stream, None)
            self.credit.stream_finished(stream)

    def on_streams_available(self) -> None:
        self._slots.unpark_all()

    def on_connection_id(self, cid: bytes, *, issued: bool) -> None:
        self.endpoint.route(self, cid, issued=issued)

    def on_ping_acknowledged(self, uid: int) -> None:
        if uid == self._path_ping:
            self.allowance = None
        waiting = self._pings.get(uid)
        if waiting is not None:
            waiting[1].set()

    def on_closing(self, code: int, reason: str, *, by_peer: bool, is_transport: bool) -> None:
        if is_transport and code == APPLICATION_ERROR:
            code, is_transport = codes.by_label(reason, code), False
        reason = reason[:MAX_REASON]
        self._fail(ConnectionClosed(code, reason, by_peer=by_peer, is_transport=is_transport))

    def on_terminated(self, reason: str) -> None:
        if self.closed is None:
            self._fail(_ended_without_a_close(reason))
        self.terminated.set()
        self.endpoint.forget(self)

    # -- inside --
    @property
    def _is_muted(self) -> bool:
        """Whether nothing may go out. Once closed the engine's last timer counts, and fires."""
        return (
            self.allowance is not None
            and self.allowance < self.limits.max_datagram_bytes
            and self.closed is None
        )

    def _check_open(self) -> None:
        if self.closed is not None:
            raise self.closed.again()

    async def _wait_arrival(self, queue: deque[Any]) -> None:
        if queue:
            await trio.lowlevel.checkpoint()
        while not queue:
            self._check_open()
            await self._arrivals.park()

    def _fail(self, error: ConnectionClosed) -> None:
        if self.closed is not None:
            return
        self.closed = error
        self._deadline = math.inf
        for stream in list(self.streams.values()):
            stream.on_connection_closed(error)
        for stream in (*self._accepted, *(s for _kind, s in self._accepted_unidirectional)):
            stream.on_connection_closed(error)
        for _started, answered in self._pings.values():
            answered.set()
        self.established.set()
        self._over.set()
        for lot in (self._arrivals, self._slots, self._progress):
            lot.unpark_all()
        self.endpoint.handshake_ended(self)
        self.endpoint.stranger_settled(self)

    def _is_live(self, stream_id: int) -> bool:
        """Whether the engine may be told of this stream: one long finished it would open again."""
        return self.closed is None and stream_id in self.streams

    def _is_new(self, stream_id: int) -> bool:
        """Whether the peer opens this stream just now; asked again, it is new no more."""
        if (stream_id & ACCEPTOR != 0) != self.is_dialler or self.closed is not None:
            return False
        if not self.admitted and self.limits.stranger_bytes and is_further(stream_id):
            self.close(codes.STRANGER_BUDGET, "a second stream before Hello")
            return False
        return self._peer_streams.first_sight(stream_id)

    def _known(self, stream_id: int) -> Stream | None:
        """Find a stream; the peer may begin one by its end, a reset or a stop before any data.

        A one-way stream ended before its kind was said is nobody's.
        """
        stream = self.streams.get(stream_id)
        if stream is None and self._is_new(stream_id) and not stream_id & UNIDIRECTIONAL:
            self._arrived(stream_id, b"", fin=False)
            stream = self.streams.get(stream_id)
        return stream

    def _arrived(self, stream_id: int, data: bytes, fin: bool) -> None:
        if stream_id & UNIDIRECTIONAL:
            self._arrived_one_way(stream_id, data, fin)
            return
        if len(self._accepted) >= self.limits.accept_backlog:
            self.engine.reset(stream_id, codes.STREAM_REFUSED)
            self.engine.stop(stream_id, codes.STREAM_REFUSED)
            return
        stream = self.streams[stream_id] = Stream(self, stream_id)
        self._accepted.append(stream)
        stream.on_data(data, fin)
        self._arrivals.unpark_all()
        self.woke()

    def _arrived_one_way(self, stream_id: int, data: bytes, fin: bool) -> None:
        kind = data[0] if data else MAX_KIND + 1
        if kind == CREDIT_KIND and self.credit.peer_stream is None:
            self.credit.peer_stream = stream_id
            self.credit.receive(data[1:], fin)
            return
        full = len(self._accepted_unidirectional) >= STRANGER_UNIDIRECTIONAL
        if kind == CREDIT_KIND or kind > MAX_KIND or full:
            self.engine.stop(stream_id, codes.STREAM_REFUSED)
            return
        stream = self.streams[stream_id] = Stream(self, stream_id, sends=False)
        stream.on_data(data[1:], fin)
        self._accepted_unidirectional.append((kind, stream))
        self._arrivals.unpark_all()

    def _open_one_way(self, kind: int) -> Stream:
        stream_id = self.engine.open(unidirectional=True)
        self.engine.send(stream_id, bytes([kind]), fin=False)
        stream = self.streams[stream_id] = Stream(self, stream_id, receives=False)
        return stream

    def _charge_stranger(self, size: int) -> None:
        # Not before TLS is complete: there resent first flights add up, and nothing is kept.
        self._stranger_bytes += size
        if not self.limits.stranger_bytes:
            return
        carried = sum(stream.received for stream in self.streams.values())
        if carried > self.limits.stranger_bytes:
            self.close(codes.STRANGER_BUDGET, "too many bytes before Hello")
        elif self._stranger_bytes - carried > PACKET_OVERHEAD:
            self.close(codes.STRANGER_BUDGET, "too many bytes of no use before Hello")

    def _count_sent(self, datagrams: list[bytes]) -> None:
        size = sum(map(len, datagrams))
        self.bytes_sent += size
        if self.allowance is not None:
            self.allowance -= size
        self._packets_under_key += len(datagrams)
        if self._packets_under_key >= self.limits.packets_per_key:
            self._packets_under_key = 0
            self.engine.update_keys()

    def _on_deadline(self, now: float) -> None:
        if not self.admitted:
            self.close(codes.HANDSHAKE_TIMEOUT, "not admitted in time")
        elif self.established.is_set() and self.limits.keepalive:
            if now >= self._next_keepalive():
                self.engine.ping(next(self._ping_ids))
                self._deadline = now + self.limits.keepalive
            else:
                self._deadline = self._next_keepalive()
        else:
            self._deadline = math.inf

    def _next_keepalive(self) -> float:
        return self.last_heard + self.limits.keepalive if self.limits.keepalive else math.inf


def _ended_without_a_close(reason: str) -> ConnectionClosed:
    if reason == IDLE_REASON:
        return ConnectionClosed(
            codes.IDLE_TIMEOUT, "idle_timeout nothing was heard for too long", by_peer=False
        )
    return ConnectionClosed(
        codes.FORGOTTEN, "forgotten the peer was restarted: stateless reset", by_peer=True
    )
