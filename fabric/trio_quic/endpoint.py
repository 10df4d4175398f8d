"""One datagram transport, many connections: the pump, the timers, the routes.

Theory of operation
===================

One task, the *pump*, owns the transport. Each pass waits until the transport is readable or the
earliest timer is due (the wait is the pass's checkpoint), reads a bounded number of buffers,
routes each by its connection ID, fires due timers and flushes the connections that became dirty::

    wait --> read <= 16 buffers --> route, feed --> timers --> gather --> flush dirty --> wait …

A timer set earlier by another task moves the waiting scope's deadline; a deadline of ``-inf`` is
the wake-up call. A connection has at most one live entry in the heap; stale ones are skipped, and
one whose deadline has moved later is put off before it is waited for.

*When bytes leave.* A task that sends on its own account flushes its connection at once, the first
few times between two passes. After a pass that woke tasks the pump lets them run first and then
sends what they all said together, with the acknowledgements: fewer datagrams, and at 32 requests
in flight 21.6k a second where flushing from each task made 13.5k. Who answers a request runs a few
times before it speaks: it is given the stream, is started, reads to the end, each a checkpoint. So
each such hand-over renews the pump's patience, within a bound.

*What strangers can do.* Everything before admission is judged by :class:`.strangers.Strangers`;
what the engine throws, panics of its native part included, ends one connection and is counted.
"""

from __future__ import annotations

import math
import os
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager

import trio
from attrs import define, field

from fabric.trio_quic import codes, routing
from fabric.trio_quic._native import Engine, is_engine_failure
from fabric.trio_quic._tls import configuration
from fabric.trio_quic.acceptor import Acceptor, Greeting
from fabric.trio_quic.connection import Connection
from fabric.trio_quic.doubts import Doubts
from fabric.trio_quic.errors import HandshakeTimeout
from fabric.trio_quic.identity import Identity
from fabric.trio_quic.runs import bytes_in_a_run, datagrams_in_a_run
from fabric.trio_quic.settings import Settings
from fabric.trio_quic.strangers import Strangers
from fabric.trio_quic.timers import Timers
from fabric.trio_quic.udp import SockAddr, Transport, UdpCounters, open_udp_socket


@define
class Counters:
    """Counted since the endpoint was opened; read by anyone, written by the pump."""

    datagrams_received: int = 0
    unknown: int = 0
    """For no connection of ours, and beginning none."""
    foreign: int = 0
    retries_sent: int = 0
    resets_sent: int = 0
    strangers_dropped: int = 0
    busy: int = 0
    """Closed because nobody accepted them in time."""
    paths_adopted: int = 0
    doubted: int = 0
    """Dropped unread, for what came before them from the same source was forged."""
    engine_failures: Counter[str] = field(factory=Counter)
    """By exception, at most :data:`MAX_FAILURE_KINDS` of them."""


MAX_FAILURE_KINDS = 32

PROMPT_FLUSHES = 2
"""Flushes from tasks of their own accord between two passes; what more they say is gathered. A
lone sender never waits, sixteen at once save a tenth of the processor."""

WAKE_PAUSES = 2
"""Pauses for tasks that a pass woke. They run in the scheduler's next batch, in random order with
the pump: the second makes sure that all of them were before it."""

ANSWER_PAUSES = 3
"""Pauses from when a task was given a stream, or the last piece of one: time for a task to be
started and to look whether there is more, each a checkpoint, before it answers."""

MOST_TURNED_AWAY = 32
"""Strangers that were closed and still have the answer repeated, three probe timeouts long: a
second and more for those whose round trip is not known. One costs 40 to 90 kB."""

MAX_PAUSES = 12
"""Pauses in one pass at most: meanwhile what was said waits, and what comes stays in the socket.
With 32 requests in flight four or five answers leave at a time (6 pauses: three; 24: no more)."""


