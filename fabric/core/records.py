"""What is said about a fabric: every kind of record, who may say it, and which of two is newer.

Theory of operation
===================

A record says one thing about one *subject*; its key is (kind, subject). A record never changes: a
change is a new record of the same key with a higher *order*, and everybody keeps the highest.

====================  ==================  =====================  =================================
kind                  subject             author                 order
====================  ==================  =====================  =================================
``trust_root``        ``fabric``          root                   (0, version)
``node``              node id             directory              (epoch, generation)
``service``           service name        directory              (epoch, generation)
``control_endpoints``  ``fabric``         directory              (epoch, generation)
``policy``            ``fabric``          directory              (epoch, generation)
``endpoint``          node id             that node              (0, sequence)
``offers``            node id             that node              (0, sequence)
``sightings``         node id             that node, which saw   (0, sequence)
``update_intent``     component           intent                 (epoch, generation)
``update_head``       component           orchestrator, recovery  (epoch, generation)
``lease``             lease id            orchestrator           (epoch, generation)
``update_report``     node id             that node              (0, sequence)
====================  ==================  =====================  =================================

The last four are defined in :mod:`.update_records`; :mod:`.kinds` lists them all.

A *generation* is drawn by the control plane and counts one record's changes. A *sequence* is drawn
by a node for the records that it signs about itself. The two are different types on purpose: what
carries a sequence can never pass for what carries a generation.

A *tombstone* is a record with ``revoked``: it says that its subject is no more, keeps the other
fields as they were, and outlives everything that it ends.

Records of later releases that this one cannot interpret are :class:`Opaque`: kept and passed on.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, ClassVar, Final, NamedTuple, NewType, TypeAlias

from attrs import field, frozen

from fabric.core.access import LONGEST_SELECTOR, MOST_SELECTORS, parse_selector
from fabric.core.identity import KEY_BYTES, NodeId, is_valid_key, node_id_of
from fabric.core.shapes import (
    ascending,
    instance,
    mapping,
    maybe,
    number,
    octets,
    sequence,
    text,
    truth,
)

KeyId = NewType("KeyId", str)
"""Names a signing key: made of the key as a node id is, so that a node's key id is its node id."""


def key_id_of(public_key: bytes) -> KeyId:
    """Return the id of the signing key *public_key*."""
    return KeyId(node_id_of(public_key))


Order: TypeAlias = tuple[int, int]
"""(epoch, generation), or (0, sequence): the higher of two at one key is the newer."""

FABRIC: Final = "fabric"
"""The subject of what is said about the fabric as a whole."""

DAY: Final = 86_400
"""Seconds. Records count in whole ones."""

MOST_BYTES: Final = 64 << 10
"""Of the payload of a record that the control plane signs."""

MOST_OWN_BYTES: Final = 8 << 10
"""Of the payload of a record that a node signs about itself."""

MOST_NAME: Final = 64
MOST_OFFERS: Final = 64
MOST_CANDIDATES: Final = 8
MOST_SIGHTINGS: Final = 64


class Role(enum.StrEnum):
    """Whose keys a trust root names."""

    ROOT = "root"
    DIRECTORY = "directory"
    INTENT = "intent"
    ORCHESTRATOR = "orchestrator"
    RECOVERY = "recovery"


NODE: Final = "node"
"""Author of what a node says about itself: the key of its own node record."""


class Key(NamedTuple):
    """What a record is about. Written ``kind/subject``."""

    kind: str
    subject: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.subject}"

    @classmethod
    def parse(cls, text: str) -> Key:
        """Return the key that *text* spells, or raise :exc:`ValueError`."""
        kind, slash, subject = text.partition("/")
        if not (kind and slash and subject):
            raise ValueError(f"{text!r} is not a record's key; write KIND/SUBJECT")
        return cls(kind, subject)


_NAME = text(most=MOST_NAME)
_LABEL = text(least=0, most=MOST_NAME)
_ID = text(most=MOST_NAME)


def selectors(record: object, attribute: Any, value: Any) -> None:  # noqa: ANN401 -- attrs
    """At most 64 selectors, each one that this release understands."""
    sequence(text(most=LONGEST_SELECTOR), most=MOST_SELECTORS)(record, attribute, value)
    for each in value:
        parse_selector(each)


