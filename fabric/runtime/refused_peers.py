"""Tells of attempts to meet a peer that came to nothing: counter, log and event, one place."""

from __future__ import annotations

from typing import Final

import trio
from attrs import frozen

from fabric.codes import Code
from fabric.config import HostPort
from fabric.core.roster import Address
from fabric.errors import RefusedError
from fabric.runtime.events import EventBus
from fabric.runtime.metrics import Metrics
from fabric.runtime.refusals import RefusalLog

NO_REFUSAL: Final = frozenset({Code.DUPLICATE, Code.ITSELF})
"""The other of two dials was kept, which is success; or a node is among its own seeds."""

UNREACHED: Final = frozenset(
    {Code.HANDSHAKE_TIMEOUT, Code.DUPLICATE, Code.BUSY, Code.SHUTTING_DOWN}
)
"""Ends of an attempt that say nothing against it."""


@frozen(eq=False)
class RefusedPeers:
    """One per node."""

    metrics: Metrics
    events: EventBus
    refusals: RefusalLog

    def tell(self, refused: RefusedError, address: Address, *, side: str, peer: str) -> None:
        """Count, log and publish an attempt that came to nothing, on the side that it is on."""
        code = refused.code
        if code in NO_REFUSAL:
            return
        # Not being there is no refusal, and is told under another name.
        event = "peer.missed" if code in UNREACHED else "peer.refused"
        self.metrics.hellos_refused.add(code, side)
        self.refusals.refused(
            event,
            code,
            trio.current_time(),
            peer=peer,
            address=str(HostPort(*address)),
            side=side,
            by="peer" if refused.hop else "here",
            detail=refused.detail,
        )
        self.events.publish(event, peer=peer, code=code, side=side)
