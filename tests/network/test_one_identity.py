"""One key, one process: restarts, two processes with one key, and a copy of a state folder."""

import json
import shutil

import pytest
import trio

from fabric.codes import Code
from fabric.core.liveness_events import State
from fabric.core.records import Key, OffersRecord
from fabric.errors import ConfigError
from fabric.testing.pairs import refusal

TWIN_AT = ("10.0.1.1", 4433)


@pytest.fixture
async def three(live):
    """Return a running fabric in which ``away`` serves demo."""
    live.add("home")
    live.add("far", area="abroad")
    live.add("away", area="overseas")
    live.fleet.publish()
    await live.start("home", knows=[live.papers.records])
    await live.start("far", seeds=["home"])
    await live.start("away", seeds=["home"], serves=["demo"])
    await live.until(lambda: live.is_settled(demo="away"))
    await trio.sleep(5)
    return live


def sequence(live, kind, *, held_by="home"):
    held = live[held_by].knowledge.directory.get(Key(kind.KIND, live.fabric.node_id("away")))
    return held.record.sequence


def words_said(logged):
    return len(logged("own_word.said"))


def copies_sent(live):
    return sum(node.metrics.records_sent.series.get((), 0) for node in live.nodes)


async def a_twin(live, *, boot_seq=None, **options):
    """Run a second process with the key of ``away``; *boot_seq* is the one it is to draw."""
    state = live.fleet.folder / "twin"
    if boot_seq is not None:
        state.mkdir(parents=True)
        (state / "boot.json").write_text(json.dumps({"boot_seq": boot_seq - 1}))
        live.fleet.clocks["twin"] = -3600.0  # or the time would be a higher one
    return await live.start(
        "away",
        called="twin",
        at=TWIN_AT,
        state_dir=state,
        seeds=["home", "far"],
        knows=[live.papers.records],  # whoever knows nobody believes nobody that it is a twin
        **options,
    )


# -- restarts --
async def test_a_restart_loop_is_alive_each_time_and_says_few_words(autojump_clock, three, logged):
    live = three
    before = words_said(logged)
    boots = [live["away"].me.boot_seq]
    for _ in range(10):
        await live.kill("away")
        await live.start("away", serves=["demo"], knows=[])
        boots.append(live["away"].me.boot_seq)
        await live.until(lambda: live.is_settled(demo="away"), within=10)
        assert await live.opens("home") == "away"
        assert live.state_of("away", seen_by="far") is State.ALIVE
    assert boots == sorted(set(boots))
    # what it says is held still, and says the same: there is nothing to say again
    assert words_said(logged) - before <= 2
    assert live["home"].overlay.gossip.alarms == {}


async def test_a_node_that_lost_its_disk_outbids_what_it_said_before(
    autojump_clock, three, logged
):
    live = three
    before = sequence(live, OffersRecord)
    live.fleet.clocks["away"] = -600.0  # its clock went back, too
    await live.kill("away")
    shutil.rmtree(live.fleet.folder / "away" / "state")
    await live.start("away", seeds=["home"], serves=["demo"])
    await live.until(lambda: live.peers_of("away"), within=30)
    # for the older of two it is taken only until the process before is known to be gone
    await live.until(lambda: live.is_settled(demo="away"), within=20)
    for name in ("home", "far"):
        assert live.health(name) == {}
    assert sequence(live, OffersRecord) >= before
    assert await live.opens("far") == "away"


async def test_a_process_refused_as_a_second_one_is_none_once_the_first_has_gone(
    autojump_clock, three
):
    live = three
    await live.kill("away")
    await live.until(lambda: "away" not in live.peers_of("home"))
    live["home"].overlay.switchboard.duplicated(live.fabric.node_id("away"), TWIN_AT)
    assert "duplicate_identity" not in live.health("home")


