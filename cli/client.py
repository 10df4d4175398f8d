"""A node's admin socket as the commands see it: HTTP over a Unix socket, refusals as errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
from attrs import define

from cli.exits import CommandError, Json, NotReachedError

CONNECT_TIMEOUT = 2.0
"""Seconds for a connect to a local socket, which a live process answers within a millisecond."""

READ_TIMEOUT = 10.0
"""Seconds for one answer; the slowest, a snapshot of 20,000 channels, takes under one."""


class AdminRefusedError(CommandError):
    """The node answered no, in its own words: its code, its message, its remedy."""

    def __init__(self, status: int, code: str, message: str, remedy: str) -> None:
        super().__init__(code, message, remedy)
        self.status = status


@define
class AdminClient:
    """Talks to one node. Made by :func:`open_admin`, which owns the connections."""

    name: str
    """How messages call the node: its name, or the socket's path where that is not known."""
    _http: httpx2.AsyncClient

    async def snapshot(self) -> Json:
        return await self._call("GET", "/v1/snapshot")

    async def ready(self) -> bool:
        """Whether the node says that it can be used."""
        async with self._answer("GET", "/v1/ready") as response:
            return response.status_code == httpx2.codes.OK

    async def channel(self, channel_id: str) -> Json:
        """Raise :exc:`AdminRefusedError` (status 404) where no such channel is open."""
        return await self._call("GET", f"/v1/channels/{channel_id}")

    async def drain(self) -> Json:
        return await self._call("POST", "/v1/drain")

    async def stop(self) -> Json:
        return await self._call("POST", "/v1/stop")

    async def expose(
        self, service: str, backend: str, *, open_to: Sequence[str], edge_exposable: bool
    ) -> Json:
        offer = {
            "name": service,
            "backend": backend,
            "open_to": list(open_to),
            "edge_exposable": edge_exposable,
        }
        return await self._call("POST", "/v1/services", offer)

    async def unexpose(self, service: str) -> Json:
        return await self._call("DELETE", f"/v1/services/{service}")

    @asynccontextmanager
    async def open_forward(self, listen: str, service: str) -> AsyncIterator[AsyncIterator[Json]]:
        """Have the node listen at *listen* for as long as the block runs; yield its report lines.

        The first line is ``{"listening": ...}``, then one comes per connection; waiting for the
        next has no deadline.
        """
        body = {"listen": listen, "service": service}
        async with self._answer("POST", "/v1/forwards", body, read_timeout=None) as response:
            if response.is_error:
                await response.aread()
                raise _refusal(response)
            yield self._lines(response)

    async def _lines(self, response: httpx2.Response) -> AsyncIterator[Json]:
        try:
            async for line in response.aiter_lines():
                if line.strip():
                    yield json.loads(line)
        except httpx2.TransportError as error:
            raise self._gone(error) from error

    async def _call(self, method: str, path: str, body: Json | None = None) -> Json:
        async with self._answer(method, path, body) as response:
            await response.aread()
            if response.is_error:
                raise _refusal(response)
            answer: Json = response.json() if response.content else {}
            return answer

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        read_timeout: float | None = READ_TIMEOUT,
    ) -> AsyncIterator[httpx2.Response]:
        timeout = httpx2.Timeout(CONNECT_TIMEOUT, read=read_timeout)
        try:
            async with self._http.stream(method, path, json=body, timeout=timeout) as response:
                yield response
        except httpx2.TransportError as error:
            raise self._gone(error) from error

    def _gone(self, error: httpx2.TransportError) -> NotReachedError:
        if _is_permission(error):
            return NotReachedError(
                "not_allowed",
                f"{self.name}: this user may not open the node's admin socket.",
                "Run as the node's owner, as root, or as a member of its admin group.",
            )
        return NotReachedError(
            "node_unreachable",
            f"{self.name} does not answer at its admin socket ({error}).",
            "See `fabricctl status`; `fabricctl up` starts what is not running.",
        )


@asynccontextmanager
async def open_admin(path: Path, *, name: str = "") -> AsyncIterator[AdminClient]:
    """Make a client for the socket at *path*; nothing is connected before the first call."""
    transport = httpx2.AsyncHTTPTransport(uds=str(path))
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://node", trust_env=False
    ) as http:
        yield AdminClient(name or str(path), http)


def _refusal(response: httpx2.Response) -> AdminRefusedError:
    """The server's own refusal; a server that sends none is of another release, or not a node."""
    status = response.status_code
    try:
        told = response.json()
        return AdminRefusedError(status, told["code"], told["message"], told["remedy"])
    except (ValueError, KeyError, TypeError):
        return AdminRefusedError(
            status,
            f"http_{status}",
            f"The socket answered {status} without a reason.",
            "Is it a fabric node of this release?",
        )


def _is_permission(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, PermissionError):
            return True
        error = error.__cause__ or error.__context__
    return False
