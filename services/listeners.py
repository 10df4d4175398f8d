"""One TCP listener whose connections become channels of one service."""

from __future__ import annotations

import socket
from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol

import trio
from attrs import define, field

from fabric.codes import Code
from fabric.config import HostPort, ListenerConfig
from fabric.errors import RefusedError
from services import proxy_protocol, tcp
from services.accepting import accept_each
from services.lifetime import Lifetime
from services.live import Live
from services.proxy_protocol import ProxyHeader, ProxyHeaderError
from services.splice import SplicedChannel, splice
from services.visits import Visit, VisitorsBook

HEADER_WITHIN = 5.0
"""Seconds for the PROXY header, which a load balancer sends with its first packet."""

UNCAPPED: Final = 1 << 31
"""For a service known by a peer's offer alone: its cap is known, and kept, where it is offered."""


class OpenedChannel(SplicedChannel, Protocol):
    """A channel as a listener's book needs it, whose log line stands for the channel's own."""

    has_line: bool

    @property
    def id(self) -> str: ...


class Opener(Protocol):
    """The part of :class:`fabric.Node` that opens channels."""

    def open_channel(
        self, service: str, *, client: str | None = None, deadline: float = 5.0
    ) -> AbstractAsyncContextManager[OpenedChannel]:
        """Raises :exc:`fabric.errors.RefusedError` on entering."""


@define(eq=False)
class Listener:
    """Owns its socket while it runs. :attr:`config` may be replaced: it holds for what comes."""

    config: ListenerConfig
    _sock: socket.socket
    _opener: Opener
    _book: VisitorsBook
    live: Live = field(factory=Live)
    """Connections of the service, those of its other listeners included."""

    service_cap: int = UNCAPPED
    """Most of them at once."""

    tells_client: bool = True
    """Whether the channel carries the client's address, which is believed from an ingress only."""

    connections: int = 0
    address: HostPort = field(init=False)
    """Where it really listens: the configured address, but for a name or a port 0."""

    _accepting: trio.CancelScope = field(factory=trio.CancelScope)

    def __attrs_post_init__(self) -> None:
        host, port, *_ = self._sock.getsockname()
        self.address = HostPort(host, port)

    async def run(self) -> None:
        """Take connections until :meth:`stop`, then return once the last of them has ended."""
        async with trio.open_nursery() as nursery:
            with self._accepting, self._sock:
                await accept_each(self._sock, lambda *taken: self._take(nursery, *taken))

    def stop(self) -> None:
        """Take no more; the socket closes at once, connections go on."""
        self._accepting.cancel()

    def _take(self, nursery: trio.Nursery, sock: socket.socket, client: HostPort) -> None:
        config = self.config
        life = Lifetime(quota_bytes=config.quota_bytes, idle_timeout=config.idle_timeout)
        visit = Visit(config, client, life)
        self._book.came(visit)
        if full := self._full():
            tcp.reset(sock)
            self._book.refused(visit, RefusedError(full))
            return
        self.connections += 1
        self.live.enter(life)
        nursery.start_soon(self._serve, sock, visit, self.live)

    def _full(self) -> Code | None:
        if self.connections >= self.config.max_connections:
            return Code.LISTENER_FULL
        return Code.SERVICE_FULL if len(self.live) >= self.service_cap else None

    async def _serve(self, sock: socket.socket, visit: Visit, live: Live) -> None:
        refused = None
        try:
            with visit.life.scope:
                await self._carry(sock, visit)
        except RefusedError as error:
            refused = error
        finally:
            live.leave(visit.life)
            self.connections -= 1
            if sock.fileno() != -1:
                # Ended before there was a channel: a FIN would be an empty answer, this is none.
                visit.life.settle()
                tcp.reset(sock)
            if refused:
                self._book.refused(visit, refused)
            else:
                self._book.closed(visit)

    async def _carry(self, sock: socket.socket, visit: Visit) -> None:
        config, first = visit.config, b""
        if config.accept_proxy:
            header, first = await receive_header(sock)
            visit.client = header.source or visit.client
        client = str(visit.client) if self.tells_client else None
        async with self._opener.open_channel(
            config.service, client=client, deadline=config.open_timeout
        ) as channel:
            visit.channel, channel.has_line = channel.id, not self._book.is_log
            await splice(sock, channel, visit.life, gone=Code.CLIENT_GONE, first=first)


async def receive_header(sock: socket.socket) -> tuple[ProxyHeader, bytes]:
    """Read the PROXY header, and whatever of the client's own bytes came with it.

    Raises :exc:`RefusedError`: a bad header, none in time, or a client that has gone.
    """
    try:
        with trio.fail_after(HEADER_WITHIN):
            return await _header(sock)
    except trio.TooSlowError:
        late = f"no whole header within {HEADER_WITHIN:g} s"
        raise RefusedError(Code.BAD_PROXY_HEADER, late) from None
    except ProxyHeaderError as error:
        raise RefusedError(error.code, error.detail) from None
    except OSError as error:
        raise RefusedError(Code.CLIENT_GONE, str(error)) from None


async def _header(sock: socket.socket) -> tuple[ProxyHeader, bytes]:
    held = b""
    while (parsed := proxy_protocol.parse(held)) is None:
        piece = await tcp.receive(sock)
        if not piece:
            raise ProxyHeaderError("the connection ended within the header")
        held += piece
    header, length = parsed
    return header, held[length:]