# -- what all records have --
@frozen(kw_only=True)
class Record:
    """What every record has, whatever it says. Times are unix seconds."""

    KIND: ClassVar[str]
    VERSION: ClassVar[int] = 1
    """The highest ``v`` that this release interprets."""
    AUTHOR: ClassVar[str]
    """A :class:`Role`, or :data:`NODE`."""
    LIFE: ClassVar[int] = 90 * DAY
    """Seconds from ``issued_at`` to ``expires_at`` that authors choose unless they are told."""

    v: int = field(validator=number(least=1, most=2**31), default=1)
    """Version of this kind's meaning. Fields may be added without raising it; values that an
    older release would refuse may not."""
    fabric: bytes = field(validator=octets(16))
    """The fabric's id: what was signed for one fabric says nothing in another."""
    subject: str = field(validator=_ID)
    issued_at: int = field(validator=number(most=2**53 - 1))
    expires_at: int = field(validator=number(most=2**53 - 1))
    revoked: bool = field(validator=truth, default=False)
    crit: tuple[str, ...] = field(validator=ascending(_NAME, most=32), default=())
    """Fields that a reader has to understand, or else must not use the record."""

    def __attrs_post_init__(self) -> None:
        if self.expires_at <= self.issued_at:
            raise ValueError("expires_at is not after issued_at")
        self.check()

    def check(self) -> None:
        """Raise :exc:`ValueError` for what single fields cannot tell."""

    @property
    def key(self) -> Key:
        return Key(self.KIND, self.subject)

    @property
    def authors(self) -> tuple[str, ...]:
        """Roles of which one has to have signed this, or :data:`NODE`."""
        return (self.AUTHOR,)

    @property
    def order(self) -> Order:
        """Which of two records of one key is the newer."""
        # Not abstract: a bare Record is a type to ask for, and nobody makes one.
        raise NotImplementedError


def about_the_fabric(record: Record) -> None:
    """Raise :exc:`ValueError` unless *record* is about the fabric as a whole."""
    if record.subject != FABRIC:
        raise ValueError(f"the subject of a {record.KIND} record is {FABRIC!r}")


@frozen(kw_only=True)
class Authored(Record):
    """Signed by keys that the trust root names."""

    epoch: int = field(validator=number(most=2**31))
    """Raised when the control plane may have lost count: after a restored backup."""
    generation: int = field(validator=number(least=1, most=2**53 - 1))

    @property
    def order(self) -> Order:
        return self.epoch, self.generation


@frozen(kw_only=True)
class OwnWord(Record):
    """Signed by the node that it is about, with its identity key."""

    AUTHOR = NODE
    LIFE = 7 * DAY
    sequence: int = field(validator=number(least=1, most=2**53 - 1))

    @property
    def order(self) -> Order:
        return 0, self.sequence


# -- said by the root --
class KeyState(enum.StrEnum):
    """What a trust root says of a key."""

    ACTIVE = "active"
    RETIRED = "retired"
    """What it signed stays valid until it expires; nothing new is taken."""
    COMPROMISED = "compromised"
    """Nothing that it signed counts, from now on."""


@frozen(kw_only=True)
class RootKey:
    """One key of a trust root."""

    key: bytes = field(validator=octets(KEY_BYTES))
    state: KeyState = field(validator=instance(KeyState), default=KeyState.ACTIVE)

    def __attrs_post_init__(self) -> None:
        if not is_valid_key(self.key):
            raise ValueError("a key is not a valid point")


@frozen(kw_only=True)
class RoleKeys:
    """Which keys act for a role, and how many distinct ones it takes."""

    keys: tuple[str, ...] = field(validator=ascending(_ID, most=64))
    threshold: int = field(validator=number(least=1, most=64))

    def __attrs_post_init__(self) -> None:
        if self.threshold > len(self.keys):
            raise ValueError("a threshold is higher than the number of keys")


