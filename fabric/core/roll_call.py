"""The roll call: how two neighbours find out where what they hold of the members differs.

::

    caller                                     called
    RollCall{digest}      ----------------->   the same: nothing. Else its own roll:
                          <-----------------   RollCall{digest, entries}
    proofs of what the    ----------------->
    other lacks; and, where it lacks something itself:
    RollCall{digest, entries}  ------------>
                          <-----------------   proofs of what the caller lacks

A proof is a frame that this node would pass on as a rumour. To one neighbour go at most one roll
and :data:`MOST_PROOFS` proofs in :data:`GAP` seconds, whatever it asks; what is left over is
found by the next call, which follows the sooner for it.
"""

from __future__ import annotations

import math
import random
from typing import Final

from attrs import define, field

from fabric.core.frames import RollCall
from fabric.core.identity import NodeId
from fabric.core.liveness_events import Effect, Tell
from fabric.core.lives import Life, Lives
from fabric.core.watch import Watch

INTERVAL: Final = 10.0
"""Seconds between calls, of 100 bytes each. What missed somebody is late by as much."""

GAP: Final = 1.0
"""Seconds to the next call where there was a difference; doubled with each until
:data:`INTERVAL`, for two directories may differ for longer."""

MOST_PROOFS: Final = 32
"""Drawn at random, so that several neighbours send a newcomer different ones."""


@define
class RollCalls:
    """When this node calls, and how it answers."""

    lives: Lives
    rng: random.Random
    due: float = field(init=False, default=math.inf)
    _gap: float = field(init=False, default=INTERVAL)

    def open(self, peer: NodeId, now: float) -> Tell:
        """Return the call to a new neighbour. Regular calls begin with the first."""
        if self.due == math.inf:
            self.due = now + self.rng.uniform(0, INTERVAL)
        return Tell(peer, self._call())

    def tick(self, connected: list[NodeId], now: float) -> list[Effect]:
        """Call one of *connected*, sorted, if it is time."""
        if self.due > now:
            return []
        self.due = now + self._gap
        self._gap = min(INTERVAL, 2 * self._gap)
        return [Tell(self.rng.choice(connected), self._call())] if connected else []

    def answer(self, watch: Watch, frame: RollCall, now: float) -> list[Effect]:
        """Return what *watch*'s peer gets for its call or its roll."""
        if frame.digest == self.lives.digest:
            self._gap = INTERVAL
            return []
        if self._gap == INTERVAL:
            self._gap = GAP
            self.due = min(self.due, now + GAP)
        if not frame.entries:
            return self._show(watch, now)
        newer, is_behind = self.lives.compare(frame.entries)
        proofs = self._prove(watch, newer, now) if newer else []
        return [*proofs, *(self._show(watch, now) if is_behind else [])]

    def _call(self) -> RollCall:
        return RollCall(digest=self.lives.digest)

    def _show(self, watch: Watch, now: float) -> list[Effect]:
        if now - watch.rolled_at < GAP:
            return []
        watch.rolled_at = now
        roll = self.lives.roll(self.rng)
        return [Tell(watch.peer, RollCall(digest=self.lives.digest, entries=roll))]

    def _prove(self, watch: Watch, newer: list[Life], now: float) -> list[Effect]:
        if now - watch.proved_at < GAP:
            return []
        watch.proved_at = now
        drawn = self.rng.sample(newer, min(MOST_PROOFS, len(newer)))
        rumours = (life.rumour() for life in drawn)
        return [Tell(watch.peer, each) for each in rumours if each is not None]
