"""What a node tells of what it holds: rows, traces, waves; and a record that is handed to it."""

import json

import pytest
import trio

from fabric.codes import Code
from fabric.core.codec.envelopes import envelope_to_json
from fabric.core.records import FABRIC, Key, Role
from fabric.errors import RefusedError
from fabric.runtime.publishing import envelope_in
from fabric.testing.pairs import connected
from fabric.testing.records import signed

OFFERS = Key("offers", "away")
DEMO = Key("service", "demo")


def plain(rows):
    """Return *rows* as a list that JSON can say."""
    found = list(rows)
    assert json.loads(json.dumps(found)) == found
    return found


async def both(fleet, nursery):
    home = await nursery.start(fleet.keep_running, "home")
    away = await nursery.start(fleet.keep_running, "away")
    await connected(home, "away")
    await connected(away, "home")
    return home, away


@pytest.fixture
def record(fleet):
    """Return ``record("demo", generation=2)``: a signed record of a service."""

    def make(name="demo", **fields):
        fabric = fleet.papers.fabric
        return fabric.signed(fabric.service(name, **fields))

    return make


async def test_every_key_that_is_held_has_a_row(autojump_clock, two):
    home, away = await two()
    await trio.sleep(3)  # words of one node come apart
    rows = plain(home.directory_rows())

    assert [row["key"] for row in rows] == sorted(map(str, home.knowledge.directory.keys()))
    found = {(row["kind"], row["name"] or row["subject"]): row for row in rows}
    assert set(found) == {
        *(("node", name) for name in ("away", "home")),
        *(("endpoint", name) for name in ("away", "home")),
        ("offers", "away"),
        ("service", "demo"),
        ("trust_root", FABRIC),
    }
    offers = found["offers", "away"]
    assert (offers["subject"], offers["author"]) == (away.node_id, "node")
    assert (offers["standing"], offers["counts"], offers["disputed"]) == ("live", True, False)
    assert (offers["from_peer"], offers["by"], offers["hops"]) == ("away", "wave", 1)
    assert 0 < offers["age_s"] < 1
    assert len(bytes.fromhex(offers["wave_id"])) == 8
    assert (found["service", "demo"]["from_peer"], found["service", "demo"]["by"]) == (
        None,
        "here",
    )


async def test_rows_of_one_kind_and_of_a_kind_that_does_not_exist(autojump_clock, two):
    home, _away = await two(None)
    assert {row["name"] for row in plain(home.directory_rows("node"))} == {"away", "home"}
    assert plain(home.directory_rows("lease")) == []  # a kind of which there is nothing
    with pytest.raises(RefusedError, match="endpoint, lease, node") as refused:
        home.directory_rows("nodes")
    assert refused.value.code is Code.BAD_REQUEST


async def test_a_trace_says_who_told_it_how_far_it_came_and_what_it_says(autojump_clock, two):
    home, away = await two()
    found = home.trace(OFFERS)
    plain([found])

    assert found["key"] == f"offers/{away.node_id}"
    assert found["says"]["services"] == ["demo"]
    assert (found["from_peer"], found["hops"], found["by"]) == ("away", 1, "wave")
    (held,) = found["held"]
    assert (held["counts"], held["signed_by"]) == (True, [away.node_id])
    (wave,) = found["waves"]
    assert (wave["wave_id"], wave["name"]) == (found["wave_id"], "away")
    assert home.trace(Key("offers", away.node_id)) == found
    assert home.trace(Key("offers", "nobody")) is None


async def test_a_revoked_node_is_traced_by_the_name_that_it_had(autojump_clock, fleet, two):
    home, away = await two()
    fabric = fleet.papers.fabric
    home.publish(fabric.signed(fabric.node("away", revoked=True, generation=2)))

    found = home.trace(Key("node", "away"))
    assert (found["key"], found["revoked"]) == (f"node/{away.node_id}", True)


async def test_what_anti_entropy_brought_says_so(autojump_clock, fleet, nursery, record):
    home = await nursery.start(fleet.keep_running, "home")
    home.publish(record("late"))
    await trio.sleep(5)
    away = await nursery.start(fleet.keep_running, "away", {"records": ()})
    while away.trace(Key("service", "late")) is None:
        await trio.sleep(0.1)

    found = away.trace(Key("service", "late"))
    assert (found["from_peer"], found["by"], found["wave_id"]) == ("home", "repair", None)
    assert found["waves"] == []
    nursery.cancel_scope.cancel()