@frozen(kw_only=True)
class TrustRoot(Record):
    """Who may sign what. Version N+1 is signed by the threshold of N and of N+1."""

    KIND = "trust_root"
    AUTHOR = Role.ROOT
    LIFE = 3650 * DAY
    version: int = field(validator=number(least=1, most=2**31))
    keys: Mapping[str, RootKey] = field(validator=mapping(_ID, instance(RootKey), most=256))
    """Every key by its id, also those that no role uses any more."""
    roles: Mapping[str, RoleKeys] = field(validator=mapping(_NAME, instance(RoleKeys), most=16))
    first_epoch: int = field(validator=number(most=2**31), default=0)
    last_epoch: int = field(validator=number(most=2**31), default=0)
    """The epochs, both included, in which the directory may sign."""

    @property
    def order(self) -> Order:
        return 0, self.version

    def check(self) -> None:
        about_the_fabric(self)
        for key_id, key in self.keys.items():
            if key_id != node_id_of(key.key):
                raise ValueError(f"{key_id} is not the id of its key")
        for role, held in self.roles.items():
            if missing := [each for each in held.keys if each not in self.keys]:
                raise ValueError(f"role {role} names unknown keys: {', '.join(missing)}")
        if Role.ROOT not in self.roles or Role.DIRECTORY not in self.roles:
            raise ValueError("a trust root names the roles root and directory")
        if self.first_epoch > self.last_epoch:
            raise ValueError("the last epoch is before the first")


# -- said by the directory --
@frozen(kw_only=True)
class NodeRecord(Authored):
    """One node: its key, its name and its labels. A node cannot say any of it itself."""

    KIND = "node"
    AUTHOR = Role.DIRECTORY
    name: str = field(validator=_NAME)
    key_bytes: bytes = field(validator=octets(KEY_BYTES))
    """Its Ed25519 public key; ``key`` on the wire."""
    roles: tuple[str, ...] = field(validator=ascending(_NAME, most=32), default=())
    labels: Mapping[str, str] = field(validator=mapping(_NAME, _LABEL, most=32), factory=dict)
    area: str = field(validator=_NAME)
    """Region or failure area."""
    site_id: str = field(validator=_LABEL, default="")
    """Nodes that fail together."""
    locality_group: str = field(validator=_LABEL, default="")
    """Nodes that reach each other by private addresses."""
    nat_group: str = field(validator=_LABEL, default="")
    """Nodes behind one public edge; empty for a node with a public address of its own."""
    critical: bool = field(validator=truth, default=False)

    def check(self) -> None:
        if not is_valid_key(self.key_bytes):
            raise ValueError("the key is not a valid point")
        if self.subject != node_id_of(self.key_bytes):
            raise ValueError("the subject is not the id of the key")

    @property
    def node_id(self) -> NodeId:
        return NodeId(self.subject)


@frozen(kw_only=True)
class ServiceRecord(Authored):
    """One service: who may offer it, who may open it."""

    KIND = "service"
    AUTHOR = Role.DIRECTORY
    offer_by: tuple[str, ...] = field(validator=selectors, default=())
    """Selectors of nodes that may offer it; empty is nobody."""
    open_to: tuple[str, ...] = field(validator=selectors, default=())
    """Selectors of nodes that may open it; empty is nobody."""
    edge_exposable: bool = field(validator=truth, default=False)
    core: bool = field(validator=truth, default=False)
    """Whether the fabric counts as active only while this service is."""
    max_channels: int = field(validator=number(most=2**31), default=0)
    """At one node at once; 0 leaves it to the node."""


@frozen(kw_only=True)
class ControlEndpoint:
    """One way to the Control API: a fabric service, or an HTTPS address with its key pins."""

    url: str = field(validator=text(most=256))
    pins: tuple[bytes, ...] = field(validator=sequence(octets(32), most=8), default=())


@frozen(kw_only=True)
class ControlEndpoints(Authored):
    """Where the Control API is, best first; and where it is no more."""

    KIND = "control_endpoints"
    AUTHOR = Role.DIRECTORY
    canonical: tuple[ControlEndpoint, ...] = field(
        validator=sequence(instance(ControlEndpoint), most=16), default=()
    )
    retired: tuple[str, ...] = field(validator=ascending(text(most=256), most=64), default=())

    def check(self) -> None:
        about_the_fabric(self)


@frozen(kw_only=True)
class Targets:
    """How many of each kind of peer a node should have ready."""

    direct: int = field(validator=number(most=64), default=2)
    external_areas: int = field(validator=number(most=64), default=1)
    independent_ingress: int = field(validator=number(most=64), default=1)
    recovery: int = field(validator=number(most=64), default=1)