class Endpoint:
    """Where connections are dialled from and accepted at. Open it with :func:`open_endpoint`."""

    def __init__(
        self,
        transport: Transport,
        identity: Identity,
        settings: Settings,
        *,
        greeting: Greeting | None,
        reset_key: bytes,
    ) -> None:
        self.settings = settings
        self.run_bytes = bytes_in_a_run(settings.max_datagram_bytes)
        """What of one stream leaves by one system call."""
        self._flush_limit = settings.runs_per_flush * datagrams_in_a_run(
            settings.max_datagram_bytes
        )
        self.counters = Counters()
        self.exempt: Callable[[tuple[str, int]], bool] = lambda _address: False
        """Whether an address is a known peer's: spared Retry, and given room kept apart."""
        self.foreign: Callable[[bytes, tuple[str, int]], None] | None = None
        """Takes datagrams that are not QUIC (first byte below 0x40). Must not raise or block."""
        self.failed: Callable[[Connection], None] = lambda _connection: None
        """Told of each dialler that failed before :meth:`accept` could return it; its ``closed``
        says why. Strangers cause it at will. Must not raise or block."""
        self._prompt_flushes = 0
        self._pauses = 0
        """How many times yet tasks get to run before what they say is sent together."""
        self._transport = transport
        self._dialling = configuration(identity, settings, dialler=True)
        self._acceptor = Acceptor(
            self, transport, identity, greeting=greeting, reset_key=reset_key
        )
        self._connections: set[Connection] = set()
        self._turned_away: deque[Connection] = deque()
        self._routes: dict[bytes, Connection] = {}
        self._timers = Timers[Connection]()
        self._doubts = Doubts(settings.doubtful_per_second)
        self._dirty: list[Connection] = []
        self._scope: trio.CancelScope | None = None
        self._unblocking = False
        size = settings.accept_connections
        self._arrived, self._arrivals = trio.open_memory_channel[Connection](size)

    # -- for its user --
    @property
    def address(self) -> tuple[str, int]:
        """Where it is bound: host and port."""
        bound = self._transport.address
        return bound[0], bound[1]

    @property
    def connections(self) -> Collection[Connection]:
        """Every connection not yet forgotten, strangers and closing ones included."""
        return self._connections

    @property
    def transport_counters(self) -> UdpCounters:
        return self._transport.counters

    @property
    def strangers(self) -> Strangers:
        """How many are not admitted; read only."""
        return self._acceptor.strangers

    async def connect(
        self, address: tuple[str, int], *, pin: bytes | None, timeout: float = 5.0
    ) -> Connection:
        """Dial *address*, a numeric host and port. The caller owns the connection and closes it.

        Returns once TLS is complete and the acceptor's Ed25519 key equals *pin* (any key does for
        ``None``: then look at ``peer_key``). The acceptor may still refuse us: nothing is known of
        its mind before its first bytes. Raises :exc:`HandshakeTimeout`, :exc:`ConnectionClosed`.
        """
        connection = Connection(self, self._sockaddr(address), is_dialler=True, pin=pin)
        connection.engine = Engine(self._dialling, self.settings, connection)
        self.adopt(connection, connection.engine.host_cid)
        connection.engine.dial(trio.current_time())
        connection.touch()
        try:
            with trio.move_on_after(timeout):
                await connection.established.wait()
        except trio.Cancelled:
            self._give_up(connection)
            raise
        if connection.closed is not None:
            raise connection.closed.again()
        if not connection.established.is_set():
            self._give_up(connection)
            raise HandshakeTimeout(
                codes.HANDSHAKE_TIMEOUT, f"no answer from {address} in {timeout} s", by_peer=False
            )
        return connection

    async def accept(self) -> Connection:
        """Wait for a dialler whose TLS is complete: a stranger until :meth:`Connection.admit`."""
        while True:
            await trio.lowlevel.checkpoint_if_cancelled()
            try:  # without a pause: a pass of the pump may bring sixteen, a pause takes one
                connection = self._arrivals.receive_nowait()
            except trio.WouldBlock:
                connection = await self._arrivals.receive()
            if connection.closed is None:
                return connection
            self.failed(connection)

    # -- for connections --
    def woke(self) -> None:
        """A task was woken whose bytes are worth waiting for."""
        self._pauses = max(self._pauses, WAKE_PAUSES)

    def expect_answer(self) -> None:
        """A task was given what asks for an answer: the pump, if it waits, waits for that too."""
        if self._pauses:
            self._pauses = ANSWER_PAUSES

    def touch(self, connection: Connection) -> None:
        if not self._pauses and self._prompt_flushes < PROMPT_FLUSHES:
            self._prompt_flushes += 1
            self._flush(connection, trio.current_time())
            return
        connection.dirty = True
        self._dirty.append(connection)
        self._wake()

    def adopt(self, connection: Connection, *cids: bytes) -> None:
        """Take a new connection in, routed by *cids*."""
        self._connections.add(connection)
        for cid in cids:
            self.route(connection, cid, issued=True)

    def route(self, connection: Connection, cid: bytes, *, issued: bool) -> None:
        if issued:
            self._routes[cid] = connection
            connection.cids.add(cid)
        else:
            self._routes.pop(cid, None)
            connection.cids.discard(cid)

    def handshake_ended(self, connection: Connection) -> None:
        """An accepted connection's handshake is complete or has failed; counted once."""
        if connection.is_dialler or connection not in self._connections:
            return
        if not connection.handshaking:
            return
        connection.handshaking = False
        self._acceptor.strangers.completed()
        if connection.closed is None:
            self._offer(connection)
        else:
            self.failed(connection)

    def stranger_settled(self, connection: Connection) -> None:
        """A stranger was admitted, or is gone; counted once."""
        if connection.counted_as_stranger:
            connection.counted_as_stranger = False
            self._acceptor.strangers.settled(
                connection.stranger_address, known=connection.known_address
            )
            if connection.closed is not None:
                self._turn_away(connection)

    def _turn_away(self, connection: Connection) -> None:
        """Let a stranger that is closed hear of it again as long as few others are."""
        self._turned_away.append(connection)
        if len(self._turned_away) > MOST_TURNED_AWAY:
            self._end(self._turned_away.popleft())

    def forget(self, connection: Connection) -> None:
        """The engine has ended: nothing more comes or goes."""
        for cid in connection.cids:
            self._routes.pop(cid, None)
        connection.cids.clear()
        self._timers.disarm(connection)
        self._connections.discard(connection)
        connection.engine.release()

    # -- the pump --
    async def run(self) -> None:
        """Move datagrams and fire timers until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                if self._transport.blocked and not self._unblocking:
                    self._unblocking = True
                    nursery.start_soon(self._unblock)
                await self._wait()
                now = trio.current_time()
                self._read(now)
                self._fire_timers(now)
                await self._gather()
                self._prompt_flushes = 0
                self._flush_dirty(trio.current_time())

    async def _gather(self) -> None:
        """Let the tasks that this pass woke say what they have to say, to be sent together."""
        for _ in range(MAX_PAUSES):
            if not self._pauses:
                break
            self._pauses -= 1
            await trio.lowlevel.checkpoint()
        self._pauses = 0

    async def _wait(self) -> None:
        if self._dirty and not self._transport.blocked:
            await trio.lowlevel.checkpoint()  # a wait that is cancelled at once costs 40 us more
            return
        with trio.CancelScope(deadline=self._next_due()) as self._scope:
            await self._transport.wait_readable()
        self._scope = None

    def _next_due(self) -> float:
        """Return when a timer is due, those that have moved later since they were set put off.

        Most do: what is sent is acknowledged in time. To wake for each would be to wake in vain
        as often as in earnest.
        """
        timers = self._timers
        while (first := timers.first) is not None:
            at = first.next_timer()
            if first.entry is None or at <= first.entry[0]:
                break
            timers.put_off(first, at)
        return timers.next_due

    def _wake(self) -> None:
        if self._scope is not None:
            self._scope.deadline = -math.inf

    def _read(self, now: float) -> None:
        receive = self._transport.receive
        for _ in range(self.settings.buffers_per_pass):
            got = receive()
            if got is None:
                return
            data, segment, source = got
            if segment and segment < len(data):
                self._route_run(data, segment, source, now)
            else:
                self.counters.datagrams_received += 1
                if data:
                    self._route(data, source, now)
            if self._dirty and not self._dirty[-1].established.is_set():
                # A step of TLS takes half a millisecond: let the other end begin on its own.
                self._flush_dirty(now)

    def _route_run(self, buffer: bytes, segment: int, source: SockAddr, now: float) -> None:
        self.counters.datagrams_received += _count(buffer, segment)
        cid = routing.common_destination(buffer, segment)
        if cid is not None and (connection := self._routes.get(cid)) is not None:
            self._feed(connection, buffer, segment, source, now)
            return
        for at in range(0, len(buffer), segment):
            self._route(buffer[at : at + segment], source, now)

    def _route(self, datagram: bytes, source: SockAddr, now: float) -> None:
        if routing.is_foreign(datagram[0]):
            self.counters.foreign += 1
            if self.foreign is not None:
                self.foreign(datagram, (source[0], source[1]))
            return
        cid = routing.destination(datagram)
        if cid is None:
            self.counters.unknown += 1
            return
        connection = self._routes.get(cid) or self._routes.get(routing.reset_token(datagram))
        if connection is None:
            connection = self._acceptor.consider(datagram, source, now)
        if connection is not None:
            self._feed(connection, datagram, 0, source, now)

    def _feed(
        self, connection: Connection, data: bytes, segment: int, source: SockAddr, now: float
    ) -> None:
        is_astray = source != connection.peer
        if is_astray and self._doubts.holds(source, now):
            self.counters.doubted += _count(data, segment)
            return
        if not connection.dirty:  # set before: what the events cause must not flush half-way
            connection.dirty = True
            self._dirty.append(connection)
        try:
            fresh = connection.feed(data, segment, now)
            if is_astray:
                self._heard_astray(connection, data, segment, source, now, is_authentic=fresh)
            elif connection.allowance is not None:
                connection.allow(len(data))
        except BaseException as exc:  # noqa: ASYNC103 -- _contain raises what is not the engine's
            self._contain(connection, exc)

    def _heard_astray(
        self,
        connection: Connection,
        data: bytes,
        segment: int,
        source: SockAddr,
        now: float,
        *,
        is_authentic: bool,
    ) -> None:
        """Follow *connection*'s peer to *source*, if it was the peer that sent from there."""
        if is_authentic:
            self.counters.paths_adopted += 1
            connection.adopt(source, len(data), now)
        else:
            self._doubts.note(source, _count(data, segment))

    def _fire_timers(self, now: float) -> None:
        for connection in self._timers.due(now):
            if connection.closed is not None and connection.dirty:
                # The engine counts the closing time from its last packet: after a long silence
                # it would end here and now, its farewell unsent.
                self._flush(connection, now)
            if connection.next_timer() <= now:
                self._tick(connection, now)
            else:
                self._arm(connection)

    def _tick(self, connection: Connection, now: float) -> None:
        self._flush_later(connection)
        try:
            connection.on_timer(now)
        except BaseException as exc:  # noqa: ASYNC103 -- _contain raises what is not the engine's
            self._contain(connection, exc)

    def _flush_later(self, connection: Connection) -> None:
        if not connection.dirty:
            connection.dirty = True
            self._dirty.append(connection)

    def _flush_dirty(self, now: float) -> None:
        if self._transport.blocked:
            return
        dirty, self._dirty = self._dirty, []
        for connection in dirty:
            self._flush(connection, now)

    def _flush(self, connection: Connection, now: float) -> None:
        """Send what *connection* has to send. Its engine's clock must never run back: *now* is the
        pass's within a pass, and trio's elsewhere."""
        if self._transport.blocked:
            connection.dirty = True
            self._dirty.append(connection)
            return
        limit = self._flush_limit
        connection.dirty = False
        if connection.terminated.is_set():
            # It and its streams know each other: what the core holds must not wait with them for
            # the collector. Here, for whatever ended it was still at work when it was forgotten.
            connection.engine.abandon()
            return
        try:
            datagrams = connection.poll(now, limit)
        except BaseException as exc:  # noqa: ASYNC103 -- _contain raises what is not the engine's
            self._contain(connection, exc)
            return  # noqa: ASYNC104
        if datagrams:
            self._transport.send(datagrams, connection.peer)
            if self._transport.blocked:
                self._wake()
        if len(datagrams) == limit:
            connection.dirty = True
            self._dirty.append(connection)
            self._wake()
        self._arm(connection)
        connection.room.wake()

    async def _unblock(self) -> None:
        await self._transport.wait_unblocked()
        self._unblocking = False
        self._wake()

    def _arm(self, connection: Connection) -> None:
        at = connection.next_timer()
        is_earlier = self._timers.arm(connection, at)
        if self._scope is None:
            return
        if is_earlier:
            self._scope.deadline = min(at, self._scope.deadline)
        elif self._timers.first is connection and self._scope.deadline > -math.inf:
            self._scope.deadline = self._next_due()  # what left now need not wake the pump later

    def _offer(self, connection: Connection) -> None:
        try:
            self._arrived.send_nowait(connection)
        except trio.WouldBlock:
            self.counters.busy += 1
            connection.close(codes.BUSY, "too many connections wait to be accepted")
            self.failed(connection)

    # -- inside --
    def _give_up(self, connection: Connection) -> None:
        connection.close(codes.HANDSHAKE_TIMEOUT)
        self._end(connection)

    def _end(self, connection: Connection) -> None:
        """Forget *connection*, which is closed, without waiting for what still comes to it."""
        if not connection.terminated.is_set():
            connection.terminated.set()
            self.forget(connection)
            self._flush_later(connection)  # and then its core goes too

    def _contain(self, connection: Connection, exc: BaseException) -> None:
        if not is_engine_failure(exc):
            raise exc
        kind = f"{type(exc).__name__}: {str(exc)[:80]}"
        failures = self.counters.engine_failures
        failures[kind if kind in failures or len(failures) < MAX_FAILURE_KINDS else "other"] += 1
        connection.fail_engine(exc)
        self.forget(connection)

    def _sockaddr(self, address: tuple[str, int]) -> SockAddr:
        # as recvmsg will report it, so that the first answer is no change of path
        return (*address, 0, 0) if len(self._transport.address) == 4 else address

    def close_all(self, code: int, reason: str) -> None:
        """Close every connection and send the farewells."""
        for connection in list(self._connections):
            connection.close(code, reason)
            if connection.dirty:
                self._flush(connection, trio.current_time())


