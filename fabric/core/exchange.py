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
brought nothing, the n-th between  after 2**(n-1) seconds, up to :data:`MOST_DELAY`; or as soon as
two same roots                     one of the two holds something else
was broken, the n-th in a row      after 2**(n-1) seconds, up to :data:`MOST_DELAY`
=================================  ===============================================================

Either end decides for itself: a newcomer that gains from each round does not have to wait because
the other gains nothing. But no peer is answered more often, or given more, than two allowances
have room for. What it takes beyond them, in rounds that end or do not end, on this stream or on
the next, it pays for before its next round: nothing is read of it meanwhile.

**Trust roots.** A node that slept through rotations can take the newest root only after those in
between. The root that it holds stands in its listing, so it is given those that follow that one,
as many as make a list; with a longer chain each round leads it on. What a round brought before
another root came into use is asked for again, because it may count now.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, TypeAlias

from attrs import frozen

from fabric.core.budgets import Allowance
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.digests import digest_of_key
from fabric.core.directory import Directory
from fabric.core.frames import RECORD_DIGEST_BYTES, Frame, Root
from fabric.core.records import FABRIC, Key, NodeRecord, TrustRoot
from fabric.core.roots import MOST_ROOTS
from fabric.core.sync import Session
from fabric.core.sync_events import (
    Begin,
    Broken,
    Done,
    Event,
    Send,
    Take,
    Ticked,
    Written,
    size_of,
)
from fabric.core.trust import Trust

AVOIDED_FOR: Final = 10.0
"""Seconds: what could not be verified yet may be by then."""

MOST_AVOIDED: Final = 1024
"""Records per peer that are not asked for, in some 300 KiB."""

MOST_DELAY: Final = 60.0
"""Seconds between rounds that bring nothing: 5 KiB a minute for a difference that stays."""

LEAST_DELAY: Final = 0.25
"""Seconds between rounds that this end begins: rounds that overlap with waves find the same."""

ROUNDS: Final = 4.0
"""A second that a peer may begin, with a burst of twice as many: as often as an honest one may
begin one, and each costs half a millisecond."""

GIVEN: Final = float(512 << 10)
"""Bytes a second that one peer is given in the long run: some 700 records."""

GIVEN_BURST: Final = float(20 << 20)
"""Bytes that one peer is given at once: a newcomer gets twice the largest directory tried."""

MOST_REST: Final = 30.0
"""Seconds for which a peer is not read at once. Less than the patience of its round
(:data:`.sync.PATIENCE`); what is not paid by then is paid at its next round."""

_ORDER: Final = {TrustRoot.KIND: 0, NodeRecord.KIND: 1}
_OF_ROOT: Final = digest_of_key(Key(TrustRoot.KIND, FABRIC))


@frozen
class Rest:
    """Read nothing more of the peer's sync stream before *until*."""

    until: float


Effect: TypeAlias = Send | Take | Done | Broken | Rest


