"""Peers: met, kept, lost and met again. Real nodes on a network in memory."""

import json

import pytest
import trio
import trio.testing
from attrs import evolve

from fabric.codes import Code
from fabric.errors import ChannelBroken, RefusedError, UnreachableError
from fabric.runtime.links import SILENT_AFTER, SPARE_FOR
from fabric.runtime.peer import PeerState
from fabric.runtime.roster import DirectoryRoster
from fabric.testing.pairs import connected, offered


async def echo(channel):
    while data := await channel.receive_some():
        await channel.send_all(data)


def peer(node, name):
    return next(p for p in node.overlay.peers.by_id.values() if p.member.name == name)


def links(node):
    return [link for p in node.overlay.peers.by_id.values() for link in p.links.values()]


async def until(condition, *args, **facts):
    """Wait for *condition*; the clock of these tests jumps, so looking often costs nothing."""
    while not condition(*args, **facts):
        await trio.sleep(0.01)


@pytest.fixture
async def nursery_for_nodes():
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


class Running:
    """A node in a task of its own, which can be killed without a word to anybody."""

    def __init__(self, fleet, name, **changes):
        self._fleet, self._name, self._changes = fleet, name, changes
        self._scope = trio.CancelScope()
        self._over = trio.Event()

    async def run(self, *, task_status):
        with self._scope:
            async with self._fleet.open(self._name, **self._changes) as node:
                task_status.started(node)
                await trio.sleep_forever()
        self._over.set()

    async def kill(self):
        """End it as SIGKILL would: its farewells are lost on the way."""
        network = self._fleet.network
        weather, network.weather = network.weather, evolve(network.weather, loss=2.0)
        self._scope.cancel()
        await self._over.wait()
        network.weather = weather


async def test_two_nodes_meet_and_each_sees_the_other_connected(autojump_clock, fleet, logged):
    async with fleet.open("home") as home, fleet.open("away") as away:
        await connected(home, "away")
        await connected(away, "home")

        (row,) = home.snapshot()["peers"]
        assert (row["name"], row["state"], row["reason"]) == ("away", "connected", None)
        assert row["id"] == away.node_id
        assert row["path"] == "direct 10.0.0.2:4433"
        assert row["area"] == "abroad"
        assert row["rtt_ms"] > 15
    assert logged("peer.connected", peer="away")
    assert logged("peer.connected", peer="home")


async def test_a_node_is_ready_although_its_peers_are_away(autojump_clock, fleet, logged):
    began = trio.current_time()
    async with fleet.open("home") as home:
        assert home.state == "ready"
        assert trio.current_time() - began <= 2.0
        assert peer(home, "away").state in {PeerState.WAITING, PeerState.DIALLING}
        missed = {"code": Code.HANDSHAKE_TIMEOUT, "address": "10.0.0.2:4433", "side": "dialler"}
        assert logged("peer.missed", **missed)


async def test_a_peer_that_starts_later_is_met_within_two_seconds(autojump_clock, fleet):
    await trio.sleep(1000)  # a clock far from 0, as clocks are
    fleet.members["home"] = evolve(fleet.members["home"], is_dialled=False)
    async with fleet.open("home") as home:
        await trio.sleep(10)
        started = trio.current_time()
        async with fleet.open("away"):
            await connected(home, "away")
            assert trio.current_time() - started < 2.0


async def test_dials_at_the_same_time_leave_one_link_on_both_ends(
    autojump_clock, fleet, nursery_for_nodes, logged
):
    home, away = Running(fleet, "home"), Running(fleet, "away")
    nodes = {}

    async def start(name, running):
        nodes[name] = await nursery_for_nodes.start(running.run)

    async with trio.open_nursery() as both:
        both.start_soon(start, "home", home)
        both.start_soon(start, "away", away)
    home, away = nodes["home"], nodes["away"]

    await trio.sleep(SPARE_FOR)

    (at_home,), (at_away,) = links(home), links(away)
    assert at_home.connection.is_dialler is not at_away.connection.is_dialler
    low = min((home, away), key=lambda node: node.node_id)
    kept_by = home if at_home.connection.is_dialler else away
    assert kept_by is low
    assert peer(home, "away").link is at_home
    assert len(logged("peer.connected")) >= 2
    assert not logged("peer.refused")