@frozen(kw_only=True)
class Policy(Authored):
    """Bounds and targets that hold for every node of the fabric."""

    KIND = "policy"
    AUTHOR = Role.DIRECTORY
    fanout: int = field(validator=number(least=1, most=16), default=5)
    """Peers that one node forwards a record to. Raising it costs copies, not rounds."""
    hops: int = field(validator=number(least=1, most=32), default=8)
    """Forwardings that a wave may go through. Eight times five reaches far beyond any fleet
    tried; anti-entropy repairs what a wave misses."""
    full_mesh_up_to: int = field(validator=number(least=2, most=256), default=16)
    """Nodes, this one included, up to which each keeps a connection to every other."""
    degree: int = field(validator=number(least=3, most=64), default=8)
    """Peers that a node of a larger fleet keeps; diversity may take more."""
    targets: Mapping[str, Targets] = field(
        validator=mapping(_NAME, instance(Targets), most=32), factory=dict
    )
    """By role; ``critical`` and ``default`` stand for nodes so marked and for all others."""

    def check(self) -> None:
        about_the_fabric(self)


# -- said by a node about itself --
class CandidateKind(enum.StrEnum):
    """Where an address belongs (ICE's word for it)."""

    HOST = "host"
    PUBLIC = "public"
    OBSERVED = "observed"
    RELAY = "relay"


@frozen(kw_only=True)
class Candidate:
    """An address at which the node may be reached."""

    address: str = field(validator=text(most=80))
    """``host:port``, IPv6 in brackets."""
    kind: CandidateKind = field(validator=instance(CandidateKind))
    scope: str = field(validator=_LABEL, default="")
    """The locality group that a private address belongs to; empty for a public one."""
    provenance: str = field(validator=_LABEL, default="configured")
    """``interface``, ``configured``, or the node id of who observed it."""


@frozen(kw_only=True)
class Reservation:
    """A relay that will carry connections to the node."""

    relay: str = field(validator=_ID)
    address: str = field(validator=text(most=80))


@frozen(kw_only=True)
class EndpointRecord(OwnWord):
    """Where a node may be reached, as it says itself: a hint, for its key is what proves it."""

    KIND = "endpoint"
    candidates: tuple[Candidate, ...] = field(
        validator=sequence(instance(Candidate), most=MOST_CANDIDATES), default=()
    )
    reservations: tuple[Reservation, ...] = field(
        validator=sequence(instance(Reservation), most=4), default=()
    )
    probe_key: bytes | None = field(validator=maybe(octets(32)), default=None)
    """X25519; for path probes."""


@frozen(kw_only=True)
class OffersRecord(OwnWord):
    """The services that a node serves now. Load is no part of it: it changes too often."""

    KIND = "offers"
    services: tuple[str, ...] = field(validator=ascending(_NAME, most=MOST_OFFERS), default=())


@frozen(kw_only=True)
class Sighting:
    """A public address of another node that the observer reached."""

    node: str = field(validator=_ID)
    address: str = field(validator=text(most=80))
    at: int = field(validator=number(most=2**53 - 1))


@frozen(kw_only=True)
class SightingsRecord(OwnWord):
    """What a node reached from where it is: the one observation that is published."""

    KIND = "sightings"
    seen: tuple[Sighting, ...] = field(
        validator=sequence(instance(Sighting), most=MOST_SIGHTINGS), default=()
    )


# -- not understood here --
@frozen(kw_only=True)
class Opaque(Record):
    """A record of a later release, maybe of a known kind: kept, passed on, never used."""

    kind: str = field(validator=_NAME)
    ordered: Order = field(validator=sequence(number(most=2**53 - 1), least=2, most=2))
    own_word: bool = field(validator=truth)
    """Whether it carries a sequence, and so is a node's word about itself."""
    author: str = field(validator=_LABEL, default="")
    """That of the kind, where the kind is known."""

    def check(self) -> None:
        if "/" in self.kind:
            raise ValueError("a kind has no slash in it")

    @property
    def key(self) -> Key:
        return Key(self.kind, self.subject)

    @property
    def authors(self) -> tuple[str, ...]:
        return (self.author or (NODE if self.own_word else Role.DIRECTORY),)

    @property
    def order(self) -> Order:
        return self.ordered
