"""Whole nodes that know each other, over a network in memory or over loopback."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio
from attrs import define, evolve, field, frozen

from fabric.config import HostPort, NodeConfig, QuicConfig, ServiceConfig
from fabric.errors import RefusedError
from fabric.net.tls import NodeKey
from fabric.node import Node, open_node
from fabric.runtime.channels import Channel
from fabric.testing.disk import in_place
from fabric.testing.network import Network
from fabric.testing.papers import Papers
from fabric.testing.records import a_key_of
from fabric.trio_quic import Transport, open_udp_socket


@frozen(kw_only=True)
class Member:
    """One node of a test's fabric: what its signed record says, and where it is."""

    name: str
    address: tuple[str, int]
    area: str = "home"
    roles: frozenset[str] = frozenset()
    labels: Mapping[str, str] = field(factory=dict)
    is_dialled: bool = True
    """Whether it is among the seeds of the others."""
    is_listed: bool = True
    """Whether a record of it was signed."""

    @property
    def key(self) -> NodeKey:
        return NodeKey.from_seed(bytes(a_key_of(f"node/{self.name}")))


def a_service(name: str = "demo", **settings: Any) -> ServiceConfig:  # noqa: ANN401
    """Return how a node answers a service; who may open it is :meth:`Fleet.grant`'s to say."""
    return evolve(ServiceConfig(name=name), **settings)


