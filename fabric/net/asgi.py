"""Serve an ASGI app on any trio streams: Unix sockets, TCP, and whatever else is a stream.

Theory of operation
===================

::

    listener -> connection task -> Wire (h11, deadlines) -> Exchange (reader | app) -> the app
                      ^ next request on the same wire, as long as both ends agree

Everything that a client could make last for ever has a deadline, since clients of an admin socket
hang too: the head, the body, the pause between requests, each piece of an answer. The number of
connections is bounded, and those beyond it are told so. There is no lifespan protocol: whoever
serves an app owns what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import trio
from attrs import define, field

from fabric.codes import Code
from fabric.net.asgi_exchange import Exchange, refuse
from fabric.net.asgi_types import App, Facts, Receive, Scope, Send
from fabric.net.asgi_wire import ClientGone, Limits, Refusal, Shutdown, Wire

__all__ = ["App", "ClientGone", "Facts", "Limits", "Receive", "Scope", "Send", "serve"]

TURNED_AWAY = 64
"""Connections beyond the limit that are told so at the same time; further ones are just closed."""


def _no_facts(stream: trio.abc.Stream) -> Facts:
    return {}


async def serve(
    app_factory: Callable[[], App],
    listeners: Sequence[trio.abc.Listener[Any]],
    *,
    limits: Limits | None = None,
    facts_of: Callable[[Any], Facts] = _no_facts,
    shutdown: trio.Event | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until *shutdown* is set, then gracefully; or until cancelled, then at once.

    Takes over *listeners* and closes them. *app_factory* is called once, at the first request,
    so that a framework costs nothing before it is needed. *facts_of* is asked once per connection
    and its answer becomes part of the scope of each request. Raises what the listeners raise,
    never what a client does or an app raises: a failing app is logged and answered with 500.
    """
    if shutdown is None:
        shutdown = trio.Event()
    server = _Server(app_factory, limits or Limits(), facts_of)
    async with trio.open_nursery() as connections:
        async with trio.open_nursery() as accepting:
            accepting.start_soon(_accept, server, listeners, connections)
            task_status.started()
            await shutdown.wait()
            accepting.cancel_scope.cancel()
        server.shutdown.begin()
        connections.cancel_scope.deadline = trio.current_time() + server.limits.grace


async def _accept(
    server: _Server, listeners: Sequence[trio.abc.Listener[Any]], connections: trio.Nursery
) -> None:
    await trio.serve_listeners(server.handle, list(listeners), handler_nursery=connections)


@define(eq=False)
class _Server:
    _app_factory: Callable[[], App]
    limits: Limits
    _facts_of: Callable[[Any], Facts]
    shutdown: Shutdown = field(factory=Shutdown, init=False)
    _app: App | None = field(default=None, init=False)
    _served: int = field(default=0, init=False)
    _turned_away: int = field(default=0, init=False)

    async def handle(self, stream: trio.abc.Stream) -> None:
        """Own one connection from accept to close."""
        wire = Wire(stream, self.limits, self.shutdown)
        try:
            if self._served < self.limits.connections:
                await self._serve(wire)
            elif self._turned_away < TURNED_AWAY:
                await self._turn_away(wire)
        except ClientGone:
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async def _serve(self, wire: Wire) -> None:
        self._served += 1
        try:
            await self._converse(wire)
            await wire.linger()
        finally:
            self._served -= 1

    async def _turn_away(self, wire: Wire) -> None:
        self._turned_away += 1
        try:
            await refuse(wire, Refusal(503, Code.TOO_MANY_CLIENTS))
            await wire.linger()
        finally:
            self._turned_away -= 1

    async def _converse(self, wire: Wire) -> None:
        facts = self._facts_of(wire.stream)
        try:
            while request := await wire.next_request():
                await Exchange(wire, request).run(self._call_app, facts)
                if not wire.recycle():
                    return
        except Refusal as refusal:
            await refuse(wire, refusal)

    async def _call_app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is None:
            self._app = self._app_factory()
        await self._app(scope, receive, send)
