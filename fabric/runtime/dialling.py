"""Dials: the ways to a peer or to a seed, once, up to the moment that it is admitted."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable

import trio
from attrs import define, field

from fabric.codes import Code
from fabric.core.admission import Dialler, Ourselves
from fabric.core.identity import NONCE_BYTES, NodeId, node_id_of
from fabric.core.roster import Address, DialIntent, Seed
from fabric.errors import RefusedError
from fabric.net.resolve import resolve
from fabric.runtime.admission import Enter, refusal_of, send_hello
from fabric.runtime.closing import close
from fabric.runtime.race import Race
from fabric.runtime.refused_peers import NO_REFUSAL
from fabric.trio_quic import Connection, ConnectionClosed, Endpoint


@define(eq=False)
class Dialling:
    """How this node dials. Holds nothing of what it dialled."""

    we: Ourselves
    enter: Enter
    """Takes over the connections that both ends agreed on."""
    duplicated: Callable[[NodeId, Address], None] = field(init=False)
    """Told of a second process with the key of a node, maybe of this one, and where it showed."""
    is_over: bool = field(init=False, default=False)
    """Whether this node leaves: nobody is dialled any more."""

    async def dial(
        self,
        ways: Iterable[DialIntent],
        endpoint: Endpoint,
        timeout: float,
        *,
        missed: Callable[[DialIntent, RefusedError], None],
        is_moot: Callable[[], bool],
    ) -> None:
        """Try the *ways* to one peer, each once, until it is admitted or none is left.

        They are raced (:mod:`.race`) up to the proof of its key; the one that wins says Hello.
        *missed* is told of each that came to nothing within *timeout* and the seconds that Hello
        may take: nobody answers, the wrong one does, or either end says no. Once it *is_moot* no
        further way is begun.
        """

        async def connect(way: DialIntent) -> Connection:
            return await self._connect(way, endpoint, timeout)

        race = Race(deque(ways), connect, missed, is_moot)
        while won := await race.run():
            way, connection = won
            try:
                await self._introduce(connection, way)
            except RefusedError as refused:
                missed(way, refused)
            else:
                return

    async def find(self, address: Address, endpoint: Endpoint, timeout: float) -> NodeId:
        """Try *address* once; return who is there.

        That may be a peer to which a link stands already, or this node itself: they need no link.
        Raises :exc:`RefusedError` when nothing comes of it.
        """
        way = Seed(address)
        connection = await self._connect(way, endpoint, timeout)
        try:
            await self._introduce(connection, way)
        except RefusedError as refused:
            if refused.code not in NO_REFUSAL:
                raise
        return node_id_of(_key_of(connection))

    async def _connect(self, way: DialIntent, endpoint: Endpoint, timeout: float) -> Connection:
        if self.is_over:
            raise RefusedError(Code.SHUTTING_DOWN)
        try:
            address = await resolve(way.address, v6=":" in endpoint.address[0], timeout=timeout)
            return await endpoint.connect(address, pin=way.pin, timeout=timeout)
        except ConnectionClosed as closed:
            raise refusal_of(closed) from closed
        except OSError as error:
            raise RefusedError(Code.HANDSHAKE_TIMEOUT, str(error)) from error

    async def _introduce(self, connection: Connection, way: DialIntent) -> None:
        if self.is_over:
            close(connection, Code.SHUTTING_DOWN)
            raise RefusedError(Code.SHUTTING_DOWN)
        dialler = Dialler(self.we, way, _key_of(connection), os.urandom(NONCE_BYTES))
        try:
            await send_hello(connection, dialler, self.enter)
        except RefusedError as refused:
            if refused.code is Code.DUPLICATE_IDENTITY:
                self._tell_of_twin(refused, _key_of(connection), way.address)
            raise
        except trio.Cancelled:
            close(connection, Code.SHUTTING_DOWN)
            raise

    def _tell_of_twin(self, refused: RefusedError, key: bytes, address: Address) -> None:
        """Tell of the second process that *refused* is about, found by us or by an acceptor."""
        if not refused.hop:
            self.duplicated(node_id_of(key), address)
        elif self.we.roster.by_key(key) is not None:  # what a stranger says alarms nobody
            self.duplicated(self.we.me.node_id, address)


def _key_of(connection: Connection) -> bytes:
    assert connection.peer_key is not None  # or connect() would not have returned
    return connection.peer_key
