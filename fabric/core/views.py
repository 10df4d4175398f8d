"""What the registry asks of the other cores, and nothing beyond it.

The directory, liveness and the links each know far more. These are the few questions that others
put to them, so that a test can answer them from a dictionary. Every answer is about the moment at
which it was asked for; none is kept across a wait.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Generic, Protocol, TypeVar

from attrs import frozen

from fabric.core.access import Subject
from fabric.core.identity import NodeId, NodeName
from fabric.core.records import NodeRecord, OffersRecord, Record, ServiceRecord
from fabric.core.verdicts import Standing

RecordT = TypeVar("RecordT", bound=Record)


@frozen
class Sworn(Generic[RecordT]):
    """A record as the directory holds it. A tombstone is one too: see ``record.revoked``."""

    record: RecordT
    standing: Standing = Standing.LIVE
    from_cache: bool = False
    """Whether it was read from disk and nobody has sent it since this process started."""


class DirectoryView(Protocol):
    """The records that decide who offers what. An equivocated record of a node is ``None``."""

    def node(self, node: NodeId) -> Sworn[NodeRecord] | None: ...

    def service(self, name: str) -> Sworn[ServiceRecord] | None: ...

    def offers(self, node: NodeId) -> Sworn[OffersRecord] | None: ...

    def offering(self) -> Iterable[NodeId]:
        """Return every node of which an offers record is held."""

    def services(self) -> Iterable[str]:
        """Return the name of every service record that is held."""


class LivenessView(Protocol):
    """Who is there."""

    def state_of(self, node: NodeId) -> str | None:
        """Return ``alive``, ``suspect``, ``dead`` or ``left``; ``None`` where nothing is known."""


class Reach(Protocol):
    """What the links and channels of this node say of a peer, or of itself."""

    def is_linked(self, node: NodeId) -> bool:
        """Return whether a channel could be opened there without dialling first."""

    def rtt(self, node: NodeId) -> float | None:
        """Return the round trip in seconds; ``None`` until measured."""

    def load(self, node: NodeId, service: str) -> int:
        """Return how many channels of *service* are believed to be open there."""


ALIVE: Final = "alive"
SUSPECT: Final = "suspect"
GONE: Final = frozenset({"dead", "left"})
"""States of liveness in which nothing is asked of a node."""


def name_of(record: NodeRecord) -> NodeName:
    """Return what people call the node of *record*."""
    return NodeName(record.name)


def subject_of(record: NodeRecord) -> Subject:
    """Return what selectors look at: the node as its signed record describes it."""
    return Subject(
        name=name_of(record),
        area=record.area,
        roles=frozenset(record.roles),
        labels=record.labels,
    )
