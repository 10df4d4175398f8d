"""Which nodes offer which service, and which of them count: the registry's index.

Theory of operation
===================

A node says in its offers record what it serves; whether that counts is for others to say. Of each
(service, node) this module holds one :class:`Offering`, made anew whenever a record of either
changes, and thrown away with the record that it came from.

===========  ====================================================================================
grade        when
===========  ====================================================================================
``usable``   service and node have signed records that hold and permit it, the offer has not
             expired, and nothing speaks against the node
``hint``     the same, but the offer has expired: still tried, after all others
``waiting``  it cannot be used now but might be later: the node is gone, or the service has no
             record that holds; shown as a candidate
``refused``  it was offered by a node that may not: not shown, not tried
===========  ====================================================================================

What this node itself offers is what it serves, from the moment that it does: its own record says
the same a little later, to others.

A node whose own record has expired but which is in its *grace* keeps what it offered before and
adds nothing. Offered before is what it signed before the expiry, what was heard of it while its
record was live, and what this node's own disk remembers of it: nobody is to lose a service by
restarting.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Set
from types import MappingProxyType
from typing import Final

from attrs import define, field, frozen

from fabric.codes import Code
from fabric.core.grants import decay, is_offerer
from fabric.core.identity import NodeId, NodeName
from fabric.core.records import NodeRecord
from fabric.core.verdicts import Standing
from fabric.core.views import GONE, DirectoryView, LivenessView, Sworn, name_of


class Grade(enum.StrEnum):
    """What an offer is good for."""

    USABLE = "usable"
    HINT = "hint"
    WAITING = "waiting"
    REFUSED = "refused"


INSTANCES: Final = frozenset({Grade.USABLE, Grade.HINT})
"""Grades of which a channel may be asked for."""


@frozen(kw_only=True)
class Offering:
    """One node's offer of one service, graded."""

    node: NodeId
    name: NodeName
    grade: Grade
    code: Code | None = None
    """What speaks against using it."""
    from_cache: bool = False

    @property
    def is_instance(self) -> bool:
        return self.grade in INSTANCES


@frozen
class _Word:
    """What one node offers, as far as that is known here."""

    services: tuple[str, ...]
    is_hint: bool = False
    from_cache: bool = False


@define
class _Shelf:
    """All offers of one service, and of how many kinds they are: fleets offer one by thousands."""

    offers: dict[NodeId, Offering] = field(init=False, factory=dict)
    usable: set[NodeId] = field(init=False, factory=set)
    refused: set[NodeId] = field(init=False, factory=set)

    def put(self, offering: Offering) -> None:
        self.drop(offering.node)
        self.offers[offering.node] = offering
        if offering.grade is Grade.USABLE:
            self.usable.add(offering.node)
        elif offering.grade is Grade.REFUSED:
            self.refused.add(offering.node)

    def drop(self, node: NodeId) -> None:
        self.offers.pop(node, None)
        self.usable.discard(node)
        self.refused.discard(node)


MOST_SHUNNED: Final = 1024
"""Nodes; beyond it, those that would be forgiven first are."""

_NOTHING: Final = _Shelf()
_UNTOUCHED: Final[frozenset[NodeId]] = frozenset()


