"""What is held at one key: the newest that was said there, or the proof that two things were.

Theory of operation
===================

Nodes hear the same records in different orders, some of them twice and some never. What a node
makes of them must depend on nothing but which ones it heard: then any two nodes that heard the
same hold the same, and whoever passes on what the other lacks ends all differences. So a key's
:class:`Holding` is a join: :meth:`Holding.merged` is commutative, associative and idempotent.

=====================================  ==========  ==============================================
a record whose number is               is          and then
=====================================  ==========  ==============================================
higher than what is held               newer       replaces it
the same, with the same payload        known       nothing
the same, with another payload         equivocated  both are kept: they are the proof
the same, when two are kept            known       nothing: two prove as much as three
lower, above it an equivocation        beneath     the highest of these is what is used meanwhile
lower                                  superseded  nothing
=====================================  ==========  ==============================================

What is used while two payloads contend for one number depends on who signs the kind
(:class:`Dispute`). For the directory's kinds it is the last good generation, which may come after
the two that contend; so of these the second highest is always kept.

A number is a :data:`Rank`: what authority signed stands above a node's own word (a node must not
put its own word where the directory's belongs, in a kind that this release does not know), and of
two ``update_head`` at one number the more careful stands above.

The time at which a key is forgotten is the latest that any record seen at it asked for. A key
whose newest record ends earlier than an older one is *remembered* until then, so that the older
one cannot come back.
"""

from __future__ import annotations

import enum
import hashlib
from typing import Final, TypeAlias

from attrs import evolve, field, frozen

from fabric.codes import Code
from fabric.core.envelope import Envelope
from fabric.core.frames import RECORD_DIGEST_BYTES
from fabric.core.identity import NodeId
from fabric.core.lifetimes import forgotten_at
from fabric.core.records import NODE, Record, Role
from fabric.core.update_records import HeadState, UpdateHead

Rank: TypeAlias = tuple[int, int, int, int]
"""(whether authority signed it, epoch, generation or sequence, care): the highest is in use."""

_CARE: Final = {HeadState.RUN: 0, HeadState.PAUSE: 1, HeadState.ABORT: 2}


@frozen
class Heard:
    """How a record came here. Advice: what a peer says of hops and age is its own word."""

    from_peer: NodeId | None = None
    """Who told this node; None: itself, or a file."""
    hops: int = 0
    """Forwardings that it took."""
    age: float = 0.0
    """Seconds that it was on the way."""
    wave_id: bytes = b""
    """Empty when anti-entropy brought it."""
    at: float = 0.0
    """Unix seconds."""


@frozen
class Held:
    """A record that was taken in, as it was signed, and how it came here."""

    envelope: Envelope
    record: Record
    heard: Heard = field(default=Heard(), eq=False)


class Outcome(enum.StrEnum):
    """What became of a record that was rightly signed."""

    NEWER = "newer"
    EQUIVOCATED = "equivocated"
    BENEATH = "beneath"
    KNOWN = "known"
    SUPERSEDED = "superseded"
    TOO_OLD = "too_old"
    LEAP = "leap"
    FULL = "full"

    @property
    def is_kept(self) -> bool:
        """Whether something else is held than before."""
        return self in _KEPT

    @property
    def code(self) -> Code | None:
        """Why the record was refused, if it was."""
        return _CODES.get(self)


_KEPT: Final = frozenset({Outcome.NEWER, Outcome.EQUIVOCATED, Outcome.BENEATH})
_CODES: Final = {
    Outcome.TOO_OLD: Code.RECORD_TOO_OLD,
    Outcome.LEAP: Code.GENERATION_LEAP,
    Outcome.FULL: Code.OVER_BUDGET,
    Outcome.SUPERSEDED: Code.SUPERSEDED,
}


class Dispute(enum.Enum):
    """What is used while two payloads contend for the highest number of a key."""

    LAST_GOOD = "last good"
    """The directory's: the fabric goes on with what it had."""
    NOTHING = "nothing"
    """A node's own word, until it says something newer; and what may start something: a trust
    root, an intent, a lease."""
    CARE = "care"
    """A head: as the two agree, if it is to stop."""


def dispute_of(record: Record) -> Dispute:
    """Return how a contention about *record*'s key is settled."""
    if isinstance(record, UpdateHead):
        return Dispute.CARE
    return Dispute.LAST_GOOD if record.authors[0] == Role.DIRECTORY else Dispute.NOTHING


