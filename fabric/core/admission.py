"""Admission: how a connection with a stranger becomes one with a known peer.

Theory of operation
===================

The acceptor has proved its key in TLS; the dialler proves its own here, over a challenge that
only this acceptor made::

    acceptor                                      dialler
    Challenge{nonce}  ------------------------->  signs (fabric, both keys, both nonces)
    judges            <-------------------------  Hello{..., signature}
    HelloOk | Refused ------------------------->  judges

The acceptor's objections are raised in the order of :data:`OBJECTIONS`: what costs nothing
first, the signature (60 us) only for keys that are known, the standing only for keys that are
proved, so that nobody can displace a peer without its key. The dialler knows whom it reached by
the key that TLS proved, and judges version and standing by the same rules.

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
from fabric.core.frames import Challenge, Frame, Hello, HelloOk, Refused
from fabric.core.identity import FabricId, Instance, NodeId, NodeName, node_id_of
from fabric.core.proof import hello_statement, proves
from fabric.core.roster import DialIntent, Direct, Member, Roster
from fabric.core.standing import Claim, Judgement, Standings, Verdict

VERSIONS: Final = (1, 1)
"""Lowest and highest protocol version of this release."""

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

    me: Myself
    roster: Roster
    standings: Standings
    nonce: bytes
    """32 fresh random bytes, for this connection alone."""
    state: State = field(init=False, default=State.AWAITING_HELLO)
    claimant: str = field(init=False, default="")
    """Who the Hello *says* it is from, for the log alone: a known name, else the key's node id."""

    def challenge(self) -> Challenge:
        """Return what is sent at once, before anything is received."""
        return Challenge(nonce=self.nonce)

    def receive(self, event: Event, now: float) -> list[Effect]:
        """Take the step that the table names and return what follows from it."""
        step = ACCEPTOR.get((self.state, type(event)))
        effects: list[Effect] = (
            step(self, event, now) if step else [_unexpected(event, self.state)]
        )
        self.state = _state_after(effects, self.state)
        return effects

    def judge_hello(self, hello: Hello, now: float) -> list[Effect]:
        member, version = self.roster.by_key(hello.key), common_version(hello.versions)
        self.claimant = member.name if member else node_id_of(hello.key)
        for code, objects in OBJECTIONS:
            if objects(self, hello):
                return [Refuse(code)]
        assert member is not None  # or OBJECTIONS would have said so
        assert version is not None
        claim = Claim(
            peer=member.node_id,
            instance=Instance(hello.instance),
            boot_seq=hello.boot_seq,
            dialler=member.node_id,
        )
        judgement = self.standings.judge(claim, now)
        # A spare dial is the higher node id's, so this is the lower: its own dial has been
        # answered, and the spare one need not be kept for anything.
        refusal = Code.DUPLICATE if judgement.verdict is Verdict.SPARE else judgement.refusal
        if refusal is not None:
            return [Refuse(refusal)]
        answer = HelloOk(version=version, instance=self.me.instance, boot_seq=self.me.boot_seq)
        return [
            Admit(member=member, claim=claim, version=version, judgement=judgement),
            Send(answer),
        ]

    def give_up(self, _event: TimedOut, _now: float) -> list[Effect]:
        return [Refuse(Code.NO_HELLO)]


OBJECTIONS: Final[tuple[tuple[Code, Callable[[Acceptor, Hello], bool]], ...]] = (
    (Code.NO_COMMON_VERSION, lambda end, hello: common_version(hello.versions) is None),
    (Code.WRONG_FABRIC, lambda end, hello: hello.fabric_id != end.me.fabric_id),
    (Code.UNKNOWN_KEY, lambda end, hello: end.roster.by_key(hello.key) is None),
    (
        Code.BAD_PROOF,
        lambda end, hello: not proves(hello, acceptor_key=end.me.key, acceptor_nonce=end.nonce),
    ),
)
"""What speaks against a Hello, cheapest first. Standing is judged after all of them."""


@define
class Dialler:
    """The end that dialled."""

    me: Myself
    roster: Roster
    standings: Standings
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
        if (member := self._member()) is None:
            return [Refuse(Code.UNKNOWN_KEY)]
        if isinstance(self.intent, Direct) and self.intent.peer.key != member.key:
            return [Refuse(Code.PIN_MISMATCH)]
        statement = hello_statement(
            fabric_id=self.me.fabric_id,
            dialler_key=self.me.key,
            acceptor_key=self.acceptor_key,
            acceptor_nonce=challenge.nonce,
            dialler_nonce=self.nonce,
        )
        return [
            Send(
                Hello(
                    versions=VERSIONS,
                    fabric_id=self.me.fabric_id,
                    key=self.me.key,
                    nonce=self.nonce,
                    instance=self.me.instance,
                    boot_seq=self.me.boot_seq,
                    signature=self.me.sign(statement),
                )
            )
        ]

    def judge_answer(self, answer: HelloOk, now: float) -> list[Effect]:
        if (member := self._member()) is None:  # struck off while we waited
            return [Refuse(Code.UNKNOWN_KEY)]
        if not VERSIONS[0] <= answer.version <= VERSIONS[1]:
            return [Refuse(Code.NO_COMMON_VERSION)]
        claim = Claim(
            peer=member.node_id,
            instance=Instance(answer.instance),
            boot_seq=answer.boot_seq,
            dialler=self.me.node_id,
        )
        judgement = self.standings.judge(claim, now)
        if judgement.refusal is not None:
            return [Refuse(judgement.refusal)]
        return [Admit(member=member, claim=claim, version=answer.version, judgement=judgement)]

    def take_no(self, refused: Refused, _now: float) -> list[Effect]:
        return [Refuse(Code.from_wire(refused.code), refused.reason, by_peer=True)]

    def miss_challenge(self, _event: TimedOut, _now: float) -> list[Effect]:
        return [Refuse(Code.NO_CHALLENGE)]

    def miss_answer(self, _event: TimedOut, _now: float) -> list[Effect]:
        return [Refuse(Code.HANDSHAKE_TIMEOUT, "Hello was not answered in time.")]

    def _member(self) -> Member | None:
        return self.roster.by_key(self.acceptor_key)


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
