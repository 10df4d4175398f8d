"""Nodes that end and begin at any moment, and copies of them: none is taken for another."""

from __future__ import annotations

import json
import random
import shutil

import pytest
import trio

from fabric.runtime.boot import BOOT_FILE
from tests.lab.conftest import START_WITHIN
from tests.lab.daemons import until
from tests.lab.tcp_ends import (
    ask,
    connect,
    echoes,
    is_reset,
    receive_all,
    receive_exactly,
    send_all,
)

pytestmark = pytest.mark.slow

USABLE_WITHIN = 2.0

RESTARTS = 10

RECORDS = 1200
"""That a newcomer takes in: a burst, and then six seconds' worth of what one peer may cost."""

KILLS = 5


async def test_ten_quick_restarts_are_ten_times_the_same_node(start_path):
    """Half of them end before they are ready. That nobody raised an alarm is seen in the logs."""
    path, rng = await start_path(), random.Random(10)
    for number in range(RESTARTS):
        await path.away.kill()
        if number % 2:
            await path.away.start()
        else:
            await path.away.launch()
            await trio.sleep(rng.uniform(0.1, 1.0))
    await path.away.kill()
    await path.away.start()
    with trio.fail_after(USABLE_WITHIN):
        await until(lambda: echoes(path.address))
    boots = [line["boot_seq"] for line in path.edge.lines("peer.connected", peer="away")]
    assert boots == sorted(boots)
    assert len(set(boots)) > RESTARTS // 2
    assert not path.edge.lines("peer.refused", peer="away")
    members = (await path.edge.admin.members())["members"]
    assert {row["name"]: row["liveness"] for row in members}["away"] == "alive"


async def test_of_a_state_folder_and_its_copy_the_first_goes_on_and_both_are_told(lab, start_path):
    """Both draw the next number of one boot after the other, which is the same for both."""
    lab.expected.add("directory.alarm")
    path = await start_path()
    away, edge = path.away, path.edge
    await away.kill()
    (away.state / BOOT_FILE).write_text(json.dumps({"boot_seq": 4_000_000_000}))
    copy = lab.declare("copy", "egress", services=away.document["services"])
    copy.document["node"] |= away.document["node"] | {"seeds": [edge.udp_address]}
    shutil.copytree(away.state, copy.state, ignore=shutil.ignore_patterns("*.sock"))
    shutil.copy(away.folder / "node.key", copy.folder / "node.key")
    with trio.fail_after(START_WITHIN):
        await away.start()
        await until(lambda: echoes(edge.address))

    with await ask(edge.address, "echo") as client:
        await exchange(client)
        with trio.fail_after(START_WITHIN):
            await copy.start()
        alarm = await edge.logged("directory.alarm", code="duplicate_identity")
        assert away.udp_address in alarm["detail"]
        assert copy.udp_address in alarm["detail"]
        await edge.logged("peer.refused", code="duplicate_identity", peer="away")
        assert (await copy.logged("peer.refused", code="duplicate_identity"))["by"] == "peer"
        assert not edge.lines("peer.disconnected", peer="away", code="replaced")[1:]
        await exchange(client)  # what was open goes on

    with is_reset(within=2), await connect(edge.address) as client:
        await receive_all(client)  # nobody knows which of the two is the right one
    assert not await copy.count("fabric_channels_opened_total", service="demo")


async def exchange(client):
    await send_all(client, b"still there?")
    assert await receive_exactly(client, 12) == b"still there?"


async def test_a_node_killed_while_it_writes_its_cache_loses_nothing_that_was_written(lab):
    """In the end it starts alone, and holds everything."""
    publisher, node = lab.declare("publisher"), lab.declare("node")
    for number in range(RECORDS):
        lab.grant(f"service-{number}")
    lab.introduce()
    record = lab.papers.records / "node" / f"{lab.papers.fabric.node_id('node')}.json"
    node.document["node"]["records"] = [str(shutil.copy(record, node.folder / "record.json"))]
    rng, held = random.Random(5), 0
    with trio.fail_after(2 * START_WITHIN):
        await publisher.start()
        everything = len(await publisher.records())
        assert everything >= RECORDS
        for _ in range(KILLS):
            held = await killed_while_writing(node, rng, at_least=held)
        await node.start()
        await until(lambda: holds(node, everything))
        await trio.sleep(1)
    await node.kill()
    await publisher.kill()
    await node.start()
    assert len(await node.records()) >= everything
    assert not node.lines("peer_cache.moved_aside")


async def killed_while_writing(node, rng, *, at_least):
    """Start *node*, kill it soon after it met the publisher; return how much is on its disk."""
    await node.launch()
    await node.logged("peer.connected")
    await trio.sleep(rng.uniform(0.0, 1.5))
    await node.kill()
    found = len(node.records_on_disk())
    print(f"{found} records on disk")
    assert found >= at_least
    return found


async def holds(node, count):
    return len(await node.records()) >= count
