"""Anti-entropy with one peer: when to compare, what not to ask for again, how much to give.

Theory of operation
===================

Every probe tells the other's root. Where it differs from ours a round of :mod:`.sync` begins, at
once. There are differences that no round ends: this node refuses what the other holds, because it
is of a later release, by a key that was retired, or plain wrong; or the other refuses what this
one holds. So what a round brought to no avail is not asked for again for :data:`AVOIDED_FOR`, of
that peer, and rounds that bring this node nothing come ever more rarely:

=================================  ===============================================================
the last round                     the next one
=================================  ===============================================================
brought something, or ended equal  with the next probe that tells of a difference
brought nothing, the n-th of them  after 2**(n-1) seconds, up to :data:`MOST_DELAY`; or as soon as
                                   one of the two holds something else
=================================  ===============================================================

Either end decides for itself: a newcomer that gains from each round does not have to wait because
the other gains nothing. But no peer is answered more often, or given more, than the two allowances
have room for: what is beyond is not read until it has been worked off.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, TypeAlias

from attrs import frozen

from fabric.core.budgets import Allowance
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.directory import Directory
from fabric.core.frames import Frame, Root
from fabric.core.records import NodeRecord, TrustRoot
from fabric.core.roots import MOST_ROOTS
from fabric.core.sync import Begin, Broken, Done, Send, Session, Take, Ticked, Written
from fabric.core.trust import Trust

AVOIDED_FOR: Final = 10.0
"""Seconds: what could not be verified yet may be by then."""

MOST_AVOIDED: Final = 1024
"""Records per peer that are not asked for, in some 200 KiB."""

MOST_DELAY: Final = 60.0
"""Seconds between rounds that bring nothing: 5 KiB a minute for a difference that stays."""

LEAST_DELAY: Final = 0.25
"""Seconds between rounds that this end begins: rounds that overlap with waves find the same."""

ROUNDS: Final = 4.0
"""A second that a peer may begin, with a burst of twice as many. One costs half a millisecond."""

SERVED: Final = 500.0
"""Records a second that one peer is given in the long run."""

SERVED_BURST: Final = 20_000.0
"""Records that one peer is given at once: a newcomer gets twice the largest directory tried."""

_ORDER: Final = {TrustRoot.KIND: 0, NodeRecord.KIND: 1}


@frozen
class Rest:
    """Read nothing more of the peer's sync stream before *until*."""

    until: float


Effect: TypeAlias = Send | Take | Done | Broken | Rest


class Exchange:
    """One end of anti-entropy with one peer, over any number of streams one after the other."""

    def __init__(self, directory: Directory, trust: Trust, *, offset: int) -> None:
        """*offset* is this node's own: where, of all 64-bit numbers, its pages begin."""
        self._directory = directory
        self._digests = directory.digests
        self._trust = trust
        self._offset = offset
        self._avoided: OrderedDict[tuple[bytes, bytes], float] = OrderedDict()
        self._rounds = Allowance(ROUNDS, 2 * ROUNDS)
        self._served = Allowance(SERVED, SERVED_BURST)
        self._fruitless = 0
        self._stuck: tuple[bytes, bytes] | None = None
        self._next_at = self._waits_until = float("-inf")
        self._has_gained = False
        self.session = Session(self)

    # -- when --
    def restart(self) -> None:
        """There is a new stream: whatever was said on the last one is void."""
        self.session = Session(self)

    def hear_root(self, theirs: bytes, now: float) -> list[Effect]:
        """Begin a round if *theirs* differs from what is held here, and if it is time for one."""
        ours = self.root()
        if ours == theirs:
            self._settle()
            return []
        is_stuck = self._stuck == (ours, theirs) and now < self._waits_until
        if is_stuck or now < self._next_at:
            return []
        return self.begin(now)

    def begin(self, now: float) -> list[Effect]:
        """Begin a round, unless one is under way."""
        return [*self.session.receive(Begin(), now)]

    def gained(self) -> None:
        """Note that something which the peer sent in this round was new here."""
        self._has_gained = True

    def forgive(self) -> None:
        """Ask again for everything that came to no avail: another trust root is in use."""
        self._avoided.clear()
        self._settle()

    # -- what comes --
    def receive(self, frame: Frame, now: float) -> list[Effect]:
        """Take *frame*. The caller takes in what comes of it, in order, and says :meth:`ended`."""
        begins = isinstance(frame, Root) and self.session.is_idle
        rest = _rest(self._rounds.charge(now, 1.0), now) if begins else []
        return [*self.session.receive(frame, now), *rest]

    def written(self, now: float) -> list[Effect]:
        return [*self.session.receive(Written(), now)]

    def tick(self, now: float) -> list[Effect]:
        while self._avoided and next(iter(self._avoided.values())) <= now:
            self._avoided.popitem(last=False)
        return [*self.session.receive(Ticked(), now)]

    def ended(self, done: Done, now: float) -> list[Effect]:
        """Note what came of a round, once all that it brought was taken in."""
        for entry in done.wanted:
            if self.lacks(*entry):
                self._avoided[entry] = now + AVOIDED_FOR
        while len(self._avoided) > MOST_AVOIDED:
            self._avoided.popitem(last=False)
        self._next_at = now + LEAST_DELAY
        if self._has_gained or done.ours == done.theirs:
            self._settle()
        else:
            self._fruitless = min(self._fruitless + 1, 16)  # 2**16 s is beyond any delay
            self._stuck = self.root(), done.theirs
            self._waits_until = now + min(MOST_DELAY, 2.0 ** (self._fruitless - 1))
        self._has_gained = False
        return _rest(self._served.charge(now, done.served), now)

    def _settle(self) -> None:
        self._fruitless, self._stuck = 0, None

    # -- what is held here: the shelf --
    def root(self) -> bytes:
        return self._digests.root()

    def buckets(self, salt: bytes) -> bytes:
        return self._digests.buckets(salt)

    def listing(self, bucket: int) -> list[tuple[bytes, bytes]]:
        return self._digests.listing(bucket)

    def lacks(self, key_digest: bytes, record_digest: bytes) -> bool:
        if (key_digest, record_digest) in self._avoided:
            return False
        return self._digests.entries(key_digest[0]).get(key_digest) != record_digest

    def rank(self, key_digest: bytes) -> tuple[int, int]:
        key = self._digests.key(key_digest)
        order = _ORDER.get(key.kind, 2) if key is not None else 3
        return order, (int.from_bytes(key_digest[:8], "big") - self._offset) % (1 << 64)

    def packed(self, key_digest: bytes) -> tuple[bytes, ...]:
        key = self._digests.key(key_digest)
        holding = self._directory.holding(key) if key is not None else None
        if key is None or holding is None:
            return ()
        packed = tuple(pack_envelope(each.envelope) for each in holding.shown)
        return self._led_to(packed) if key.kind == TrustRoot.KIND else packed

    def _led_to(self, roots: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return *roots* with those before them, for a peer that has missed some."""
        before = min(MOST_ROOTS, len(self._trust.chain))
        chain = self._trust.roots_after(self._trust.root.version - before)
        return chain + tuple(each for each in roots if each not in chain)


def _rest(until: float, now: float) -> list[Effect]:
    return [Rest(until)] if until > now else []
