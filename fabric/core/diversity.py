"""Which of a fleet's nodes to keep a link to, so that no area, edge or node is the only way.

Theory of operation
===================

Up to ``full_mesh_up_to`` nodes, everybody. Beyond that, those beside this node on the fleet's
circles (:mod:`.rings`): they make the graph whole and low. Where they fall short of the targets of
this node (*enough other areas, enough other public edges, a way to recovery, enough in all*), the
dearest nodes that help are added.

Many may be short of the same few nodes: nine hundred nodes of one area and ten of another. So a
node is added only where it *welcomes* this one, which both ends can tell: each welcomes a few of
its own area and a few of others, critical ones first, then by affinity. What no one is left for
stays unmet, and the resilience counts say so; a link from nine hundred nodes to each of ten would
be no remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from attrs import define, field, frozen

from fabric.core.identity import NodeId
from fabric.core.records import NodeRecord, Policy, Targets
from fabric.core.rings import Rings, affinity

CRITICAL: Final = "critical"
DEFAULT: Final = "default"

CRITICAL_TARGETS: Final = Targets(direct=3, external_areas=2, independent_ingress=2, recovery=1)
"""What a critical node should have where the policy says nothing of it."""

MOST_RECOVERED: Final = 32
"""Nodes of other areas that one node with a way to recovery welcomes: such nodes are few by
nature, and everybody needs one. It is half of what a node accepts at most."""


def targets_for(policy: Policy | None, node: NodeRecord) -> Targets:
    """Return what *node* should have ready: of each count, the most that any of its roles asks."""
    said: Mapping[str, Targets] = policy.targets if policy else {}
    asked = [said[role] for role in node.roles if role in said]
    if node.critical:
        asked.append(said.get(CRITICAL, CRITICAL_TARGETS))
    if not asked:
        asked.append(said.get(DEFAULT, Targets()))
    return Targets(
        direct=max(each.direct for each in asked),
        external_areas=max(each.external_areas for each in asked),
        independent_ingress=max(each.independent_ingress for each in asked),
        recovery=max(each.recovery for each in asked),
    )


@frozen(kw_only=True)
class Place:
    """A node as seen by whoever looks for neighbours: by its signed labels."""

    node: NodeId
    area: str = ""
    site: str = ""
    nat_group: str = ""
    is_critical: bool = False
    recovers: bool = False
    """Whether a link to it is a way to recovery: it offers a core service, or relays for it."""

    @property
    def ingress(self) -> str:
        """The public edge that it depends on; its own, where it names none."""
        return self.nat_group or self.node


@frozen(kw_only=True)
class Bounds:
    """How many links a node seeks."""

    full_mesh_up_to: int = 16
    """Nodes, this one included."""
    degree: int = 8
    """Links in a larger fleet. Raising it shortens ways and costs a probe per link and second."""
    targets: Targets = field(factory=Targets)


@define
class Fleet:
    """The nodes that are worth a link, this one among them: what choices are made from."""

    bounds: Bounds
    places: dict[NodeId, Place] = field(init=False, factory=dict)
    rings: Rings = field(init=False)
    _welcomed: dict[NodeId, frozenset[NodeId]] = field(init=False, factory=dict)
    """Whom each node welcomes, as far as it was asked since the last change."""

    def __attrs_post_init__(self) -> None:
        self.rings = Rings.for_degree(self.bounds.degree)

    def add(self, place: Place) -> None:
        """Take *place* in, instead of what was known of that node."""
        self.remove(place.node)
        self.places[place.node] = place
        self.rings.add(place.node, place.area)

    def remove(self, node: NodeId) -> None:
        self._welcomed.clear()
        if place := self.places.pop(node, None):
            self.rings.remove(node, place.area)

    def beside(self, me: Place, skip: Container[NodeId]) -> list[Place]:
        nodes = self.rings.beside(me.node, me.area, skip)
        return [self.places[node] for node in sorted(nodes)]

    def others(self, me: NodeId) -> Iterator[Place]:
        """Yield every place but that of *me*, in no order that means anything."""
        return (place for node, place in self.places.items() if node != me)

    def welcomes(self, host: Place, guest: Place) -> bool:
        """Return whether *host* has a place left for *guest* beyond its circles."""
        if host.node not in self._welcomed:
            self._welcomed[host.node] = frozenset(self._guests(host))
        return guest.node in self._welcomed[host.node]

    def _guests(self, host: Place) -> Iterable[NodeId]:
        few = self.bounds.degree // 4
        many = MOST_RECOVERED if host.recovers else self.bounds.degree * 3 // 2
        dearest = dearest_first(host, self.others(host.node))
        dearest.sort(key=lambda each: not each.is_critical)
        for place in [each for each in dearest if each.area == host.area][:few]:
            yield place.node
        for place in [each for each in dearest if each.area != host.area][:many]:
            yield place.node


def dearest_first(me: Place, places: Iterable[Place]) -> list[Place]:
    """Return *places* by their affinity to *me*."""
    return sorted(places, key=lambda each: -affinity(me.node, each.node))


Kind: TypeAlias = Callable[[Place], Hashable | None]
"""What a link to a place counts as; ``None``: it does not count."""


def _counts(me: Place, targets: Targets) -> list[tuple[int, Kind]]:
    """Return how many distinct ones of what there should be, the most diverse first."""

    def area(other: Place) -> Hashable | None:
        return other.area if other.area != me.area else None

    def ingress(other: Place) -> Hashable | None:
        return other.ingress if other.ingress != me.ingress else None

    def recovery(other: Place) -> Hashable | None:
        is_way = other.recovers and other.area != me.area
        return (other.area, other.ingress) if is_way else None

    def anybody(other: Place) -> Hashable | None:
        return other.node

    return [
        (targets.external_areas, area),
        (targets.independent_ingress, ingress),
        (targets.recovery, recovery),
        (targets.direct, anybody),
    ]


def choose(me: Place, fleet: Fleet, skip: Container[NodeId] = frozenset()) -> list[Place]:
    """Return whom *me* should have a link to, without those in *skip*, most diverse first."""
    chosen = fleet.beside(me, skip)
    for least, kind in _counts(me, fleet.bounds.targets):
        had: set[Hashable] = {kind(each) for each in chosen} - {None}
        if len(had) < least:
            chosen += _added(me, fleet, skip, had, least, kind)
    return spread(me, chosen)


def _added(
    me: Place,
    fleet: Fleet,
    skip: Container[NodeId],
    had: set[Hashable],
    least: int,
    kind: Kind,
) -> Iterator[Place]:
    """Yield the dearest places that bring the different kinds *had* to *least*, if there are."""
    others = (each for each in fleet.others(me.node) if each.node not in skip)
    useful = [each for each in others if kind(each) not in {None, *had}]
    for place in dearest_first(me, useful):
        if len(had) >= least:
            return
        if kind(place) not in had and fleet.welcomes(place, me):
            had.add(kind(place))
            yield place


def spread(me: Place, places: Iterable[Place]) -> list[Place]:
    """Return *places* in the order in which to dial them: what fails together stands far apart.

    First one of each other area, then the next public edge and site of each; within an area the
    dearest first; this node's own area takes its turn after the others.
    """
    turns: dict[str, int] = {}
    seen: set[Hashable] = {me.ingress}
    ordered: list[tuple[tuple[int, bool, bool], Place]] = []
    for place in dearest_first(me, places):
        turn = turns.get(place.area, 0)
        turns[place.area] = turn + 1
        ordered.append(((turn, place.area == me.area, place.ingress in seen), place))
        seen.add(place.ingress)
    ordered.sort(key=lambda each: each[0])  # stable: of equals, the dearest
    return [place for _, place in ordered]
