"""What can be found out afterwards: by a channel's id, and by the counters of both ends."""

from __future__ import annotations

import pytest
import trio

from tests.lab.daemons import until
from tests.lab.tcp_ends import (
    MIB,
    ask,
    is_reset,
    receive_all,
    receive_exactly,
    receive_hash,
    reset,
    send_eof,
    send_pattern,
)

pytestmark = pytest.mark.slow

ID_DIGITS = 32

PIECE_BYTES = 128 * 1024
"""Most that was on its way when a channel broke, and is counted only once it is sent."""


async def test_a_channels_id_finds_the_lines_of_both_ends(start_path):
    path = await start_path()
    with await ask(path.address, "say", 1) as client:
        me = "{}:{}".format(*client.getsockname())
        open_at_edge = await until(lambda: the_channel(path.edge))
        open_at_away = await until(lambda: the_channel(path.away))
        assert open_at_edge["id"] == open_at_away["id"]
        await receive_hash(client)
        send_eof(client)
    here = await path.edge.logged("ingress.closed", client=me)
    there = await path.away.logged("channel.closed", channel=here["channel"])
    assert len(here["channel"]) == ID_DIGITS
    assert here["channel"] == open_at_edge["id"]
    assert there["client"] == me
    assert (here["code"], there["code"]) == ("done", "done")
    assert here["received_bytes"] == there["sent_bytes"] == MIB
    assert here["sent_bytes"] == there["received_bytes"]


async def the_channel(daemon):
    rows = (await daemon.snapshot())["channels"]
    return rows[0] if rows else None


async def test_the_id_of_a_broken_channel_finds_both_ends_and_the_same_code(start_path):
    path = await start_path()
    with await ask(path.address, "flood") as client:
        await receive_exactly(client, MIB)
        reset(client)
    here = await path.edge.logged("ingress.closed", code="client_gone")
    there = await path.away.logged("channel.closed", channel=here["channel"])
    assert there["code"] == "client_gone"


async def test_the_counters_of_both_nodes_tell_what_happened(start_path):
    path = await start_path(listener={"max_connections": 2})
    await upload(path.address, 2)
    await download(path.address, 3)
    await be_reset(path.address)
    await until(lambda: nothing_is_open(path.edge))
    with await ask(path.address, "silence") as one, await ask(path.address, "silence") as two:
        with is_reset(within=1), await ask(path.address, "echo") as one_more:
            await receive_all(one_more)
        reset(one)
        reset(two)
    with trio.fail_after(5):
        for daemon in (path.edge, path.away):
            await until(lambda daemon=daemon: nothing_is_open(daemon))

    for daemon, direction in ((path.edge, "out"), (path.away, "in")):
        count, demo = daemon.count, {"service": "demo"}
        assert await count("fabric_channels_opened_total", direction=direction, **demo) == 5
        assert await count("fabric_channels_reset_total", code="client_gone", **demo) == 3
        assert await count("fabric_channels_refused_total", **demo) == 0
        assert await count("fabric_peers", state="connected") == 1
        assert await count("fabric_plane_running", plane="peers") == 1
        assert await count("fabric_quic_engine_failures_total") == 0
    up, down = ("sent", "received"), ("received", "sent")
    for daemon, way in ((path.edge, 0), (path.away, 1)):
        moved = [
            await daemon.count("fabric_channel_bytes_total", service="demo", way=ways[way])
            for ways in (up, down)
        ]
        assert 2 * MIB < moved[0] < 3 * MIB
        assert moved[1] > 4 * MIB - PIECE_BYTES
    counted = path.edge.count
    assert await counted("fabric_ingress_connections_accepted_total") == 6
    assert await counted("fabric_ingress_connections_refused_total", code="listener_full") == 1
    assert await counted("fabric_ingress_connections") == 0


async def upload(address, mebibytes):
    with await ask(address, "fingerprint") as client:
        await send_pattern(client, mebibytes)
        send_eof(client)
        await receive_all(client)


async def download(address, mebibytes):
    with await ask(address, "say", mebibytes) as client:
        await receive_hash(client)


async def be_reset(address):
    """Leave in the middle, by RST, after a mebibyte at least."""
    with await ask(address, "flood") as client:
        await receive_exactly(client, MIB)
        reset(client)


async def nothing_is_open(daemon):
    return (await daemon.snapshot())["channels"] == []
