"""How busy the nodes that offer a service are, and when the next of them is worth a try.

Load is the number of channels of the service open at the node, as its last ``Accepted`` said,
kept current by what we opened and closed there since: the answer is exact for our own share and
as old as our last channel for everybody else's. In which order instances are tried is decided in
:mod:`fabric.core.resolution`.
"""

from __future__ import annotations

from typing import Final

from attrs import define, field

from fabric.codes import Code
from fabric.core.identity import NodeId

WORTH_ANOTHER: Final = frozenset(
    {
        Code.BACKEND_REFUSED,
        Code.BACKEND_SILENT,
        Code.BAD_PROOF,
        Code.BUSY,
        Code.CANCELLED,
        Code.DEADLINE,
        Code.DRAINING,
        Code.DUPLICATE,
        Code.DUPLICATE_IDENTITY,
        Code.FORGOTTEN,
        Code.HANDSHAKE_TIMEOUT,
        Code.IDLE_TIMEOUT,
        Code.INTERNAL_ERROR,
        Code.NO_CHALLENGE,
        Code.NO_COMMON_VERSION,
        Code.NO_HELLO,
        Code.NO_INSTANCE,
        Code.OFFER_NOT_PERMITTED,
        Code.PEER_BARRED,
        Code.PEER_LOST,
        Code.PEER_SILENT,
        Code.PIN_MISMATCH,
        Code.REPLACED,
        Code.SERVICE_FULL,
        Code.SHUTTING_DOWN,
        Code.STALE_INSTANCE,
        Code.STRANGER_BUDGET,
        Code.STREAM_REFUSED,
        Code.UNKNOWN_KEY,
        Code.UNKNOWN_SERVICE,
        Code.WRONG_FABRIC,
    }
)
"""Refusals that speak about one instance, or of the connection to it: the next one may say yes.
A refusal that speaks about the opener would be the same everywhere."""


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

    _shares: dict[tuple[NodeId, str], _Share] = field(init=False, factory=dict)

    def of(self, node: NodeId, service: str) -> int:
        share = self._shares.get((node, service))
        return share.ours + share.others if share else 0

    def began(self, node: NodeId, service: str) -> None:
        """Count a channel from the moment that it is asked for: opens in flight are load too."""
        self._shares.setdefault((node, service), _Share()).ours += 1

    def told(self, node: NodeId, service: str, load: int) -> None:
        """Take the *load* of an ``Accepted``; it counts all channels, ours among them."""
        share = self._shares[node, service]
        share.others = max(0, load - share.ours)

    def ended(self, node: NodeId, service: str) -> None:
        """Count a channel no longer, however it ended."""
        share = self._shares[node, service]
        share.ours -= 1
        if not share.ours:
            del self._shares[node, service]