class Exchange:
    """One end of anti-entropy with one peer, over any number of streams one after the other.

    It is the :class:`~fabric.core.sync_events.Shelf` of its session too. For each effect
    :class:`Take` the caller takes in what it holds, saying :meth:`gained` if anything of it was
    new, and for each :class:`Done` then says :meth:`ended`.
    """

    def __init__(self, directory: Directory, trust: Trust, *, offset: int) -> None:
        """*offset* is this node's own: where, of all 64-bit numbers, its pages begin."""
        self._directory = directory
        self._digests = directory.digests
        self._trust = trust
        self._offset = offset
        self._avoided: OrderedDict[tuple[bytes, bytes], float] = OrderedDict()
        self._rounds = Allowance(ROUNDS, 2 * ROUNDS)
        self._given = Allowance(GIVEN, GIVEN_BURST)
        self._fruitless = self._broken = 0
        self._stuck: tuple[bytes, bytes] | None = None
        self._next_at = self._waits_until = float("-inf")
        self._has_gained = self._is_forgiven = False
        self._their_root = b""
        """Digest of the trust root that the peer listed last."""
        self.session = Session(self)

    # -- when --
    def restart(self) -> None:
        """There is a new stream: whatever was said on the last one is void."""
        self.session = Session(self)

    def hear_root(self, theirs: bytes, now: float) -> list[Effect]:
        """Begin a round if *theirs* differs from what is held here, and if it is time for one."""
        ours = self.root()
        if ours == theirs:
            self._stuck = None
            return []
        is_stuck = self._stuck == (ours, theirs) and now < self._waits_until
        return [] if is_stuck else self.begin(now)

    def begin(self, now: float) -> list[Effect]:
        """Begin a round, unless one is under way, or one ended or was broken just now."""
        return self._step(Begin(), now) if now >= self._next_at else []

    def gained(self) -> None:
        """Note that something which the peer sent in this round was new here."""
        self._has_gained = True

    def forgive(self) -> None:
        """Ask again for everything that came to no avail: another trust root is in use."""
        self._avoided.clear()
        self._stuck = None
        self._is_forgiven = True

    # -- what comes --
    def receive(self, frame: Frame, now: float) -> list[Effect]:
        """Take *frame*, and return what comes of it."""
        begins = isinstance(frame, Root) and self.session.is_idle
        if begins:
            self._rounds.charge(now, 1.0)
        return self._step(frame, now) + (self._rest(now) if begins else [])

    def written(self, now: float) -> list[Effect]:
        """All frames that were given to the shell are written."""
        return self._step(Written(), now)

    def tick(self, now: float) -> list[Effect]:
        """A second has passed, or so."""
        while self._avoided and next(iter(self._avoided.values())) <= now:
            self._avoided.popitem(last=False)
        return self._step(Ticked(), now)

    def ended(self, done: Done, now: float) -> list[Effect]:
        """Note what came of a round, once all that it brought was taken in."""
        if not self._is_forgiven:
            self._avoid(done.wanted, now)
        self._next_at = now + LEAST_DELAY
        pair = self.root(), done.theirs
        if self._has_gained or done.ours == done.theirs:
            self._stuck = None
        else:
            self._fruitless = self._fruitless + 1 if pair == self._stuck else 1
            self._stuck = pair
            self._waits_until = now + _delay(self._fruitless)
        self._broken = 0
        self._has_gained = self._is_forgiven = False
        return self._rest(now)

    def _step(self, event: Event, now: float) -> list[Effect]:
        effects = self.session.receive(event, now)
        for effect in effects:
            match effect:
                case Send(frame):
                    self._given.charge(now, size_of(frame))
                case Broken():
                    self._broken += 1
                    self._next_at = max(self._next_at, now + _delay(self._broken))
        return [*effects]

    def _avoid(self, wanted: Iterable[tuple[bytes, bytes]], now: float) -> None:
        for entry in wanted:
            if self._lacks(*entry):
                self._avoided[entry] = now + AVOIDED_FOR
        while len(self._avoided) > MOST_AVOIDED:
            self._avoided.popitem(last=False)

    def _rest(self, now: float) -> list[Effect]:
        paid_at = max(self._rounds.ready_at(now, 0.0), self._given.ready_at(now, 0.0))
        if paid_at <= now:
            return []
        until = min(paid_at, now + MOST_REST)
        self._next_at = max(self._next_at, until)  # its answer would not be read
        return [Rest(until)]

    # -- what is held here: the shelf --
    def root(self) -> bytes:
        return self._digests.root()

    def buckets(self, salt: bytes) -> bytes:
        return self._digests.buckets(salt)

    def listing(self, bucket: int) -> list[tuple[bytes, bytes]]:
        return self._digests.listing(bucket)

    def weigh(self, key_digest: bytes, record_digest: bytes) -> bool:
        if key_digest == _OF_ROOT:
            self._their_root = record_digest
        is_avoided = (key_digest, record_digest) in self._avoided
        return not is_avoided and self._lacks(key_digest, record_digest)

    def _lacks(self, key_digest: bytes, record_digest: bytes) -> bool:
        return self._digests.entries(key_digest[0]).get(key_digest) != record_digest

    def rank(self, key_digest: bytes) -> tuple[int, int]:
        key = self._digests.key(key_digest)
        order = _ORDER.get(key.kind, 2) if key is not None else 3
        return order, (int.from_bytes(key_digest[:8], "big") - self._offset) % (1 << 64)

    def packed(self, key_digest: bytes) -> tuple[bytes, ...]:
        key = self._digests.key(key_digest)
        holding = self._directory.holding(key) if key is not None else None
        if holding is None:
            return ()
        leading = self._leading_on() if key_digest == _OF_ROOT else ()
        return leading or tuple(pack_envelope(each.envelope) for each in holding.shown)

    def _leading_on(self) -> tuple[bytes, ...]:
        """Return the trust roots after the one that the peer holds; the last few if unknown."""
        chain = self._trust.chain
        behind = min(MOST_ROOTS, len(chain))
        for number, envelope in enumerate(reversed(chain)):
            if envelope.digest[:RECORD_DIGEST_BYTES] == self._their_root:
                behind = number
        return self._trust.roots_after(self._trust.root.version - behind)


def _delay(times: int) -> float:
    return min(MOST_DELAY, 2.0 ** min(times - 1, 16))  # 2**16 s is beyond any delay
