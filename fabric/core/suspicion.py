"""How long a suspect may be silent before it counts as dead.

Theory of operation
===================

Whoever gets no answer from a neighbour, directly or through others, signs an accusation. Every
node collects the accusations of one subject in one incarnation and decides by itself, alike:

- *Silence* is counted from the moment at which the subject was last heard by any of its
  accusers, or by this node: each says for how long it had heard nothing. (A liar gains little:
  of what it claims at most :data:`MOST_CREDIT` is counted, and the shortest silence is.)
- The silence that it takes shrinks with the number of independent accusers, as in Lifeguard::

      most - (most - least) * log(accusers) / log(ENOUGH)

  ``least`` grows with the logarithm of the fleet, since so does the time in which a refutation
  reaches everybody.
- Below ``most`` a death needs *corroboration*: two accusers in two areas, for two neighbours in
  one area may share what is broken. Where the rest of the fleet is in one area, two accusers of
  that one; where there is only one other node, that one.
- At ``most`` it is dead by whatever accuser there is: *unopposed*. An accusation reaches every
  neighbour of the subject, and one that hears it takes the accusation to it, whose refutation
  comes back within a second or, on the word of one accuser alone, ten. If none has come until
  then, all of its neighbours are silent or agree. A single liar gets nowhere.

=====  ===================================  ======
fleet  least, with three accusers, seconds  most
=====  ===================================  ======
3      7.0                                  21.0
8      6.6                                  19.9
20     6.1                                  18.4
100    7.0                                  21.0
1,000  8.2                                  24.7
=====  ===================================  ======

A process that stops for five seconds (a migration, a full disk, a debugger) must not be taken for
dead. To be heard again it needs one connection, and of few the first is back later than of many;
then its word needs time to reach everybody, in a larger fleet more of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from attrs import define, field, frozen

from fabric.core.fleet import Fleet
from fabric.core.frames import MOST_ACCUSERS
from fabric.core.identity import NodeId

ENOUGH: Final = 3
"""Accusers that bring the wait down to its least. Memberlist waits for as many; more would make
a subject of low degree wait for neighbours that it does not have."""

MOST_CREDIT: Final = 3.5
"""Seconds of an accuser's claimed silence that are counted: an honest one claims 2 to 3.5."""

LATER: Final = 0.2
"""Seconds by which an accuser must have heard the subject later than the rest to be of interest
for that: the time of a death becomes as exact as that, for two more rumours or so."""

UNOPPOSED: Final = 3.0
"""Times ``least`` until nobody's silence is as good as consent. Above the time in which a subject
answers to one accuser alone; memberlist has 6, for rumours that are sent unreliably."""


def least_silence(members: int) -> float:
    """Return the seconds that a subject may always be silent in a fleet of so many *members*."""
    first_back = 7.2 - 0.07 * members  # five, and two for the only connection, if it is one
    everywhere = 4.5 + 1.25 * math.log10(max(1, members))  # half a second first, then two hops
    return max(first_back, everywhere)


def needed_silence(members: int, accusers: int, *, corroborated: bool) -> float:
    """Return the seconds of silence after which so many *accusers* are believed."""
    least = least_silence(members)
    most = UNOPPOSED * least
    if not corroborated:
        return most
    # Nobody but the subject and this node: there is no second accuser to wait for.
    enough = max(1, min(ENOUGH, members - 1))
    share = 1.0 if accusers >= enough else math.log(accusers) / math.log(enough)
    return most - (most - least) * share


def is_corroborated(subject: NodeId, accusers: Iterable[NodeId], fleet: Fleet) -> bool:
    """Return whether *accusers* are enough, and far enough apart, to be believed early."""
    areas = [area for each in accusers if (area := fleet.area_of(each)) is not None]
    others = len(fleet) - (subject in fleet)
    return len(areas) >= min(2, max(1, others)) and len(set(areas)) >= min(
        2, fleet.areas_beside(subject)
    )


@frozen(kw_only=True)
class Accusation:
    """One accuser's word."""

    accuser: NodeId
    signature: bytes
    heard_until: float
    """When the accuser, by what it says, last heard the subject, on this node's clock."""


def _heard_until(silent: float, now: float) -> float:
    return now - min(silent, MOST_CREDIT)


@define
class Suspicion:
    """All that is said against one subject in one incarnation."""

    subject: NodeId
    since: float
    """When this node first heard of it, or could first be answered."""
    accusations: dict[NodeId, Accusation] = field(init=False, factory=dict)
    _heard_here: float = field(init=False, default=-math.inf)
    _not_before: float = field(init=False, default=-math.inf)
    _found: tuple[int, float] | None = field(init=False, default=None)
    """When it expires, and of which state of the fleet that is true. It is asked of all suspects
    after each frame, and of hundreds at once that would be milliseconds."""

    def takes(self, accuser: NodeId, silent: float, now: float, fleet: Fleet) -> bool:
        """Return whether *accuser* adds anything.

        Enough are enough, unless one is of another area or heard the subject later than they.
        """
        if accuser in self.accusations or len(self.accusations) >= MOST_ACCUSERS:
            return False
        areas = {fleet.area_of(each) for each in self.accusations}
        return (
            len(self.accusations) <= ENOUGH
            or fleet.area_of(accuser) not in areas
            or _heard_until(silent, now) > self.heard_until + LATER
        )

    def add(self, accuser: NodeId, signature: bytes, silent: float, now: float) -> None:
        """Count *accuser* in. *silent*: seconds for which it had heard nothing."""
        self._found = None
        self.accusations[accuser] = Accusation(
            accuser=accuser, signature=signature, heard_until=_heard_until(silent, now)
        )

    @property
    def heard_until(self) -> float:
        """When the subject was last heard, by any accuser or by this node."""
        times = (each.heard_until for each in self.accusations.values())
        return max(self._heard_here, *times)

    def is_corroborated(self, fleet: Fleet) -> bool:
        return is_corroborated(self.subject, self.accusations, fleet)

    def expires(self, fleet: Fleet) -> float:
        """Return when the subject counts as dead, if nothing more is heard."""
        if self._found is None or self._found[0] != fleet.changes:
            self._found = fleet.changes, self._expires(fleet)
        return self._found[1]

    def _expires(self, fleet: Fleet) -> float:
        corroborated = self.is_corroborated(fleet)
        needed = needed_silence(len(fleet), len(self.accusations), corroborated=corroborated)
        heard = self.heard_until
        if not corroborated:  # a single accuser's claim of long silence counts for nothing
            heard = max(heard, self.since)
        return max(self._not_before, heard + needed)

    def heard(self, at: float) -> None:
        """Begin the silence no earlier: this node heard the subject, or could hear nobody."""
        self._found = None
        self._heard_here = max(self._heard_here, at)

    def spare(self, until: float) -> None:
        """Let the time not be up before *until*."""
        self._found = None
        self._not_before = max(self._not_before, until)

    def forget(self, accuser: NodeId) -> None:
        """Drop the word of one that is no member any more."""
        self._found = None
        self.accusations.pop(accuser, None)
