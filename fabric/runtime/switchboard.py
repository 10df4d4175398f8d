"""The switchboard: what links tell goes to the planes it concerns, and what they say, to links.

::

    link --frame--> switchboard --Records--> gossip
                         |------all-------> liveness (whatever comes is a sign of life)
    link comes, goes --->|----------------> gossip, liveness, neighbours
    directory changed -->|----------------> roster, peers, liveness, neighbours, registry
    liveness turned ---->|----------------> neighbours, registry

All of it is one place, so that the order in which planes hear of a thing is on one screen, and no
plane has to know another. Nothing in here waits.
"""

from __future__ import annotations

from typing import Final

from attrs import define

from fabric.codes import Code
from fabric.config import HostPort
from fabric.core import gossip_events, liveness_events, neighbour_events
from fabric.core.frames import (
    Alive,
    Bye,
    Clock,
    Dead,
    Draining,
    Frame,
    IndirectAck,
    IndirectProbe,
    Left,
    Observed,
    Probe,
    ProbeAck,
    Records,
    RollCall,
    Suspect,
)
from fabric.core.identity import NodeId
from fabric.core.records import EndpointRecord, Key, NodeRecord
from fabric.core.roster import Address, Member, plain
from fabric.errors import RemoteProtocolError
from fabric.runtime.clocks import Clocks
from fabric.runtime.gossip import GossipPlane
from fabric.runtime.links import Link
from fabric.runtime.liveness import LivenessPlane
from fabric.runtime.memory import Memory
from fabric.runtime.neighbours import NeighboursPlane
from fabric.runtime.peers import Peers
from fabric.runtime.registry import RegistryPlane
from fabric.runtime.roster import DirectoryRoster
from fabric.runtime.sync import SyncStreams

NOT_NEEDED: Final = frozenset({Code.DUPLICATE, Code.REPLACED, Code.DONE})
"""Ends of a connection that say nothing about whether the peer is there. That it shuts down is not
among them: whose farewell was heard has left, and about who could say none others are asked."""

SHUNNED_FOR: Final = 120.0
"""Seconds from the last sign of a second process: it comes again at least once a minute."""

_ON_CONTROL: Final = (
    *(Records, Draining, Bye, Observed, Probe, ProbeAck, IndirectProbe, IndirectAck),
    *(Suspect, Alive, Dead, Left, RollCall, Clock),
)


