"""A node's admin socket as the commands see it: calls by name, refusals as typed errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import trio
from attrs import frozen

from cli.exits import CommandError, Json, NotReachedError
from cli.unix_http import Answer, UnansweredError, open_exchange

BODY_WITHIN = 10.0
"""Seconds for a whole answer; the longest, a snapshot of 20,000 channels, takes under one."""


class AdminRefusedError(CommandError):
    """The node answered no, in its own words: its code, its message, its remedy."""

    def __init__(self, status: int, code: str, message: str, remedy: str) -> None:
        super().__init__(code, message, remedy)
        self.status = status


@frozen
class AdminClient:
    """Talks to one node, a connection per call. Every call raises :exc:`AdminRefusedError`, or
    :exc:`NotReachedError` where the node does not answer."""

    socket: Path
    name: str
    """How messages call the node: its name, or the socket's path where that is not known."""

    async def snapshot(self) -> Json:
        return await self._call("GET", "/v1/snapshot")

    async def ready(self) -> bool:
        """Whether the node says that it can be used. Never refused: a no is an answer."""
        try:
            await self._call("GET", "/v1/ready")
        except AdminRefusedError:
            return False
        return True

    async def channel(self, channel_id: str) -> Json:
        """Refused, with status 404, where no such channel is open."""
        return await self._call("GET", f"/v1/channels/{channel_id}")

    async def drain(self) -> Json:
        return await self._call("POST", "/v1/drain")

    async def stop(self) -> Json:
        return await self._call("POST", "/v1/stop")

    async def expose(self, service: str, backend: str) -> Json:
        """Refused where no signed record of *service* lets this node offer it."""
        return await self._call("POST", "/v1/services", {"name": service, "backend": backend})

    async def unexpose(self, service: str) -> Json:
        return await self._call("DELETE", f"/v1/services/{service}")

    async def directory(self, kind: str = "") -> Json:
        """``{"records": [...]}``; refused for a kind that does not exist."""
        return await self._call("GET", f"/v1/directory{f'?kind={quote(kind)}' if kind else ''}")

    async def trace(self, record: str) -> Json:
        """All that is known of *record*, KIND/SUBJECT; refused with 404 where nothing is held."""
        return await self._call("GET", f"/v1/directory/{quote(record)}")

    async def members(self) -> Json:
        return await self._call("GET", "/v1/members")

    async def registry(self) -> Json:
        return await self._call("GET", "/v1/registry")

    async def waves(self) -> Json:
        return await self._call("GET", "/v1/waves")

    async def publish(self, envelope: Json) -> Json:
        """Hand the node a signed record, as the object of its file, to spread it."""
        return await self._call("POST", "/v1/records", envelope)

    @asynccontextmanager
    async def open_forward(self, listen: str, service: str) -> AsyncIterator[Documents]:
        """Have the node listen at *listen* for as long as the block runs; yield its report lines.

        The first line is ``{"listening": ...}``, then one comes per connection; waiting for the
        next has no deadline.
        """
        body = {"listen": listen, "service": service}
        async with self._exchange("POST", "/v1/forwards", body) as answer:
            if answer.refused:
                raise _refusal(answer.status, await answer.whole())
            yield Documents(answer)

    async def _call(self, method: str, path: str, body: Json | None = None) -> Json:
        async with self._exchange(method, path, body) as answer:
            with trio.move_on_after(BODY_WITHIN) as reading:
                data = await answer.whole()
            if reading.cancelled_caught:
                raise UnansweredError(f"no whole answer within {BODY_WITHIN:g} s")
        if answer.refused:
            raise _refusal(answer.status, data)
        told: Json = json.loads(data) if data else {}
        return told

    @asynccontextmanager
    async def _exchange(
        self, method: str, path: str, body: Json | None = None
    ) -> AsyncIterator[Answer]:
        try:
            async with open_exchange(self.socket, method, path, body) as answer:
                yield answer
        except UnansweredError as error:
            raise self._unreached(error) from error

    def _unreached(self, error: UnansweredError) -> NotReachedError:
        if error.denied:
            return NotReachedError(
                "socket_denied",
                f"{self.name}: this user may not open the node's admin socket.",
                "Run as the node's owner, as root, or as a member of its admin group.",
            )
        return NotReachedError(
            "node_unreachable",
            f"{self.name} does not answer at its admin socket ({error}).",
            "See `fabricctl status`; `fabricctl up` starts what is not running.",
        )


@frozen
class Documents:
    """An answer of one JSON object per line, each as it comes; blank lines keep it alive."""

    _answer: Answer

    def __aiter__(self) -> Documents:
        return self

    async def __anext__(self) -> Json:
        while (line := await self._answer.line()) is not None:
            if line.strip():
                document: Json = json.loads(line)
                return document
        raise StopAsyncIteration


def _refusal(status: int, data: bytes) -> AdminRefusedError:
    """The server's own refusal; a server that sends none is of another release, or not a node."""
    try:
        told = json.loads(data)
        return AdminRefusedError(status, told["code"], told["message"], told["remedy"])
    except (ValueError, KeyError, TypeError):
        return AdminRefusedError(
            status,
            f"http_{status}",
            f"The socket answered {status} without a reason.",
            "Is it a fabric node of this release?",
        )
