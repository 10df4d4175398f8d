"""Admission: how a connection with a stranger becomes one with a known peer.

Theory of operation
===================

The acceptor has proved its key in TLS; the dialler proves its own here, over a challenge that
only this acceptor made::

    acceptor                                      dialler
    Challenge{nonce}  ------------------------->  signs (fabric, both keys, both nonces)
    judges            <-------------------------  Hello{..., signature, record?, roots?}
    HelloOk | Refused ------------------------->  judges

The acceptor's objections are raised in the order of :data:`OBJECTIONS`: what costs nothing
first, the signature (60 us) only for keys that are known or bring a record along, the standing
only for keys that are proved, so that nobody can displace a peer without its key. The dialler
knows whom it reached by the key that TLS proved, and judges version and standing by the same
rules.

Who is known is asked last, for it may change on the way: whoever is not known yet brings its
signed node record; whoever slept through changes of the trust root is handed them, also with a
refusal, and comes again. Whoever was revoked meanwhile is handed the record that says so: all
others close their links to it before it could hear of that in any other way. What is brought
counts only once the key behind it is proved, and then as if any peer had told it. Nothing is
taken from a key that is barred.

Each machine is a table from (state, event) to the step taken; what is not in it is answered
with ``unexpected_frame``. Every step ends in effects for the shell: ``Send``, ``Admit``,
``Refuse``. Until ``Admit`` the shell delivers nothing from this connection to anybody.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from attrs import define, field, frozen

from fabric.codes import Code
from fabric.core.frames import (
    MOST_ANSWER_ROOTS,
    MOST_HELLO_RECORD,
    MOST_HELLO_ROOTS,
    Challenge,
    Frame,
    Hello,
    HelloOk,
    Refused,
)
from fabric.core.identity import FabricId, Instance, NodeId, NodeName, node_id_of
from fabric.core.proof import hello_statement, proves
from fabric.core.roster import DialIntent, Direct, Letters, Member, Roster, Seed
from fabric.core.standing import Claim, Judgement, Standings, Verdict

VERSIONS: Final = (1, 1)
"""Lowest and highest protocol version of this release."""

EASY_HELLO_ROOTS: Final = 3 << 10
"""Bytes of trust roots that a Hello brings at once, unless the first alone is larger. Of what a
stranger sends, the driver bears 4 KiB out of order: a larger Hello that loses a packet on the way
may have to come again."""

PATIENCE: Final = 5.0
"""Seconds for each thing that is awaited before admission."""

MENDABLE: Final = frozenset({Code.UNKNOWN_KEY, Code.REVOKED, Code.RECORD_EXPIRED})
"""Why somebody is no member that a newer record could change. Of whom something else is said,
nothing is heard: it is kept out, whatever it brings."""


@define(kw_only=True, eq=False)
class Myself:
    """This node, as it introduces itself."""

    name: NodeName
    """As its record has it now, which may change; all else is the same until it ends."""
    key: bytes
    """Own public key."""
    fabric_id: FabricId
    instance: Instance
    boot_seq: int
    sign: Callable[[bytes], bytes] = field(repr=False)
    """Signs with the secret half of :attr:`key`; pure, as Ed25519 is."""
    node_id: NodeId = field(init=False)

    @node_id.default
    def _id_of_key(self) -> NodeId:
        return node_id_of(self.key)


@frozen(eq=False)
class Ourselves:
    """What both ends of any admission go by: who we are, whom we know, who stands."""

    me: Myself
    roster: Roster
    letters: Letters
    standings: Standings
    room_for: Callable[[NodeId], Code | None] = field(default=lambda _node: None)
    """Returns why no link that a member dialled is to be kept: as many as may be stand already, or
    this node is leaving."""

    def shown_record(self) -> bytes:
        """Return this node's own record, as others take it in Hello: empty if it has none."""
        return _if_it_fits(self.letters.own_record())

    def shown_tombstone(self, key: bytes) -> bytes:
        """Return what revokes the holder of *key*, as a refusal tells it: empty if none does."""
        return _if_it_fits(self.letters.tombstone_of(key))

    def bar_of(self, key: bytes) -> Code | None:
        """Return why nothing that the holder of *key* brings is even looked at."""
        if self.roster.by_key(key) is not None:
            return None
        why = self.roster.why_not(key)
        return None if why in MENDABLE else why

    def why_not(self, key: bytes, objection: Code | None) -> Code:
        """Return why the holder of *key* is no member, though it brought a record.

        *objection*: what was found against that record, which helps more than that there is none.
        """
        why = self.roster.why_not(key)
        return objection if why is Code.UNKNOWN_KEY and objection is not None else why

    def own_key(self, instance: bytes) -> Code:
        """Return what it means that a process, *instance*, holds the key of this node."""
        return Code.ITSELF if instance == self.me.instance else Code.DUPLICATE_IDENTITY


