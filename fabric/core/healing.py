"""Dialling those who are lost, whatever a backoff says, so that what fell apart grows together.

A fleet that was cut in two, or a node that was cut off, gives the other side up: it is dead, and
dialled slowly or not at all. Every five seconds one seed and one member of each area that cannot
be reached are dialled nevertheless, this node's own area among them: a fleet may have but one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

from attrs import define, field

from fabric.core.contacts import Contact
from fabric.core.identity import NodeId
from fabric.core.neighbour_events import Heal
from fabric.core.roster import Address

HEALING: Final = 5.0
"""Seconds between two healing turns, more or less a quarter. Raising it lets a partition last
longer by as much; each turn costs a dial for a seed and for each area with somebody lost."""

MOST_HEALED: Final = 16
"""Areas healed in one turn, drawn among all that have somebody lost."""


@define
class Healing:
    """Whose turn it is to be dialled."""

    me: NodeId
    rng: random.Random
    seeds: tuple[Address, ...]
    _met: dict[Address, NodeId] = field(init=False, factory=dict)
    """Who was found at each seed."""
    _due_at: float | None = field(init=False, default=None)

    def meet(self, address: Address, node: NodeId) -> None:
        """Note that *node* is at *address*; no more than there are seeds."""
        if address in self.seeds:
            self._met[address] = node

    def turn(self, contacts: Mapping[NodeId, Contact], now: float) -> list[Heal]:
        """Return what to dial, if it is time to and anybody is lost. The first time is at once."""
        if self._due_at is not None and now < self._due_at:
            return []
        self._due_at = now + HEALING * self.rng.uniform(0.75, 1.25)
        lost = _lost(contacts)
        seeds = [each for each in self.seeds if self._is_lost(each, contacts, lost)]
        seed = (self.rng.choice(seeds),) if seeds else ()
        nodes = tuple(self.rng.choice(each) for each in self._areas(contacts, lost))
        return [Heal(seed, nodes)] if seed or nodes else []

    def _is_lost(
        self, seed: Address, contacts: Mapping[NodeId, Contact], lost: set[NodeId]
    ) -> bool:
        node = self._met.get(seed)
        return node != self.me and (node not in contacts or node in lost)

    def _areas(self, contacts: Mapping[NodeId, Contact], lost: set[NodeId]) -> list[list[NodeId]]:
        """Return the lost nodes by area, of as many areas as one turn takes."""
        areas: dict[str, list[NodeId]] = {}
        for node in sorted(lost):
            areas.setdefault(contacts[node].place.area, []).append(node)
        drawn = self.rng.sample(sorted(areas), min(MOST_HEALED, len(areas)))
        return [areas[area] for area in sorted(drawn)]


def _lost(contacts: Mapping[NodeId, Contact]) -> set[NodeId]:
    """Return who is out of reach; to a node without any link, everybody is."""
    is_alone = not any(each.is_linked for each in contacts.values())
    return {node for node, each in contacts.items() if is_alone or each.is_lost}
