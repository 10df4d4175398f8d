"""Who signs what in a simulated fabric, and what all of its nodes find out only once.

Verifying a signature takes 50 us, and a thousand nodes verify the same ones. What one of them
found to be good, by the same bytes under the same trust root, is remembered for all: it follows
from those, and from whether a node knows the author, which each is asked itself. What each would
have had to verify is counted.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field

from fabric.codes import Code
from fabric.core.clocks import Times
from fabric.core.envelope import Envelope
from fabric.core.frames import Alive
from fabric.core.identity import FabricId, NodeId, has_signed
from fabric.core.lifetimes import judge_dates
from fabric.core.own_life import first_incarnation
from fabric.core.records import NODE, Record, TrustRoot
from fabric.core.testimony import Context, statement
from fabric.core.trust import KeyOf, Trust
from fabric.core.verdicts import Rejected, Verdict
from fabric.testing.records import AFabric

AREAS = ("north", "east", "south", "west")
"""Nodes of a simulated fabric take turns in them."""


@define(eq=False)
class Found:
    """What was found out about signatures, by whichever node came first."""

    records: dict[tuple[bytes, bytes, bool], Record] = field(init=False, factory=dict)
    """What counts, by verdict key, digest of the trust root, and whether it was held already."""
    _words: dict[tuple[bytes, bytes, bytes], bool] = field(init=False, factory=dict)

    def has_signed(self, key: bytes, message: bytes, signature: bytes) -> bool:
        """As :func:`fabric.core.identity.has_signed`."""
        word = (key, message, signature)
        if word not in self._words:
            self._words[word] = has_signed(key, message, signature)
        return self._words[word]


class SharedTrust(Trust):
    """A node's :class:`~fabric.core.trust.Trust`, which looks up what another node found."""

    def __init__(self, fabric_id: bytes, root: Envelope, found: Found) -> None:
        super().__init__(fabric_id, root)
        self._found = found
        self._mine: set[bytes] = set()
        """Envelopes that this node has verified, by verdict key."""
        self.verified = 0
        """Signatures that this node has verified, or would have."""

    def judge(
        self, envelope: Envelope, now: Times, *, key_of: KeyOf, held: bool = False
    ) -> Verdict:
        verdict_key = envelope.verdict_key
        if verdict_key not in self._mine:
            self.verified += len(envelope.signatures)
        place = (verdict_key, self.chain[-1].digest, held)
        found = self._found.records.get(place)
        if found is not None and _is_known(found, key_of):
            self._mine.add(verdict_key)
            return judge_dates(found, now)
        verdict = super().judge(envelope, now, key_of=key_of, held=held)
        if isinstance(verdict, Rejected):
            if verdict.code is not Code.UNKNOWN_SIGNER:
                self._mine.add(verdict_key)
        elif not isinstance(verdict.record, TrustRoot):  # a rival may turn up
            self._mine.add(verdict_key)
            self._found.records[place] = verdict.record
        return verdict

    def remembers(self, envelope: Envelope) -> bool:
        return envelope.verdict_key in self._mine


def _is_known(record: Record, key_of: KeyOf) -> bool:
    return NODE not in record.authors or key_of(NodeId(record.subject)) is not None


@define(eq=False)
class Papers:
    """One fabric's keys, and the records that a fleet of it begins with. The same every time."""

    fabric: AFabric = field(factory=AFabric)
    found: Found = field(factory=Found)
    root: Envelope = field(init=False)
    _signed: dict[tuple[str, str], Envelope] = field(init=False, factory=dict)
    _words: dict[tuple[NodeId, int], Alive] = field(init=False, factory=dict)
    _ids: dict[int, NodeId] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self.root = self.fabric.signed(self.fabric.root())

    @property
    def born(self) -> int:
        """Unix seconds at which virtual time begins."""
        return self.fabric.now

    def node(self, number: int) -> Envelope:
        """Return the record of the node of that *number*."""
        name = name_of(number)
        return self._kept(name, "node", lambda: self.fabric.node(name, area=area_of(number)))

    def endpoint(self, number: int) -> Envelope:
        """Return what that node says of where it is."""
        name = name_of(number)
        address = f"192.0.2.{number % 250 + 1}:{20_000 + number}"
        return self._kept(name, "endpoint", lambda: self.fabric.endpoint(name, address))

    def node_id(self, number: int) -> NodeId:
        if number not in self._ids:
            self._ids[number] = self.fabric.node_id(name_of(number))
        return self._ids[number]

    def word(self, number: int, boot_seq: int) -> Alive:
        """Return that node's word that it is alive, from its process of that *boot_seq*."""
        node, incarnation = self.node_id(number), first_incarnation(boot_seq)
        if (node, incarnation) not in self._words:
            said = statement(Context.ALIVE, FabricId(self.fabric.id), node, incarnation)
            signature = self.fabric.node_key(name_of(number)).sign(said).signature
            word = Alive(subject=node, incarnation=incarnation, signature=signature)
            self._words[node, incarnation] = word
        return self._words[node, incarnation]

    def _kept(self, name: str, kind: str, make: Callable[[], Record]) -> Envelope:
        if (name, kind) not in self._signed:
            self._signed[name, kind] = self.fabric.signed(make())
        return self._signed[name, kind]


def name_of(number: int) -> str:
    return f"node-{number:04d}"


def area_of(number: int) -> str:
    return AREAS[number % len(AREAS)]
