"""What time it is: a machine's clock, what the fabric's keys have dated, and what peers say.

Theory of operation
===================

A clock may be wrong by years: a board without a battery starts in 1970, a typing error sets 2099.
Expiry needs a time that neither a peer nor one stolen key can push about.

The *floor* is the latest moment at which somebody entitled is known to have signed: it can only
be later now. Only what the root or the directory dates counts (a node's own word never does), and
only up to a day beyond this node's clock, or beyond what it took for the time when it started.
What is dated later alarms, once, and moves nothing. So one bad date, of whatever key, costs at
most a day of everybody's records in each run of a process.

==================================  ================================  ==========================
the clock shows                     the time is                       and said is
==================================  ================================  ==========================
later than the floor                the clock                         nothing
earlier, by up to a minute          the floor                         nothing
earlier, by more                    the floor                         ``clock_behind``
==================================  ================================  ==========================

What an operator puts there by hand (the pinned trust root, the node's own record) raises the floor
by any amount: a first boot before its date takes that date as its clock.

The *skew* is the median of what peers' clocks show beyond this one. It is for people: nothing
expires by it, and there is none at all with fewer than three peers or fewer than two areas.
"""

from __future__ import annotations

import statistics
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, TypeAlias

from attrs import define, field, frozen

from fabric.codes import Code
from fabric.core.identity import NodeId
from fabric.core.records import DAY

MOST_AHEAD: Final = DAY
"""Seconds by which a date may be ahead of the time: more than zones and daylight saving make of a
clock that was set by hand, and little against the shortest life that matters (a week)."""

TOLERANCE: Final = 60
"""Seconds of difference not worth a word: without NTP a clock gains or loses as much in a week."""

WORTH_STORING: Final = 600
"""Seconds by which the floor rises before it is written again: a fleet being signed raises it with
every record, and a floor some minutes too low does no harm."""

LEAST_PEERS: Final = 3
LEAST_AREAS: Final = 2
"""One peer, or one site with one broken time server, says nothing about *our* clock."""

MOST_PEERS: Final = 256
"""Whose clocks are remembered: far more than a node keeps connections, and some kilobytes."""

HEARD_FOR: Final = 600.0
"""Seconds for which a peer's clock counts after it was last heard."""


@frozen
class Times:
    """The time as this node has to take it. Unix seconds."""

    local: float
    """What this machine's clock shows."""
    floor: int = 0
    """It is not earlier than this."""

    @property
    def now(self) -> float:
        return self.local if self.local > self.floor else self.floor


# -- effects --
@frozen
class Rose:
    """The floor is worth storing again."""

    at: int


@frozen
class Alarm:
    """Somebody has to look at this."""

    code: Code
    detail: str


FloorEffect: TypeAlias = Rose | Alarm


@define
class Floor:
    """The earliest that it can be; see :meth:`opened`. It never falls."""

    at: int
    """Unix seconds."""
    _opened: float
    """What this node took for the time when it started."""
    _stored: int
    _has_alarmed: bool = field(init=False, default=False)

    @classmethod
    def opened(cls, local: float, *, stored: int = 0, given: Iterable[int] = ()) -> Floor:
        """Return the floor at the start of a process, when the clock shows *local*.

        *stored* is what the last process of this node told to store; *given* are the dates of what
        the operator gave to it by hand, which count whatever the clock shows.
        """
        floor = max(stored, *given, 0)
        return cls(floor, max(local, floor), stored)

    def times(self, local: float) -> Times:
        """Return the time when the clock shows *local*."""
        return Times(local, self.at)

    def raise_to(self, issued_at: int, local: float) -> list[FloorEffect]:
        """Take note that the root or the directory signed something at *issued_at*."""
        if issued_at <= self.at:
            return []
        if issued_at > max(local, self._opened) + MOST_AHEAD:
            return self._alarm(issued_at, local)
        self.at = issued_at
        if issued_at - self._stored < WORTH_STORING:
            return []
        self._stored = issued_at
        return [Rose(issued_at)]

    def complaint(self, local: float) -> Code | None:
        """Return :attr:`Code.CLOCK_BEHIND` while the clock cannot be right in showing *local*."""
        return Code.CLOCK_BEHIND if self.at - local > TOLERANCE else None

    def _alarm(self, issued_at: int, local: float) -> list[FloorEffect]:
        if self._has_alarmed:
            return []  # a thief of the directory's key could raise one with each record
        self._has_alarmed = True
        return [Alarm(Code.FLOOR_TOO_FAR, f"{issued_at - local:.0f} s ahead of this clock")]


# -- what peers say --
@frozen
class _Heard:
    area: str
    offset: float
    at: float


@define
class Skew:
    """How far peers' clocks are ahead of this one. For people to look at."""

    _heard: OrderedDict[NodeId, _Heard] = field(init=False, factory=OrderedDict)

    def heard(self, peer: NodeId, area: str, *, offset: float, now: float) -> None:
        """Note that *peer*'s clock shows *offset* seconds more than ours. *now* is monotonic."""
        self._heard[peer] = _Heard(area, offset, now)
        self._heard.move_to_end(peer)
        if len(self._heard) > MOST_PEERS:
            self._heard.popitem(last=False)

    def estimate(self, now: float) -> float | None:
        """Return the median, in seconds; None while too few peers or areas were heard lately."""
        fresh = [each for each in self._heard.values() if now - each.at <= HEARD_FOR]
        if len(fresh) < LEAST_PEERS or len({each.area for each in fresh}) < LEAST_AREAS:
            return None
        return statistics.median(each.offset for each in fresh)

    def complaint(self, now: float) -> Code | None:
        """Return :attr:`Code.CLOCK_SKEWED` while enough peers agree that our clock is off."""
        estimate = self.estimate(now)
        if estimate is None or abs(estimate) <= TOLERANCE:
            return None
        return Code.CLOCK_SKEWED
