"""What this node holds of each member's life, and how two nodes find where they differ.

Of one member the higher incarnation counts. Within one incarnation, later rows beat earlier ones:

=====  =============  ====================================================
rank   state          proof that is held and passed on
=====  =============  ====================================================
0      alive          ``Alive``, signed by the subject
0      suspect        the accusations so far: everybody's own clock runs
1      dead           ``Dead``: the accusations that sufficed here
2      left           ``Left``, signed by the subject
=====  =============  ====================================================

So every order of arrival ends alike, and only the subject, by a higher incarnation, comes back.

A roll is a list of (digest of the id, incarnation, rank), in order, 17 bytes a member. Two nodes
first compare one digest over all of it. A suspicion is no difference: it ends by itself.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import struct
from collections.abc import Iterator
from typing import Final, TypeAlias

from attrs import define, field

from fabric.core.frames import MOST_ACCUSERS, MOST_ROLL, ROLL_BYTES, Alive, Dead, Frame, Left
from fabric.core.identity import NodeId
from fabric.core.liveness_events import State, View
from fabric.core.suspicion import Accusation, Suspicion

_ENTRY: Final = struct.Struct(">8sQB")
MOST_ENTRIES: Final = MOST_ROLL // _ENTRY.size

_RANK: Final = {State.ALIVE: 0, State.SUSPECT: 0, State.DEAD: 1, State.LEFT: 2}

Rank: TypeAlias = tuple[int, int]
"""Incarnation and rank of the state: the higher is the later."""


def _digest(what: bytes) -> bytes:
    return hashlib.blake2b(what, digest_size=ROLL_BYTES).digest()


@define
class Life:
    """One member's."""

    node: NodeId
    since: float
    state: State = State.ALIVE
    incarnation: int = 0
    word: bytes = b""
    """The subject's signature: of ``Left`` in that state, else of ``Alive``; empty: unheard."""
    suspicion: Suspicion | None = None
    verdict: tuple[Accusation, ...] = ()
    """What its death rests on."""

    @property
    def rank(self) -> Rank:
        return self.incarnation, _RANK[self.state]

    @property
    def accusers(self) -> tuple[NodeId, ...]:
        """Those whose word counts against it now, in the order of their ids."""
        against = self.suspicion.accusations if self.suspicion else ()
        return tuple(sorted(against)) or tuple(each.accuser for each in self.verdict)

    def view(self) -> View:
        return View(
            state=self.state,
            since=self.since,
            incarnation=self.incarnation,
            accusers=self.accusers,
        )

    def rumour(self) -> Frame | None:
        """Return the frame that proves this state; ``None``: there is nothing to pass on."""
        if not self.word:
            return None
        match self.state:
            case State.LEFT:
                return Left(subject=self.node, incarnation=self.incarnation, signature=self.word)
            case State.DEAD:
                return Dead(
                    subject=self.node,
                    incarnation=self.incarnation,
                    alive=self.word,
                    accusers=tuple(each.accuser for each in self.verdict),
                    signatures=tuple(each.signature for each in self.verdict),
                )
            case _:
                return Alive(subject=self.node, incarnation=self.incarnation, signature=self.word)

    def live(self, incarnation: int, word: bytes, now: float) -> bool:
        """Take the subject's word that it is alive; returns whether the state turned."""
        self.incarnation, self.word = incarnation, word
        self.suspicion, self.verdict = None, ()
        return self._turn(State.ALIVE, now)

    def leave(self, incarnation: int, word: bytes, now: float) -> bool:
        """Take the subject's word that it goes; returns whether the state turned."""
        self.incarnation, self.word = incarnation, word
        self.suspicion, self.verdict = None, ()
        return self._turn(State.LEFT, now)

    def die(self, verdict: tuple[Accusation, ...], now: float) -> bool:
        """Take it for dead on these words; returns whether the state turned."""
        self.suspicion, self.verdict = None, verdict[:MOST_ACCUSERS]
        return self._turn(State.DEAD, now)

    def doubt(self, now: float) -> Suspicion:
        """Return what is said against it, for the next accusation to be added."""
        if self.suspicion is None:
            self.suspicion = Suspicion(self.node, now)
        self._turn(State.SUSPECT, now)
        return self.suspicion

    def absolve(self, now: float) -> bool:
        """End a suspicion that nobody upholds; returns whether the state turned."""
        self.suspicion = None
        return self._turn(State.ALIVE, now)

    def _turn(self, state: State, now: float) -> bool:
        if state is self.state:
            return False
        self.state, self.since = state, now
        return True