@define
class Fleet:
    """A fabric whose every node is handed all of its records and everybody's address.

    ``demo`` may be offered and opened by any node, unless :meth:`grant` says otherwise.
    """

    folder: Path
    """Keys and state, a folder per node; and the papers of all."""
    network: Network | None = None
    """``None``: UDP on loopback."""
    members: dict[str, Member] = field(init=False, factory=dict)
    grants: dict[str, Mapping[str, Any]] = field(init=False)
    """By service, fields of its record."""
    services: Mapping[str, ServiceConfig] = field(factory=dict)
    papers: Papers = field(init=False)
    clocks: dict[str, float] = field(init=False, factory=dict)
    """By name, the seconds by which a node's clock is ahead; of nodes in memory only."""
    travelled: float = field(init=False, default=0.0)
    """Seconds by which all clocks of nodes in memory were put forward: see :meth:`travel`."""
    _began: tuple[float, float] | None = field(init=False, default=None)
    """Trio's time and the unix time when the latter was first asked for."""

    @grants.default
    def _only_demo(self) -> dict[str, Mapping[str, Any]]:
        return {"demo": {}}

    @papers.default
    def _in_folder(self) -> Papers:
        return Papers(self.folder / "papers")

    def add(self, name: str, **facts: Any) -> Member:  # noqa: ANN401 -- fields of a Member
        """Add a member; its key follows from its name."""
        facts.setdefault("address", self._an_address(len(self.members) + 1))
        member = self.members[name] = Member(name=name, **facts)
        return member

    def grant(self, service: str, *open_to: str, **fields: Any) -> None:  # noqa: ANN401
        """Say who may open *service*; nodes that are started from now on know it.

        *fields* are others of a service record: any node may offer it unless they say so.
        """
        self.grants[service] = {"open_to": open_to, **fields}

    def publish(self) -> None:
        """Write the records of all members and services where configurations find them."""
        fabric = self.papers.fabric
        for member in (each for each in self.members.values() if each.is_listed):
            roles = tuple(sorted(member.roles))
            record = fabric.node(member.name, area=member.area, roles=roles, labels=member.labels)
            self.papers.publish(record)
        for name, fields in self.grants.items():
            self.papers.publish(fabric.service(name, **fields))

    def config(self, name: str, **changes: Any) -> NodeConfig:  # noqa: ANN401 -- NodeConfig's
        """Return the configuration of *name*, changed as asked. What it names exists after."""
        member, folder = self.members[name], self.folder / name
        self.publish()
        self.papers.write_key(name, folder / "node.key")
        config = NodeConfig(
            name=name,
            trust_root=self.papers.trust_root,
            key_file=folder / "node.key",
            seeds=tuple(
                HostPort(*other.address)
                for other in self.members.values()
                if other is not member and other.is_dialled
            ),
            records=(self.papers.records,),
            roles=member.roles,
            state_dir=folder / "state",
            quic=QuicConfig(listen=HostPort(*member.address)),
            services=dict(self.services),
            drain_timeout=2.0,
        )
        return evolve(config, **changes)

    @asynccontextmanager
    async def open(self, name: str, **changes: Any) -> AsyncGenerator[Node]:  # noqa: ANN401
        """Run *name* for the body of the ``async with``; again after that, it is restarted."""
        config, transport = self.config(name, **changes), self.transport(name)
        async with open_node(config, transport=transport, **self.surroundings(name)) as node:
            yield node

    async def keep_running(
        self,
        name: str,
        changes: Mapping[str, Any] | None = None,
        *,
        task_status: trio.TaskStatus[Node],
    ) -> None:
        """Run *name* until cancelled; for :meth:`trio.Nursery.start`, which returns the node."""
        async with self.open(name, **(changes or {})) as node:
            task_status.started(node)
            await trio.sleep_forever()

    def unix_now(self, name: str = "") -> float:
        """Return the time by which nodes in memory live, as the clock of *name* shows it.

        It passes as trio's does, and jumps by :meth:`travel`.
        """
        now = trio.current_time()
        if self._began is None:
            self._began = now, self.papers.fabric.now
        began, unix_began = self._began
        return unix_began + now - began + self.travelled + self.clocks.get(name, 0.0)

    def travel(self, seconds: float) -> None:
        """Let all dates be *seconds* later, and what is signed from now on be of then.

        Only the clocks by which records are dated and expire jump. Trio's, by which nodes probe,
        wait and dial, goes on as it was: that is what a process sees that was suspended, and it
        makes a month of leases and renewals cost as many seconds as there are jumps.
        """
        self.travelled += seconds
        self.papers.fabric.now = int(self.unix_now())

    def surroundings(self, name: str) -> dict[str, Any]:
        """Return what nodes on a virtual clock are given, which would jump past threads."""
        if self.network is None:
            return {}
        return {"run_blocking": in_place, "unix_now": partial(self.unix_now, name)}

    def transport(self, name: str) -> Transport:
        """Return a fresh socket at the address of *name*."""
        address = self.members[name].address
        if self.network is not None:
            return self.network.transport(address)
        return open_udp_socket(*address, buffer_bytes=1 << 20)

    def _an_address(self, seed: int) -> tuple[str, int]:
        if self.network is not None:
            return f"10.0.0.{seed}", 4433
        probe = open_udp_socket("127.0.0.1", 0, buffer_bytes=1 << 16)
        try:
            return probe.address[0], probe.address[1]
        finally:
            probe.close()


async def echo(channel: Channel) -> None:
    """Send back what comes: a handler for :meth:`Node.serve`."""
    while data := await channel.receive_some():
        await channel.send_all(data)


async def receive_all(channel: Channel) -> bytes:
    """Return what comes until the clean end."""
    received = bytearray()
    while data := await channel.receive_some():
        received += data
    return bytes(received)


async def refusal(node: Node, service: str = "demo", **options: Any) -> RefusedError:  # noqa: ANN401
    """Return how *node* is refused *service*; a channel that opens is an AssertionError."""
    try:
        async with node.open_channel(service, **options):
            raise AssertionError(f"{service} was opened")
    except RefusedError as refused:
        return refused


async def connected(node: Node, peer: str) -> None:
    """Wait until *node* has a standing link to *peer*."""
    async with node.events.open_subscription() as events:
        while not any(link.member.name == peer for link in node.overlay.peers.standing_links()):
            await anext(events)


async def offered(node: Node, service: str = "demo", *names: str) -> None:
    """Wait until *node* knows that nodes of these *names* may be asked for *service*."""
    async with node.events.open_subscription() as events:
        while not set(names).issubset(node.registry.state_of(service).instances):
            await anext(events)
