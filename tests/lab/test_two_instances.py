"""Two nodes that offer one service: when one cannot, the next connection goes to the other."""

from __future__ import annotations

import signal

import pytest
import trio

from tests.lab.daemons import free_port
from tests.lab.tcp_ends import ask, echoes, is_reset, receive_all, receive_exactly, reset

pytestmark = pytest.mark.slow


async def instances(edge, one, two):
    """Return the one that serves the edge's only channel, and the other."""
    (channel,) = (await edge.snapshot())["channels"]
    return (one, two) if channel["peer"] == "one" else (two, one)


async def test_when_one_of_two_instances_dies_the_next_connection_goes_to_the_other(start_two):
    edge, one, two = await start_two()
    with await ask(edge.address, "flood") as client:
        await receive_exactly(client, 1_000_000)
        dead, alive = await instances(edge, one, two)
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


async def test_when_one_of_two_instances_drains_new_connections_go_to_the_other(start_two):
    edge, one, two = await start_two()
    with await ask(edge.address, "flood") as client:
        await receive_exactly(client, 1_000_000)
        draining, other = await instances(edge, one, two)
        await draining.signal(signal.SIGTERM)
        for _ in range(5):  # from the first moment: one that comes too early is asked again there
            assert await echoes(edge.address)
        await receive_exactly(client, 1_000_000)
        reset(client)
    with trio.fail_after(5):
        assert await draining.ended() == 0
    assert await other.count("fabric_channels_opened_total", service="demo") == 5
    assert await edge.count("fabric_ingress_connections_refused_total") == 0
