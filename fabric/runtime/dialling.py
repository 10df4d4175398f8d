"""Dials: one way to a peer or a seed, once, up to the moment that it is admitted."""

from __future__ import annotations

import os

import trio
from attrs import define

from fabric.codes import Code
from fabric.core.admission import Dialler, Ourselves
from fabric.core.identity import NONCE_BYTES
from fabric.core.roster import DialIntent
from fabric.errors import RefusedError
from fabric.net.resolve import resolve
from fabric.runtime.admission import Enter, refusal_of, send_hello
from fabric.runtime.closing import close
from fabric.trio_quic import Connection, ConnectionClosed, Endpoint


@define(eq=False)
class Dialling:
    """How this node dials. Holds nothing of what it dialled."""

    we: Ourselves
    enter: Enter
    """Takes over the connections that both ends agreed on."""

    async def dial(self, way: DialIntent, endpoint: Endpoint, timeout: float) -> bytes:
        """Try *way* once, and return the key of whoever was met there, admitted.

        Raises :exc:`RefusedError` when nothing comes of it within *timeout* and the seconds that
        Hello may take: nobody answers, the wrong one does, or either end says no.
        """
        try:
            address = await resolve(way.address, v6=":" in endpoint.address[0], timeout=timeout)
            connection = await endpoint.connect(address, pin=way.pin, timeout=timeout)
        except ConnectionClosed as closed:
            raise refusal_of(closed) from closed
        except OSError as error:
            raise RefusedError(Code.HANDSHAKE_TIMEOUT, str(error)) from error
        return await self._introduce(connection, way)

    async def _introduce(self, connection: Connection, way: DialIntent) -> bytes:
        assert connection.peer_key is not None
        dialler = Dialler(self.we, way, connection.peer_key, os.urandom(NONCE_BYTES))
        try:
            await send_hello(connection, dialler, self.enter)
        except trio.Cancelled:
            close(connection, Code.SHUTTING_DOWN)
            raise
        return connection.peer_key
