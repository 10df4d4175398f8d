"""A timer that a core sets again and again: one task waits for whichever moment is due next."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NoReturn

import trio
from attrs import define, field


@define(eq=False)
class Timer:
    """Calls back when its moment comes. :meth:`set` from anywhere, :meth:`run` from one task."""

    _due: float = field(init=False, default=math.inf)
    _moved: trio.Event = field(init=False, factory=trio.Event)

    def set(self, at: float) -> None:
        """Let *at*, by trio's clock, be the moment, instead of what was set before."""
        is_sooner, self._due = at < self._due, at
        if is_sooner:  # else whoever waits wakes in vain, once, and waits on
            self._moved.set()

    async def run(self, ring: Callable[[], object]) -> NoReturn:
        """Call *ring* at each moment that was set, until cancelled."""
        while True:
            self._moved = trio.Event()
            with trio.move_on_at(self._due):
                await self._moved.wait()
            if trio.current_time() >= self._due:
                self._due = math.inf
                ring()
