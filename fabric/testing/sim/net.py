"""The net between simulated nodes: handshakes, streams, silence and ends of connections."""

from __future__ import annotations

import random
from typing import Final

from attrs import define, field

from fabric.codes import Code
from fabric.core.frames import Frame
from fabric.core.identity import NodeId
from fabric.testing.records import public
from fabric.testing.sim.clockwork import Clockwork
from fabric.testing.sim.node import SimNode
from fabric.testing.sim.tally import Tally
from fabric.testing.sim.weather import Sky, Weather
from fabric.testing.sim.wire import CREDIT, HANDSHAKE, Connection, Item, Way

SILENT_AFTER: Final = 4.0
"""Seconds, as in :mod:`fabric.runtime.links`."""

SYNC_AGAIN_AFTER: Final = 1.0
"""Seconds, as in :mod:`fabric.runtime.sync`."""

HELLO_WITHIN: Final = 5.0
"""Seconds, as in :mod:`fabric.core.admission`: after the handshake, which has its own time."""

SPARE_FOR: Final = 1.0
"""Seconds for which a connection that another has replaced still delivers."""

TRY_AGAIN: Final = 1.0
"""Seconds between two attempts of a datagram to pass where nothing does."""


@define(eq=False, kw_only=True)
class Net:
    """Carries what nodes say. Knows nothing of what it means."""

    clock: Clockwork
    weather: Weather
    rng: random.Random
    sky: Sky = field(factory=Sky)
    tally: Tally = field(factory=Tally)
    nodes: dict[NodeId, SimNode] = field(init=False, factory=dict)
    """The processes that run."""

    # -- streams --
    def send(self, node: SimNode, to: NodeId, frame: Frame) -> bool:
        """Put *frame* on the control stream to *to*; return whether there was one, and room."""
        if (connection := node.links.get(to)) is None:
            return False
        way = connection.control[node.id]
        if self.weather.twins and self.rng.random() < self.weather.twins:
            self._put(connection, way, frame)
        return self._put(connection, way, frame)

    def send_sync(self, node: SimNode, to: NodeId, frame: Frame) -> None:
        connection = node.links.get(to)
        if connection is None or (way := connection.sync.get(node.id)) is None:
            return
        self._put(connection, way, frame)
        if not way.awaits_written:
            way.awaits_written = True
            self.clock.at(way.free_at, self._look_whether_written, connection, way)

    def _put(self, connection: Connection, way: Way, frame: Frame) -> bool:
        item = way.put(frame, self.clock.now, self.weather, self.rng)
        if item is None:
            return False
        self.tally.sent(way.sender, item, way.resent)
        if item.comes_at < item.reads_at:
            self.clock.at(item.comes_at, self._touch, connection, way)
        self.clock.at(item.reads_at, self._arrive, connection, way)
        return True

    def _trip(self) -> float:
        """Draw how long one datagram takes, with its losses."""
        return self.weather.lateness(self.rng, 1)[0] + self.weather.trip(self.rng)

    def _touch(self, connection: Connection, way: Way) -> None:
        if not self.sky.is_cut(way.sender, way.receiver):
            connection.heard_at[way.receiver] = self.clock.now

    def _arrive(self, connection: Connection, way: Way) -> None:
        """Let the receiver read what has come, unless something holds it up."""
        now = self.clock.now
        while way.items and way.items[0].reads_at <= now:
            if not connection.carries(way) or not connection.is_up[way.receiver]:
                way.items.clear()
                return
            if (until := self._held_until(connection, way)) > now:
                if way.held_until <= now:
                    way.held_until = until
                    self.clock.at(until, self._arrive, connection, way)
                return
            item = way.take()
            if item.leaves_at <= connection.stopped_at.get(way.sender, item.leaves_at):
                self._read(connection, way, item)

    def _held_until(self, connection: Connection, way: Way) -> float:
        if self.sky.is_cut(way.sender, way.receiver):
            return self.clock.now + TRY_AGAIN
        connection.heard_at[way.receiver] = self.clock.now
        return max(self.nodes[way.receiver].asleep_until, way.paused_until)

    def _read(self, connection: Connection, way: Way, item: Item) -> None:
        receiver = self.nodes[way.receiver]
        if way.is_sync:
            if not connection.is_sync_known and way.receiver == connection.acceptor:
                connection.is_sync_known = True
                receiver.sync_opened(way.sender, compares=False)
            receiver.hear_sync(way.sender, item.frame)
            if way.awaits_written and way.unread <= CREDIT:
                self._look_whether_written(connection, way)
        else:
            receiver.hear(way.sender, item.frame, sum(self.weather.delay) / 2)
        answers = connection.control[way.receiver], connection.sync.get(way.receiver)
        is_answered = any(each and each.wrote_at == self.clock.now for each in answers)
        self.tally.received(way, item, is_answered=is_answered)

    def _look_whether_written(self, connection: Connection, way: Way) -> None:
        if not connection.carries(way) or not way.awaits_written:
            return
        if self.clock.now < way.free_at:
            self.clock.at(way.free_at, self._look_whether_written, connection, way)
        elif way.unread <= CREDIT:
            way.awaits_written = False
            sender = self.nodes.get(way.sender)
            if sender is not None and connection.is_up[way.sender]:
                sender.sync_written(way.receiver)

    def end_sync(self, node: SimNode, peer: NodeId) -> None:
        """Reset the sync stream; the end that dialled opens another a while after."""
        if (connection := node.links.get(peer)) is not None and connection.sync:
            connection.sync = {}
            again = SYNC_AGAIN_AFTER + self.weather.trip(self.rng)
            self.clock.after(again, self._open_sync, connection)

    def _open_sync(self, connection: Connection) -> None:
        dialler = self.nodes.get(connection.dialler)
        if dialler is not None and dialler.links.get(connection.acceptor) is connection:
            connection.open_sync()
            dialler.sync_opened(connection.acceptor, compares=True)

    def pause(self, node: SimNode, peer: NodeId, until: float, *, sync: bool) -> None:
        connection = node.links.get(peer)
        ways = (connection.sync if sync else connection.control) if connection else {}
        if (way := ways.get(peer)) is not None:
            way.paused_until = until

    # -- handshakes --
    def dial(self, node: SimNode, to: NodeId, within: float) -> None:
        """Begin a handshake: the Hello arrives after one and a half round trips."""
        self.tally.counted(node.id, to, HANDSHAKE[0])
        flights = sum(self.weather.handshake_trip(self.rng) for _ in range(2))
        deadline = self.clock.now + within
        if flights < within:
            self.clock.after(flights + self._trip(), self._hello, node, to, deadline)
        else:
            self.clock.at(deadline, self._miss, node, to, False)

    def _hello(self, node: SimNode, to: NodeId, deadline: float) -> None:
        acceptor = self.nodes.get(to)
        if node.is_stopped:
            return
        if acceptor is None or self.sky.is_cut(node.id, to) or acceptor.asleep_until >= deadline:
            self.clock.at(deadline, self._miss, node, to, False)
        elif acceptor.asleep_until > self.clock.now:
            self.clock.at(acceptor.asleep_until, self._hello, node, to, deadline)
        else:
            self._answer(node, acceptor, deadline)

    def _answer(self, node: SimNode, acceptor: SimNode, deadline: float) -> None:
        self.tally.counted(acceptor.id, node.id, HANDSHAKE[1])
        if not acceptor.admits(node.id) and (record := node.own_record()):
            acceptor.shown(record, public(node.key))
        back = self._trip()
        standing = acceptor.links.get(node.id)
        is_stale = standing is not None and standing.boots[node.id] > node.boot_seq
        if not acceptor.admits(node.id) or is_stale:
            self.clock.after(back, self._miss, node, acceptor.id, True)
            return
        boots = {node.id: node.boot_seq, acceptor.id: acceptor.boot_seq}
        connection = Connection(node.id, acceptor.id, boots)
        if _stands_against(standing, connection):
            connection.control[acceptor.id].not_before(self.clock.now + back)
            self._stand(connection, acceptor)
        self.clock.after(back, self._admitted, connection, node)

    def _admitted(self, connection: Connection, node: SimNode) -> None:
        acceptor = self.nodes.get(connection.acceptor)
        if node.is_stopped:
            return
        if acceptor is None or self.sky.is_cut(node.id, acceptor.id):
            self.clock.after(HELLO_WITHIN, self._miss, node, connection.acceptor, False)
            return
        if not connection.is_up[acceptor.id]:  # spare there, or closed by now
            self._miss(node, acceptor.id, False)
            return
        if not node.admits(acceptor.id):
            node.shown(acceptor.own_record(), public(acceptor.key))
        if not node.admits(acceptor.id):
            self._miss(node, acceptor.id, True)
        elif _stands_against(node.links.get(acceptor.id), connection):
            self._stand(connection, node)
            self._open_sync(connection)

    def _miss(self, node: SimNode, peer: NodeId, refused: bool) -> None:
        if node.is_stopped:
            return
        if peer in node.links:
            node.dials.stood(peer)
        else:
            node.missed(peer, refused=refused)

    def _stand(self, connection: Connection, node: SimNode) -> None:
        peer = connection.other(node.id)
        if (older := node.links.get(peer)) is not None:
            self.clock.after(SPARE_FOR, self._retire, older, node.id)
        node.links[peer] = connection
        connection.is_up[node.id] = True
        connection.heard_at[node.id] = connection.began_at[node.id] = self.clock.now
        node.connected(peer, dialled=connection.dialler == node.id)
        self.clock.after(SILENT_AFTER, self._watch, connection, node)

    def _retire(self, connection: Connection, end: NodeId) -> None:
        connection.is_up[end] = False

    # -- silence and ends --
    def _watch(self, connection: Connection, node: SimNode) -> None:
        if not connection.is_up[node.id] or node.is_stopped:
            return
        due = max(connection.heard_at[node.id] + SILENT_AFTER, node.asleep_until)
        if due > self.clock.now:
            self.clock.at(due, self._watch, connection, node)
        else:
            self.close(connection, node.id, Code.PEER_SILENT)

    def close(self, connection: Connection, by: NodeId, code: Code) -> None:
        """End *connection* at one end; the other hears of it if anything passes."""
        if not connection.is_up[by]:
            return
        other = connection.other(by)
        self.clock.after(self._trip(), self._closed, connection, other, code)
        self._end(connection, by, code)

    def _closed(self, connection: Connection, end: NodeId, code: Code) -> None:
        node = self.nodes.get(end)
        if node is None or self.sky.is_cut(end, connection.other(end)):
            return
        if node.asleep_until > self.clock.now:
            self.clock.at(node.asleep_until, self._closed, connection, end, code)
        elif connection.is_up[end]:
            self._end(connection, end, code)

    def _end(self, connection: Connection, end: NodeId, code: Code) -> None:
        connection.is_up[end] = False
        node, peer = self.nodes[end], connection.other(end)
        if node.links.get(peer) is connection:
            del node.links[peer]
            node.disconnected(peer, code, self.clock.now - connection.began_at[end])

    def stop(self, node: SimNode) -> None:
        """End the process of *node* without a word."""
        node.is_stopped = True
        del self.nodes[node.id]
        for connection in node.links.values():
            connection.is_up[node.id] = False
            connection.stopped_at[node.id] = self.clock.now


def _stands_against(standing: Connection | None, new: Connection) -> bool:
    """Return whether *new* takes the place of *standing*, by :mod:`fabric.core.standing`."""
    if standing is None or standing.boots != new.boots:
        return True
    return new.dialler <= standing.dialler
