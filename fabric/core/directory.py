"""All live records that this node holds: the newest of each key, what counts, and for how long.

Theory of operation
===================

The directory is told of records that were rightly signed, in any order and any number of times,
and makes of each key one :class:`~fabric.core.holding.Holding`. A key goes through three states::

    absent --first record--> held --its last day is over--> absent
                              |  ^                            ^
             its newest ends  |  | something newer            | the last day of
             before an older  |  |                            | all that was seen
                              v  |                            |
                           remembered ------------------------'

==============  ==============  ============  ====================================================
state           in the digests  used          a record is
==============  ==============  ============  ====================================================
held            yes             yes           merged
remembered      no              no            merged; what is older than the memory is refused
absent          no              no            taken, unless its own last day is over
==============  ==============  ============  ====================================================

A key's last day ends at a UTC midnight that follows from the record alone, so that all nodes
forget it together. Expired records stay in the digests until then, for all have to hold the same.

Refused are, whoever signed them: what is past its last day; a generation more than
:data:`MOST_LEAP` ahead of the one held in its epoch; and what would make more of something than
may be. A node's words go with its node record: once that is forgotten, nobody can verify them.

Beside what is held there is what *counts* (:meth:`Directory.get`), kept in indexes that are
changed as records come, for it is asked on every call. A tombstone counts: it says that its
subject is no more. Use :mod:`.readings` to ask what a service or an admission needs to know.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from attrs import Factory, define, field, frozen

from fabric.core.digests import Digests
from fabric.core.envelope import Digest, Envelope
from fabric.core.holding import Heard, Held, Holding, Outcome, rank_of
from fabric.core.identity import NodeId, NodeName
from fabric.core.kinds import KINDS
from fabric.core.lifetimes import forgotten_at
from fabric.core.records import DAY, NODE, Key, NodeRecord, Opaque, Record

MOST_LEAP: Final = 1 << 20
"""Generations that one record may be ahead of the one held: more than anybody signs by hand or
machine in a partition of years, and little against the 2**53 that there are."""

MOST_KEYS: Final = 1 << 16
"""Held at once, about 100 MiB: six times the largest fleet tried. Only the directory's and the
orchestrator's keys can make keys without end; a node makes but a dozen."""

MOST_UNKNOWN_WORDS: Final = 8
"""Kinds unknown to this release that are kept of one node's own words: the lowest names. A later
release adds one or two; a stolen key could add thousands."""

_NOTHING: Final[Mapping[str, Held]] = MappingProxyType({})


@frozen
class Applied:
    """What became of a record, and of what counts at its key."""

    outcome: Outcome
    is_changed: bool = False
    """Whether something else counts there than before."""
    dropped: tuple[Key, ...] = ()
    """Keys that are not held any more because of it."""