async def test_channels_on_the_other_of_two_links_run_out(
    autojump_clock, fleet, nursery_for_nodes
):
    """Whichever link a channel was opened on, the simultaneous dial does not cut it off."""
    async with fleet.open("home") as home, fleet.open("away") as away:
        await nursery_for_nodes.start(away.serve, "demo", echo)
        await connected(home, "away")
        await offered(home, "demo", "away")
        async with home.open_channel("demo") as channel:
            standing = peer(home, "away").link
            standing.spare()
            peer(away, "home").link.spare()
            await trio.sleep(10)
            await channel.send_all(b"still here")
            assert await channel.receive_some() == b"still here"
        assert standing.channels == 0


async def test_a_silent_peer_is_given_up_after_four_seconds_by_both_ends(
    autojump_clock, fleet, network, logged
):
    async with fleet.open("home") as home, fleet.open("away") as away:
        await connected(home, "away")
        await connected(away, "home")
        await trio.sleep(5)
        cut_at = trio.current_time()
        network.cut("10.0.0.1", "10.0.0.2")

        await until(lambda: peer(home, "away").link is None and peer(away, "home").link is None)

        assert SILENT_AFTER - 1.1 < trio.current_time() - cut_at < SILENT_AFTER + 0.5
        assert len(logged("peer.disconnected", code=Code.PEER_SILENT)) == 2
        assert peer(home, "away").reason is Code.PEER_SILENT

        network.heal()
        await connected(home, "away")
        await connected(away, "home")


async def test_an_idle_link_is_kept(autojump_clock, fleet, logged):
    async with fleet.open("home") as home, fleet.open("away"):
        await connected(home, "away")
        await trio.sleep(600)

        assert peer(home, "away").state is PeerState.CONNECTED
        assert not logged("peer.disconnected")
        moved = {row["name"]: row["last_progress_s"] for row in home.snapshot()["planes"]}
        assert moved["peers"] < 1.5


async def test_a_quick_restart_replaces_the_old_process_and_ends_its_channels(
    autojump_clock, fleet, nursery_for_nodes, logged
):
    async with fleet.open("home") as home:
        old = Running(fleet, "away")
        away = await nursery_for_nodes.start(old.run)
        await nursery_for_nodes.start(away.serve, "demo", echo)
        await connected(home, "away")
        await offered(home, "demo", "away")
        holding = home.open_channel("demo")
        channel = await holding.__aenter__()
        await old.kill()
        killed_at = trio.current_time()
        await nursery_for_nodes.start(Running(fleet, "away").run)
        with pytest.raises(ChannelBroken) as broken:
            await channel.receive_some()
        await holding.__aexit__(None, None, None)

        assert broken.value.code is Code.REPLACED
        assert trio.current_time() - killed_at < 2.0
        assert logged("peer.disconnected", peer="away", code=Code.REPLACED)
        assert peer(home, "away").link is not None


@pytest.mark.parametrize(("serves_again", "words"), [(True, 1), (False, 2)])
async def test_a_restart_takes_an_offer_back_only_where_it_is_not_served_again(
    autojump_clock, fleet, nursery_for_nodes, logged, serves_again, words
):
    async with fleet.open("home") as home:
        old = Running(fleet, "away")
        away = await nursery_for_nodes.start(old.run)
        await nursery_for_nodes.start(away.serve, "demo", echo)
        await offered(home, "demo", "away")
        await trio.sleep(5)
        await old.kill()
        away = await nursery_for_nodes.start(Running(fleet, "away").run)
        if serves_again:
            await trio.sleep(1)  # programs take their time
            await nursery_for_nodes.start(away.serve, "demo", echo)
        await trio.sleep(10)

        assert len(logged("own_word.said", kind="offers")) == words
        assert home.registry.state_of("demo").instances == (("away",) if serves_again else ())


async def test_a_restarted_peer_that_only_we_can_dial_is_usable_within_two_seconds(
    autojump_clock, fleet, nursery_for_nodes
):
    fleet.members["home"] = evolve(fleet.members["home"], is_dialled=False)
    async with fleet.open("home") as home:
        old = Running(fleet, "away")
        before = await nursery_for_nodes.start(old.run)
        await nursery_for_nodes.start(before.serve, "demo", echo)
        await offered(home, "demo", "away")
        await trio.sleep(5)
        await old.kill()
        killed_at = trio.current_time()
        away = await nursery_for_nodes.start(Running(fleet, "away").run)
        await nursery_for_nodes.start(away.serve, "demo", echo)

        await until(lambda: links(home) and links(home)[0].claim.instance == away.me.instance)
        async with home.open_channel("demo") as channel:
            await channel.send_all(b"hello again")
            assert await channel.receive_some() == b"hello again"
        assert trio.current_time() - killed_at < 2.0