@define(kw_only=True)
class Offerings:
    """All offers that are held, by service. As large as the directory's offers records."""

    directory: DirectoryView
    liveness: LivenessView
    me: NodeId
    _by_service: dict[str, _Shelf] = field(init=False, factory=dict)
    _touched: dict[str, set[NodeId]] = field(init=False, factory=dict)
    """Whose offers were graded since :meth:`touched` was asked, by service."""
    _names: dict[NodeId, tuple[str, ...]] = field(init=False, factory=dict)
    """What the offers record of each node names."""
    _before: dict[NodeId, frozenset[str]] = field(init=False, factory=dict)
    """What each node offered when its own record was last live."""
    _shunned: dict[NodeId, tuple[Code, float]] = field(init=False, factory=dict)
    _turns: list[NodeId] = field(init=False, factory=list)
    """Who is still to be read anew before everybody has been."""
    _serving: tuple[str, ...] | None = field(init=False, default=None)
    """What this node serves; ``None`` until it was told."""

    def of(self, service: str) -> Mapping[NodeId, Offering]:
        """Return every offering of *service* by node, in no order that means anything."""
        return MappingProxyType(self._by_service.get(service, _NOTHING).offers)

    def usable(self, service: str) -> Set[NodeId]:
        """Return who may be asked for *service* without a doubt."""
        return self._by_service.get(service, _NOTHING).usable

    def are_refused(self, service: str) -> bool:
        """Return whether nobody's offer of *service* may ever be used as things are."""
        shelf = self._by_service.get(service, _NOTHING)
        return len(shelf.refused) == len(shelf.offers)

    def touched(self, service: str) -> Set[NodeId]:
        """Return whose offers of *service* may be others than when this was asked before."""
        return self._touched.pop(service, _UNTOUCHED)

    def named(self, node: NodeId) -> tuple[str, ...]:
        """Return what *node* says that it offers, whether or not it may."""
        return self._names.get(node, ())

    def before(self, node: NodeId) -> frozenset[str]:
        """Return what *node* may go on with in its grace."""
        return self._before.get(node, frozenset())

    def services(self) -> frozenset[str]:
        """Return every name that anybody offers."""
        return frozenset(self._by_service)

    # -- what changes them --
    def read_node(self, node: NodeId) -> set[str]:
        """Take anew all that *node* offers; return the services that this is about."""
        self._remember(node)
        word, was = self._word(node), self.named(node)
        for service in was:
            self._drop(service, node)
        if not word.services:
            self._names.pop(node, None)
            return set(was)
        self._names[node] = word.services
        for service in word.services:
            self._put(service, self._offering(service, node, word))
        return {*was, *word.services}

    def regrade(self, share: float) -> set[str]:
        """Take anew what the next *share* of all nodes offers; return the services concerned.

        Everybody's, if that is 1 or more; else they take turns.
        """
        everybody = list(self.directory.offering())
        if share >= 1 or not self._turns:
            self._turns = everybody
        due = math.ceil(min(share, 1.0) * len(everybody))
        self._turns, nodes = self._turns[due:], self._turns[:due]
        return {service for node in nodes for service in self.read_node(node)}

    def read_service(self, service: str) -> None:
        """Grade anew every offer of *service*: its own record changed."""
        for node in list(self.of(service)):
            word = self._word(node)
            if service in word.services:
                self._put(service, self._offering(service, node, word))

    def serve(self, services: tuple[str, ...]) -> set[str]:
        """Go by *services* for what this node offers; return those that this is about."""
        self._serving = services
        return self.read_node(self.me)

    def shun(self, node: NodeId, code: Code, until: float) -> None:
        """Use no offer of *node* before *until*."""
        self._shunned[node] = code, until
        if len(self._shunned) > MOST_SHUNNED:
            first = min(self._shunned, key=lambda each: (self._shunned[each][1], each))
            del self._shunned[first]

    def forgive(self, now: float) -> list[NodeId]:
        """End what was to last until *now*; return of whom the offers are to be read anew."""
        over = sorted(node for node, (_, until) in self._shunned.items() if until <= now)
        for node in over:
            del self._shunned[node]
        return over

    # -- grading --
    def _put(self, service: str, offering: Offering) -> None:
        self._by_service.setdefault(service, _Shelf()).put(offering)
        self._touched.setdefault(service, set()).add(offering.node)

    def _drop(self, service: str, node: NodeId) -> None:
        shelf = self._by_service[service]
        shelf.drop(node)
        if not shelf.offers:
            del self._by_service[service]
        self._touched.setdefault(service, set()).add(node)

    def _word(self, node: NodeId) -> _Word:
        if node == self.me and self._serving is not None:
            return _Word(self._serving)
        offers = self.directory.offers(node)
        if offers is None or offers.record.revoked:
            return _Word(())
        is_hint = offers.standing != Standing.LIVE
        return _Word(offers.record.services, is_hint=is_hint, from_cache=offers.from_cache)

    def _remember(self, node: NodeId) -> None:
        """Note what counts as offered before, should the record of *node* expire."""
        offers, described = self.directory.offers(node), self.directory.node(node)
        if described is None or described.record.revoked:
            self._before.pop(node, None)
        elif offers is None or offers.record.revoked or not offers.record.services:
            return
        elif (
            described.standing == Standing.LIVE
            or offers.from_cache
            or offers.record.issued_at <= described.record.expires_at
        ):
            self._before[node] = frozenset(offers.record.services)

    def _offering(self, service: str, node: NodeId, word: _Word) -> Offering:
        described = self.directory.node(node)
        grade, code = self._graded(service, node, described, word)
        return Offering(
            node=node,
            name=name_of(described.record) if described else NodeName(node),
            grade=grade,
            code=code,
            from_cache=word.from_cache,
        )

    def _graded(
        self, service: str, node: NodeId, described: Sworn[NodeRecord] | None, word: _Word
    ) -> tuple[Grade, Code | None]:
        if described is None:
            return Grade.REFUSED, Code.UNKNOWN_RECORD
        if code := decay(described):
            return Grade.REFUSED, code
        if described.standing == Standing.GRACE and service not in self.before(node):
            return Grade.REFUSED, Code.SURVIVAL_GRACE
        if refusal := self._refusal_by_service(service, described.record):
            return refusal
        if code := self._absence(node):
            return Grade.WAITING, code
        return (Grade.HINT if word.is_hint else Grade.USABLE), None

    def _refusal_by_service(
        self, service: str, node: NodeRecord
    ) -> tuple[Grade, Code | None] | None:
        held = self.directory.service(service)
        if held is None:
            return Grade.WAITING, Code.UNKNOWN_SERVICE
        if held.record.revoked:
            return Grade.REFUSED, Code.REVOKED
        if not is_offerer(held.record, node):
            return Grade.REFUSED, Code.OFFER_NOT_PERMITTED
        return (Grade.WAITING, code) if (code := decay(held)) else None

    def _absence(self, node: NodeId) -> Code | None:
        if node in self._shunned:
            return self._shunned[node][0]
        if node != self.me and self.liveness.state_of(node) in GONE:
            return Code.NO_INSTANCE
        return None
