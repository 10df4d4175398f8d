"""What gossip is told, and what it answers."""

from __future__ import annotations

import enum
from typing import Protocol, TypeAlias

from attrs import frozen

from fabric.codes import Code
from fabric.core.envelope import Envelope
from fabric.core.frames import Frame
from fabric.core.holding import Heard
from fabric.core.identity import NodeId
from fabric.core.records import Key
from fabric.core.wave import Item, Send


@frozen
class Moment:
    """When an event comes, on both clocks of this machine."""

    steady: float
    """Seconds on a clock that only goes forward: for everything that lasts or waits."""
    clock: float
    """Unix seconds, as the machine shows them: for what records say of time."""


class Stream(enum.StrEnum):
    """What is read of a peer."""

    CONTROL = "control"
    SYNC = "sync"


class Cached(Protocol):
    """A record as this node's disk gives it back."""

    @property
    def key(self) -> Key: ...
    @property
    def packed(self) -> bytes: ...
    @property
    def from_peer(self) -> NodeId | None: ...
    @property
    def hops(self) -> int: ...
    @property
    def age(self) -> float: ...
    @property
    def wave_id(self) -> bytes: ...
    @property
    def at(self) -> float: ...


# -- events --
@frozen
class Loaded:
    """What this node's disk holds: before all else, but for the trust roots there.

    A large cache may come in pieces, sorted by :func:`.arrival.in_turn`; and it may come late, if
    a disk could not be read at first. Rows that are not wanted there are dropped or written over.
    """

    records: tuple[Cached, ...]


@frozen
class HeardRecords:
    """A ``Records`` frame of *from_peer*, which took about *lag* seconds to come here."""

    from_peer: NodeId
    items: tuple[Item, ...]
    lag: float = 0.0
    """Half the round trip of the connection; only adds to the age that a trace shows."""


@frozen
class HeardRoots:
    """Trust roots that a peer, a stranger in its Hello, or this node's disk offers.

    Packed, and in order; at most sixteen are followed. *from_peer* is None for the latter two.
    """

    packed: tuple[bytes, ...]
    from_peer: NodeId | None = None


@frozen
class Presented:
    """The node record that came with a Hello or its answer from who proved to hold *public_key*.

    Whether it is admitted is to be asked of :mod:`.readings` afterwards.
    """

    public_key: bytes
    packed: bytes
    about: bytes = b""
    """The key whose node record it has to be; empty: that of whoever showed it."""


@frozen
class Published:
    """A record that begins here: this node's own word, or a file that somebody handed over."""

    envelope: Envelope


@frozen
class PeerUp:
    """Frames can be sent to *peer*, on a connection that is new."""

    peer: NodeId
    area: str
    compares: bool = True
    """Whether this end is to begin to compare. The one that opens the sync stream does."""


@frozen
class PeerDown:
    """Nothing can be sent to *peer* any more."""

    peer: NodeId


@frozen
class HeardRoot:
    """*peer* holds what has this digest: it rides on probes and their answers."""

    peer: NodeId
    root: bytes


@frozen
class HeardSync:
    """A frame of the sync stream of *peer*."""

    peer: NodeId
    frame: Frame


@frozen
class SyncWritten:
    """All frames that were sent by :class:`SendSync` to *peer* are written."""

    peer: NodeId


@frozen
class SyncOpened:
    """There is a new sync stream with *peer*, in place of the one before."""

    peer: NodeId
    compares: bool = True


@frozen
class Ticked:
    """A second has passed, or what :class:`Wake` asked for has come."""


Event: TypeAlias = (
    Loaded
    | HeardRecords
    | HeardRoots
    | Presented
    | Published
    | PeerUp
    | PeerDown
    | HeardRoot
    | HeardSync
    | SyncWritten
    | SyncOpened
    | Ticked
)


# -- effects --
@frozen
class SendSync:
    """Write *frame* to the sync stream of *to*, after those before it."""

    to: NodeId
    frame: Frame


@frozen
class EndSync:
    """Reset the sync stream of *peer*; its frames cannot be made sense of any more."""

    peer: NodeId
    code: Code
    detail: str


@frozen
class Pause:
    """Do not read that stream of *peer* before *until* (steady): it sends too much."""

    peer: NodeId
    stream: Stream
    until: float


@frozen
class Bar:
    """Close every connection with *peer*, with *code*, and admit none before *until* (steady)."""

    peer: NodeId
    code: Code
    until: float


@frozen
class Store:
    """Keep *packed* on disk under *key*, in place of what is there.

    That is the record's own key, or where two contend for it another one (see :mod:`.rows`), which
    :class:`Loaded` has to give back as it was.
    """

    key: Key
    packed: bytes
    heard: Heard


@frozen
class Drop:
    """Keep nothing under *key* any more."""

    key: Key


@frozen
class StoreRoot:
    """Keep this version of the trust root on disk."""

    version: int
    packed: bytes


@frozen
class StoreFloor:
    """Keep on disk that it was not earlier than *at* (unix seconds)."""

    at: int


@frozen
class Changed:
    """Something else counts at *key* than before, or nothing any more. Ask :mod:`.readings`."""

    key: Key


@frozen
class RootChanged:
    """Another version of the trust root is in use."""

    version: int


@frozen
class Reissue:
    """The fabric holds a word of this node's that it did not say, or not lately: under *above*.

    Say what holds now, under a higher number. From before a restart, from a clone of this node, or
    from whoever stole its key.
    """

    key: Key
    above: int


@frozen
class Refused:
    """A record was not taken. For a counter; ``from_peer`` is None for what began here."""

    code: Code
    detail: str
    from_peer: NodeId | None
    key: Key | None = None
    """Where it is known what the record was about."""


@frozen
class Alarm:
    """Somebody has to look at this. The same one is said once a minute at most."""

    code: Code
    detail: str
    from_peer: NodeId | None = None


@frozen
class Wake:
    """Say :class:`Ticked` at *at* (steady), unless an earlier one is due."""

    at: float


Effect: TypeAlias = (
    Send
    | SendSync
    | EndSync
    | Pause
    | Bar
    | Store
    | Drop
    | StoreRoot
    | StoreFloor
    | Changed
    | RootChanged
    | Reissue
    | Refused
    | Alarm
    | Wake
)
