"""A node together with its roles, as the admin socket and the signals steer it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import trio
from attrs import frozen

from fabric.config import ServiceConfig
from fabric.core.envelope import Envelope
from fabric.core.records import Key
from fabric.node import Node
from fabric.runtime.events import EventBus
from fabric.runtime.metrics import Metrics
from fabric.runtime.snapshot import Row
from services.egress import Egress
from services.ingress import Ingress


@frozen(eq=False)
class SteeredNode:
    """Everything of :class:`Node`, with its roles drained beside it."""

    node: Node

    @property
    def state(self) -> str:
        return self.node.state

    @property
    def metrics(self) -> Metrics:
        return self.node.metrics

    @property
    def events(self) -> EventBus:
        return self.node.events

    def snapshot(self) -> dict[str, Any]:
        return self.node.snapshot()

    def channel(self, channel_id: str) -> Mapping[str, Any] | None:
        return self.node.channel(channel_id)

    def directory_rows(self, kind: str = "") -> Iterator[Row]:
        return self.node.directory_rows(kind)

    def trace(self, key: Key) -> Row | None:
        return self.node.trace(key)

    def member_rows(self) -> Iterator[Row]:
        return self.node.member_rows()

    def wave_rows(self) -> Sequence[Row]:
        return self.node.wave_rows()

    def registry_report(self) -> Row:
        return self.node.registry_report()

    def publish(self, envelope: Envelope) -> Row:
        return self.node.publish(envelope)

    async def drain(self) -> None:
        """Take no new work at the edges or from peers, let what is open finish, reset the rest.

        Takes ``drain_timeout`` at most, and a second. Called again, it waits as well.
        """
        within = self.node.config.drain_timeout
        async with trio.open_nursery() as nursery:
            for role in self.node.roles.values():
                if isinstance(role, Ingress | Egress):
                    nursery.start_soon(role.drain, within)
            nursery.start_soon(self.node.drain)

    def stop(self) -> None:
        self.node.stop()

    async def expose(self, service: ServiceConfig) -> None:
        await self.node.expose(service)

    async def unexpose(self, name: str) -> None:
        await self.node.unexpose(name)
