"""A whole fabric of real nodes in one process: what runs, its weather, and its clocks.

Real QUIC, real files, one network in memory and trio's ``MockClock``: an hour passes in the time
that the nodes need to think about it. Three times are apart on purpose:

- *trio's time* is that by which nodes probe, dial and wait. It jumps to whatever is due next.
- *dates* are what each node's own clock shows. They pass as trio's time does, differ by node
  (:attr:`.Fleet.clocks`), and jump by :meth:`.Fleet.travel`.
- *real time* is what a test costs: some 0.2 ms for each datagram.

A node ends in one of two ways. :meth:`LiveFabric.stop` lets it say goodbye;
:meth:`LiveFabric.kill` takes its network away first, so that nobody hears of it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio
from attrs import define, field

from fabric.codes import Code
from fabric.config import HostPort, NodeConfig, QuicConfig
from fabric.core.codec import MAX_OPEN, FrameReader, encode
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.envelope import Envelope
from fabric.core.frames import CHANNEL_ID_BYTES, Open, Records, Refused
from fabric.core.liveness_events import State
from fabric.core.records import Record
from fabric.node import Node, open_node
from fabric.runtime.admission import next_frame
from fabric.runtime.publishing import publish
from fabric.runtime.snapshot import Row
from fabric.testing.network import Address, MemoryTransport, Network
from fabric.testing.pairs import Fleet, echo
from fabric.testing.papers import Papers
from fabric.testing.records import AFabric

LOOK_EVERY: Final = 0.1
"""Virtual seconds between two looks at a condition."""

WAVE_ID: Final = bytes(8)


@define(eq=False)
class Life:
    """One process: its node, and what ends it."""

    node: Node
    transport: MemoryTransport
    scope: trio.CancelScope
    ending: trio.Event = field(init=False, factory=trio.Event)
    over: trio.Event = field(init=False, factory=trio.Event)


@define(eq=False)
class LiveFabric:
    """Nodes by name. None is told anything but its own record, unless asked for."""

    fleet: Fleet
    network: Network
    _nursery: trio.Nursery
    lives: dict[str, Life] = field(init=False, factory=dict)
    """What runs, by name; a second process with the same key by the name it was started as."""

    # -- who there is --
    @property
    def papers(self) -> Papers:
        return self.fleet.papers

    @property
    def fabric(self) -> AFabric:
        return self.fleet.papers.fabric

    def __getitem__(self, name: str) -> Node:
        return self.lives[name].node

    @property
    def nodes(self) -> list[Node]:
        """Return all that run, sorted by name."""
        return [self.lives[name].node for name in sorted(self.lives)]

    def add(self, *names: str, **facts: Any) -> None:  # noqa: ANN401 -- fields of a Member
        """Add members; none of them is known to any other, or runs."""
        for name in names:
            self.fleet.add(name, **facts)

    def address(self, name: str) -> Address:
        return self.fleet.members[name].address

    def record_of(self, name: str) -> Path:
        """Return the file of the signed record of the node *name*."""
        return self.papers.records / "node" / f"{self.fabric.node_id(name)}.json"

    # -- running --
    async def start(
        self,
        name: str,
        *,
        seeds: Iterable[str] = (),
        knows: Iterable[Path] | None = None,
        serves: Iterable[str] = (),
        called: str = "",
        at: Address | None = None,
        advertise: Iterable[str] = (),
        **changes: Any,  # noqa: ANN401 -- NodeConfig's
    ) -> Node:
        """Run *name* until it is ended; again after that, it goes on from its own disk.

        It is given the addresses of *seeds* and what is in *knows*: files or folders of records;
        its own record, unless told. *called* and *at* are for a second process with one key.
        *advertise* is where it says that it is, where that is not so.
        """
        address = at or self.address(name)
        config = self.fleet.config(
            name,
            records=(self.record_of(name),) if knows is None else tuple(knows),
            seeds=tuple(HostPort(*self.address(seed)) for seed in seeds),
            quic=QuicConfig(
                listen=HostPort(*address), advertise=tuple(map(HostPort.parse, advertise))
            ),
            **changes,
        )
        run = partial(self.keep_running, called or name, config, tuple(serves))
        node: Node = await self._nursery.start(run)
        return node

    async def keep_running(
        self,
        called: str,
        config: NodeConfig,
        serves: Iterable[str],
        *,
        task_status: trio.TaskStatus[Node],
    ) -> None:
        """Run one process until it is ended, on the network and by the clock of *called*."""
        listen = config.quic.listen
        transport = self.network.transport((listen.host, listen.port))
        around = self.fleet.surroundings(called)
        around |= {"transport": transport, "roles": {"egress": partial(_serve_echo, serves)}}
        with trio.CancelScope() as scope:
            async with open_node(config, **around) as node:
                life = self.lives[called] = Life(node, transport, scope)
                task_status.started(node)
                await life.ending.wait()
        if self.lives.get(called) is life:
            del self.lives[called]
        life.over.set()

    async def stop(self, *names: str) -> None:
        """Let the nodes *names* leave, one after the other."""
        for name in names:
            life = self.lives[name]
            life.ending.set()
            await life.over.wait()

    async def kill(self, *names: str) -> None:
        """Let the nodes *names* be gone without a word."""
        for name in names:
            life = self.lives[name]
            life.transport.unplug()
            life.scope.cancel()
            await life.over.wait()

    # -- weather --
    def partition(self, *sides: Iterable[str]) -> None:
        """Let nothing pass between members of different *sides* until :meth:`.Network.heal`."""
        self.network.partition(*([self.address(name)[0] for name in side] for side in sides))

    # -- what is signed, and said --
    def tell(self, at: str, *said: Record | Envelope) -> list[Row]:
        """Have records begin their way at the node *at*, signed by their authors.

        Raises :exc:`~fabric.errors.RefusedError` for one that does not count there.
        """
        node = self[at]
        return [publish(self._signed(each), node.knowledge, node.overlay.gossip) for each in said]

    def slip(self, sender: str, to: str, *said: Record | Envelope | bytes) -> None:
        """Have the node *sender* put records on its link to *to* that it does not hold itself."""
        packed = (
            each if isinstance(each, bytes) else pack_envelope(self._signed(each)) for each in said
        )
        frame = Records(items=tuple((each, 3, WAVE_ID, 0) for each in packed))
        assert self[sender].overlay.peers.post(self[to].node_id, frame), "no link, or no room"

    def _signed(self, said: Record | Envelope) -> Envelope:
        return said if isinstance(said, Envelope) else self.fabric.signed(said)

    # -- looking --
    def roots(self, *names: str) -> set[bytes]:
        """Return the digests of all that *names* hold, or all: one, if they hold the same."""
        return {self[name].knowledge.gossip.root() for name in names or self.lives}

    def agree(self, *names: str) -> bool:
        """Return whether *names*, or all nodes, hold the same."""
        return len(self.roots(*names)) == 1

    def is_meshed(self) -> bool:
        """Return whether every node is linked to every other."""
        return all(len(self.peers_of(name)) == len(self.lives) - 1 for name in self.lives)

    def is_offered(self, service: str, *names: str) -> bool:
        """Return whether every node would ask *names*, and nobody else, for *service*."""
        instances = (node.registry.state_of(service).instances for node in self.nodes)
        return all(each == names for each in instances)

    def is_settled(self, **offered: str) -> bool:
        """Return whether all hold the same, are linked, and know who serves what: demo="home"."""
        is_known = all(self.is_offered(service, name) for service, name in offered.items())
        return is_known and self.agree() and self.is_meshed()

    def peers_of(self, name: str) -> set[str]:
        """Return the names of those to whom *name* has a standing link."""
        return {link.member.name for link in self[name].overlay.peers.standing_links()}

    def state_of(self, name: str, seen_by: str) -> State | None:
        """Return what liveness says of *name* at *seen_by*."""
        node = self.fabric.node_id(name)
        return self[seen_by].overlay.liveness.core.state_of(node)

    def refused(self, name: str, code: Code) -> int:
        """Return how many records the node *name* has refused for *code*."""
        return self[name].metrics.records_refused.series.get((code,), 0)

    def health(self, name: str) -> dict[str, str]:
        """Return what health says at the node *name*: details by code."""
        return {row["code"]: row["detail"] for row in self[name].snapshot()["health"]}

    async def until(self, condition: Callable[[], object], within: float = 30.0) -> float:
        """Wait until *condition* holds; return the virtual seconds that it took.

        Raises :exc:`TimeoutError` where it does not hold *within* virtual seconds.
        """
        began = trio.current_time()
        while not condition():
            if trio.current_time() - began > within:
                raise TimeoutError(f"not so within {within} virtual seconds")
            await trio.sleep(LOOK_EVERY)
        return trio.current_time() - began

    async def opens(self, name: str, service: str = "demo", **options: Any) -> str:  # noqa: ANN401
        """Open a channel from *name*, have a byte make the round trip; return who served it.

        Raises :exc:`~fabric.errors.RefusedError` as :meth:`.Node.open_channel`.
        """
        async with self[name].open_channel(service, **options) as channel:
            await channel.send_all(b"x")
            assert await channel.receive_some() == b"x"
            return str(channel.peer)

    async def asks(
        self,
        name: str,
        of: str,
        service: str = "demo",
        client: str | None = None,
    ) -> Code | None:
        """Say ``Open`` from *name* to *of* without a look at any record; return its no, if so."""
        link = self[name].overlay.peers.link_to(self[of].node_id)
        assert link is not None
        stream = await link.connection.open_stream()
        channel_id = os.urandom(CHANNEL_ID_BYTES)
        wish = Open(channel_id=channel_id, service=service, deadline=5000, client=client)
        stream.send_nowait(encode(wish))
        answer = await next_frame(stream, FrameReader(limit=MAX_OPEN))
        stream.abort(Code.CANCELLED)
        return Code.from_wire(answer.code) if isinstance(answer, Refused) else None


async def _serve_echo(
    services: Iterable[str],
    node: Node,
    _config: NodeConfig,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    """Be a role that echoes on *services* for as long as its node runs."""
    async with trio.open_nursery() as nursery:
        for service in services:
            await nursery.start(partial(node.serve, service, echo))
        task_status.started()
        await trio.sleep_forever()


@asynccontextmanager
async def open_live_fabric(folder: Path, network: Network) -> AsyncGenerator[LiveFabric]:
    """Have a fabric without nodes; what is started runs until the end of the ``async with``."""
    async with trio.open_nursery() as nursery:
        yield LiveFabric(Fleet(folder, network), network, nursery)
        nursery.cancel_scope.cancel()
