"""A fabric made of nothing but keys that are the same every time, and what it says, signed.

A test that needs records makes one :class:`AFabric` and names only what it is about::

    fabric = AFabric()
    home = fabric.node("home-1", area="home")
    envelope = fabric.signed(home)
    root = fabric.signed(fabric.root())
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from nacl.signing import SigningKey

from fabric.core.codec.records import encode_record
from fabric.core.envelope import Envelope, sign_payload
from fabric.core.identity import NodeId, node_id_of
from fabric.core.records import (
    DAY,
    FABRIC,
    NODE,
    Candidate,
    CandidateKind,
    ControlEndpoint,
    ControlEndpoints,
    EndpointRecord,
    KeyId,
    NodeRecord,
    OffersRecord,
    Policy,
    Record,
    Reservation,
    Role,
    RoleKeys,
    RootKey,
    ServiceRecord,
    Sighting,
    SightingsRecord,
    Targets,
    TrustRoot,
    key_id_of,
)
from fabric.core.update_records import (
    Artifact,
    Caps,
    HeadState,
    HealthRule,
    Lease,
    Member,
    Phase,
    StopRule,
    Strategy,
    Target,
    UpdateHead,
    UpdateIntent,
    UpdateReport,
    UpdateState,
)
from fabric.testing.factories import FABRIC_ID

RecordT = TypeVar("RecordT", bound=Record)

BORN: Final = 1_800_000_000
"""Unix seconds: what records are dated unless a test says otherwise."""

HOLDERS: Final[Mapping[Role, tuple[int, int]]] = {
    Role.ROOT: (3, 2),
    Role.DIRECTORY: (2, 1),
    Role.INTENT: (3, 2),
    Role.ORCHESTRATOR: (1, 1),
    Role.RECOVERY: (3, 2),
}
"""How many keys each role has, and how many of them it takes."""


def a_key_of(name: str) -> SigningKey:
    """Return the same key for the same *name*: ``root/0``, ``node/home-1``, or any other."""
    return SigningKey(hashlib.blake2b(name.encode(), digest_size=32).digest())


def public(key: SigningKey) -> bytes:
    """Return the 32 public bytes of *key*."""
    return bytes(key.verify_key)


def id_of(key: SigningKey) -> KeyId:
    """Return the id of *key*, which for a node's key is the node's id."""
    return key_id_of(public(key))


def signed(record: Record | bytes, *keys: SigningKey) -> Envelope:
    """Return *record*, or the payload given, signed by *keys*, whether or not they may."""
    payload = record if isinstance(record, bytes) else encode_record(record)
    envelope = sign_payload(payload, public(keys[0]), _signing(keys[0]))
    for key in keys[1:]:
        envelope = envelope.with_signature(public(key), _signing(key))
    return envelope


def _signing(key: SigningKey) -> Callable[[bytes], bytes]:
    return lambda message: key.sign(message).signature


def payload_with(record: Record, **fields: Any) -> bytes:  # noqa: ANN401 -- any JSON
    """Return *record* canonically written with *fields* over its own, as a later release might."""
    plain = json.loads(encode_record(record)) | fields
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


class AFabric:
    """Keys of every role, and valid records of every kind, dated *now*.

    Each method that makes a record takes any field of it by name. Generations and sequences are 1
    unless given.
    """

    def __init__(self, fabric_id: bytes = FABRIC_ID, *, now: int = BORN) -> None:
        self.id = fabric_id
        self.now = now
        """Changed at will: what is made next is dated so."""
        self._nodes: dict[str, SigningKey] = {}

    # -- keys --
    def keys(self, role: Role) -> tuple[SigningKey, ...]:
        """Return all keys of *role*."""
        number, _threshold = HOLDERS[role]
        return tuple(a_key_of(f"{role}/{index}") for index in range(number))

    def enough(self, role: Role) -> tuple[SigningKey, ...]:
        """Return as many keys of *role* as its threshold takes."""
        return self.keys(role)[: HOLDERS[role][1]]

    def node_key(self, name: str) -> SigningKey:
        """Return the identity key of the node that is called *name*."""
        key = a_key_of(f"node/{name}")
        self._nodes[id_of(key)] = key
        return key

    def node_id(self, name: str) -> NodeId:
        return node_id_of(public(self.node_key(name)))

    # -- signing --
    def signed(self, record: Record, *keys: SigningKey) -> Envelope:
        """Return *record* signed by *keys*; by its rightful author where none are named.

        A node's own word is signed by that node, if this fabric has ever named it.
        """
        return signed(record, *(keys or self._authors_of(record)))

    def _authors_of(self, record: Record) -> tuple[SigningKey, ...]:
        author = record.authors[0]
        return (self._nodes[record.subject],) if author == NODE else self.enough(Role(author))

    # -- said by the root and by the directory --
    def root(self, **fields: Any) -> TrustRoot:  # noqa: ANN401 -- any field
        """Return version 1 of the trust root, in which every key is active."""
        keys = {
            id_of(key): RootKey(key=public(key)) for role in HOLDERS for key in self.keys(role)
        }
        roles = {
            str(role): role_keys(self.keys(role), threshold)
            for role, (_number, threshold) in HOLDERS.items()
        }
        return self._make(
            TrustRoot, {"subject": FABRIC, "version": 1, "keys": keys, "roles": roles}, fields
        )

    def node(self, name: str, **fields: Any) -> NodeRecord:  # noqa: ANN401 -- any field
        """Return the record of the node *name*, in area ``home`` unless told."""
        key = public(self.node_key(name))
        usual = {"subject": node_id_of(key), "name": name, "key_bytes": key, "area": "home"}
        return self._make(NodeRecord, usual, fields)

    def service(self, name: str, **fields: Any) -> ServiceRecord:  # noqa: ANN401 -- any field
        """Return a service that any node may offer and open, unless told."""
        usual = {"subject": name, "offer_by": ("any",), "open_to": ("any",)}
        return self._make(ServiceRecord, usual, fields)

    def control_endpoints(self, **fields: Any) -> ControlEndpoints:  # noqa: ANN401 -- any field
        return self._make(ControlEndpoints, {"subject": FABRIC}, fields)

    def policy(self, **fields: Any) -> Policy:  # noqa: ANN401 -- any field
        return self._make(Policy, {"subject": FABRIC}, fields)

    # -- said by a node --
    def endpoint(self, name: str, *addresses: str, **fields: Any) -> EndpointRecord:  # noqa: ANN401
        """Return what the node *name* says of where it is: at public *addresses*."""
        candidates = tuple(
            Candidate(address=each, kind=CandidateKind.PUBLIC) for each in addresses
        )
        usual = {"subject": self.node_id(name), "candidates": candidates}
        return self._make(EndpointRecord, usual, fields)

    def offers(self, name: str, *services: str, **fields: Any) -> OffersRecord:  # noqa: ANN401
        usual = {"subject": self.node_id(name), "services": tuple(sorted(services))}
        return self._make(OffersRecord, usual, fields)

    def sightings(self, name: str, *seen: Sighting, **fields: Any) -> SightingsRecord:  # noqa: ANN401
        return self._make(SightingsRecord, {"subject": self.node_id(name), "seen": seen}, fields)

    def report(self, name: str, **fields: Any) -> UpdateReport:  # noqa: ANN401 -- any field
        usual = {"subject": self.node_id(name), "state": UpdateState.IDLE, "boot_id": b"b" * 16}
        return self._make(UpdateReport, usual, fields)

    # -- said about updates --
    def intent(self, *names: str, **fields: Any) -> UpdateIntent:  # noqa: ANN401 -- any field
        """Return an intent for the nodes *names*, all of area ``home``."""
        members = (Member(node=self.node_id(name), area="home") for name in names or ("home-1",))
        usual = {
            "subject": "fabric",
            "phase": Phase.NODE_AGENT,
            "not_before": self.now,
            "target": Target(version="2.0.0", release_seq=2, artifacts=(an_artifact(),)),
            "scope": tuple(sorted(members, key=lambda member: member.node)),
            "strategy": Strategy.CANARY,
        }
        return self._make(UpdateIntent, usual, fields)

    def head(self, **fields: Any) -> UpdateHead:  # noqa: ANN401 -- any field
        usual = {
            "subject": "fabric",
            "intent_id": b"i" * 32,
            "state": HeadState.RUN,
            "audit_head": b"a" * 32,
        }
        return self._make(UpdateHead, usual, fields)

    def lease(self, name: str, **fields: Any) -> Lease:  # noqa: ANN401 -- any field
        usual = {
            "subject": "lease-1",
            "intent_id": b"i" * 32,
            "node": self.node_id(name),
            "phase": Phase.NODE_AGENT,
            "token": 1,
            "slots": {"fleet": 0},
            "request_nonce": b"n" * 16,
            "boot_id": b"b" * 16,
        }
        return self._make(Lease, usual, fields)

    def _make(self, kind: type[RecordT], usual: dict[str, Any], fields: dict[str, Any]) -> RecordT:
        """Return a record of *kind*: what every record has, *usual*, and *fields* over both."""
        order = {"sequence": 1} if kind.AUTHOR == NODE else {"epoch": 0, "generation": 1}
        every = {} if issubclass(kind, TrustRoot) else order
        born = fields.get("issued_at", self.now)
        dates = {"issued_at": born, "expires_at": born + kind.LIFE}
        return kind(**{"fabric": self.id, **every, **dates, **usual, **fields})


def role_keys(keys: Iterable[SigningKey], threshold: int = 1) -> RoleKeys:
    """Return that *keys* hold a role, of which *threshold* have to sign."""
    return RoleKeys(keys=tuple(sorted(id_of(key) for key in keys)), threshold=threshold)


def an_artifact() -> Artifact:
    """Return a release of one and a half chunks."""
    return Artifact(
        platform="linux-x86_64", size=3 << 19, sha256=b"s" * 32, chunks=(b"1" * 32, b"2" * 32)
    )


def some_bare_records(fabric: AFabric | None = None) -> tuple[Record, ...]:
    """Return one record of every kind, with every field that has a default left at it."""
    fabric = fabric or AFabric()
    return (
        fabric.root(),
        fabric.node("home-1"),
        fabric.service("demo", offer_by=(), open_to=()),
        fabric.control_endpoints(),
        fabric.policy(),
        fabric.endpoint("home-1"),
        fabric.offers("home-1"),
        fabric.sightings("home-1"),
        fabric.intent("home-1"),
        fabric.head(),
        fabric.lease("home-1"),
        fabric.report("home-1"),
    )


def later_payloads(fabric: AFabric | None = None) -> dict[str, bytes]:
    """Return what later releases might write, by what is new about it."""
    fabric = fabric or AFabric()
    node, offers = fabric.node("home-1"), fabric.offers("home-1", "demo")
    new = {"power": {"battery_minutes": 40, "phases": [1, 3]}}
    return {
        "a field": payload_with(node, **new),
        "a field inside a field": payload_with(
            fabric.endpoint("home-1", "192.0.2.7:4433"),
            candidates=[{"address": "192.0.2.7:4433", "cost": 3, "kind": "public"}],
        ),
        "a critical field": payload_with(node, **new, crit=["power"]),
        "a tombstone with a critical field": payload_with(
            node, **new, crit=["power"], generation=2, revoked=True
        ),
        "a higher v": payload_with(node, v=2, area=["home", "cellar"]),
        "a higher v of a node's own word": payload_with(offers, v=2, services={"demo": 1}),
        "a kind of the directory": payload_with(fabric.policy(), kind="weather", sky="clear"),
        "a kind of a node": payload_with(offers, kind="mood", services=None),
        "a kind with a version": payload_with(
            fabric.root(), kind="charter", keys=[], roles=[], version=12
        ),
    }


def some_records(fabric: AFabric | None = None) -> tuple[Record, ...]:
    """Return one record of every kind, with every field filled that has a default."""
    fabric = fabric or AFabric()
    return (*_said_by_the_fabric(fabric), *_said_by_a_node(fabric), *_said_of_updates(fabric))


def _said_by_the_fabric(fabric: AFabric) -> tuple[Record, ...]:
    odd = {"crit": ("subject",), "revoked": True, "epoch": 1, "generation": 7}
    return (
        fabric.root(crit=("keys", "roles"), revoked=True, version=2, first_epoch=1, last_epoch=3),
        fabric.node(
            "home-1",
            **odd,
            roles=("egress", "ingress"),
            labels={"tier": "gold"},
            site_id="cellar",
            locality_group="lan-1",
            nat_group="dsl-1",
            critical=True,
        ),
        fabric.service(
            "demo",
            **odd,
            offer_by=("role:egress",),
            open_to=("area:home", "label:tier=gold"),
            edge_exposable=True,
            core=True,
            max_channels=100,
        ),
        fabric.control_endpoints(
            **odd,
            canonical=(
                ControlEndpoint(url="fabric:control-api"),
                ControlEndpoint(url="https://control.example/", pins=(b"p" * 32,)),
            ),
            retired=("https://old.example/",),
        ),
        fabric.policy(
            **odd,
            fanout=4,
            hops=9,
            full_mesh_up_to=12,
            degree=7,
            targets={
                "default": Targets(),
                "relay": Targets(direct=3, external_areas=2, independent_ingress=4, recovery=5),
            },
        ),
    )


def _said_by_a_node(fabric: AFabric) -> tuple[Record, ...]:
    odd = {"crit": ("subject",), "revoked": True, "sequence": BORN + 7}
    candidate = Candidate(
        address="10.0.0.7:4433",
        kind=CandidateKind.HOST,
        scope="lan-1",
        provenance="interface",
    )
    public_one = Candidate(address="[2001:db8::7]:4433", kind=CandidateKind.PUBLIC)
    relay = Reservation(relay=fabric.node_id("relay-1"), address="192.0.2.9:4433")
    seen = Sighting(node=fabric.node_id("away-1"), address="198.51.100.4:4433", at=BORN - DAY)
    return (
        fabric.endpoint(
            "home-1",
            **odd,
            candidates=(candidate, public_one),
            reservations=(relay,),
            probe_key=b"x" * 32,
        ),
        fabric.offers("home-1", "demo", "logs", **odd),
        fabric.sightings("home-1", seen, **odd),
        fabric.report(
            "home-1",
            **odd,
            state=UpdateState.LEASED,
            reason="waiting for its turn",
            intent_id=b"i" * 32,
            request_nonce=b"n" * 16,
            lease_id="lease-1",
            token=5,
            slots={"area:home": 1, "fleet": 0},
            running_digest=b"d" * 32,
            health={"peers": 3},
        ),
    )


def _said_of_updates(fabric: AFabric) -> tuple[Record, ...]:
    odd = {"crit": ("subject",), "revoked": True, "epoch": 1, "generation": 7}
    target = Target(
        version="2.0.0",
        release_seq=20,
        artifacts=(an_artifact(),),
        floors={"node-agent": 12},
        rollback_safe=False,
    )
    member = Member(
        node=fabric.node_id("home-1"), area="home", site_id="cellar", nat_group="dsl-1"
    )
    return (
        fabric.intent(
            **odd,
            phase=Phase.HOST_AGENT,
            prev_intent_id=b"h" * 32,
            target=target,
            scope=(member,),
            selector="area:home",
            strategy=Strategy.FORCED_NODE,
            caps=Caps(fleet=4, area=3, site=2, nat_group=5),
            max_unavailable=2,
            min_ready={"ingress": 1},
            allow_role_outage=True,
            turns=("egress", "ingress"),
            health=HealthRule(
                probes=("demo",), deadline=300, bake=400, canary_bake=900, crash_limit=1
            ),
            stop=StopRule(canary_rollbacks=2, failures=3, failure_percent=20, minimum_sample=5),
        ),
        fabric.head(**odd, state=HeadState.PAUSE),
        fabric.lease("home-1", **odd, start_by=60, complete_by=500),
    )
