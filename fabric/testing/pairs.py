"""Whole nodes that know each other, over a network in memory or over loopback."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from attrs import define, evolve, field, frozen

from fabric import durable
from fabric.config import HostPort, NodeConfig, PeerConfig, QuicConfig, ServiceConfig
from fabric.core.access import parse_selector
from fabric.errors import RefusedError
from fabric.net.tls import NodeKey
from fabric.node import Node, open_node
from fabric.runtime.channels import Channel
from fabric.testing.factories import FABRIC_ID
from fabric.testing.network import Network
from fabric.trio_quic import Transport, open_udp_socket


@frozen(kw_only=True)
class Member:
    """One node of a test's fabric, as the others are told of it."""

    name: str
    seed: int
    address: tuple[str, int]
    area: str = "home"
    roles: frozenset[str] = frozenset()
    offers: frozenset[str] = frozenset()
    is_dialled: bool = True
    """Whether the others know its address."""

    @property
    def key(self) -> NodeKey:
        return NodeKey.from_seed(self.seed.to_bytes(32, "big"))

    def as_peer(self) -> PeerConfig:
        return PeerConfig(
            name=self.name,
            public_key=self.key.public,
            area=self.area,
            roles=self.roles,
            offers=self.offers,
            address=HostPort(*self.address) if self.is_dialled else None,
        )


def a_service(name: str = "demo", *open_to: str, **changes: Any) -> ServiceConfig:  # noqa: ANN401
    """Return a service that *open_to* (any node, unless said) may open."""
    service = ServiceConfig(name=name, open_to=tuple(map(parse_selector, open_to or ("any",))))
    return evolve(service, **changes)


@define
class Fleet:
    """A fabric whose every node is given the same list of members."""

    folder: Path
    """Keys and state, a folder per node."""
    network: Network | None = None
    """``None``: UDP on loopback."""
    members: dict[str, Member] = field(init=False, factory=dict)
    services: Mapping[str, ServiceConfig] = field(factory=lambda: {"demo": a_service()})

    def add(self, name: str, **facts: Any) -> Member:  # noqa: ANN401 -- fields of a Member
        """Add a member; its key follows from how many there were."""
        seed = len(self.members) + 1
        facts.setdefault("address", self._an_address(seed))
        member = self.members[name] = Member(name=name, seed=seed, **facts)
        return member

    def config(self, name: str, **changes: Any) -> NodeConfig:  # noqa: ANN401 -- NodeConfig's
        """Return the configuration of *name*, changed as asked. Its key file exists after."""
        member, folder = self.members[name], self.folder / name
        durable.own_folder(folder)
        durable.replace_file(folder / "node.key", member.key.seed.hex().encode() + b"\n")
        config = NodeConfig(
            name=name,
            fabric_id=FABRIC_ID,
            area=member.area,
            roles=member.roles,
            key_file=folder / "node.key",
            state_dir=folder / "state",
            quic=QuicConfig(listen=HostPort(*member.address)),
            peers=tuple(m.as_peer() for m in self.members.values() if m.name != name),
            services=dict(self.services),
            drain_timeout=2.0,
        )
        return evolve(config, **changes)

    @asynccontextmanager
    async def open(self, name: str, **changes: Any) -> AsyncGenerator[Node]:  # noqa: ANN401
        """Run *name* for the body of the ``async with``; again after that, it is restarted."""
        async with open_node(self.config(name, **changes), transport=self.transport(name)) as node:
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
        while not any(link.member.name == peer for link in node.peers.standing_links()):
            await anext(events)
