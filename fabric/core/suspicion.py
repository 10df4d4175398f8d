"""How long a suspect may be silent before it counts as dead.

Theory of operation
===================

Whoever gets no answer from a neighbour, directly or through others, signs an accusation. Every
node collects the accusations of one subject in one incarnation and decides by itself, alike:

- *Silence* is counted from the moment at which the subject was last heard by any of its
  accusers: each says for how long it had heard nothing. (A liar gains little: of what it claims
  at most :data:`MOST_CREDIT` is counted, and the shortest silence among the accusers is.)
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

=======  ===================================  ======
fleet    least, with three accusers, seconds  most
=======  ===================================  ======
up to 8  6.2                                  18.6
20       6.7                                  20.2
100      7.5                                  22.6
1,000    8.7                                  26.2
=======  ===================================  ======

``least`` begins above six seconds so that a process which stops for five (a migration, a full
disk, a debugger) and needs another for its connections is not taken for dead.
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

FLOOR: Final = 6.2
"""Seconds of silence that prove nothing, in any fleet."""

MOST_CREDIT: Final = 3.5
"""Seconds of an accuser's claimed silence that are counted: an honest one claims 2 to 3.5."""

UNOPPOSED: Final = 3.0
"""Times ``least`` until nobody's silence is as good as consent. Above the time in which a subject
answers to one accuser alone; memberlist has 6, for rumours that are sent unreliably."""


def least_silence(members: int) -> float:
    """Return the seconds that a subject may always be silent in a fleet of so many *members*."""
    return max(FLOOR, 5.1 + 1.2 * math.log10(max(1, members)))


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


@define
class Suspicion:
    """All that is said against one subject in one incarnation."""

    subject: NodeId
    since: float
    """When this node first heard of it, or could first be answered."""
    accusations: dict[NodeId, Accusation] = field(init=False, factory=dict)
    _heard_here: float = field(init=False, default=-math.inf)
    _not_before: float = field(init=False, default=-math.inf)

    def takes(self, accuser: NodeId, fleet: Fleet) -> bool:
        """Return whether *accuser* adds anything: enough are enough, unless of another area."""
        if accuser in self.accusations or len(self.accusations) >= MOST_ACCUSERS:
            return False
        areas = {fleet.area_of(each) for each in self.accusations}
        return len(self.accusations) <= ENOUGH or fleet.area_of(accuser) not in areas

    def add(self, accuser: NodeId, signature: bytes, silent: float, now: float) -> None:
        """Count *accuser* in. *silent*: seconds for which it had heard nothing."""
        self.accusations[accuser] = Accusation(
            accuser=accuser, signature=signature, heard_until=now - min(silent, MOST_CREDIT)
        )

    def is_corroborated(self, fleet: Fleet) -> bool:
        return is_corroborated(self.subject, self.accusations, fleet)

    def expires(self, fleet: Fleet) -> float:
        """Return when the subject counts as dead, if nothing more is heard."""
        corroborated = self.is_corroborated(fleet)
        needed = needed_silence(len(fleet), len(self.accusations), corroborated=corroborated)
        heard = max(each.heard_until for each in self.accusations.values())
        if not corroborated:  # a single accuser's claim of long silence counts for nothing
            heard = max(heard, self.since)
        return max(self._not_before, max(heard, self._heard_here) + needed)

    def postpone(self, now: float) -> None:
        """Begin the silence anew: this node has just heard the subject, or hears nobody."""
        self._heard_here = now

    def spare(self, until: float) -> None:
        """Let the time not be up before *until*."""
        self._not_before = max(self._not_before, until)

    def forget(self, accuser: NodeId) -> None:
        """Drop the word of one that is no member any more."""
        self.accusations.pop(accuser, None)