def _count(buffer: bytes, segment: int) -> int:
    """Return how many datagrams *buffer* holds: of *segment* bytes each but the last, or one."""
    return -(-len(buffer) // segment) if segment else 1


@asynccontextmanager
async def open_endpoint(
    host: str,
    port: int,
    *,
    identity: Identity,
    settings: Settings | None = None,
    greeting: Greeting | None = None,
    reset_key: bytes | None = None,
) -> AsyncGenerator[Endpoint]:
    """Bind a UDP socket and run an endpoint on it for the body of the ``async with``.

    *reset_key*, 32 secret bytes kept across restarts, lets a restarted acceptor tell its diallers
    at once that their connections are gone. Raises :exc:`OSError` when it cannot bind. Leaving
    closes every connection.
    """
    settings = settings or Settings()
    transport = open_udp_socket(host, port, buffer_bytes=settings.socket_buffer_bytes)
    async with open_endpoint_on(
        transport, identity=identity, settings=settings, greeting=greeting, reset_key=reset_key
    ) as endpoint:
        yield endpoint


@asynccontextmanager
async def open_endpoint_on(
    transport: Transport,
    *,
    identity: Identity,
    settings: Settings | None = None,
    greeting: Greeting | None = None,
    reset_key: bytes | None = None,
) -> AsyncGenerator[Endpoint]:
    """Run an endpoint on *transport*, which it then owns: see :func:`open_endpoint`."""
    endpoint = Endpoint(
        transport,
        identity,
        settings or Settings(),
        greeting=greeting,
        reset_key=reset_key or os.urandom(32),
    )
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(endpoint.run)
            try:
                yield endpoint
            finally:
                endpoint.close_all(codes.DONE, "endpoint closed")
                nursery.cancel_scope.cancel()
    finally:
        transport.close()
