"""``POST /v1/forwards``: a local port that leads to a fabric service while its asker stays.

The answer is a stream of JSON lines: first where it listens, then one per connection at its end.
When the asker hangs up, the port closes and what was open through it is reset.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, ClassVar, TypeAlias

import trio
from attrs import define, frozen

from fabric.codes import Code
from fabric.config import HostPort, ListenerConfig
from fabric.errors import RefusedError
from fabric.net.asgi_answers import Answer, LiveAnswer, Write
from fabric.net.asgi_types import Receive, Scope, Send
from services import tcp
from services.listeners import Listener, Opener
from services.visits import Visit

if TYPE_CHECKING:
    from starlette.routing import Route

Line: TypeAlias = Mapping[str, object]

CONNECTIONS = 256
"""Through one forward at once. It is for a person with a client or two, not for an edge."""

LINES_WAITING = 64
"""Held for an asker that reads slowly; lines beyond it are dropped, for traffic goes first."""


@frozen
class Wanted:
    """A forward as it is asked for: ``{"listen", "service", "remote"?}``."""

    listen: HostPort
    service: str


def wanted_in(body: bytes) -> Wanted:
    """Read the request. Raises :exc:`RefusedError`, also for an address that others could reach.

    ``"remote": true`` allows such an address: whoever reaches the port acts as this node.
    """
    match _json(body):
        case {"listen": str(listen), "service": str(service), **rest}:
            address = _address(listen)
        case _:
            raise RefusedError(Code.BAD_REQUEST, "It names no listen and service.")
    if rest.get("remote") is not True and not _is_loopback(address.host):
        raise RefusedError(Code.NOT_LOOPBACK)
    return Wanted(address, service)


def _json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _address(text: str) -> HostPort:
    try:
        return HostPort.parse(text)
    except ValueError as error:
        raise RefusedError(Code.BAD_REQUEST, f"listen: {text!r} {error}.") from error


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@define(eq=False)
class Lines:
    """A forward's visits as lines for its asker; the node logs the channels as any others."""

    is_log: ClassVar[bool] = False

    _lines: trio.MemorySendChannel[Line]

    def came(self, visit: Visit) -> None:
        """Says nothing: a connection is told of at its end."""

    def closed(self, visit: Visit) -> None:
        life = visit.life
        self._offer(
            client=str(visit.client),
            channel=visit.channel,
            sent_bytes=life.sent_bytes,
            received_bytes=life.received_bytes,
            age_s=round(life.age, 3),
            code=life.code.label,
        )

    def refused(self, visit: Visit, why: RefusedError) -> None:
        self._offer(
            client=str(visit.client),
            channel=why.channel_id,
            code=why.code.label,
            reason=why.detail or why.code.sentence,
            remedy=why.code.remedy,
        )

    def _offer(self, **line: object) -> None:
        try:
            self._lines.send_nowait(line)
        except trio.WouldBlock:
            return  # said in LINES_WAITING


@define(eq=False)
class Forwards:
    """The ASGI app of the one route; a request lasts as long as its forward."""

    _opener: Opener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            wanted = wanted_in(await _body(receive))
            sock = await _listen(wanted.listen)
        except RefusedError as error:
            await Answer.of_refusal(400, error.code, error.detail)(scope, receive, send)
            return
        with sock:
            answer = LiveAnswer(partial(self._forward, sock, wanted), "application/x-ndjson")
            await answer(scope, receive, send)

    async def _forward(self, sock: socket.socket, wanted: Wanted, write: Write) -> None:
        to_asker, lines = trio.open_memory_channel[Line](LINES_WAITING)
        config = ListenerConfig(
            listen=wanted.listen, service=wanted.service, max_connections=CONNECTIONS
        )
        listener = Listener(config, sock, self._opener, Lines(to_asker), tells_client=False)
        await write(_encoded({"listening": str(listener.address)}))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.run)
            async for line in lines:
                await write(_encoded(line))


async def _listen(address: HostPort) -> socket.socket:
    try:
        return await tcp.listen(address.host, address.port)
    except OSError as error:
        raise RefusedError(Code.CANNOT_LISTEN, f"{address}: {error.strerror}.") from error


async def _body(receive: Receive) -> bytes:
    body: bytes = b""  # bounded by the server that calls
    while True:
        message = await receive()
        body += bytes(message.get("body", b""))
        if not message.get("more_body", False):
            return body


def _encoded(line: Line) -> bytes:
    return json.dumps(line).encode() + b"\n"


def admin_routes(opener: Opener) -> list[Route]:
    """The routes that this module adds to a node's admin socket; imports the framework."""
    from starlette.routing import Route

    return [Route("/v1/forwards", Forwards(opener), methods=["POST"])]
