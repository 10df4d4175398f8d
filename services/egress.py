"""The egress: channels of the services offered here, each carried to a TCP backend.

Refusals are logged here, with what the backend said; the end of a channel is logged by the node.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Protocol

import trio
from attrs import define, field

from fabric.codes import Code
from fabric.config import HostPort, ServiceConfig
from fabric.errors import RefusedError
from fabric.runtime.metrics import Metrics
from fabric.runtime.refusals import RefusalLog
from services import live, proxy_protocol, tcp
from services.lifetime import Lifetime
from services.live import Live
from services.splice import SplicedChannel, splice

_OUT_OF_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}


class ServedChannel(SplicedChannel, Protocol):
    """A channel that was asked for and waits to hear yes or no."""

    @property
    def id(self) -> str: ...
    @property
    def peer(self) -> str: ...
    @property
    def client(self) -> str | None: ...
    async def accept(self) -> None: ...
    async def refuse(self, code: Code, detail: str = "") -> None: ...


class Server(Protocol):
    """The part of :class:`fabric.Node` that offers services."""

    async def serve(
        self,
        service: str,
        handler: Callable[[ServedChannel], Awaitable[None]],
        *,
        auto_accept: bool = True,
        handler_nursery: trio.Nursery | None = None,
    ) -> None:
        """Offer *service* until cancelled; *handler* runs in a task per channel."""


@define(eq=False)
class Egress:
    """The backends of one node, by the service they answer."""

    _server: Server
    _nursery: trio.Nursery
    _refusals: RefusalLog
    _backends: dict[str, Backend] = field(factory=dict)
    _lives: dict[str, Live] = field(factory=dict)

    def apply(self, services: Iterable[ServiceConfig]) -> None:
        """Make what is offered be those of *services* that have a backend, touching what differs.

        Changed settings hold for channels to come. A service that is no longer among them is no
        longer offered, and its open channels run on.
        """
        wanted = {service.name: service for service in services if service.backend is not None}
        for name in self._backends.keys() - wanted.keys():
            self._backends.pop(name).withdraw()
        for name, service in wanted.items():
            if name in self._backends:
                self._backends[name].service = service
            else:
                self._offer(service)

    def _offer(self, service: ServiceConfig) -> None:
        live = self._lives.setdefault(service.name, Live())
        backend = self._backends[service.name] = Backend(service, live, self._refusals)
        self._nursery.start_soon(backend.run, self._server, self._nursery)

    async def drain(self, within: float) -> int:
        """Let open channels finish *within* seconds, reset the rest and return their number.

        Refusing new ones is the node's part of draining, and comes first.
        """
        return await live.drain(list(self._lives.values()), within)


@define(eq=False)
class Backend:
    """One service's backend and the channels that are spliced to it now."""

    service: ServiceConfig
    _live: Live
    _refusals: RefusalLog
    _offering: trio.CancelScope = field(factory=trio.CancelScope)

    async def run(self, server: Server, channels: trio.Nursery) -> None:
        """Offer the service until withdrawn; its channels run in *channels*."""
        with self._offering:
            await server.serve(
                self.service.name, self.carry, auto_accept=False, handler_nursery=channels
            )

    def withdraw(self) -> None:
        self._offering.cancel()

    async def carry(self, channel: ServedChannel) -> None:
        """Connect, accept, splice; or refuse with the reason. The whole life of one channel."""
        service = self.service
        try:
            sock = await connect(service, channel.client)
        except RefusedError as refused:
            await self._refuse(channel, service, refused)
            return
        try:
            await channel.accept()
            await self._splice(sock, channel, service)
        except trio.BrokenResourceError:
            return  # the opener gave up meanwhile: its log has the reason
        finally:
            if sock.fileno() != -1:  # never spliced: a FIN would tell the backend of a whole visit
                tcp.reset(sock)

    async def _splice(
        self, sock: socket.socket, channel: ServedChannel, service: ServiceConfig
    ) -> None:
        life = Lifetime(quota_bytes=service.quota_bytes, idle_timeout=service.idle_timeout)
        self._live.enter(life)
        try:
            with life.scope:
                await splice(sock, channel, life, gone=Code.BACKEND_GONE)
        finally:
            self._live.leave(life)

    async def _refuse(
        self, channel: ServedChannel, service: ServiceConfig, refused: RefusedError
    ) -> None:
        self._refusals.refused(
            "egress.refused",
            refused.code,
            trio.current_time(),
            service=service.name,
            channel=channel.id,
            peer=channel.peer,
            backend=str(service.backend),
            detail=refused.detail,
        )
        await channel.refuse(refused.code, refused.detail)


@asynccontextmanager
async def open_egress(
    server: Server, services: Iterable[ServiceConfig], metrics: Metrics
) -> AsyncGenerator[Egress]:
    """Offer every one of *services* that has a backend, for the body of the ``async with``."""
    async with trio.open_nursery() as nursery:
        refusals = RefusalLog(metrics)
        nursery.start_soon(refusals.run)
        egress = Egress(server, nursery, refusals)
        egress.apply(services)
        yield egress
        nursery.cancel_scope.cancel()


async def connect(service: ServiceConfig, client: str | None) -> socket.socket:
    """Connect to the backend and, where configured, tell it who the client is.

    Raises :exc:`RefusedError` with the code that the opener shall hear.
    """
    assert service.backend is not None, "only services with a backend are offered here"
    try:
        with trio.fail_after(min(service.connect_timeout, _time_to_answer())):
            sock = await tcp.connect(service.backend.host, service.backend.port)
    except trio.TooSlowError:
        raise RefusedError(Code.BACKEND_SILENT) from None
    except OSError as error:
        code = Code.BUSY if error.errno in _OUT_OF_ROOM else Code.BACKEND_REFUSED
        raise RefusedError(code, str(error)) from error
    if service.send_proxy:
        await _introduce(sock, service.send_proxy, client)
    return sock


def _time_to_answer() -> float:
    # Nine tenths of what the opener still waits: a silent backend is to be told as that, and not
    # as a deadline that passed for some reason.
    return 0.9 * max(0.0, trio.current_effective_deadline() - trio.current_time())


async def _introduce(sock: socket.socket, version: str, client: str | None) -> None:
    source = _address_in(client)
    try:
        host, port, *_ = sock.getpeername()
        await tcp.send_all(sock, proxy_protocol.encode(version, source, HostPort(host, port)))
    except OSError as error:
        tcp.reset(sock)
        raise RefusedError(Code.BACKEND_REFUSED, str(error)) from error
    except BaseException:
        tcp.reset(sock)
        raise


def _address_in(client: str | None) -> HostPort | None:
    # Another node wrote it: what is no address is nobody's, not an error here.
    try:
        address = HostPort.parse(client or "")
    except ValueError:
        return None
    return address if address.is_address else None
