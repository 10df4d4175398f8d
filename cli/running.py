"""A node that runs as a process: its roles, its admin socket, and the signals that steer it.

::

    SIGTERM, SIGINT, POST /v1/stop -> drain -> goodbye -> the end     (a second signal: the end)
    SIGHUP                         -> read the file again -> listeners that changed
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from functools import partial

import structlog
import trio
from attrs import define, evolve, field, fields

from cli.declared import offer_declared
from cli.steered import SteeredNode
from fabric.config import NodeConfig
from fabric.core.planes import PlaneState
from fabric.errors import ConfigError
from fabric.node import Node, open_node
from fabric.runtime.admin import serve_admin
from fabric.runtime.sdnotify import Environment, Notifier
from services import forward
from services.ingress import Ingress
from services.roles import roles_of

log = structlog.get_logger()

ADMIN = "admin"
"""The plane that answers the operator; started last, when there is something to ask about."""


async def run_node(config: NodeConfig, read_again: Callable[[], NodeConfig]) -> None:
    """Run the node of *config* until a signal or its admin socket ends it.

    *read_again* gives the configuration as its file has it now. Raises what
    :func:`fabric.node.open_node` and the roles raise, in groups.
    """
    notifier = Notifier(Environment.read())
    steering = _Steering(config, read_again)
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(steering.obey, signals, nursery.cancel_scope)
            roles = {**roles_of(config), ADMIN: _serve_admin}
            async with open_node(config, roles=roles) as node, trio.open_nursery() as beside:
                steering.node = node
                beside.start_soon(offer_declared, node, node.roles["egress"])
                notifier.ready(f"{node.name}: ready")
                beside.start_soon(notifier.feed_watchdog, partial(_is_progressing, node))
                await node.stopping.wait()
                notifier.stopping()
                await SteeredNode(node).drain()
                beside.cancel_scope.cancel()
            nursery.cancel_scope.cancel()


async def _serve_admin(  # noqa: ASYNC128 -- serve_admin says when it has started
    node: Node,
    config: NodeConfig,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """The admin socket as a role; its further routes come from the services."""
    await serve_admin(
        SteeredNode(node),
        config,
        extra_routes=lambda: forward.admin_routes(node),
        task_status=task_status,
    )


@define(eq=False)
class _Steering:
    """What each signal does."""

    config: NodeConfig
    read_again: Callable[[], NodeConfig]
    node: Node | None = field(default=None, init=False)
    """None while it is being opened."""

    async def obey(self, signals: AsyncIterator[int], everything: trio.CancelScope) -> None:
        async for number in signals:
            log.info("signal.received", signal=signal.Signals(number).name)
            if number == signal.SIGHUP:
                await self.reload()
            elif self.node is None or self.node.stopping.is_set():
                everything.cancel()
            else:
                self.node.stop()

    async def reload(self) -> None:
        """Let the listeners be as the file says now. A bad file changes nothing, and is told."""
        try:
            wanted = self.read_again()
            ingress = self.node.roles.get("ingress") if self.node else None
            if isinstance(ingress, Ingress):
                await ingress.apply(wanted.listeners, wanted.services)
        except ConfigError as error:
            log.error("config.refused", mistakes=error.mistakes, remedy="The old one stays.")
            return
        log.info("config.reloaded", needs_restart=self._unreloaded(wanted))
        self.config = evolve(self.config, listeners=wanted.listeners)

    def _unreloaded(self, wanted: NodeConfig) -> list[str]:
        """Names of the settings that differ and that only a restart changes."""
        return [
            one.name
            for one in fields(NodeConfig)
            if one.name != "listeners"
            and getattr(self.config, one.name) != getattr(wanted, one.name)
        ]


def _is_progressing(node: Node) -> bool:
    """Whether systemd shall go on believing in this process: no plane has stopped for good.

    A plane without work makes no progress either, so watermarks do not count here; and a loop
    that hangs does not get to ask.
    """
    planes = node.planes.view(trio.current_time())
    return all(plane.state is not PlaneState.STOPPED for plane in planes)