@define
class Lives:
    """All lives that are held: at most one for each member."""

    _lives: dict[NodeId, Life] = field(init=False, factory=dict)
    _marks: dict[NodeId, int] = field(init=False, factory=dict)
    _by_digest: dict[bytes, NodeId] = field(init=False, factory=dict)
    _sum: int = field(init=False, default=0)
    """Exclusive or of all marks: changed in one step, whichever life turned."""

    def __iter__(self) -> Iterator[Life]:
        return iter(self._lives.values())

    def get(self, node: NodeId) -> Life | None:
        return self._lives.get(node)

    def of(self, node: NodeId, now: float) -> Life:
        """Return the life of *node*, begun at *now* if none is held."""
        life = self._lives.get(node)
        if life is None:
            life = self._lives[node] = Life(node, now)
            self._by_digest[_digest(node.encode())] = node
        return life

    def has_living(self, least: int) -> bool:
        """Return whether at least so many are held that are neither dead nor gone."""
        living = (life for life in self if _RANK[life.state] == 0)
        return sum(1 for _ in itertools.islice(living, least)) == least

    def drop(self, node: NodeId) -> None:
        if self._lives.pop(node, None) is not None:
            self._sum ^= self._marks.pop(node, 0)
            del self._by_digest[_digest(node.encode())]

    def note(self, life: Life) -> None:
        """Bring the digest up to date with *life*, whose rank may have changed."""
        mark = int.from_bytes(_digest(_entry(life)), "big") if life.word else 0
        self._sum ^= self._marks.get(life.node, 0) ^ mark
        self._marks[life.node] = mark

    @property
    def digest(self) -> bytes:
        """The same wherever the same ranks are held."""
        return self._sum.to_bytes(ROLL_BYTES, "big")

    def roll(self, rng: random.Random) -> bytes:
        """Return all entries, or a stretch of them where they are too many for one frame."""
        entries = sorted(_entry(life) for life in self._lives.values() if life.word)
        if len(entries) > MOST_ENTRIES:
            start = rng.randrange(len(entries) - MOST_ENTRIES + 1)
            entries = entries[start : start + MOST_ENTRIES]
        return b"".join(entries)

    def compare(self, roll: bytes) -> tuple[list[Life], bool]:
        """Return the lives of which *roll* knows less, and whether it knows more of any.

        A member on the roll of whom nothing is held counts as more; one that is no member too:
        the digests of the two are different until the directories are the same.
        """
        theirs = dict(_entries(roll))
        low, high = _reach(roll)
        newer = [
            life
            for short, node in sorted(self._by_digest.items())
            if (life := self._lives[node]).word
            and low <= short <= high
            and life.rank > theirs.get(short, (-1, 0))
        ]
        return newer, any(self._is_behind(short, rank) for short, rank in theirs.items())

    def _is_behind(self, short: bytes, rank: Rank) -> bool:
        node = self._by_digest.get(short)
        return node is None or not self._lives[node].word or self._lives[node].rank < rank


def _entry(life: Life) -> bytes:
    incarnation, rank = life.rank
    return _ENTRY.pack(_digest(life.node.encode()), incarnation, rank)


def _entries(roll: bytes) -> Iterator[tuple[bytes, Rank]]:
    whole = len(roll) - len(roll) % _ENTRY.size
    for short, incarnation, rank in _ENTRY.iter_unpack(roll[:whole]):
        yield short, (incarnation, rank)


def _reach(roll: bytes) -> tuple[bytes, bytes]:
    """Return the first and last digest that *roll* speaks of: of all, unless it is full."""
    if len(roll) < MOST_ENTRIES * _ENTRY.size:
        return bytes(ROLL_BYTES), b"\xff" * ROLL_BYTES
    return roll[:ROLL_BYTES], roll[-_ENTRY.size :][:ROLL_BYTES]
