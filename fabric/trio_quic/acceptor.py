"""The accepting half of an endpoint: what a datagram for no known connection gets.

A connection, a Retry, a stateless reset, or nothing: :class:`.strangers.Strangers` judges, this
carries it out. All of it happens before anybody has proved anything, so each answer is bounded.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from fabric.trio_quic import routing
from fabric.trio_quic._native import Engine
from fabric.trio_quic._packets import initial_header, retry_packet
from fabric.trio_quic._tls import configuration
from fabric.trio_quic.connection import Connection
from fabric.trio_quic.identity import Identity
from fabric.trio_quic.strangers import Strangers, Verdict
from fabric.trio_quic.tokens import RetryTokens, reset_token
from fabric.trio_quic.udp import SockAddr, Transport

if TYPE_CHECKING:
    from fabric.trio_quic.endpoint import Endpoint

Greeting: TypeAlias = Callable[[Connection], tuple[int, bytes]]
"""Makes the (kind, bytes) of a one-way stream that travels with the acceptor's first flight."""

RESETS_PER_SECOND = 20
"""Stateless resets sent at most: enough for a restarted node's peers, nothing for a flood."""

RESET_BYTES = 41
"""Looks like any small packet. One byte less than what it answers if that is smaller: two nodes
must not echo for ever (RFC 9000, 10.3.3), and a keepalive of 30 bytes must be answered too."""


class Acceptor:
    """Decides over first packets; owned by one endpoint, run by its pump."""

    def __init__(
        self,
        endpoint: Endpoint,
        transport: Transport,
        identity: Identity,
        *,
        greeting: Greeting | None,
        reset_key: bytes,
    ) -> None:
        self.strangers = Strangers(endpoint.settings)
        self._endpoint = endpoint
        self._transport = transport
        self._greeting = greeting
        self._reset_key = reset_key
        self._tokens = RetryTokens(os.urandom(32))
        self._shared = configuration(identity, endpoint.settings, dialler=False)
        self._reset_second = (0, 0)

    def consider(self, datagram: bytes, source: SockAddr, now: float) -> Connection | None:
        """Judge a datagram that is for no connection of ours; return the connection it begins."""
        counters = self._endpoint.counters
        if routing.is_short(datagram):
            counters.unknown += 1
            self._answer_by_reset(datagram, source, now)
            return None
        header = initial_header(datagram) if routing.begins_connection(datagram) else None
        if header is None:
            counters.unknown += 1
            return None
        cid, client_cid, token = header
        address = (source[0], source[1])
        original = self._tokens.redeem(token, address, cid, now) if token else None
        known = self._endpoint.exempt(address)
        match self.strangers.judge(address, now, known=known, proven=original is not None):
            case Verdict.ACCEPT:
                return self._begin(source, cid, original, known=known)
            case Verdict.RETRY:
                self._send_retry(source, cid, client_cid, now)
            case Verdict.DROP:
                counters.strangers_dropped += 1
        return None

    def _begin(
        self, source: SockAddr, cid: bytes, original: bytes | None, *, known: bool
    ) -> Connection:
        endpoint = self._endpoint
        connection = Connection(endpoint, source, is_dialler=False)
        connection.engine = Engine(
            self._shared,
            endpoint.settings,
            connection,
            reset_token=self._reset_token,
            original_cid=original or cid,
            retry_cid=cid if original else None,
        )
        endpoint.adopt(connection, connection.engine.host_cid, cid)
        connection.became_stranger(
            (source[0], source[1]), known=known, proven=original is not None
        )
        self.strangers.arrived(connection.stranger_address, known=known)
        if self._greeting is not None:
            kind, said = self._greeting(connection)
            connection.dirty = True  # nothing to flush before the first datagram was fed
            connection.open_unidirectional(kind, said, fin=True)
            connection.dirty = False
        return connection

    def _reset_token(self, cid: bytes) -> bytes:
        return reset_token(self._reset_key, cid)

    def _send_retry(self, source: SockAddr, cid: bytes, client_cid: bytes, now: float) -> None:
        fresh = os.urandom(routing.CID_BYTES)
        token = self._tokens.mint((source[0], source[1]), fresh, cid, now)
        packet = retry_packet(client_cid=client_cid, new_cid=fresh, original_cid=cid, token=token)
        self._endpoint.counters.retries_sent += 1
        self._transport.send([packet], source)

    def _answer_by_reset(self, datagram: bytes, source: SockAddr, now: float) -> None:
        """Tell a dialler whose acceptor was restarted that its connection is gone (10.3)."""
        second, sent = self._reset_second
        if int(now) != second:
            sent = 0
        size = min(RESET_BYTES, len(datagram) - 1)
        if size < routing.MIN_DATAGRAM or sent >= RESETS_PER_SECOND:
            return
        self._reset_second = (int(now), sent + 1)
        self._endpoint.counters.resets_sent += 1
        noise = bytearray(os.urandom(size - routing.RESET_TOKEN_BYTES))
        noise[0] = 0x40 | noise[0] & 0x3F
        cid = datagram[1 : 1 + routing.CID_BYTES]
        self._transport.send([bytes(noise) + self._reset_token(cid)], source)
