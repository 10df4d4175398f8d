"""The egress over real sockets: backends that refuse, hang, break; and what they are told."""

import os
import random
import socket

import pytest
import trio
import trio.testing

from fabric.codes import Code
from fabric.config import HostPort
from fabric.errors import RefusedError
from services import egress, tcp


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return HostPort(*listener.getsockname())


@pytest.fixture
def full_backend():
    """A backend that completes no handshake: its backlog is full and nobody accepts."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        filling = []
        for _ in range(3):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
            filling.append(sock)
        yield HostPort(*listener.getsockname())
        for sock in filling:
            sock.close()


async def test_a_refused_backend_resets_the_client(open_edge, closed_port, received, resets):
    async with open_edge(closed_port) as edge:
        with await edge.connect() as client, resets():
            await received(client)
    assert edge.fabric.served[0].refused is Code.BACKEND_REFUSED
    refused = edge.fabric.metrics.ingress_refused.series
    assert refused == {("127.0.0.1:0", Code.BACKEND_REFUSED): 1}


async def test_a_backend_that_does_not_answer_resets_the_client_in_time(
    open_edge, full_backend, received, resets
):
    async with open_edge(full_backend, service={"connect_timeout": 0.1}) as edge:
        with await edge.connect() as client, resets():
            await received(client)
    assert edge.fabric.served[0].refused is Code.BACKEND_SILENT


async def test_a_name_that_leads_nowhere_is_a_refused_backend(a_service, monkeypatch):
    async def nowhere(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(trio.socket, "getaddrinfo", nowhere)
    with pytest.raises(RefusedError) as caught:
        await egress.connect(a_service(backend=HostPort("nowhere.invalid", 80)), None)
    assert caught.value.code is Code.BACKEND_REFUSED


async def test_no_descriptor_left_is_not_blamed_on_the_backend(a_service, monkeypatch):
    def exhausted(*args, **kwargs):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", exhausted)
    with pytest.raises(RefusedError) as caught:
        await egress.connect(a_service(backend=HostPort("127.0.0.1", 80)), None)
    assert caught.value.code is Code.BUSY


@pytest.mark.parametrize("host", ["::1", "localhost"])
async def test_a_backend_may_be_ipv6_or_a_name(open_edge, start_backend, host):
    async def greet(sock):
        await tcp.send_all(sock, b"hello")

    bound = await start_backend(greet, "127.0.0.1" if host == "localhost" else host)
    async with open_edge(HostPort(host, bound.port)) as edge:
        with await edge.connect() as client:
            assert await tcp.receive(client) == b"hello"


async def test_a_backend_that_resets_resets_the_client(open_edge, start_backend, received, resets):
    async def break_off(sock):
        await tcp.send_all(sock, b"half an ans")
        await tcp.receive(sock)
        tcp.reset(sock)

    async with open_edge(await start_backend(break_off)) as edge:
        with await edge.connect() as client:
            assert await tcp.receive(client) == b"half an ans"
            await tcp.send_all(client, b"go on")
            with resets():
                await received(client)
    assert edge.fabric.opened[0].into.broken is Code.BACKEND_GONE


async def test_a_client_that_resets_resets_the_backend(open_edge, start_backend):
    seen = trio.Event()

    async def wait_for_reset(sock):
        try:
            while await tcp.receive(sock):
                pass
        except ConnectionResetError:
            seen.set()

    async with open_edge(await start_backend(wait_for_reset)) as edge:
        client = await edge.connect()
        await tcp.send_all(client, b"half a requ")
        await trio.testing.wait_all_tasks_blocked()
        tcp.reset(client)
        await seen.wait()


async def test_a_backend_answers_after_the_client_has_finished(open_edge, start_backend, received):
    async def sum_up(sock):
        total = 0
        while data := await tcp.receive(sock):
            total += len(data)
            await trio.lowlevel.checkpoint()
        await tcp.send_all(sock, b"%d" % total)

    async with open_edge(await start_backend(sum_up)) as edge:
        with await edge.connect() as client:
            for _ in range(10):
                await tcp.send_all(client, bytes(1_000_000))
            tcp.send_eof(client)
            assert await received(client) == b"10000000"


async def test_a_backend_that_does_not_read_stops_the_client(open_edge, start_backend):
    async def never_read(sock):
        await trio.sleep_forever()

    sent = 0
    async with open_edge(await start_backend(never_read)) as edge:
        with await edge.connect() as client:
            with trio.move_on_after(0.5):
                while True:
                    await tcp.send_all(client, bytes(100_000))
                    sent += 100_000
                    await trio.lowlevel.checkpoint()
            taken = edge.fabric.opened[0].out.held
    assert taken < 600_000
    assert sent < 30_000_000  # kernel buffers on both sides, the window and two pieces


async def test_a_silent_backend_is_told_before_the_opener_gives_up(a_service, full_backend):
    service = a_service(backend=full_backend, connect_timeout=60.0)
    with trio.fail_after(0.2), pytest.raises(RefusedError) as caught:
        await egress.connect(service, None)
    assert caught.value.code is Code.BACKEND_SILENT


@pytest.mark.parametrize(
    ("version", "client", "starts"),
    [
        ("v1", "203.0.113.7:51234", b"PROXY TCP4 203.0.113.7 127.0.0.1 51234 "),
        ("v1", "[2001:db8::7]:1", b"PROXY TCP6 2001:db8::7 ::ffff:"),
        ("v1", None, b"PROXY UNKNOWN\r\n"),
        ("v1", "not an address", b"PROXY UNKNOWN\r\n"),
        ("v1", "a.name:80", b"PROXY UNKNOWN\r\n"),
        (
            "v2",
            "203.0.113.7:51234",
            bytes.fromhex("0d0a0d0a000d0a515549540a2111000ccb0071077f000001c822"),
        ),
    ],
)
async def test_the_backend_is_told_who_the_client_is(
    open_edge, start_backend, memory_fabric, version, client, starts
):
    heard = []

    async def listen(sock):
        heard.append(await tcp.receive(sock))
        await tcp.send_all(sock, b"ok")

    async with (
        open_edge(await start_backend(listen), service={"send_proxy": version}),
        memory_fabric.open_channel("demo", client=client) as channel,
    ):
        assert await channel.receive_some() == b"ok"
    assert heard[0].startswith(starts)


async def test_a_quota_of_the_service_breaks_the_channel(open_edge, echo_backend, memory_fabric):
    async with (
        open_edge(echo_backend, service={"quota_bytes": 9}),
        memory_fabric.open_channel("demo") as channel,
    ):
        await channel.send_all(b"12345")
        with pytest.raises(trio.BrokenResourceError, match="quota_exceeded"):
            await channel.receive_some()


async def test_a_drain_finishes_or_resets_channels(open_edge, echo_backend, memory_fabric):
    async with (
        open_edge(echo_backend) as edge,
        memory_fabric.open_channel("demo") as channel,
    ):
        await channel.send_all(b"x")
        assert await channel.receive_some() == b"x"
        assert await edge.egress.drain(0.05) == 1
        with pytest.raises(trio.BrokenResourceError, match="drain_timeout"):
            await channel.receive_some()


async def test_a_withdrawn_service_has_no_instance_and_its_channels_run_on(
    open_edge, echo_backend, memory_fabric
):
    async with open_edge(echo_backend) as edge, memory_fabric.open_channel("demo") as channel:
        edge.egress.apply([])
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(RefusedError):
            async with memory_fabric.open_channel("demo"):
                pytest.fail("opened")
        await channel.send_all(b"still there")
        assert await channel.receive_some() == b"still there"


async def test_changed_settings_hold_for_channels_to_come(
    open_edge, echo_backend, memory_fabric, a_service
):
    async with (
        open_edge(echo_backend) as edge,
        memory_fabric.open_channel("demo") as old,
    ):
        edge.egress.apply([a_service(backend=echo_backend, quota_bytes=5)])
        async with memory_fabric.open_channel("demo") as new:
            for channel in (old, new):
                await channel.send_all(b"123456")
            assert await old.receive_some() == b"123456"
            with pytest.raises(trio.BrokenResourceError, match="quota_exceeded"):
                await new.receive_some()


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


async def test_500_connections_with_random_aborts_leave_no_task_and_no_descriptor(
    open_edge, echo_backend
):
    rng = random.Random(4)

    async def visit(edge):
        sock = await edge.connect()
        with sock:
            for _ in range(5):
                sent = rng.randbytes(rng.randrange(1, 20_000))
                await tcp.send_all(sock, sent)
                if rng.random() < 0.05:
                    tcp.reset(sock)
                    return
                left = len(sent)
                while left:
                    left -= len(await tcp.receive(sock))
            tcp.send_eof(sock)
            assert await tcp.receive(sock) == b""

    async with open_edge(echo_backend) as edge:
        await trio.testing.wait_all_tasks_blocked()
        descriptors = open_descriptors()
        tasks = trio.lowlevel.current_statistics().tasks_living
        async with trio.open_nursery() as crowd:
            for _ in range(500):
                crowd.start_soon(visit, edge)
        await trio.testing.wait_all_tasks_blocked(0.02)
        assert edge.ingress.rows()[0]["connections"] == 0
        assert open_descriptors() == descriptors
        assert trio.lowlevel.current_statistics().tasks_living == tasks