async def test_a_dispute_shows_both_envelopes_and_what_counts_instead(
    autojump_clock, fleet, nursery, record
):
    home = await nursery.start(fleet.keep_running, "home")
    home.publish(record(generation=2))
    for opened in ("node:home", "node:away"):
        home.publish(record(generation=3, open_to=(opened,)))

    found = home.trace(DEMO)
    assert (found["disputed"], found["counts"], found["order"]) == (True, True, [0, 2])
    assert sorted(each["says"]["open_to"][0] for each in found["held"]) == [
        "any",
        "node:away",
        "node:home",
    ]
    assert [each["order"] for each in found["held"] if each["counts"]] == [[0, 2]]
    assert [row["code"] for row in home.snapshot()["health"]] == ["equivocated"]
    with pytest.raises(RefusedError) as refused:  # two prove as much as three
        home.publish(record(generation=3, open_to=("node:nobody",)))
    assert refused.value.code is Code.EQUIVOCATED
    nursery.cancel_scope.cancel()


async def test_waves_show_reach_hops_and_duplicates_the_latest_first(
    autojump_clock, fleet, nursery, record
):
    fleet.add("third")
    home, away = await both(fleet, nursery)
    third = await nursery.start(fleet.keep_running, "third")
    for node, peer in ((third, "home"), (third, "away"), (home, "third"), (away, "third")):
        await connected(node, peer)
    home.publish(record(generation=2))
    await trio.sleep(1)

    began, heard = home.wave_rows()[0], away.wave_rows()[0]
    assert (began["key"], began["from_peer"], began["by"]) == ("service/demo", None, "here")
    assert (began["hops"], began["reach"]) == (0, 2)
    assert (heard["wave_id"], heard["from_peer"], heard["hops"]) == (began["wave_id"], "home", 1)
    assert heard["reach"] + heard["duplicates"] >= 1  # from the third, or to it, or both
    assert 0 < heard["age_s"] < heard["heard_s"] < 2
    heard_at = [row["heard_at"] for row in plain(home.wave_rows())]
    assert heard_at == sorted(heard_at, reverse=True)
    nursery.cancel_scope.cancel()


# -- records that are handed over --
async def test_a_record_is_taken_once_and_spreads(autojump_clock, fleet, nursery, record):
    home, away = await both(fleet, nursery)
    envelope = record("late")
    taken = home.publish(envelope)
    assert taken == {
        "outcome": "taken",
        "key": "service/late",
        "order": [0, 1],
        "digest": envelope.digest.hex(),
    }
    await trio.sleep(1)
    assert away.trace(Key("service", "late"))["from_peer"] == "home"
    assert home.publish(envelope)["outcome"] == away.publish(envelope)["outcome"] == "held"
    nursery.cancel_scope.cancel()


async def test_a_record_that_does_not_count_is_refused_with_its_own_code(
    autojump_clock, fleet, nursery, record
):
    home = await nursery.start(fleet.keep_running, "home")
    fabric = fleet.papers.fabric
    home.publish(record(generation=3))
    intruder, keys = fabric.node_key("away"), fabric.keys(Role.INTENT)
    refused = {
        Code.SUPERSEDED: record(generation=2),
        Code.GENERATION_LEAP: record(generation=1 << 40),
        Code.RECORD_OF_ANOTHER_FABRIC: record("other", fabric=bytes(16)),
        Code.SELF_AUTHORED: signed(fabric.service("evil"), intruder),
        Code.WRONG_AUTHOR: signed(fabric.service("evil"), keys[0]),
        Code.THRESHOLD_NOT_MET: signed(fabric.root(version=2), *fabric.keys(Role.ROOT)[:1]),
    }
    for code, envelope in refused.items():
        with pytest.raises(RefusedError) as raised:
            home.publish(envelope)
        assert raised.value.code is code
        assert raised.value.detail.startswith(code.sentence)
    assert home.trace(Key("service", "evil")) is None
    nursery.cancel_scope.cancel()


async def test_every_version_of_the_trust_root_is_held_once_it_was_followed(
    autojump_clock, fleet, nursery
):
    home = await nursery.start(fleet.keep_running, "home")
    fabric = fleet.papers.fabric
    first, second = (fabric.signed(fabric.root(version=number)) for number in (1, 2))
    assert home.publish(second)["outcome"] == "taken"
    assert [home.publish(each)["outcome"] for each in (first, second)] == ["held", "held"]
    assert home.trace(Key("trust_root", FABRIC))["order"] == [0, 2]
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"\xff", Code.RECORD_MALFORMED),
        (b"{}", Code.RECORD_MALFORMED),
        (b"[" * 100_000, Code.RECORD_MALFORMED),
        (b" " * ((128 << 10) + 1), Code.RECORD_TOO_LARGE),
    ],
)
def test_a_body_that_is_no_envelope_is_refused(body, code):
    with pytest.raises(RefusedError) as refused:
        envelope_in(body)
    assert refused.value.code is code


def test_a_body_is_read_as_its_file_is(fleet, record):
    envelope = record()
    assert envelope_in(envelope_to_json(envelope).encode()) == envelope
