"""Meets whoever dials this node: a challenge, a Hello, and the judgement of both.

Nothing that a stranger sends gets further than this module before its key is proved.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Final, NoReturn

import trio
from attrs import define, field

from fabric.codes import Code
from fabric.core.admission import Acceptor, Ourselves
from fabric.core.codec import encode
from fabric.core.frames import CHALLENGE_KIND, Challenge
from fabric.core.identity import NONCE_BYTES, NodeId, node_id_of
from fabric.core.planes import Planes
from fabric.core.roster import Address
from fabric.errors import RefusedError
from fabric.runtime.admission import Enter, receive_hello, refusal_of
from fabric.runtime.beat import next_beat
from fabric.runtime.refused_peers import RefusedPeers
from fabric.trio_quic import Connection, Endpoint

PLANE: Final = "admission"


@define(eq=False, kw_only=True)
class Meeting:
    """The admission plane: :meth:`run` keeps it."""

    we: Ourselves
    enter: Enter
    """Takes over the connections of peers."""
    refused: RefusedPeers
    planes: Planes
    duplicated: Callable[[NodeId, Address], None] = field(init=False)
    """Told of a second process with the key of a node, and where it is."""
    _greeted: dict[Connection, bytes] = field(init=False, factory=dict)
    """Nonces of the challenges whose connections are not through TLS yet. Bounded by what the
    endpoint lets strangers have, each for five seconds."""

    def challenge(self, connection: Connection) -> tuple[int, bytes]:
        """Return what the endpoint sends with an accepted connection's first flight."""
        nonce = self._greeted[connection] = os.urandom(NONCE_BYTES)
        version = self.we.letters.root_version
        return CHALLENGE_KIND, encode(Challenge(nonce=nonce, root_version=version))

    async def run(self, endpoint: Endpoint) -> NoReturn:
        """Meet everybody until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hear_of_strangers)
            while True:
                connection = await endpoint.accept()
                self.planes.progressed(PLANE, trio.current_time())
                # Taken here: once it is closed _hear_of_strangers would find it, and tell of it.
                nursery.start_soon(self._meet, connection, self._greeted.pop(connection))
        raise AssertionError("unreachable")

    async def _meet(self, connection: Connection, nonce: bytes) -> None:
        acceptor = Acceptor(self.we, nonce)
        try:
            await receive_hello(connection, acceptor, self.enter)
        except RefusedError as refused:
            address = connection.remote_address
            self.refused.tell(refused, address, side="acceptor", peer=acceptor.claimant)
            if refused.code is Code.DUPLICATE_IDENTITY and not refused.hop:
                self.duplicated(node_id_of(acceptor.key), address)

    async def _hear_of_strangers(self) -> NoReturn:
        """Tell of those who left within the handshake: most of all that they expected another key
        here, which their side alone would know otherwise."""
        while True:
            await trio.sleep_until(next_beat(trio.current_time()))
            for connection in [each for each in self._greeted if each.closed is not None]:
                del self._greeted[connection]
                assert connection.closed is not None
                refused = refusal_of(connection.closed)
                self.refused.tell(refused, connection.remote_address, side="acceptor", peer="")
