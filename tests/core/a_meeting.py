"""Nodes that meet without a wire: what each knows is in dictionaries, what is signed is signed."""

from collections.abc import Sequence
from functools import cache

from attrs import evolve

from fabric.codes import Code
from fabric.core.admission import (
    Acceptor,
    Admit,
    Dialler,
    Effect,
    Myself,
    Ourselves,
    Refuse,
    Send,
    State,
)
from fabric.core.clocks import Times
from fabric.core.codec.envelopes import pack_envelope, unpack_envelope
from fabric.core.envelope import Envelope
from fabric.core.frames import Challenge, Frame, Refused
from fabric.core.identity import FabricId, Instance, NodeId, NodeName, node_id_of
from fabric.core.records import NodeRecord, Role, RootKey
from fabric.core.roster import DialIntent, Direct, Member, Seed
from fabric.core.standing import Standings
from fabric.core.trust import Accepted, Rejected, Trust
from fabric.errors import RecordError
from fabric.testing.records import BORN, AFabric, a_key_of, id_of, public, role_keys

FABRIC = AFabric()
DIRECTORY = FABRIC.keys(Role.DIRECTORY)
LATER_DIRECTORY = a_key_of("directory/later")
"""Signs for the directory too, from the second trust root on."""

AT_A_SEED = Seed(("192.0.2.200", 4433))


@cache
def a_root(version: int) -> Envelope:
    """Return that version of the trust root: from the second on the directory has one more key."""
    first = FABRIC.root()
    if version == 1:
        return FABRIC.signed(first)
    later = {id_of(LATER_DIRECTORY): RootKey(key=public(LATER_DIRECTORY))}
    roles = {**first.roles, Role.DIRECTORY.value: role_keys([*DIRECTORY, LATER_DIRECTORY])}
    keys = {**first.keys, **later}
    return FABRIC.signed(evolve(first, version=version, keys=keys, roles=roles))


def packed_roots(first: int, last: int) -> tuple[bytes, ...]:
    return tuple(pack_envelope(a_root(version)) for version in range(first, last + 1))


def a_record(name: str, **fields: object) -> Envelope:
    return FABRIC.signed(FABRIC.node(name, **fields))


def member_of(record: NodeRecord) -> Member:
    return Member(name=NodeName(record.name), key=record.key_bytes, area=record.area)


class Acquaintances:
    """The roster and the letters of one node. What it is told counts if it verifies."""

    def __init__(self, me: NodeId, root_version: int) -> None:
        self.me = me
        self.trust = Trust(FABRIC.id, a_root(1))
        self.trust.adopt(map(a_root, range(2, root_version + 1)), Times(BORN))
        self.own = b""
        self.barred: dict[NodeId, Code] = {}
        self.records: dict[NodeId, NodeRecord] = {}
        self.tellers: list[NodeId] = []
        """Of whom anything was learnt, in order."""

    # -- who is known --
    def by_id(self, node: NodeId) -> Member | None:
        raise AssertionError("admission goes by keys")

    def by_key(self, key: bytes) -> Member | None:
        record = self.records.get(node_id_of(key))
        if record is None or record.revoked or record.subject in self.barred:
            return None
        return member_of(record)

    def why_not(self, key: bytes) -> Code:
        node = node_id_of(key)
        if node in self.barred:
            return self.barred[node]
        return Code.REVOKED if node in self.records else Code.UNKNOWN_KEY

    def members(self) -> list[Member]:
        return [member_of(each) for node, each in self.records.items() if node != self.me]

    def ways_to(self, member: Member) -> list[DialIntent]:
        return [Direct(member, ("192.0.2.1", 4433))]

    # -- what is brought along --
    @property
    def root_version(self) -> int:
        return self.trust.root.version

    def own_record(self) -> bytes:
        return self.own

    def roots_after(self, version: int, *, most_bytes: int) -> tuple[bytes, ...]:
        return self.trust.roots_after(version, room=most_bytes)

    def tombstone_of(self, key: bytes) -> bytes:
        held = self.records.get(node_id_of(key))
        return pack_envelope(FABRIC.signed(held)) if held and held.revoked else b""

    def learn(
        self, roots: Sequence[bytes], record: bytes, teller: bytes, about: bytes = b""
    ) -> Code | None:
        if roots or record:
            self.tellers.append(node_id_of(teller))
        for root in roots:
            if any(isinstance(each, Rejected) for each in self._adopt(root)):
                break
        return self.take(record, of=about or teller) if record else None

    def _adopt(self, root: bytes) -> list[object]:
        return [*self.trust.adopt([unpack_envelope(root)], Times(BORN))]

    def take(self, packed: bytes, of: bytes | None = None) -> Code | None:
        """Hold the node record that *packed* is, or return what speaks against it.

        *of*: the only key that it may be about.
        """
        try:
            verdict = self.trust.judge(unpack_envelope(packed), Times(BORN), key_of=lambda _: None)
        except RecordError as error:
            return error.code
        match verdict:
            case Rejected(code):
                return code
            case Accepted(NodeRecord() as record) if of in {None, record.key_bytes}:
                held = self.records.get(record.node_id)
                if held is None or held.order < record.order:
                    self.records[record.node_id] = record
                return None
        return Code.UNKNOWN_KEY

    def hold(self, *envelopes: Envelope) -> None:
        for envelope in envelopes:
            assert self.take(pack_envelope(envelope)) is None


