"""Who is there, as a node tells it: the record, liveness, and the link, each in its own words."""

import json

import trio

from fabric.codes import Code
from fabric.core.lifetimes import SURVIVAL_GRACE
from fabric.core.records import DAY


def rows_of(node):
    rows = list(node.member_rows())
    assert json.loads(json.dumps(rows)) == rows
    return {row["name"]: row for row in rows}


async def test_every_member_has_a_row_this_node_too(autojump_clock, fleet, two):
    fleet.add("asleep", is_dialled=False)
    home, away = await two()
    await trio.sleep(5)
    rows = rows_of(home)

    assert list(rows) == ["asleep", "away", "home"]
    assert {name: row["itself"] for name, row in rows.items() if row["itself"]} == {"home": True}
    row = rows["away"]
    assert (row["id"], row["area"], row["liveness"]) == (away.node_id, "abroad", "alive")
    assert (row["connected"], row["standing"], row["code"]) == (True, "live", None)
    assert row["addresses"] == [f"{fleet.members['away'].address[0]}:4433"]
    assert row["incarnation"] > 0
    assert row["since_s"] >= 5
    assert 10 < row["rtt_ms"] < 100


async def test_a_member_never_heard_of_is_neither_alive_nor_dead(autojump_clock, fleet, two):
    fleet.add("asleep", is_dialled=False)
    home, _away = await two()
    row = rows_of(home)["asleep"]

    assert (row["liveness"], row["since_s"], row["connected"]) == (None, None, False)
    assert (row["rtt_ms"], row["addresses"], row["incarnation"]) == (None, [], 0)


async def test_a_silent_member_is_shown_with_who_says_so(autojump_clock, fleet, network, two):
    home, _away = await two()
    await trio.sleep(5)
    network.loses = lambda *_datagram: True
    while rows_of(home)["away"]["liveness"] == "alive":
        await trio.sleep(0.1)

    row = rows_of(home)["away"]
    assert (row["liveness"], row["accusers"]) == ("suspect", ["home"])
    assert row["since_s"] < 1


async def test_a_member_in_grace_says_so_and_an_expired_one_is_kept_out(
    autojump_clock, fleet, two
):
    home, _away = await two(None)
    ends = rows_of(home)["away"]["expires_at"]
    shift = ends - home.knowledge.unix_now()
    fleet.travel(int(shift) + 60)
    row = rows_of(home)["away"]
    assert (row["standing"], row["code"]) == ("grace", Code.SURVIVAL_GRACE.label)

    fleet.travel(SURVIVAL_GRACE + DAY)
    row = rows_of(home)["away"]
    assert (row["standing"], row["code"]) == ("expired", Code.RECORD_EXPIRED.label)


async def test_a_revoked_member_is_none(autojump_clock, fleet, two):
    home, away = await two(None)
    fabric = fleet.papers.fabric
    home.publish(fabric.signed(fabric.node("away", area="abroad", revoked=True, generation=2)))

    assert list(rows_of(home)) == ["home"]
    assert away.node_id in {row["subject"] for row in home.directory_rows("node")}
