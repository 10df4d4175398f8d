"""The ASGI server over in-memory streams: what clients may do, and what it costs them."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import h11
import pytest
import trio
import trio.testing
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route
from structlog.testing import capture_logs

from fabric.errors import UnreachableError
from fabric.net.asgi import TURNED_AWAY, Limits, serve
from fabric.net.asgi_answers import Answer, LiveAnswer
from fabric.net.asgi_wire import EARLY_BYTES, Shutdown, Wire


class Listener(trio.abc.Listener):
    """Hands out one end of each pair whose other end a test holds."""

    def __init__(self):
        self._to_accept, self._accepted = trio.open_memory_channel(100)
        self.closed = False

    def connect(self):
        ours, theirs = trio.testing.memory_stream_pair()
        self._to_accept.send_nowait(theirs)
        return ours

    async def accept(self):
        return await self._accepted.receive()

    async def aclose(self):
        self.closed = True
        await trio.lowlevel.checkpoint()


class Client:
    """A client that speaks HTTP by h11, for tests that mean well."""

    def __init__(self, stream):
        self.stream = stream
        self._h11 = h11.Connection(h11.CLIENT)

    async def ask(self, target="/", *, method="GET", body=b"", headers=()):
        sent = [("host", "test"), ("content-length", str(len(body))), *headers]
        request = h11.Request(method=method, target=target, headers=sent)
        events = (request, h11.Data(data=body), h11.EndOfMessage())
        data = b"".join(self._h11.send(event) or b"" for event in events)
        await self.stream.send_all(data)

    async def event(self):
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            self._h11.receive_data(await self.stream.receive_some(65536))
        return event

    async def answer(self):
        response, body = await self.event(), b""
        while isinstance(event := await self.event(), h11.Data):
            body += event.data
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
        return response.status_code, body

    async def get(self, target="/", **more):
        await self.ask(target, **more)
        return await self.answer()


async def echo(scope, receive, send):
    """Answers with what was asked."""
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    told = {key: scope[key] for key in ("method", "path", "http_version")}
    query = scope["query_string"].decode()
    await Answer.of_json(told | {"query": query, "size": len(body)})(scope, receive, send)


@asynccontextmanager
async def serving(app, **options):
    listener = Listener()
    options["limits"] = Limits(**options.pop("limits", {}))
    async with trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: serve(lambda: app, [listener], task_status=task_status, **options)
        )
        yield listener
        nursery.cancel_scope.cancel()
    assert listener.closed


def refusal(body):
    told = json.loads(body)
    assert set(told) == {"code", "message", "remedy"}
    return told["code"]


async def everything(stream):
    """Read to the end, however it ends."""
    data = b""
    try:
        while piece := await stream.receive_some(65536):
            data += piece
    except trio.BrokenResourceError:
        pass
    return data


async def test_one_connection_serves_many_requests(autojump_clock):
    async with serving(echo) as listener:
        client = Client(listener.connect())
        for number in range(3):
            status, body = await client.get(
                f"/a%20b?n={number}", method="POST", body=b"x" * number
            )
            assert status == 200
            told = json.loads(body)
            assert told == {
                "method": "POST",
                "path": "/a b",
                "http_version": "1.1",
                "query": f"n={number}",
                "size": number,
            }


async def test_pipelined_requests_are_answered_in_order(autojump_clock):
    async with serving(echo) as listener:
        stream = listener.connect()
        await stream.send_all(
            b"".join(b"GET /%d HTTP/1.1\r\nHost: t\r\n\r\n" % number for number in range(50))
            + b"GET /last HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
        )
        data = await everything(stream)
        places = [data.index(b'"path":"/%d"' % number) for number in range(50)]
        assert places == sorted(places)
        assert b'"path":"/last"' in data


async def test_a_chunked_body_arrives_whole(autojump_clock):
    async with serving(echo) as listener:
        stream = listener.connect()
        head = (
            b"PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        )
        for piece in (head, b"3\r\nabc\r\n", b"4\r\ndefg\r\n", b"0\r\n\r\n"):
            await stream.send_all(piece)
            await trio.sleep(1)
        assert b'"size":7' in await everything(stream)


@pytest.mark.parametrize("limits", [{"body_bytes": 10}])
@pytest.mark.parametrize(
    "framing", [b"Content-Length: 11\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\nb\r\n"]
)
async def test_a_body_over_the_cap_is_refused_with_413(autojump_clock, limits, framing):
    async with serving(echo, limits=limits) as listener:
        stream = listener.connect()
        await stream.send_all(b"PUT / HTTP/1.1\r\nHost: t\r\n" + framing + b"01234567890\r\n")
        data = await everything(stream)
        assert data.startswith(b"HTTP/1.1 413 ")
        assert refusal(data.partition(b"\r\n\r\n")[2]) == "request_too_large"


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"nonsense\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),  # no Host
        (b"GET / HTTP/1.1\r\nHost: t\r\nX: " + b"x" * 40_000, 431, "request_too_large"),
        (b"CONNECT t:1 HTTP/1.1\r\nHost: t\r\n\r\n", 405, "no_such_method"),
        (
            b"PUT / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            400,
            "bad_request",
        ),
        (b"GET / HTTP/1.1\r\nHost: t\r\nContent-Length: x\r\n\r\n", 400, "bad_request"),
    ],
)
async def test_what_is_no_request_is_refused_in_json(autojump_clock, sent, status, code):
    async with serving(echo) as listener:
        stream = listener.connect()
        await stream.send_all(sent)
        data = await everything(stream)
        assert data.startswith(b"HTTP/1.1 %d " % status)
        assert refusal(data.partition(b"\r\n\r\n")[2]) == code


async def test_a_head_that_trickles_in_is_cut_off_with_408(autojump_clock):
    async with serving(echo, limits={"head_within": 10}) as listener:
        stream = listener.connect()
        async with trio.open_nursery() as nursery:

            async def trickle():
                for byte in b"GET / HTTP/1.1\r\nHost: test\r\n":
                    await stream.send_all(bytes([byte]))
                    await trio.sleep(1)

            nursery.start_soon(trickle)
            began = trio.current_time()
            data = await stream.receive_some(65536)
            assert trio.current_time() - began == pytest.approx(10)
            assert data.startswith(b"HTTP/1.1 408 ")
            nursery.cancel_scope.cancel()


async def test_a_body_that_stalls_is_cut_off_with_408(autojump_clock):
    async with serving(echo, limits={"body_within": 7}) as listener:
        stream = listener.connect()
        await stream.send_all(b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nab")
        began = trio.current_time()
        assert (await stream.receive_some(65536)).startswith(b"HTTP/1.1 408 ")
        assert trio.current_time() - began == pytest.approx(7)


async def test_a_body_that_trickles_in_has_one_deadline_for_the_whole(autojump_clock):
    async with serving(echo, limits={"body_within": 7}) as listener:
        stream = listener.connect()
        await stream.send_all(b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 99\r\n\r\n")
        async with trio.open_nursery() as nursery:

            async def trickle():
                while True:
                    await stream.send_all(b"x")
                    await trio.sleep(5)

            nursery.start_soon(trickle)
            began = trio.current_time()
            assert (await stream.receive_some(65536)).startswith(b"HTTP/1.1 408 ")
            assert trio.current_time() - began == pytest.approx(7)
            nursery.cancel_scope.cancel()


async def test_a_silent_connection_is_closed_after_its_pause(autojump_clock):
    async with serving(echo, limits={"idle_within": 60}) as listener:
        client = Client(listener.connect())
        await client.get()
        began = trio.current_time()
        assert await everything(client.stream) == b""
        assert 60 <= trio.current_time() - began <= 61


async def test_a_client_that_stopped_reading_is_cut_off(autojump_clock):
    ended = trio.Event()

    async def flood(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        except OSError:
            ended.set()
            raise

    near, far = trio.testing.lockstep_stream_pair()  # a send waits until it is received

    class One(Listener):
        async def accept(self):
            if self._to_accept is None:
                await trio.sleep_forever()
            self._to_accept = None
            return far

    with capture_logs() as entries:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, lambda: flood, [One()])
            await near.send_all(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
            await near.receive_some(100)
            began = trio.current_time()
            await ended.wait()
            assert trio.current_time() - began == pytest.approx(10)
            nursery.cancel_scope.cancel()
    assert [entry for entry in entries if entry["log_level"] == "error"] == []


async def test_a_hang_up_reaches_an_app_that_is_still_answering(autojump_clock):
    seen = []

    async def slow(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        while (message := await receive())["type"] == "http.request":
            pass
        seen.append(message["type"])
        with pytest.raises(OSError, match=r"hung up|broke off"):
            await send({"type": "http.response.body", "body": b"second", "more_body": True})
        seen.append("refused")

    async with serving(slow) as listener:
        stream = listener.connect()
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n")
        await trio.testing.wait_all_tasks_blocked()
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
    assert seen == ["http.disconnect", "refused"]


async def test_a_live_answer_ends_with_its_client(autojump_clock):
    ended = trio.Event()

    async def tick(write):
        try:
            for number in range(1000):
                await write(b"%d\n" % number)
                await trio.sleep(1)
        finally:
            ended.set()

    async with serving(LiveAnswer(tick, "application/x-ndjson")) as listener:
        client = Client(listener.connect())
        await client.ask("/")
        assert (await client.event()).status_code == 200
        assert [(await client.event()).data for _ in range(3)] == [b"0\n", b"1\n", b"2\n"]
        await client.stream.aclose()
        with trio.fail_after(1.5):
            await ended.wait()


async def test_a_live_answer_that_ends_leaves_the_connection_usable(autojump_clock):
    async def short(write):
        await write(b"all")

    async with serving(LiveAnswer(short, "text/plain")) as listener:
        client = Client(listener.connect())
        assert await client.get() == (200, b"all")
        assert await client.get() == (200, b"all")


async def test_a_live_answer_that_fails_early_can_still_be_refused(autojump_clock):
    async def fail(write):
        raise UnreachableError("no such port")

    async def app(scope, receive, send):
        try:
            await LiveAnswer(fail, "text/plain")(scope, receive, send)
        except UnreachableError as error:
            await Answer.of_json({"told": str(error)}, 409)(scope, receive, send)

    async with serving(app) as listener:
        assert await Client(listener.connect()).get() == (409, b'{"told":"no such port"}\n')


async def test_connections_beyond_the_limit_are_told_503(autojump_clock):
    async with serving(echo, limits={"connections": 2}) as listener:
        served = [Client(listener.connect()) for _ in range(2)]
        for client in served:
            assert (await client.get())[0] == 200
        data = await everything(listener.connect())
        assert data.startswith(b"HTTP/1.1 503 ")
        assert refusal(data.partition(b"\r\n\r\n")[2]) == "too_many_clients"
        await served[0].stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert (await Client(listener.connect()).get())[0] == 200


async def test_connections_far_beyond_the_limit_are_just_closed(autojump_clock):
    async with serving(echo, limits={"connections": 0}) as listener:
        streams = [listener.connect() for _ in range(TURNED_AWAY + 1)]
        await trio.testing.wait_all_tasks_blocked()
        heard = [await everything(stream) for stream in streams]
    assert [bool(data) for data in heard] == [True] * TURNED_AWAY + [False]


async def test_a_failing_app_is_answered_with_500_and_logged(autojump_clock):
    async def fail(scope, receive, send):
        raise ZeroDivisionError

    with capture_logs() as entries:
        async with serving(fail) as listener:
            status, body = await Client(listener.connect()).get("/here")
            assert (status, refusal(body)) == (500, "internal_error")
            assert (await Client(listener.connect()).get())[0] == 500
    assert entries[0]["event"] == "http.app_failed"
    assert entries[0]["path"] == "/here"


async def test_an_app_that_fails_half_way_cuts_its_answer_off(autojump_clock):
    async def fail(scope, receive, send):
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ZeroDivisionError

    with capture_logs():
        async with serving(fail) as listener:
            client = Client(listener.connect())
            await client.ask()
            with pytest.raises(h11.RemoteProtocolError, match="incomplete"):
                await client.answer()


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.response.body", "body": b"too early"}],
        [{"type": "http.response.start", "status": 200, "headers": [(b"a\n", b"b")]}],
        [{"type": "http.response.start", "status": 200}] * 2,
        [{"type": "websocket.accept"}],
        [],
    ],
)
async def test_an_app_that_breaks_asgi_is_answered_for(autojump_clock, messages):
    async def broken(scope, receive, send):
        for message in messages:
            await send(message)

    with capture_logs():
        async with serving(broken) as listener:
            assert (await Client(listener.connect()).get())[0] == 500


async def test_head_and_204_have_no_body(autojump_clock):
    async def none(scope, receive, send):
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body", "body": b"surplus"})

    async with serving(echo) as listener:
        client = Client(listener.connect())
        assert await client.get(method="HEAD") == (200, b"")
        assert (await client.get())[0] == 200
    async with serving(none) as listener:
        assert await Client(listener.connect()).get() == (204, b"")


async def test_a_client_that_asks_for_leave_gets_100_first(autojump_clock):
    async with serving(echo) as listener:
        client = Client(listener.connect())
        head = b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        await client.stream.send_all(head)
        assert (await client.stream.receive_some(9999)).startswith(b"HTTP/1.1 100 ")
        await client.stream.send_all(b"ab")
        assert b'"size":2' in await client.stream.receive_some(9999)


async def test_leave_to_send_a_body_over_the_cap_is_not_given(autojump_clock):
    async with serving(echo, limits={"body_bytes": 1}) as listener:
        stream = listener.connect()
        head = b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        await stream.send_all(head)
        assert (await stream.receive_some(9999)).startswith(b"HTTP/1.1 413 ")


async def test_shutdown_leaves_pipelined_requests_unanswered(autojump_clock):
    asked = []

    async def slow(scope, receive, send):
        asked.append(scope["path"])
        length = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": length})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await trio.sleep(3)
        await send({"type": "http.response.body", "body": b"b"})

    shutdown, listener = trio.Event(), Listener()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(lambda: slow, [listener], shutdown=shutdown))
        client = Client(listener.connect())
        await client.stream.send_all(b"GET /1 HTTP/1.1\r\nHost: t\r\n\r\n" * 2)
        await trio.testing.wait_all_tasks_blocked()
        shutdown.set()
        assert (await everything(client.stream)).count(b"HTTP/1.1 200 ") == 1
    assert asked == ["/1"]


async def test_what_a_client_pipelines_is_held_only_up_to_a_bound(autojump_clock):
    ours, theirs = trio.testing.memory_stream_pair()
    wire = Wire(theirs, Limits(), Shutdown())
    await ours.send_all(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n" + b"x" * 10 * EARLY_BYTES)
    assert await wire.next_request()
    assert await wire.next_piece() is None
    with trio.fail_after(1):
        assert await wire.hang_up() is False


async def test_shutdown_ends_idle_connections_now_and_busy_ones_with_their_answer(autojump_clock):
    async def slow(scope, receive, send):
        await trio.sleep(3)
        await echo(scope, receive, send)

    shutdown, listener = trio.Event(), Listener()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(lambda: slow, [listener], shutdown=shutdown))
        busy, idle = Client(listener.connect()), listener.connect()
        await busy.ask("/busy")
        await trio.testing.wait_all_tasks_blocked()
        shutdown.set()
        assert await everything(idle) == b""
        assert trio.current_time() < 3
        response = await busy.event()
        assert dict(response.headers)[b"connection"] == b"close"
        assert b'"path":"/busy"' in (await busy.event()).data
    assert trio.current_time() <= 4.5


async def test_shutdown_does_not_wait_longer_than_its_grace(autojump_clock):
    async def stuck(scope, receive, send):
        await trio.sleep_forever()

    shutdown, listener = trio.Event(), Listener()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: serve(lambda: stuck, [listener], shutdown=shutdown))
        await Client(listener.connect()).ask()
        await trio.testing.wait_all_tasks_blocked()
        shutdown.set()
    assert trio.current_time() == pytest.approx(5)


async def test_what_a_connection_is_known_by_reaches_each_of_its_requests(autojump_clock):
    async def who(scope, receive, send):
        await Answer.of_json(scope["state"])(scope, receive, send)

    async with serving(who, facts_of=lambda stream: {"state": {"uid": 7}}) as listener:
        client = Client(listener.connect())
        assert await client.get() == (200, b'{"uid":7}\n')
        assert await client.get() == (200, b'{"uid":7}\n')


async def test_a_starlette_stream_ends_with_its_client(autojump_clock):
    ended = trio.Event()

    async def ticks():
        try:
            while True:
                yield b"tick\n"
                await trio.sleep(1)
        finally:
            ended.set()

    async def endpoint(request):
        stack = request.scope["stack"]  # which closes the generator: nobody else does
        body = await stack.enter_async_context(aclosing(ticks()))
        return StreamingResponse(body, media_type="text/plain")

    starlette = Starlette(routes=[Route("/", endpoint)])

    async def app(scope, receive, send):
        async with AsyncExitStack() as stack:
            await starlette(scope | {"stack": stack}, receive, send)

    async with serving(app) as listener:
        client = Client(listener.connect())
        await client.ask()
        assert (await client.event()).status_code == 200
        assert (await client.event()).data == b"tick\n"
        await client.stream.aclose()
        with trio.fail_after(0.5):
            await ended.wait()


async def test_it_serves_over_tcp_and_leaves_nothing_open():
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, lambda: echo, listeners)
        stream = await trio.testing.open_stream_to_socket_listener(listeners[0])
        async with stream:
            assert (await Client(stream).get("/tcp"))[0] == 200
        nursery.cancel_scope.cancel()
    assert listeners[0].socket.fileno() == -1