class ANode:
    """One node: what it knows, its process, and the ends of connections that it makes of both.

    It holds its own record, unless *has_record* is false, and those of the nodes that it *knows*.
    """

    def __init__(
        self,
        name: str,
        *knows: str,
        root_version: int = 1,
        has_record: bool = True,
        process: int = 1,
    ) -> None:
        self.key = FABRIC.node_key(name)
        self.me = Myself(
            name=NodeName(name),
            key=public(self.key),
            fabric_id=FabricId(FABRIC.id),
            instance=Instance(bytes([process]) * 16),
            boot_seq=process,
            sign=lambda message: self.key.sign(message).signature,
        )
        self.knows = Acquaintances(self.id, root_version)
        self.standings = Standings(self.id)
        if has_record:
            self.carry(a_record(name))
        self.knows.hold(*map(a_record, knows))

    @property
    def id(self) -> NodeId:
        return self.me.node_id

    @property
    def we(self) -> Ourselves:
        return Ourselves(self.me, self.knows, self.knows, self.standings)

    def carry(self, record: Envelope) -> None:
        """Show *record* as its own from now on, and hold it if it verifies here."""
        self.knows.own = pack_envelope(record)
        self.knows.take(self.knows.own)

    def change(self, **fields: object) -> None:
        """Let this node say something else of itself."""
        self.me = evolve(self.me, **fields)

    def restart(self, process: int) -> None:
        """Be process number *process* from now on, which remembers no connection."""
        self.change(instance=Instance(bytes([process]) * 16), boot_seq=process)
        self.standings = Standings(self.id)

    def acceptor(self, nonce: bytes = b"a" * 32) -> Acceptor:
        return Acceptor(self.we, nonce)

    def dialler(self, to: "ANode", intent: DialIntent | None = None) -> Dialler:
        """Dial *to*, by its record unless *intent* says otherwise."""
        intent = intent or Direct(member_of(FABRIC.node(to.me.name)), ("192.0.2.1", 4433))
        return Dialler(self.we, intent, to.me.key, b"d" * 32)


def challenge_of(acceptor: Acceptor) -> Challenge:
    version = acceptor.we.letters.root_version
    return Challenge(nonce=acceptor.nonce, root_version=version)


def frame_in(effects: list[Effect]) -> Frame:
    (send,) = [effect for effect in effects if isinstance(effect, Send)]
    return send.frame


def hello_from(dialler: Dialler, acceptor: Acceptor) -> Frame:
    return frame_in(dialler.receive(challenge_of(acceptor), 0.0))


def answer_of(acceptor: Acceptor, effects: list[Effect]) -> Frame:
    """Return the frame that says what *acceptor* decided, as the shell would."""
    match effects:
        case [Refuse(code, detail)]:
            return Refused(
                code=code.value,
                reason=detail,
                roots=acceptor.missed_roots,
                record=acceptor.tombstone,
            )
    return frame_in(effects)


def talk(dialler: Dialler, acceptor: Acceptor, now: float = 0.0) -> list[Effect]:
    """Carry every frame across; return what the dialler, and then the acceptor, decided last."""
    accepted = acceptor.receive(hello_from(dialler, acceptor), now)
    return [*dialler.receive(answer_of(acceptor, accepted), now), *accepted]


def admitted(dialler: Dialler, acceptor: Acceptor, now: float = 0.0) -> tuple[Admit, Admit]:
    """Let both meet; return whom each admitted, the dialler's first."""
    (at_dialler, at_acceptor, _answer) = talk(dialler, acceptor, now)
    assert isinstance(at_dialler, Admit)
    assert isinstance(at_acceptor, Admit)
    assert dialler.state is acceptor.state is State.ADMITTED
    return at_dialler, at_acceptor


def refused_by_acceptor(dialler: Dialler, acceptor: Acceptor, now: float = 0.0) -> Code:
    """Let both meet; return why the acceptor said no, which is what the dialler was told."""
    (at_dialler, at_acceptor) = talk(dialler, acceptor, now)
    assert isinstance(at_acceptor, Refuse)
    assert at_dialler == Refuse(at_acceptor.code, by_peer=True)
    assert dialler.state is acceptor.state is State.REFUSED
    return at_acceptor.code


def refused_by_dialler(dialler: Dialler, acceptor: Acceptor, now: float = 0.0) -> Code:
    """Let both meet; return why the dialler said no to the answer."""
    (at_dialler, *_) = talk(dialler, acceptor, now)
    assert isinstance(at_dialler, Refuse)
    assert not at_dialler.by_peer
    return at_dialler.code
