"""A revoked node: its links end, nobody resolves it, and both ends say why it stays out."""

import pytest
import trio

from fabric.codes import Code
from fabric.core.liveness_events import State
from fabric.errors import ChannelBroken
from fabric.testing.pairs import refusal


@pytest.fixture
async def three(live):
    """Return a running fabric in which ``thief`` serves demo, and ``home`` logs."""
    live.add("home")
    live.add("far", area="abroad")
    live.add("thief", area="overseas")
    live.fleet.grant("demo", "any")
    live.fleet.grant("logs", "any")
    live.fleet.publish()
    await live.start("home", knows=[live.papers.records], serves=["logs"])
    await live.start("far", seeds=["home"])
    await live.start("thief", seeds=["home", "far"], serves=["demo"])
    await live.until(lambda: live.is_settled(demo="thief", logs="home"))
    assert await live.opens("far") == "thief"
    return live


def revoke(live, at="home"):
    live.tell(at, live.fabric.node("thief", area="overseas", generation=2, revoked=True))


async def test_every_link_to_it_is_closed_within_a_wave(autojump_clock, three):
    live, codes = three, []

    async def hold():
        try:
            async with live["far"].open_channel("demo") as channel:
                await channel.receive_some()
        except ChannelBroken as broken:
            codes.append(broken.code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        await trio.sleep(1)
        revoke(live)
        await live.until(
            lambda: live.peers_of("home") == {"far"} and live.peers_of("far") == {"home"}, within=1
        )
        await live.until(lambda: codes, within=1)
    assert codes == [Code.PEER_LOST]
    assert live.peers_of("thief") == set()
    assert live.state_of("thief", seen_by="far") is None


async def test_what_it_offers_is_resolved_no_more(autojump_clock, three):
    live = three
    revoke(live)
    await live.until(lambda: live.peers_of("far") == {"home"}, within=1)

    assert live["far"].registry.state_of("demo").instances == ()
    assert (await refusal(live["far"])).code is Code.NO_INSTANCE
    assert await live.opens("far", "logs") == "home"


async def test_it_is_refused_at_dial_and_both_ends_say_revoked(autojump_clock, three, logged):
    live = three
    revoke(live)
    await live.until(lambda: logged("peer.refused", side="acceptor"), within=30)

    for side, by in (("acceptor", "here"), ("dialler", "peer")):
        (line, *_) = logged("peer.refused", side=side)
        assert (line["code"], line["by"]) == (Code.REVOKED, by)
    assert (await refusal(live["thief"], "logs")).code is Code.REVOKED
    assert live["home"].metrics.hellos_refused.series[Code.REVOKED, "acceptor"]


async def test_the_refusal_hands_it_the_proof_and_it_stops_by_itself(autojump_clock, three):
    live, codes = three, []
    thief = live["thief"]

    async def hold():
        try:
            async with thief.open_channel("demo") as channel:
                await channel.receive_some()
        except ChannelBroken as broken:
            codes.append(broken.code)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        await trio.sleep(1)
        assert (live.state_of("far", seen_by="thief"), thief.state) == (State.ALIVE, "ready")
        revoke(live)
        await live.until(lambda: codes, within=5)
    assert codes == [Code.REVOKED]
    await trio.sleep(30)

    assert thief.knowledge.readings.is_revoked(thief.node_id)
    assert (await refusal(thief, "demo")).code is Code.REVOKED
    assert (await refusal(thief, "logs")).code is Code.REVOKED
    snapshot = thief.snapshot()
    assert snapshot["node"]["state"] == "revoked"
    assert snapshot["health"][0]["detail"] == "this node, thief"
    assert "fabricctl node replace" in snapshot["health"][0]["remedy"]
    assert {row["liveness"] for row in thief.member_rows()} == {None}


async def test_a_node_that_is_signed_anew_is_let_in_and_works_again(autojump_clock, three):
    live = three
    revoke(live)
    await live.until(lambda: live["thief"].state == "revoked", within=5)
    live.tell("far", live.fabric.node("thief", area="overseas", generation=3))
    await live.until(lambda: live.is_settled(demo="thief", logs="home"), within=60)

    assert live["thief"].state == "ready"
    assert await live.opens("far") == "thief"
    assert live.state_of("far", seen_by="thief") is State.ALIVE


async def test_a_restart_with_a_record_of_before_opens_nothing_again(autojump_clock, three):
    live = three
    await live.kill("thief")
    revoke(live, at="far")
    await live.until(live.agree, within=2)
    thief = await live.start("thief", seeds=["home", "far"], serves=["demo"])
    await trio.sleep(30)

    assert live.peers_of("home") == {"far"}
    assert live["far"].registry.state_of("demo").instances == ()
    assert not thief.overlay.peers.standing_links()


async def test_a_node_that_sleeps_through_it_hears_of_it_first(autojump_clock, three):
    live = three
    await live.kill("far")
    revoke(live)
    await trio.sleep(5)
    await live.start("far", seeds=["home"])
    await live.until(lambda: live.agree("home", "far"), within=5)
    await live.until(lambda: live.peers_of("far") == {"home"}, within=0.5)
    assert (await refusal(live["far"])).code is Code.NO_INSTANCE
