"""What a node keeps on its disk: records as they were signed, and what it saw for itself.

A record here is bytes under a key. Nothing in this package looks into them: what comes back from
a disk is judged by the same rules as what comes from a peer. Every item checks itself when it is
made, so an item that cannot be made from a row means that the file is damaged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from attrs import field, frozen

from fabric.core.frames import MOST_ENVELOPE
from fabric.core.identity import NodeId
from fabric.core.records import MOST_NAME, Key
from fabric.core.shapes import maybe, number, octets_up_to, text

MOST_FACT: Final = 64 << 10
"""Bytes of one fact."""

_NAME = text(most=MOST_NAME)
_LABEL = text(least=0, most=MOST_NAME)
_ADDRESS = text(most=255)
"""As an operator may write it: a host's whole name and a port."""
_COUNT = number(most=2**63 - 1)  # SQLite's integers are signed


def seconds(_item: object, attribute: Any, value: object) -> None:  # noqa: ANN401 -- attrs
    """A number that is no NaN: SQLite would make nothing of one."""
    if type(value) is bool or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{attribute.name} is not a number of seconds")


@frozen
class StoredRecord:
    """A packed envelope and how it came here."""

    kind: str = field(validator=_NAME)
    subject: str = field(validator=_NAME)
    packed: bytes = field(validator=octets_up_to(MOST_ENVELOPE, least=1), repr=False)
    from_peer: NodeId | None = field(validator=maybe(_NAME), default=None)
    """Who told this node; None: itself, or a file."""
    hops: int = field(validator=_COUNT, default=0)
    age: float = field(validator=seconds, default=0.0)
    """Seconds it was on the way."""
    wave_id: bytes = field(validator=octets_up_to(32), default=b"")
    at: float = field(validator=seconds, default=0.0)
    """When it was first heard, as the caller counts."""

    @property
    def key(self) -> Key:
        return Key(self.kind, self.subject)


@frozen
class StoredRoot:
    """One version of the trust root, a packed envelope."""

    version: int = field(validator=_COUNT)
    packed: bytes = field(validator=octets_up_to(MOST_ENVELOPE, least=1), repr=False)


@frozen
class KnownPeer:
    """What this node last saw of a peer: an observation, signed by nobody."""

    peer: NodeId = field(validator=_NAME)
    address: str | None = field(validator=maybe(_ADDRESS), default=None)
    """The last one at which the peer proved its key."""
    rtt: float | None = field(validator=maybe(seconds), default=None)
    """Seconds."""
    state: str = field(validator=_LABEL, default="")
    """Its last liveness state."""
    incarnation: int = field(validator=_COUNT, default=0)
    at: float = field(validator=seconds, default=0.0)
    """Unix seconds of what is said here: of too many peers the ones least lately seen go."""


@frozen
class KnownCandidate:
    """An address at which a peer may be reached, and what became of trying."""

    peer: NodeId = field(validator=_NAME)
    address: str = field(validator=_ADDRESS)
    provenance: str = field(validator=_LABEL, default="")
    worked_at: float | None = field(validator=maybe(seconds), default=None)
    failed_at: float | None = field(validator=maybe(seconds), default=None)
    at: float = field(validator=seconds, default=0.0)
    """Unix seconds of the last of it: of too many the oldest go."""


@frozen
class Seed:
    """An address that an operator named once; never removed."""

    address: str = field(validator=_ADDRESS)
    at: float = field(validator=seconds, default=0.0)
    """Unix seconds when it was last configured."""


@frozen
class Fact:
    """One thing more that the node wants to know again, under a name of the caller's choice."""

    name: str = field(validator=_NAME)
    value: bytes = field(validator=octets_up_to(MOST_FACT), repr=False)


Item: TypeAlias = StoredRecord | StoredRoot | KnownPeer | KnownCandidate | Seed | Fact


@frozen(kw_only=True)
class Snapshot:
    """Everything that is kept, each kind of it sorted by its key."""

    records: tuple[StoredRecord, ...] = ()
    roots: tuple[StoredRoot, ...] = ()
    """Oldest first."""
    peers: tuple[KnownPeer, ...] = ()
    candidates: tuple[KnownCandidate, ...] = ()
    seeds: tuple[Seed, ...] = ()
    facts: tuple[Fact, ...] = ()

    def known(self) -> Mapping[str, bytes]:
        """Return the facts by name."""
        return {fact.name: fact.value for fact in self.facts}
