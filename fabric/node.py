"""A node: every plane of it in one nursery, in the order in which bytes pass through them.

::

    UDP -- endpoint (QUIC) -- admission -- links -- channels -- services and roles
                                 |           |         |
                              directory, liveness, registry -------- admin, views
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn, Protocol

import structlog
import trio

from fabric import __version__
from fabric.codes import Code
from fabric.config import HostPort, NodeConfig, ServiceConfig, load_config
from fabric.core.backoff import Backoff
from fabric.core.envelope import Envelope
from fabric.core.frames import Draining
from fabric.core.identity import NodeId, NodeName, node_id_of
from fabric.core.planes import Planes, PlaneState
from fabric.core.records import Key, NodeRecord
from fabric.net.tls import NodeKey, certificate_for, load_key
from fabric.runtime import registry as registry_plane
from fabric.runtime import snapshot as views
from fabric.runtime.accepting import Accepter
from fabric.runtime.channels import Channel, Channels
from fabric.runtime.directory_rows import DirectoryRows
from fabric.runtime.events import EventBus
from fabric.runtime.exposures import Exposures
from fabric.runtime.health import health_rows
from fabric.runtime.inbound import InboundChannel
from fabric.runtime.knowledge import Knowledge, open_knowledge
from fabric.runtime.links import AnyLink
from fabric.runtime.logs import hush
from fabric.runtime.member_rows import MemberRows
from fabric.runtime.metrics import Metrics
from fabric.runtime.opening import Opener
from fabric.runtime.overlay import Overlay
from fabric.runtime.publishing import publish
from fabric.runtime.refusals import RefusalLog
from fabric.runtime.registry import Watch
from fabric.runtime.services import Services
from fabric.runtime.starting import (
    Kept,
    myself,
    reset_key_of,
    settings_of,
    socket_of,
    what_is_kept,
)
from fabric.runtime.supervise import keep_plane
from fabric.store.blocking import RunBlocking
from fabric.trio_quic import Endpoint, Identity, Transport, open_endpoint_on

log = structlog.get_logger()

SETTLE_WITHIN: Final = 2.0
"""Seconds that a start waits for peers: each is tried once, and one that is away is no reason
not to be ready."""

SERVES_WITHIN: Final = 5.0
"""Seconds after which a node that serves nothing yet tells its peers so."""

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
    run_blocking: RunBlocking | None = None,
    unix_now: Callable[[], float] = time.time,
) -> AsyncGenerator[Node]:
    """Run a node for the body of the ``async with``.

    *config* is a configuration or the file that holds one. *roles* are started in order once the
    node is reachable, and are planes of it. *transport* stands in for the UDP socket,
    *run_blocking* for the thread that works on the disk, *unix_now* for the machine's clock.

    Raises :exc:`ConfigError` when the configuration, the key, the trust root or the state cannot
    be used, and :exc:`OSError` when the UDP address cannot be bound. Yields when every seed and
    every known peer was tried once, or after two seconds. Leaving the body says goodbye to the
    peers; it does not :meth:`~Node.drain`.
    """
    hush()
    if not isinstance(config, NodeConfig):
        config = await trio.to_thread.run_sync(load_config, Path(config))
    key, rng = load_key(config.key_file), random.Random()
    async with AsyncExitStack() as stack:
        # What may be wrong from the start is looked at before there is any nursery to wrap it.
        kept = what_is_kept(config, unix_now())
        transport = transport or socket_of(config)
        stack.callback(transport.close)
        knowledge = await stack.enter_async_context(
            open_knowledge(
                config, node_id_of(key.public), rng, unix_now=unix_now, run_blocking=run_blocking
            )
        )
        node = Node(config, key, knowledge, rng, kept)
        node.endpoint = await stack.enter_async_context(
            open_endpoint_on(
                transport,
                identity=Identity(*certificate_for(key)),
                settings=settings_of(config),
                greeting=node.overlay.meeting.challenge,
                reset_key=reset_key_of(key),
            )
        )
        node.endpoint.exempt = node.overlay.roster.expects
        nursery = await stack.enter_async_context(trio.open_nursery())
        await node.start(nursery, roles or {})
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

    def __init__(
        self,
        config: NodeConfig,
        key: NodeKey,
        knowledge: Knowledge,
        rng: random.Random,
        kept: Kept,
    ) -> None:
        """Put the parts together; starts nothing."""
        self.config = config
        self.knowledge = knowledge
        self.me = myself(config, key, knowledge, kept.boot_seq)
        self._phase = "starting"
        self.stopping = trio.Event()
        """Set when somebody asked the process to end."""
        self.roles: dict[str, Any] = {}
        """What each role handed over when it had started."""
        self.rng = rng
        self.planes = Planes()
        self.metrics = Metrics()
        self.metrics.observe(self.snapshot)
        self.events = EventBus()
        self.refusals = RefusalLog(self.metrics)
        self.started_at = time.monotonic()
        self.channels = Channels(self.metrics, self.events)
        self.overlay = Overlay(
            config,
            self.me,
            knowledge,
            accept_channels=self._accept_channels,
            planes=self.planes,
            metrics=self.metrics,
            events=self.events,
            refusals=self.refusals,
            rng=rng,
        )
        self.registry = self.overlay.registry
        self.overlay.gossip.changed.append(self._look_at_myself)
        self._directory = DirectoryRows(knowledge)
        self.services = Services(
            dict(config.services), self.registry.may_offer, serving=self.registry.serving
        )
        self.exposures = Exposures(self.services, config.state_dir, config.services)
        self.exposures.restore(kept.exposed)
        self.accepter = Accepter(
            name=lambda: self.name,
            services=self.services,
            registry=self.registry,
            take_sync=self.overlay.streams.take,
            channels=self.channels,
            refusals=self.refusals,
        )
        self.opener = Opener(
            registry=self.registry,
            reach=self.overlay.reach,
            channels=self.channels,
            refusals=self.refusals,
        )

    async def start(self, nursery: trio.Nursery, roles: Mapping[str, Role]) -> None:
        """Start every plane in *nursery*, in the order of data flow, then *roles*.

        Roles come before peers were waited for: who was known before a restart asks at once for
        what is served here.
        """
        nursery.start_soon(self.refusals.run)
        for name, body in self.overlay.bodies(self.endpoint):
            backoff = Backoff(self.rng, floor=0.2, ceiling=5.0)
            nursery.start_soon(keep_plane, self.planes, name, body, backoff)
        registry = partial(self.registry.run, self.opener.probe, self.services.review)
        backoff = Backoff(self.rng, floor=0.2, ceiling=5.0)
        nursery.start_soon(keep_plane, self.planes, registry_plane.PLANE, registry, backoff)
        nursery.start_soon(self._accept_channels, self.overlay.local)
        self.overlay.advertise(self.endpoint)
        for name, role in roles.items():
            self.roles[name] = await nursery.start(_play, name, role, self, name=name)
        nursery.start_soon(self._tell_offers)
        with trio.move_on_after(SETTLE_WITHIN):
            await self.overlay.settle()
        self._begin()

    def _look_at_myself(self, key: Key) -> None:
        """End every channel once this node is revoked: it may neither open nor serve any more."""
        if key == (NodeRecord.KIND, self.node_id) and self.knowledge.readings.is_revoked(
            self.node_id
        ):
            reset = self.channels.reset_all(Code.REVOKED)
            log.error("node.revoked", reset=reset, remedy=Code.REVOKED.remedy)

    async def _accept_channels(self, link: AnyLink) -> None:
        await self.accepter.accept_channels(link)

    async def _tell_offers(self) -> NoReturn:
        """Say in this node's own word what it serves and may offer, as that changes.

        What it said before a restart is not taken back while it may be about to serve it again.
        """
        change = self.services.next_change()
        if not self.services.offerings:
            with trio.move_on_after(SERVES_WITHIN):
                await change.wait()
        while True:
            change = self.services.next_change()
            self.overlay.own_words.offer(self.services.permitted_names())
            await change.wait()

    @property
    def state(self) -> str:
        """``starting``, ``ready``, ``draining``; ``revoked``, once it holds its own tombstone."""
        is_revoked = self.knowledge.readings.is_revoked(self.node_id)
        return Code.REVOKED.label if is_revoked and self._phase == "ready" else self._phase

    @property
    def name(self) -> NodeName:
        return self.me.name

    @property
    def node_id(self) -> NodeId:
        return self.me.node_id

    # -- channels --
    def open_channel(
        self, service: str, *, client: str | None = None, deadline: float = 5.0
    ) -> AbstractAsyncContextManager[Channel]:
        """Hold a channel to *service*: see :meth:`Opener.open_channel`.

        *client* is the address of a client outside the fabric, and told only by an ingress.
        Raises :exc:`~fabric.errors.RefusedError` on entering.
        """
        return self.opener.open_channel(service, client=client, deadline=deadline)

    def watch(self, service: str) -> Watch:
        """Return how *service* stands: as it is now, and then whenever that changes, without end.

        ``async for state in node.watch("demo")``. While somebody watches, the service is probed.
        """
        return self.registry.watch(service)

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

        Peers are told as soon as, and for as long as, the service's signed record permits it.
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
        self._phase, self.services.is_draining, self.opener.is_draining = "draining", True, True
        log.info("node.draining", channels=len(self.channels), within_s=within)
        await self.overlay.peers.tell_all(Draining(until=int(within * 1000)))
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

    def _begin(self) -> None:
        """Be ready: everything has been started."""
        self._phase = "ready"
        listen = str(HostPort(*self.endpoint.address))
        log.info("node.ready", id=self.node_id, listen=listen, boot_seq=self.me.boot_seq)

    async def say_goodbye(self) -> None:
        """Tell the peers that this node goes, so that they need not find out."""
        with trio.move_on_after(GOODBYE_WITHIN):
            await self.overlay.leave()

    # -- views --
    def channel(self, channel_id: str) -> Mapping[str, Any] | None:
        """Return the channel of that id, open or lately ended, as the snapshot shows it."""
        info = self.channels.find(channel_id)
        return views.channel_row(info) if info is not None else None

    def snapshot(self) -> dict[str, Any]:
        """Return the node as it is now, in JSON's own types."""
        overlay, readings = self.overlay, self.knowledge.readings
        return {
            "v": views.VERSION,
            "node": self._row(),
            "health": health_rows(overlay, self.services),
            "peers": [
                views.peer_row(peer, readings, overlay.liveness.core)
                for peer in sorted(overlay.peers.by_id.values(), key=lambda each: each.member.name)
            ],
            "channels": [views.channel_row(info) for info in self.channels.view()],
            "planes": views.plane_rows(self.planes),
            "services": views.service_rows(
                self.registry, self.services, self.knowledge.unix_now()
            ),
            "listeners": [row for role in self.roles.values() for row in _listener_rows(role)],
            "counters": views.counters_of(self.endpoint),
        }

    def directory_rows(self, kind: str = "") -> Iterator[views.Row]:
        """Return what is held of the directory, of *kind* or of all, by key."""
        return self._directory.records(kind)

    def trace(self, key: Key) -> views.Row | None:
        """Return what is held at *key* and how it came; its subject may be a member's name."""
        return self._directory.trace(key)

    def wave_rows(self) -> list[views.Row]:
        """Return the last waves that came by, the latest first."""
        return self._directory.waves()

    def member_rows(self) -> Iterator[views.Row]:
        """Yield every member, this node too, by name."""
        return MemberRows(self.overlay).rows()

    def publish(self, envelope: Envelope) -> views.Row:
        """Let a signed record begin its way here. Raises :exc:`RefusedError` if it is refused."""
        return publish(envelope, self.knowledge, self.overlay.gossip)

    def registry_report(self) -> views.Row:
        """Return ``fabric_registry_runtime_report``, and a row for each service."""
        return views.registry_tables(self.registry, self.services, self.knowledge.unix_now())

    def _row(self) -> views.Row:
        return {
            "name": self.name,
            "id": self.node_id,
            "area": self.overlay.local.member.area,
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
