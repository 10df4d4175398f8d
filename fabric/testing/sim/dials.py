"""Whom one simulated node dials, and when again: as a peer's task does in the runtime."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from attrs import define, field

from fabric.core.backoff import Redial
from fabric.core.identity import NodeId
from fabric.testing.sim.clockwork import Clockwork

STAYED_FOR: Final = 2.0
"""Seconds, as in :mod:`fabric.runtime.peers`."""

SLOWLY: Final = 60.0
"""Seconds, as in :mod:`fabric.runtime.peers`."""


@define(eq=False)
class Dial:
    """What is known of dialling one peer."""

    redial: Redial
    is_wanted: bool = False
    is_slow: bool = False
    is_under_way: bool = False
    turn: int = 0
    """Of the wait for the next attempt: a later one replaces it."""


@define(eq=False)
class Dials:
    """The dials of one node. At most one attempt per peer is under way."""

    clock: Clockwork
    rng: random.Random
    begin: Callable[[NodeId, float], None]
    """Dials a peer, within so many seconds."""
    is_linked: Callable[[NodeId], bool]
    _by_peer: dict[NodeId, Dial] = field(init=False, factory=dict)

    def seek(self, peer: NodeId, *, slowly: bool) -> None:
        """Dial *peer* from now on while no link to it stands."""
        dial = self._of(peer)
        if (True, slowly) == (dial.is_wanted, dial.is_slow):
            return
        dial.is_wanted, dial.is_slow = True, slowly
        self._try(peer)

    def let_go(self, peer: NodeId) -> None:
        """Dial *peer* no more."""
        if (dial := self._by_peer.get(peer)) is not None:
            dial.is_wanted, dial.turn = False, dial.turn + 1

    def nudge(self, peer: NodeId) -> None:
        """Dial *peer* now, once."""
        self._of(peer)
        self._try(peer)

    def missed(self, peer: NodeId, *, refused: bool) -> None:
        """Note that an attempt came to nothing."""
        dial = self._of(peer)
        dial.is_under_way = False
        self._wait(peer, dial, refused=refused)

    def stood(self, peer: NodeId) -> None:
        """Note that a link to *peer* stands."""
        dial = self._of(peer)
        dial.is_under_way, dial.turn = False, dial.turn + 1

    def lost(self, peer: NodeId, after: float) -> None:
        """Note that no link to *peer* stands any more, *after* so many seconds of one."""
        dial = self._of(peer)
        if after >= STAYED_FOR:
            dial.redial.lost(self.clock.now)
        self._wait(peer, dial, refused=False)

    def _wait(self, peer: NodeId, dial: Dial, *, refused: bool) -> None:
        dial.turn += 1
        delay = dial.redial.next_delay(self.clock.now, refused=refused)
        if dial.is_slow:
            delay = max(delay, SLOWLY * self.rng.uniform(0.75, 1.25))
        if dial.is_wanted:
            self.clock.after(delay, self._again, peer, dial.turn)

    def _again(self, peer: NodeId, turn: int) -> None:
        dial = self._of(peer)
        if dial.turn == turn and dial.is_wanted:
            self._try(peer)

    def _try(self, peer: NodeId) -> None:
        dial = self._of(peer)
        if dial.is_under_way or self.is_linked(peer):
            return
        dial.is_under_way, dial.turn = True, dial.turn + 1
        self.begin(peer, dial.redial.attempt_timeout(self.clock.now))

    def _of(self, peer: NodeId) -> Dial:
        dial = self._by_peer.get(peer)
        if dial is None:
            dial = self._by_peer[peer] = Dial(Redial(self.rng))
            dial.redial.lost(self.clock.now)
        return dial
