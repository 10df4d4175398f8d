"""What a node does beside being a node: each role by its name, and how it is started.

A role is a coroutine that runs until cancelled and hands whoever started it, through
``task_status``, what it is steered by: an :class:`Ingress`, an :class:`Egress`, or None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import structlog
import trio

from fabric.config import NodeConfig
from fabric.node import Role
from fabric.runtime.metrics import Metrics
from services.egress import Egress, Server, open_egress
from services.ingress import Ingress, open_ingress
from services.listeners import Opener

log = structlog.get_logger()


class EdgeNode(Opener, Server, Protocol):
    """The part of :class:`fabric.Node` that roles stand on."""

    @property
    def metrics(self) -> Metrics: ...


async def serve_ingress(
    node: EdgeNode,
    config: NodeConfig,
    *,
    task_status: trio.TaskStatus[Ingress] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen where *config* says. Raises :exc:`fabric.errors.ConfigError` when that cannot be."""
    async with open_ingress(node, config.listeners, config.services, node.metrics) as ingress:
        task_status.started(ingress)
        await trio.sleep_forever()


async def serve_egress(
    node: EdgeNode,
    config: NodeConfig,
    *,
    task_status: trio.TaskStatus[Egress] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Offer the services of *config* that have a backend here."""
    async with open_egress(node, config.services.values(), node.metrics) as egress:
        task_status.started(egress)
        await trio.sleep_forever()


ROLES: Final[Mapping[str, Role]] = {"ingress": serve_ingress, "egress": serve_egress}

OF_LATER_RELEASES: Final = frozenset({"control-api", "relay", "update-cache", "update-store"})
"""Roles of a fleet that this release knows by name: to bear one is legal and runs nothing."""


def roles_of(config: NodeConfig) -> Mapping[str, Role]:
    """Choose what to run for *config*, and say once which of its roles run nothing.

    ``egress`` is always among them: a service with a backend may be added at any time.
    """
    for name in sorted(config.roles - ROLES.keys()):
        known = name in OF_LATER_RELEASES
        log.info("role.skipped", role=name, reason="not in this release" if known else "unknown")
    return {name: role for name, role in ROLES.items() if name in config.roles | {"egress"}}
