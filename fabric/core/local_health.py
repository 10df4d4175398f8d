"""How far this node trusts its own ears: Lifeguard's local health.

A node that is slow, starved or cut off sees everybody else as silent. It can tell, for one dead
peer is silent alone, while a deaf node hears *nobody*; and a timer that rings late says that this
process was not running. Each such sign raises a score, each second without one lowers it, and
all of this node's own patience is multiplied by one more than the score. The score decides
nothing about others, and others never hear of it. While it hears nobody at all, it waits for its
own score and not for theirs: a deaf node accuses nobody (:meth:`.Ears.is_deaf`).

=============================================  ==========
in one second                                  score
=============================================  ==========
at least two and more than half of the peers   + 1
silent
otherwise                                      - 1
a timer rang s seconds late, s over 0.5        + s, rounded up
others suspected this node, two at least       + 1
=============================================  ==========

Prior art: A. Dadgar, J. Phillips, J. Currey, "Lifeguard: SWIM-ing with Situational Awareness",
2017, whose counter takes one step per probe of one random member. Here all neighbours are probed
each second, so a step is taken for all of them together.
"""

from __future__ import annotations

import math
from typing import Final

from attrs import define, field

MOST: Final = 8
"""As in Lifeguard: patience at most ninefold. Higher would outlast the connection itself."""

LATE: Final = 0.5
"""Seconds by which a timer of a healthy node may ring late: a busy event loop, not a pause."""

SLOW: Final = 2
"""Score from which this node is shown as slow: one odd second is no news."""


@define
class LocalHealth:
    """A score from 0, well, to :data:`MOST`."""

    score: int = field(init=False, default=0)

    @property
    def stretch(self) -> int:
        """By how much this node multiplies its own patience."""
        return 1 + self.score

    @property
    def is_slow(self) -> bool:
        """Whether to show this node as slow."""
        return self.score >= SLOW

    def count(self, *, silent: int, peers: int) -> None:
        """Take the step of one second in which *silent* of *peers* were not heard."""
        self._move(1 if silent >= 2 and 2 * silent > peers else -1)

    def overslept(self, late: float) -> None:
        """Note that a timer rang *late* seconds late."""
        if late > LATE:
            self._move(math.ceil(late))

    def doubted(self) -> None:
        """Note that several others could not hear this node."""
        self._move(1)

    def _move(self, by: int) -> None:
        self.score = max(0, min(MOST, self.score + by))
