"""One deadline per connection, the earliest first. Pure: times come in, who is due comes out."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

Entry: TypeAlias = "list[Any]"
"""[due, ticket, owner or ``None`` once it counts no more]."""


class Timed(Protocol):
    """Whoever has a deadline; the entry is ours alone."""

    entry: Entry | None


T = TypeVar("T", bound=Timed)


class Timers(Generic[T]):
    """A heap with at most one live entry per owner.

    A deadline that moves later keeps its entry, which is looked at again when due; only one that
    moves earlier is pushed. A dead entry stays until it would be next but holds nobody in memory.
    """

    def __init__(self) -> None:
        self._heap: list[Entry] = []
        self._ticket = 0

    def __len__(self) -> int:
        """Entries, dead ones included."""
        return len(self._heap)

    @property
    def next_due(self) -> float:
        """When to look again; ``inf`` for never."""
        first = self.first
        return first.entry[0] if first is not None and first.entry is not None else math.inf

    @property
    def first(self) -> T | None:
        """Whose entry is due before all others. Dead ones above it are let go."""
        heap = self._heap
        while heap and heap[0][2] is None:
            heapq.heappop(heap)
        owner: T | None = heap[0][2] if heap else None
        return owner

    def put_off(self, owner: T, at: float) -> None:
        """Set *owner*'s deadline, which has moved later."""
        self.disarm(owner)
        self.arm(owner, at)

    def arm(self, owner: T, at: float) -> bool:
        """Set *owner*'s deadline; return whether it is earlier than what stood."""
        entry = owner.entry
        if at == math.inf or (entry is not None and entry[0] <= at):
            return False
        self.disarm(owner)
        self._ticket += 1
        owner.entry = [at, self._ticket, owner]
        heapq.heappush(self._heap, owner.entry)
        return True

    def disarm(self, owner: T) -> None:
        if owner.entry is not None:
            owner.entry[2] = None
            owner.entry = None

    def due(self, now: float) -> Iterator[T]:
        """Yield owners whose time has come, each without an entry until armed again."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            owner: T | None = heapq.heappop(heap)[2]
            if owner is not None:
                owner.entry = None
                yield owner