@frozen
class TimedOut:
    """Nothing came for :data:`PATIENCE` seconds."""


@frozen
class Send:
    """Put *frame* on the control stream."""

    frame: Frame


@frozen(kw_only=True)
class Admit:
    """The peer is who it says. Its claim has been judged and stands, or is spare."""

    member: Member
    claim: Claim
    version: int
    judgement: Judgement


@frozen
class Refuse:
    """Close with *code*. The acceptor says it in a ``Refused`` frame first."""

    code: Code
    detail: str = ""
    by_peer: bool = False
    """Whether it was the other end that said no."""


Event: TypeAlias = Frame | TimedOut
Effect: TypeAlias = Send | Admit | Refuse


class State(enum.StrEnum):
    """Where an end is in the exchange."""

    AWAITING_HELLO = "awaiting_hello"
    AWAITING_CHALLENGE = "awaiting_challenge"
    AWAITING_ANSWER = "awaiting_answer"
    ADMITTED = "admitted"
    REFUSED = "refused"


def common_version(theirs: tuple[int, int], ours: tuple[int, int] = VERSIONS) -> int | None:
    """Return the highest version that both ranges hold."""
    highest = min(theirs[1], ours[1])
    return highest if highest >= max(theirs[0], ours[0]) else None


@define
class Acceptor:
    """The end that was dialled."""

    we: Ourselves
    nonce: bytes
    """32 fresh random bytes, for this connection alone."""
    state: State = field(init=False, default=State.AWAITING_HELLO)
    claimant: str = field(init=False, default="")
    """Who the Hello *says* it is from, for the log alone: a known name, else the key's node id."""
    key: bytes = field(init=False, default=b"")
    """The key of the Hello; proved, unless what was refused was its proof or something before."""
    missed_roots: tuple[bytes, ...] = field(init=False, default=())
    """Trust roots that a dialler with a proved key lacks: they go with a refusal too."""
    tombstone: bytes = field(init=False, default=b"")
    """What revokes the proved key of the dialler: it goes with the refusal."""

    def receive(self, event: Event, now: float) -> list[Effect]:
        """Take the step that the table names and return what follows from it."""
        step = ACCEPTOR.get((self.state, type(event)))
        effects: list[Effect] = (
            step(self, event, now) if step else [_unexpected(event, self.state)]
        )
        self.state = _state_after(effects, self.state)
        return effects

    def judge_hello(self, hello: Hello, now: float) -> list[Effect]:
        self.key = hello.key
        self.claimant = self._name_of(hello.key)
        for objection_to in OBJECTIONS:
            if (code := objection_to(self, hello)) is not None:
                return [Refuse(code)]
        letters = self.we.letters
        objection = letters.learn(hello.roots, hello.record, hello.key)
        self.missed_roots = letters.roots_after(hello.root_version, most_bytes=MOST_ANSWER_ROOTS)
        if (member := self.we.roster.by_key(hello.key)) is None:
            return [self._turn_away(hello.key, objection)]
        self.claimant = member.name
        if (code := self.we.room_for(member.node_id)) is not None:
            return [Refuse(code)]
        return self._judge_standing(hello, member, now)

    def _turn_away(self, key: bytes, objection: Code | None) -> Refuse:
        code = self.we.why_not(key, objection)
        if code is Code.REVOKED:
            self.tombstone = self.we.shown_tombstone(key)
        return Refuse(code)

    def _judge_standing(self, hello: Hello, member: Member, now: float) -> list[Effect]:
        claim = Claim(
            peer=member.node_id,
            instance=Instance(hello.instance),
            boot_seq=hello.boot_seq,
            dialler=member.node_id,
        )
        judgement = self.we.standings.judge(claim, now)
        # A spare dial is the higher node id's, so this is the lower: its own dial has been
        # answered, and the spare one need not be kept for anything.
        refusal = Code.DUPLICATE if judgement.verdict is Verdict.SPARE else judgement.refusal
        if refusal is not None:
            return [Refuse(refusal)]
        version = common_version(hello.versions)
        assert version is not None  # or OBJECTIONS would have said so
        admit = Admit(member=member, claim=claim, version=version, judgement=judgement)
        return [admit, Send(self._answer(hello, version))]

    def _answer(self, hello: Hello, version: int) -> HelloOk:
        return HelloOk(
            version=version,
            instance=self.we.me.instance,
            boot_seq=self.we.me.boot_seq,
            record=self.we.shown_record() if hello.wants_record else b"",
            roots=self.missed_roots,
        )

    def give_up(self, _event: TimedOut, _now: float) -> list[Effect]:
        return [Refuse(Code.NO_HELLO)]

    def _name_of(self, key: bytes) -> str:
        member = self.we.roster.by_key(key)
        return member.name if member else node_id_of(key)


