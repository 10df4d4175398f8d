"""Where peers were seen that neither their records nor a dial of ours name: candidates for a dial.

A peer that dials us comes from an address of its own. Its record may be old, or name no address
that leads there; the one that it came from did, once. So it is tried too, behind all others, until
it fails and the peer turns out to be elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import define, field

from fabric.core.identity import NodeId
from fabric.core.roster import Address

MOST_OF_ONE: Final = 8
"""Addresses of one peer; as many as its record may name. The one noted longest ago goes."""


@define(eq=False)
class Sightings:
    """Candidates by peer, the last seen first. Whoever asks forgets those who are no members."""

    _places: dict[NodeId, dict[Address, bool]] = field(init=False, factory=dict)
    """Of each, whether it has failed since the peer was last connected; in order of sighting."""

    def saw(self, node: NodeId, address: Address) -> Address | None:
        """Note that *node* came from *address*; return the one that had to go for it."""
        places = self._places.setdefault(node, {})
        places.pop(address, None)
        places[address] = False
        if len(places) <= MOST_OF_ONE:
            return None
        oldest = next(iter(places))
        del places[oldest]
        return oldest

    def missed(self, node: NodeId, address: Address) -> None:
        """Note that nobody answered at *address*, or that it was somebody else."""
        if address in self._places.get(node, ()):
            self._places[node][address] = True

    def connected(self, node: NodeId) -> list[Address]:
        """Forget, and return, where *node* was looked for in vain: it is somewhere else."""
        places = self._places.get(node, {})
        gone = [address for address, has_failed in places.items() if has_failed]
        for address in gone:
            del places[address]
        return gone

    def forget(self, node: NodeId) -> None:
        self._places.pop(node, None)

    def of(self, node: NodeId) -> Iterator[Address]:
        """Yield where *node* was seen, the last place first."""
        return reversed(self._places.get(node, {}))

    def nodes(self) -> set[NodeId]:
        """Return who was seen anywhere."""
        return set(self._places)
