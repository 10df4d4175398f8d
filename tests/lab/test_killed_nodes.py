"""A node that dies without a word, and the one that starts in its place."""

from __future__ import annotations

import pytest
import trio

from tests.lab.conftest import START_WITHIN, a_service
from tests.lab.daemons import free_port, until
from tests.lab.tcp_ends import ask, echoes, is_reset, receive_all, receive_exactly

pytestmark = pytest.mark.slow

USABLE_WITHIN = 2.0


async def test_a_killed_egress_resets_its_client_in_the_middle_of_a_transfer(start_path):
    path = await start_path()
    with await ask(path.address, "flood") as client:
        await receive_exactly(client, 10_000_000)
        await path.away.kill()
        with is_reset(within=5):
            await receive_all(client)
    await path.edge.logged("ingress.closed", code="peer_silent")

    await path.away.start()
    with trio.fail_after(USABLE_WITHIN):
        await until(lambda: echoes(path.address))


async def test_a_quick_restart_is_usable_again_at_once(start_path):
    path = await start_path()
    with await ask(path.address, "flood") as client:
        await receive_exactly(client, 1_000_000)
        await path.away.kill()
        began = trio.current_time()
        await path.away.start()
        ready = trio.current_time()
        with trio.fail_after(USABLE_WITHIN):
            await until(lambda: echoes(path.address))
        print(f"ready {ready - began:.2f} s, usable {trio.current_time() - began:.2f} s later")
        with is_reset(within=1):  # the new process ends the old one's channels
            await receive_all(client)


async def test_a_killed_ingress_leaves_nothing_open_at_the_other_end(start_path):
    path = await start_path()
    with await ask(path.address, "flood") as client:
        await receive_exactly(client, 1_000_000)
        await path.edge.kill()
        with trio.fail_after(6):
            line = await path.away.logged("channel.closed")
            assert line["code"] == "peer_silent"
            assert (await path.away.snapshot())["channels"] == []


@pytest.fixture
async def start_two(lab, start_backend):
    """Return `await start_two()`: an edge and two instances of its service."""

    async def start():
        backends = [await start_backend(), await start_backend()]
        aways = [
            lab.declare(name, "egress", services={"demo": a_service(backend=backend)})
            for name, backend in zip(("one", "two"), backends, strict=True)
        ]
        listener = {"listen": f"127.0.0.1:{free_port()}", "service": "demo"}
        edge = lab.declare("edge", "ingress", services={"demo": a_service()}, listeners=[listener])
        with trio.fail_after(START_WITHIN):
            await lab.start()
        return edge, *aways

    return start


async def test_when_one_of_two_instances_dies_the_next_connection_goes_to_the_other(start_two):
    edge, one, two = await start_two()
    with await ask(edge.address, "flood") as client:
        await receive_exactly(client, 1_000_000)
        (channel,) = (await edge.snapshot())["channels"]
        dead, alive = (one, two) if channel["peer"] == "one" else (two, one)
        await dead.kill()
        # At once: its death is not known yet, and the deadline is shared between the two.
        with trio.fail_after(5):
            assert await echoes(edge.address)
        with is_reset(within=5):
            await receive_all(client)
    for _ in range(5):
        assert await echoes(edge.address)
    assert await alive.count("fabric_channels_opened_total", service="demo") >= 5


async def test_when_the_backend_of_one_of_two_instances_is_away_the_other_serves(lab, start_two):
    edge, one, two = await start_two()
    await one.kill()
    one.document["services"]["demo"]["backend"] = f"127.0.0.1:{free_port()}"
    await one.start()
    await edge.connected("one")
    for _ in range(6):
        assert await echoes(edge.address)
    assert await two.count("fabric_channels_opened_total", service="demo") == 6
    assert await edge.count("fabric_ingress_connections_refused_total") == 0
