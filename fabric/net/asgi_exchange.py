"""One request and its answer: ASGI's ``receive`` and ``send`` over a :class:`Wire`.

Theory of operation
===================

Two tasks: the app, which writes, and a reader, which alone reads. The reader hands the body over
piece by piece, one ahead of the app, and then waits for the client to hang up, so that
``http.disconnect`` arrives however long the answer takes. A request that goes wrong half-way (too
large, too slow, malformed) raises :exc:`Refusal` in the reader, which cancels the app; it is
answered if the app's answer has not begun, and otherwise the connection is cut off.
"""

from __future__ import annotations

from collections.abc import Iterable
from email.utils import formatdate
from urllib.parse import unquote

import h11
import structlog
import trio
from attrs import define, field

from fabric.codes import Code
from fabric.net.asgi_answers import Answer
from fabric.net.asgi_types import App, Facts, Message, Scope
from fabric.net.asgi_wire import ClientGone, Refusal, Wire

log = structlog.get_logger()

_DISCONNECT = {"type": "http.disconnect"}


@define(eq=False)
class Exchange:
    """Runs *request* through an app; afterwards the wire can go on, or is ``gone``."""

    wire: Wire
    request: h11.Request
    _to_app: trio.MemorySendChannel[Message] = field(init=False)
    _from_client: trio.MemoryReceiveChannel[Message] = field(init=False)
    _head: h11.Response | None = field(default=None, init=False)
    """The app's, held until its first piece of body: until then a refusal can replace it."""

    _begun: bool = field(default=False, init=False)
    _done: bool = field(default=False, init=False)
    _hung_up: bool = field(default=False, init=False)
    _refusal: Refusal | None = field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._to_app, self._from_client = trio.open_memory_channel[Message](1)

    async def run(self, app: App, facts: Facts) -> None:
        """Raises :exc:`ClientGone` when the answer could not be given; nothing else."""
        self._refusal = self._refusal_of_head()
        if self._refusal is None:
            await self._converse(app, scope_of(self.request, facts))
        if self._done:
            return
        if self._begun or self._hung_up:
            self.wire.gone = True  # half an answer: only cutting it off tells the client
        else:
            refusal = self._refusal or Refusal(500, Code.INTERNAL_ERROR)
            await refuse(self.wire, refusal, bodiless=self.request.method == b"HEAD")

    def _refusal_of_head(self) -> Refusal | None:
        if self.request.method == b"CONNECT":
            return Refusal(405, Code.NO_SUCH_METHOD, "This is not a proxy.")
        length = int(dict(self.request.headers).get(b"content-length", b"0"))
        if length > self.wire.limits.body_bytes:
            return Refusal(413, Code.REQUEST_TOO_LARGE)
        return None

    async def _converse(self, app: App, scope: Scope) -> None:
        if self.wire.wants_continue:
            await self.wire.send(h11.InformationalResponse(status_code=100, headers=[]))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._read, nursery.cancel_scope)
            await self._call(app, scope)
            nursery.cancel_scope.cancel()

    async def _call(self, app: App, scope: Scope) -> None:
        try:
            await app(scope, self.receive, self.send)
        except* Exception as group:
            # The boundary between an app and its server: one bad route must not end the others.
            # What an app makes of the ClientGone that it was told is of no interest.
            level = "debug" if self.wire.gone else "error"
            failure = group.exceptions[0] if len(group.exceptions) == 1 else group
            getattr(log, level)("http.app_failed", path=scope["path"], exc_info=failure)

    async def _read(self, exchange: trio.CancelScope) -> None:
        try:
            await self._read_body()
            if not await self.wire.hang_up():
                return
        except Refusal as refusal:
            self._refusal = refusal
            exchange.cancel()
        except ClientGone:
            self.wire.gone = True  # half a request is none; the app is told that it ended
        self._hung_up = self._refusal is None
        self._to_app.close()

    async def _read_body(self) -> None:
        size = 0
        while (piece := await self.wire.next_piece()) is not None:
            size += len(piece)
            if size > self.wire.limits.body_bytes:
                raise Refusal(413, Code.REQUEST_TOO_LARGE)
            await self._to_app.send(_body(piece, more=True))
        await self._to_app.send(_body(b"", more=False))

    async def receive(self) -> Message:
        """ASGI's ``receive``: pieces of the body, then ``http.disconnect`` for ever."""
        if self._done:
            return _DISCONNECT
        try:
            return await self._from_client.receive()
        except trio.EndOfChannel:
            return _DISCONNECT

    async def send(self, message: Message) -> None:
        """ASGI's ``send``. Raises :exc:`ClientGone`, and ValueError or h11's for a bug."""
        match message:
            case {"type": "http.response.start", "status": int(status)}:
                if self._head or self._begun:
                    raise ValueError("http.response.start came twice")
                self._head = self._response(status, message.get("headers", ()))
            case {"type": "http.response.body"}:
                await self._send_body(message.get("body", b""), message.get("more_body", False))
            case _:
                raise ValueError(f"no ASGI message that this server takes: {message.get('type')}")

    def _response(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> h11.Response:
        sent = [(bytes(name), bytes(value)) for name, value in headers]
        if not any(name.lower() == b"date" for name, _ in sent):
            sent.append((b"date", formatdate(usegmt=True).encode()))
        if self.wire.shutdown.begun:
            sent.append((b"connection", b"close"))
        return h11.Response(status_code=status, headers=sent)

    async def _send_body(self, data: bytes, more: bool) -> None:
        if self._head is None or self._done:
            raise ValueError("http.response.body came before its start or after its end")
        events: list[h11.Event] = [] if self._begun else [self._head]
        if data and not self._is_bodiless(self._head):
            events.append(h11.Data(data=data))
        if not more:
            events.append(h11.EndOfMessage())
        self._begun = True
        await self.wire.send(*events)
        self._done = not more

    def _is_bodiless(self, head: h11.Response) -> bool:
        return self.request.method == b"HEAD" or head.status_code in (204, 304)


async def refuse(wire: Wire, refusal: Refusal, *, bodiless: bool = False) -> None:
    """Answer in the app's stead and end the connection. Raises :exc:`ClientGone`."""
    answer = Answer.of_refusal(refusal.status, refusal.code, refusal.detail)
    headers = [*answer.all_headers(), (b"connection", b"close")]
    body = [] if bodiless else [h11.Data(data=answer.body)]
    head = h11.Response(status_code=answer.status, headers=headers)
    await wire.send(head, *body, h11.EndOfMessage())


def _body(data: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


def scope_of(request: h11.Request, facts: Facts) -> Scope:
    """ASGI's scope of *request*; *facts* of the connection take precedence."""
    path, _, query = _origin_form(request.target).partition(b"?")
    return {
        "type": "http",
        # 2.3: streaming apps then watch for http.disconnect themselves, not for a failing send.
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": request.http_version.decode(),
        "method": request.method.decode(),
        "scheme": "http",
        "path": unquote(path.decode()),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": [(name, value) for name, value in request.headers],
        "client": None,
        "server": None,
        "state": {},
        "extensions": {},
    } | dict(facts)


def _origin_form(target: bytes) -> bytes:
    """``http://host/path`` as proxies write it, cut to ``/path``; anything else as it is."""
    if target.startswith(b"/"):
        return target
    _, scheme, rest = target.partition(b"://")
    return b"/" + rest.partition(b"/")[2] if scheme else target
