"""What shows that a service answers, when to look again, and when to believe that it does not.

Theory of operation
===================

A service that is written down is not a service that works. What shows that it does is a *live
proof*: a channel to it that was opened, by a probe or for a user. It counts for 30 s.

One lost probe proves nothing, so belief ends later than it begins: a service that was shown to
work is believed until three probes in a row have failed, whichever instances they went to, or
until nothing at all has shown it for as long as that takes. Users' channels that fail count as
failed probes do, but a burst of them counts once: three instances that refuse one and the same
client are one failure.

::

              proved                     failed, third in a row
    unshown ----------> shown  ------------------------------------> unshown
                          |  proof older than 30 s, none failed since
                          |  proof older than 60 s
                          '-----------------------------------------> unshown

Probes go to services that are core and to those that somebody asked for within the last minute,
at most one in ten seconds each. A user's own channel is a proof as good, and puts the probe off.
"""

from __future__ import annotations

import math
from collections.abc import Container
from typing import Final

from attrs import define, field, frozen

from fabric.codes import Code
from fabric.core.identity import NodeId
from fabric.core.instances import WORTH_ANOTHER

FRESH: Final = 30.0
"""Seconds for which a proof counts: three probes."""

SPACING: Final = 10.0
"""Seconds between two probes of one service, at least. Raising it delays the news that a service
stopped; each probe is a channel, and a connection at a backend."""

FAILURES: Final = 3
"""Failed probes in a row after which a service is no longer believed to work."""

BURST: Final = SPACING / 2
"""Seconds within which failures count once. Less than a probe's spacing, so that each counts."""

HELD: Final = 60.0
"""Seconds after which a proof is worth nothing, however few probes have failed since: three
spacings more than :data:`FRESH`, for probes that take their whole deadline."""

INTEREST: Final = 60.0
"""Seconds for which a service goes on being probed after somebody asked for it."""

ABOUT_THE_LINK: Final = frozenset({Code.CANCELLED, Code.DUPLICATE, Code.REPLACED})
"""Refusals worth another try that say nothing about whether the service works."""

FAILINGS: Final = WORTH_ANOTHER - ABOUT_THE_LINK
"""Refusals that count as failed. Any other is about whoever asked."""


@frozen(kw_only=True)
class Trial:
    """One attempt to open a channel, and what came of it."""

    at: float
    node: NodeId
    rtt: float | None = None
    """Seconds from ``Open`` to the answer; ``None`` when there was none."""
    via: str = ""
    """What opened the channel: ``probe``, ``channel``, or ``served`` for one that came here."""
    code: Code | None = None
    """Why it failed; ``None``: it did not."""

    @property
    def is_ok(self) -> bool:
        return self.code is None


@define
class Evidence:
    """What is known about one service at work. One trial per instance, and the last of all."""

    last: Trial | None = field(init=False, default=None)
    _proofs: dict[NodeId, float] = field(init=False, factory=dict)
    """When each instance was last proved."""
    _failures: dict[NodeId, float] = field(init=False, factory=dict)
    """When each instance last failed, of those not proved since."""
    _failed: int = field(init=False, default=0)
    """Failures in a row, at whichever instance."""
    _failed_at: float = field(init=False, default=-math.inf)
    """When one was last counted."""
    _asked_at: float | None = field(init=False, default=None)
    probed_at: float = field(init=False, default=-math.inf)
    """When it was probed last, or until when its next turn was put off."""
    _is_probing: bool = field(init=False, default=False)

    def take(self, trial: Trial) -> None:
        """Count *trial*, which must be of an instance of this service."""
        self.last = trial
        self._is_probing = False
        if trial.is_ok:
            self._proofs[trial.node] = trial.at
            self._failures.pop(trial.node, None)
            self._failed = 0
        elif trial.code in FAILINGS:
            self._failures[trial.node] = trial.at
            self._count(trial.at)

    def _count(self, at: float) -> None:
        if not self._failed or at - self._failed_at >= BURST:
            self._failed += 1
            self._failed_at = at

    def keep(self, nodes: Container[NodeId]) -> None:
        """Forget every instance that is not one of *nodes*."""
        for table in (self._proofs, self._failures):
            for node in [node for node in table if node not in nodes]:
                del table[node]

    def shows(self, nodes: Container[NodeId], now: float, *, is_believed: bool) -> bool:
        """Return whether the service works at any of *nodes*, which was so if *is_believed*."""
        proved = [at for node, at in self._proofs.items() if node in nodes]
        if not proved:
            return False
        age = now - max(proved)
        most = HELD if is_believed and self._failed else FRESH
        return age <= most and self._failed < FAILURES

    def is_failing(self, node: NodeId, now: float) -> bool:
        """Return whether *node* has failed lately, and nothing has gone well there since."""
        failed_at = self._failures.get(node)
        return failed_at is not None and now - failed_at <= FRESH

    # -- probing --
    def ask(self, now: float) -> None:
        """Note that somebody wants the service."""
        self._asked_at = now

    def is_asked(self, now: float) -> bool:
        return self._asked_at is not None and now - self._asked_at <= INTEREST

    def is_due(self, now: float) -> bool:
        """Return whether neither a probe was begun nor a proof made for :data:`SPACING`."""
        return now - max(self.probed_at, *self._proofs.values(), -math.inf) >= SPACING

    def probe(self, now: float, *, put_off: float = 0.0) -> None:
        """Note that a probe was begun *now*; the next is due *put_off* seconds later than usual.

        Jitter, so that the nodes of a fleet do not go on probing in step.
        """
        self.probed_at = now + put_off
        self._is_probing = True

    def is_probing(self, now: float) -> bool:
        """Return whether a probe is out and its answer may still come."""
        return self._is_probing and now - self.probed_at < SPACING
