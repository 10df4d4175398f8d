"""The services of this node: who serves them now, and which of them it may offer.

Serving is this node's affair, offering is not: what no signed record permits is served to nobody
and told to nobody, until one does. It is *withheld*, with the code that says why.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog
import trio
from attrs import define, field

from fabric.codes import Code
from fabric.config import ServiceConfig
from fabric.core.records import MOST_OFFERS
from fabric.errors import LocalProtocolError
from fabric.runtime.inbound import InboundChannel

log = structlog.get_logger()

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

    def is_full(self, most: int) -> bool:
        """Return whether it takes no more here; *most* is what its record says, 0 for nothing."""
        own = self.config.max_channels
        return self.channels >= (min(own, most) if most else own)


@define(eq=False)
class Services:
    """Changed by configuration, by the operator at run time, and by who serves."""

    configs: dict[str, ServiceConfig]
    """Every service that has settings here, offered or not."""
    may_offer: Callable[[str], Code | None]
    """Returns what speaks against this node offering a service, if anything."""
    serving: Callable[[tuple[str, ...]], None] = field(kw_only=True)
    """Told at once of what is served here and may be offered, whenever that changes."""
    offerings: dict[str, Offering] = field(init=False, factory=dict)
    withheld: dict[str, Code] = field(init=False, factory=dict)
    """What is served here and may not be offered, as of the last :meth:`review`, and why."""
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

    def permitted_names(self) -> tuple[str, ...]:
        """Return what this node serves and may offer, sorted: what it says in its record.

        The first by name, when it is more than a record takes.
        """
        names = sorted(name for name in self.offerings if self.may_offer(name) is None)
        return tuple(names[:MOST_OFFERS])

    def review(self) -> None:
        """Look anew at what may be offered; log what that changes, and tell who waits for it."""
        if self._withhold():
            self._wake()

    def _withhold(self) -> bool:
        """Bring :attr:`withheld` up to date; return whether it is another."""
        codes = ((name, self.may_offer(name)) for name in sorted(self.offerings))
        was, self.withheld = self.withheld, {name: code for name, code in codes if code}
        for name, code in self.withheld.items():
            if was.get(name) is not code:
                told = {"code": code, "reason": code.sentence, "remedy": code.remedy}
                log.warning("service.withheld", service=name, **told)
        for name in sorted(was.keys() & self.offerings.keys() - self.withheld.keys()):
            log.info("service.permitted", service=name)
        return was != self.withheld

    def next_change(self) -> trio.Event:
        """Return what the next change of a declaration, an offering or a permission will set.

        Take it before looking at what is offered now, and no change can be missed.
        """
        return self._changed

    def _tell(self) -> None:
        self._withhold()
        self._wake()

    def _wake(self) -> None:
        self.serving(self.permitted_names())
        self._changed.set()
        self._changed = trio.Event()
