"""The services of this node: what the operator says of them, and who serves them now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import trio
from attrs import define, field

from fabric.codes import Code
from fabric.config import ServiceConfig
from fabric.core.offers import Terms
from fabric.errors import LocalProtocolError, RefusedError
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
    """Every service that is known here, offered or not."""
    terms: dict[str, Terms] = field(init=False)
    """The terms of each of them. One dictionary for life: others hold on to it."""
    offerings: dict[str, Offering] = field(init=False, factory=dict)
    is_draining: bool = field(init=False, default=False)
    _changed: trio.Event = field(init=False, factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.terms = {name: terms_of(config) for name, config in self.configs.items()}

    def declare(self, config: ServiceConfig) -> None:
        """Add a service, or change its terms for channels to come."""
        self.configs[config.name], self.terms[config.name] = config, terms_of(config)
        if offering := self.offerings.get(config.name):
            offering.config = config
        self._tell()

    def withdraw(self, name: str) -> None:
        """Forget a service. One that is being served goes on until its server stops."""
        del self.configs[name], self.terms[name]
        self._tell()

    def offer(
        self, name: str, handler: Handler, *, auto_accept: bool, nursery: trio.Nursery
    ) -> Offering:
        """Start to offer *name*: channels go to *handler*, in *nursery*.

        Raises :exc:`RefusedError` for a service that is not declared, since nobody could open it;
        :exc:`LocalProtocolError` for one that is served already.
        """
        config = self.configs.get(name)
        if config is None:
            raise RefusedError(Code.UNKNOWN_SERVICE, f"No service {name!r} is declared here.")
        if name in self.offerings:
            raise LocalProtocolError(f"service {name!r} is served already")
        offering = self.offerings[name] = Offering(config, handler, auto_accept, nursery)
        self._tell()
        return offering

    def end(self, offering: Offering) -> None:
        """Offer it no longer; its channels are their nursery's affair."""
        del self.offerings[offering.config.name]
        self._tell()

    def offered(self) -> Mapping[str, Terms]:
        """Return the terms of what is served now: what peers are told."""
        return {name: terms_of(offering.config) for name, offering in self.offerings.items()}

    def next_change(self) -> trio.Event:
        """Return what the next change of a declaration or an offering will set.

        Take it before looking at what is offered now, and no change can be missed.
        """
        return self._changed

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def terms_of(config: ServiceConfig) -> Terms:
    """Return the part of *config* that other nodes need to know."""
    return Terms(open_to=config.open_to, edge_exposable=config.edge_exposable)
