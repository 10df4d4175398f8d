"""What is said of others: which of it is believed, passed on, corrected or taken to its subject.

===========  ======================================  ==============================================
comes        if                                      then
===========  ======================================  ==============================================
any          about no member                         nothing
any          of a lower incarnation than is held     the sender is told what is held
``Alive``    new, and signed by the subject          it lives; passed on
``Left``     new, and signed by the subject          it has left; passed on
``Suspect``  this node hears the subject itself      the subject is told; nothing else
``Suspect``  it adds an accuser, who has signed      it is suspect; the subject is told; passed on
``Dead``     this node hears the subject itself      the subject is told; nothing else
``Dead``     the accusers, who have signed, suffice  it is dead; passed on
``Dead``     they do not suffice here                each accusation counts as one
===========  ======================================  ==============================================

*Passed on* is once, to :data:`FANOUT` neighbours; what reached somebody not at all is found by the
roll call. Only a word that ends a doubt goes to all neighbours: whoever misses it may take a
living node for dead before the next call. A suspect's time is up for everybody at about the same
moment; the accusers say ``Dead``, for those who missed an accusation.

Everything is bounded by the directory: one life for each member, eight accusations for each life,
and new signatures from one neighbour are checked no faster than :data:`CHECKS_PER_SECOND`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, TypeAlias

from attrs import define, field

from fabric.core.ears import Ears
from fabric.core.fleet import Fleet
from fabric.core.frames import Alive, Dead, Frame, Left, Suspect
from fabric.core.identity import NodeId
from fabric.core.liveness_events import Effect, Forged, Reason, State, Tell, Turned
from fabric.core.lives import Life, Lives
from fabric.core.suspicion import Accusation, is_corroborated
from fabric.core.testimony import Context, Notary
from fabric.core.watch import Watch

GONE: Final = frozenset({State.DEAD, State.LEFT})

FANOUT: Final = 5
"""Neighbours that a rumour is passed on to. Of eight, each member is then left out by all of its
neighbours once in 10,000 times; each more costs a seventh of a rumour's bytes."""

EVERYBODY: Final = 1_000
"""More neighbours than any node has."""

CHECKS_PER_SECOND: Final = 200.0
MOST_CHECKS: Final = 1000.0
"""Signatures from one neighbour: 200 a second are 1 % of a core; the burst is for a fleet
that starts."""


Rumour: TypeAlias = Alive | Left | Suspect | Dead
"""What is said of a member."""


@define
class _Budget:
    """A bucket that fills with time."""

    left: float
    at: float

    def takes(self, count: int, now: float) -> bool:
        self.left = min(MOST_CHECKS, self.left + (now - self.at) * CHECKS_PER_SECOND)
        self.at = now
        if self.left < count:
            return False
        self.left -= count
        return True


