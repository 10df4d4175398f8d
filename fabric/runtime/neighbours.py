"""The neighbours plane: which links should stand, and the dials that follow from it.

The core (:mod:`fabric.core.neighbours`) wishes; the peers plane dials what is wished for and keeps
it. Here one is turned into the other, and what came of it is told back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NoReturn, Protocol

import trio
from attrs import define, field

from fabric.codes import Code
from fabric.core import neighbour_events as told
from fabric.core.diversity import Bounds, Place, targets_for
from fabric.core.identity import NodeId
from fabric.core.neighbours import Neighbours
from fabric.core.planes import Planes
from fabric.core.readings import Readings
from fabric.core.records import Key, NodeRecord, OffersRecord, Policy, ServiceRecord
from fabric.core.roster import Address
from fabric.core.views import Sworn
from fabric.errors import RefusedError
from fabric.runtime.beat import next_beat
from fabric.runtime.links import Link

PLANE: Final = "neighbours"


class Keeper(Protocol):
    """Whoever dials peers and keeps the links to them. Nothing in it waits but ``connected``."""

    def seek(self, node: NodeId, *, slowly: bool) -> None:
        """Dial *node* while no link to it stands."""

    def let_go(self, node: NodeId) -> None:
        """Dial *node* no more, and close the link to it if we dialled it."""

    def nudge(self, node: NodeId) -> None:
        """Dial *node* now, once, whatever a backoff says."""

    async def connected(self, node: NodeId) -> Link:
        """Wait until a link to *node* stands."""

    def reason(self, node: NodeId) -> Code | None:
        """Return why no link to *node* stands, as far as is known."""


@define(eq=False, kw_only=True)
class NeighboursPlane:
    """:meth:`run` keeps it; nothing else in it waits but :meth:`connect`."""

    core: Neighbours
    readings: Readings
    planes: Planes
    keeper: Keeper = field(init=False)
    dial_seed: Callable[[Address], None] = field(init=False)
    """Begins to dial a seed, once."""
    _core: set[str] = field(init=False, factory=set)
    """The services that the fabric cannot do without: few, and seldom others."""
    _full: Code | None = field(init=False, default=None)

    # -- in --
    def changed(self, key: Key) -> None:
        """Take what the directory says now at *key*."""
        match key.kind:
            case NodeRecord.KIND:
                self._list(NodeId(key.subject))
            case OffersRecord.KIND:
                self._list(NodeId(key.subject))
            case ServiceRecord.KIND:
                self._take_service(key.subject)
            case Policy.KIND:
                self._bound()

    def receive(self, event: told.Event) -> None:
        """Let the core take *event*, and carry out what follows."""
        self._carry_out(self.core.receive(event, trio.current_time()))

    async def run(self) -> NoReturn:
        """Let time pass for the core, until cancelled."""
        while True:
            self.receive(told.Ticked())
            self.planes.progressed(PLANE, trio.current_time())
            await trio.sleep_until(next_beat(trio.current_time()))

    def _list(self, node: NodeId) -> None:
        sworn = self.readings.member(node)
        if sworn is None or not sworn.standing.admits:
            self.receive(told.Unlisted(node))
            return
        self.receive(told.Listed(self._place(sworn)))
        if node == self.core.me.node:
            self._bound()

    def _take_service(self, service: str) -> None:
        """List anew who offers *service*, if it is core now and was not, or was and is not."""
        sworn = self.readings.service(service)
        is_core = sworn is not None and sworn.record.core and not sworn.record.revoked
        if is_core is (service in self._core):
            return
        (self._core.add if is_core else self._core.discard)(service)
        for node in list(self.readings.offering()):
            offers = self.readings.offers_of(node)
            if offers is not None and service in offers.record.services:
                self._list(node)

    def _place(self, sworn: Sworn[NodeRecord]) -> Place:
        record = sworn.record
        return Place(
            node=record.node_id,
            area=record.area,
            site=record.site_id,
            nat_group=record.nat_group,
            is_critical=record.critical,
            recovers=self._recovers(record.node_id),
        )

    def _recovers(self, node: NodeId) -> bool:
        """Return whether *node* offers a core service."""
        offers = self.readings.offers_of(node)
        return offers is not None and not self._core.isdisjoint(offers.record.services)

    def _bound(self) -> None:
        policy, mine = self.readings.policy(), self.readings.member(self.core.me.node)
        bounds = Bounds(full_mesh_up_to=policy.full_mesh_up_to, degree=policy.degree)
        if mine is not None:
            bounds = Bounds(
                full_mesh_up_to=policy.full_mesh_up_to,
                degree=policy.degree,
                targets=targets_for(policy, mine.record),
            )
        self.receive(told.Bounded(bounds))

    # -- for channels --
    async def connect(self, node: NodeId, within: float) -> Link:
        """Return a link to *node*, dialled for a channel if there was none.

        Raises :exc:`RefusedError` when none stands *within* seconds, or none may be had.
        """
        self._full = None
        self.receive(told.Asked(node))
        if (full := self._full) is not None:
            raise RefusedError(full)
        self.keeper.nudge(node)
        with trio.move_on_after(within):
            return await self.keeper.connected(node)
        raise RefusedError(self.keeper.reason(node) or Code.HANDSHAKE_TIMEOUT)

    # -- out --
    def _carry_out(self, effects: Iterable[told.Effect]) -> None:
        for effect in effects:
            match effect:
                case told.Seek(wish):
                    self.keeper.seek(wish.node, slowly=wish.pace is told.Pace.SLOW)
                case told.LetGo(node):
                    self.keeper.let_go(node)
                case told.Heal(seeds, nodes):
                    for address in seeds:
                        self.dial_seed(address)
                    for node in nodes:
                        self.keeper.nudge(node)
                case told.Full(_, code):
                    self._full = code
