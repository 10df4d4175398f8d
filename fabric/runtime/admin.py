"""The admin socket: a node answers its operator over HTTP on a Unix socket.

Theory of operation
===================

::

    connection -> credentials (SO_PEERCRED) -> guard -> Starlette's routes -> the node

A GET reads, anything else changes: the guard needs no list of routes, so that a route which
somebody adds is guarded too. Starlette is imported by the first request; until then the
socket costs a listening descriptor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
import trio
from attrs import define, field, frozen

from fabric.codes import Code
from fabric.config import NodeConfig, admin_socket_path
from fabric.errors import ConfigError, RefusedError
from fabric.net.asgi import serve
from fabric.net.asgi_answers import Answer
from fabric.net.asgi_types import App, Facts, Message, Receive, Scope, Send
from fabric.net.unix import Credentials, credentials_of, open_unix_listener
from fabric.runtime.admin_access import Access, access_of
from fabric.runtime.admin_routes import AdminNode, NodeRoutes
from fabric.runtime.events import EventBus

if TYPE_CHECKING:
    from starlette.exceptions import HTTPException
    from starlette.requests import Request
    from starlette.routing import BaseRoute

__all__ = ["AdminNode", "serve_admin"]

log = structlog.get_logger()

CALLER = "fabric.caller"
"""Where a request's scope holds the :class:`Credentials` of who asks."""

_READS = ("GET", "HEAD")

_STATUS = {
    Code.BAD_REQUEST: 400,
    Code.NOT_PERMITTED: 403,
    Code.UNKNOWN_SERVICE: 404,
    Code.UNKNOWN_CHANNEL: 404,
    Code.RECORD_MALFORMED: 400,
    Code.RECORD_NOT_CANONICAL: 400,
    Code.RECORD_TOO_LARGE: 413,
    Code.NO_INSTANCE: 503,
    Code.STARTING: 503,
    Code.DRAINING: 503,
    Code.SHUTTING_DOWN: 503,
}
"""Other refusals are 409: the request was understood, the node's state is against it."""


def _no_routes() -> Sequence[BaseRoute]:
    return ()


async def serve_admin(
    node: AdminNode,
    config: NodeConfig,
    *,
    extra_routes: Callable[[], Sequence[BaseRoute]] = _no_routes,
    caller_of: Callable[[trio.SocketStream], Credentials] = credentials_of,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen at :func:`admin_socket_path` and answer until cancelled.

    *extra_routes* is called when the first request has imported Starlette; the guard holds for
    its routes too. Raises :exc:`ConfigError` where the socket cannot be had, and what
    ``node.drain`` raises, since a drain that was asked for here runs here.
    """
    access = access_of(config.admin)
    path = admin_socket_path(config)
    share_folder = path.parent == config.state_dir
    async with (
        open_unix_listener(path, gid=access.group, share_folder=share_folder) as listener,
        trio.open_nursery() as nursery,
    ):
        drain = _DrainOnce(node, nursery)

        def app() -> App:
            return Guard(_application(node, drain.start, extra_routes), access, node.events)

        def facts_of(stream: trio.SocketStream) -> Facts:
            return {CALLER: caller_of(stream)}

        await nursery.start(partial(serve, app, [listener], facts_of=facts_of))
        log.info("admin.opened", socket=path)
        task_status.started()


@define
class _DrainOnce:
    _node: AdminNode
    _nursery: trio.Nursery
    _started: bool = field(default=False, init=False)

    def start(self) -> None:
        if not self._started:
            self._started = True
            self._nursery.start_soon(self._node.drain)


@frozen
class Guard:
    """Lets a caller through to the app, or refuses with 403; tells of every change."""

    _app: App
    _access: Access
    _events: EventBus

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller: Credentials = scope[CALLER]
        changes = scope["method"] not in _READS
        asked = {"method": scope["method"], "path": scope["path"]}
        asked |= {"uid": caller.uid, "pid": caller.pid}
        if code := self._access.refusal(caller, changes=changes):
            log.warning("admin.refused", code=code, **asked)
            await Answer.of_refusal(403, code)(scope, receive, send)
        elif changes:
            await self._app(scope, receive, self._telling(asked, send))
        else:
            await self._app(scope, receive, send)

    def _telling(self, asked: dict[str, Any], send: Send) -> Send:
        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = "admin.changed" if message["status"] < 400 else "admin.change_refused"
                log.info(told, status=message["status"], **asked)
                self._events.publish(told, status=message["status"], **asked)
            await send(message)

        return tell


def _application(
    node: AdminNode,
    start_drain: Callable[[], None],
    extra_routes: Callable[[], Sequence[BaseRoute]],
) -> App:
    from starlette.applications import Starlette
    from starlette.exceptions import HTTPException
    from starlette.routing import Route

    own = [
        Route(path, function, methods=[method])
        for method, path, function in NodeRoutes(node, start_drain).table()
    ]
    refusals = _Refusals()
    handlers: dict[Any, Any] = {
        HTTPException: refusals.of_framework,
        RefusedError: refusals.of_node,
        ConfigError: refusals.of_mistakes,
    }
    application = Starlette(routes=[*own, *extra_routes()], exception_handlers=handlers)
    application.router.redirect_slashes = False  # a path is right or wrong
    return application


class _Refusals:
    """What the framework and the node raise, as answers; Starlette wants these async."""

    async def of_framework(self, request: Request, error: HTTPException) -> Answer:
        code = Code.NO_SUCH_METHOD if error.status_code == 405 else Code.NO_SUCH_ROUTE
        return Answer.of_refusal(error.status_code, code)

    async def of_node(self, request: Request, error: RefusedError) -> Answer:
        return Answer.of_refusal(_STATUS.get(error.code, 409), error.code, error.detail)

    async def of_mistakes(self, request: Request, error: ConfigError) -> Answer:
        return Answer.of_refusal(400, Code.BAD_REQUEST, "; ".join(error.mistakes))
