"""The overlay: how one node knows the fabric and is linked to it, put together from its planes.

::

    gossip -- what is signed: the directory, by waves and sync streams
       |
    liveness -- who is there         neighbours -- whom to have a link to
       |                                 |
    registry -- which service where   peers -- the links, and one task for each peer
                                      admission, seeds -- first contact, both ways

:class:`Overlay` makes them, in this order, and the :class:`~.switchboard.Switchboard` joins them.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import structlog

from fabric.codes import Code
from fabric.config import HostPort, NodeConfig
from fabric.core.admission import Myself, Ourselves
from fabric.core.clocks import Skew
from fabric.core.diversity import Place
from fabric.core.frames import Bye
from fabric.core.identity import NodeId, NodeName, has_signed
from fabric.core.liveness import Liveness
from fabric.core.neighbours import Neighbours
from fabric.core.own_life import latest_boot_at
from fabric.core.planes import Planes
from fabric.core.records import Key
from fabric.core.roster import Address, Member
from fabric.core.standing import Standings
from fabric.runtime import (
    clocks,
    gossip,
    liveness,
    meeting,
    neighbours,
    own_words,
    peers,
    registry,
    seeds,
    sync,
)
from fabric.runtime.candidates import candidates_at
from fabric.runtime.events import EventBus
from fabric.runtime.knowledge import Knowledge
from fabric.runtime.letters import NodeLetters
from fabric.runtime.links import AnyLink
from fabric.runtime.local import LocalLink
from fabric.runtime.memory import Memory
from fabric.runtime.metrics import Metrics
from fabric.runtime.opening import LinkReach
from fabric.runtime.refusals import RefusalLog
from fabric.runtime.refused_peers import RefusedPeers
from fabric.runtime.roster import DirectoryRoster, member_of
from fabric.runtime.switchboard import Switchboard
from fabric.trio_quic import Endpoint

log = structlog.get_logger()


class Overlay:
    """The planes by which a node knows its fabric. Belongs to the node's trio thread."""

    def __init__(
        self,
        config: NodeConfig,
        me: Myself,
        knowledge: Knowledge,
        *,
        accept_channels: Callable[[AnyLink], Awaitable[None]],
        planes: Planes,
        metrics: Metrics,
        events: EventBus,
        refusals: RefusalLog,
        rng: random.Random,
    ) -> None:
        """Put the planes together; nothing is started, and nothing that was recalled is told."""
        self.config = config
        self.me = me
        self.knowledge = knowledge
        self.planes = planes
        readings = knowledge.readings
        self.local = LocalLink(self._itself())
        self.roster = DirectoryRoster(me.node_id, readings)
        for seen in knowledge.remembered.peers:
            if seen.address is not None and (place := _parsed(seen.address)) is not None:
                self.roster.saw(seen.peer, place)
        for candidate in sorted(knowledge.remembered.candidates, key=lambda each: each.at):
            if (place := _parsed(candidate.address)) is not None:
                self.roster.sightings.saw(candidate.peer, place)

        self.gossip = gossip.GossipPlane(
            core=knowledge.gossip,
            cache=knowledge.cache,
            metrics=metrics,
            events=events,
            planes=planes,
            unix_now=knowledge.unix_now,
        )
        self.streams = sync.SyncStreams(
            receive=self.gossip.receive, planes=planes, root=knowledge.gossip.root
        )
        self.own_words = own_words.OwnWords(
            me=me,
            directory=knowledge.directory,
            cache=knowledge.cache,
            publish=self.gossip.publish,
            unix_now=knowledge.unix_now,
            rng=rng,
        )
        self.memory = Memory(knowledge, self.gossip.receive)
        self.liveness = liveness.LivenessPlane(
            core=Liveness(
                me=me.node_id,
                area=self.local.member.area,
                boot_seq=me.boot_seq,
                fabric_id=me.fabric_id,
                rng=rng,
                sign=me.sign,
                verify=self._has_signed,
                root=knowledge.gossip.root,
                latest_boot=lambda: latest_boot_at(knowledge.unix_now()),
            ),
            readings=readings,
            events=events,
            metrics=metrics,
            planes=planes,
        )
        self.neighbours = neighbours.NeighboursPlane(
            core=Neighbours(
                Place(node=me.node_id, area=self.local.member.area),
                rng,
                seeds=self._seed_addresses(),
                is_busy=self._is_busy,
            ),
            readings=readings,
            planes=planes,
        )
        letters = NodeLetters(
            me.node_id,
            knowledge.trust,
            knowledge.directory,
            self.gossip.judged,
            knowledge.given,
        )
        self.we = Ourselves(me, self.roster, letters, Standings(me.node_id), self._objection)
        refused = RefusedPeers(metrics, events, refusals)
        self.peers = peers.Peers(
            we=self.we,
            planes=planes,
            events=events,
            refused=refused,
            rng=rng,
            accept_channels=accept_channels,
        )
        self.meeting = meeting.Meeting(
            we=self.we, enter=self.peers.enter, refused=refused, planes=planes
        )
        self.reach = LinkReach(link_to=self.link_to, connect=self.connect)
        self.registry = registry.RegistryPlane(
            me=me.node_id,
            readings=readings,
            liveness=self.liveness.core,
            reach=self.reach,
            rng=rng,
            events=events,
            planes=planes,
        )
        self.clocks = clocks.Clocks(
            skew=Skew(),
            unix_now=knowledge.unix_now,
            links=self.peers.standing_links,
            planes=planes,
        )
        self.switchboard = Switchboard(
            me=me.node_id,
            roster=self.roster,
            peers=self.peers,
            gossip=self.gossip,
            streams=self.streams,
            liveness=self.liveness,
            neighbours=self.neighbours,
            registry=self.registry,
            memory=self.memory,
            clocks=self.clocks,
        )
        self.seeds = seeds.Seeds(
            addresses=self._seed_addresses(),
            dialling=self.peers.dialling,
            refused=refused,
            rng=rng,
            met=self.switchboard.met,
        )
        self._join()

    def _join(self) -> None:
        self.switchboard.join()
        self.meeting.duplicated = self.switchboard.duplicated
        self.own_words.contested = self.switchboard.contested
        self.neighbours.dial_seed = self.seeds.dial
        self.gossip.reissue = self.own_words.reissue
        self.gossip.changed += [self._look_at_myself, self.own_words.changed]
        self.gossip.resume(self.knowledge.take_effects())
        self.memory.seeds((place.host, place.port) for place in self.config.seeds)

    # -- this node --
    def _itself(self) -> Member:
        """Return this node as its record describes it, or as nobody yet does."""
        record = self.knowledge.own_record()
        if record is not None:
            return member_of(record)
        return Member(name=NodeName(self.config.name), key=self.me.key)

    def _look_at_myself(self, key: Key) -> None:
        if key.subject == self.me.node_id:
            self.local.member = self._itself()
            self.me.name = self.local.member.name

    def _has_signed(self, node: NodeId, message: bytes, signature: bytes) -> bool:
        sworn = self.knowledge.readings.member(node)
        return sworn is not None and has_signed(sworn.record.key_bytes, message, signature)

    def advertise(self, endpoint: Endpoint) -> None:
        """Say where this node may be reached, from now on: its socket is bound."""
        self.own_words.follow(
            lambda: candidates_at(
                HostPort(*endpoint.address),
                self.config.quic.advertise,
                locality_group=self.local.member.locality_group,
            )
        )

    def _seed_addresses(self) -> tuple[Address, ...]:
        configured = [(place.host, place.port) for place in self.config.seeds]
        remembered = map(_parsed, (seed.address for seed in self.knowledge.remembered.seeds))
        return seeds.seeds_of(configured, filter(None, remembered))

    # -- links --
    def link_to(self, node: NodeId) -> AnyLink | None:
        """Return the link to *node* that stands; this node is always linked to itself."""
        return self.local if node == self.me.node_id else self.peers.link_to(node)

    async def connect(self, node: NodeId, within: float) -> AnyLink:
        """Return a link to *node*, dialled if there is none. Raises :exc:`RefusedError`."""
        return self.link_to(node) or await self.neighbours.connect(node, within)

    def _objection(self, node: NodeId) -> Code | None:
        """Return why no link that *node* dialled is to be kept."""
        if self.peers.dialling.is_over:
            return Code.SHUTTING_DOWN
        return self.neighbours.core.objection(node)

    def _is_busy(self, node: NodeId) -> bool:
        link = self.peers.link_to(node)
        return link is not None and link.channels > 0

    # -- running --
    def bodies(self, endpoint: Endpoint) -> Iterator[tuple[str, Callable[[], Awaitable[object]]]]:
        """Yield each plane that has a task of its own, by name, in the order of data flow."""
        yield meeting.PLANE, partial(self.meeting.run, endpoint)
        yield seeds.PLANE, partial(self.seeds.run, endpoint)
        yield peers.PLANE, partial(self.peers.run, endpoint)
        yield gossip.PLANE, self.gossip.run
        yield sync.PLANE, self.streams.run
        yield liveness.PLANE, self.liveness.run
        yield neighbours.PLANE, self.neighbours.run
        yield own_words.PLANE, self.own_words.run
        yield clocks.PLANE, self.clocks.run

    async def leave(self) -> None:
        """Tell the fabric that this node goes, and close every link. None is made any more."""
        self.peers.dialling.is_over = True
        self.liveness.leave()
        await self.peers.flush()
        await self.peers.tell_all(Bye(code=Code.SHUTTING_DOWN.value))
        await self.peers.close_all(Code.SHUTTING_DOWN)

    async def settle(self) -> None:
        """Wait until each seed was tried, and each peer that is known by then; and, if anybody is
        there, until this node knows what they know."""
        await self.seeds.tried.wait()
        await self.peers.wait_settled()
        if self.peers.standing_links():
            await self.streams.caught_up.wait()


def _parsed(address: str) -> Address | None:
    try:
        place = HostPort.parse(address)
    except ValueError:
        return None  # a disk may say anything
    return place.host, place.port
