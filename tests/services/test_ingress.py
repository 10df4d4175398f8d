"""The ingress over real sockets: who gets in, who is reset, what a reload and a drain touch."""

import errno
import socket
from unittest import mock

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs

from fabric.codes import Code
from fabric.errors import ConfigError
from fabric.runtime.metrics import Metrics
from services import accepting, listeners, tcp
from services.ingress import open_ingress


async def ask(sock, data=b"ping"):
    await tcp.send_all(sock, data)
    return await tcp.receive(sock)


def told(entries, event):
    return [entry for entry in entries if entry["event"] == event]


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0", "localhost:0"])
async def test_a_connection_reaches_the_service_and_comes_back(open_edge, echo_backend, listen):
    async with open_edge(echo_backend, listener={"listen": listen}) as edge:
        client = await edge.connect()
        with client:
            assert await ask(client) == b"ping"
            host, port, *_ = client.getsockname()
            told = edge.fabric.served[0].client
            assert told == (f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
            tcp.send_eof(client)
            assert await tcp.receive(client) == b""


async def test_the_end_of_a_connection_is_one_line(open_edge, echo_backend):
    with capture_logs() as entries:
        async with open_edge(echo_backend) as edge:
            with await edge.connect() as client:
                await ask(client)
                tcp.send_eof(client)
                assert await tcp.receive(client) == b""
                await trio.testing.wait_all_tasks_blocked()
                name = ":".join(map(str, client.getsockname()))
    (line,) = told(entries, "ingress.closed")
    assert (line["service"], line["client"], line["code"]) == ("demo", name, Code.DONE)
    assert (line["sent_bytes"], line["received_bytes"]) == (4, 4)
    assert line["channel"] == edge.fabric.opened[0].id


async def test_an_unknown_service_resets_the_client(memory_fabric, a_listener, received, resets):
    metrics = Metrics()
    async with open_ingress(memory_fabric, [a_listener("nowhere")], {}, metrics) as ingress:
        port = int(ingress.rows()[0]["listen"].rpartition(":")[2])
        with await tcp.connect("127.0.0.1", port) as client, resets():
            await received(client)
    assert metrics.ingress_refused.series == {("127.0.0.1:0", Code.NO_INSTANCE): 1}


async def test_a_channel_that_does_not_open_in_time_resets_the_client(
    memory_fabric, a_listener, received, resets
):
    async def never_answer(channel):
        await trio.sleep_forever()

    memory_fabric.handlers["demo"] = never_answer
    wanted = [a_listener(open_timeout=0.05)]
    async with open_ingress(memory_fabric, wanted, {}, memory_fabric.metrics) as ingress:
        port = int(ingress.rows()[0]["listen"].rpartition(":")[2])
        with await tcp.connect("127.0.0.1", port) as client, resets():
            await received(client)
    assert memory_fabric.metrics.ingress_refused.series == {("127.0.0.1:0", Code.DEADLINE): 1}


async def test_beyond_the_cap_of_a_listener_connections_are_reset(
    open_edge, echo_backend, received, resets
):
    async with open_edge(echo_backend, listener={"max_connections": 3}) as edge:
        silent = [await edge.connect() for _ in range(3)]  # sending nothing counts too
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(2):
            with await edge.connect() as late, resets():
                await received(late)
        assert edge.ingress.rows()[0]["connections"] == 3
        refused = edge.fabric.metrics.ingress_refused.series
        assert refused == {("127.0.0.1:0", Code.LISTENER_FULL): 2}
        silent.pop().close()
        await trio.testing.wait_all_tasks_blocked()
        with await edge.connect() as client:
            assert await ask(client) == b"ping"
        for sock in silent:
            sock.close()


async def test_a_burst_past_the_cap_within_one_wake_up_is_cut_at_the_cap(open_edge, echo_backend):
    async with open_edge(echo_backend, listener={"max_connections": 5}) as edge:
        burst = [socket.create_connection(("127.0.0.1", edge.ports[0])) for _ in range(20)]
        await trio.testing.wait_all_tasks_blocked()
        assert edge.ingress.rows()[0]["connections"] == 5
        for sock in burst:
            sock.close()


async def test_a_service_has_one_cap_over_all_its_listeners(
    open_edge, echo_backend, a_listener, received, resets
):
    both = [a_listener(), a_listener(listen="[::1]:0")]
    async with open_edge(echo_backend, listeners=both, service={"max_channels": 1}) as edge:
        with await edge.connect(0) as first:
            assert await ask(first) == b"ping"
            with await edge.connect(1) as second, resets():
                await received(second)
        assert len(edge.fabric.opened) == 1  # the second did not get as far as a channel
    refused = edge.fabric.metrics.ingress_refused.series
    assert refused == {("[::1]:0", Code.SERVICE_FULL): 1}


async def test_refusals_are_all_counted_and_few_are_logged(open_edge, echo_backend):
    with capture_logs() as entries:
        async with open_edge(echo_backend, listener={"max_connections": 0}) as edge:
            for _ in range(40):
                (await edge.connect()).close()
            await trio.testing.wait_all_tasks_blocked()
    assert sum(edge.fabric.metrics.ingress_refused.series.values()) == 40
    assert len(told(entries, "ingress.refused")) == 10


async def test_connections_that_send_nothing_are_idled_out(
    open_edge, echo_backend, received, resets
):
    async with open_edge(echo_backend, listener={"idle_timeout": 0.05}) as edge:
        with await edge.connect() as silent, resets():
            await received(silent)
        await trio.testing.wait_all_tasks_blocked()
        assert edge.ingress.rows()[0]["connections"] == 0


async def test_a_drain_resets_a_connection_that_waits_for_its_channel(
    memory_fabric, a_listener, received, resets
):
    async def never_answer(channel):
        await trio.sleep_forever()

    memory_fabric.handlers["demo"] = never_answer
    with capture_logs() as entries:
        async with open_ingress(memory_fabric, [a_listener()], {}, Metrics()) as ingress:
            port = int(ingress.rows()[0]["listen"].rpartition(":")[2])
            with await tcp.connect("127.0.0.1", port) as client:
                await trio.testing.wait_all_tasks_blocked()
                assert await ingress.drain(0) == 1
                with resets():
                    await received(client)
    (line,) = told(entries, "ingress.closed")
    assert (line["code"], line["channel"]) == (Code.DRAIN_TIMEOUT, "")


async def test_a_listener_quota_resets_the_client(open_edge, echo_backend, received, resets):
    async with open_edge(echo_backend, listener={"quota_bytes": 100}) as edge:
        with await edge.connect() as client:
            assert await ask(client) == b"ping"
            await tcp.send_all(client, bytes(100))
            with resets():
                await received(client)
    assert edge.fabric.served[0].into.broken is Code.QUOTA_EXCEEDED


class TestTheProxyHeader:
    V2 = bytes.fromhex("0d0a0d0a000d0a515549540a 2111000c cb007107 7f000001 c822 01bb")

    @pytest.mark.parametrize("header", [b"PROXY TCP4 203.0.113.7 127.0.0.1 51234 443\r\n", V2])
    async def test_names_the_client_and_the_rest_is_payload(self, open_edge, echo_backend, header):
        async with open_edge(echo_backend, listener={"accept_proxy": True}) as edge:
            with await edge.connect() as client:
                assert await ask(client, header + b"payload") == b"payload"
                assert edge.fabric.served[0].client == "203.0.113.7:51234"

    async def test_may_come_byte_by_byte(self, open_edge, echo_backend):
        async with open_edge(echo_backend, listener={"accept_proxy": True}) as edge:
            with await edge.connect() as client:
                for byte in self.V2:
                    await tcp.send_all(client, bytes([byte]))
                    await trio.lowlevel.checkpoint()
                assert await ask(client) == b"ping"

    async def test_about_nobody_leaves_the_address_of_the_socket(self, open_edge, echo_backend):
        async with open_edge(echo_backend, listener={"accept_proxy": True}) as edge:
            with await edge.connect() as client:
                assert await ask(client, b"PROXY UNKNOWN\r\nhello") == b"hello"
                assert edge.fabric.served[0].client.startswith("127.0.0.1:")

    @pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\n\r\n", b"PROXY nonsense\r\n", b""])
    async def test_malformed_or_missing_resets_the_client(
        self, open_edge, echo_backend, received, resets, start
    ):
        async with open_edge(echo_backend, listener={"accept_proxy": True}) as edge:
            with await edge.connect() as client:
                await tcp.send_all(client, start)
                tcp.send_eof(client)
                with resets():
                    await received(client)
        refused = edge.fabric.metrics.ingress_refused.series
        assert refused == {("127.0.0.1:0", Code.BAD_PROXY_HEADER): 1}
        assert edge.fabric.opened == []

    async def test_that_does_not_come_resets_the_client(
        self, open_edge, echo_backend, received, resets, monkeypatch
    ):
        monkeypatch.setattr(listeners, "HEADER_WITHIN", 0.05)
        async with open_edge(echo_backend, listener={"accept_proxy": True}) as edge:
            with await edge.connect() as client, resets():
                await tcp.send_all(client, b"PROXY TCP4 ")
                await received(client)

    async def test_is_payload_where_none_is_expected(self, open_edge, echo_backend):
        async with open_edge(echo_backend) as edge:
            with await edge.connect() as client:
                assert await ask(client, b"PROXY UNKNOWN\r\n") == b"PROXY UNKNOWN\r\n"


class TestAReload:
    async def test_leaves_an_unchanged_listener_its_socket_and_connections(
        self, open_edge, echo_backend, a_listener, a_service
    ):
        async with open_edge(echo_backend) as edge:
            with await edge.connect() as client:
                assert await ask(client) == b"ping"
                before = edge.ports
                added = a_listener(listen="[::1]:0")
                await edge.ingress.apply([a_listener(), added], {"demo": a_service()})
                assert edge.ports[:1] == before
                assert await ask(client) == b"ping"
                with await edge.connect(1) as other:
                    assert await ask(other) == b"ping"

    async def test_of_limits_holds_for_new_connections_only(
        self, open_edge, echo_backend, a_listener, a_service
    ):
        async with open_edge(echo_backend) as edge:
            with await edge.connect() as old:
                await ask(old)
                await edge.ingress.apply([a_listener(quota_bytes=6)], {"demo": a_service()})
                assert await ask(old, bytes(100)) == bytes(100)
                with await edge.connect() as new, pytest.raises(ConnectionResetError):
                    await ask(new, bytes(100))

    async def test_that_removes_a_listener_lets_its_connections_run_on(
        self, open_edge, echo_backend
    ):
        async with open_edge(echo_backend) as edge:
            (port,) = edge.ports
            with await edge.connect() as client:
                await ask(client)
                await edge.ingress.apply([], {})
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(ConnectionRefusedError):
                    await tcp.connect("127.0.0.1", port)
                assert await ask(client) == b"ping"

    async def test_with_a_mistake_changes_nothing_and_names_them_all(
        self, open_edge, echo_backend, a_listener
    ):
        taken = socket.create_server(("127.0.0.1", 0))
        wanted = [
            a_listener("inner", listen="[::1]:0"),
            a_listener("inner", listen="[::1]:0"),
            a_listener(listen=f"127.0.0.1:{taken.getsockname()[1]}"),
        ]
        async with open_edge(echo_backend) as edge:
            with taken, pytest.raises(ConfigError) as caught:
                await edge.ingress.apply(wanted, {})
            assert len(caught.value.mistakes) == 2
            assert "[::1]:0 twice" in caught.value.mistakes[0]
            assert "Address already in use" in caught.value.mistakes[1]
            assert [row["name"] for row in edge.ingress.rows()] == ["127.0.0.1:0"]
            with await edge.connect() as client:
                assert await ask(client) == b"ping"


async def test_one_address_twice_is_one_mistake_and_binds_nothing(memory_fabric, a_listener):
    with pytest.raises(ConfigError) as caught:
        async with open_ingress(memory_fabric, [a_listener(), a_listener()], {}, Metrics()):
            pytest.fail("it listens")
    assert caught.value.mistakes == ["listeners[1].listen: 127.0.0.1:0 twice; remove one"]


class TestADrain:
    async def test_waits_for_connections_that_finish(self, open_edge, echo_backend, nursery):
        async with open_edge(echo_backend) as edge:
            with await edge.connect() as client:
                await ask(client)
                results = []

                async def drain():
                    results.append(await edge.ingress.drain(10))

                nursery.start_soon(drain)
                await trio.testing.wait_all_tasks_blocked()
                assert await ask(client) == b"ping"
                tcp.send_eof(client)
                assert await tcp.receive(client) == b""
                await trio.testing.wait_all_tasks_blocked()
                assert results == [0]

    async def test_resets_what_outlives_it(self, open_edge, echo_backend, received, resets):
        async with open_edge(echo_backend) as edge:
            with await edge.connect() as client:
                await ask(client)
                assert await edge.ingress.drain(0.05) == 1
                with resets():
                    await received(client)
            assert edge.fabric.served[0].into.broken is Code.DRAIN_TIMEOUT

    async def test_takes_no_more_connections(self, open_edge, echo_backend):
        async with open_edge(echo_backend) as edge:
            (port,) = edge.ports
            assert await edge.ingress.drain(10) == 0
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(ConnectionRefusedError):
                await tcp.connect("127.0.0.1", port)


async def test_running_out_of_descriptors_is_waited_out(nursery, monkeypatch):
    monkeypatch.setattr(accepting, "PAUSE", 0.01)
    starved = OSError(errno.EMFILE, "Too many open files")
    failures = [ConnectionAbortedError(), starved, starved]
    with await tcp.listen("127.0.0.1", 0) as real, capture_logs() as entries:

        def accept():
            if failures:
                raise failures.pop(0)
            return real.accept()

        sock = mock.Mock(fileno=real.fileno, accept=accept)
        taken = trio.Event()
        with await tcp.connect(*real.getsockname()):

            def take(accepted, client):
                accepted.close()
                taken.set()

            nursery.start_soon(accepting.accept_each, sock, take)
            await taken.wait()
    (line,) = told(entries, "listener.starved")
    assert line["reason"] == str(starved)
    nursery.cancel_scope.cancel()
