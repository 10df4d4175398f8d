"""What touches qh3: its QUIC engine, made fit for this driver; the TLS half in :mod:`._tls`.

Theory of operation
===================

qh3 2.1.0 is a packet core in Rust (``QuicConnectionCore``) under a Python facade
(``QuicConnection``) that also drives TLS. The facade parses every packet for a log that is off,
hides the credit events and hard-codes 100 streams, so :class:`Engine` subclasses it, builds core
and TLS half with our parameters, and after the handshake talks to the core alone. Everything
private that it leans on is named in :data:`PRIVATE_NAMES`, and a test fails when any of it moves.

Four traits of the core shape the code:

* TLS must install keys between the coalesced packets of a datagram, so until the handshake is
  complete datagrams go one by one through the facade;
* the core is shown one constant peer address for ever (:data:`PEER`): paths live beneath it, and
  so does the bound on what may go to an address not yet proved (its own raises for good when the
  bound cuts a datagram);
* it loses track of a FIN without data (:data:`.stream.END_MARK`), of a reset that was acknowledged
  before the data it cuts short (:meth:`Engine._on_peer_end`), and of what is still packed when its
  stream finishes (:meth:`Engine._take_events`);
* a stranger's bytes can panic it (pyo3's ``PanicException``, a ``BaseException``): callers wrap
  :meth:`Engine.feed`, :meth:`Engine.poll` and :meth:`Engine.on_timer`, and ask
  :func:`is_engine_failure` what to do with what they catch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import islice
from operator import itemgetter
from typing import Any

from qh3 import tls
from qh3._hazmat import QuicConnectionCore
from qh3.quic import events
from qh3.quic.configuration import QuicConfiguration
from qh3.quic.connection import QuicConnection, QuicConnectionState
from qh3.quic.tls_bridge import QuicTlsBridge, QuicTlsBridgeError

from fabric.trio_quic._tls import (
    ACK_DELAY_EXPONENT,
    ACTIVE_CIDS,
    MAX_ACK_DELAY,
    MAX_UNIDIRECTIONAL,
    Bridge,
    SpentBridge,
)
from fabric.trio_quic.identity import raw_key
from fabric.trio_quic.settings import Settings
from fabric.trio_quic.sink import Sink

PINNED_VERSION = "2.1.0"

_PAYLOAD = itemgetter(0)
"""Of a datagram that the core gives: its bytes stand before where they are to go."""

PRIVATE_NAMES = {
    "QuicConnection": (
        "_create_core", "_create_tls", "_drain_core", "_drain_tls", "_core", "_tls", "_events",
        "_state", "_handshake_complete", "_handshake_confirmed", "_close_event", "_set_version",
        "_configuration", "_is_client", "_version", "_retry_source_connection_id",
        "_original_destination_connection_id", "_applied_transport_parameters",
        "_pre_handshake_state_replayed", "_created_local_stream_ids", "_open_stream", "host_cid",
    ),
}  # fmt: skip
"""What the facade must have; read, as those of the TLS half, by the test that guards the pin."""

PEER = ("192.0.2.1", 4433)
"""The peer's address as the core sees it, always: shown another, it sends a path challenge."""

MAX_UNPACKED = 512
"""Datagrams made ahead of flushes where events wait for that: 5 ms. More is seldom queued."""

ACK_TIMER = "ack_application"
"""The core's word for an acknowledgement that waits for something to ride on."""

ACK_HOLD = 0.002
"""Seconds that the acknowledgement of a lone datagram waits for the answer. The core sends most of
them at once: a datagram, and a wake-up, more for each request at each end. Far below the 25 ms
that a peer allows for."""

IDLE_REASON = "Idle timeout"
"""The core's words for it. A stateless reset is the other end without a close, without words."""


_SPENT = SpentBridge()


