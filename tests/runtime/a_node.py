"""Nodes without a network: the real registry, opener and accepter, over pipes in memory."""

import functools
import random

import trio
from attrs import define, field

from fabric.codes import Code
from fabric.config import ServiceConfig
from fabric.core.identity import NodeId
from fabric.core.planes import Planes, PlaneState
from fabric.core.records import Key, Record
from fabric.core.roster import Member
from fabric.errors import RefusedError
from fabric.runtime.accepting import Accepter
from fabric.runtime.channels import Channels
from fabric.runtime.events import EventBus
from fabric.runtime.local import LocalConnection, LocalLink
from fabric.runtime.metrics import Metrics
from fabric.runtime.opening import LinkReach, Opener
from fabric.runtime.refusals import RefusalLog
from fabric.runtime.registry import PLANE, RegistryPlane
from fabric.runtime.services import Services
from fabric.testing.records import AFabric
from tests.core.a_directory import ADirectory, ALiveness


@define(eq=False)
class ALink:
    """One end of a link, over which channels are opened one way."""

    member: Member
    connection: LocalConnection = field(factory=LocalConnection)
    takes_channels: bool = True
    channels: int = 0

    def channel_began(self):
        self.channels += 1

    def channel_ended(self):
        self.channels -= 1


class ANode:
    """One node. What others would do to it (records, liveness, dialling) a test does."""

    def __init__(self, name: str, around: "Nodes", **facts):
        self.name, self.around = name, around
        self.record = around.fabric.node(name, **facts)
        self.node_id = self.record.node_id
        self.member = Member(
            name=name,
            key=self.record.key_bytes,
            area=self.record.area,
            roles=frozenset(self.record.roles),
        )
        self.directory, self.liveness = ADirectory(), ALiveness()
        self.links: dict[NodeId, ALink | LocalLink] = {}
        self.dialled: list[str] = []
        self.metrics, self.events, self.planes = Metrics(), EventBus(), Planes()
        self.planes.entered(PLANE, PlaneState.RUNNING)
        shared = {"refusals": RefusalLog(self.metrics)}
        shared["channels"] = self.channels = Channels(self.metrics, self.events)
        self.reach = LinkReach(link_to=self.links.get, connect=self.connect)
        shared["registry"] = self.registry = RegistryPlane(
            me=self.node_id,
            readings=self.directory,
            liveness=self.liveness,
            reach=self.reach,
            rng=random.Random(1),
            events=self.events,
            planes=self.planes,
        )
        self.services = Services(
            {}, may_offer=self.registry.may_offer, serving=self.registry.serving
        )
        self.opener = Opener(reach=self.reach, **shared)
        self.accepter = Accepter(
            name=lambda: name, services=self.services, take_sync=lambda *_: False, **shared
        )

    def hold(self, record: Record, *how, **options):
        """Have *record* in the directory, and the registry told."""
        self.registry.changed(self.directory.hold(record, *how, **options))

    async def connect(self, node: NodeId, within: float):
        other = self.around.by_id[node]
        self.dialled.append(other.name)
        with trio.move_on_after(within):
            await self.around.dial(other)
            return self.link(other)
        raise RefusedError(Code.HANDSHAKE_TIMEOUT)

    def link(self, other: "ANode"):
        """Link this node to *other*, so that channels can be opened there."""
        here, there = ALink(other.member), ALink(self.member)
        there.connection = here.connection
        self.links[other.node_id] = here
        self.around.nursery.start_soon(other.accepter.accept_channels, there)
        return here

    def serve(self, service: str, handler, *, auto_accept=True, **settings):
        """Serve *service* here, whether or not it is permitted, or told to anybody."""
        self.services.configs[service] = ServiceConfig(name=service, **settings)
        nursery = self.around.nursery
        return self.services.offer(service, handler, auto_accept=auto_accept, nursery=nursery)

    def run(self):
        """Keep the registry, with its probes."""
        keep = functools.partial(self.registry.run, self.opener.probe, self.services.review)
        self.around.nursery.start_soon(keep)

    def status(self, service: str = "demo") -> str:
        return str(self.registry.state_of(service).status)


@define(eq=False)
class Nodes:
    """A fabric of nodes that know each other and are alive. None is linked to any other."""

    nursery: trio.Nursery
    fabric: AFabric = field(factory=AFabric)
    by_id: dict[NodeId, ANode] = field(factory=dict)
    told: dict[Key, Record] = field(factory=dict)
    """What everybody holds."""
    unreachable: dict[str, Code | None] = field(factory=dict)
    """Why nodes of that name cannot be dialled; ``None``: nothing comes of it, ever."""

    def add(self, name: str, *offers: str, **facts) -> ANode:
        """Add a node that says it offers *offers*."""
        node = ANode(name, self, **facts)
        for record in self.told.values():
            node.hold(record)
        self.by_id[node.node_id] = node
        self.hold(node.record)
        for one in self.by_id.values():
            for other in self.by_id.values():
                one.liveness.states[other.node_id] = "alive"
                one.registry.turned(other.node_id)
        if offers:
            self.hold(self.fabric.offers(name, *offers))
        node.links[node.node_id] = LocalLink(node.member)
        self.nursery.start_soon(node.accepter.accept_channels, node.links[node.node_id])
        return node

    def hold(self, *records: Record):
        """Have *records* everywhere."""
        for record in records:
            self.told[record.key] = record
            for node in self.by_id.values():
                node.hold(record)

    def service(self, name: str = "demo", **fields):
        """Have the record of a service everywhere: of any node, for any node, unless told."""
        self.hold(self.fabric.service(name, **fields))

    async def dial(self, other: ANode):
        await trio.lowlevel.checkpoint()
        if other.name in self.unreachable:
            code = self.unreachable[other.name]
            if code is None:
                await trio.sleep_forever()
            raise RefusedError(code)


async def echo(channel):
    """Send back what comes."""
    while data := await channel.receive_some():
        await channel.send_all(data)


async def refusal(node: ANode, service: str = "demo", **options) -> RefusedError:
    """Return how *node* is refused *service*; a channel that opens is an AssertionError."""
    try:
        async with node.opener.open_channel(service, **options):
            raise AssertionError(f"{service} was opened")
    except RefusedError as refused:
        return refused
