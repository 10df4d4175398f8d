"""Virtual time: what is to happen, in the order in which it will."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from attrs import define, field


@define(eq=False)
class Clockwork:
    """A heap of what is due. What is due at the same moment happens in the order of asking."""

    now: float = field(init=False, default=0.0)
    """Seconds since the beginning."""
    happened: int = field(init=False, default=0)
    _heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = field(
        init=False, factory=list
    )
    _asked: int = field(init=False, default=0)

    def at(self, when: float, act: Callable[..., object], *what: object) -> None:
        """Call *act* with *what* at *when*; at once, if that is over."""
        self._asked += 1
        heapq.heappush(self._heap, (max(when, self.now), self._asked, act, what))

    def after(self, seconds: float, act: Callable[..., object], *what: object) -> None:
        self.at(self.now + seconds, act, *what)

    def run(self, until: float, *, unless: Callable[[], bool] | None = None) -> None:
        """Let happen what is due up to *until*, or up to the moment at which *unless* is so."""
        heap = self._heap
        while heap and heap[0][0] <= until:
            self.now, _, act, what = heapq.heappop(heap)
            act(*what)
            self.happened += 1
            if unless is not None and unless():
                return
        self.now = until
