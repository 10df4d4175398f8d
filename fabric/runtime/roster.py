"""Who is known here, as the directory says: members, the ways to them, and who is kept out.

The :class:`~fabric.core.roster.Roster` of a node. Nothing is kept but what was made of a record,
for as long as that record counts: a member that is revoked is none at the next question.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

import trio
from attrs import define, field

from fabric.codes import Code
from fabric.config import HostPort
from fabric.core.identity import NodeId, NodeName, node_id_of
from fabric.core.readings import Readings
from fabric.core.records import EndpointRecord, NodeRecord
from fabric.core.roster import Address, DialIntent, Direct, Member, plain
from fabric.core.sightings import Sightings
from fabric.core.views import Sworn

MOST_BARRED: Final = 256
"""Peers that are kept out at a time; beyond it, those that would return first do."""


def member_of(record: NodeRecord) -> Member:
    """Return the node that *record* describes."""
    return Member(
        name=NodeName(record.name),
        key=record.key_bytes,
        area=record.area,
        site_id=record.site_id,
        locality_group=record.locality_group,
        nat_group=record.nat_group,
        roles=frozenset(record.roles),
        labels=record.labels,
    )


@define(eq=False)
class DirectoryRoster:
    """Answers for this moment, from memory. Belongs to the node's trio thread."""

    me: NodeId
    readings: Readings
    _seen_at: dict[NodeId, Address] = field(init=False, factory=dict)
    """Where a peer last proved its key to us: as good as its own word, and often newer."""
    sightings: Sightings = field(init=False, factory=Sightings)
    """Where else peers were seen."""
    _barred: dict[NodeId, tuple[Code, float]] = field(init=False, factory=dict)
    _expected: Counter[Address] | None = field(init=False, default=None)
    """Every address at which a member may be, and how many may; None: to be found anew."""
    _places: dict[NodeId, frozenset[Address]] = field(init=False, factory=dict)
    """What each has in :attr:`_expected`."""
    _made: dict[NodeId, tuple[NodeRecord, Member]] = field(init=False, factory=dict)

    # -- who --
    def by_key(self, key: bytes) -> Member | None:
        return self.by_id(node_id_of(key))

    def by_id(self, node: NodeId) -> Member | None:
        """Return that member, this node itself too; None for whom :meth:`why_not` has a word."""
        sworn = self.readings.member(node)
        if sworn is None or not sworn.standing.admits or self._bar_of(node) is not None:
            return None
        return self._member(node, sworn)

    def named(self, name: str) -> Member | None:
        """Return the member of that name, if it is one."""
        sworn = self.readings.member_named(NodeName(name))
        return None if sworn is None else self.by_id(sworn.record.node_id)

    def why_not(self, key: bytes) -> Code:
        node = node_id_of(key)
        if (bar := self._bar_of(node)) is not None:
            return bar
        sworn = self.readings.node(node)
        if sworn is None:
            return Code.UNKNOWN_KEY
        return Code.REVOKED if sworn.record.revoked else Code.RECORD_EXPIRED

    def members(self) -> list[Member]:
        found = (self.by_id(node) for node in self.readings.members() if node != self.me)
        return sorted((each for each in found if each), key=lambda each: each.name)

    def _member(self, node: NodeId, sworn: Sworn[NodeRecord]) -> Member:
        made = self._made.get(node)
        if made is None or made[0] is not sworn.record:
            made = self._made[node] = sworn.record, member_of(sworn.record)
        return made[1]

    def forget(self, node: NodeId) -> None:
        """Keep nothing of *node*: it is a member no more."""
        self._made.pop(node, None)
        self._seen_at.pop(node, None)
        self.sightings.forget(node)
        self.moved(node)

    # -- where --
    def ways_to(self, member: Member) -> list[DialIntent]:
        if self.by_id(member.node_id) is None:
            return []  # barred, or expired by now: it would be refused
        return [Direct(member, address) for address in self._places_of(member.node_id)]

    def _places_of(self, node: NodeId) -> dict[Address, None]:
        """Return where *node* may be, best first: where it last was, where it says, where else
        it was seen."""
        places = [*self._last_seen(node), *self._said(node), *self.sightings.of(node)]
        return dict.fromkeys(places)

    def saw(self, node: NodeId, address: Address) -> None:
        """Note that *node* proved its key at *address*, which we had dialled."""
        address = plain(address)
        if self._seen_at.get(node) != address:
            self._seen_at[node] = address
            self.moved(node)

    def knows(self, node: NodeId, address: Address) -> bool:
        """Return whether *node* says that it is at *address*, or was last seen there."""
        return plain(address) in {*self._last_seen(node), *self._said(node)}

    def expects(self, address: Address) -> bool:
        """Return whether a member is known to be at *address*."""
        if self._expected is None:
            self._expected = Counter()
            self._places.clear()
            for node in {*self.readings.members(), *self._seen_at, *self.sightings.nodes()}:
                self._expect(node, self._expected)
        return plain(address) in self._expected

    def moved(self, node: NodeId) -> None:
        """Take note that *node* may be elsewhere now, or a member where it was none."""
        if node == self.me:
            self._expected = None  # our own locality group decides where others can be reached
        elif self._expected is not None:
            self._expect(node, self._expected)

    def _expect(self, node: NodeId, expected: Counter[Address]) -> None:
        """Bring what is *expected* up to date with *node*: with all of them, that takes as long
        as hundreds of handshakes, and at a black start everybody moves."""
        for address in self._places.pop(node, ()):
            expected[address] -= 1
            if not expected[address]:
                del expected[address]
        if places := frozenset(self._places_of(node)):
            self._places[node] = places
            expected.update(places)

    def _last_seen(self, node: NodeId) -> Iterator[Address]:
        if (address := self._seen_at.get(node)) is not None:
            yield address

    def _said(self, node: NodeId) -> Iterator[Address]:
        sworn = self.readings.endpoint_of(node)
        if sworn is None:
            return
        mine = self.readings.member(self.me)
        group = mine.record.locality_group if mine else ""
        yield from addresses_in(sworn.record, locality_group=group)

    # -- who is kept out --
    def bar(self, node: NodeId, code: Code, until: float) -> None:
        """Admit *node* no more before *until* (trio's clock)."""
        self._barred[node] = code, until
        while len(self._barred) > MOST_BARRED:
            del self._barred[min(self._barred, key=lambda each: self._barred[each][1])]

    def _bar_of(self, node: NodeId) -> Code | None:
        if (bar := self._barred.get(node)) is None:
            return None
        if bar[1] <= trio.current_time():
            del self._barred[node]
            return None
        return bar[0]


def addresses_in(record: EndpointRecord, *, locality_group: str) -> Iterator[Address]:
    """Return where *record* says that its node is, as far as one of *locality_group* can get.

    A private address of another group belongs to a machine of ours, if to any.
    """
    for candidate in record.candidates:
        if candidate.scope and candidate.scope != locality_group:
            continue
        try:
            place = HostPort.parse(candidate.address)
        except ValueError:
            continue  # somebody else wrote it
        if place.port and "%" not in place.host:  # an interface of that machine, not of ours
            yield place.host, place.port
