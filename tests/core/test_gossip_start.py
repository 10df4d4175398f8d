"""What a node knows from its disk, is shown in Hello, and forgets in time."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve, frozen

from fabric.codes import Code
from fabric.core.arrival import in_turn
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.envelope import Envelope
from fabric.core.gossip_events import (
    Bar,
    Changed,
    Drop,
    HeardRoot,
    HeardRoots,
    Loaded,
    Presented,
    Reissue,
    Store,
    StoreFloor,
    Ticked,
    Wake,
)
from fabric.core.identity import NodeId
from fabric.core.records import DAY, FABRIC, Key, KeyState, Record
from fabric.core.wave import Send
from fabric.testing.records import (
    BORN,
    public,
)
from tests.core.a_gossip import (
    KEYS,
    AGossip,
    alarms,
    codes,
    counted_verifications,
    forged,
    new_key,
    next_root,
    only,
    reached,
)

HOME = KEYS.node("home-1")
OFFERS = KEYS.offers("home-1", "demo")
POLICY = Key("policy", FABRIC)
ROOT = Key("trust_root", FABRIC)


# -- Hello --
def test_a_node_record_shown_in_hello_is_taken_in_and_passed_on() -> None:
    node = AGossip("one")

    effects = node.say(
        Presented(public(KEYS.node_key("home-1")), pack_envelope(KEYS.signed(HOME)))
    )

    assert node.held(HOME) == HOME
    assert reached(effects) == {KEYS.node_id("one")}
    trace = node.gossip.trace(HOME.key)
    assert trace is not None
    assert trace.holding.top.held[0].heard.from_peer == KEYS.node_id("home-1")


@pytest.mark.parametrize("record", [HOME, KEYS.policy()], ids=["of another", "of no node"])
def test_another_record_than_ones_own_is_not_taken_from_whoever_says_hello(
    record: Record,
) -> None:
    node = AGossip("one")

    effects = node.say(Presented(public(KEYS.node_key("x")), pack_envelope(KEYS.signed(record))))

    assert codes(effects) == [Code.UNKNOWN_KEY]
    assert node.held(record) is None


def test_a_stranger_that_shows_a_forgery_is_not_admitted_and_no_more() -> None:
    node = AGossip("one")
    shown = Presented(public(KEYS.node_key("home-1")), pack_envelope(forged(KEYS, HOME)))

    stranger = node.say(shown)
    node.know("home-1")
    member = node.say(
        evolve(shown, packed=pack_envelope(forged(KEYS, KEYS.node("home-1", generation=2))))
    )

    assert codes(stranger) == codes(member) == [Code.FORGED]
    assert only(stranger, Bar) == []
    assert [each.peer for each in only(member, Bar)] == [KEYS.node_id("home-1")]


def test_a_tombstone_of_ones_own_is_taken_from_whoever_refuses() -> None:
    node = AGossip("one")
    node.know("home-1")
    own = KEYS.node("one", generation=2, revoked=True)
    teller, me = (public(KEYS.node_key(name)) for name in ("home-1", "one"))

    effects = node.say(Presented(teller, pack_envelope(KEYS.signed(own)), about=me))

    assert node.held(own) == own
    assert Changed(own.key) in effects


def test_a_forgery_about_oneself_bars_who_told_it_and_not_oneself() -> None:
    node = AGossip("one")
    node.know("one", "home-1")
    own = forged(KEYS, KEYS.node("one", generation=2, revoked=True))
    teller, me = (public(KEYS.node_key(name)) for name in ("home-1", "one"))

    effects = node.say(Presented(teller, pack_envelope(own), about=me))

    assert [each.peer for each in only(effects, Bar)] == [KEYS.node_id("home-1")]


# -- the disk --
@frozen
class Row:
    """A row of a cache."""

    key: Key
    packed: bytes
    from_peer: NodeId | None = None
    hops: int = 0
    age: float = 0.0
    wave_id: bytes = b""
    at: float = 0.0


def row(record: Record | Envelope, key: Key | None = None, **how: Any) -> Row:
    envelope = record if isinstance(record, Envelope) else KEYS.signed(record)
    if key is None:
        assert isinstance(record, Record)
        key = record.key
    return Row(key, pack_envelope(envelope), **how)


def test_what_the_disk_gives_back_is_held_in_whatever_order_it_comes() -> None:
    node = AGossip("one")

    effects = node.say(Loaded((row(OFFERS), row(HOME), row(KEYS.policy(fanout=1)))))

    assert (node.held(OFFERS), node.held(HOME)) == (OFFERS, HOME)
    assert {each.key for each in only(effects, Changed)} == {OFFERS.key, HOME.key, POLICY}
    assert only(effects, StoreFloor) == [StoreFloor(BORN)]
    assert len(effects) == 4  # no row is written again, and nothing sent


def test_a_cache_can_be_handed_over_piece_by_piece() -> None:
    words = KEYS.offers("a"), KEYS.offers("b")
    rows = [row(each) for each in (KEYS.root(), *words, KEYS.node("b"), KEYS.node("a"))]

    assert [each.key.kind for each in in_turn(rows[::-1])] == [
        "trust_root",
        "node",
        "node",
        "offers",
        "offers",
    ]


def test_a_word_that_waited_for_a_node_that_is_on_disk_is_held_then() -> None:
    node = AGossip("one")
    node.hear(OFFERS)

    node.say(Loaded((row(HOME),)))

    assert node.held(OFFERS) == OFFERS


def test_what_comes_off_the_disk_is_unconfirmed_until_a_peer_sends_it() -> None:
    node = AGossip("one")
    node.say(Loaded((row(HOME, from_peer=KEYS.node_id("x"), hops=3), row(OFFERS))))
    trace = node.gossip.trace(HOME.key)
    assert trace is not None
    assert not trace.is_confirmed
    assert trace.holding.top.held[0].heard.hops == 3

    node.hear(HOME)

    assert node.directory.unconfirmed == {OFFERS.key}


def test_who_holds_the_same_confirms_all_of_it() -> None:
    node = AGossip("one")
    node.say(Loaded((row(HOME), row(OFFERS))))

    node.say(HeardRoot(KEYS.node_id("one"), node.gossip.root()))

    assert node.directory.unconfirmed == set()


def test_of_a_retired_key_the_disk_may_give_back_what_peers_may_not() -> None:
    kept, heard = AGossip("one"), AGossip("one")
    for node in (kept, heard):
        node.publish(next_root(KEYS, directory_0=KeyState.RETIRED))

    kept.say(Loaded((row(HOME),)))

    assert kept.held(HOME) == HOME
    assert codes(heard.hear(HOME)) == [Code.KEY_RETIRED]


def test_rows_that_do_not_count_are_deleted_and_bar_nobody() -> None:
    node = AGossip("one")
    nonsense = Row(Key("node", "x"), b"nonsense", KEYS.node_id("one"))
    bad = row(forged(KEYS, HOME), HOME.key, from_peer=KEYS.node_id("one"))

    effects = node.say(Loaded((nonsense, bad, row(OFFERS))))

    assert set(only(effects, Drop)) == {Drop(nonsense.key), Drop(bad.key), Drop(OFFERS.key)}
    assert set(codes(effects)) == {
        Code.RECORD_MALFORMED,
        Code.FORGED,
        Code.UNKNOWN_SIGNER,
    }
    assert alarms(effects) == [Code.FORGED]
    assert only(effects, Bar) == []


def test_a_nodes_own_words_off_its_disk_are_no_echo() -> None:
    node = AGossip("one")

    effects = node.say(Loaded((row(KEYS.node("me")), row(KEYS.offers("me", "demo")))))

    assert only(effects, Reissue) == []


def test_rows_that_come_late_are_written_over_where_something_newer_is_held() -> None:
    node = AGossip("one")
    new = KEYS.node("home-1", generation=2)
    node.publish(new)
    node.publish(OFFERS)

    effects = node.say(Loaded((row(HOME), row(OFFERS))))

    assert [(each.key, each.packed) for each in only(effects, Store)] == [
        (new.key, pack_envelope(KEYS.signed(new)))
    ]
    assert node.directory.unconfirmed == set()


def test_rows_that_come_late_and_are_held_already_cost_and_change_nothing() -> None:
    node = AGossip("one")
    node.hear(*(KEYS.node("home-1", area=each) for each in ("east", "west")))
    rows = [Row(each.key, each.packed) for each in node.gossip.kept()]
    assert len(rows) == 2

    with counted_verifications() as count:
        effects = [effect for each in rows for effect in node.say(Loaded((each,)))]

    assert count == [0]
    assert only(effects, Drop) == []


def test_a_late_row_that_ends_a_dispute_ends_the_rows_of_its_proof() -> None:
    node = AGossip("one")
    node.hear(*(KEYS.node("home-1", area=each) for each in ("east", "west")))
    beside = {each.key for each in node.gossip.kept()} - {HOME.key}

    effects = node.say(Loaded((row(KEYS.node("home-1", generation=2)),)))

    assert {each.key for each in only(effects, Drop)} == beside != set()


def test_a_proof_comes_off_the_disk_whole_and_goes_when_it_is_over() -> None:
    halves = [KEYS.node("home-1", generation=2, area=each) for each in ("east", "west")]
    before = AGossip("one")
    before.hear(HOME, *halves)
    rows = tuple(Row(each.key, each.packed) for each in before.gossip.kept())
    node = AGossip("one")

    effects = node.say(Loaded(rows))

    assert node.gossip.root() == before.gossip.root()
    assert [each for each in effects if isinstance(each, Store | Drop)] == []
    over = node.hear(KEYS.node("home-1", generation=3))
    assert {each.key for each in only(over, Drop)} == {each.key for each in rows} - {HOME.key}


def test_roots_off_the_disk_come_first_and_are_followed() -> None:
    node = AGossip()

    node.say(HeardRoots((pack_envelope(next_root(KEYS)),)))
    node.say(Loaded((row(KEYS.signed(HOME, new_key()), HOME.key),)))

    assert node.held(HOME) == HOME


# -- time --
def test_what_the_directory_dates_raises_the_time_floor_and_is_kept() -> None:
    node = AGossip("one")
    ahead = BORN + 3600

    effects = node.hear(KEYS.node("home-1", issued_at=ahead, expires_at=ahead + DAY))

    assert only(effects, StoreFloor) == [StoreFloor(ahead)]
    assert node.floor.at == ahead


def test_a_date_too_far_ahead_is_refused_and_alarmed_once() -> None:
    node = AGossip("one")
    later = [KEYS.node(each, issued_at=BORN + 3 * DAY) for each in ("home-1", "home-2")]

    effects = node.hear(*later)

    assert codes(effects) == [Code.NOT_YET_VALID] * 2
    assert alarms(effects) == [Code.FLOOR_TOO_FAR]
    assert node.floor.at < BORN + DAY


def test_the_date_of_a_trust_root_raises_the_floor_too() -> None:
    node = AGossip("one")
    ahead = KEYS.signed(KEYS.root(version=2, issued_at=BORN + 3600))

    effects = node.say(HeardRoots((pack_envelope(ahead),)))

    assert only(effects, StoreFloor) == [StoreFloor(BORN + 3600)]


def test_a_nodes_own_date_raises_no_floor() -> None:
    node = AGossip("one")
    node.know("home-1")

    node.hear(KEYS.offers("home-1", issued_at=BORN + 3600))

    assert node.floor.at == BORN


def test_what_has_had_its_last_day_goes_from_the_disk_too() -> None:
    node = AGossip("one")
    node.hear(HOME)
    node.hear(OFFERS)
    node.pass_time(38 * DAY)
    assert Drop(OFFERS.key) in node.say(Ticked())
    node.pass_time(113 * DAY)

    effects = node.say(Ticked())

    assert Drop(HOME.key) in effects
    assert Changed(HOME.key) in effects
    assert node.say(Ticked()) == []


def test_it_asks_to_be_woken_when_more_of_a_wave_may_go_out() -> None:
    node = AGossip("one", "other")
    many = [KEYS.node(f"n-{number}") for number in range(60)]

    effects = [effect for each in many for effect in node.publish(each)]

    assert len(only(effects, Send)) == 100
    (wake,) = only(effects, Wake)
    assert wake.at == pytest.approx(node.now.steady + 1 / 50)
    assert len(only(node.after(1.0), Send)) == 20
