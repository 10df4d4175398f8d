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

Whoever is not known yet may bring its signed node record; whoever slept through changes of the
trust root is handed them, also with a refusal, and comes again. What is brought counts only once
the key behind the Hello is proved, and then as if any peer had told it.

Each machine is a table from (state, event) to the step taken; what is not in it is answered
with ``unexpected_frame``. Every step ends in effects for the shell: ``Send``, ``Admit``,
``Refuse``. Until ``Admit`` the shell delivers nothing from this connection to anybody.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from attrs import define, field, frozen

from fabric.codes import Code
from fabric.core.frames import (
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

MOST_ANSWER_ROOTS: Final = 256 << 10
"""Bytes of trust roots with an answer: from a node whose key is proved, to one that has shown
which version it holds."""

PATIENCE: Final = 5.0
"""Seconds for each thing that is awaited before admission."""


@frozen(kw_only=True)
class Myself:
    """This node, as it introduces itself."""

    name: NodeName
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
    missed_roots: tuple[bytes, ...] = field(init=False, default=())
    """Trust roots that a dialler with a proved key lacks: they go with a refusal too."""

    def receive(self, event: Event, now: float) -> list[Effect]:
        """Take the step that the table names and return what follows from it."""
        step = ACCEPTOR.get((self.state, type(event)))
        effects: list[Effect] = (
            step(self, event, now) if step else [_unexpected(event, self.state)]
        )
        self.state = _state_after(effects, self.state)
        return effects

    def judge_hello(self, hello: Hello, now: float) -> list[Effect]:
        self.claimant = self._name_of(hello.key)
        for code, objects in OBJECTIONS:
            if objects(self, hello):
                return [Refuse(code)]
        self.we.letters.learn(hello.roots, hello.record)
        self.missed_roots = self.we.letters.roots_after(
            hello.root_version, most_bytes=MOST_ANSWER_ROOTS
        )
        self.claimant = self._name_of(hello.key)
        member, version = self.we.roster.by_key(hello.key), common_version(hello.versions)
        if member is None:
            return [Refuse(self.we.roster.why_not(hello.key))]
        assert version is not None  # or OBJECTIONS would have said so
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
        answer = HelloOk(
            version=version,
            instance=self.we.me.instance,
            boot_seq=self.we.me.boot_seq,
            record=self.we.letters.own_record() if hello.wants_record else b"",
            roots=self.missed_roots,
        )
        return [
            Admit(member=member, claim=claim, version=version, judgement=judgement),
            Send(answer),
        ]

    def give_up(self, _event: TimedOut, _now: float) -> list[Effect]:
        return [Refuse(Code.NO_HELLO)]

    def _name_of(self, key: bytes) -> str:
        member = self.we.roster.by_key(key)
        return member.name if member else node_id_of(key)


OBJECTIONS: Final[tuple[tuple[Code, Callable[[Acceptor, Hello], bool]], ...]] = (
    (Code.NO_COMMON_VERSION, lambda end, hello: common_version(hello.versions) is None),
    (Code.WRONG_FABRIC, lambda end, hello: hello.fabric_id != end.we.me.fabric_id),
    (
        Code.UNKNOWN_KEY,
        lambda end, hello: not hello.record and end.we.roster.why_not(hello.key) is Code.UNKNOWN_KEY,
    ),
    (
        Code.BAD_PROOF,
        lambda end, hello: not proves(hello, acceptor_key=end.we.me.key, acceptor_nonce=end.nonce),
    ),
)
"""What speaks against a Hello, cheapest first. What it brings along is looked at after all of
them, and standing after that."""


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
        if isinstance(self.intent, Direct):
            if self.intent.peer.key != self.acceptor_key:
                return [Refuse(Code.PIN_MISMATCH)]
            if self._member() is None:  # revoked while we dialled
                return [Refuse(self.we.roster.why_not(self.acceptor_key))]
        statement = hello_statement(
            fabric_id=self.we.me.fabric_id,
            dialler_key=self.we.me.key,
            acceptor_key=self.acceptor_key,
            acceptor_nonce=challenge.nonce,
            dialler_nonce=self.nonce,
        )
        return [
            Send(
                Hello(
                    versions=VERSIONS,
                    fabric_id=self.we.me.fabric_id,
                    key=self.we.me.key,
                    nonce=self.nonce,
                    instance=self.we.me.instance,
                    boot_seq=self.we.me.boot_seq,
                    signature=self.we.me.sign(statement),
                    record=self._own_record(),
                    roots=self.we.letters.roots_after(
                        challenge.root_version, most_bytes=MOST_HELLO_ROOTS
                    ),
                    root_version=self.we.letters.root_version,
                    wants_record=isinstance(self.intent, Seed),
                )
            )
        ]

    def judge_answer(self, answer: HelloOk, now: float) -> list[Effect]:
        self.we.letters.learn(answer.roots, answer.record)
        if (member := self._member()) is None:  # a stranger at a seed's address, or revoked
            return [Refuse(self.we.roster.why_not(self.acceptor_key))]
        if not VERSIONS[0] <= answer.version <= VERSIONS[1]:
            return [Refuse(Code.NO_COMMON_VERSION)]
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
        self.we.letters.learn(refused.roots, b"")
        return [Refuse(Code.from_wire(refused.code), refused.reason, by_peer=True)]

    def miss_challenge(self, _event: TimedOut, _now: float) -> list[Effect]:
        return [Refuse(Code.NO_CHALLENGE)]

    def miss_answer(self, _event: TimedOut, _now: float) -> list[Effect]:
        return [Refuse(Code.HANDSHAKE_TIMEOUT, "Hello was not answered in time.")]

    def _own_record(self) -> bytes:
        record = self.we.letters.own_record()
        return record if len(record) <= MOST_HELLO_RECORD else b""

    def _member(self) -> Member | None:
        return self.we.roster.by_key(self.acceptor_key)


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