def _versions_apart(_end: Acceptor, hello: Hello) -> Code | None:
    return Code.NO_COMMON_VERSION if common_version(hello.versions) is None else None


def _another_fabric(end: Acceptor, hello: Hello) -> Code | None:
    return Code.WRONG_FABRIC if hello.fabric_id != end.we.me.fabric_id else None


def _nothing_known(end: Acceptor, hello: Hello) -> Code | None:
    key, roster = hello.key, end.we.roster
    if hello.record or key == end.we.me.key or roster.by_key(key) is not None:
        return None
    return Code.UNKNOWN_KEY if roster.why_not(key) is Code.UNKNOWN_KEY else None


def _unproved(end: Acceptor, hello: Hello) -> Code | None:
    is_proved = proves(hello, acceptor_key=end.we.me.key, acceptor_nonce=end.nonce)
    return None if is_proved else Code.BAD_PROOF


def _own_key(end: Acceptor, hello: Hello) -> Code | None:
    return end.we.own_key(hello.instance) if hello.key == end.we.me.key else None


def _barred(end: Acceptor, hello: Hello) -> Code | None:
    return end.we.bar_of(hello.key)


OBJECTIONS: Final[tuple[Callable[[Acceptor, Hello], Code | None], ...]] = (
    _versions_apart,
    _another_fabric,
    _nothing_known,
    _unproved,
    _own_key,
    _barred,
)
"""What speaks against a Hello, cheapest first; from the proof on, against a key that is proved.
What it brings along is looked at after all of them, and standing after that."""