async def test_a_second_process_with_the_same_key_is_refused(
    autojump_clock, fleet, nursery_for_nodes, logged
):
    async with fleet.open("home") as home, fleet.open("away") as away:
        await connected(home, "away")
        await connected(away, "home")
        fleet.members["away"] = evolve(fleet.members["away"], address=("10.0.0.9", 4433))
        twin = fleet.config("away", state_dir=fleet.folder / "twin")
        fleet.clocks["away"] = -3600.0  # or the twin would be the newer of the two
        twin.state_dir.mkdir(parents=True)
        boot = {"boot_seq": away.me.boot_seq - 1}
        (twin.state_dir / "boot.json").write_text(json.dumps(boot))

        node = await nursery_for_nodes.start(Running(fleet, "away", state_dir=twin.state_dir).run)

        for side in ("dialler", "acceptor"):
            await until(logged, "peer.refused", code=Code.DUPLICATE_IDENTITY, side=side)
        assert links(home)[0].claim.instance == away.me.instance
        assert not links(node)


async def test_an_older_process_is_refused_while_the_newer_is_connected(
    autojump_clock, fleet, nursery_for_nodes, logged
):
    async with fleet.open("home") as home, fleet.open("away") as away:
        await connected(home, "away")
        fleet.clocks["away"] = -3600.0
        fleet.members["away"] = evolve(fleet.members["away"], address=("10.0.0.9", 4433))
        stale = Running(fleet, "away", state_dir=fleet.folder / "stale")

        node = await nursery_for_nodes.start(stale.run)

        for side in ("dialler", "acceptor"):
            await until(logged, "peer.refused", code=Code.STALE_INSTANCE, side=side)
        await until(logged, "peer.refused", code=Code.DUPLICATE_IDENTITY, side="dialler")
        assert not links(node)
        assert links(home)[0].claim.instance == away.me.instance


async def test_a_peers_crash_restarts_only_its_own_task(
    autojump_clock, fleet, logged, monkeypatch
):
    fleet.members["home"] = evolve(fleet.members["home"], is_dialled=False)
    fleet.add("third")
    async with fleet.open("home") as home, fleet.open("away"), fleet.open("third"):
        await connected(home, "away")
        await connected(home, "third")
        await trio.sleep(5)  # both may have dialled: one of the two links goes
        untouched = peer(home, "third").link
        ways_to, crashes = DirectoryRoster.ways_to, []

        def ways_that_fail_once(roster, member):
            if roster is not home.overlay.roster:
                return []
            if member.name == "away" and not crashes:
                crashes.append(member)
                raise UnreachableError("weather")
            return ways_to(roster, member)

        monkeypatch.setattr(DirectoryRoster, "ways_to", ways_that_fail_once)
        peer(home, "away").link.connection.close(Code.PEER_LOST)

        await until(lambda: crashes)
        await connected(home, "away")

        (restart,) = logged("task.restarting")
        assert restart["task"] == "peer away"
        assert peer(home, "third").link is untouched


async def test_a_bug_in_a_peers_task_is_not_weather(autojump_clock, fleet, monkeypatch):
    def fail(_roster, _member):
        raise ZeroDivisionError

    monkeypatch.setattr(DirectoryRoster, "ways_to", fail)
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True, allow_unwrapped=True):
        async with fleet.open("home"):
            await trio.sleep(60)


async def test_a_peer_that_leaves_says_so_and_is_dialled_again(autojump_clock, fleet, logged):
    async with fleet.open("home") as home:
        async with fleet.open("away"):
            await connected(home, "away")
        await until(lambda: peer(home, "away").link is None)
        assert logged("peer.disconnected", peer="away", code=Code.SHUTTING_DOWN)
        async with fleet.open("away"):
            await connected(home, "away")