# -- two processes --
async def test_a_second_process_of_the_same_start_is_told_to_both_ends_and_opens_nothing(
    autojump_clock, three, logged
):
    live = three
    async with live["far"].open_channel("demo") as channel:
        twin = await a_twin(live, boot_seq=live["away"].me.boot_seq, serves=["demo"])
        await live.until(lambda: live.health("home").get("duplicate_identity"), within=30)

        # both places are named to whoever has to find the second process
        for name in ("home", "far", "twin"):
            await live.until(lambda name=name: "duplicate_identity" in live.health(name))
        told = live.health("home")["duplicate_identity"]
        assert TWIN_AT[0] in told
        assert live.address("away")[0] in told
        assert logged("directory.alarm", code=Code.DUPLICATE_IDENTITY)

        # its offers are not resolved: nobody knows who of the two would answer
        assert live["home"].registry.state_of("demo").instances == ()
        assert (await refusal(live["home"])).code is Code.NO_INSTANCE
        assert twin.overlay.peers.standing_links() == []

        # what was open goes on, and so do the links of the first
        await channel.send_all(b"still here")
        assert await channel.receive_some() == b"still here"
        assert live.peers_of("home") == {"far", "away"}

    await live.kill("twin")
    await live.until(lambda: live.is_offered("demo", "away"), within=180)
    assert await live.opens("home") == "away"


async def test_of_two_processes_the_newer_is_kept_and_the_older_told_so(
    autojump_clock, three, logged
):
    live = three
    await a_twin(live, serves=["demo"])
    newer = live["twin"].me.instance

    def instances(name):
        return {
            link.claim.instance
            for link in live[name].overlay.peers.standing_links()
            if link.member.name == "away"
        }

    await live.until(lambda: instances("home") == instances("far") == {newer}, within=30)
    await live.until(lambda: "duplicate_identity" in live.health("home"), within=90)
    await live.until(lambda: "duplicate_identity" in live.health("away"), within=90)
    assert instances("home") == {newer}


# -- copies of a state folder --
async def test_one_state_folder_is_used_by_one_process(autojump_clock, three):
    live = three
    with pytest.raises((ConfigError, ExceptionGroup)) as raised:
        await live.start("away", called="twin", at=TWIN_AT)
    assert "another process uses this state folder" in str(raised.value)
    assert await live.opens("home") == "away"


async def test_a_clone_of_a_state_folder_ends_in_few_words_and_an_alarm(
    autojump_clock, three, logged
):
    live = three
    state = live.fleet.folder / "away" / "state"
    shutil.copytree(state, live.fleet.folder / "twin")
    before = words_said(logged)
    await live.start(
        "away",
        called="twin",
        at=TWIN_AT,
        seeds=["home"],
        knows=[],
        state_dir=live.fleet.folder / "twin",
        serves=["logs"],
    )
    await trio.sleep(60)

    assert words_said(logged) - before <= 4  # one of each kind, by either
    for name in ("home", "far"):
        assert "duplicate_identity" in live.health(name)
    await live.kill("twin")
    await live.until(lambda: live.is_settled(demo="away"), within=180)


async def test_clones_that_never_meet_the_same_peer_alarm_and_make_no_storm(
    autojump_clock, three, network, logged
):
    live = three
    shutil.copytree(live.fleet.folder / "away" / "state", live.fleet.folder / "twin")
    network.cut(live.address("away")[0], live.address("far")[0])
    network.cut(TWIN_AT[0], live.address("home")[0])
    await live.until(lambda: live.peers_of("far") == {"home"})
    await live.start(
        "away",
        called="twin",
        at=TWIN_AT,
        seeds=["far"],
        knows=[],
        state_dir=live.fleet.folder / "twin",
        serves=["logs"],
    )
    await live.until(lambda: live.peers_of("far") == {"home", "away"})
    for name in ("away", "twin"):
        await live.until(lambda name=name: "duplicate_identity" in live.health(name), within=60)
    said, sent = words_said(logged), copies_sent(live)
    await trio.sleep(120)

    # whoever hears a word of the other's outbids it: of each kind, one in five seconds is let
    # through, and of two kinds one goes back and forth at a time
    assert words_said(logged) - said <= 2 * 120 / 5
    assert copies_sent(live) - sent <= 4 * 120 / 5


async def test_a_word_in_its_name_that_it_did_not_say_is_said_again_above(
    autojump_clock, three, logged
):
    live = three
    heard = sequence(live, OffersRecord) + 100  # above the time too, by which numbers are drawn
    live.slip("far", "home", live.fabric.offers("away", "logs", sequence=heard))
    await live.until(lambda: sequence(live, OffersRecord) == heard + 1, within=10)
    await live.until(lambda: live.is_settled(demo="away"), within=5)
    await trio.sleep(30)
    assert sequence(live, OffersRecord) == heard + 1
