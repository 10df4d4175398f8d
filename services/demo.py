"""A small HTTP server to put behind a service: it says what reached it, and moves bulk both ways.

Run as ``python -m services.demo --listen 127.0.0.1:8000 --node NAME``. It answers

- ``GET /bytes/N`` with N bytes of a fixed pattern,
- ``PUT /sha256`` with the length and the hash of what was sent,
- anything else with JSON about the request.
"""

from __future__ import annotations

import argparse
import hashlib
import signal
import time
from collections.abc import AsyncIterator
from functools import partial

import trio
from attrs import frozen

from fabric.config import HostPort
from fabric.net.asgi import Facts, Limits, Receive, Scope, Send, serve
from fabric.net.asgi_answers import Answer
from services import proxy_protocol

PIECE = bytes(range(256)) * 1024
"""256 KiB: what ``/bytes/N`` is made of, so that a client can tell a piece that went missing."""

MOST_BYTES = 1 << 40

LIMITS = Limits(
    connections=4096,
    body_bytes=MOST_BYTES,
    body_within=3600.0,
    idle_within=300.0,
    write_within=120.0,
)
"""Wide: the demo is there to be loaded, stalled and slowed down by whoever tries the fabric."""


@frozen
class Demo:
    """The ASGI app. *node* is the name of the node it stands beside."""

    node: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope["method"], scope["path"].strip("/").split("/"):
            case "GET" | "HEAD", ["bytes", count] if _is_count(count):
                await _send_bytes(send, int(count))
            case "PUT" | "POST", ["sha256"]:
                await self._hash(scope, receive, send)
            case _:
                await Answer.of_json(self._seen(scope))(scope, receive, send)

    def _seen(self, scope: Scope) -> dict[str, object]:
        return {
            "service": "demo",
            "node": self.node,
            "method": scope["method"],
            "path": scope["path"],
            "client": str(scope["demo.client"]()),
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }

    async def _hash(self, scope: Scope, receive: Receive, send: Send) -> None:
        digest, length, more = hashlib.sha256(), 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            digest.update(message["body"])
            length += len(message["body"])
            more = message["more_body"]
        body = {"bytes": length, "sha256": digest.hexdigest(), "node": self.node}
        await Answer.of_json(body)(scope, receive, send)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 13 and int(text) <= MOST_BYTES


async def _send_bytes(send: Send, count: int) -> None:
    headers = [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", b"%d" % count),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(count // len(PIECE)):
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": PIECE[: count % len(PIECE)]})


class Introduced(trio.abc.Stream):
    """A TCP connection that starts with a PROXY header, which its first read takes off."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._is_introduced = False
        self.client = _peer_of(stream)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._is_introduced:
            return await self._stream.receive_some(max_bytes)
        self._is_introduced = True
        return await self._introduction() or await self._stream.receive_some(max_bytes)

    async def _introduction(self) -> bytes:
        held = b""
        try:
            while (parsed := proxy_protocol.parse(held)) is None:
                piece = await self._stream.receive_some()
                if not piece:
                    raise trio.BrokenResourceError("ended within its PROXY header")
                held += piece
        except proxy_protocol.ProxyHeaderError as error:
            raise trio.BrokenResourceError(str(error)) from error
        header, length = parsed
        self.client = header.source or self.client
        return held[length:]

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


@frozen
class IntroducedListener(trio.abc.Listener[Introduced]):
    """Accepts connections of a proxy that sends PROXY headers, v1 or v2."""

    _listener: trio.SocketListener

    async def accept(self) -> Introduced:
        return Introduced(await self._listener.accept())

    async def aclose(self) -> None:
        await self._listener.aclose()


def _peer_of(stream: trio.SocketStream) -> HostPort:
    try:
        host, port, *_ = stream.socket.getpeername()
    except OSError:  # it has gone already
        return HostPort("0.0.0.0", 0)
    return HostPort(host, port)


def _facts_of(stream: trio.SocketStream | Introduced) -> Facts:
    # Asked for before the first request, hence the callable: a PROXY header comes with it.
    if isinstance(stream, Introduced):
        return {"demo.client": lambda: stream.client}
    peer = _peer_of(stream)
    return {"demo.client": lambda: peer}


async def run(listen: HostPort, node: str, *, accept_proxy: bool = False) -> None:
    """Serve until SIGTERM or SIGINT, then let answers under way finish.

    Says on standard output where it listens. Raises :exc:`OSError` when it cannot.
    """
    bound = await trio.open_tcp_listeners(listen.port, host=listen.host, backlog=4096)
    listeners = [IntroducedListener(one) for one in bound] if accept_proxy else bound
    shutdown = trio.Event()
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_set_on_signal, signals, shutdown)
            for sock in bound:
                host, port, *_ = sock.socket.getsockname()
                print(f"listening on {HostPort(host, port)}", flush=True)
            await serve(
                lambda: Demo(node),
                listeners,
                limits=LIMITS,
                facts_of=_facts_of,
                shutdown=shutdown,
            )
            nursery.cancel_scope.cancel()


async def _set_on_signal(signals: AsyncIterator[int], shutdown: trio.Event) -> None:
    async for _ in signals:
        shutdown.set()


def main() -> None:
    parser = argparse.ArgumentParser(prog="services.demo", description=__doc__)
    parser.add_argument("--listen", type=HostPort.parse, default=HostPort("127.0.0.1", 8000))
    parser.add_argument("--node", default="", help="name of the node it stands beside")
    parser.add_argument(
        "--accept-proxy", action="store_true", help="each connection starts with a PROXY header"
    )
    asked = parser.parse_args()
    trio.run(partial(run, asked.listen, asked.node, accept_proxy=asked.accept_proxy))


if __name__ == "__main__":
    main()
