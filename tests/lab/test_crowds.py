"""Five hundred clients at once, some of whom break off: nothing of them is left anywhere."""

from __future__ import annotations

import random

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
    reset,
    send_all,
    send_eof,
)

pytestmark = pytest.mark.slow

CLIENTS = 500
ABORTS = ["client resets", "client leaves", "backend resets", "backend leaves"] * 2
"""Each way to break off, by either end, twice among the five hundred: more than 1 %."""

SIZE = 100_000

SETTLED_S = 2.0
"""Where both nodes dialled at once, the spare connection takes up to a second to close."""


async def client(address, how, rng, gate):
    """Exchange SIZE bytes as an echo, or break off in the middle of them."""
    cut = rng.randrange(1, SIZE)
    tricks = {"backend resets": ("echo-reset", cut), "backend leaves": ("echo-close", cut)}
    with await ask(address, *tricks.get(how, ("echo",))) as sock:
        await gate.wait()
        if how is None:
            await exchange(sock, rng.randbytes(SIZE))
        elif how.startswith("backend"):
            await lose(sock)
        else:
            await send_all(sock, bytes(cut))
            await sock.recv(1)  # the other direction is under way too
            if how == "client resets":
                reset(sock)


async def exchange(sock, data):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_all, sock, data)
        assert await receive_exactly(sock, len(data)) == data
    send_eof(sock)
    assert await receive_all(sock) == b""


async def lose(sock):
    """Go on until the backend's break is seen. It has to be an RST, never a clean end.

    To a sender an RST that follows a FIN, as where a backend leaves, is a broken pipe.
    """
    with trio.fail_after(60), pytest.raises((ConnectionResetError, BrokenPipeError)):
        await send_for_ever(sock)


async def send_for_ever(sock):
    while True:
        await send_all(sock, bytes(1000))


async def what_is_left(*daemons):
    """Counts by (node, what), so that a difference names itself.

    Descriptors first: being asked takes one, and a busy node lets go of it a little later.
    """
    left = {(daemon.name, "descriptors"): daemon.descriptors for daemon in daemons}
    for daemon in daemons:
        left[daemon.name, "descriptors"] = daemon.descriptors  # asking takes one
        snapshot = await daemon.snapshot()
        left[daemon.name, "tasks"] = snapshot["node"]["tasks"]
        left[daemon.name, "channels"] = len(snapshot["channels"])
        left[daemon.name, "connections"] = sum(row["connections"] for row in snapshot["listeners"])
        left[daemon.name, "streams"] = sum(row["streams"] for row in snapshot["peers"])
        left[daemon.name, "planes that stand"] = sum(
            row["state"] != "running" for row in snapshot["planes"]
        )
    return left


async def what_is_more(before, nodes):
    """What there is more of than *before*, as (before, now)."""
    now = await what_is_left(*nodes)
    return {key: (before[key], now[key]) for key in before if now[key] > before[key]}


async def at_rest(*daemons):
    """The least of everything over some time: being asked takes a task, too."""
    least = await what_is_left(*daemons)
    ends = trio.current_time() + SETTLED_S
    while trio.current_time() < ends:
        now = await what_is_left(*daemons)
        least = {key: min(least[key], now[key]) for key in least}
        await trio.sleep(0.05)
    return least


async def test_500_connections_of_which_some_break_off_leave_nothing_behind(start_path):
    path = await start_path()
    nodes = path.edge, path.away
    assert await echoes(path.address)
    before = await at_rest(*nodes)

    rng, gate = random.Random(7), trio.Event()
    deeds = ABORTS + [None] * (CLIENTS - len(ABORTS))
    rng.shuffle(deeds)
    async with trio.open_nursery() as crowd:
        for number, how in enumerate(deeds):
            crowd.start_soon(client, path.address, how, random.Random(number), gate)
        await until(lambda: holds_all(path.away))
        gate.set()

    more = {}
    with trio.move_on_after(8):  # for the last acknowledgements
        while more := await what_is_more(before, nodes):
            await trio.sleep(0.1)
    assert not more
    for code in ("client_gone", "backend_gone"):
        broken = await path.edge.count("fabric_channels_reset_total", service="demo", code=code)
        assert broken >= 2


async def holds_all(daemon):
    return await daemon.count("fabric_channels_open", service="demo") == CLIENTS


async def test_connections_that_send_nothing_fill_a_listener_and_hurt_nobody_else(start_path):
    cap = 20
    path = await start_path(listener={"max_connections": cap})
    with await ask(path.address, "echo") as working:
        silent = [await connect(path.address) for _ in range(cap - 1)]
        await until(lambda: is_full(path.edge, cap))
        for _ in range(5):
            with is_reset(within=1), await connect(path.address) as one_more:
                await receive_all(one_more)
        await exchange(working, b"the rest live" * 1000)
        refused = await path.edge.count(
            "fabric_ingress_connections_refused_total", code="listener_full"
        )
        assert refused == 5
        for sock in silent:
            sock.close()
    with trio.fail_after(5):
        await until(lambda: echoes(path.address))


async def is_full(daemon, cap):
    return (await daemon.snapshot())["listeners"][0]["connections"] == cap
