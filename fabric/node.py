"""A node: every plane of it in one nursery, in the order in which bytes pass through them.

::

    UDP -- endpoint (QUIC) -- peers (admission, links) -- channels -- services and roles
                                                              `------ admin, views
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import structlog
import trio

from fabric import __version__
from fabric.codes import Code
from fabric.config import HostPort, NodeConfig, PeerConfig, ServiceConfig, load_config
from fabric.core.admission import Myself
from fabric.core.backoff import Backoff
from fabric.core.frames import Bye, Draining
from fabric.core.identity import FabricId, NodeId, NodeName
from fabric.core.offers import OfferBook
from fabric.core.planes import Planes, PlaneState
from fabric.core.roster import Address, Member, StaticRoster
from fabric.net.tls import NodeKey, certificate_for, load_key
from fabric.runtime import snapshot as views
from fabric.runtime.accepting import Accepter
from fabric.runtime.boot import claim_boot_seq, draw_instance
from fabric.runtime.channels import Channel, Channels
from fabric.runtime.events import EventBus
from fabric.runtime.exposures import Exposures
from fabric.runtime.inbound import InboundChannel
from fabric.runtime.links import AnyLink
from fabric.runtime.local import LocalLink
from fabric.runtime.logs import hush
from fabric.runtime.metrics import Metrics
from fabric.runtime.opening import Opener
from fabric.runtime.peers import PLANE, Peers
from fabric.runtime.refusals import RefusalLog
from fabric.runtime.services import Services
from fabric.runtime.supervise import keep_plane
from fabric.trio_quic import (
    Endpoint,
    Identity,
    Settings,
    Transport,
    open_endpoint_on,
    open_udp_socket,
)

log = structlog.get_logger()

SETTLE_WITHIN: Final = 2.0
"""Seconds that a start waits for peers: each is tried once, and one that is away is no reason
not to be ready."""

ENDING_WITHIN: Final = 1.0
"""Seconds for channels that were reset to be let go by their handlers."""

GOODBYE_WITHIN: Final = 2.0
"""Seconds for farewells. A peer that takes none finds out by itself."""


class Role(Protocol):
    """Something that a node does beside being a node. Runs until cancelled."""

    def __call__(
        self,
        node: Any,  # noqa: ANN401 -- each role names the part of it that it needs
        config: NodeConfig,
        *,
        task_status: trio.TaskStatus[Any],
    ) -> Awaitable[None]: ...


@asynccontextmanager
async def open_node(
    config: NodeConfig | Path | str,
    *,
    roles: Mapping[str, Role] | None = None,
    transport: Transport | None = None,
) -> AsyncGenerator[Node]:
    """Run a node for the body of the ``async with``.

    *config* is a configuration or the file that holds one. *roles* are started in order once the
    node is reachable, and are planes of it. *transport* stands in for the UDP socket.

    Raises :exc:`ConfigError` when the configuration, the key or the state cannot be used, and
    :exc:`OSError` when the UDP address cannot be bound. Yields when every peer was tried once, or
    after two seconds. Leaving the body says goodbye to the peers; it does not :meth:`~Node.drain`.
    """
    hush()
    if not isinstance(config, NodeConfig):
        config = await trio.to_thread.run_sync(load_config, Path(config))
    key = load_key(config.key_file)
    node = Node(config, key)
    async with (
        open_endpoint_on(
            transport or _socket(config),
            identity=Identity(*certificate_for(key)),
            settings=_settings(config),
            greeting=node.peers.challenge,
            reset_key=_reset_key(key),
        ) as node.endpoint,
        trio.open_nursery() as nursery,
    ):
        node.endpoint.exempt = node.peers_at.__contains__
        nursery.start_soon(node.refusals.run)
        nursery.start_soon(
            keep_plane,
            node.planes,
            PLANE,
            partial(node.peers.run, node.endpoint),
            Backoff(node.rng, floor=0.2, ceiling=5.0),
        )
        nursery.start_soon(node.accepter.accept_channels, node.local)
        with trio.move_on_after(SETTLE_WITHIN):
            await node.peers.wait_settled()
        for name, role in (roles or {}).items():
            node.roles[name] = await nursery.start(_play, name, role, node, name=name)
        node.begin()
        yield node
        await node.say_goodbye()
        nursery.cancel_scope.cancel()


async def _play(name: str, role: Role, node: Node, **start: Any) -> None:  # noqa: ANN401
    """Run *role* as a plane of *node*; *start* is its ``task_status``, which it serves itself.

    What it raises ends the node: a role is not restarted.
    """
    node.planes.entered(name, PlaneState.RUNNING)
    try:
        await role(node, node.config, **start)
    finally:
        node.planes.entered(name, PlaneState.STOPPED)


class Node:
    """A running node. Made by :func:`open_node`; belongs to its trio thread."""

    endpoint: Endpoint

    def __init__(self, config: NodeConfig, key: NodeKey) -> None:
        """Put the parts together. Reads and claims what the state folder holds; starts nothing."""
        self.config = config
        self.me = Myself(
            name=NodeName(config.name),
            key=key.public,
            fabric_id=FabricId(config.fabric_id),
            instance=draw_instance(),
            boot_seq=claim_boot_seq(config.state_dir),
            sign=key.sign,
        )
        self.state = "starting"
        """``starting``, ``ready`` or ``draining``."""
        self.stopping = trio.Event()
        """Set when somebody asked the process to end."""
        self.roles: dict[str, Any] = {}
        """What each role handed over when it had started."""
        self.rng = random.Random()
        self.planes = Planes()
        self.metrics = Metrics()
        self.metrics.observe(self.snapshot)
        self.events = EventBus()
        self.refusals = RefusalLog(self.metrics)
        self.started_at = time.monotonic()

        others = [peer for peer in config.peers if peer.public_key != key.public]
        self.peers_at = {(peer.address.host, peer.address.port) for peer in others if peer.address}
        roster = StaticRoster(map(_listed, others))
        self.services = Services(dict(config.services))
        self.exposures = Exposures(self.services, config.state_dir, config.services)
        self.exposures.load()
        self.book = OfferBook(
            declared=self.services.terms,
            expected={
                self.me.name: self.services.offerings.keys(),
                **{NodeName(peer.name): peer.offers for peer in others},
            },
        )
        self.local = LocalLink(_itself(config, key))
        self.channels = Channels(self.metrics, self.events)
        self.accepter = Accepter(
            me=config.name,
            services=self.services,
            channels=self.channels,
            refusals=self.refusals,
        )
        self.peers = Peers(
            me=self.me,
            roster=roster,
            book=self.book,
            services=self.services,
            planes=self.planes,
            metrics=self.metrics,
            events=self.events,
            refusals=self.refusals,
            rng=self.rng,
            accept_channels=self.accepter.accept_channels,
        )
        self.opener = Opener(
            me=self.local.member.subject,
            book=self.book,
            channels=self.channels,
            refusals=self.refusals,
            links=self.links,
        )

    @property
    def name(self) -> NodeName:
        return self.me.name

    @property
    def node_id(self) -> NodeId:
        return self.me.node_id

    # -- channels --
    def links(self) -> list[AnyLink]:
        """Return where channels can be opened: the connected peers, and this node itself."""
        return [self.local, *self.peers.standing_links()]

    def open_channel(
        self, service: str, *, client: str | None = None, deadline: float = 5.0
    ) -> AbstractAsyncContextManager[Channel]:
        """Hold a channel to *service*: see :meth:`Opener.open_channel`.

        *client* is the address of a client outside the fabric, and told only by an ingress.
        Raises :exc:`~fabric.errors.RefusedError` on entering.
        """
        return self.opener.open_channel(service, client=client, deadline=deadline)

    async def serve(
        self,
        service: str,
        handler: Callable[[InboundChannel], Awaitable[object]],
        *,
        auto_accept: bool = True,
        handler_nursery: trio.Nursery | None = None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Offer *service* until cancelled; *handler* runs in a task per channel.

        A channel is closed when its handler returns and reset when it raises. What the other end
        does ends one channel; any other exception is a bug of the handler's and leaves this call.
        With ``auto_accept=False`` the handler first calls ``channel.accept()`` or ``.refuse()``,
        within the opener's deadline. Channels run in *handler_nursery*, if given, and outlive
        this call there; else they are cancelled with it.

        Raises :exc:`RefusedError` for a service that the configuration does not declare.
        """
        async with trio.open_nursery() as own:
            offering = self.services.offer(
                service, handler, auto_accept=auto_accept, nursery=handler_nursery or own
            )
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                self.services.end(offering)

    async def expose(self, service: ServiceConfig) -> None:
        """Declare *service* from now on, across restarts, and tell the peers once it is served.

        Whoever serves backends (role ``egress``) learns of it by ``services.next_change()``.
        """
        await self.exposures.expose(service)

    async def unexpose(self, name: str) -> None:
        """Take back what :meth:`expose` did. Raises :exc:`RefusedError` for an unknown name."""
        await self.exposures.unexpose(name)

    # -- the end --
    async def drain(self) -> int:
        """Take no new channels, let the open ones finish within ``drain_timeout``, reset the rest.

        Returns how many were reset, with ``drain_timeout``. Peers are told first, so that they
        use other instances. Called again, it waits as well.
        """
        within = self.config.drain_timeout
        self.state, self.services.is_draining, self.opener.is_draining = "draining", True, True
        log.info("node.draining", channels=len(self.channels), within_s=within)
        await self.peers.tell_all(Draining(until=int(within * 1000)))
        with trio.move_on_after(within):
            await self.channels.wait_empty()
        reset = self.channels.reset_all(Code.DRAIN_TIMEOUT)
        with trio.move_on_after(ENDING_WITHIN):
            await self.channels.wait_empty()
        log.info("node.drained", reset=reset)
        return reset

    def stop(self) -> None:
        """Ask whoever runs this node to leave :func:`open_node`'s body. Returns at once."""
        self.stopping.set()

    def begin(self) -> None:
        """Be ready: everything has been started."""
        self.state = "ready"
        listen = str(HostPort(*self.endpoint.address))
        log.info("node.ready", id=self.node_id, listen=listen, boot_seq=self.me.boot_seq)

    async def say_goodbye(self) -> None:
        """Tell the peers that this node goes, so that they need not find out."""
        with trio.move_on_after(GOODBYE_WITHIN):
            await self.peers.tell_all(Bye(code=Code.SHUTTING_DOWN.value))
            await self.peers.close_all(Code.SHUTTING_DOWN)

    # -- views --
    def channel(self, channel_id: str) -> Mapping[str, Any] | None:
        """Return the channel of that id, open or lately ended, as the snapshot shows it."""
        info = self.channels.find(channel_id)
        return views.channel_row(info) if info is not None else None

    def snapshot(self) -> dict[str, Any]:
        """Return the node as it is now, in JSON's own types."""
        peers = self.peers.by_id.values()
        connected = {peer.member.name for peer in peers if peer.link is not None}
        return {
            "v": views.VERSION,
            "node": self._row(),
            "peers": [views.peer_row(peer, self.book) for peer in peers],
            "channels": [views.channel_row(info) for info in self.channels.view()],
            "planes": views.plane_rows(self.planes),
            "services": views.service_rows(
                self.services, self.book, me=self.name, connected=connected.__contains__
            ),
            "listeners": [row for role in self.roles.values() for row in _listener_rows(role)],
            "counters": views.counters_of(self.endpoint),
        }

    def _row(self) -> views.Row:
        return {
            "name": self.name,
            "id": self.node_id,
            "area": self.config.area,
            "roles": sorted(self.config.roles),
            "instance": self.me.instance.hex(),
            "release": __version__,
            "state": self.state,
            "uptime_s": round(time.monotonic() - self.started_at, 3),
            "tasks": trio.lowlevel.current_statistics().tasks_living,
            "listen": str(HostPort(*self.endpoint.address)),
        }


