"""Who is beside whom: all nodes on a few circles, in orders that every node computes alike.

Theory of operation
===================

A large fleet keeps few links per node, and its graph still has to be in one piece and low, without
anybody who arranges it. So every node puts all nodes on a number of circles. Where a node stands
on a circle follows from its id and the circle's name alone, and it links to the two beside it. A
link is therefore wanted at both of its ends; a circle by itself connects everybody who is on it;
two or more of them, in orders that have nothing to do with each other, make a graph whose diameter
grows with the logarithm of the fleet. A node that comes or goes changes two links per circle,
whatever the size of the fleet.

Some circles hold the whole fleet and so cross areas as often as the areas' sizes allow; one holds
the nodes of one area only, so that an area that is cut off stays in one piece as well.

*Affinity* is the other tool of this kind: a number that belongs to a pair of nodes, the same at
both ends (rendezvous hashing). It decides wherever each node has to choose differently.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Container, Iterable, Iterator
from functools import lru_cache
from typing import TypeAlias

from attrs import define, field

from fabric.core.identity import NodeId

Spot: TypeAlias = tuple[int, NodeId]


def affinity(one: NodeId, other: NodeId) -> int:
    """Return how dear *one* and *other* are to each other: as random as their ids are."""
    low, high = sorted((one, other))
    return _hashed(f"{low}\0{high}")


@lru_cache(maxsize=1 << 15)  # 1,000 nodes on a dozen circles; computed again at each change
def _position(ring: str, node: NodeId) -> int:
    return _hashed(f"{ring}\0{node}")


def _hashed(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


@define
class Ring:
    """One circle."""

    name: str
    _spots: list[Spot] = field(init=False, factory=list)

    def __len__(self) -> int:
        return len(self._spots)

    def add(self, node: NodeId) -> None:
        """Put *node*, which is not on it, in its place."""
        bisect.insort(self._spots, self._spot(node))

    def remove(self, node: NodeId) -> None:
        """Take *node*, which is on it, away."""
        del self._spots[bisect.bisect_left(self._spots, self._spot(node))]

    def beside(self, node: NodeId, skip: Container[NodeId] = frozenset()) -> set[NodeId]:
        """Return the next before and the next behind *node* that are not in *skip*."""
        at = bisect.bisect_left(self._spots, self._spot(node))
        behind = (self._spots[(at + step) % len(self)][1] for step in range(len(self)))
        before = (self._spots[at - step][1] for step in range(1, len(self) + 1))
        found = (_first(way, node, skip) for way in (behind, before))
        return {each for each in found if each is not None}

    def _spot(self, node: NodeId) -> Spot:
        return _position(self.name, node), node


def _first(way: Iterator[NodeId], node: NodeId, skip: Container[NodeId]) -> NodeId | None:
    return next((each for each in way if each != node and each not in skip), None)


@define
class Rings:
    """The circles of one fleet: some over everybody, and one for each area."""

    global_rings: int
    area_rings: int
    _rings: dict[str, Ring] = field(init=False, factory=dict)

    @classmethod
    def for_degree(cls, degree: int) -> Rings:
        """Return empty circles on which a node has about *degree* others beside it.

        Each gives two. One in four is the own area's; at least two hold everybody, for the
        diameter, whatever the degree.
        """
        area_rings = max(1, degree // 8)
        return cls(max(2, (degree + 1) // 2 - area_rings), area_rings)

    def add(self, node: NodeId, area: str) -> None:
        for name in self._names(area):
            self._rings.setdefault(name, Ring(name)).add(node)

    def remove(self, node: NodeId, area: str) -> None:
        for name in self._names(area):
            self._rings[name].remove(node)
            if not self._rings[name]:
                del self._rings[name]

    def beside(
        self, node: NodeId, area: str, skip: Container[NodeId] = frozenset()
    ) -> frozenset[NodeId]:
        """Return those beside *node*, which need not be on the circles itself."""
        rings = (self._rings.get(name) for name in self._names(area))
        return frozenset().union(*(ring.beside(node, skip) for ring in rings if ring))

    def _names(self, area: str) -> Iterable[str]:
        for index in range(self.global_rings):
            yield f"all/{index}"
        for index in range(self.area_rings):
            yield f"area/{index}/{area}"