@define
class Rumours:
    """Keeps the lives of all other members by what is heard of them."""

    fleet: Fleet
    notary: Notary
    ears: Ears
    lives: Lives
    _suspected: dict[NodeId, Life] = field(init=False, factory=dict)
    """Those whose time runs."""
    _budgets: dict[NodeId, _Budget] = field(init=False, factory=dict)
    """Of neighbours; dropped with the connection."""

    # -- neighbours --
    def met(self, peer: NodeId, now: float) -> list[Effect]:
        """Take a connection to *peer* as a sign of life, until its own word comes."""
        if self.lives.get(peer) is not None:
            return []
        self.lives.of(peer, now)
        return [Turned(peer, State.ALIVE, Reason.CONNECTED, now)]

    def parted(self, peer: NodeId) -> None:
        self._budgets.pop(peer, None)

    def heard_itself(self, watch: Watch, now: float) -> list[Effect]:
        """Tell the peer, once, what is said against it: this node has just heard it."""
        life = self.lives.get(watch.peer)
        if life is None or not self.is_doubted(watch.peer):
            return []
        if life.suspicion is not None:
            life.suspicion.heard(now)
        if watch.doubts_told == life.incarnation or not life.word:
            return []
        watch.doubts_told = life.incarnation
        return [Tell(watch.peer, against) for against in _charges(life)]

    def strike(self, node: NodeId, now: float) -> list[Effect]:
        """Forget *node*, and its word against others."""
        self.lives.drop(node)
        self._suspected.pop(node, None)
        effects: list[Effect] = []
        for life in list(self._suspected.values()):
            assert life.suspicion is not None  # as long as it is in the table
            life.suspicion.forget(node)
            if not life.suspicion.accusations:
                life.absolve(now)
                effects += self._turned(life, Reason.WITHDRAWN, now)
        return effects

    # -- what the subject says --
    def hear_alive(self, peer: NodeId, frame: Alive, now: float) -> list[Effect]:
        return self._hear_subject(peer, frame, Context.ALIVE, now)

    def hear_left(self, peer: NodeId, frame: Left, now: float) -> list[Effect]:
        return self._hear_subject(peer, frame, Context.LEFT, now)

    def _hear_subject(
        self, peer: NodeId, frame: Alive | Left, context: Context, now: float
    ) -> list[Effect]:
        subject, rank = NodeId(frame.subject), 0 if context is Context.ALIVE else 2
        life = self.lives.get(subject)
        if life is not None and life.word and (frame.incarnation, rank) <= life.rank:
            return self._correct(peer, life, frame.incarnation)
        if (
            no := self.objection(peer, [(context, subject, frame.signature)], frame, now)
        ) is not None:
            return no
        most = EVERYBODY if self.is_doubted(subject) else FANOUT
        return [*self._take_word(frame, now), *self._pass_on(frame, peer, most)]

    def is_doubted(self, node: NodeId) -> bool:
        """Return whether *node* is suspect or dead here."""
        life = self.lives.get(node)
        return life is not None and life.state in {State.SUSPECT, State.DEAD}

    def _take_word(self, frame: Alive | Left, now: float) -> list[Effect]:
        subject = NodeId(frame.subject)
        is_new = self.lives.get(subject) is None
        life = self.lives.of(subject, now)
        take = life.live if isinstance(frame, Alive) else life.leave
        turned = take(frame.incarnation, frame.signature, now) or is_new
        self.ears.refuted(subject)
        return self._turned(life, Reason.ITS_WORD, now, turned=turned)

    # -- what others say --
    def accuse(self, watch: Watch, now: float) -> list[Effect]:
        """Say that *watch*'s peer answers neither this node nor others for it."""
        life, me = self.lives.get(watch.peer), self.notary.me
        if life is None or not life.word or life.state not in {State.ALIVE, State.SUSPECT}:
            return []
        silent = now - watch.quiet_since
        if not self._takes(life, me, silent, now):
            return []
        signature = self.notary.attest(Context.SUSPECT, life.node, life.incarnation)
        return self._count(life, me, signature, silent, now)

    def hear_suspect(self, peer: NodeId, frame: Suspect, now: float) -> list[Effect]:
        subject, accuser = NodeId(frame.subject), NodeId(frame.accuser)
        if accuser not in self.fleet or accuser in {subject, self.notary.me}:
            return []
        life = self.lives.get(subject)
        if life is not None and self._is_settled(life, frame.incarnation):
            return self._correct(peer, life, frame.incarnation)
        if (
            life is not None
            and life.incarnation == frame.incarnation
            and not self._takes(life, accuser, frame.silent / 1000, now)
        ):
            return []
        words = [*self._news(life, frame), (Context.SUSPECT, accuser, frame.signature)]
        if (no := self.objection(peer, words, frame, now)) is not None:
            return no
        learnt = self._learn(frame, now)
        if self.ears.hears(subject, now):
            return [*learnt, *self._take_to(subject, frame)]
        life = self.lives.of(subject, now)
        silent = frame.silent / 1000
        return [*learnt, *self._count(life, accuser, frame.signature, silent, now, peer)]

    def hear_dead(self, peer: NodeId, frame: Dead, now: float) -> list[Effect]:
        subject = NodeId(frame.subject)
        signed = dict(zip(map(NodeId, frame.accusers), frame.signatures, strict=True))
        signed = {who: by for who, by in signed.items() if who in self.fleet and who != subject}
        life = self.lives.get(subject)
        if life is not None and self._is_settled(life, frame.incarnation):
            return self._correct(peer, life, frame.incarnation)
        words = [(Context.SUSPECT, who, by) for who, by in sorted(signed.items())]
        words = [each for each in words if not _is_held(life, frame.incarnation, each)]
        if (
            no := self.objection(peer, [*self._news(life, frame), *words], frame, now)
        ) is not None:
            return no
        learnt = self._learn(frame, now)
        if self.ears.hears(subject, now):
            return [*learnt, *self._take_to(subject, frame)]
        life = self.lives.of(subject, now)
        if not is_corroborated(subject, signed, self.fleet):
            return [*learnt, *self._count_all(life, signed, now, peer)]
        verdict = tuple(
            Accusation(accuser=who, signature=by, heard_until=now)
            for who, by in sorted(signed.items())
        )
        life.die(verdict, now)
        return [*learnt, *self._turned(life, Reason.TOLD, now), *self._pass_on(frame, peer)]

    def _takes(self, life: Life, accuser: NodeId, silent: float, now: float) -> bool:
        return life.suspicion is None or life.suspicion.takes(accuser, silent, now, self.fleet)

    def _is_settled(self, life: Life, incarnation: int) -> bool:
        """Whether an accusation in *incarnation* says nothing that could count any more."""
        is_over = life.state in GONE
        return incarnation < life.incarnation or (incarnation == life.incarnation and is_over)

    def _news(
        self, life: Life | None, frame: Suspect | Dead
    ) -> list[tuple[Context, NodeId, bytes]]:
        """Return the subject's own word in *frame*, unless it is held already."""
        if life is not None and life.word and life.incarnation == frame.incarnation:
            return []
        return [(Context.ALIVE, NodeId(frame.subject), frame.alive)]

    def _learn(self, frame: Suspect | Dead, now: float) -> list[Effect]:
        """Take the subject's own word out of *frame*, which has been checked."""
        if not self._news(self.lives.get(NodeId(frame.subject)), frame):
            return []
        word = Alive(subject=frame.subject, incarnation=frame.incarnation, signature=frame.alive)
        return self._take_word(word, now)

    def _take_to(self, subject: NodeId, frame: Suspect | Dead) -> list[Effect]:
        watch = self.ears.watch_of(subject)
        if watch is None or watch.doubts_told == frame.incarnation:
            return []
        watch.doubts_told = frame.incarnation
        return [Tell(subject, frame)]

    def _count(
        self,
        life: Life,
        accuser: NodeId,
        signature: bytes,
        silent: float,
        now: float,
        peer: NodeId | None = None,
    ) -> list[Effect]:
        """Add a checked accusation, and pass it on: first of all to its subject."""
        was = life.state
        suspicion = life.doubt(now)
        suspicion.add(accuser, signature, silent, now)
        self._suspected[life.node] = life
        frame = _charge(life, suspicion.accusations[accuser], now)
        watch = self.ears.watch_of(life.node)
        if watch is not None:
            suspicion.heard(watch.quiet_since)
        told = self._take_to(life.node, frame) if watch and watch.is_connected else []
        turned = self._turned(life, Reason.ACCUSED, now, turned=was is not life.state)
        return [*turned, *told, *self._pass_on(frame, peer)]

    def _count_all(
        self, life: Life, signed: dict[NodeId, bytes], now: float, peer: NodeId
    ) -> list[Effect]:
        effects: list[Effect] = []
        for accuser, signature in sorted(signed.items()):
            if self._takes(life, accuser, 0.0, now):
                effects += self._count(life, accuser, signature, 0.0, now, peer)
        return effects

    # -- time --
    def due(self) -> float:
        """Return when :meth:`tick` has something to do."""
        return min((self._expires(each) for each in self._suspected.values()), default=math.inf)

    def tick(self, now: float) -> list[Effect]:
        """Take those for dead whose time is up."""
        effects: list[Effect] = []
        for life in [each for each in self._suspected.values() if self._expires(each) <= now]:
            suspicion = life.suspicion
            assert suspicion is not None  # as long as it is in the table
            alone = not (self.ears.connected() or suspicion.is_corroborated(self.fleet))
            if alone or self.ears.is_deaf(now):
                suspicion.heard(now)  # nobody could be heard to contradict
                continue
            was_mine = self.notary.me in suspicion.accusations
            life.die(tuple(each for _, each in sorted(suspicion.accusations.items())), now)
            effects += self._turned(life, Reason.SILENT, now)
            if was_mine and (rumour := life.rumour()) is not None:
                effects += self.ears.spread(rumour, FANOUT)
        return effects

    def postpone(self, until: float) -> None:
        """Let nobody's time be up before *until*: there is much to hear first."""
        for life in self._suspected.values():
            if life.suspicion is not None:
                life.suspicion.spare(until)

    def _expires(self, life: Life) -> float:
        return life.suspicion.expires(self.fleet) if life.suspicion else math.inf

    # -- the rest --
    def objection(
        self,
        peer: NodeId,
        words: Iterable[tuple[Context, NodeId, bytes]],
        frame: Rumour,
        now: float,
    ) -> list[Effect] | None:
        """Return what follows if *words* cannot be believed; ``None``: they hold."""
        words, subject = list(words), NodeId(frame.subject)
        budget = self._budgets.setdefault(peer, _Budget(MOST_CHECKS, now))
        if not budget.takes(len(words), now):
            return []
        for context, by, signature in words:
            if not self.notary.holds(context, by, subject, frame.incarnation, signature):
                return [Forged(peer, subject)]
        return None

    def _correct(self, peer: NodeId, life: Life, incarnation: int) -> list[Effect]:
        """Tell *peer* what is held, if it may not know: one behind, or one that came back.

        Of a suspicion or a death the subject hears by :meth:`heard_itself`.
        """
        came_back = peer == life.node and life.state is State.LEFT
        if incarnation == life.incarnation and not came_back:
            return []
        return [Tell(peer, each) for each in _charges(life) or _known(life)]

    def _pass_on(self, frame: Rumour, peer: NodeId | None, most: int = FANOUT) -> list[Effect]:
        """Tell at most *most* neighbours, but not its subject nor *peer*, who told it."""
        told = {NodeId(frame.subject)} | ({peer} if peer else set())
        return self.ears.spread(frame, most, excluding=told)

    def _turned(
        self, life: Life, reason: Reason, now: float, *, turned: bool = True
    ) -> list[Effect]:
        """Bring all tables up to date with *life*."""
        if life.suspicion is None:
            self._suspected.pop(life.node, None)
        if life.state in GONE:
            self.ears.give_up(life.node)
        self.lives.note(life)
        return [Turned(life.node, life.state, reason, now)] if turned else []


def _is_held(life: Life | None, incarnation: int, word: tuple[Context, NodeId, bytes]) -> bool:
    """Whether exactly this accusation has been checked before."""
    if life is None or life.suspicion is None or life.incarnation != incarnation:
        return False
    held = life.suspicion.accusations.get(word[1])
    return held is not None and held.signature == word[2]


def _known(life: Life) -> list[Frame]:
    rumour = life.rumour()
    return [] if rumour is None else [rumour]


def _charges(life: Life) -> list[Frame]:
    """Return what is said against *life*: that it is dead, or the first accusation."""
    if life.state is State.SUSPECT and life.suspicion is not None:
        first = min(life.suspicion.accusations.values(), key=lambda each: each.accuser)
        return [_charge(life, first, first.heard_until)]
    return _known(life) if life.state in GONE else []


def _charge(life: Life, accusation: Accusation, now: float) -> Suspect:
    return Suspect(
        subject=life.node,
        incarnation=life.incarnation,
        alive=life.word,
        accuser=accusation.accuser,
        signature=accusation.signature,
        silent=max(0, round(1000 * (now - accusation.heard_until))),
    )