@define
class Directory:
    """The records of one node. Applies what was judged; judges no signature itself."""

    digests: Digests = field(init=False, factory=Digests)
    _held: dict[Key, Holding] = field(init=False, factory=dict)
    _remembered: dict[Key, Holding] = field(init=False, factory=dict)
    _counting: dict[str, dict[str, Held]] = field(init=False, factory=dict)
    _payloads: dict[Digest, Key] = field(init=False, factory=dict)
    _members: dict[NodeId, NodeRecord] = field(init=False, factory=dict)
    _names: dict[str, list[NodeId]] = field(init=False, factory=dict)
    _words: dict[str, list[str]] = field(init=False, factory=dict)
    """Kinds, sorted, in which a node said something, by its id."""
    _last_days: dict[int, set[Key]] = field(init=False, factory=dict)
    _swept: int = field(init=False, default=0)
    """The day for which everything due was forgotten."""
    unconfirmed: set[Key] = Factory(set)
    """Keys that came from this node's own disk, and that nobody has sent since."""

    def __len__(self) -> int:
        return len(self._held)

    # -- changing --
    def apply(self, record: Record, envelope: Envelope, heard: Heard, now: float) -> Applied:
        """Take in *record*, which *envelope* says and which was judged to be good at *now*.

        *now* is unix seconds: see :attr:`~fabric.core.clocks.Times.now`.
        """
        key = record.key
        held, remembered = self._held.get(key), self._remembered.get(key)
        before = held or remembered
        if (refused := self._objection(record, before, now)) is not None:
            return Applied(refused)
        dropped = self._enlist(key) if NODE in record.authors else ()
        mine = Held(envelope, record, heard)
        merged, outcome = before.merged(mine) if before else (Holding.of(mine), Outcome.NEWER)
        merged = merged.forgetting(now)
        if remembered is not None and outcome is not Outcome.NEWER:
            self._remembered[key] = merged  # it stays a memory, maybe a longer one
            return Applied(Outcome.SUPERSEDED)
        self._remembered.pop(key, None)
        if heard.from_peer is not None:
            self.unconfirmed.discard(key)
        if merged is held:
            return Applied(outcome)
        return Applied(outcome, self._hold(key, merged), dropped)

    def forget(self, now: float) -> list[Key]:
        """Forget what has had its last day, and return the keys that are not held any more."""
        today = int(now // DAY)
        if today == self._swept:
            return []
        self._swept = today
        gone: list[Key] = []
        for day in sorted(day for day in self._last_days if day <= today):
            for key in sorted(self._last_days.pop(day)):
                gone += self._review(key, now)
        return gone

    def recheck(self, is_good: Callable[[Envelope, Record], bool]) -> list[Key]:
        """Drop what is not good any more, and return the keys at which something went.

        For when another trust root is in use: of a compromised key nothing counts. A node's words
        go with its record, as when that is forgotten.
        """
        changed: list[Key] = []
        for key, holding in list(self._held.items()):
            every = (*holding.top.held, *(holding.below.held if holding.below else ()))
            good = [each for each in every if is_good(each.envelope, each.record)]
            if len(good) < len(every):
                self._drop(key)
                self._hold_all(key, good)
                changed.append(key)
        for key in [key for key in changed if key not in self._held]:
            changed += self._drop_words_with(key)
        for key, memory in list(self._remembered.items()):
            if not all(is_good(each.envelope, each.record) for each in memory.top.held):
                del self._remembered[key]
        return changed

    def confirm_all(self) -> None:
        """Note that somebody else holds the same as this node."""
        self.unconfirmed.clear()

    # -- reading --
    def get(self, key: Key) -> Held | None:
        """Return what counts at *key*, a tombstone too; None where nothing does."""
        return self._counting.get(key.kind, _NOTHING).get(key.subject)

    def of_kind(self, kind: str) -> Mapping[str, Held]:
        """Return what counts of *kind*, by subject, tombstones too. Not to be changed."""
        return self._counting.get(kind, _NOTHING)

    def holding(self, key: Key) -> Holding | None:
        """Return all that is held at *key*, used or not: for a trace, and for other nodes."""
        return self._held.get(key)

    def keys(self) -> Iterator[Key]:
        """Return every key that is held."""
        return iter(self._held)

    def is_disputed(self, key: Key) -> bool:
        """Return whether two payloads contend for the highest number of *key*."""
        holding = self._held.get(key)
        return holding is not None and holding.top.is_disputed

    def key_holding(self, payload: Digest) -> Key | None:
        """Return the key at which the envelope with this digest is held, if it is."""
        return self._payloads.get(payload)

    def members(self) -> Mapping[NodeId, NodeRecord]:
        """Return the nodes that are not revoked, by id, expired or not."""
        return MappingProxyType(self._members)

    def member_named(self, name: NodeName) -> NodeRecord | None:
        """Return the node of that name; of several with one name, the one with the lowest id."""
        named = self._names.get(name)
        return self._members[named[0]] if named else None

    def key_of(self, node: NodeId) -> bytes | None:
        """Return the public key of *node*, revoked or not, if any record of it is held.

        Whether a node still counts is another question. Its words have to be verifiable as long
        as they are held, or nodes that heard of its end first would never hold the same.
        """
        holding = self._held.get(Key(NodeRecord.KIND, node))
        if holding is not None:
            for each in holding.shown:
                if isinstance(each.record, NodeRecord):
                    return each.record.key_bytes
        return None

    def next_sequence(self, key: Key, now: float) -> int:
        """Return the number under which this node has to say its next own word at *key*."""
        holding = self._held.get(key)
        held = holding.top.rank[2] if holding is not None else 0
        return max(held, int(now)) + 1

    # -- whether --
    def _objection(self, record: Record, before: Holding | None, now: float) -> Outcome | None:
        if forgotten_at(record) <= now:
            return Outcome.TOO_OLD
        if before is not None and _leaps(record, before):
            return Outcome.LEAP
        if before is None and len(self._held) >= MOST_KEYS:
            return Outcome.FULL
        if _is_unknown_word(record):
            kinds = self._unknown_words(record.subject)
            if len(kinds) >= MOST_UNKNOWN_WORDS and record.key.kind > kinds[-1]:
                return Outcome.FULL
        return None

    def _unknown_words(self, node: str) -> list[str]:
        return [kind for kind in self._words.get(node, ()) if kind not in KINDS]

    def _enlist(self, key: Key) -> tuple[Key, ...]:
        """Note that a node says something at *key*. Returns what is dropped for it.

        What may be said in unknown kinds is what the lowest names say, whichever came first.
        """
        words = self._words.setdefault(key.subject, [])
        if key.kind in words:
            return ()
        bisect.insort(words, key.kind)
        unknown = self._unknown_words(key.subject)
        if len(unknown) <= MOST_UNKNOWN_WORDS:
            return ()
        words.remove(unknown[-1])
        displaced = Key(unknown[-1], key.subject)
        if not _is_word(self._held.get(displaced)):
            return ()
        self._drop(displaced)
        return (displaced,)

    # -- how --
    def _hold(self, key: Key, holding: Holding) -> bool:
        """Hold *holding* at *key*; return whether something else counts there now."""
        before = self._held.get(key)
        self._held[key] = holding
        for each in before.shown if before else ():
            self._payloads.pop(each.envelope.digest, None)
        for each in holding.shown:
            self._payloads[each.envelope.digest] = key
        self.digests.put(key, holding.digest)
        self._plan(key, holding)
        return self._count(key, holding.used)

    def _hold_all(self, key: Key, every: Iterable[Held]) -> None:
        holding: Holding | None = None
        for each in every:
            holding = holding.merged(each)[0] if holding else Holding.of(each)
        if holding is not None:
            if _is_word(holding):
                self._enlist(key)
            self._hold(key, holding)

    def _drop(self, key: Key) -> None:
        holding = self._held.pop(key)
        for each in holding.shown:
            self._payloads.pop(each.envelope.digest, None)
        self.digests.drop(key)
        self.unconfirmed.discard(key)
        words = self._words.get(key.subject, [])
        if key.kind in words:
            words.remove(key.kind)
            if not words:
                del self._words[key.subject]
        self._count(key, None)

    def _plan(self, key: Key, holding: Holding) -> None:
        """See that *key* is looked at when the first part of *holding* has had its last day."""
        ends = [holding.top.forgotten_at]
        if holding.below is not None:
            ends.append(holding.below.forgotten_at)
        self._last_days.setdefault(min(ends) // DAY, set()).add(key)

    def _review(self, key: Key, now: float) -> list[Key]:
        """Let go of what is over at *key*. Return the keys that are not held any more."""
        if (memory := self._remembered.get(key)) is not None:
            if memory.forgotten_at <= now:
                del self._remembered[key]
            else:
                self._last_days.setdefault(memory.forgotten_at // DAY, set()).add(key)
        if (holding := self._held.get(key)) is None:
            return []
        if holding.top.forgotten_at > now:
            self._hold(key, holding.forgetting(now))
            return []
        return self._end(key, holding, now)

    def _end(self, key: Key, holding: Holding, now: float) -> list[Key]:
        self._drop(key)
        if holding.forgotten_at > now and len(self._remembered) < MOST_KEYS:
            self._remembered[key] = holding
            self._last_days.setdefault(holding.forgotten_at // DAY, set()).add(key)
        return [key, *self._drop_words_with(key)]

    def _drop_words_with(self, key: Key) -> list[Key]:
        """Drop the words of the node that *key* is about; nothing, where it is about no node."""
        if key.kind != NodeRecord.KIND:
            return []
        words = [Key(kind, key.subject) for kind in self._words.get(key.subject, ())]
        dropped = [word for word in words if _is_word(self._held.get(word))]
        for word in dropped:
            self._drop(word)
        return dropped

    def _count(self, key: Key, used: Held | None) -> bool:
        """Let *used* be what counts at *key*; return whether that is anything new."""
        kind = self._counting.setdefault(key.kind, {})
        before = kind.get(key.subject)
        if used is None:
            kind.pop(key.subject, None)
        else:
            kind[key.subject] = used
        if _payload(before) == _payload(used):
            return False
        if key.kind == NodeRecord.KIND:
            self._list(NodeId(key.subject), used.record if used else None)
        return True

    def _list(self, node: NodeId, record: Record | None) -> None:
        if (before := self._members.pop(node, None)) is not None:
            named = self._names[before.name]
            named.remove(node)
            if not named:
                del self._names[before.name]
        if isinstance(record, NodeRecord) and not record.revoked:
            self._members[node] = record
            bisect.insort(self._names.setdefault(record.name, []), node)


def _payload(held: Held | None) -> Digest | None:
    return held.envelope.digest if held is not None else None


def _leaps(record: Record, before: Holding) -> bool:
    is_authority, epoch, number, _care = rank_of(record)
    held = before.top.rank
    if not is_authority or (is_authority, epoch) != held[:2]:
        return False
    return number > held[2] + MOST_LEAP


def _is_word(holding: Holding | None) -> bool:
    return holding is not None and NODE in holding.top.held[0].record.authors


def _is_unknown_word(record: Record) -> bool:
    return isinstance(record, Opaque) and record.own_word and record.kind not in KINDS
