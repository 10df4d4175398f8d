"""One HTTP/1.1 exchange over a Unix socket, its answer whole or line by line.

A connection per exchange: a local socket connects in microseconds. Own code over h11 because an
answer that never ends (a forward, events) is left half read here, as a matter of course, and
httpx2 then leaves its chain of generators to the garbage collector.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import h11
import trio
from attrs import define, field

from cli.exits import Json

PIECE_BYTES = 64 * 1024


HEAD_WITHIN = 10.0
"""Seconds for the head of an answer: nodes write it once the work is done, or has begun."""


class UnansweredError(Exception):
    """Nobody listens there, or it hung up in the middle, or it does not speak HTTP."""

    def __init__(self, reason: str, *, denied: bool = False) -> None:
        super().__init__(reason)
        self.denied = denied
        """Whether somebody may listen, but this user is not let in."""


@define
class Answer:
    """A response whose head was read. Valid inside its :func:`open_exchange`."""

    status: int
    _stream: trio.abc.ReceiveStream
    _http: h11.Connection
    _finished: bool = field(default=False, init=False)
    _held: bytearray = field(factory=bytearray, init=False)
    """Of a body that is read by lines, what came after the last."""

    @property
    def refused(self) -> bool:
        return self.status >= 400

    async def whole(self) -> bytes:
        """The body to its end. Memory is the caller's to bound: nodes are believed."""
        pieces = []
        while piece := await self._piece():
            pieces.append(piece)
        return b"".join(pieces)

    async def line(self) -> bytes | None:
        """The next line, without its end, once it has come; None after the last."""
        while (end := self._held.find(b"\n")) < 0:
            piece = await self._piece()
            if not piece:
                last = bytes(self._held)
                self._held.clear()
                return last or None
            self._held += piece
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        return line

    async def _piece(self) -> bytes:
        """The next piece of the body; empty at its end."""
        if not self._finished:
            with _telling_silence():
                event = await _next_event(self._http, self._stream)
            if isinstance(event, h11.Data):
                return bytes(event.data)
            self._finished = True
        return b""


@asynccontextmanager
async def open_exchange(
    socket: Path, method: str, path: str, body: Json | None = None
) -> AsyncIterator[Answer]:
    """Send one request, wait for the head of its answer, and hang up at the end of the block.

    Raises :exc:`UnansweredError`, here and from reading the body. Waits at most
    :data:`HEAD_WITHIN` for the head; the body's deadline is the caller's.
    """
    http = h11.Connection(h11.CLIENT)
    async with await _connect(socket) as stream:
        with _telling_silence(), trio.fail_after(HEAD_WITHIN):
            await stream.send_all(_request(http, method, path, body))
            event = await _next_event(http, stream)
        if not isinstance(event, h11.Response):
            raise UnansweredError("it hung up without an answer")
        yield Answer(event.status_code, stream, http)


async def _connect(socket: Path) -> trio.SocketStream:
    try:
        return await trio.open_unix_socket(socket)
    except OSError as error:
        denied = isinstance(error, PermissionError)
        raise UnansweredError(error.strerror or str(error), denied=denied) from error


@contextmanager
def _telling_silence() -> Iterator[None]:
    try:
        yield
    except trio.BrokenResourceError as error:
        raise UnansweredError("it hung up") from error
    except trio.TooSlowError as error:
        raise UnansweredError(f"no answer within {HEAD_WITHIN:g} s") from error
    except h11.RemoteProtocolError as error:
        raise UnansweredError(f"it does not speak HTTP: {error}") from error


def _request(http: h11.Connection, method: str, path: str, body: Json | None) -> bytes:
    data = b"" if body is None else json.dumps(body).encode()
    headers = [("Host", "node"), ("Connection", "close")]
    if body is not None:
        headers += [("Content-Type", "application/json"), ("Content-Length", str(len(data)))]
    request = h11.Request(method=method, target=path, headers=headers)
    parts = [http.send(request), http.send(h11.Data(data=data)), http.send(h11.EndOfMessage())]
    return b"".join(part for part in parts if part)


async def _next_event(http: h11.Connection, stream: trio.abc.ReceiveStream) -> object:
    has_ended = False
    try:
        while (event := http.next_event()) is h11.NEED_DATA:
            data = bytes(await stream.receive_some(PIECE_BYTES))
            has_ended = not data
            http.receive_data(data)
    except h11.RemoteProtocolError as error:
        if has_ended:
            raise UnansweredError("it hung up in the middle of its answer") from error
        raise
    return event