def _listener_rows(role: Any) -> list[views.Row]:  # noqa: ANN401 -- whatever a role handed over
    rows = getattr(role, "rows", None)
    return rows() if rows is not None else []


def _listed(peer: PeerConfig) -> tuple[Member, Address | None]:
    member = Member(
        name=NodeName(peer.name),
        key=peer.public_key,
        area=peer.area,
        roles=peer.roles,
        labels=peer.labels,
    )
    return member, (peer.address.host, peer.address.port) if peer.address else None


def _itself(config: NodeConfig, key: NodeKey) -> Member:
    return Member(
        name=NodeName(config.name),
        key=key.public,
        area=config.area,
        roles=config.roles,
        labels=config.labels,
    )


def _socket(config: NodeConfig) -> Transport:
    listen = config.quic.listen
    return open_udp_socket(
        listen.host, listen.port, buffer_bytes=_settings(config).socket_buffer_bytes
    )


def _settings(config: NodeConfig) -> Settings:
    # Links probe each other every second: QUIC's own keepalive would only repeat that.
    return Settings(max_datagram_bytes=config.quic.datagram_bytes, keepalive=0)


def _reset_key(key: NodeKey) -> bytes:
    """Return the secret for stateless resets: the same after a restart, told by nothing else."""
    return hashlib.blake2b(key.seed, digest_size=32, person=b"fabric reset").digest()
