"""Two nodes that offer one service: when one cannot, the next connection goes to the other."""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack

import pytest
import trio

from tests.lab.daemons import free_port, until
from tests.lab.tcp_ends import ask, echoes, receive_exactly, reset

pytestmark = pytest.mark.slow


async def instances(edge, one, two):
    """Return both: first the one with fewer channels of the edge, who would get the next."""
    peers = [channel["peer"] for channel in (await edge.snapshot())["channels"]]
    return sorted((one, two), key=lambda daemon: peers.count(daemon.name))


async def holds(daemon, channels):
    return await daemon.count("fabric_channels_open", service="demo") == channels


@pytest.mark.parametrize("dead_for_s", [0, 2.5])
async def test_when_one_of_two_instances_dies_the_next_connection_goes_to_the_other(
    start_two, dead_for_s
):
    """Asked while its death is not known: given up in time, or when it is known."""
    edge, one, two = await start_two()
    async with AsyncExitStack() as clients:
        for _ in range(3):
            clients.enter_context(await ask(edge.address, "silence"))
        await until(lambda: holds(edge, 3))
        dead, alive = await instances(edge, one, two)
        await dead.kill()
        await trio.sleep(dead_for_s)
        with trio.fail_after(5):
            assert await echoes(edge.address)
        await edge.logged("peer.disconnected", peer=dead.name, code="peer_silent")
    for _ in range(3):
        assert await echoes(edge.address)
    assert await alive.count("fabric_channels_opened_total", service="demo") == 2 + 4
    assert await edge.count("fabric_ingress_connections_refused_total") == 0


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


async def test_when_one_of_two_instances_drains_new_connections_go_to_the_other(start_two):
    edge, one, two = await start_two()
    with await ask(edge.address, "flood") as client:
        await receive_exactly(client, 1_000_000)
        other, draining = await instances(edge, one, two)
        await draining.signal(signal.SIGTERM)
        for _ in range(5):  # from the first moment: one that comes too early is asked again there
            assert await echoes(edge.address)
        await receive_exactly(client, 1_000_000)
        reset(client)
    with trio.fail_after(5):
        assert await draining.ended() == 0
    assert await other.count("fabric_channels_opened_total", service="demo") == 5
    assert await edge.count("fabric_ingress_connections_refused_total") == 0
