"""The ingress: TCP listeners at the edge, each the way in to one service of the fabric.

A refused or broken channel reaches the client as a TCP reset, always. Listeners can be replaced
while it runs (:meth:`Ingress.apply`) and run down (:meth:`Ingress.drain`).
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

import structlog
import trio
from attrs import define, field

from fabric.config import HostPort, ListenerConfig, ServiceConfig
from fabric.errors import ConfigError
from fabric.runtime.metrics import Metrics
from fabric.runtime.refusals import RefusalLog
from services import live, tcp
from services.listeners import UNCAPPED, Listener, Opener
from services.live import Live
from services.visits import IngressBook, VisitorsBook

log = structlog.get_logger()

Services: TypeAlias = Mapping[str, ServiceConfig]
Sockets: TypeAlias = Mapping[HostPort, socket.socket]


@define(eq=False)
class Ingress:
    """The listeners of one node, by the address that the configuration gives them."""

    _opener: Opener
    _nursery: trio.Nursery
    _book: VisitorsBook
    _listeners: dict[HostPort, Listener] = field(factory=dict)
    _lives: dict[str, Live] = field(factory=dict)
    _changing: trio.Lock = field(factory=trio.Lock)

    async def apply(self, wanted: Sequence[ListenerConfig], services: Services) -> None:
        """Make the listeners be *wanted*, touching only what differs.

        An address that stays keeps its socket and its connections; changed settings hold for
        connections to come. One that goes takes no more, and its connections run on. Raises
        :exc:`ConfigError`, everything being as it was, when any of them cannot be had.
        """
        async with self._changing:
            sockets = await bind(wanted, held=self._listeners.keys())
            self.adopt(wanted, services, sockets)

    def adopt(self, wanted: Sequence[ListenerConfig], services: Services, new: Sockets) -> None:
        """Carry out :meth:`apply` once every socket is there. Takes over *new*; cannot fail."""
        for gone in self._listeners.keys() - {config.listen for config in wanted}:
            self._close(gone)
        for config in wanted:
            if config.listen in new:
                self._open(config, new[config.listen])
            self._set(self._listeners[config.listen], config, services)

    async def drain(self, within: float) -> int:
        """Take no more connections, let the open ones finish *within* seconds, reset the rest.

        Returns how many were reset, with ``DRAIN_TIMEOUT``.
        """
        for address in list(self._listeners):
            self._close(address)
        reset = await live.drain(list(self._lives.values()), within)
        log.info("ingress.drained", reset=reset)
        return reset

    def rows(self) -> list[dict[str, object]]:
        """The ``listeners`` of a snapshot."""
        return [_row(listener) for listener in self._listeners.values()]

    def _open(self, config: ListenerConfig, sock: socket.socket) -> None:
        listener = Listener(config, sock, self._opener, self._book)
        self._listeners[config.listen] = listener
        self._nursery.start_soon(listener.run)
        log.info("listener.opened", listen=str(listener.address), service=config.service)

    def _close(self, address: HostPort) -> None:
        listener = self._listeners.pop(address)
        listener.stop()
        log.info("listener.closed", listen=str(listener.address), connections=listener.connections)

    def _set(self, listener: Listener, config: ListenerConfig, services: Services) -> None:
        if listener.config != config:
            log.info("listener.changed", listen=str(listener.address), service=config.service)
        service = services.get(config.service)
        listener.config = config
        listener.live = self._lives.setdefault(config.service, Live())
        listener.service_cap = service.max_channels if service else UNCAPPED


def _row(listener: Listener) -> dict[str, object]:
    return {
        "name": str(listener.config.listen),
        "listen": str(listener.address),
        "service": listener.config.service,
        "connections": listener.connections,
        "max_connections": listener.config.max_connections,
    }


@asynccontextmanager
async def open_ingress(
    opener: Opener,
    listeners: Sequence[ListenerConfig],
    services: Services,
    metrics: Metrics,
) -> AsyncGenerator[Ingress]:
    """Listen for the body of the ``async with``; leaving it resets what is open: drain first.

    Raises :exc:`ConfigError` when a listener cannot be had.
    """
    sockets = await bind(listeners)
    async with trio.open_nursery() as nursery:
        refusals = RefusalLog(metrics)
        nursery.start_soon(refusals.run)
        ingress = Ingress(opener, nursery, IngressBook(metrics, refusals))
        ingress.adopt(listeners, services, sockets)
        yield ingress
        nursery.cancel_scope.cancel()


async def bind(
    wanted: Sequence[ListenerConfig], held: Iterable[HostPort] = ()
) -> dict[HostPort, socket.socket]:
    """Listen on every address of *wanted* that is not *held* yet: all of them, or none.

    Raises :exc:`ConfigError` with everything that is wrong with *wanted*.
    """
    bound: dict[HostPort, socket.socket] = {}
    mistakes = mistakes_in(wanted)
    try:
        for number, config in enumerate(wanted):
            if config.listen in held or config.listen in bound:
                continue
            try:
                bound[config.listen] = await tcp.listen(config.listen.host, config.listen.port)
            except OSError as error:
                mistakes.append(_unbindable(number, config.listen, error))
        if mistakes:
            raise ConfigError(mistakes)
    except BaseException:
        for sock in bound.values():
            sock.close()
        raise
    return bound


def _unbindable(number: int, address: HostPort, error: OSError) -> str:
    what = f"listeners[{number}].listen: {address}: {error.strerror}"
    return f"{what}; free the address or choose another"


def mistakes_in(wanted: Sequence[ListenerConfig]) -> list[str]:
    """What is wrong with *wanted* before anything is bound.

    Whether a service may be opened to the world outside is said by its signed record, which may
    come or change at any time: it is judged when a connection opens it, by both ends.
    """
    return [
        f"listeners[{number}].listen: {config.listen} twice; remove one"
        for number, config in enumerate(wanted)
        if config.listen in [earlier.listen for earlier in wanted[:number]]
    ]
