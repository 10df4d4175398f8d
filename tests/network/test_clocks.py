"""Clocks that are wrong: an hour off, in 2099, or behind what the fabric's keys have dated."""

import datetime

import trio

from fabric.codes import Code
from fabric.core.records import DAY, EndpointRecord, Key, OffersRecord
from fabric.runtime.beat import next_beat
from fabric.runtime.gossip import FLOOR
from fabric.store.database import read_only
from fabric.store.peer_cache import CACHE_FILE

HOUR = 3600.0
IN_2099 = int(datetime.datetime(2099, 6, 1, tzinfo=datetime.UTC).timestamp())

NAMES = ("exact-1", "exact-2", "exact-3", "fast", "slow")


async def five(live):
    """Run five nodes; the clock of one is an hour ahead, that of another an hour behind."""
    for number, name in enumerate(NAMES):
        live.add(name, area=["home", "abroad"][number % 2])
    live.fleet.clocks |= {"fast": HOUR, "slow": -HOUR}
    live.fleet.publish()
    await live.start("exact-1", knows=[live.papers.records])
    for name in NAMES[1:]:
        await live.start(name, seeds=["exact-1"], serves=["demo"] if name == "fast" else [])
    await live.until(lambda: live.is_settled(demo="fast"))


async def test_nodes_an_hour_fast_and_slow_hold_the_same_as_all_others(autojump_clock, live):
    await five(live)
    for name in NAMES:
        assert await live.opens(name) == "fast"
    await live.stop("slow")
    await live.start("slow", serves=["logs"], knows=[])
    live.tell("slow", live.fabric.service("logs", issued_at=int(live.fleet.unix_now("slow"))))
    live.tell("fast", live.fabric.service("mail", issued_at=int(live.fleet.unix_now("fast"))))

    await live.until(lambda: live.is_offered("logs", "slow") and live.agree(), within=15)
    for name in NAMES:
        assert await live.opens(name, "logs") == "slow"
        assert live[name].knowledge.readings.service("mail") is not None


async def test_a_clock_that_differs_from_all_others_is_shown_where_it_is(autojump_clock, live):
    await five(live)
    await trio.sleep(2)
    for name in ("fast", "slow"):
        assert "3600 s" in live.health(name)["clock_skewed"]
    assert "clock_skewed" not in live.health("exact-1")

    live.fleet.clocks["slow"] = 0.0
    await live.stop("slow")
    await live.start("slow", knows=[])
    await live.until(lambda: live.is_settled(demo="fast"))
    assert "clock_skewed" not in live.health("slow")
    assert "clock_skewed" in live.health("fast")


async def test_a_clock_behind_what_the_directory_has_dated_is_shown_and_not_believed(
    autojump_clock, live
):
    live.add("exact", "late")
    live.fleet.publish()
    await live.start("exact", knows=[live.papers.records])
    live.fleet.clocks["late"] = -30 * DAY
    await live.start("late", seeds=["exact"])
    await live.until(live.is_settled)

    assert "clock_behind" in live.health("late")
    floor = live["late"].knowledge.floor
    # its own record was dated by the directory: it is not earlier than that
    assert floor.times(live.fleet.unix_now("late")).now >= live.fabric.now
    # and so is what it says of itself no word of the past to others
    said = live["exact"].knowledge.readings.endpoint_of(live["late"].node_id)
    assert said is not None


async def test_what_time_it_must_be_is_kept_on_the_disk(autojump_clock, live):
    live.add("home")
    live.fleet.publish()
    home = await live.start("home", knows=[live.papers.records])
    dated = live.fabric.now + int(HOUR)
    live.tell("home", live.fabric.service("demo", generation=2, issued_at=dated))
    assert home.knowledge.floor.at == dated
    await live.stop("home")
    kept = read_only(home.config.state_dir / CACHE_FILE).known()
    assert kept[FLOOR] == str(dated).encode()


async def test_a_date_far_ahead_moves_no_floor_and_is_told(autojump_clock, live, logged):
    live.add("home", "away")
    live.fleet.publish()
    await live.start("home", knows=[live.papers.records])
    await live.start("away", seeds=["home"])
    await live.until(live.is_settled)
    before = live["home"].knowledge.floor.at

    live.slip("away", "home", live.fabric.service("demo", generation=2, issued_at=IN_2099))
    await trio.sleep(1)
    assert live.refused("home", Code.NOT_YET_VALID) == 1
    assert live["home"].knowledge.floor.at == before
    assert logged("directory.alarm", code=Code.FLOOR_TOO_FAR)
    assert "floor_too_far" in live.health("home")


async def test_after_a_word_from_2099_its_owner_and_all_others_go_on(autojump_clock, live):
    live.add("home", "away")
    live.add("lost", area="abroad")
    live.fleet.grant("logs", "any")
    live.fleet.publish()
    await live.start("home", knows=[live.papers.records])
    await live.start("away", seeds=["home"], serves=["logs"])
    lost = await live.start("lost", seeds=["home"], serves=["demo"])
    await live.until(lambda: live.is_settled(demo="lost", logs="away"))
    await trio.sleep(3)  # it says nothing twice within two seconds
    await trio.sleep_until(next_beat(trio.current_time()) + 0.1)  # all have looked at the clock

    key = Key(EndpointRecord.KIND, lost.node_id)
    live.fleet.clocks["lost"] = IN_2099 - live.fleet.unix_now()
    lost.overlay.own_words.reissue(key, above=0)
    await live.until(lambda: live.refused("home", Code.NOT_YET_VALID), within=5)
    await trio.sleep(10)
    assert live.agree("home", "away")
    assert await live.opens("home", "logs") == "away"
    assert live["home"].knowledge.directory.get(key).record.sequence < IN_2099

    live.fleet.clocks["lost"] = 0.0
    await live.kill("lost")
    lost = await live.start("lost", seeds=["home"], serves=["demo"])
    await live.until(lambda: live.is_settled(demo="lost", logs="away"), within=30)
    held = live["home"].knowledge.directory.get(key)
    assert held.record.sequence > IN_2099  # its disk remembers which numbers it has used up
    assert held.record.issued_at < IN_2099
    assert await live.opens("home") == "lost"


async def test_a_number_of_2099_in_its_name_is_outbid_by_its_owner(autojump_clock, live):
    live.add("home", "away")
    live.fleet.publish()
    await live.start("home", knows=[live.papers.records])
    away = await live.start("away", seeds=["home"], serves=["demo"])
    await live.until(lambda: live.is_settled(demo="away"))

    live.slip("away", "home", live.fabric.offers("away", "logs", sequence=IN_2099))
    key = Key(OffersRecord.KIND, away.node_id)
    await live.until(
        lambda: live["home"].knowledge.directory.get(key).record.sequence == IN_2099 + 1, within=15
    )
    await live.until(lambda: live.is_settled(demo="away"), within=5)
    assert live.refused("home", Code.GENERATION_LEAP) == 0
    live.slip("away", "home", live.fabric.offers("away", "logs", sequence=2**40))
    await trio.sleep(1)
    assert live.refused("home", Code.GENERATION_LEAP) == 1
