"""A node that has nothing to do: what it costs to keep ten peers."""

from __future__ import annotations

import pytest
import trio

from tests.lab.tcp_ends import MIB

pytestmark = pytest.mark.slow

PEERS = 10
RESIDENT = 60_000_000
MOST_CPU = 0.03
"""Of one core. It should be a third of it; machines that test are not idle."""

MEASURED_S = 10
SETTLED_S = 3
"""After the last handshake: what came with it is over."""


async def test_a_node_with_ten_connected_peers_is_small_and_sleeps(lab):
    node = lab.declare("node")
    peers = [lab.declare(f"peer-{number}") for number in range(PEERS)]
    lab.introduce()
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for daemon in (node, *peers):
                nursery.start_soon(daemon.start)
        for peer in peers:  # they are asked, not the node: an answer would wake its web framework
            await peer.connected("node")
    await trio.sleep(SETTLED_S)
    before = node.cpu_s
    await trio.sleep(MEASURED_S)
    share, resident = (node.cpu_s - before) / MEASURED_S, node.rss
    print(f"at rest: {resident / MIB:.1f} MiB resident, {share:.2%} of a core")
    assert resident < RESIDENT
    assert share < MOST_CPU
    await node.connected(*(peer.name for peer in peers))
