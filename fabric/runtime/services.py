"""The services of this node: what the operator says of them, and who serves them now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio
from attrs import define, field

from fabric.config import ServiceConfig
from fabric.errors import LocalProtocolError
from fabric.runtime.inbound import InboundChannel

Handler: TypeAlias = Callable[[InboundChannel], Awaitable[object]]
"""Carries one channel from accept to end, in a task of its own."""


@define(eq=False)
class Offering:
    """A service that is being served: by whom, and in which nursery its channels run."""

    config: ServiceConfig
    handler: Handler
    auto_accept: bool
    nursery: trio.Nursery
    channels: int = 0
    """Channels of it open here."""

    def is_full(self) -> bool:
        return self.channels >= self.config.max_channels


@define(eq=False)
class Services:
    """Changed by configuration, by the operator at run time, and by who serves."""

    configs: dict[str, ServiceConfig]
    """Every service that has settings here, offered or not."""
    offerings: dict[str, Offering] = field(init=False, factory=dict)
    is_draining: bool = field(init=False, default=False)
    _changed: trio.Event = field(init=False, factory=trio.Event)

    def declare(self, config: ServiceConfig) -> None:
        """Add a service, or change its settings for channels to come."""
        self.configs[config.name] = config
        if offering := self.offerings.get(config.name):
            offering.config = config
        self._tell()

    def withdraw(self, name: str) -> None:
        """Forget a service. One that is being served goes on until its server stops."""
        del self.configs[name]
        self._tell()

    def offer(
        self, name: str, handler: Handler, *, auto_accept: bool, nursery: trio.Nursery
    ) -> Offering:
        """Start to serve *name*: channels go to *handler*, in *nursery*.

        Peers are told as soon as, and as long as, the service's record permits it. Raises
        :exc:`LocalProtocolError` for one that is served already.
        """
        if name in self.offerings:
            raise LocalProtocolError(f"service {name!r} is served already")
        config = self.configs.get(name) or ServiceConfig(name=name)
        offering = self.offerings[name] = Offering(config, handler, auto_accept, nursery)
        self._tell()
        return offering

    def end(self, offering: Offering) -> None:
        """Offer it no longer; its channels are their nursery's affair."""
        del self.offerings[offering.config.name]
        self._tell()

    def next_change(self) -> trio.Event:
        """Return what the next change of a declaration or an offering will set.

        Take it before looking at what is offered now, and no change can be missed.
        """
        return self._changed

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

