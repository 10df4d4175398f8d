"""One neighbour as this node hears it itself: probes, answers, and help from others.

Theory of operation
===================

Two neighbours share one reliable stream. So one probe a second between them is enough for both
ends: the lower node id sends it, the other takes it as a sign of life and answers. Whoever gets
*no* probe for one and a half intervals sends one of its own. Nothing is lost on such a stream,
only late; so one unanswered probe is as good as ten, and no second is sent behind it.

What one end thinks of the other:

============  ==================================================  ========  ==================
in phase      when                                                next      and then
============  ==================================================  ========  ==================
hearing       its own probe is unanswered for a timeout           asking    asks others
hearing       the connection broke                                asking    asks others
asking        any frame comes                                     hearing
asking        another reached it                                  hearing
asking        nobody did, for a timeout                           accusing  signs an accusation
accusing      any frame comes                                     hearing   tells it
asking,       its word of a higher incarnation comes round        hearing
accusing
============  ==================================================  ========  ==================

A lost neighbour in phase *hearing* is none any more and is forgotten: others hear it. So a broken
connection leads to one accusation at most, and to none where others still reach the peer.

*Asking others* means a few neighbours chosen at random. Who of them holds a connection to the
target is not known; those who do not are silent, those who do probe it and say what came of it.
As many are asked as hold three connections between them by expectation.

All patience is multiplied by the local health. Time in which this process did not run is nobody's
silence, and so is time in which it heard nobody at all: after an oversleep, and after deafness,
everything begins anew (:meth:`Watch.start_over`). A deaf node goes on asking and accuses nobody.
"""

from __future__ import annotations

import enum
import math
from types import MappingProxyType
from typing import Final, TypeAlias

from attrs import define, field

from fabric.core.identity import NodeId

PROBE_INTERVAL: Final = 1.0
"""Seconds between probes of a pair: 80 bytes of UDP payload each way, acknowledgements included.
Halving it halves one second of the detection time and doubles what a fleet sends at rest."""

ROOT_AGAIN: Final = 10.0
"""Seconds after which a root that has not changed is named once more, for a frame may have been
dropped on its way to the stream. Named each time, it would be a fifth of all bytes at rest."""

UNPROBED: Final = 1.5
"""Intervals without a probe from the other end after which this end sends one."""

PROBE_TIMEOUT: Final = 1.0
"""Seconds for an answer: a round trip of 160 ms and two retransmissions of each half."""

ASK_TIMEOUT: Final = 1.0
"""Seconds for others to reach the target: two round trips and a retransmission."""

FAVOUR_TIMEOUT: Final = 0.8
"""Seconds for which a target is given to answer for another's sake; below the asker's."""

FRESH: Final = 1.5
"""Seconds for which a neighbour counts as heard. Above one interval with its jitter; below the
two that the fastest accuser needs, so that no neighbour takes a death for a false alarm."""


class Phase(enum.StrEnum):
    """What this node thinks of the neighbour."""

    HEARING = "hearing"
    ASKING = "asking"
    ACCUSING = "accusing"


class Sign(enum.StrEnum):
    """What moves a phase."""

    FRAME = "frame"
    UNANSWERED = "unanswered"
    BROKEN = "broken"
    VOUCHED = "vouched"
    UNVOUCHED = "unvouched"
    REFUTED = "refuted"


TURNS: Final = MappingProxyType(
    {
        (Phase.HEARING, Sign.UNANSWERED): Phase.ASKING,
        (Phase.HEARING, Sign.BROKEN): Phase.ASKING,
        (Phase.ASKING, Sign.FRAME): Phase.HEARING,
        (Phase.ASKING, Sign.VOUCHED): Phase.HEARING,
        (Phase.ASKING, Sign.UNVOUCHED): Phase.ACCUSING,
        (Phase.ASKING, Sign.REFUTED): Phase.HEARING,
        (Phase.ACCUSING, Sign.FRAME): Phase.HEARING,
        (Phase.ACCUSING, Sign.REFUTED): Phase.HEARING,
    }
)
"""The table above. A sign that is not in it changes nothing."""

