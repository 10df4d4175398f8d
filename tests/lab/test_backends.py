"""Backends that refuse, hang or say nothing: their clients are told by a reset, the rest live."""

from __future__ import annotations

import socket
from contextlib import contextmanager

import pytest
import trio

from tests.lab.daemons import free_port, until
from tests.lab.tcp_ends import ask, connect, echoes, is_reset, receive_all, receive_exactly, reset

pytestmark = pytest.mark.slow


async def refused_at_both_ends(path, code):
    """Whether metrics and logs of both nodes agree on why, and on the channel."""
    for daemon, direction in ((path.edge, "out"), (path.away, "in")):
        count = await daemon.count(
            "fabric_channels_refused_total", service="demo", code=code, direction=direction
        )
        # The offering node may be asked twice: by a connection that ends meanwhile, as one of
        # two does where both nodes have dialled, and by the one that stays.
        assert count == 1 or (count == 2 and daemon is path.away), daemon.name
    here = await path.edge.logged("ingress.refused", code=code, hop="away")
    await path.away.logged("egress.refused", code=code, channel=here["channel"])
    assert await path.edge.count("fabric_ingress_connections_refused_total", code=code) == 1


async def test_a_backend_that_refuses_is_a_reset_with_its_own_code(start_path):
    path = await start_path(f"127.0.0.1:{free_port()}")
    with is_reset(within=2), await connect(path.address) as client:
        await receive_all(client)
    await refused_at_both_ends(path, "backend_refused")


@contextmanager
def full_backlog():
    """Hold a listener that accepts nothing and whose backlog is full: its SYNs go unanswered."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        fillers = []
        try:
            while True:
                filler = socket.socket()
                fillers.append(filler)
                filler.settimeout(0.2)
                try:
                    filler.connect(listener.getsockname())
                except TimeoutError:
                    break
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            for filler in fillers:
                filler.close()


async def test_a_backend_that_does_not_answer_is_a_reset_with_its_own_code(start_path):
    with full_backlog() as backend:
        path = await start_path(backend, service={"connect_timeout_s": 0.5})
        began = trio.current_time()
        with is_reset(within=2), await connect(path.address) as client:
            await receive_all(client)
        assert trio.current_time() - began > 0.4
        await refused_at_both_ends(path, "backend_silent")


async def test_a_backend_that_says_nothing_keeps_its_client_and_hurts_nobody(start_path):
    path = await start_path()
    with await ask(path.address, "silence") as client:
        assert await echoes(path.address)
        with trio.move_on_after(1) as waiting:
            await client.recv(1)
        assert waiting.cancelled_caught, "without an idle timeout nothing ends it"
        (row,) = (await path.edge.snapshot())["channels"]
        assert row["state"] == "open"


async def test_a_backend_that_says_nothing_is_left_after_the_idle_timeout(start_path):
    path = await start_path(service={"idle_timeout_s": 0.5})
    with is_reset(within=2), await ask(path.address, "silence") as client:
        await receive_all(client)
    await path.edge.logged("ingress.closed", code="idle")
    await path.away.logged("channel.closed", code="idle")
    assert await echoes(path.address)


async def test_a_backend_that_breaks_off_resets_its_client(start_path):
    path = await start_path()
    with await ask(path.address, "echo-reset", 4) as client:
        await client.send(b"half")
        with is_reset(within=2):
            await receive_all(client)
    await path.edge.logged("ingress.closed", code="backend_gone")
    await path.away.logged("channel.closed", code="backend_gone")


async def test_a_channel_that_spends_its_quota_is_reset_with_a_code_at_both_ends(start_path):
    path = await start_path(service={"quota_bytes": 1_000_000})
    with await ask(path.address, "flood") as client:
        await receive_exactly(client, 100_000)
        with is_reset(within=2):
            await receive_all(client)
    await path.edge.logged("ingress.closed", code="quota_exceeded")
    await path.away.logged("channel.closed", code="quota_exceeded")


async def test_a_service_that_is_full_resets_one_more(start_path):
    path = await start_path(service={"max_channels": 3})
    held = [await ask(path.address, "silence") for _ in range(3)]
    try:
        await until(lambda: _holds(path.away, 3))
        with is_reset(within=1), await connect(path.address) as one_more:
            await receive_all(one_more)
        assert await path.edge.count(
            "fabric_ingress_connections_refused_total", code="service_full"
        )
        reset(held.pop())
        with trio.fail_after(5):
            await until(lambda: echoes(path.address))
    finally:
        for sock in held:
            sock.close()


async def _holds(daemon, channels):
    return await daemon.count("fabric_channels_open", service="demo") == channels