@define
class Dialler:
    """The end that dialled."""

    we: Ourselves
    intent: DialIntent
    acceptor_key: bytes
    """The key that the acceptor proved in this connection's TLS handshake."""
    nonce: bytes
    """32 fresh random bytes, for this connection alone."""
    state: State = field(init=False, default=State.AWAITING_CHALLENGE)

    def receive(self, event: Event, now: float) -> list[Effect]:
        """Take the step that the table names and return what follows from it."""
        step = DIALLER.get((self.state, type(event)))
        effects: list[Effect] = (
            step(self, event, now) if step else [_unexpected(event, self.state)]
        )
        self.state = _state_after(effects, self.state)
        return effects

    def answer_challenge(self, challenge: Challenge, _now: float) -> list[Effect]:
        code = self._objection_to_acceptor()
        return [Send(self._hello(challenge)) if code is None else Refuse(code)]

    def _objection_to_acceptor(self) -> Code | None:
        """Return why nothing is said to whoever answered: not the intended peer, or no peer."""
        roster, key = self.we.roster, self.acceptor_key
        if isinstance(self.intent, Direct):
            if self.intent.peer.key != key:
                return Code.PIN_MISMATCH
            if roster.by_key(key) is None:  # revoked while we dialled
                return roster.why_not(key)
        elif self.we.standings.of(node_id_of(key)) is not None:
            return Code.DUPLICATE  # it was met on another way: nobody dials a connected peer
        return self.we.bar_of(key)

    def _hello(self, challenge: Challenge) -> Hello:
        me, letters = self.we.me, self.we.letters
        statement = hello_statement(
            fabric_id=me.fabric_id,
            dialler_key=me.key,
            acceptor_key=self.acceptor_key,
            acceptor_nonce=challenge.nonce,
            dialler_nonce=self.nonce,
        )
        return Hello(
            versions=VERSIONS,
            fabric_id=me.fabric_id,
            key=me.key,
            nonce=self.nonce,
            instance=me.instance,
            boot_seq=me.boot_seq,
            signature=me.sign(statement),
            record=self.we.shown_record(),
            roots=_easily_sent(
                letters.roots_after(challenge.root_version, most_bytes=MOST_HELLO_ROOTS)
            ),
            root_version=letters.root_version,
            wants_record=isinstance(self.intent, Seed),
        )

    def judge_answer(self, answer: HelloOk, now: float) -> list[Effect]:
        if not VERSIONS[0] <= answer.version <= VERSIONS[1]:
            return [Refuse(Code.NO_COMMON_VERSION)]
        if self.acceptor_key == self.we.me.key:
            return [Refuse(self.we.own_key(answer.instance))]
        objection = self.we.letters.learn(answer.roots, answer.record, self.acceptor_key)
        member = self.we.roster.by_key(self.acceptor_key)
        if member is None:  # a stranger at a seed's address, or revoked
            return [Refuse(self.we.why_not(self.acceptor_key, objection))]
        claim = Claim(
            peer=member.node_id,
            instance=Instance(answer.instance),
            boot_seq=answer.boot_seq,
            dialler=self.we.me.node_id,
        )
        judgement = self.we.standings.judge(claim, now)
        if judgement.refusal is not None:
            return [Refuse(judgement.refusal)]
        return [Admit(member=member, claim=claim, version=answer.version, judgement=judgement)]

    def take_no(self, refused: Refused, _now: float) -> list[Effect]:
        we = self.we
        we.letters.learn(refused.roots, refused.record, self.acceptor_key, about=we.me.key)
        return [Refuse(Code.from_wire(refused.code), refused.reason, by_peer=True)]

    def miss_challenge(self, _event: TimedOut, _now: float) -> list[Effect]:
        return [Refuse(Code.NO_CHALLENGE)]

    def miss_answer(self, _event: TimedOut, _now: float) -> list[Effect]:
        return [Refuse(Code.HANDSHAKE_TIMEOUT, "Hello was not answered in time.")]


_Step: TypeAlias = Callable[..., list[Effect]]

ACCEPTOR: Final[Mapping[tuple[State, type], _Step]] = MappingProxyType(
    {
        (State.AWAITING_HELLO, Hello): Acceptor.judge_hello,
        (State.AWAITING_HELLO, TimedOut): Acceptor.give_up,
    }
)

DIALLER: Final[Mapping[tuple[State, type], _Step]] = MappingProxyType(
    {
        (State.AWAITING_CHALLENGE, Challenge): Dialler.answer_challenge,
        (State.AWAITING_CHALLENGE, TimedOut): Dialler.miss_challenge,
        (State.AWAITING_ANSWER, HelloOk): Dialler.judge_answer,
        (State.AWAITING_ANSWER, Refused): Dialler.take_no,
        (State.AWAITING_ANSWER, TimedOut): Dialler.miss_answer,
    }
)


def _if_it_fits(record: bytes) -> bytes:
    return record if len(record) <= MOST_HELLO_RECORD else b""


def _easily_sent(roots: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return the first of *roots*, and more as long as they do not make Hello large."""
    sizes = itertools.accumulate(map(len, roots))
    fitting = sum(size <= EASY_HELLO_ROOTS for size in sizes)
    return roots[: max(1, fitting)]


def _unexpected(event: Event, state: State) -> Refuse:
    return Refuse(Code.UNEXPECTED_FRAME, f"{type(event).__name__} while {state}")


def _state_after(effects: list[Effect], state: State) -> State:
    """The next state follows from what was decided: it cannot be forgotten in a step."""
    for effect in effects:
        match effect:
            case Admit():
                return State.ADMITTED
            case Refuse():
                return State.REFUSED
            case Send(Hello()):
                return State.AWAITING_ANSWER
    return state
