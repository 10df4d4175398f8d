"""What a Hello and its answers bring along, from the directory and into gossip."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen

from fabric.codes import Code
from fabric.core import gossip_events as told
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.directory import Directory
from fabric.core.envelope import Envelope
from fabric.core.identity import NodeId, node_id_of
from fabric.core.records import Key, NodeRecord
from fabric.core.trust import Trust


@frozen(eq=False)
class NodeLetters:
    """The :class:`~fabric.core.roster.Letters` of a node."""

    me: NodeId
    trust: Trust
    directory: Directory
    judged: Callable[[told.Event], Code | None]
    """Takes in what a Hello brings, and says why it does not count, if so."""
    given: Envelope | None = None
    """What to show while no record of this node is held: it may be signed by a key that this node
    hears of only from whoever it is shown to."""

    @property
    def root_version(self) -> int:
        return self.trust.root.version

    def own_record(self) -> bytes:
        held = self.directory.get(Key(NodeRecord.KIND, self.me))
        envelope = self.given if held is None else held.envelope
        return b"" if envelope is None else pack_envelope(envelope)

    def roots_after(self, version: int, *, most_bytes: int) -> tuple[bytes, ...]:
        return self.trust.roots_after(version, room=most_bytes)

    def tombstone_of(self, key: bytes) -> bytes:
        held = self.directory.get(Key(NodeRecord.KIND, node_id_of(key)))
        return pack_envelope(held.envelope) if held and held.record.revoked else b""

    def learn(
        self, roots: Sequence[bytes], record: bytes, teller: bytes, about: bytes = b""
    ) -> Code | None:
        for root in roots:
            version = self.root_version
            refused = self.judged(told.HeardRoots((root,), node_id_of(teller)))
            if refused is not None and self.root_version == version:
                break
        return self.judged(told.Presented(teller, record, about)) if record else None
