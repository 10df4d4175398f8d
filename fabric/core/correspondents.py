"""The peers with which records are exchanged: what each may still cost, and how far each is known.

What a peer has used up of its budgets, and what came to no avail with it, outlives a connection:
it would be too easy to begin anew otherwise.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Final

from attrs import define, field

from fabric.core.budgets import Allowance
from fabric.core.directory import Directory
from fabric.core.exchange import Exchange
from fabric.core.gossip_events import Stream
from fabric.core.identity import NodeId
from fabric.core.trust import Trust

CHECKED: Final[Mapping[Stream, float]] = {Stream.CONTROL: 50.0, Stream.SYNC: 150.0}
"""Signatures of one peer that are verified per second, 200 in all: 1 % of a core. Waves bring no
more than fifty a second in the long run, for nobody passes on more (:data:`.wave.PACE`)."""

CHECKED_AT_ONCE: Final = 2.0
"""Seconds' worth of it that may be used at once: a page of records is 256."""

MOST_AWAY: Final = 64
"""Peers without a connection that are remembered, in 20 MiB at worst."""


def _allowances() -> Mapping[Stream, Allowance]:
    return {each: Allowance(rate, rate * CHECKED_AT_ONCE) for each, rate in CHECKED.items()}


@define
class Correspondent:
    """One peer, connected or not."""

    exchange: Exchange
    checked: Mapping[Stream, Allowance] = field(init=False, factory=_allowances)
    """Signatures of it that may be verified, by the stream on which they come."""
    is_up: bool = field(init=False, default=False)


@define
class Correspondents:
    """All peers that are up, and the last that were."""

    _directory: Directory
    _trust: Trust
    _offset: int
    _known: OrderedDict[NodeId, Correspondent] = field(init=False, factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._known)

    def of(self, peer: NodeId) -> Correspondent:
        """Return what is known of *peer*; who was never heard of is as good as new."""
        known = self._known.get(peer)
        if known is None:
            exchange = Exchange(self._directory, self._trust, offset=self._offset)
            known = self._known[peer] = Correspondent(exchange)
            self._forget_those_long_away()
        return known

    def lose(self, peer: NodeId) -> None:
        """Note that no connection to *peer* stands any more."""
        known = self.of(peer)
        known.is_up = False
        known.exchange.restart()  # what a round remembers is worth nothing without its stream
        self._known.move_to_end(peer)

    def up(self) -> Iterator[tuple[NodeId, Correspondent]]:
        """Return those that are up, sorted."""
        return ((peer, known) for peer, known in sorted(self._known.items()) if known.is_up)

    def forgive(self) -> None:
        """Ask everybody again for what came to no avail: another trust root is in use."""
        for known in self._known.values():
            known.exchange.forgive()

    def _forget_those_long_away(self) -> None:
        away = [peer for peer, known in self._known.items() if not known.is_up]
        for peer in away[:-MOST_AWAY]:
            del self._known[peer]
