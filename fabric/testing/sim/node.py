"""One simulated node: all its cores, and what carries out their effects in virtual time.

It does what the shells of :mod:`fabric.runtime` do, in the same order (see the switchboard there,
and the planes); what they leave to trio and to sockets is left to the heap and to the net here.
The registry is not among them: it opens channels, and nothing depends on it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any, Final

from attrs import define, field
from nacl.signing import SigningKey

from fabric.codes import Code
from fabric.core import gossip_events, liveness_events, neighbour_events
from fabric.core.clocks import Floor
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.codec.records import encode_record
from fabric.core.directory import Directory
from fabric.core.diversity import Bounds, Place, targets_for
from fabric.core.envelope import Envelope, sign_payload
from fabric.core.frames import Alive, Frame, Records
from fabric.core.gossip import Gossip
from fabric.core.holding import Heard
from fabric.core.identity import FabricId, NodeId
from fabric.core.intake import BARRED_FOR
from fabric.core.liveness import Liveness
from fabric.core.neighbours import Neighbours
from fabric.core.parcels import parcels
from fabric.core.readings import Readings
from fabric.core.records import Key, NodeRecord, OwnWord, Policy, Record
from fabric.core.roster import Address
from fabric.core.wave import Send
from fabric.runtime.in_turn import InTurn
from fabric.testing.records import public
from fabric.testing.sim.clockwork import Clockwork
from fabric.testing.sim.dials import Dials
from fabric.testing.sim.papers import Papers, SharedTrust
from fabric.testing.sim.surroundings import Ether, Row, Watcher
from fabric.testing.sim.wire import Connection

TICK: Final = 1.0
"""Seconds, as in the planes."""

SETTLING: Final = 0.05
APART: Final = 2.0
"""Seconds, as in :mod:`fabric.runtime.own_words`."""

CLEAN: Final = frozenset({Code.DUPLICATE, Code.REPLACED, Code.SHUTTING_DOWN, Code.DONE})
"""As in :mod:`fabric.runtime.switchboard`."""


@define(eq=False, kw_only=True)
class SimNode:
    """One process of one node."""

    clock: Clockwork
    ether: Ether
    watcher: Watcher
    papers: Papers
    key: SigningKey
    id: NodeId
    area: str
    boot_seq: int
    rng: random.Random
    skew: float = 0.0
    """Seconds by which its clock is ahead."""
    seeds: dict[Address, NodeId] = field(factory=dict)
    remembers: tuple[Alive, ...] = ()
    """Words of others that it has heard before it starts: see :meth:`_remember`."""
    links: dict[NodeId, Connection] = field(init=False, factory=dict)
    is_stopped: bool = field(init=False, default=False)
    asleep_until: float = field(init=False, default=-1.0)
    heard: int = field(init=False, default=0)
    """Frames that it has read."""
    directory: Directory = field(init=False, factory=Directory)
    trust: SharedTrust = field(init=False)
    readings: Readings = field(init=False)
    gossip: Gossip = field(init=False)
    liveness: Liveness = field(init=False)
    neighbours: Neighbours = field(init=False)
    dials: Dials = field(init=False)
    _floor: Floor = field(init=False)
    _barred: dict[NodeId, float] = field(init=False, factory=dict)
    _turns: InTurn[gossip_events.Event] = field(init=False)
    _wakes: dict[str, float] = field(init=False, factory=dict)
    _said_at: dict[type[OwnWord], float] = field(init=False, factory=dict)
    _words: dict[type[OwnWord], dict[str, Any]] = field(init=False, factory=dict)
    _above: dict[type[OwnWord], int] = field(init=False, factory=dict)

    def __attrs_post_init__(self) -> None:
        self._turns = InTurn(self._take)
        papers = self.papers
        self.trust = SharedTrust(papers.fabric.id, papers.root, papers.found)
        self._floor = Floor.opened(self.unix_now(), given=[papers.born])
        self.readings = Readings(
            self.directory, papers.fabric.id, lambda: self._floor.times(self.unix_now()).now
        )
        self.dials = Dials(self.clock, self.rng, self._dial, self.links.__contains__)

    def unix_now(self) -> float:
        return self.papers.born + self.clock.now + self.skew

    def moment(self) -> gossip_events.Moment:
        return gossip_events.Moment(self.clock.now, self.unix_now())

    # -- starting --
    def start(self, known: Iterable[tuple[Record, Envelope]], rows: Iterable[Row] = ()) -> None:
        """Begin with what is *known*, and with what a disk gives back."""
        now = self._floor.times(self.unix_now()).now
        heard = Heard()
        for record, envelope in known:
            self.directory.apply(record, envelope, heard, now)
        self.gossip = Gossip(self.id, self.directory, self.trust, self.rng, self._floor)
        self.liveness = Liveness(
            me=self.id,
            area=self.area,
            boot_seq=self.boot_seq,
            fabric_id=FabricId(self.papers.fabric.id),
            rng=self.rng,
            sign=lambda message: self.key.sign(message).signature,
            verify=self._has_signed,
            root=self.gossip.root,
        )
        me = Place(node=self.id, area=self.area)
        self.neighbours = Neighbours(me, self.rng, seeds=tuple(self.seeds))
        if rows := tuple(rows):
            self.tell_gossip(gossip_events.Loaded(rows))
        for key in sorted(self.directory.keys()):
            self._look_at(key)
        for name, tick in (("gossip", self._tick_gossip), ("neighbours", self._tick_neighbours)):
            self._wakes[name] = self.clock.now
            self.clock.after(self.rng.uniform(0, TICK), tick)
        self.clock.after(0.0, self._first_tick)

    def _first_tick(self) -> None:
        self._tell_liveness(liveness_events.Ticked())
        for address, node in self.seeds.items():
            if node == self.id:
                self._tell_neighbours(neighbour_events.SeedMet(address, node))

    def _has_signed(self, node: NodeId, message: bytes, signature: bytes) -> bool:
        member = self.readings.member(node)
        if member is None:
            return False
        return self.papers.found.has_signed(member.record.key_bytes, message, signature)

    # -- time --
    def _is_late(self, ring: Callable[..., None], *what: object) -> bool:
        """Return whether this process does not run now; *ring* is called once it does again."""
        if self.is_stopped:
            return True
        if self.asleep_until > self.clock.now:
            self.clock.at(self.asleep_until, ring, *what)
            return True
        return False

    def _tick_gossip(self) -> None:
        if not self._is_late(self._tick_gossip):
            self.clock.after(TICK, self._tick_gossip)
            self.tell_gossip(gossip_events.Ticked())

    def _tick_neighbours(self) -> None:
        if not self._is_late(self._tick_neighbours):
            self.clock.after(TICK, self._tick_neighbours)
            self._tell_neighbours(neighbour_events.Ticked())

    def _wake_liveness(self, at: float) -> None:
        if self._wakes.get("liveness") == at and not self._is_late(self._wake_liveness, at):
            self._tell_liveness(liveness_events.Ticked())

    def _wake_gossip(self) -> None:
        if not self._is_late(self._wake_gossip):
            self.tell_gossip(gossip_events.Ticked())

    # -- gossip --
    def tell_gossip(self, event: gossip_events.Event) -> None:
        """As :meth:`fabric.runtime.gossip.GossipPlane.receive`."""
        self._turns.put(event)

    def _take(self, event: gossip_events.Event) -> None:
        self._carry_out(self.gossip.receive(event, self.moment()))

    def _carry_out(self, effects: Iterable[gossip_events.Effect]) -> None:
        sends: list[Send] = []
        for effect in effects:
            if isinstance(effect, Send):
                sends.append(effect)
            else:
                self._do(effect)
        for to, some in parcels(sends):
            if self.ether.send(self, to, Records(items=some)):
                self.watcher.passed_on(self, to, some)

    def _do(self, effect: gossip_events.Effect) -> None:
        match effect:
            case gossip_events.SendSync(to, frame):
                self.ether.send_sync(self, to, frame)
            case gossip_events.EndSync(peer):
                self.ether.end_sync(self, peer)
            case gossip_events.Pause(peer, stream, until):
                is_sync = stream is gossip_events.Stream.SYNC
                self.ether.pause(self, peer, until, sync=is_sync)
            case gossip_events.Bar(peer, code, until):
                self._bar(peer, code, until)
            case gossip_events.Changed(key):
                self._look_at(key)
                self.watcher.changed(self, key)
            case gossip_events.Reissue(key, above):
                self._reissue(key, above)
            case gossip_events.Refused():
                self.watcher.refused(self, effect)
            case gossip_events.Wake(at):
                self.clock.at(at, self._wake_gossip)

    def _bar(self, peer: NodeId, code: Code, until: float) -> None:
        self._barred[peer] = until
        self.watcher.barred(self, peer)
        if (connection := self.links.get(peer)) is not None:
            self.ether.close(connection, self.id, code)

    # -- what the directory says --
    def _look_at(self, key: Key) -> None:
        """As the switchboard's ``changed``."""
        match key.kind:
            case NodeRecord.KIND:
                self._look_at_node(NodeId(key.subject))
            case Policy.KIND:
                self._bound()

    def _look_at_node(self, node: NodeId) -> None:
        sworn = self.readings.member(node)
        if sworn is None or not sworn.standing.admits:
            self._tell_liveness(liveness_events.Struck(node))
            self._tell_neighbours(neighbour_events.Unlisted(node))
            if (connection := self.links.get(node)) is not None:
                self.ether.close(connection, self.id, Code.REVOKED)
            return
        record = sworn.record
        self._tell_liveness(liveness_events.Joined(node, record.area))
        place = Place(
            node=node,
            area=record.area,
            site=record.site_id,
            nat_group=record.nat_group,
            is_critical=record.critical,
        )
        self._tell_neighbours(neighbour_events.Listed(place))
        if node == self.id:
            self._bound()

    def _bound(self) -> None:
        policy, mine = self.readings.policy(), self.readings.member(self.id)
        bounds = Bounds(full_mesh_up_to=policy.full_mesh_up_to, degree=policy.degree)
        if mine is not None:
            targets = targets_for(policy, mine.record)
            bounds = Bounds(
                full_mesh_up_to=policy.full_mesh_up_to, degree=policy.degree, targets=targets
            )
        self._tell_neighbours(neighbour_events.Bounded(bounds))

    # -- liveness and neighbours --
    def _tell_liveness(self, event: liveness_events.Event) -> None:
        self._carry_out_liveness(self.liveness.receive(event, self.clock.now))

    def _carry_out_liveness(self, effects: Iterable[liveness_events.Effect]) -> None:
        for effect in effects:
            match effect:
                case liveness_events.Tell(peer, frame):
                    self.ether.send(self, peer, frame)
                case liveness_events.RootHeard(peer, root):
                    self.tell_gossip(gossip_events.HeardRoot(peer, root))
                case liveness_events.Wake(at):
                    self._wakes["liveness"] = at
                    self.clock.at(at, self._wake_liveness, at)
                case liveness_events.Turned(node, state):
                    self.watcher.turned(self, effect)
                    self._tell_neighbours(neighbour_events.Turned(node, state.value))
                case liveness_events.Forged(peer):
                    self._bar(peer, Code.FORGED, self.clock.now + BARRED_FOR)

    def _tell_neighbours(self, event: neighbour_events.Event) -> None:
        for effect in self.neighbours.receive(event, self.clock.now):
            match effect:
                case neighbour_events.Seek(wish):
                    self.dials.seek(wish.node, slowly=wish.pace is neighbour_events.Pace.SLOW)
                case neighbour_events.LetGo(node):
                    self._let_go(node)
                case neighbour_events.Heal(seeds, nodes):
                    for node in (*(self.seeds[each] for each in seeds), *nodes):
                        self.dials.nudge(node)

    def _let_go(self, node: NodeId) -> None:
        self.dials.let_go(node)
        connection = self.links.get(node)
        if connection is not None and connection.dialler == self.id:
            self.ether.close(connection, self.id, Code.DONE)

    def _dial(self, peer: NodeId, within: float) -> None:
        self.ether.dial(self, peer, within)

    # -- what the net tells --
    def hear(self, peer: NodeId, frame: Frame, lag: float) -> None:
        """Take a frame of the control stream."""
        self.heard += 1
        if isinstance(frame, Records):
            self.tell_gossip(gossip_events.HeardRecords(peer, frame.items, lag))
        self._tell_liveness(liveness_events.Heard(peer, frame))

    def hear_sync(self, peer: NodeId, frame: Frame) -> None:
        self.heard += 1
        self.tell_gossip(gossip_events.HeardSync(peer, frame))

    def sync_opened(self, peer: NodeId, *, compares: bool) -> None:
        self.tell_gossip(gossip_events.SyncOpened(peer, compares))

    def sync_written(self, peer: NodeId) -> None:
        self.tell_gossip(gossip_events.SyncWritten(peer))

    def connected(self, peer: NodeId, *, dialled: bool) -> None:
        """Take note that a link to *peer* stands, in place of another or of none."""
        self.dials.stood(peer)
        for address, node in self.seeds.items():
            if node == peer:
                self._tell_neighbours(neighbour_events.SeedMet(address, node))
        member = self.readings.member(peer)
        area = member.record.area if member is not None else ""
        self.tell_gossip(gossip_events.PeerUp(peer, area, compares=False))
        self._tell_liveness(liveness_events.Connected(peer))
        self._tell_neighbours(neighbour_events.Connected(peer, dialled))
        if self.remembers:
            self._remember(peer)

    def _remember(self, peer: NodeId) -> None:
        """Take in, from the first *peer* that is met, what a fleet that is long up has said.

        Nothing is passed on. So a fleet is warm at once: that all hear for the first time of all
        is a storm of N x N x degree rumours, which is not what is looked at here.
        """
        words, self.remembers = self.remembers, ()
        for word in words:
            effects = self.liveness.receive(liveness_events.Heard(peer, word), self.clock.now)
            quiet = [each for each in effects if not isinstance(each, liveness_events.Tell)]
            self._carry_out_liveness(quiet)

    def disconnected(self, peer: NodeId, code: Code, after: float) -> None:
        self.tell_gossip(gossip_events.PeerDown(peer))
        self._tell_liveness(liveness_events.Disconnected(peer, clean=code in CLEAN))
        self._tell_neighbours(neighbour_events.Disconnected(peer))
        self.dials.lost(peer, after)

    def missed(self, peer: NodeId, *, refused: bool) -> None:
        """Take note that a dial of *peer* came to nothing."""
        self._tell_neighbours(neighbour_events.DialFailed(peer))
        self.dials.missed(peer, refused=refused)

    def shown(self, record: bytes, public_key: bytes) -> None:
        """Look at the node record that the other end of a handshake shows."""
        self.tell_gossip(gossip_events.Presented(public_key, record))

    def admits(self, peer: NodeId) -> bool:
        """Return whether *peer* is let in."""
        if self._barred.get(peer, -1.0) > self.clock.now:
            return False
        member = self.readings.member(peer)
        return member is not None and member.standing.admits

    def own_record(self) -> bytes:
        """Return this node's record as it is held here, packed; nothing if it is not."""
        held = self.directory.get(Key(NodeRecord.KIND, self.id))
        return b"" if held is None else pack_envelope(held.envelope)

    # -- own words --
    def say(self, kind: type[OwnWord], **content: Any) -> Envelope:  # noqa: ANN401 -- any field
        """Sign and publish what this node says of itself."""
        self._words[kind] = content
        return self._say(kind, 0)

    def _reissue(self, key: Key, above: int) -> None:
        for kind in self._words:
            if key == Key(kind.KIND, self.id):
                self._above[kind] = max(above, self._above.get(kind, 0))
                due = max(self.clock.now + SETTLING, self._said_at.get(kind, -APART) + APART)
                self.clock.at(due, self._say_again, kind)

    def _say_again(self, kind: type[OwnWord]) -> None:
        if kind in self._above and not self._is_late(self._say_again, kind):
            self._say(kind, self._above.pop(kind))

    def _say(self, kind: type[OwnWord], above: int) -> Envelope:
        now = self.unix_now()
        sequence = max(self.directory.next_sequence(Key(kind.KIND, self.id), now), above + 1)
        record = kind(
            fabric=self.papers.fabric.id,
            subject=self.id,
            issued_at=int(now),
            expires_at=int(now) + kind.LIFE,
            sequence=sequence,
            **self._words[kind],
        )
        envelope = sign_payload(encode_record(record), public(self.key), self._signature)
        self._said_at[kind] = self.clock.now
        self.tell_gossip(gossip_events.Published(envelope))
        return envelope

    def _signature(self, message: bytes) -> bytes:
        return self.key.sign(message).signature
