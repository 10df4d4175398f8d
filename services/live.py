"""The connections that are open now: counted against a cap, waited for and ended by a drain."""

from __future__ import annotations

import trio
from attrs import define, field

from fabric.codes import Code
from services.lifetime import Lifetime

ENDING_WITHIN = 1.0
"""Seconds for cancelled connections to send their resets; they wait for nobody."""


@define(eq=False)
class Live:
    """Every connection of one service through one edge. Handlers enter and leave by themselves."""

    _open: set[Lifetime] = field(factory=set)
    _emptied: trio.Event = field(factory=trio.Event)

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, life: Lifetime) -> None:
        self._open.add(life)

    def leave(self, life: Lifetime) -> None:
        self._open.discard(life)
        if not self._open:
            self._emptied.set()
            self._emptied = trio.Event()

    async def wait_empty(self) -> None:
        """Return once no connection is open; at once when none is."""
        while self._open:
            await self._emptied.wait()

    def end_all(self, code: Code) -> int:
        """End what is still open, for *code*; return how many that were."""
        for life in self._open:
            life.end(code)
        return len(self._open)


async def drain(lives: list[Live], within: float) -> int:
    """Let open connections finish, then reset the rest with ``DRAIN_TIMEOUT``.

    Returns how many were reset. Nothing new may enter meanwhile: stop taking connections first.
    """
    with trio.move_on_after(within):
        for live in lives:
            await live.wait_empty()
    reset = sum(live.end_all(Code.DRAIN_TIMEOUT) for live in lives)
    with trio.move_on_after(ENDING_WITHIN):
        for live in lives:
            await live.wait_empty()
    return reset