class Engine(QuicConnection):
    """One connection's protocol, no I/O. Owned by a driver connection, its :class:`Sink`."""

    _core: (
        Any  # untyped on purpose: the facade says "or None" of what is there once dialled or fed
    )
    _tls: Any

    def __init__(
        self,
        shared: QuicConfiguration,
        limits: Settings,
        sink: Sink,
        *,
        reset_token: Callable[[bytes], bytes] | None = None,
        original_cid: bytes | None = None,
        retry_cid: bytes | None = None,
    ) -> None:
        self._limits = limits
        self._sink: Sink | None = sink
        self._reset_token = reset_token
        self._idle_timeout = limits.idle_timeout
        self._idle_at = math.inf
        self._cut: dict[int, int | None] = {}
        """Streams not finished that were reset, with which code, or only stopped: ``None``."""
        self._probes_settled = 0
        """How many probe timeouts the core had had when last nothing was in flight."""
        self._is_empty = True
        """Whether the core is known to have nothing packed: frames made, in no datagram yet."""
        self.holds_events = False
        """Whether events wait until what is packed has left."""
        self._unpacked: list[bytes] = []
        self._heard = 0
        """Datagrams that came since one left, from the first on that calls for an acknowledgement;
        two are as good as many."""
        self._heard_at = -math.inf
        """When the first of them came."""
        self._handed = 0
        """Bytes handed to the core since it was last looked how many it has not sent."""
        super().__init__(
            configuration=shared,
            original_destination_connection_id=original_cid,
            retry_source_connection_id=retry_cid,
        )

    # -- built with our parameters --
    def _create_core(self, remote_addr: Any, initial_dcid: bytes, now: float) -> None:  # noqa: ANN401
        limits, shared = self._limits, self._configuration
        assert self._version is not None  # set by connect() and by the first Initial
        self._core = QuicConnectionCore(
            self._is_client, self._version, ("0.0.0.0", 0), remote_addr,
            self.host_cid, initial_dcid, True,         # what may go to an address is our affair
            ACTIVE_CIDS, shared.max_datagram_size, False,
            shared.idle_timeout, ACK_DELAY_EXPONENT,
            0, None,                                   # no DATAGRAM frames, ours and the peer's
            shared.max_data, 0,                        # connection window; the peer's comes by TLS
            shared.max_stream_data, 0, 0, 0,           # stream window; the peer's three
            shared.max_stream_data,                    # reassembly
            limits.max_streams, MAX_UNIDIRECTIONAL, 0, 0,
            shared.initial_rtt, MAX_ACK_DELAY, now,
        )  # fmt: skip
        self._applied_transport_parameters = None
        self._pre_handshake_state_replayed = False

    def _create_tls(self, remote_source_cid: bytes | None) -> QuicTlsBridge:
        token = self._reset_token(self.host_cid) if self._reset_token is not None else None
        self._tls = Bridge(
            self._configuration,
            limits=self._limits,
            version=self._version,
            local_initial_source_connection_id=self.host_cid,
            remote_initial_source_connection_id=remote_source_cid,
            original_destination_connection_id=self._original_destination_connection_id,
            retry_source_connection_id=self._retry_source_connection_id,
            stateless_reset_token=None if self._is_client else token,
            version_change_handler=self._set_version,
        )
        return self._tls

    # -- bytes and time in --
    def dial(self, now: float) -> None:
        """Make the first flight; :meth:`poll` returns it."""
        self.connect(PEER, now)

    def feed(self, buffer: bytes, segment: int, now: float) -> bool:
        """Take a datagram, or a GRO buffer of equal ones; tell if any was authentic and new."""
        if not self._handshake_complete:
            step = segment or len(buffer)
            for at in range(0, len(buffer), step):
                self.receive_datagram(buffer[at : at + step], PEER, now)
            self._drain_facade()
            return False
        core = self._core
        if segment and segment < len(buffer):
            report = core.receive_gro_buffer(buffer, segment, PEER, now)
            self._heard += 2  # or more, which is the same
        else:
            report = core.receive_datagram(buffer, PEER, now)
            self._hear(now)
        self._take_events(now)
        if report[2] == 0:
            return False
        self._idle_at = now + self._idle_timeout
        return True

    def _hear(self, now: float) -> None:
        """Count one datagram; the first only if it calls for an acknowledgement."""
        if self._heard:
            self._heard += 1
        elif self._waits_to_acknowledge():
            self._heard, self._heard_at = 1, now

    def on_timer(self, now: float) -> None:
        """Let everything due at *now* happen."""
        if self._core is not None:
            self._core.handle_timer(now)
            self._take_events(now)
            self._drain_facade()

    def _take_events(self, now: float) -> None:
        """Take what the core has to say, but not while that could break it.

        A frame that is packed and has not left breaks the core once its stream is gone, and a
        stream goes when the event that it is finished is taken. So while a stream may finish with
        a frame packed, what is packed leaves first, and until it has the events stay where they
        are: as long as the window is full or there is more to send than passes take.
        """
        if self._is_empty or not self._may_finish_packed() or self._unpack(now):
            self.holds_events = False
            self._drain_core()
        else:
            self.holds_events = True

    def _may_finish_packed(self) -> bool:
        """Whether there can be a frame that its stream does not wait for.

        Those are the resets and stops of streams that end by themselves, and copies of data whose
        original arrives after all. Nothing but a probe timeout makes copies; while any are in
        flight, one that is lost can be made again beside another, so they end with the flight.
        """
        core = self._core
        endangered = bool(self._cut) or core.pto_total != self._probes_settled
        return endangered and core.state == "connected"

    def _unpack(self, now: float) -> bool:
        """Move what the core has packed to where :meth:`poll` finds it; tell if that is all."""
        transmit = self._core.poll_transmit
        self._is_empty = False
        while len(self._unpacked) < MAX_UNPACKED:
            sent = transmit(now)
            if sent is None:
                return self._has_emptied()
            self._unpacked.append(sent[0])
        return False

    def _has_emptied(self) -> bool:
        """Note, when the core has no datagram to send, whether it has nothing packed either.

        Packed frames wait exactly while the window has no room for a datagram.
        """
        core = self._core
        in_flight = core.bytes_in_flight
        self._is_empty = core.congestion_window - in_flight >= self._limits.max_datagram_bytes
        if in_flight == 0:
            self._probes_settled = core.pto_total
        return self._is_empty

    def poll(self, now: float, limit: int) -> list[bytes]:
        """Return at most *limit* datagrams to send now, in order."""
        core = self._core
        if core is None:
            return []
        if self._heard:
            self._acknowledge()
        datagrams, self._unpacked = self._unpacked[:limit], self._unpacked[limit:]
        if len(datagrams) < limit:
            # Without a line of Python for each: a sender's core is full, and this is half of it.
            sent = iter(partial(core.poll_transmit, now), None)
            datagrams += map(_PAYLOAD, islice(sent, limit - len(datagrams)))
            self._is_empty = False
            if len(datagrams) < limit:
                self._has_emptied()
        if datagrams:
            self._heard = 0
        return datagrams

    def poll_within(self, allowance: int, now: float, limit: int) -> list[bytes]:
        """As :meth:`poll`, *allowance* bytes in all: a datagram that is too much is kept."""
        if self._close_event is not None:
            self._unpacked.clear()  # the farewell is smaller and counts more
        datagrams = self.poll(
            now, min(limit, max(1, allowance // self._limits.max_datagram_bytes))
        )
        if sum(map(len, datagrams)) <= allowance:
            return datagrams
        self._unpacked[:0] = datagrams
        return []

    def next_timer(self, latest_probe: float) -> float | None:
        """Return when :meth:`on_timer` is due; moves with every feed, poll and send.

        The core doubles its probe interval without bound: while it probes, at the latest
        *latest_probe* is reported, and then wants a :meth:`kick`.
        """
        if self.holds_events and self._is_empty:
            return -math.inf  # they can be taken now, and nobody may come to feed us
        timer = self._timer()
        if timer is None:
            return None
        kind, at = timer
        if kind == ACK_TIMER and self._heard == 1:
            return max(at, self._heard_at + ACK_HOLD)
        if at > latest_probe and (kind == "loss_detection" or self.is_probing):
            return latest_probe
        return at

    @property
    def is_probing(self) -> bool:
        """Whether something is in flight that a probe timeout has passed over."""
        core = self._core
        return self._handshake_complete and core.pto_count > 0 and core.bytes_in_flight > 0

    def kick(self, *, saving_one_at: float | None = None) -> bool:
        """Let loss detection fire as if it were due, after a hole or a change of path; tell if so.

        Kicked with its own deadline the core sends at once, where it would have waited 26.7 s
        after a hole of 50 s. Never past the idle deadline: that would end the connection. Each
        kick doubles the core's interval, and once it reaches beyond the idle deadline none is
        possible any more: *saving_one_at*, the time now, refuses the last that is.
        """
        timer = self._timer()
        if timer is None or timer[0] != "loss_detection":
            return False
        due: float = timer[1]
        next_due = due if saving_one_at is None else due + 2 * (due - saving_one_at)
        if next_due >= self._idle_at:
            return False
        self._core.handle_timer(due)
        return True

    # -- acknowledgements --
    def _acknowledge(self) -> None:
        """Let an acknowledgement that is not due yet leave with the next datagram."""
        timer = self._timer()
        if timer is not None and timer[0] == ACK_TIMER:
            self._core.handle_timer(timer[1])

    def may_wait(self, now: float) -> bool:
        """Return whether all there is to send is one datagram's acknowledgement, just come.

        The core would send it bare, at once, and the answer behind it. Asked before :meth:`poll`,
        of an engine that was handed nothing since.
        """
        if self._heard != 1 or not self._is_empty or now >= self._heard_at + ACK_HOLD:
            return False
        return self._waits_to_acknowledge()

    def _waits_to_acknowledge(self) -> bool:
        timer = self._timer()
        return timer is not None and timer[0] == ACK_TIMER

    def _timer(self) -> tuple[str, float] | None:
        return None if self._core is None else self._core.get_timer()

    # -- streams --
    def open(self, *, unidirectional: bool = False) -> int:
        """Return a new stream's id. Raises :exc:`ValueError` past the peer's limit."""
        if not self._handshake_complete:
            return self._open_stream(unidirectional)
        return self._core.open_stream(unidirectional)

    def send(self, stream_id: int, data: bytes | bytearray | memoryview, *, fin: bool) -> None:
        """Queue a copy of *data*. Before the handshake is complete the facade keeps it.

        Dropped where the core knows of a stop or a close that has yet to be told.
        """
        if not self._handshake_complete:
            self.send_stream_data(stream_id, data, fin)
        else:
            self._handed += len(data)
            _legal(self._core.send_stream, stream_id, data, fin)

    def unsent(self, stream_id: int) -> int:
        """Return bytes queued and never sent; what is in flight is the window's concern."""
        return self._core.get_send_buffer_size(stream_id)

    def window_room(self, enough: int) -> int:
        """Return how much more may be queued and still leave at once; exact only below *enough*.

        Frames that wait for the congestion window hold up acknowledgements behind them (the core
        sends a bare ACK only while nothing is packed and waiting), so two ends that both send
        would stall until a probe timeout. Whoever queues no more than this keeps ACKs moving.
        """
        core = self._core
        room = core.congestion_window - core.bytes_in_flight
        return room if room >= enough else room - core.get_send_buffer_size(None)

    def queued(self, *, exact_above: int) -> int:
        """Return bytes that wait to be sent, or somewhat more, up to *exact_above*."""
        if self._handed > exact_above:  # the core looks at every stream
            self._handed = self._core.get_send_buffer_size(None)
        return self._handed + len(self._unpacked) * self._limits.max_datagram_bytes

    @property
    def is_drained(self) -> bool:
        """Whether, when last asked for datagrams, it had no more though the window was open."""
        return self._is_empty and not self._unpacked

    def unsent_in_all(self) -> int:
        """Return bytes queued or in flight on the whole connection."""
        core = self._core
        return 0 if core is None else core.get_send_buffer_size(None) + core.bytes_in_flight

    def reset(self, stream_id: int, code: int) -> None:
        """Abandon our sending side. A stream already finished is left alone."""
        if _legal(self._core.reset_stream, stream_id, code):
            self._cut[stream_id] = code

    def stop(self, stream_id: int, code: int) -> None:
        """Ask the peer to abandon its sending side."""
        if _legal(self._core.stop_sending, stream_id, code):
            self._cut.setdefault(stream_id, None)

    # -- the connection --
    def ping(self, uid: int) -> None:
        """Send a PING; the sink hears ``on_ping_acknowledged(uid)``."""
        _legal(self._core.send_ping, uid)

    def update_keys(self) -> None:
        """Move to the next key phase, when the handshake is confirmed; else do nothing."""
        if self._handshake_confirmed:
            _legal(self._core.request_key_update)

    def end(self, code: int, reason: str, now: float) -> None:
        """Close as the application. What is unsent is lost; :meth:`poll` has the last word."""
        if self._core is not None and self._close_event is None:
            if self._is_client and self._handshake_complete and not self._handshake_confirmed:
                self._unpack(now)  # without our Finished the acceptor could not read the rest
            self.close(code, None, reason)

    def release(self) -> None:
        """Cut the cycles with sink and TLS half: a closed connection's memory goes at once."""
        self._sink = None
        self._tls = _SPENT

    def abandon(self) -> None:
        """Never call the core again: it has ended, or failed and its lock may be poisoned."""
        self._core = None
        self.holds_events = False

    @property
    def pto_count(self) -> int:
        return self._core.pto_count

    @property
    def rtt(self) -> float | None:
        """Smoothed round trip in seconds, or ``None`` before the first sample."""
        return None if self._core is None else self._core.smoothed_rtt

    # -- events out --
    def _drain_core(self) -> None:
        core, sink = self._core, self._sink
        if sink is None:
            return
        take = core.next_event
        while (event := take()) is not None:
            kind = event[0]
            if kind == "stream_data":
                if event[3] and self._cut:
                    self._on_peer_end(event[1])
                sink.on_stream_data(event[1], event[2], event[3])
            else:
                _HANDLERS.get(kind, _ignore)(self, sink, event)

    def _drain_facade(self) -> None:
        """Pass on what only the facade knows: the handshake, and "no common version"."""
        while self._events:
            event = self._events.popleft()
            if isinstance(event, events.HandshakeCompleted):
                self._established()
            elif isinstance(event, events.ConnectionTerminated) and self._sink is not None:
                self._sink.on_closing(
                    event.error_code, event.reason_phrase, by_peer=True, is_transport=True
                )
                self._sink.on_terminated(event.reason_phrase)

    def _established(self) -> None:
        key = self._peer_key()
        theirs = self._tls.remote_transport_parameters.max_idle_timeout  # milliseconds; 0: none
        if theirs:
            self._idle_timeout = min(self._idle_timeout, theirs / 1000)
        if not self._is_client:
            self._tls = _SPENT
        if self._sink is not None:
            self._sink.on_handshake_completed(key)

    @property
    def peer_reset_token(self) -> bytes | None:
        """What the acceptor, restarted, would end this connection with; asked during handshake."""
        parameters = self._tls.remote_transport_parameters
        return None if parameters is None else parameters.stateless_reset_token

    def _peer_key(self) -> bytes | None:
        certificate = self.get_peercert()
        return None if certificate is None else raw_key(bytes(certificate.public_key()))

    def _on_crypto(self, sink: Sink, event: tuple[Any, ...]) -> None:
        try:
            self._tls.receive_crypto(
                tls.Epoch(event[1]), event[3], event[2], version=self._core.version
            )
            # Judged before the core knows: a close can then still be said in packets that the
            # acceptor can read, for it has no 1-RTT keys before our Finished.
            if self._tls.handshake_complete and not sink.on_peer_key(self._peer_key()):
                return
            self._drain_tls()
        except QuicTlsBridgeError as exc:
            code, reason = exc.error_code, exc.reason_phrase
            self._core.close(code, int(exc.frame_type), reason.encode())
            self._close_event = events.ConnectionTerminated(code, exc.frame_type, reason)
            sink.on_closing(code, reason, by_peer=False, is_transport=True)
        if self._handshake_complete:
            self._drain_facade()

    def _on_handshake_done(self, _sink: Sink, _event: tuple[Any, ...]) -> None:
        self._handshake_confirmed = True
        self._core.handshake_confirmed()
        self._tls = _SPENT

    def _on_peer_end(self, stream_id: int) -> None:
        """Say our reset of this stream again, in case that the core has forgotten the first.

        The core judges anew whether its sending side is finished with each word on data that it
        sent before a reset: lost, or acknowledged late, they undo that the reset was acknowledged,
        and the stream is never finished. Now that the peer's side is, the next acknowledgement of
        a reset finishes it at once. While one is on its way the core sends no second.
        """
        code = self._cut.get(stream_id)
        if code is not None:
            _legal(self._core.reset_stream, stream_id, code)

    def _on_reset(self, sink: Sink, event: tuple[Any, ...]) -> None:
        self._on_peer_end(event[1])
        sink.on_stream_reset(event[1], event[2])

    def _on_stop_sending(self, sink: Sink, event: tuple[Any, ...]) -> None:
        self.reset(event[1], event[2])  # as the core has done: only so is it known to be cut
        sink.on_stop_sending(event[1], event[2])

    def _on_finished(self, sink: Sink, event: tuple[Any, ...]) -> None:
        self._cut.pop(event[1], None)
        self._created_local_stream_ids.discard(event[1])
        sink.on_stream_finished(event[1])

    def _on_peer_closed(self, sink: Sink, event: tuple[Any, ...]) -> None:
        _kind, _application, code, frame, reason = event
        text = reason.decode("utf8", "replace")
        self._close_event = events.ConnectionTerminated(code, frame, text)
        sink.on_closing(code, text, by_peer=True, is_transport=not _application)

    def _on_protocol_error(self, sink: Sink, event: tuple[Any, ...]) -> None:
        _kind, code, frame, reason = event[:4]
        self._close_event = events.ConnectionTerminated(code, frame, str(reason))
        sink.on_closing(code, str(reason), by_peer=False, is_transport=True)

    def _on_terminated(self, sink: Sink, event: tuple[Any, ...]) -> None:
        code, frame, reason = event[1], event[2], event[3].decode("utf8", "replace")
        self._state = QuicConnectionState.TERMINATED
        self._close_event = events.ConnectionTerminated(code, frame, reason)
        sink.on_terminated(reason)


def _ignore(_engine: Engine, _sink: Sink, _event: tuple[Any, ...]) -> None:
    """For what the driver has no use for: peer_blocked, datagram, new_token, credit of streams."""


_HANDLERS: dict[str, Callable[[Engine, Sink, tuple[Any, ...]], None]] = {
    "crypto_data": Engine._on_crypto,
    "stream_reset": Engine._on_reset,
    "stop_sending": Engine._on_stop_sending,
    "stream_finished": Engine._on_finished,
    "streams_available": lambda _engine, sink, _event: sink.on_streams_available(),
    "handshake_done": Engine._on_handshake_done,
    "connection_id_issued": lambda _e, sink, event: sink.on_connection_id(event[1], issued=True),
    "connection_id_retired": lambda _e, sink, event: sink.on_connection_id(event[1], issued=False),
    "ping_acknowledged": lambda _engine, sink, event: sink.on_ping_acknowledged(event[1]),
    "peer_closed": Engine._on_peer_closed,
    "protocol_error": Engine._on_protocol_error,
    "connection_terminated": Engine._on_terminated,
}


def _legal(call: Callable[..., None], *args: Any) -> bool:  # noqa: ANN401 -- whatever it takes
    # The core refuses what came too late, a reset after everything was acknowledged: no fault.
    with suppress(ValueError, RuntimeError):
        call(*args)
        return True
    return False


def is_engine_failure(exc: BaseException) -> bool:
    """Return whether *exc* is the engine's to answer for: an exception, or a panic in Rust.

    ``KeyboardInterrupt``, ``trio.Cancelled`` and their like are not.
    """
    return isinstance(exc, Exception) or type(exc).__name__ == "PanicException"
