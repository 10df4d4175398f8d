"""Which of the nodes that offer a service gets the next channel, and which comes after it.

The least loaded first, the nearest of equals. Load is the number of channels of the service open
at the node, as its last ``Accepted`` said, kept current by what we opened and closed there since:
the answer is exact for our own share and as old as our last channel for everybody else's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from attrs import define, field, frozen

from fabric.codes import Code
from fabric.core.identity import NodeName

WORTH_ANOTHER: Final = frozenset(
    {
        Code.BACKEND_REFUSED,
        Code.BACKEND_SILENT,
        Code.BUSY,
        Code.CANCELLED,
        Code.DEADLINE,
        Code.DRAINING,
        Code.DUPLICATE,
        Code.FORGOTTEN,
        Code.IDLE_TIMEOUT,
        Code.INTERNAL_ERROR,
        Code.PEER_LOST,
        Code.PEER_SILENT,
        Code.REPLACED,
        Code.SERVICE_FULL,
        Code.SHUTTING_DOWN,
        Code.STREAM_REFUSED,
        Code.UNKNOWN_SERVICE,
    }
)
"""Refusals that speak about one instance, or of the connection to it: the next one may say yes.
A refusal that speaks about the opener would be the same everywhere."""


@frozen
class Candidate:
    """A connected node that offers the service."""

    peer: NodeName
    load: int
    rtt: float | None
    """Seconds; ``None`` until measured."""


def ranked(candidates: Iterable[Candidate]) -> list[NodeName]:
    """Return the order in which to try them. Names decide last, so that a test can too."""

    def rank(candidate: Candidate) -> tuple[int, float, NodeName]:
        rtt = math.inf if candidate.rtt is None else candidate.rtt
        return candidate.load, rtt, candidate.peer

    return [candidate.peer for candidate in sorted(candidates, key=rank)]


def attempt_within(remaining: float, instances_left: int) -> float:
    """Return the seconds that the next attempt may take of the *remaining* ones.

    Half, while another instance could still be tried: one that hangs must not use up the
    deadline of one that works. All, for the last.
    """
    return remaining if instances_left <= 1 else remaining / 2


@define
class _Share:
    ours: int = 0
    others: int = 0


@define
class Loads:
    """Load estimates by (node, service). Entries live while we hold channels there."""

    _shares: dict[tuple[NodeName, str], _Share] = field(init=False, factory=dict)

    def of(self, peer: NodeName, service: str) -> int:
        share = self._shares.get((peer, service))
        return share.ours + share.others if share else 0

    def began(self, peer: NodeName, service: str) -> None:
        """Count a channel from the moment that it is asked for: opens in flight are load too."""
        self._shares.setdefault((peer, service), _Share()).ours += 1

    def told(self, peer: NodeName, service: str, load: int) -> None:
        """Take the *load* of an ``Accepted``; it counts all channels, ours among them."""
        share = self._shares[peer, service]
        share.others = max(0, load - share.ours)

    def ended(self, peer: NodeName, service: str) -> None:
        """Count a channel no longer, however it ended."""
        share = self._shares[peer, service]
        share.ours -= 1
        if not share.ours:
            del self._shares[peer, service]
