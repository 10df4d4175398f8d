"""The clocks plane: peers tell each other what their clocks show, so that health can compare.

Nothing expires by it, and nothing is decided: see :class:`fabric.core.clocks.Skew`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NoReturn

import trio
from attrs import define

from fabric.core.clocks import Skew
from fabric.core.frames import Clock
from fabric.core.planes import Planes
from fabric.runtime.links import Link

PLANE: Final = "clocks"

TELL_EVERY: Final = 240.0
"""Seconds between two words to one peer: twice in the time for which one counts."""


@define(eq=False, kw_only=True)
class Clocks:
    """What peers' clocks show. :meth:`run` tells them what this one does."""

    skew: Skew
    unix_now: Callable[[], float]
    links: Callable[[], Iterable[Link]]
    """Returns those that stand."""
    planes: Planes

    def tell(self, link: Link) -> None:
        """Say on *link* what this node's clock shows."""
        link.post(Clock(unix=max(0, int(self.unix_now() * 1000))))

    def heard(self, link: Link, clock: Clock) -> None:
        """Take what *clock* says of the one at the other end of *link*."""
        shows = clock.unix / 1000 + (link.connection.rtt or 0.0) / 2
        offset, now = shows - self.unix_now(), trio.current_time()
        member = link.member
        self.skew.heard(member.node_id, member.area, offset=offset, now=now)

    async def run(self) -> NoReturn:
        """Tell every peer now and then, until cancelled."""
        while True:
            for link in self.links():
                self.tell(link)
            self.planes.progressed(PLANE, trio.current_time())
            await trio.sleep(TELL_EVERY)
