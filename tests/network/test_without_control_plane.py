"""Nobody signs anything any more: what goes on working, for how long, and what is said then.

Dates jump by days (see :meth:`.Fleet.travel`); after each jump the nodes run for a little more
than the minute in which they look whether what they say of themselves is half over.
"""

import pytest
import trio

from fabric.codes import Code
from fabric.core.records import DAY
from fabric.core.verdicts import Standing
from fabric.runtime.own_words import LOOK_EVERY
from fabric.testing.pairs import refusal

NAMES = ("home", "away", "far")
LEAP = 3 * DAY
"""Less than half of a node's own word's seven days: each is signed anew before it ends."""


@pytest.fixture
async def three(live):
    live.add("home", "away")
    live.add("far", area="abroad")
    live.fleet.publish()
    await live.start("home", knows=[live.papers.records])
    await live.start("away", seeds=["home"], serves=["demo"])
    await live.start("far", seeds=["home"])
    await live.until(lambda: live.is_settled(demo="away"))
    return live


async def live_on(live, days):
    """Let so many days pass, in which nothing that a node says of itself ever ends."""
    left = days * DAY
    while left > 0:
        live.fleet.travel(min(LEAP, left))
        left -= LEAP
        await trio.sleep(LOOK_EVERY + 5)
        readings = live["home"].knowledge.readings
        for name in NAMES:
            said = readings.endpoint_of(live.fabric.node_id(name))
            assert said.standing is Standing.LIVE


async def restart_each(live):
    for name in NAMES:
        await live.kill(name)
        await live.start(name, knows=[], serves=["demo"] if name == "away" else [])
        await live.until(lambda: live.is_settled(demo="away"), within=20)


async def test_after_forty_days_and_a_restart_of_each_node_all_channels_work(
    autojump_clock, three
):
    live = three
    said = live.fabric.now
    await live_on(live, 20)
    await restart_each(live)
    await live_on(live, 20)

    for name in NAMES:
        assert await live.opens(name) == "away"
        assert live.health(name) == {}
        assert live.peers_of(name) == set(NAMES) - {name}
        node = live[name]
        member = node.knowledge.readings.member(node.node_id)
        assert (member.standing, member.record.issued_at) == (Standing.LIVE, said)
        for other in NAMES:
            id_of = live.fabric.node_id(other)
            assert node.knowledge.readings.endpoint_of(id_of).standing is Standing.LIVE
    assert live.agree()


def what_is_wrong(live, name):
    return {row["code"]: row["remedy"] for row in live[name].snapshot()["health"]}


async def test_a_month_of_grace_in_which_members_are_let_in_and_then_no_more(
    autojump_clock, three
):
    live = three
    await live_on(live, 6)
    live.fleet.travel(94 * DAY)  # what was said in between would have expired as well
    await trio.sleep(LOOK_EVERY + 5)
    await live.kill("far")
    await live.start("far", knows=[])
    await live.until(live.is_meshed, within=20)
    home = live["home"]
    for name in NAMES:
        assert "directory resign" in what_is_wrong(live, name)["survival_grace"]
        assert home.knowledge.readings.member(live[name].node_id).standing is Standing.GRACE
    # and nothing new may be begun: the record of the service is over
    refused = await refusal(home)
    assert refused.code is Code.RECORD_EXPIRED

    live.fleet.travel(30 * DAY)
    for name in NAMES:
        await live.until(lambda name=name: not live.peers_of(name), within=LOOK_EVERY + 30)
        assert "directory resign" in what_is_wrong(live, name)["record_expired"]
    refused = await refusal(home)
    assert refused.code is Code.RECORD_EXPIRED
    assert "fabricctl directory resign" in str(refused)


async def test_a_restart_after_the_grace_is_refused_and_signing_anew_mends_it(
    autojump_clock, three, logged
):
    live = three
    await live.kill(*NAMES)
    live.fleet.travel(130 * DAY)
    await live.start("home", knows=[])
    await live.start("away", knows=[], seeds=["home"], serves=["demo"])
    await trio.sleep(20)
    assert logged("peer.refused", code=Code.RECORD_EXPIRED)
    assert "record_expired" in live.health("home")
    assert not live.peers_of("home")

    fabric = live.fabric
    anew = [fabric.node(name, generation=2) for name in ("home", "away")]
    anew += [fabric.service("demo", generation=2)]
    for name in ("home", "away"):
        live.tell(name, *anew)
    await live.until(lambda: live.is_settled(demo="away"), within=30)
    assert await live.opens("home") == "away"
    assert live.health("home") == {}
