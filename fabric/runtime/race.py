"""Ways to one peer, raced: whoever proves the peer's key first wins, and the others are given up.

An address that leads nowhere costs seconds, for nothing comes back from it. So the next way is
begun when the one before has failed, or has not answered for :data:`NEXT_AFTER`: nine ways of
which the last works take two seconds instead of nine timeouts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from attrs import define, field

from fabric.codes import Code
from fabric.core.roster import DialIntent
from fabric.errors import RefusedError
from fabric.runtime.closing import close
from fabric.trio_quic import Connection

NEXT_AFTER: Final = 0.25
"""Seconds: RFC 8305, section 8, which races a host's addresses."""

Won = tuple[DialIntent, Connection]


@define(eq=False)
class Race:
    """The ways to one peer. Each is tried once, in their order, over as many :meth:`run` as it
    takes; there are few (a record names eight addresses), so all may be under way at once."""

    ways: deque[DialIntent]
    connect: Callable[[DialIntent], Awaitable[Connection]]
    """Tries one way, up to the proof of the key; raises :exc:`RefusedError`."""
    missed: Callable[[DialIntent, RefusedError], None]
    """Told of each way that came to nothing."""
    is_moot: Callable[[], bool]
    """Whether no further way need be begun."""
    _won: Won | None = field(init=False, default=None)

    async def run(self) -> Won | None:
        """Return the next way that leads to the peer, and the connection; None once none does."""
        self._won = None
        try:
            async with trio.open_nursery() as nursery:
                while self.ways and not self.is_moot():
                    over = trio.Event()
                    nursery.start_soon(self._try, self.ways.popleft(), over, nursery.cancel_scope)
                    with trio.move_on_after(NEXT_AFTER):
                        await over.wait()
        except BaseException:
            self._give_up()
            raise
        return self._won

    async def _try(self, way: DialIntent, over: trio.Event, race: trio.CancelScope) -> None:
        try:
            connection = await self.connect(way)
        except RefusedError as refused:
            self.missed(way, refused)
        else:
            self._give_up()  # of two in one turn of the scheduler, the later is as good
            self._won = way, connection
            race.cancel()
        finally:
            over.set()

    def _give_up(self) -> None:
        if self._won is not None:
            close(self._won[1], Code.SHUTTING_DOWN)
            self._won = None
