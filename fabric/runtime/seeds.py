"""First contact: dials addresses of which nothing is known but that a node may answer there.

At the start every seed is tried, a few times in quick succession: whoever is there may be starting
too. Afterwards one is dialled when healing asks for it (:mod:`fabric.core.healing`): while nobody
who was met there can be reached. So a node that lost everybody finds its way back by the addresses
it was given, and one that has lost nobody leaves its seeds alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, NoReturn

import structlog
import trio
from attrs import define, field

from fabric.config import HostPort
from fabric.core.backoff import Backoff
from fabric.core.identity import NodeId
from fabric.core.roster import Address
from fabric.errors import RefusedError
from fabric.runtime.dialling import Dialling
from fabric.runtime.refused_peers import RefusedPeers
from fabric.trio_quic import Endpoint

log = structlog.get_logger()

PLANE: Final = "seeds"

DIAL_WITHIN: Final = 3.0
"""Seconds for one attempt: a handshake at any round trip that a person would put up with."""

EAGER: Final = 0.5
"""Seconds of the first backoff: seeds are often started together with this node."""

SLOWEST: Final = 5.0
"""Seconds of the last: from then on healing has as short a breath."""

EAGER_TRIES: Final = 4

MOST_WAITING: Final = 16
"""Seeds that wait to be dialled on demand. Healing asks for one in five seconds."""


@define(eq=False, kw_only=True)
class Seeds:
    """The seeds of this node, configured and remembered. :meth:`run` tries them."""

    addresses: tuple[Address, ...]
    dialling: Dialling
    refused: RefusedPeers
    rng: random.Random
    met: Callable[[Address, NodeId], None]
    """Told of who is at a seed: a peer that is linked now, or this node itself."""
    tried: trio.Event = field(init=False, factory=trio.Event)
    """Set once each seed was tried, or a peer has answered at one."""
    _untried: set[Address] = field(init=False)
    _asked: trio.MemorySendChannel[Address] = field(init=False)
    _asks: trio.MemoryReceiveChannel[Address] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._asked, self._asks = trio.open_memory_channel(MOST_WAITING)
        self._untried = set(self.addresses)
        if not self._untried:
            self.tried.set()

    def dial(self, address: Address) -> None:
        """Dial *address* once, soon. Returns at once."""
        with suppress(trio.WouldBlock):  # as many wait already
            self._asked.send_nowait(address)

    async def run(self, endpoint: Endpoint) -> NoReturn:
        """Try every seed at once, and then those that are asked for, until cancelled."""
        async with trio.open_nursery() as nursery:
            for address in self.addresses:
                nursery.start_soon(self._try_eagerly, address, endpoint)
            while True:
                await self._try(await self._asks.receive(), endpoint)
        raise AssertionError("unreachable")

    async def _try_eagerly(self, address: Address, endpoint: Endpoint) -> None:
        backoff = Backoff(self.rng, floor=EAGER, ceiling=SLOWEST)
        for _ in range(EAGER_TRIES):
            if await self._try(address, endpoint):
                return
            await trio.sleep(backoff.next_delay())

    async def _try(self, address: Address, endpoint: Endpoint) -> bool:
        """Dial *address* once; return whether anybody was met there."""
        try:
            node = await self.dialling.find(address, endpoint, DIAL_WITHIN)
        except RefusedError as refused:
            self.refused.tell(refused, address, side="dialler", peer="")
            self._was_tried(address)
            return False
        log.info("seed.answered", address=str(HostPort(*address)), node=node)
        self.met(address, node)
        self._was_tried(address, is_peer=node != self.dialling.we.me.node_id)
        return True

    def _was_tried(self, address: Address, *, is_peer: bool = False) -> None:
        self._untried.discard(address)
        if is_peer or not self._untried:
            self.tried.set()


def seeds_of(*sources: Iterable[Address]) -> tuple[Address, ...]:
    """Return the addresses of all *sources*, in order, none twice."""
    return tuple(dict.fromkeys(address for source in sources for address in source))