async def test_offers_are_learnt_and_are_not_used_once_the_peer_is_gone(
    autojump_clock, fleet, nursery_for_nodes
):
    fleet.grant("logs", "area:home", edge_exposable=True)
    async with fleet.open("home") as home:
        async with fleet.open("away") as away:
            await connected(home, "away")
            with trio.CancelScope() as serving:
                async with trio.open_nursery() as nursery:
                    await nursery.start(away.serve, "logs", echo)
                    await offered(home, "logs", "away")
                    (row,) = [r for r in home.snapshot()["services"] if r["name"] == "logs"]
                    assert row["open_to"] == ["area:home"]
                    assert row["edge_exposable"]
                    assert row["instances"] == ["away"]
                    async with home.open_channel("logs") as channel:
                        await channel.send_all(b"x")
                        assert await channel.receive_some() == b"x"
                    serving.cancel()
            await until(lambda: not home.registry.state_of("logs").instances)
            await nursery_for_nodes.start(away.serve, "logs", echo)
            await offered(home, "logs", "away")
        await until(lambda: not home.registry.state_of("logs").instances)


async def test_a_seed_that_is_this_node_itself_is_left(autojump_clock, fleet, logged):
    config = fleet.config("home")
    async with fleet.open("home", seeds=(*config.seeds, config.quic.listen)) as home:
        await trio.sleep(30)
        assert [p.member.name for p in home.overlay.peers.by_id.values()] == ["away"]
    assert not logged("peer.connected")


async def test_a_peer_that_refuses_us_is_tried_patiently(autojump_clock, fleet, logged):
    """Thirty seconds after the start would be time for a hundred eager attempts."""
    fleet.members["home"] = evolve(fleet.members["home"], is_listed=False)
    async with fleet.open("away") as away, fleet.open("home"):
        await trio.sleep(30)
        refused = away.metrics.hellos_refused.series[Code.UNKNOWN_KEY, "acceptor"]
        assert 5 < refused < 40


async def test_an_arrival_that_the_peers_task_does_not_take_is_closed_and_forgotten(
    autojump_clock, fleet, monkeypatch
):
    async with fleet.open("home") as home:
        monkeypatch.setattr("fabric.runtime.peer.Peer.offer", lambda _self, _link: False)
        async with fleet.open("away"):
            await trio.sleep(2)
            assert peer(home, "away").link is None
            assert not links(home)
            monkeypatch.undo()
            await connected(home, "away")


async def test_a_peer_that_left_after_a_moment_is_dialled_again_at_once(autojump_clock, fleet):
    """When it came, ``home`` had just begun to wait for a way to it: that is no wait for this."""
    async with fleet.open("home") as home:
        async with fleet.open("away"):
            await connected(home, "away")
        with trio.fail_after(1.0):
            await until(lambda: peer(home, "away").state is PeerState.DIALLING)


async def test_a_node_that_says_goodbye_dials_nobody_any_more(autojump_clock, fleet):
    async with fleet.open("home") as home:
        async with fleet.open("away"):
            await connected(home, "away")
        await home.overlay.leave()
        await trio.sleep(1.5)  # an attempt may be under way
        for _ in range(200):
            await trio.sleep(0.01)
            assert peer(home, "away").state is not PeerState.DIALLING


async def test_a_node_that_says_goodbye_admits_nobody_any_more(autojump_clock, fleet):
    async with fleet.open("home") as home, fleet.open("away") as away:
        await connected(home, "away")
        await home.overlay.leave()
        for _ in range(500):
            await trio.sleep(0.01)
            assert not links(home)
        assert peer(away, "home").state in {PeerState.WAITING, PeerState.DIALLING}
        assert peer(away, "home").reason is Code.SHUTTING_DOWN


async def test_who_has_left_is_said_to_have_left_however_often_it_is_dialled(
    autojump_clock, fleet
):
    async with fleet.open("home") as home:
        async with fleet.open("away"):
            await connected(home, "away")
        await trio.sleep(60)
        found = peer(home, "away")
        assert found.link is None
        assert found.reason is Code.SHUTTING_DOWN


async def test_who_waits_for_a_link_hears_at_once_that_there_will_be_none(autojump_clock, fleet):
    async with fleet.open("home") as home:
        away, refused = peer(home, "away").member.node_id, []

        async def wait():
            with pytest.raises(RefusedError) as error:
                await home.overlay.connect(away, 30.0)
            refused.append((error.value.code, trio.current_time() - began))

        async with trio.open_nursery() as nursery:
            began = trio.current_time()
            nursery.start_soon(wait)
            await trio.sleep(0.1)
            tombstone = fleet.papers.fabric.node("away", generation=2, revoked=True)
            home.publish(fleet.papers.fabric.signed(tombstone))
    ((code, after),) = refused
    assert code is Code.REVOKED
    assert after < 1.0