@define(eq=False, kw_only=True)
class Switchboard:
    """Joins the planes of one node. Made last; see :meth:`join`."""

    me: NodeId
    roster: DirectoryRoster
    peers: Peers
    gossip: GossipPlane
    streams: SyncStreams
    liveness: LivenessPlane
    neighbours: NeighboursPlane
    registry: RegistryPlane
    memory: Memory
    clocks: Clocks

    def join(self) -> None:
        """Let every plane hear what concerns it."""
        self.peers.audience = self
        self.gossip.outward = self.liveness.outward = self
        self.gossip.streams = self.streams
        self.gossip.changed.append(self.changed)
        self.liveness.root_heard = self.root_heard
        self.liveness.turned.append(self.turned)
        self.neighbours.keeper = self.peers
        self.peers.dialling.duplicated = self.duplicated

    # -- what the directory says --
    def changed(self, key: Key) -> None:
        """Tell everybody that something else counts at *key* than before."""
        node = NodeId(key.subject)
        match key.kind:
            case NodeRecord.KIND:
                if self.roster.by_id(node) is None:
                    self.roster.forget(node)
                    self.memory.forget(node)
                self.roster.moved(node)
                self.peers.changed(node)
            case EndpointRecord.KIND:
                self.roster.moved(node)
                self.peers.moved(node)
        self.liveness.changed(key)
        self.neighbours.changed(key)
        self.registry.changed(key)

    # -- what links say --
    def heard(self, link: Link, frame: Frame) -> None:
        """Take a frame of a control stream."""
        if not isinstance(frame, _ON_CONTROL):
            raise RemoteProtocolError(
                Code.UNEXPECTED_FRAME, f"{type(frame).__name__} after admission"
            )
        if not link.has_spoken:
            self._spoke(link)
        peer = link.member.node_id
        if isinstance(frame, Clock):
            self.clocks.heard(link, frame)
        if isinstance(frame, Records):
            lag = (link.connection.rtt or 0.0) / 2
            self.gossip.receive(gossip_events.HeardRecords(peer, frame.items, lag))
        self.liveness.receive(liveness_events.Heard(peer, frame))

    def root_heard(self, peer: NodeId, root: bytes) -> None:
        self.gossip.receive(gossip_events.HeardRoot(peer, root))

    async def sync(self, link: Link) -> None:
        await self.streams.keep(link)

    def connected(self, link: Link) -> None:
        member, dialled = link.member, link.connection.is_dialler
        node = member.node_id
        address = _address_of(link)
        if dialled:
            self.roster.saw(node, address)
            self.memory.met(node, address, link.connection.rtt)
        for place in self.roster.sightings.connected(node):
            self._lost(node, place)
        self.met(address, node)
        self.gossip.receive(gossip_events.PeerUp(node, member.area, compares=False))
        self.liveness.receive(liveness_events.Connected(node))
        self.neighbours.receive(neighbour_events.Connected(node, dialled))
        self.clocks.tell(link)

    def disconnected(self, member: Member, code: Code) -> None:
        node = member.node_id
        self.gossip.receive(gossip_events.PeerDown(node))
        clean = code in NOT_NEEDED
        self.liveness.receive(liveness_events.Disconnected(node, clean=clean))
        self.neighbours.receive(neighbour_events.Disconnected(node))

    def _spoke(self, link: Link) -> None:
        """Note where a peer dialled us from, if it does not say that it is there."""
        link.has_spoken = True
        node, address = link.member.node_id, _address_of(link)
        if link.connection.is_dialler or self.roster.knows(node, address):
            return
        if (oldest := self.roster.sightings.saw(node, address)) is not None:
            self._lost(node, oldest)
        self.memory.sighted(node, address)
        self.roster.moved(node)

    def _lost(self, node: NodeId, address: Address) -> None:
        self.memory.lost(node, address)
        self.roster.moved(node)

    def missed(self, member: Member, address: Address, code: Code) -> None:
        self.roster.sightings.missed(member.node_id, plain(address))
        if code is not Code.DUPLICATE:
            self.neighbours.receive(neighbour_events.DialFailed(member.node_id))

    def met(self, address: Address, node: NodeId) -> None:
        """Note who answered at a seed's address."""
        self.neighbours.receive(neighbour_events.SeedMet(address, node))

    def duplicated(self, node: NodeId, address: Address) -> None:
        """Take note of a second process with the key of *node*, maybe of this very one.

        What it offers is not resolved for a while; what is open goes on.
        """
        link, member = self.peers.link_to(node), self.roster.by_id(node)
        if node != self.me and (link is None or _address_of(link) == address):
            return  # the other has gone: its link has ended, or will (no two are at one address)
        places = [HostPort(*address)] + ([HostPort(*_address_of(link))] if link else [])
        detail = f"{member.name if member else node} at {' and '.join(map(str, places))}"
        self.gossip.alarm(Code.DUPLICATE_IDENTITY, detail, node)
        if node != self.me:
            self.registry.shunned(node, Code.DUPLICATE_IDENTITY, SHUNNED_FOR)

    def contested(self) -> None:
        """Take note that somebody goes on speaking in this node's name."""
        detail = "others hold words of this node's that this process did not say"
        self.gossip.alarm(Code.DUPLICATE_IDENTITY, detail, None)

    # -- what liveness finds --
    def turned(self, node: NodeId, state: liveness_events.State) -> None:
        incarnation = self.liveness.core.view_of(node).incarnation
        self.memory.turned(node, state.value, incarnation)
        self.neighbours.receive(neighbour_events.Turned(node, state.value))
        self.registry.turned(node, state.value)

    # -- outward --
    def post(self, to: NodeId, frame: Frame) -> bool:
        return self.peers.post(to, frame)

    def bar(self, node: NodeId, code: Code, until: float) -> None:
        self.roster.bar(node, Code.PEER_BARRED, until)
        self.peers.bar(node, code)

    def pause(self, node: NodeId, until: float) -> None:
        self.peers.pause(node, until)


def _address_of(link: Link) -> Address:
    host, port, *_ = link.connection.remote_address
    return plain((str(host), int(port)))
