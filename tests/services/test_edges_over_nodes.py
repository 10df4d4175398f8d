"""Client TCP -> ingress -> QUIC -> egress -> backend TCP: two whole nodes on loopback."""

import hashlib
import os
import random
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from attrs import define
from structlog.testing import capture_logs

from fabric.codes import Code
from fabric.config import HostPort
from fabric.node import open_node
from fabric.testing.pairs import Fleet, a_service, connected, offered
from services import tcp
from services.roles import roles_of


@define(eq=False)
class Way:
    """An edge node and the node beside the backend, connected."""

    edge: object
    away: object

    async def connect(self):
        row = HostPort.parse(self.edge.snapshot()["listeners"][0]["listen"])
        return await tcp.connect(row.host, row.port)

    @property
    def refused(self):
        return {code for _, code in self.edge.metrics.ingress_refused.series}


async def until(holds):
    while not holds():
        await trio.sleep(0.02)


@pytest.fixture
def fleet(tmp_path):
    fleet = Fleet(tmp_path)
    fleet.add("edge", roles=frozenset({"ingress"}))
    fleet.add("away", roles=frozenset({"egress"}))
    fleet.grant("demo", "role:ingress", edge_exposable=True)
    return fleet


@pytest.fixture
def open_node_of(fleet):
    def open_(name, **changes):
        config = fleet.config(name, **changes)
        return open_node(config, roles=roles_of(config), transport=fleet.transport(name))

    return open_


@pytest.fixture
def open_way(fleet, open_node_of, a_listener):
    """Return `open_way(backend, **service)`, a context manager for a Way."""

    @asynccontextmanager
    async def open_(backend, *, listener=None, **settings):
        here = a_service(backend=backend, **settings)
        async with (
            open_node_of("away", services={"demo": here}) as away,
            open_node_of(
                "edge",
                services={"demo": a_service(**settings)},
                listeners=(a_listener(**(listener or {})),),
            ) as edge,
        ):
            await connected(edge, "away")
            await offered(edge, "demo", "away")
            yield Way(edge, away)

    return open_


async def test_bytes_come_back_as_they_went_and_both_ends_log_one_channel(
    open_way, echo_backend, nursery
):
    data = random.Random(1).randbytes(20_000_000)
    with capture_logs() as entries:
        async with open_way(echo_backend) as way:
            with await way.connect() as client:
                nursery.start_soon(_upload, client, data)
                digest = hashlib.sha256()
                while piece := await tcp.receive(client):
                    digest.update(piece)
                    await trio.lowlevel.checkpoint()
            assert digest.digest() == hashlib.sha256(data).digest()
            await way.away.channels.wait_empty()
            await way.edge.channels.wait_empty()
    (here,) = [line for line in entries if line["event"] == "ingress.closed"]
    (there,) = [line for line in entries if line.get("direction") == "in"]
    assert here["channel"] == there["channel"]
    assert here["code"].label == there["code"] == "done"
    assert {here["sent_bytes"], here["received_bytes"], there["sent_bytes"]} == {len(data)}


async def _upload(sock, data):
    await tcp.send_all(sock, data)
    tcp.send_eof(sock)


async def test_the_backend_learns_the_client_through_both_edges(open_way, start_backend):
    heard = []

    async def listen(sock):
        heard.append(await tcp.receive(sock))
        await tcp.send_all(sock, b"ok")

    backend = await start_backend(listen)
    async with open_way(backend, listener={"accept_proxy": True}, send_proxy="v1") as way:
        with await way.connect() as client:
            await tcp.send_all(client, b"PROXY TCP6 2001:db8::7 2001:db8::1 4567 443\r\n")
            assert await tcp.receive(client) == b"ok"
    assert heard[0].startswith(b"PROXY TCP6 2001:db8::7 ::ffff:")


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        pytest.param({"backend": HostPort("127.0.0.1", 1)}, Code.BACKEND_REFUSED, id="refused"),
        pytest.param({"max_channels": 0}, Code.SERVICE_FULL, id="full"),
    ],
)
async def test_a_refusal_is_a_reset_with_its_own_code(
    open_way, echo_backend, received, resets, settings, code
):
    backend = settings.pop("backend", echo_backend)
    async with open_way(backend, **settings) as way:
        with await way.connect() as client, resets():
            await received(client)
        assert way.refused == {code}


@pytest.mark.parametrize(
    ("open_to", "edge_exposable", "code"),
    [
        pytest.param((), True, Code.NOT_PERMITTED, id="open to nobody"),
        pytest.param(("area:moon",), True, Code.NOT_PERMITTED, id="open to others"),
        pytest.param(("any",), False, Code.NOT_EDGE_EXPOSABLE, id="open to nodes alone"),
    ],
)
async def test_a_client_of_a_service_that_its_record_does_not_open_is_reset(
    open_way, fleet, echo_backend, received, resets, open_to, edge_exposable, code
):
    fleet.grant("demo", *open_to, edge_exposable=edge_exposable)
    async with open_way(echo_backend) as way:
        with await way.connect() as client, resets():
            await received(client)
        assert way.refused == {code}


async def test_a_service_full_at_the_offering_node_resets_the_client(
    open_node_of, a_listener, echo_backend, received, resets
):
    away = a_service(backend=echo_backend, max_channels=1)
    async with (
        open_node_of("away", services={"demo": away}) as far,
        open_node_of("edge", listeners=(a_listener(),)) as near,
    ):
        await connected(near, "away")
        await offered(near, "demo", "away")
        way = Way(near, far)
        with await way.connect() as first:
            await tcp.send_all(first, b"ping")
            assert await tcp.receive(first) == b"ping"
            with await way.connect() as second, resets():
                await received(second)
        assert way.refused == {Code.SERVICE_FULL}