def rank_of(record: Record) -> Rank:
    """Return what tells which of two records of one key is the newer."""
    care = _CARE[record.state] if isinstance(record, UpdateHead) else 0
    return int(NODE not in record.authors), *record.order, care


@frozen
class Level:
    """What was said under one number: one record, or two that contend."""

    rank: Rank
    held: tuple[Held, ...]

    @property
    def is_disputed(self) -> bool:
        return len(self.held) > 1

    @property
    def forgotten_at(self) -> int:
        return max(forgotten_at(each.record) for each in self.held)

    def joined(self, held: Held) -> tuple[Level, Outcome]:
        """Return this level with *held*, of the same number, beside what is here."""
        digest = held.envelope.digest
        if self.is_disputed or self.held[0].envelope.digest == digest:
            return self, Outcome.KNOWN
        pair = sorted((*self.held, held), key=lambda each: each.envelope.digest)
        return Level(self.rank, tuple(pair)), Outcome.EQUIVOCATED


@frozen
class Holding:
    """All that is held at one key."""

    top: Level
    below: Level | None
    """The second highest number; kept of the directory's kinds only."""
    forgotten_at: int
    """Unix seconds: the latest that any record seen at this key asked for."""

    @classmethod
    def of(cls, held: Held) -> Holding:
        """Return what is held where *held* is the first at its key."""
        return cls(Level(rank_of(held.record), (held,)), None, forgotten_at(held.record))

    def merged(self, held: Held) -> tuple[Holding, Outcome]:
        """Return what is held once *held* was heard too."""
        rank = rank_of(held.record)
        late = max(self.forgotten_at, forgotten_at(held.record))
        if rank > self.top.rank:
            below = self.top if _keeps_below(held.record) else None
            return Holding(Level(rank, (held,)), below, late), Outcome.NEWER
        top, below, outcome = self.top, self.below, Outcome.KNOWN
        if rank == top.rank:
            top, outcome = top.joined(held)
        else:
            below, outcome = self._sunk(held, rank)
        if (top, below, late) == (self.top, self.below, self.forgotten_at):
            return self, outcome
        return Holding(top, below, late), outcome

    def _sunk(self, held: Held, rank: Rank) -> tuple[Level | None, Outcome]:
        """Return the second highest level once *held*, below the highest, was heard too."""
        below = self.below
        if not _keeps_below(held.record) or (below and rank < below.rank):
            return below, Outcome.SUPERSEDED
        if below is not None and rank == below.rank:
            below, outcome = below.joined(held)
            outcome = Outcome.BENEATH if outcome.is_kept else outcome
        else:
            below, outcome = Level(rank, (held,)), Outcome.BENEATH
        return below, outcome if self.top.is_disputed else Outcome.SUPERSEDED

    @property
    def shown(self) -> tuple[Held, ...]:
        """What another node needs to hold the same; the proof, where there is one, is first."""
        if self.top.is_disputed and self.below is not None:
            return self.top.held + self.below.held
        return self.top.held

    @property
    def used(self) -> Held | None:
        """What counts at this key; a tombstone too."""
        first = self.top.held[0]
        if not self.top.is_disputed:
            return first
        match dispute_of(first.record):
            case Dispute.LAST_GOOD if self.below and not self.below.is_disputed:
                return self.below.held[0]
            case Dispute.CARE if self.top.rank[-1] > _CARE[HeadState.RUN]:
                return first
        return None

    @property
    def digest(self) -> bytes:
        """The same at all nodes that hold the same; of a contention, whichever two prove it."""
        if not self.top.is_disputed:
            return self.top.held[0].envelope.digest[:RECORD_DIGEST_BYTES]
        digest = hashlib.blake2b(digest_size=RECORD_DIGEST_BYTES)
        for level in (self.top, self.below):
            if level is not None:
                digest.update(_spelled(level))
        return digest.digest()

    def forgetting(self, now: float) -> Holding:
        """Return this without a second highest number whose time is over."""
        is_over = self.below is not None and self.below.forgotten_at <= now
        return evolve(self, below=None) if is_over else self


def _keeps_below(record: Record) -> bool:
    return dispute_of(record) is Dispute.LAST_GOOD


def _spelled(level: Level) -> bytes:
    number = b"/".join(b"%d" % each for each in level.rank)
    said = b"equivocated" if level.is_disputed else level.held[0].envelope.digest
    return b"%s %s;" % (number, said)
