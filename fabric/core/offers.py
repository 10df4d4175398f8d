"""Who offers which service, on what terms, and whether a given node may open it.

The terms of a service (:class:`Terms`) are enforced by the node that offers it. An opener asks
the same question first, so that its user is told at once and with the same words; where its own
configuration has no terms for the service it goes by those that the offering node told it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from attrs import define, field, frozen

from fabric.codes import Code
from fabric.core.access import Selector, Subject, parse_selector, permits
from fabric.core.frames import MOST_OFFERS, Offers
from fabric.core.identity import INGRESS, NodeName


@frozen(kw_only=True)
class Terms:
    """Who may open a service."""

    open_to: tuple[Selector, ...] = ()
    """Empty is nobody."""
    edge_exposable: bool = False
    """Whether on behalf of clients outside the fabric."""

    def objection(self, opener: Subject, *, client: str | None) -> Code | None:
        """Return what speaks against *opener* opening a channel for *client*, if anything.

        *client* is an address outside the fabric, or ``None`` when the opener is the client.
        """
        if client is not None and INGRESS not in opener.roles:
            return Code.CLIENT_NOT_BELIEVED
        if not permits(self.open_to, opener):
            return Code.NOT_PERMITTED
        if client is not None and not self.edge_exposable:
            return Code.NOT_EDGE_EXPOSABLE
        return None


def offers_of(terms: Mapping[str, Terms]) -> Offers:
    """Return the frame that tells a peer what is offered here.

    At most :data:`~fabric.core.frames.MOST_OFFERS`, the first by name: more is for the
    configuration to refuse.
    """
    names = tuple(sorted(terms))[:MOST_OFFERS]
    return Offers(
        names=names,
        open_to=tuple(tuple(map(str, terms[name].open_to)) for name in names),
        edge_exposable=tuple(terms[name].edge_exposable for name in names),
    )


def terms_in(frame: Offers) -> dict[str, Terms]:
    """Return the terms that a peer told, by service.

    A selector that this release does not know selects nobody here; the peer, which knows it,
    may be more generous than we expect, never less.
    """
    return {
        name: Terms(open_to=tuple(_understood(selectors)), edge_exposable=exposable)
        for name, selectors, exposable in zip(
            frame.names, frame.open_to, frame.edge_exposable, strict=True
        )
    }


def _understood(selectors: Iterable[str]) -> Iterable[Selector]:
    for text in selectors:
        try:
            yield parse_selector(text)
        except ValueError:
            continue


@define
class OfferBook:
    """What this node knows of the offers of others, by configuration and by being told."""

    declared: Mapping[str, Terms]
    """What this node's operator says, and may change; it goes before what a peer tells."""
    expected: Mapping[NodeName, AbstractSet[str]]
    """Services that the configuration says a peer offers, told or not; and what this node
    itself serves, which may change."""
    _told: dict[NodeName, dict[str, Terms]] = field(init=False, factory=dict)

    def hear(self, peer: NodeName, frame: Offers) -> None:
        """Take *frame* in place of all that *peer* told before."""
        self._told[peer] = terms_in(frame)

    def forget(self, peer: NodeName) -> None:
        """Drop what *peer* told: it is gone, and says it again when it returns."""
        self._told.pop(peer, None)

    def offers(self, peer: NodeName, service: str) -> bool:
        """Return whether *peer* is known to offer *service*."""
        return service in self.expected.get(peer, ()) or service in self._told.get(peer, ())

    def offered_by(self, peer: NodeName) -> frozenset[str]:
        """Return the services of *peer*, told or expected."""
        return frozenset().union(self.expected.get(peer, ()), self._told.get(peer, ()))

    def instances(self, service: str) -> list[NodeName]:
        """Return who offers *service*, connected or not, sorted by name."""
        peers = self.expected.keys() | self._told.keys()
        return sorted(peer for peer in peers if self.offers(peer, service))

    def told_services(self) -> frozenset[str]:
        """Return every service that any peer told of."""
        return frozenset().union(*self._told.values())

    def terms(self, service: str, at: NodeName) -> Terms | None:
        """Return the terms to expect of *service* at *at*; ``None`` when nothing is known."""
        return self.declared.get(service) or self._told.get(at, {}).get(service)

    def knows(self, service: str) -> bool:
        """Return whether anything at all is known of *service*."""
        return service in self.declared or bool(self.instances(service))
