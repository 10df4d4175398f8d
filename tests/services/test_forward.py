"""`POST /v1/forwards` as an asker meets it: over HTTP, its lines, its end."""

import json
import socket

import pytest
import trio
import trio.testing

from fabric.codes import Code
from fabric.errors import RefusedError
from fabric.net.asgi import serve
from services import forward, tcp
from services.forward import admin_routes, wanted_in


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"listen": "127.0.0.1:1"}', b'{"listen": 1, "service": "x"}']
)
def test_a_request_that_names_no_listen_and_service_is_refused(body):
    with pytest.raises(RefusedError) as caught:
        wanted_in(body)
    assert caught.value.code is Code.BAD_REQUEST


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "example.org:1"])
def test_an_address_that_others_could_reach_has_to_be_asked_for_twice(listen):
    asked = {"listen": listen, "service": "demo"}
    with pytest.raises(RefusedError) as caught:
        wanted_in(json.dumps(asked).encode())
    assert caught.value.code is Code.NOT_LOOPBACK
    assert str(wanted_in(json.dumps(asked | {"remote": True}).encode()).listen) == listen


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.3.2.1:5432", "[::1]:0", "localhost:0"])
def test_loopback_needs_no_leave(listen):
    assert str(wanted_in(json.dumps({"listen": listen, "service": "x"}).encode()).listen) == listen


@pytest.fixture
async def ask(memory_fabric, nursery):
    """Return `await ask(body)`: the socket of a request for a forward, sent."""
    from starlette.applications import Starlette

    sock = await tcp.listen("127.0.0.1", 0)
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
    address = sock.getsockname()
    await nursery.start(serve, lambda: Starlette(routes=admin_routes(memory_fabric)), [listener])

    async def ask(**body):
        asker = await tcp.connect(*address)
        data = json.dumps(body).encode()
        head = f"POST /v1/forwards HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\n\r\n"
        await tcp.send_all(asker, head.encode() + data)
        return asker

    return ask


async def next_lines(asker, count, held=b""):
    """Read until *count* JSON lines came; chunk sizes are no JSON objects."""
    while held.count(b"}\n") < count:
        piece = await tcp.receive(asker)
        assert piece, "the forward ended"
        held += piece
    return [json.loads(line) for line in held.splitlines() if line.startswith(b"{")]


def port_of(lines):
    return int(lines[0]["listening"].rpartition(":")[2])


async def test_a_forward_leads_to_the_service_and_tells_of_each_connection(
    ask, open_edge, echo_backend
):
    async with open_edge(echo_backend) as edge:
        with await ask(listen="127.0.0.1:0", service="demo") as asker:
            port = port_of(await next_lines(asker, 1))
            with await tcp.connect("127.0.0.1", port) as client:
                await tcp.send_all(client, b"ping")
                assert await tcp.receive(client) == b"ping"
                assert edge.fabric.served[-1].client is None  # only an ingress is believed
                tcp.send_eof(client)
                assert await tcp.receive(client) == b""
                (line,) = await next_lines(asker, 1)
                assert (line["sent_bytes"], line["received_bytes"]) == (4, 4)
                assert (line["code"], line["channel"]) == ("done", edge.fabric.served[-1].id)
        assert edge.fabric.opened[-1].has_line  # the asker alone has heard of it: the node logs it


async def test_a_refused_connection_is_reset_and_told_of(ask, received, resets):
    with await ask(listen="127.0.0.1:0", service="nowhere") as asker:
        port = port_of(await next_lines(asker, 1))
        with await tcp.connect("127.0.0.1", port) as client, resets():
            await received(client)
        (line,) = await next_lines(asker, 1)
        assert (line["code"], line["remedy"]) == ("no_instance", Code.NO_INSTANCE.remedy)


async def test_the_port_closes_and_connections_are_reset_when_the_asker_hangs_up(
    ask, open_edge, echo_backend, received, resets
):
    async with open_edge(echo_backend):
        asker = await ask(listen="127.0.0.1:0", service="demo")
        port = port_of(await next_lines(asker, 1))
        with await tcp.connect("127.0.0.1", port) as client:
            await tcp.send_all(client, b"ping")
            assert await tcp.receive(client) == b"ping"
            asker.close()
            with resets():
                await received(client)
            with pytest.raises(ConnectionRefusedError):
                await tcp.connect("127.0.0.1", port)


async def test_a_taken_port_is_answered_with_a_remedy(ask):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with await ask(listen=f"127.0.0.1:{port}", service="demo") as asker:
            (answer,) = await next_lines(asker, 1)
    assert answer["code"] == "cannot_listen"
    assert "Address already in use" in answer["message"]
    assert answer["remedy"] == Code.CANNOT_LISTEN.remedy


async def test_connections_through_one_forward_are_bounded(
    ask, open_edge, echo_backend, received, resets, monkeypatch
):
    monkeypatch.setattr(forward, "CONNECTIONS", 1)
    async with open_edge(echo_backend):
        with await ask(listen="127.0.0.1:0", service="demo") as asker:
            port = port_of(await next_lines(asker, 1))
            with await tcp.connect("127.0.0.1", port) as first:
                await tcp.send_all(first, b"ping")
                assert await tcp.receive(first) == b"ping"
                with await tcp.connect("127.0.0.1", port) as second, resets():
                    await received(second)
            (line,) = await next_lines(asker, 1)
            assert line["code"] == "listener_full"
