"""Who belongs to the fleet and in which area: what liveness measures its evidence by."""

from __future__ import annotations

from collections import Counter

from attrs import define, field

from fabric.core.identity import NodeId


@define
class Fleet:
    """The members as the directory has them, this node included."""

    _area_of: dict[NodeId, str] = field(init=False, factory=dict)
    _size_of: Counter[str] = field(init=False, factory=Counter)
    """Members per area; no area without members."""
    changes: int = field(init=False, default=0)
    """How often it has changed: what follows from it holds for as long as this is the same."""

    def __contains__(self, node: object) -> bool:
        return node in self._area_of

    def __len__(self) -> int:
        return len(self._area_of)

    def admit(self, node: NodeId, area: str) -> None:
        """Add *node*, or move it to another area."""
        if self._area_of.get(node) == area:
            return
        self.strike(node)
        self._area_of[node] = area
        self._size_of[area] += 1
        self.changes += 1

    def strike(self, node: NodeId) -> None:
        """Forget *node*, if it was a member."""
        area = self._area_of.pop(node, None)
        if area is None:
            return
        self.changes += 1
        self._size_of[area] -= 1
        if not self._size_of[area]:
            del self._size_of[area]

    def area_of(self, node: NodeId) -> str | None:
        """Return the area of *node*; ``None``: it is no member."""
        return self._area_of.get(node)

    def areas_beside(self, node: NodeId) -> int:
        """Return how many areas hold a member other than *node*."""
        area = self._area_of.get(node)
        is_alone = area is not None and self._size_of[area] == 1
        return len(self._size_of) - is_alone
