"""Processes that are not who they should be: refused, with one code in the logs of both ends."""

from __future__ import annotations

import pytest
import trio

from fabric.testing.papers import Papers
from fabric.testing.records import AFabric
from tests.lab.conftest import START_WITHIN
from tests.lab.daemons import until
from tests.lab.tcp_ends import connect, is_reset, receive_all

pytestmark = pytest.mark.slow


async def start_alone(*daemons):
    """Start *daemons* without waiting for them to meet."""
    with trio.fail_after(START_WITHIN):
        async with trio.open_nursery() as nursery:
            for daemon in daemons:
                nursery.start_soon(daemon.start)


@pytest.fixture
def two_nodes(lab):
    """One that dials the other and cannot be dialled: so each refusal has one dialler."""
    dialler, acceptor = lab.declare("dialler"), lab.declare("acceptor")
    papers = Papers(acceptor.folder / "papers", lab.papers.fabric)
    papers.publish(papers.fabric.node("acceptor", area="lab"))
    acceptor.hand(papers)
    return dialler, acceptor


def look_for(dialler, name, acceptor, fabric):
    """Let *dialler* believe what *fabric* says: that the node *name* is where *acceptor* is."""
    papers = Papers(dialler.folder / "papers", fabric)
    papers.publish(fabric.node("dialler", area="lab"))
    papers.publish(fabric.node(name, area="lab"))
    papers.put(fabric.endpoint(name, acceptor.udp_address))
    dialler.hand(papers)


async def refused_at_both(dialler, acceptor, code, *, peer="acceptor"):
    with trio.fail_after(10):
        here = await dialler.logged("peer.refused", code=code, side="dialler")
        there = await acceptor.logged("peer.refused", code=code, side="acceptor")
        assert here["peer"] == peer
        assert here["remedy"]
        assert there["remedy"]
        await until(lambda: is_refused(dialler, peer, code))
        for daemon, side in ((dialler, "dialler"), (acceptor, "acceptor")):
            assert await daemon.count("fabric_hellos_refused_total", code=code, side=side)
    assert not acceptor.lines("peer.connected")


async def is_refused(dialler, peer, code):
    row = await dialler.peer(peer)
    return row is not None and (row["state"], row["reason"]) == ("refused", code)


async def test_a_wrong_pin_is_refused_and_logged_at_both_ends(two_nodes, lab):
    dialler, acceptor = two_nodes
    look_for(dialler, "somebody-else", acceptor, lab.papers.fabric)
    await start_alone(dialler, acceptor)
    await refused_at_both(dialler, acceptor, "pin_mismatch", peer="somebody-else")


async def test_an_unknown_key_is_refused_and_logged_at_both_ends(two_nodes, lab):
    dialler, acceptor = two_nodes
    look_for(dialler, "acceptor", acceptor, lab.papers.fabric)
    (dialler.folder / "node.key").unlink()
    lab.papers.write_key("a-stranger", dialler.folder / "node.key")
    await start_alone(dialler, acceptor)
    await refused_at_both(dialler, acceptor, "unknown_key")


async def test_a_node_of_another_fabric_is_refused_and_logged_at_both_ends(two_nodes, lab):
    dialler, acceptor = two_nodes
    another = AFabric(bytes(16), now=lab.papers.fabric.now)
    look_for(dialler, "acceptor", acceptor, another)
    await start_alone(dialler, acceptor)
    await refused_at_both(dialler, acceptor, "wrong_fabric")


async def test_two_processes_with_one_key_are_told_and_asked_for_nothing_new(lab, start_path):
    lab.expected.add("directory.alarm")
    path = await start_path()
    # The copy of a machine: the same key, another address, a state folder of its own.
    twin = lab.declare("away-too", "egress", services=path.away.document["services"])
    twin.document["node"]["name"] = "away"
    twin.document["node"]["key"] = str(path.away.folder / "node.key")
    twin.hand(lab.papers, seeds=[path.edge.udp_address])
    await trio.sleep(1.1)  # whoever is newer by a second is the newer one
    await start_alone(twin)
    await path.edge.logged("peer.disconnected", peer="away", code="replaced")
    with trio.fail_after(20):
        await until(lambda: path.away.lines("peer.refused", code="duplicate_identity"))
        await until(
            lambda: path.edge.lines("peer.refused", code="duplicate_identity", peer="away")
        )
    assert path.away.lines("peer.refused", code="duplicate_identity")[0]["by"] == "peer"
    for daemon in (path.edge, path.away):
        await daemon.logged("directory.alarm", code="duplicate_identity")
    with is_reset(within=2), await connect(path.address) as client:
        await receive_all(client)
    assert not await twin.count("fabric_channels_opened_total", service="demo")


async def test_a_node_without_peers_resets_its_clients_and_says_why(start_path):
    path = await start_path()
    await path.away.kill()
    await path.edge.logged("peer.disconnected", peer="away", code="peer_silent")
    await path.edge.logged("member.turned", member="away", state="dead")
    with is_reset(within=2), await connect(path.address) as client:
        await receive_all(client)
    refused = await path.edge.logged("ingress.refused", code="no_instance")
    assert refused["remedy"]
