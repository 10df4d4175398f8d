"""First contact: dials addresses of which nothing is known but that a node may answer there.

At the start every seed is tried again and again for half a minute, or until a peer was met at one:
whoever is there may be starting too. Afterwards one is dialled when healing asks for it
(:mod:`fabric.core.healing`): while nobody who was met there can be reached. So a node that lost
everybody finds its way back by the addresses it was given, and one that has lost nobody leaves its
seeds alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final, NoReturn

import structlog
import trio
from attrs import define, field

from fabric.codes import Code
from fabric.config import HostPort
from fabric.core.backoff import Redial
from fabric.core.identity import NodeId
from fabric.core.roster import Address
from fabric.errors import RefusedError
from fabric.runtime.dialling import Dialling
from fabric.runtime.refused_peers import UNREACHED, RefusedPeers
from fabric.trio_quic import Endpoint

log = structlog.get_logger()

PLANE: Final = "seeds"

DIAL_WITHIN: Final = 3.0
"""Seconds for an attempt on demand: a handshake at any round trip that a person would bear."""

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
    """Set once each seed was tried, or a peer was met at one."""
    _untried: set[Address] = field(init=False)
    _is_alone: bool = field(init=False, default=True)
    """Whether no peer was met at any seed yet."""
    _dialled: set[Address] = field(init=False, factory=set)
    """Where an attempt is under way: a second one would only make a second link."""
    _asked: trio.MemorySendChannel[Address] = field(init=False)
    _asks: trio.MemoryReceiveChannel[Address] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._asked, self._asks = trio.open_memory_channel(MOST_WAITING)
        self._untried = set(self.addresses)
        if not self._untried:
            self.tried.set()

    def dial(self, address: Address) -> None:
        """Dial *address* once, soon. Returns at once."""
        if address in self._untried:
            return  # it is about to be, and with less patience
        with suppress(trio.WouldBlock):  # as many wait already
            self._asked.send_nowait(address)

    async def run(self, endpoint: Endpoint) -> NoReturn:
        """Try every seed at once, and then those that are asked for, until cancelled."""
        async with trio.open_nursery() as nursery:
            for address in self.addresses:
                nursery.start_soon(self._try_eagerly, address, endpoint)
            while True:
                await self._try(await self._asks.receive(), endpoint, DIAL_WITHIN)
        raise AssertionError("unreachable")

    async def _try_eagerly(self, address: Address, endpoint: Endpoint) -> None:
        redial = Redial(self.rng)
        redial.lost(began := trio.current_time())  # who starts is as eager as who lost a peer
        while self._is_alone and (now := trio.current_time()) - began < redial.eager_for:
            code = await self._try(address, endpoint, redial.attempt_timeout(now))
            if code is None:
                return
            is_there = code not in UNREACHED
            await trio.sleep(redial.next_delay(trio.current_time(), refused=is_there))

    async def _try(self, address: Address, endpoint: Endpoint, timeout: float) -> Code | None:
        """Dial *address* once, unless that is being done already; return why nobody was met."""
        if address in self._dialled:
            return Code.BUSY
        self._dialled.add(address)
        try:
            node = await self.dialling.find(address, endpoint, timeout)
        except RefusedError as refused:
            self.refused.tell(refused, address, side="dialler", peer="")
            self._was_tried(address)
            return refused.code
        finally:
            self._dialled.discard(address)
        log.info("seed.answered", address=str(HostPort(*address)), node=node)
        self._is_alone &= node == self.dialling.we.me.node_id
        self.met(address, node)
        self._was_tried(address)
        return None

    def _was_tried(self, address: Address) -> None:
        self._untried.discard(address)
        if not (self._untried and self._is_alone):
            self.tried.set()


def seeds_of(*sources: Iterable[Address]) -> tuple[Address, ...]:
    """Return the addresses of all *sources*, in order, none twice."""
    return tuple(dict.fromkeys(address for source in sources for address in source))
