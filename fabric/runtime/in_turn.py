"""One thing after the other: what follows from an event may be an event again, and waits its turn.

A plane lets its core take an event and carries out the effects. One of them may lead back to the
plane, by way of another. If that were carried out in between, the rest of the first event's
effects would come after it, and undo what it asked for: a moment to wake at, for instance.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from attrs import define, field

T = TypeVar("T")


@define(eq=False)
class InTurn(Generic[T]):
    """Hands events to *take*, each once the one before was carried out whole.

    What waits comes from this node's own effects: one or two, never a peer's doing.
    """

    _take: Callable[[T], None]
    _waiting: deque[T] = field(init=False, factory=deque)
    _is_busy: bool = field(init=False, default=False)

    def put(self, event: T) -> None:
        """Have *event* taken: now, or after the one at hand."""
        self._waiting.append(event)
        if self._is_busy:
            return
        self._is_busy = True
        try:
            while self._waiting:
                self._take(self._waiting.popleft())
        finally:
            self._is_busy = False
