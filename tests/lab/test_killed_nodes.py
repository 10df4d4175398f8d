"""A node that dies without a word, and the one that starts in its place."""

from __future__ import annotations

import pytest
import trio

from tests.lab.daemons import until
from tests.lab.tcp_ends import (
    ask,
    connect,
    echoes,
    is_reset,
    receive_all,
    receive_exactly,
    receive_hash,
    send_all,
)

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


async def test_a_killed_egress_resets_its_backend_in_the_middle_of_an_upload(
    start_path, start_backend
):
    """A clean end would make a fragment look like the whole file."""
    heard, seen = trio.Event(), trio.Event()

    async def take(sock):
        heard.set()
        with is_reset(within=5):
            await receive_hash(sock)
        seen.set()

    path = await start_path(await start_backend(take))
    with await connect(path.address) as client:
        await send_all(client, b"half a file")
        await heard.wait()
        await until(lambda: told(path.away))
        await path.away.kill()
        with trio.fail_after(5):
            await seen.wait()


async def told(daemon):
    """Whether everything that the client said has gone through *daemon*."""
    return [row["received_bytes"] for row in (await daemon.snapshot())["channels"]] == [11]


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


async def test_a_quick_restart_of_the_ingress_takes_clients_again_at_once(start_path):
    path = await start_path()
    with await ask(path.address, "flood") as client:
        await receive_exactly(client, 1_000_000)
        await path.edge.kill()
        with is_reset(within=1):
            await receive_all(client)
        await path.edge.start()
        with trio.fail_after(USABLE_WITHIN):
            await until(lambda: echoes(path.address))
    await path.away.logged("channel.closed", code="replaced")


async def test_a_killed_ingress_leaves_nothing_open_at_the_other_end(start_path):
    path = await start_path()
    with await ask(path.address, "flood") as client:
        await receive_exactly(client, 1_000_000)
        await path.edge.kill()
        with trio.fail_after(6):
            line = await path.away.logged("channel.closed")
            assert line["code"] == "peer_silent"
            assert (await path.away.snapshot())["channels"] == []