Requests: TypeAlias = dict[NodeId, tuple[int, float]]
"""By the neighbour that asked: its number, and until when it is answered."""


@define
class Watch:
    """One neighbour, from its connection until nothing more is to be said of it."""

    peer: NodeId
    is_prober: bool
    """Whether the probe each second is this end's to send."""
    heard_at: float
    """When its last frame came, or its connection."""
    quiet_since: float
    """The same, but never before this process last woke: what counts as evidence."""
    phase: Phase = Phase.HEARING
    is_connected: bool = True
    probe_due: float = math.inf
    """When this end sends its next probe, if it is the prober."""
    probe: tuple[int, float] | None = None
    """Number and time of the probe that is unanswered."""
    asked: tuple[int, float] | None = None
    """Number and time of the question to others."""
    requests: Requests = field(init=False, factory=dict)
    """Who waits for it to answer this node; at most one each."""
    doubts_told: int | None = None
    """Incarnation in which it was told, on this connection, what is said against it."""
    rolled_at: float = -math.inf
    """When it last got a roll from here."""
    proved_at: float = -math.inf
    """When it last got proofs of what its roll lacked."""
    root_told: bytes | None = None
    root_told_at: float = -math.inf
    root_heard: bytes | None = None
    """The root that it named last on this connection."""
    rtt: float | None = None
    """Seconds, smoothed as in RFC 6298; ``None`` before the first answer."""

    def take(self, sign: Sign) -> bool:
        """Turn as the table says; returns whether the phase changed."""
        turned = TURNS.get((self.phase, sign), self.phase)
        changed, self.phase = turned is not self.phase, turned
        if turned is Phase.HEARING and changed:
            self.probe = self.asked = None
        return changed

    @property
    def is_over(self) -> bool:
        """Whether it is a neighbour no more, and nothing is left to find out."""
        return not self.is_connected and self.phase is Phase.HEARING

    def is_fresh(self, now: float) -> bool:
        """Whether this node hears it: its own ears, against what others say."""
        return self.is_connected and self.phase is Phase.HEARING and now - self.heard_at < FRESH

    def heard(self, now: float) -> None:
        self.heard_at = self.quiet_since = now
        self.probe = None

    def start_over(self, now: float) -> None:
        """Hold nothing against it that came to be while this process could not hear."""
        self.quiet_since, self.probe = now, None
        if self.asked is not None:
            self.asked = (self.asked[0], now)

    def answered(self, seq: int, now: float) -> None:
        """Measure, if *seq* is the probe that waits."""
        if self.probe is None or self.probe[0] != seq:
            return
        sample = now - self.probe[1]
        self.rtt = sample if self.rtt is None else self.rtt + (sample - self.rtt) / 8

    def tell_root(self, root: bytes, now: float) -> bytes | None:
        """Return *root*, or ``None`` if the peer has been told it."""
        if root == self.root_told and now - self.root_told_at < ROOT_AGAIN:
            return None
        self.root_told, self.root_told_at = root, now
        return root

    def due(self, stretch: int) -> float:
        """Return when something is to be done about it."""
        step = self._next_step(stretch)
        if not self.requests:
            return step
        return min(step, *(until for _, until in self.requests.values()))

    def _next_step(self, stretch: int) -> float:
        if self.phase is Phase.ASKING and self.asked is not None:
            return self.asked[1] + stretch * ASK_TIMEOUT
        if self.phase is not Phase.HEARING or not self.is_connected:
            return math.inf
        if self.probe is not None:
            return self.probe[1] + stretch * PROBE_TIMEOUT
        return self.probe_due if self.is_prober else self.quiet_since + UNPROBED * PROBE_INTERVAL
