"""What is around a simulated node: the net that it speaks to, a disk, and whoever looks on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from fabric.codes import Code
from fabric.core import gossip_events, liveness_events
from fabric.core.frames import Frame
from fabric.core.identity import NodeId
from fabric.core.records import Key
from fabric.core.wave import Item
from fabric.testing.sim.wire import Connection

if TYPE_CHECKING:
    from fabric.testing.sim.node import SimNode


@frozen
class Row:
    """A record as a simulated disk gives it back."""

    key: Key
    packed: bytes
    from_peer: NodeId | None
    hops: int
    age: float
    wave_id: bytes
    at: float


def row_of(stored: gossip_events.Store) -> Row:
    heard = stored.heard
    return Row(
        stored.key,
        stored.packed,
        from_peer=heard.from_peer,
        hops=heard.hops,
        age=heard.age,
        wave_id=heard.wave_id,
        at=heard.at,
    )


class Ether(Protocol):
    """What a node does to others."""

    def send(self, node: SimNode, to: NodeId, frame: Frame) -> bool: ...
    def send_sync(self, node: SimNode, to: NodeId, frame: Frame) -> None: ...
    def end_sync(self, node: SimNode, peer: NodeId) -> None: ...
    def pause(self, node: SimNode, peer: NodeId, until: float, *, sync: bool) -> None: ...
    def dial(self, node: SimNode, to: NodeId, within: float) -> None: ...
    def close(self, connection: Connection, by: NodeId, code: Code) -> None: ...


class Watcher(Protocol):
    """Whoever looks on."""

    def changed(self, node: SimNode, key: Key) -> None: ...
    def turned(self, node: SimNode, turn: liveness_events.Turned) -> None: ...
    def passed_on(self, node: SimNode, to: NodeId, items: tuple[Item, ...]) -> None: ...
    def refused(self, node: SimNode, refused: gossip_events.Refused) -> None: ...
    def barred(self, node: SimNode, peer: NodeId) -> None: ...
