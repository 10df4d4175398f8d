"""Whatever bytes a client sends, and however it cuts them: the server goes on serving others."""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from fabric.net.asgi import Limits, serve
from fabric.net.asgi_answers import LiveAnswer

GOOD = b"GET /ok HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"

token = st.sampled_from(
    [b"GET", b"HEAD", b"POST", b"CONNECT", b"OPTIONS", b"PRI", b"/", b"*", b"http://h/%ff?%00"]
)
line = st.sampled_from(
    [
        b"Host: t",
        b"Host: t, t",
        b"Content-Length: 3",
        b"Content-Length: 99999999999999999999",
        b"Content-Length: 3, 3",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: gzip",
        b"Expect: 100-continue",
        b"Connection: upgrade",
        b"Connection: close",
        b"Upgrade: websocket",
        b" folded",
        b"Bad Name: x",
        b"X: \xff\x80",
    ]
)
body = st.sampled_from(
    [b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"fffffffffffffffffff\r\n", b"-1\r\n"]
)


@st.composite
def request(draw):
    first = b" ".join(
        [draw(token), draw(token), draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.0"]))]
    )
    return b"\r\n".join([first, *draw(st.lists(line, max_size=5)), b"", draw(body)])


@st.composite
def pieces(draw):
    """Some requests and some noise, cut at random."""
    data = b"".join(draw(st.lists(request() | st.just(GOOD) | st.binary(max_size=40), max_size=4)))
    cuts = sorted(draw(st.sets(st.integers(0, len(data)), max_size=6)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


async def reader(scope, receive, send):
    """Takes the body, then answers."""
    while (message := await receive())["type"] == "http.request" and message["more_body"]:
        pass
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": scope["path"].encode(errors="replace")})


async def count(write):
    for number in range(3):
        await write(b"%d" % number)
        await trio.sleep(1)


class Listener(trio.abc.Listener):
    """Hands out one end of each pair whose other end a test holds."""

    def __init__(self):
        self._to_accept, self._accepted = trio.open_memory_channel(2)

    def connect(self):
        ours, theirs = trio.testing.memory_stream_pair()
        self._to_accept.send_nowait(theirs)
        return ours

    async def accept(self):
        return await self._accepted.receive()

    async def aclose(self):
        await trio.lowlevel.checkpoint()


async def attack(app, sent, ending):
    listener = Listener()
    bad = listener.connect()
    limits = Limits(body_bytes=100, head_within=2, body_within=2, idle_within=2, write_within=2)
    with trio.fail_after(600):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: serve(lambda: app, [listener], limits=limits))
            try:
                for piece in sent:
                    await bad.send_all(piece)
                    await trio.sleep(0.1)
                if ending == "half":
                    await bad.send_eof()
                elif ending == "hang up":
                    await bad.aclose()
                while ending != "hang up" and await bad.receive_some(65536):
                    pass
            except trio.BrokenResourceError:
                pass  # it had heard enough
            good = listener.connect()
            await good.send_all(GOOD)
            answer = await good.receive_some(65536)
            assert answer.startswith(b"HTTP/1.1 200 ")
            nursery.cancel_scope.cancel()


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([reader, LiveAnswer(count, "text/plain")]),
    pieces(),
    st.sampled_from(["half", "hang up", "wait"]),
)
def test_nothing_that_a_client_sends_escapes(app, sent, ending):
    clock = trio.testing.MockClock(autojump_threshold=0)
    with capture_logs() as entries:
        trio.run(attack, app, sent, ending, clock=clock)
    assert [entry for entry in entries if entry["log_level"] == "error"] == []