async def test_with_nobody_there_a_client_is_reset(open_node_of, a_listener, received, resets):
    async with open_node_of("edge", listeners=(a_listener(),)) as edge:
        way = Way(edge, None)
        with await way.connect() as client, resets():
            await received(client)
        assert way.refused == {Code.NO_INSTANCE}


async def test_a_backend_that_breaks_off_resets_the_client(
    open_way, start_backend, received, resets
):
    async def break_off(sock):
        await tcp.send_all(sock, b"half an ans")
        await tcp.receive(sock)
        tcp.reset(sock)

    async with open_way(await start_backend(break_off)) as way:
        with await way.connect() as client:
            assert await tcp.receive(client) == b"half an ans"
            await tcp.send_all(client, b"go on")
            with resets():
                await received(client)


async def test_a_client_that_breaks_off_resets_the_backend(open_way, start_backend):
    seen = trio.Event()

    async def wait_for_reset(sock):
        try:
            while await tcp.receive(sock):
                pass
        except ConnectionResetError:
            seen.set()

    async with open_way(await start_backend(wait_for_reset)) as way:
        client = await way.connect()
        await tcp.send_all(client, b"half a requ")
        await until(lambda: way.away.snapshot()["channels"])
        tcp.reset(client)
        await seen.wait()


async def test_half_close_works_through_both_edges(open_way, start_backend, received):
    async def sum_up(sock):
        total = 0
        while data := await tcp.receive(sock):
            total += len(data)
            await trio.lowlevel.checkpoint()
        await tcp.send_all(sock, b"%d" % total)

    async with open_way(await start_backend(sum_up)) as way:
        with await way.connect() as client:
            for _ in range(10):
                await tcp.send_all(client, bytes(1_000_000))
                await trio.lowlevel.checkpoint()
            tcp.send_eof(client)
            assert await received(client) == b"10000000"


async def test_a_backend_that_does_not_read_stops_the_client_with_bounded_memory(
    open_way, start_backend
):
    async def never_read(sock):
        await trio.sleep_forever()

    sent = 0
    async with open_way(await start_backend(never_read)) as way:
        with await way.connect() as client:
            with trio.move_on_after(1):
                while True:
                    await tcp.send_all(client, bytes(100_000))
                    sent += 100_000
                    await trio.lowlevel.checkpoint()
            (channel,) = way.away.snapshot()["channels"]
            between = sent - channel["received_bytes"]
    # Kernel buffers at the client's side, a piece, and the stream's window.
    assert between < 12_000_000


async def test_a_node_that_dies_resets_the_client_and_works_again_after_its_restart(
    open_node_of, fleet, a_listener, echo_backend, received, resets
):
    here = a_service(backend=echo_backend)
    async with open_node_of("edge", listeners=(a_listener(),)) as edge:
        way = Way(edge, None)
        async with open_node_of("away", services={"demo": here}):
            await connected(edge, "away")
            await offered(edge, "demo", "away")
            client = await way.connect()
            await tcp.send_all(client, b"ping")
            assert await tcp.receive(client) == b"ping"
        with client, resets(), trio.fail_after(5):
            await received(client)
        async with open_node_of("away", services={"demo": here}):
            with trio.fail_after(5):
                await connected(edge, "away")
                await offered(edge, "demo", "away")
            with await way.connect() as client:
                await tcp.send_all(client, b"ping")
                assert await tcp.receive(client) == b"ping"


async def test_a_drain_of_the_edge_lets_a_transfer_finish(open_way, echo_backend, nursery):
    async with open_way(echo_backend) as way:
        with await way.connect() as client:
            await tcp.send_all(client, b"ping")
            assert await tcp.receive(client) == b"ping"
            nursery.start_soon(way.edge.roles["ingress"].drain, 10)
            nursery.start_soon(way.edge.drain)
            await tcp.send_all(client, bytes(1_000_000))
            tcp.send_eof(client)
            got = 0
            while piece := await tcp.receive(client):
                got += len(piece)
                await trio.lowlevel.checkpoint()
            assert got == 1_000_000


def _left_behind(way):
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "tasks": trio.lowlevel.current_statistics().tasks_living,
        "streams": [
            peer["streams"] for node in (way.edge, way.away) for peer in node.snapshot()["peers"]
        ],
        "channels": [row for node in (way.edge, way.away) for row in node.snapshot()["channels"]],
    }


async def _at_rest(way):
    """What is there once nothing changes any more: the end of a visit takes a few packets."""
    before, now = None, _left_behind(way)
    while now != before:
        await trio.sleep(0.3)
        before, now = now, _left_behind(way)
    return now


async def test_500_connections_of_which_some_abort_leave_nothing_behind(open_way, echo_backend):
    rng = random.Random(7)

    async def visit(way):
        with await way.connect() as sock:
            for _ in range(5):
                sent = rng.randbytes(rng.randrange(1, 20_000))
                await tcp.send_all(sock, sent)
                if rng.random() < 0.01:
                    tcp.reset(sock)
                    return
                left = len(sent)
                while left:
                    left -= len(await tcp.receive(sock))
            tcp.send_eof(sock)
            assert await tcp.receive(sock) == b""

    async with open_way(echo_backend) as way:
        await visit(way)
        before = await _at_rest(way)
        async with trio.open_nursery() as crowd:
            for _ in range(500):
                crowd.start_soon(visit, way)
        with trio.move_on_after(5):  # for the last acknowledgements
            await until(lambda: _left_behind(way) == before)
        assert _left_behind(way) == before
