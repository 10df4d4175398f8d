"""What the admin socket answers: one function per route, over a node that they only ask."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import trio
from attrs import frozen

from fabric.codes import Code
from fabric.config import ServiceConfig, values
from fabric.errors import ConfigError, RefusedError
from fabric.net.asgi_answers import Answer, LiveAnswer, Write
from fabric.net.asgi_types import App, Receive, Scope, Send
from fabric.runtime.admin_directory import DirectoryNode, DirectoryRoutes
from fabric.runtime.admin_json import encode_in_turns
from fabric.runtime.events import EventBus
from fabric.runtime.metrics import Metrics
from fabric.runtime.scrape import Snapshot

if TYPE_CHECKING:
    from starlette.requests import Request

NOT_READY: Final = {
    "starting": Code.STARTING,
    "draining": Code.DRAINING,
    "revoked": Code.REVOKED,
}
"""What to say of each state in which a node takes no work."""

KEEPALIVE_S = 15.0
"""A comment goes to silent subscribers that often, so that both ends notice a dead one."""


class AdminNode(DirectoryNode, Protocol):
    """What the admin socket needs of a node."""

    @property
    def state(self) -> str:
        """One of ``starting``, ``ready``, ``draining``, ``revoked``."""

    @property
    def metrics(self) -> Metrics: ...

    @property
    def events(self) -> EventBus: ...

    def snapshot(self) -> Snapshot:
        """All of ``/v1/snapshot``, in JSON's own types."""

    def channel(self, channel_id: str) -> Mapping[str, Any] | None:
        """The snapshot's entry of one open channel."""

    async def drain(self) -> object:
        """Take no new work, finish what is open. Called once; runs as long as that takes."""

    def stop(self) -> object:
        """Begin to end the process. Returns at once."""

    async def expose(self, service: ServiceConfig) -> object:
        """Offer *service* from now on, across restarts. May raise RefusedError."""

    async def unexpose(self, name: str) -> object:
        """Take back what :meth:`expose` did. Raises RefusedError for an unknown name."""


@frozen(eq=False)
class NodeRoutes:
    """The node's own routes. Each takes Starlette's request and returns an ASGI answer."""

    node: AdminNode
    start_drain: Callable[[], None]

    def table(self) -> list[tuple[str, str, Callable[[Request], Awaitable[Any]]]]:
        """Method, path and function of each."""
        return [
            ("GET", "/metrics", self.metrics),
            ("GET", "/v1/snapshot", self.snapshot),
            ("GET", "/v1/events", self.events),
            ("GET", "/v1/channels/{id}", self.channel),
            ("GET", "/v1/ready", self.ready),
            ("POST", "/v1/drain", self.drain),
            ("POST", "/v1/stop", self.stop),
            ("POST", "/v1/services", self.expose),
            ("DELETE", "/v1/services/{name}", self.unexpose),
            *DirectoryRoutes(self.node).table(),
        ]

    async def metrics(self, request: Request) -> Answer:
        body, media_type = self.node.metrics.render()
        return Answer(body, media_type)

    async def snapshot(self, request: Request) -> Answer:
        return Answer(await encode_in_turns(self.node.snapshot()), "application/json")

    async def events(self, request: Request) -> LiveAnswer:
        return LiveAnswer(self._tell_events, "text/event-stream")

    async def _tell_events(self, write: Write) -> None:
        async with self.node.events.open_subscription() as subscription:
            await write(b": subscribed\n\n")
            while True:
                event = None
                with trio.move_on_after(KEEPALIVE_S):
                    event = await anext(subscription)
                await write(event.to_sse() if event else b": alive\n\n")

    async def channel(self, request: Request) -> Answer:
        found = self.node.channel(request.path_params["id"])
        if found is None:
            return Answer.of_refusal(404, Code.UNKNOWN_CHANNEL)
        return Answer.of_json(found)

    async def ready(self, request: Request) -> Answer:
        state = self.node.state
        if state == "ready":
            return Answer.of_json({"state": state})
        return Answer.of_refusal(503, NOT_READY[state])

    async def drain(self, request: Request) -> Answer:
        self.start_drain()
        return Answer.of_json({"state": "draining"}, 202)

    async def stop(self, request: Request) -> App:
        answer = Answer.of_json({"state": "stopping"}, 202)

        async def told_first(scope: Scope, receive: Receive, send: Send) -> None:
            await answer(scope, receive, send)
            self.node.stop()

        return told_first

    async def expose(self, request: Request) -> Answer:
        service = service_in(await request.body())
        await self.node.expose(service)
        return Answer.of_json({"name": service.name}, 201)

    async def unexpose(self, request: Request) -> Answer:
        name = request.path_params["name"]
        await self.node.unexpose(name)
        return Answer.of_json({"name": name})


_READERS: Mapping[str, Callable[[object], object]] = {
    "name": values.read_name,
    "backend": values.read_target,
}


def service_in(body: bytes) -> ServiceConfig:
    """Read ``{"name", "backend"}``. Raises :exc:`ConfigError` with every mistake."""
    document = _object(body)
    mistakes = [f"{key}: no such field" for key in document if key not in _READERS]
    mistakes += [f"{key}: is missing" for key in _READERS if key not in document]
    read: dict[str, Any] = {}
    for key in _READERS.keys() & document.keys():
        try:
            read[key] = _READERS[key](document[key])
        except values.Wrong as wrong:
            mistakes += [f"{key}{place}: {sentence}" for place, sentence in wrong.mistakes]
    if mistakes:
        raise ConfigError(sorted(mistakes))
    return ServiceConfig(**read)


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedError(Code.BAD_REQUEST, f"The body is no JSON: {error}.") from error
    if not isinstance(document, dict):
        raise RefusedError(Code.BAD_REQUEST, "The body is no JSON object.")
    return document
