"""How much strangers may cost: who gets a connection, who a Retry, who nothing.

A connection is a *stranger's* from its first packet until the endpoint's user admits it. Pure:
addresses and times come in, a :class:`Verdict` comes out, and the endpoint reports back each
stranger's end by :meth:`Strangers.settled`.
"""

from __future__ import annotations

import enum
from collections import Counter, deque

from attrs import define, field

from fabric.trio_quic.settings import Settings
from fabric.trio_quic.tokens import pack_address

_MAPPED = bytes(10) + b"\xff\xff"
"""How a socket of both families shows an IPv4 address (RFC 4291, 2.5.5.2): else all would share
one /64."""

_LOOPBACK = bytes(15) + b"\x01"


class Verdict(enum.Enum):
    """What a first packet gets."""

    ACCEPT = "accept"
    RETRY = "retry"
    DROP = "drop"


@define
class Strangers:
    """Counts unadmitted connections; single-threaded, owned by one endpoint."""

    limits: Settings
    handshaking: int = 0
    """Connections whose handshake is not complete."""
    unadmitted: int = 0
    """Connections not yet admitted, of unknown addresses."""
    known: int = 0
    """The same, of known peers' addresses."""
    _per_prefix: Counter[bytes] = field(factory=Counter)
    _recent: deque[float] = field(factory=deque)

    def judge(self, address: tuple[str, int], now: float, *, known: bool, proven: bool) -> Verdict:
        """Decide on a first packet. *proven*: it carries a good retry token."""
        self._note(now)
        if known:
            full = self.limits.stranger_cap and self.known >= self.limits.stranger_cap_known
            return Verdict.DROP if full else Verdict.ACCEPT
        if not proven and self._hurried():
            return Verdict.RETRY
        return Verdict.DROP if self._full(address) else Verdict.ACCEPT

    def arrived(self, address: tuple[str, int], *, known: bool) -> None:
        """Count a connection that was accepted; pair each with one :meth:`settled`."""
        self.handshaking += 1
        if known:
            self.known += 1
        else:
            self.unadmitted += 1
            self._per_prefix[prefix(address)] += 1

    def completed(self) -> None:
        """Count the end of one handshake, good or bad."""
        self.handshaking -= 1

    def settled(self, address: tuple[str, int], *, known: bool) -> None:
        """Count one stranger less: it was admitted, or it is gone."""
        if known:
            self.known -= 1
            return
        self.unadmitted -= 1
        key = prefix(address)
        self._per_prefix[key] -= 1
        if not self._per_prefix[key]:
            del self._per_prefix[key]

    def _note(self, now: float) -> None:
        # Bounded by the rate itself: more than that many in a second changes nothing.
        self._recent.append(now)
        while len(self._recent) > self.limits.retry_rate + 1:
            self._recent.popleft()

    def _hurried(self) -> bool:
        limits = self.limits
        if not limits.retry_above:
            return False
        recent = self._recent
        burst = len(recent) > limits.retry_rate and recent[-1] - recent[0] < 1.0
        return burst or self.handshaking > limits.retry_above

    def _full(self, address: tuple[str, int]) -> bool:
        limits = self.limits
        if not limits.stranger_cap:
            return False
        if self.unadmitted >= limits.stranger_cap:
            return True
        if is_loopback(address):
            return False
        return self._per_prefix[prefix(address)] >= limits.stranger_cap_per_prefix


def prefix(address: tuple[str, int]) -> bytes:
    """Return what one party is likely to hold: the whole IPv4 address, or the IPv6 /64."""
    packed = pack_address(address)[:-2].removeprefix(_MAPPED)
    return packed if len(packed) == 4 else packed[:8]


def is_loopback(address: tuple[str, int]) -> bool:
    packed = pack_address(address)[:-2].removeprefix(_MAPPED)
    return packed[0] == 127 if len(packed) == 4 else packed == _LOOPBACK
