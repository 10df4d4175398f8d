"""What the directory says at this moment: to admission, channels, the registry, a person.

Everything is answered from memory and goes by the time of the question. What a record is still
good for comes with it (:class:`~fabric.core.verdicts.Standing`): whoever asks has to decide what
an expired one is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TypeVar

from fabric.core.directory import Directory
from fabric.core.holding import Held
from fabric.core.identity import NodeId, NodeName
from fabric.core.lifetimes import standing_of
from fabric.core.records import (
    FABRIC,
    ControlEndpoints,
    EndpointRecord,
    Key,
    NodeRecord,
    OffersRecord,
    Policy,
    Record,
    ServiceRecord,
)
from fabric.core.views import Sworn

RecordT = TypeVar("RecordT", bound=Record)


class Readings:
    """Typed questions to a :class:`~fabric.core.directory.Directory`, at the time of asking.

    Also the ``DirectoryView`` of the registry. *clock* is what the time is taken to be: see
    :attr:`~fabric.core.clocks.Times.now`.
    """

    def __init__(self, directory: Directory, fabric_id: bytes, clock: Callable[[], float]) -> None:
        self._directory = directory
        self._clock = clock
        self._usual = Policy(
            fabric=fabric_id, subject=FABRIC, issued_at=0, expires_at=1, epoch=0, generation=1
        )

    # -- who is a member --
    def member(self, node: NodeId) -> Sworn[NodeRecord] | None:
        """Return the record of *node*, unless it is revoked or unknown."""
        sworn = self.node(node)
        return None if sworn is None or sworn.record.revoked else sworn

    def member_named(self, name: NodeName) -> Sworn[NodeRecord] | None:
        record = self._directory.member_named(name)
        return None if record is None else self.member(record.node_id)

    def members(self) -> Mapping[NodeId, NodeRecord]:
        """Return every node that is not revoked, expired or not. Not to be changed."""
        return self._directory.members()

    def is_revoked(self, node: NodeId) -> bool:
        """Return whether a tombstone of *node* counts."""
        sworn = self.node(node)
        return sworn is not None and sworn.record.revoked

    # -- what members say of themselves: nothing, once they are members no more --
    def endpoint_of(self, node: NodeId) -> Sworn[EndpointRecord] | None:
        """Return where *node* says it is: a hint, to be tried even when it has expired."""
        return self._word(EndpointRecord, node)

    def offers_of(self, node: NodeId) -> Sworn[OffersRecord] | None:
        """Return what *node* says it offers; whether it may is for the registry to say."""
        return self._word(OffersRecord, node)

    # -- what holds for the fabric --
    def policy(self) -> Policy:
        """Return the policy that was heard last, expired or not, or what holds without one."""
        sworn = self._read(Policy, FABRIC)
        return self._usual if sworn is None or sworn.record.revoked else sworn.record

    def control_endpoints(self) -> Sworn[ControlEndpoints] | None:
        sworn = self._read(ControlEndpoints, FABRIC)
        return None if sworn is None or sworn.record.revoked else sworn

    # -- as the registry asks: it weighs tombstones and members itself --
    def node(self, node: NodeId) -> Sworn[NodeRecord] | None:
        """Return what counts of *node*, a tombstone too."""
        return self._read(NodeRecord, node)

    def service(self, name: str) -> Sworn[ServiceRecord] | None:
        """Return what counts of the service *name*, a tombstone too."""
        return self._read(ServiceRecord, name)

    def services(self) -> Collection[str]:
        """Return the name of every service of which something counts, tombstones too."""
        return self._directory.of_kind(ServiceRecord.KIND).keys()

    def offers(self, node: NodeId) -> Sworn[OffersRecord] | None:
        """Return what counts of *node*'s offers, whatever counts of *node*."""
        return self._read(OffersRecord, node)

    def offering(self) -> Iterator[NodeId]:
        """Return every node of which offers are held."""
        return map(NodeId, self._directory.of_kind(OffersRecord.KIND))

    # -- any record --
    def read(self, key: Key) -> Sworn[Record] | None:
        """Return what counts at *key*, of whatever kind."""
        held = self._directory.get(key)
        return None if held is None else self._sworn(held, held.record)

    def _word(self, kind: type[RecordT], node: NodeId) -> Sworn[RecordT] | None:
        if node not in self._directory.members():
            return None
        sworn = self._read(kind, node)
        return None if sworn is None or sworn.record.revoked else sworn

    def _read(self, kind: type[RecordT], subject: str) -> Sworn[RecordT] | None:
        held = self._directory.of_kind(kind.KIND).get(subject)
        if held is None or not isinstance(held.record, kind):
            return None  # of a later release, maybe: kept, and not understood
        return self._sworn(held, held.record)

    def _sworn(self, held: Held, record: RecordT) -> Sworn[RecordT]:
        standing = standing_of(record, self._clock())
        return Sworn(record, standing, record.key in self._directory.unconfirmed)
