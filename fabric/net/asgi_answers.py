"""Answers that an ASGI app can give without a framework: one JSON object, or a live stream."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import trio
from attrs import define, field, frozen

from fabric.codes import Code
from fabric.errors import FabricError
from fabric.net.asgi_types import Receive, Scope, Send

Write: TypeAlias = Callable[[bytes], Awaitable[None]]

_NO_STORE = (b"cache-control", b"no-store")


def reason(code: Code, detail: str = "") -> dict[str, str]:
    """Every refusal's body: which code, what happened, what to do."""
    return {"code": code.label, "message": detail or code.sentence, "remedy": code.remedy}


@frozen
class Answer:
    """A whole body at once; an ASGI app by itself."""

    body: bytes
    media_type: str
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()

    @classmethod
    def of_json(cls, body: object, status: int = 200) -> Answer:
        """*body* must be of JSON's own types: anything else is a bug and raises TypeError."""
        text = json.dumps(body, separators=(",", ":"))
        return cls(text.encode() + b"\n", "application/json", status, (_NO_STORE,))

    @classmethod
    def of_refusal(cls, status: int, code: Code, detail: str = "") -> Answer:
        return cls.of_json(reason(code, detail), status)

    def all_headers(self) -> list[tuple[bytes, bytes]]:
        kind = (b"content-type", self.media_type.encode())
        return [kind, (b"content-length", b"%d" % len(self.body)), *self.headers]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status}
        await send(start | {"headers": self.all_headers()})
        await send({"type": "http.response.body", "body": self.body})


@frozen
class LiveAnswer:
    """A body that goes on while *produce* runs; an ASGI app by itself.

    *produce* is given ``write``, which waits for a slow client and raises :exc:`OSError` for
    one that is gone, and is cancelled as soon as the client hangs up. A :exc:`FabricError` that
    it raises before its first write comes out as it is, so that it can still be answered.
    """

    produce: Callable[[Write], Awaitable[None]]
    media_type: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = _LiveBody(send, self.media_type)
        failure: FabricError | None = None
        work = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at_hangup, receive, work)
            with work:
                try:
                    await self.produce(body.write)
                except FabricError as error:  # leaves bare: the nursery would wrap it in a group
                    failure = error
            nursery.cancel_scope.cancel()
        if failure:
            raise failure
        if not work.cancelled_caught:
            await body.finish()


async def _cancel_at_hangup(receive: Receive, work: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    work.cancel()


@define
class _LiveBody:
    _send: Send
    _media_type: str
    _started: bool = field(default=False, init=False)

    async def write(self, data: bytes) -> None:
        """Send *data* now; empty data sends the headers at least."""
        if not self._started:
            self._started = True
            headers = [(b"content-type", self._media_type.encode()), _NO_STORE]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def finish(self) -> None:
        await self.write(b"")
        await self._send({"type": "http.response.body"})
