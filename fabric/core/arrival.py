"""A record on its way into the directory: as it was signed, and how it came here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import frozen

from fabric.core.envelope import Envelope
from fabric.core.gossip_events import Cached
from fabric.core.holding import Heard
from fabric.core.identity import NodeId
from fabric.core.records import NodeRecord, TrustRoot

_TURNS: Final = {TrustRoot.KIND: 0, NodeRecord.KIND: 1}


@frozen(kw_only=True)
class Arrival:
    """What came, and all that is known of its way."""

    envelope: Envelope
    heard: Heard
    at: float
    """When it came: seconds on a clock that only goes forward."""
    hops_left: int = 0
    """Forwardings that its wave has left. None for what anti-entropy brought."""
    described: bytes = b""
    """The public key whose node record it has to be: it came with a Hello or its answer."""
    is_due: bool = False
    """Whether its author's window has ended: see :class:`~fabric.core.budgets.Windows`."""

    @property
    def from_peer(self) -> NodeId | None:
        """Who sent it; None where it began here."""
        return self.heard.from_peer


def in_turn(cached: Iterable[Cached]) -> list[Cached]:
    """Return *cached* in an order in which each can be judged: roots, then nodes, then the rest.

    For whoever hands a large cache over piece by piece, so that nothing else has to wait for all.
    """
    return sorted(cached, key=lambda each: (_TURNS.get(each.key.kind, 2), each.key))
