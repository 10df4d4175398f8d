"""Doubts: sources that sent so much that proved forged that no more is tried for a moment.

To find out that a datagram is not authentic costs most of what taking it costs. Who has overheard
a connection can send such copies as fast as the wire takes them; only who also forges their
source sends them from the peer's own address, which is never doubted. A peer that moved is heard
under its new address by the first authentic datagram, and doubted no more than before.
"""

from __future__ import annotations

from attrs import define, field

from fabric.trio_quic.udp import SockAddr

MOST_SOURCES = 1024
"""Counted at a time: 100 kB. Who can send from more of them is bounded by nothing here."""

PERIOD = 1.0
"""Seconds for which a source is counted, and not listened to once it is over the bound."""


@define
class Doubts:
    """Counts by source what was not authentic; single-threaded, owned by one endpoint."""

    most: int
    """Datagrams of one source that are tried in vain per :data:`PERIOD`; 0: without bound."""
    _since: float = field(init=False, default=0.0)
    _counts: dict[SockAddr, int] = field(init=False, factory=dict)

    def holds(self, source: SockAddr, now: float) -> bool:
        """Return whether what comes from *source* is not even tried at *now*."""
        if now >= self._since + PERIOD:
            self._since = now
            self._counts.clear()
        return self._counts.get(source, 0) >= self.most > 0

    def note(self, source: SockAddr, datagrams: int) -> None:
        """Count *datagrams* of *source* that proved forged, old, or sent twice."""
        before = self._counts.get(source)
        if before is not None or len(self._counts) < MOST_SOURCES:
            self._counts[source] = (before or 0) + datagrams
