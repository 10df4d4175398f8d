"""On what terms a service may be opened, and whether a given node meets them.

The terms of a service come from its signed record. The node that offers it enforces them; an
opener asks the same question first, so that its user is told at once and with the same words.
"""

from __future__ import annotations

from attrs import frozen

from fabric.codes import Code
from fabric.core.access import Selector, Subject, permits
from fabric.core.identity import INGRESS


@frozen(kw_only=True)
class Terms:
    """Who may open a service, and how often at once."""

    open_to: tuple[Selector, ...] = ()
    """Empty is nobody."""
    edge_exposable: bool = False
    """Whether on behalf of clients outside the fabric."""
    max_channels: int = 0
    """At one node at once; 0 leaves it to the node."""

    def objection(self, opener: Subject, *, client: str | None) -> Code | None:
        """Return what speaks against *opener* opening a channel for *client*, if anything.

        *client* is an address outside the fabric, or ``None`` when the opener is the client.
        """
        if client is not None and INGRESS not in opener.roles:
            return Code.CLIENT_NOT_BELIEVED
        if not permits(self.open_to, opener):
            return Code.NOT_PERMITTED
        if client is not None and not self.edge_exposable:
            return Code.NOT_EDGE_EXPOSABLE
        return None
