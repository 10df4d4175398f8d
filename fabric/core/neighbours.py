"""Whom this node keeps a link to, whom it dials, and whom it lets go.

Theory of operation
===================

``receive`` takes what is known of each node and of each link; out of that follow *wishes*, each
with a reason and a pace, and the effects say how they changed.

=============  ===================================================================  ===========
why            whom                                                                 until
=============  ===================================================================  ===========
``mesh``       everybody, in a fleet of at most ``full_mesh_up_to``                 it is unlisted
``chosen``     those beside us, and what diversity adds (:mod:`.diversity`)         others are
``asked``      an instance that a channel is to be opened to                        idle for 60 s
``returning``  who was one of these, and whose link has ended                       10 s are over
=============  ===================================================================  ===========

Larger fleets do not choose nodes that are dead or left, nor for a while those that we have failed
to reach: the next on the circle takes their place. A small one goes on wishing for them at a slow
pace.

A link that nobody here wishes for is closed only by the end that dialled it, after a minute in
which no channel used it: the other end may have chosen it, and would dial it again at once. What
others dial is taken up to a bound (:meth:`Neighbours.objection`).

::

    unwished --wish--> wished --no wish, no link--------------------> let go
                         ^ |                                            ^
                    wish | | no wish, but a link        60 s idle, or   |
                         | v                            the link ended  |
                        parting ----------------------------------------'

*Healing* (:mod:`.healing`) goes past all of this.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from fabric.codes import Code
from fabric.core.contacts import Contact
from fabric.core.diversity import Bounds, Fleet, Place, choose, spread
from fabric.core.healing import Healing
from fabric.core.identity import NodeId
from fabric.core.neighbour_events import (
    Asked,
    Bounded,
    Connected,
    DialFailed,
    Disconnected,
    Effect,
    Event,
    Full,
    LetGo,
    Listed,
    SeedMet,
    Seek,
    Ticked,
    Turned,
    Unlisted,
    Why,
    Wish,
)
from fabric.core.roster import Address

MOST_ASKED: Final = 64
"""Links kept for channels alone. Beyond it, the one that is idle longest goes."""

IDLE: Final = 60.0
"""Seconds for which such a link outlives its last channel."""

PARTING: Final = 60.0
"""Seconds for which a link that is wished for no more is kept: views of who is there differ for
some seconds after each change, and a link that was closed in between is dialled again."""

MOST_ACCEPTED: Final = 64
"""Links that others dialled and that we do not wish for."""

RETURNING: Final = 10.0
"""Seconds for which a node that has gone is dialled as before: most were restarted, and there may
be no way to it but from here. Raising it costs a dial a second for each that is gone for good."""

GIVEN_UP_FOR: Final = 300.0
"""Seconds until a node that was given up may be chosen again."""

SETTLING: Final = 0.2
"""Seconds between two choices: a start lists a thousand nodes, and each listing changes them."""


class Neighbours:
    """The links that one node should have.

    One entry per listed node; at most :data:`MOST_ASKED` more wishes; nothing for strangers.
    """

    def __init__(
        self,
        me: Place,
        rng: random.Random,
        *,
        bounds: Bounds | None = None,
        seeds: Sequence[Address] = (),
        is_busy: Callable[[NodeId], bool] = lambda _node: False,
        most_accepted: int = MOST_ACCEPTED,
    ) -> None:
        """*is_busy* tells whether channels are open on the link to a node."""
        self.me = me
        self.bounds = bounds or Bounds()
        self._rng = rng
        self._is_busy = is_busy
        self._most_accepted = most_accepted
        self._contacts: dict[NodeId, Contact] = {}
        self._fleet = self._new_fleet()
        self._chosen: list[Place] = []
        self._chosen_at: float | None = None
        """When; ``None`` also when the next choice is not to wait."""
        self._is_stale = False
        self._given_up: dict[NodeId, float] = {}
        self._asked: dict[NodeId, float] = {}
        """When each was last used, the longest idle first."""
        self._parting: dict[NodeId, float] = {}
        self._returning: dict[NodeId, float] = {}
        """Until when each may."""
        self._wishes: dict[NodeId, Wish] = {}
        self._healing = Healing(me.node, rng, tuple(seeds))

    # -- events --
    def receive(self, event: Event, now: float) -> list[Effect]:
        """Take *event*; return how the wishes changed, and what else is to be dialled."""
        effects: list[Effect] = []
        match event:
            case Listed(place):
                self._list(place)
            case Unlisted(node):
                effects += self._unlist(node)
            case Turned(node, state):
                self._turn(node, state, now)
            case Connected(node, dialled):
                effects += self._connect(node, dialled, now)
            case Disconnected(node):
                effects += self._disconnect(node, now)
            case DialFailed(node):
                self._fail(node, now)
            case Asked(node):
                effects += self._ask(node, now)
            case SeedMet(address, node):
                self._healing.meet(address, node)
            case Bounded(bounds):
                self._bound(bounds)
            case Ticked():
                effects += self._tick(now)
        return [*effects, *self._changes(now)]

    def _list(self, place: Place) -> None:
        if place.node == self.me.node:
            self.me = place
            self._fleet.add(place)
        elif place.node in self._contacts:
            self._contacts[place.node].place = place
            self._place(place.node)
        else:
            self._contacts[place.node] = Contact(place)
            self._place(place.node)
        self._is_stale = True

    def _unlist(self, node: NodeId) -> list[Effect]:
        for table in (self._contacts, self._given_up, self._asked, self._returning):
            table.pop(node, None)
        if node != self.me.node:
            self._fleet.remove(node)
        self._is_stale = True
        return [LetGo(node)] if self._parting.pop(node, None) is not None else []

    def _place(self, node: NodeId) -> None:
        """Let the choice be among those worth a link."""
        peer = self._contacts[node]
        was = self._fleet.places.get(node)
        if peer.is_worth_a_link and was != peer.place:
            self._fleet.add(peer.place)
            self._is_stale = True
        elif not peer.is_worth_a_link and was:
            self._fleet.remove(node)
            self._is_stale = True

    def _turn(self, node: NodeId, state: str, now: float) -> None:
        if peer := self._contacts.get(node):
            peer.turn(state, now)
            self._place(node)

    def _connect(self, node: NodeId, dialled: bool, now: float) -> list[Effect]:
        peer = self._contacts.get(node)
        if peer is None:
            return []
        if not any(each.is_linked for each in self._contacts.values()):
            self._trust_again()
        peer.is_linked, peer.is_ours, peer.failing_since = True, dialled, None
        self._given_up.pop(node, None)
        self._returning.pop(node, None)
        self._place(node)
        if node in self._wishes:
            return []
        if dialled:
            self._parting[node] = now
        elif self._parting.pop(node, None) is not None:
            return [LetGo(node)]
        return []

    def _trust_again(self) -> None:
        """Forget who could not be reached: it was we who were cut off."""
        self._is_stale |= bool(self._given_up)
        self._given_up.clear()
        for peer in self._contacts.values():
            peer.failing_since = None

    def _disconnect(self, node: NodeId, now: float) -> list[Effect]:
        if node in self._wishes:
            self._returning[node] = now + RETURNING
        if peer := self._contacts.get(node):
            peer.is_linked = peer.is_ours = False
            self._place(node)
        return [LetGo(node)] if self._parting.pop(node, None) is not None else []

    def _fail(self, node: NodeId, now: float) -> None:
        peer = self._contacts.get(node)
        if peer is None or peer.is_linked or not peer.fail(now):
            return
        if self.is_mesh or node in self._given_up:
            return  # nobody else could be chosen in its place
        self._given_up[node] = now + GIVEN_UP_FOR * self._rng.uniform(0.75, 1.25)
        self._is_stale = True

    def _ask(self, node: NodeId, now: float) -> list[Effect]:
        if node == self.me.node:
            return []
        if node not in self._contacts:
            return [Full(node, Code.UNKNOWN_RECORD)]
        self._asked.pop(node, None)
        if len(self._asked) >= MOST_ASKED:
            idle = next((each for each in self._asked if not self._is_busy(each)), None)
            if idle is None:
                return [Full(node)]
            del self._asked[idle]
        self._asked[node] = now
        return []

    def _bound(self, bounds: Bounds) -> None:
        if bounds != self.bounds:
            self.bounds = bounds
            self._fleet = self._new_fleet()
            self._is_stale = True

    def _new_fleet(self) -> Fleet:
        fleet = Fleet(self.bounds)
        fleet.add(self.me)
        for _, peer in sorted(self._contacts.items()):
            if peer.is_worth_a_link:
                fleet.add(peer.place)
        return fleet

    # -- time --
    def _tick(self, now: float) -> list[Effect]:
        for node, until in list(self._given_up.items()):
            if until <= now:
                del self._given_up[node]
                self._contacts[node].failing_since = None
                self._is_stale = True
        for node, used_at in list(self._asked.items()):
            if self._is_busy(node):
                del self._asked[node]  # and behind all others again
                self._asked[node] = now
            elif now - used_at >= IDLE:
                del self._asked[node]
        for node in [each for each, until in self._returning.items() if until <= now]:
            del self._returning[node]
        return [*self._part(now), *self._healing.turn(self._contacts, now)]

    def _part(self, now: float) -> list[Effect]:
        over: list[Effect] = []
        for node, since in list(self._parting.items()):
            if self._is_busy(node):
                self._parting[node] = now
            elif now - since >= PARTING:
                del self._parting[node]
                over.append(LetGo(node))
        return over

    # -- wishes --
    def wanted(self, now: float) -> list[Wish]:
        """Return every link that should stand, in the order in which to dial."""
        return list(self._wished(now).values())

    def objection(self, node: NodeId) -> Code | None:
        """Return why a link that *node* dialled is not to be kept, if so."""
        peer = self._contacts.get(node)
        if node in self._wishes or (peer and peer.is_linked):
            return None
        accepted = sum(
            each.is_linked and not each.is_ours and name not in self._wishes
            for name, each in self._contacts.items()
        )
        return None if accepted < self._most_accepted else Code.BUSY

    def _wished(self, now: float) -> dict[NodeId, Wish]:
        why = Why.MESH if self.is_mesh else Why.CHOSEN
        wished = {
            each.node: Wish(each.node, why, self._contacts[each.node].pace(now))
            for each in self._chosen
            if each.node in self._contacts
        }
        for node in self._asked:
            wished.setdefault(node, Wish(node, Why.ASKED))
        for node in self._returning:
            wished.setdefault(node, Wish(node, Why.RETURNING))
        return wished

    @property
    def is_mesh(self) -> bool:
        """Whether the fleet is small enough for everybody to have a link to everybody."""
        return len(self._contacts) + 1 <= self.bounds.full_mesh_up_to

    def _choose(self, now: float) -> None:
        """Choose anew where anything has changed, and has had a moment to change further."""
        is_settled = self._chosen_at is None or now - self._chosen_at >= SETTLING
        if self._is_stale and is_settled:
            everybody = (peer.place for _, peer in sorted(self._contacts.items()))
            self._chosen = (
                spread(self.me, everybody)
                if self.is_mesh
                else choose(self.me, self._fleet, self._given_up)
            )
            self._chosen_at, self._is_stale = now, False

    def _changes(self, now: float) -> Iterable[Effect]:
        self._choose(now)
        was, self._wishes = self._wishes, self._wished(now)
        for node, wish in self._wishes.items():
            self._parting.pop(node, None)
            if was.get(node) != wish:
                yield Seek(wish)
        for node in sorted(was.keys() - self._wishes.keys()):
            if was[node].why is not Why.ASKED and self._is_ours(node):
                self._parting[node] = now
            else:
                yield LetGo(node)

    def _is_ours(self, node: NodeId) -> bool:
        """Return whether a link to *node* stands that we dialled."""
        peer = self._contacts.get(node)
        return peer is not None and peer.is_linked and peer.is_ours
