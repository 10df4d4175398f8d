"""This node's own incarnation: how it answers what is said against it.

An incarnation is ``boot_seq`` in the upper 48 bits and a count in the lower 16. So a process that
was restarted outbids whatever was said of the one before, without having heard it. It counts up
whenever it must contradict: to a suspicion, to its death, to its own farewell from another time,
and unasked after it did not run for :data:`PAUSE` seconds, for then it *was* silent.

A word of an incarnation that lies too far beyond the time is heard by nobody, this node included:
a thief of its key could otherwise say farewell in its name under the highest number there is, and
nothing that this node says would ever count again. The bound moves on with time, so whatever was
believed can be outbid a second later.

The first contradiction is immediate. Against one accuser alone each further one waits twice as
long, up to :data:`LONGEST_GAP`, for a node that is wrong or lies would else make the fleet pass
on two rumours for every one of its own. A second accuser ends the waiting: only then can a
suspicion end before the gap does.
"""

from __future__ import annotations

import math
from typing import Final

from attrs import define, field

from fabric.core.frames import Alive, Left
from fabric.core.identity import NodeId
from fabric.core.lifetimes import MOST_SEQUENCE_AHEAD
from fabric.core.shapes import UINT64
from fabric.core.testimony import Context, Notary

BOOT_SHIFT: Final = 16
LAST_BOOT: Final = UINT64 >> BOOT_SHIFT

PAUSE: Final = 2.0
"""Seconds of not running after which others have begun to wonder."""

GAP: Final = 0.5
"""Seconds between two contradictions: in less the first has not been everywhere."""

LONGEST_GAP: Final = 8.0
"""Seconds; an accuser alone is believed after eighteen at the earliest."""

CALM: Final = 60.0
"""Seconds without an accusation after which the gap is short again."""


def latest_boot_at(unix_now: float) -> int:
    """Return the highest ``boot_seq`` that is believed at *unix_now*: as for a node's records."""
    return int(unix_now) + MOST_SEQUENCE_AHEAD


def boot_of(incarnation: int) -> int:
    """Return the ``boot_seq`` of the process that *incarnation* is of."""
    return incarnation >> BOOT_SHIFT


def first_incarnation(boot_seq: int) -> int:
    """Return the incarnation of a process that begins with *boot_seq*."""
    return boot_seq << BOOT_SHIFT


@define
class OwnLife:
    """Incarnation, word and contradiction of this node."""

    notary: Notary
    incarnation: int
    refute_at: float = field(init=False, default=math.inf)
    """When the next contradiction is due."""
    has_left: bool = field(init=False, default=False)
    _word: Alive | Left | None = field(init=False, default=None)
    _highest: int = field(init=False, default=0)
    """The highest incarnation that this node was heard of in."""
    _accusers: set[NodeId] = field(init=False, factory=set)
    _refuted_at: float = field(init=False, default=-math.inf)
    _gap: float = field(init=False, default=GAP)

    def word(self) -> Alive | Left:
        """Return what this node says of itself, signed."""
        if self._word is None:
            self._word = self._sign()
        return self._word

    def _sign(self) -> Alive | Left:
        kind, context = (Left, Context.LEFT) if self.has_left else (Alive, Context.ALIVE)
        me = self.notary.me
        signature = self.notary.attest(context, me, self.incarnation)
        return kind(subject=me, incarnation=self.incarnation, signature=signature)

    def leave(self) -> None:
        """Say farewell from now on, and contradict nothing any more."""
        self.has_left, self.refute_at, self._word = True, math.inf, None

    def contradict(self, incarnation: int, accusers: set[NodeId], now: float) -> None:
        """Answer what *accusers* say of *incarnation*, as soon as may be."""
        if self.has_left or incarnation < self.incarnation:
            return
        self._highest = max(self._highest, incarnation)
        self._accusers |= accusers
        wait = GAP if len(self._accusers) > 1 else self._gap
        if now - self._refuted_at >= CALM:
            wait = self._gap = GAP
        self.refute_at = min(self.refute_at, max(now, self._refuted_at + wait))

    def refute(self, now: float) -> bool:
        """Take a new incarnation; returns whether more than one had doubted the last."""
        was_doubted = len(self._accusers) > 1
        self._gap = GAP if was_doubted else min(LONGEST_GAP, 2 * self._gap)
        self.refute_at, self._refuted_at = math.inf, now
        self._accusers.clear()
        self.incarnation = min(UINT64, max(self.incarnation, self._highest) + 1)
        self._word = None
        return was_doubted

    def overslept(self, late: float, now: float) -> None:
        """Say something new, if *late* seconds were long enough for others to wonder."""
        if late >= PAUSE and not self.has_left:
            self.refute_at = now
