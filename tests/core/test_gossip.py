"""What one node makes of the records it hears: held, refused, waiting, passed on."""

from __future__ import annotations

import pytest

from fabric.codes import Code
from fabric.core.ages import LOOK_EVERY
from fabric.core.alarms import QUIET_FOR
from fabric.core.budgets import WINDOW, WINDOW_BURST
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.directory import MOST_LEAP, MOST_UNKNOWN_WORDS
from fabric.core.gossip_events import (
    Bar,
    Changed,
    Drop,
    HeardRecords,
    Refused,
    Reissue,
    RootChanged,
    Store,
    Ticked,
)
from fabric.core.lifetimes import SURVIVAL_GRACE
from fabric.core.records import FABRIC, Key, KeyState, Record, Role
from fabric.core.rows import BESIDE
from fabric.core.wave import Send
from fabric.testing.records import (
    later_payloads,
    payload_with,
    signed,
)
from tests.core.a_gossip import (
    KEYS,
    WAVE,
    AGossip,
    alarms,
    codes,
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


# -- a record that is new --
def test_what_a_wave_brings_is_held_kept_on_disk_told_and_passed_on() -> None:
    node = AGossip("one", "other")
    before = node.gossip.root()

    effects = node.hear(HOME)

    assert node.held(HOME) == HOME
    assert node.gossip.root() != before
    assert only(effects, Store)[0].packed == pack_envelope(KEYS.signed(HOME))
    assert only(effects, Changed) == [Changed(HOME.key)]
    assert reached(effects) == {KEYS.node_id("other")}


def test_how_it_came_is_remembered() -> None:
    node = AGossip("one", "other")

    node.hear(HOME, hops=5, ms=250, lag=0.1)

    trace = node.gossip.trace(HOME.key)
    assert trace is not None
    assert trace.used is not None
    heard = trace.used.heard
    assert (heard.from_peer, heard.hops, heard.wave_id) == (KEYS.node_id("one"), 3, WAVE)
    assert heard.age == pytest.approx(0.35)
    assert heard.at == node.now.clock
    assert [(each.reach, each.duplicates) for each in trace.waves] == [(1, 0)]
    assert node.gossip.trace(OFFERS.key) is None


def test_hops_that_a_peer_makes_up_are_clamped_to_the_policys() -> None:
    node = AGossip("one", "other")

    effects = node.hear(HOME, hops=255)

    (sent,) = only(effects, Send)
    assert sent.item[1] == 6  # of eight, one was needed to get here and one to get on
    trace = node.gossip.trace(HOME.key)
    assert trace is not None
    assert trace.holding.top.held[0].heard.hops == 1


def test_of_words_that_this_release_does_not_know_so_many_are_held_of_one_node() -> None:
    node = AGossip("one")
    node.know("home-1")
    kinds = [f"mood-{number}" for number in range(MOST_UNKNOWN_WORDS + 1)]
    for kind in reversed(kinds):
        word = payload_with(OFFERS, kind=kind)
        node.hear(signed(word, KEYS.node_key("home-1")))
    effects = node.after(WINDOW)

    last = Key(kinds[-1], OFFERS.subject)
    assert {Drop(last), Changed(last)} <= set(effects)
    assert {each.key.kind for each in node.gossip.kept()} == {"node", *kinds[:-1]}


def test_a_record_that_runs_out_is_held_as_before_and_told_of_within_a_minute() -> None:
    node = AGossip("one")
    node.hear(HOME)
    for turns_at in (HOME.expires_at, HOME.expires_at + SURVIVAL_GRACE):
        node.pass_time(turns_at - node.now.clock - 30)
        assert Changed(HOME.key) not in node.say(Ticked())
        assert only(node.after(LOOK_EVERY + 31, step=10), Changed) == [Changed(HOME.key)]
        assert node.held(HOME) == HOME


def test_a_directory_that_is_full_is_alarmed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fabric.core.directory.MOST_KEYS", 2)
    node = AGossip("one")
    node.hear(HOME)

    effects = node.hear(KEYS.policy())

    assert codes(effects) == alarms(effects) == [Code.OVER_BUDGET]


def test_a_record_without_hops_left_is_held_and_not_passed_on() -> None:
    node = AGossip("one", "other")

    assert reached(node.hear(HOME, hops=0)) == set()
    assert node.held(HOME) == HOME


def test_what_is_held_already_is_passed_on_by_nobody_again() -> None:
    node = AGossip("one", "other", "third")
    node.hear(HOME)

    effects = node.hear(HOME, HOME, by="other")

    assert effects == []
    assert [each.duplicates for each in node.gossip.recent_waves()] == [2]


def test_what_is_published_here_begins_a_wave_of_its_own() -> None:
    node = AGossip("one", "other")

    one, other = (only(node.publish(each), Send) for each in (HOME, KEYS.node("home-2")))

    assert {each.to for each in one} == {KEYS.node_id("one"), KEYS.node_id("other")}
    assert len({each.item[2] for each in one}) == 1
    assert one[0].item[2] != other[0].item[2]
    assert one[0].item[1] == 7


def test_an_own_word_is_not_sent_back_to_its_author_but_a_node_hears_its_record() -> None:
    node = AGossip("one", "home-1")

    assert KEYS.node_id("home-1") in reached(node.hear(HOME))
    assert KEYS.node_id("home-1") not in reached(node.hear(OFFERS))


def test_the_policy_in_use_sets_fanout_and_hops_and_its_end_unsets_them() -> None:
    node = AGossip(*(f"peer-{number}" for number in range(12)))
    node.publish(KEYS.policy(fanout=2, hops=3))

    sends = only(node.publish(HOME), Send)
    assert len(sends) == 2
    assert sends[0].item[1] == 2

    node.publish(KEYS.policy(generation=2, revoked=True))
    assert len(only(node.publish(KEYS.node("home-2")), Send)) == 5


def test_a_peer_that_moves_to_another_area_counts_for_that_one() -> None:
    node = AGossip("one", "two", "three")
    node.publish(KEYS.policy(fanout=2))
    node.publish(KEYS.node("three", area="away"))

    for number in range(10):
        sends = reached(node.publish(KEYS.node(f"new-{number}")))
        assert KEYS.node_id("three") in sends


def test_a_record_of_a_later_release_is_held_and_passed_on() -> None:
    node = AGossip("one", "other")
    payload = later_payloads(KEYS)["a kind of the directory"]

    effects = node.hear(signed(payload, *KEYS.enough(Role.DIRECTORY)))

    assert reached(effects) == {KEYS.node_id("other")}
    assert codes(effects) == []


# -- what does not count --
def test_bytes_that_are_no_envelope_are_refused() -> None:
    node = AGossip("one", "other")

    effects = node.say(HeardRecords(KEYS.node_id("one"), ((b"nonsense", 3, WAVE, 0),)))

    assert codes(effects) == [Code.RECORD_MALFORMED]
    assert only(effects, Bar) == []


def test_one_bad_item_does_not_keep_the_others_out() -> None:
    node = AGossip("one")
    items = ((b"nonsense", 3, WAVE, 0), node.item(HOME))

    node.say(HeardRecords(KEYS.node_id("one"), items))

    assert node.held(HOME) == HOME


def test_a_forger_is_barred_for_ten_minutes() -> None:
    node = AGossip("one", "other")

    effects = node.hear(forged(KEYS, HOME), KEYS.node("home-2"))

    assert codes(effects) == [Code.FORGED]
    assert alarms(effects) == [Code.FORGED]
    assert only(effects, Bar) == [Bar(KEYS.node_id("one"), Code.FORGED, node.now.steady + 600)]
    assert node.held(Key("node", KEYS.node_id("home-2"))) is None  # the rest is not looked at

    assert node.hear(HOME) == []
    node.pass_time(600)
    node.hear(HOME)
    assert node.held(HOME) == HOME


def test_an_unknown_signer_is_no_reason_to_bar_anybody() -> None:
    node = AGossip("one")

    effects = node.hear(OFFERS)

    assert codes(effects) == [Code.UNKNOWN_SIGNER]
    assert only(effects, Bar) == []


def test_a_node_that_signs_authority_is_refused_counted_and_alarmed() -> None:
    node = AGossip("one")
    node.know("home-1")

    effects = node.hear(KEYS.signed(KEYS.policy(), KEYS.node_key("home-1")))

    assert codes(effects) == [Code.SELF_AUTHORED]
    assert alarms(effects) == [Code.SELF_AUTHORED]
    assert only(effects, Bar) == []
    assert node.held(POLICY) is None


def test_a_leap_of_generations_is_refused_and_alarmed() -> None:
    node = AGossip("one")
    node.hear(HOME)

    effects = node.hear(KEYS.node("home-1", generation=MOST_LEAP + 2))

    assert codes(effects) == alarms(effects) == [Code.GENERATION_LEAP]
    assert node.held(HOME) == HOME


def test_a_leap_of_sequences_is_refused_and_alarmed() -> None:
    node = AGossip("one")
    node.know("home-1")

    effects = node.hear(KEYS.offers("home-1", "demo", sequence=2**52))

    assert codes(effects) == alarms(effects) == [Code.GENERATION_LEAP]


def test_what_is_superseded_is_refused_quietly_and_says_of_what_it_was() -> None:
    node = AGossip("one")
    node.hear(KEYS.node("home-1", generation=2))

    (refused,) = node.hear(HOME)

    assert isinstance(refused, Refused)
    assert (refused.code, refused.key) == (Code.SUPERSEDED, HOME.key)


def test_whoever_publishes_is_told_why_not() -> None:
    node = AGossip()

    (refused,) = only(node.publish(KEYS.signed(HOME, KEYS.node_key("x"))), Refused)

    assert refused.code is Code.UNKNOWN_SIGNER
    assert refused.from_peer is None


def test_an_alarm_is_said_once_a_minute_of_each_peer() -> None:
    node = AGossip("one", "other")
    node.know("home-1")
    bad = [KEYS.signed(KEYS.policy(generation=each), KEYS.node_key("home-1")) for each in (1, 2)]

    assert alarms(node.hear(*bad)) == [Code.SELF_AUTHORED]
    assert codes(node.hear(*bad)) == [Code.SELF_AUTHORED] * 2
    assert alarms(node.hear(*bad)) == []
    assert alarms(node.hear(*bad, by="other")) == [Code.SELF_AUTHORED]
    node.pass_time(QUIET_FOR)
    assert alarms(node.hear(*bad)) == [Code.SELF_AUTHORED]


# -- a signer that is not known yet --
def test_a_word_waits_for_the_record_of_its_node() -> None:
    node = AGossip("one", "other")
    node.hear(OFFERS, hops=4)
    assert node.held(OFFERS) is None

    effects = node.hear(HOME, by="other")

    assert node.held(OFFERS) == OFFERS
    trace = node.gossip.trace(OFFERS.key)
    assert trace is not None
    assert trace.holding.top.held[0].heard.from_peer == KEYS.node_id("one")
    assert KEYS.node_id("other") in reached(effects)


def test_what_a_new_root_lets_in_has_waited_for_it() -> None:
    node = AGossip("one")
    node.hear(KEYS.signed(HOME, new_key()))
    node.hear(OFFERS)
    assert node.held(HOME) is None

    effects = node.hear(next_root(KEYS))

    assert node.held(HOME) == HOME
    assert node.held(OFFERS) == OFFERS  # it waited for the one that waited
    assert only(effects, RootChanged) == [RootChanged(2)]


def test_who_sent_what_turns_out_to_be_forged_is_barred_then() -> None:
    node = AGossip("one", "other")
    node.hear(forged(KEYS, OFFERS))

    effects = node.hear(HOME, by="other")

    assert [each.peer for each in only(effects, Bar)] == [KEYS.node_id("one")]


def test_nothing_that_waits_of_a_barred_peer_is_looked_at() -> None:
    node = AGossip("one", "other")
    node.hear(OFFERS, forged(KEYS, KEYS.policy()))

    node.hear(HOME, by="other")

    assert node.held(OFFERS) is None


# -- own words: what this node did not say --
@pytest.mark.parametrize(("held", "heard"), [(None, 4), (5, 9)])
def test_a_word_of_this_nodes_that_it_did_not_say_is_held_and_said_anew(
    held: int | None, heard: int
) -> None:
    node = AGossip("one", "other")
    node.know("me")
    if held:
        node.publish(KEYS.offers("me", "demo", sequence=held))
    strange = KEYS.offers("me", "strange", sequence=heard)

    effects = node.hear(strange)

    assert only(effects, Reissue) == [Reissue(strange.key, heard)]
    assert node.held(strange) == strange
    assert reached(effects) == {KEYS.node_id("other")}


def test_another_word_under_a_number_of_this_nodes_own_makes_it_say_a_higher_one() -> None:
    node = AGossip("one", "other")
    node.know("me")
    mine = KEYS.offers("me", "demo", sequence=5)
    node.publish(mine)

    effects = node.hear(KEYS.offers("me", "strange", sequence=5))

    assert only(effects, Reissue) == [Reissue(mine.key, 5)]
    assert node.held(mine) is None
    again = KEYS.offers("me", "demo", sequence=6)
    node.publish(again)
    assert node.held(mine) == again


def test_a_nodes_own_words_that_come_back_to_it_say_nothing_new() -> None:
    node = AGossip("one")
    node.know("me")
    said = node.publish(KEYS.offers("me", "demo", sequence=5))
    said += node.publish(KEYS.offers("me", "demo", sequence=6))

    old, same = (
        node.hear(KEYS.offers("me", sequence=4)),
        node.hear(KEYS.offers("me", "demo", sequence=6)),
    )

    assert only([*said, *old, *same], Reissue) == []


def test_what_another_node_says_is_no_word_of_this_one() -> None:
    node = AGossip("one")
    node.know("home-1")

    assert only(node.hear(OFFERS), Reissue) == []


# -- equivocation --
def test_a_proof_that_somebody_said_two_things_is_passed_on_once_and_alarmed() -> None:
    node = AGossip("one", "other", "third")
    halves = [KEYS.node("home-1", area=each) for each in ("east", "west", "north")]
    node.hear(halves[0])

    effects = node.hear(halves[1])

    assert alarms(effects) == [Code.EQUIVOCATED]
    proof = {pack_envelope(KEYS.signed(each)) for each in halves[:2]}
    for peer in ("other", "third"):
        to = KEYS.node_id(peer)
        assert {each.item[0] for each in only(effects, Send) if each.to == to} == proof
    assert reached(node.hear(halves[2])) == set()  # two prove as much as three


def test_a_node_that_says_two_things_is_shown_to_others_too() -> None:
    node = AGossip("one", "other")
    node.know("home-1")
    node.hear(KEYS.offers("home-1", "demo"))

    effects = node.hear(KEYS.offers("home-1", "other"))

    assert alarms(effects) == [Code.EQUIVOCATED]
    assert len(only(effects, Send)) == 2
    assert node.held(OFFERS) is None


def test_what_counts_below_a_proof_is_held_though_it_comes_after_it() -> None:
    node = AGossip("one", "other")
    node.hear(*(KEYS.node("home-1", generation=2, area=each) for each in ("east", "west")))

    effects = node.hear(HOME)

    assert node.held(HOME) == HOME
    assert only(effects, Changed) == [Changed(HOME.key)]
    assert reached(effects) == {KEYS.node_id("other")}
    assert len(list(node.gossip.kept())) == 3


def test_both_halves_of_a_proof_and_what_counts_meanwhile_are_kept_on_disk() -> None:
    node = AGossip("one")
    good = KEYS.node("home-1")
    halves = [KEYS.node("home-1", generation=2, area=each) for each in ("east", "west")]
    node.hear(good, *halves)

    rows = {each.key: each.packed for each in node.gossip.kept()}
    assert set(rows.values()) == {pack_envelope(KEYS.signed(each)) for each in (good, *halves)}
    assert [key.kind for key in rows if key != good.key] == [BESIDE, BESIDE]

    effects = node.hear(KEYS.node("home-1", generation=3))

    assert {each.key for each in only(effects, Drop)} == {key for key in rows if key != good.key}
    assert [each.key for each in node.gossip.kept()] == [good.key]


# -- windows --
def sequences(number: int, start: int = 1) -> list[Record]:
    return [
        KEYS.offers("home-1", f"s-{each}", sequence=each) for each in range(start, start + number)
    ]


def test_of_one_authors_words_some_are_taken_at_once_and_the_newest_at_the_windows_end() -> None:
    node = AGossip("one", "other")
    node.know("home-1")
    words = sequences(WINDOW_BURST + 5)

    effects = node.hear(*words)

    assert node.held(OFFERS) == words[WINDOW_BURST - 1]
    assert codes(effects) == [Code.OVER_BUDGET] * 5
    assert len(only(effects, Store)) == len(only(effects, Send)) == WINDOW_BURST

    late = node.after(WINDOW)
    assert node.held(OFFERS) == words[-1]
    assert len(only(late, Store)) == len(only(late, Send)) == 1


def test_what_waited_for_its_window_has_the_age_of_its_wait() -> None:
    node = AGossip("one", "other")
    node.know("home-1")
    node.hear(*sequences(WINDOW_BURST + 1), ms=100)

    (sent,) = only(node.after(WINDOW), Send)

    assert sent.item[3] == 1000 * WINDOW + 100


def test_what_waited_for_its_window_is_judged_again() -> None:
    node = AGossip("one", "other")
    node.know("home-1")
    words = sequences(WINDOW_BURST + 1)
    node.hear(*words)
    node.publish(next_root(KEYS, directory_0=KeyState.COMPROMISED))

    late = node.after(WINDOW)

    assert Code.UNKNOWN_SIGNER in codes(late)
    assert node.held(OFFERS) is None


def test_other_authors_and_other_kinds_have_windows_of_their_own() -> None:
    node = AGossip("one", "other")
    node.know("home-1", "home-2")
    node.hear(*sequences(10))
    others = [KEYS.endpoint("home-1", "192.0.2.1:1"), KEYS.offers("home-2", "demo")]

    node.hear(*others)

    assert [node.held(each) for each in others] == others


def test_what_this_node_says_itself_waits_for_no_window() -> None:
    node = AGossip("one")
    node.know("home-1")
    words = sequences(10)

    for each in words:
        node.publish(each)

    assert node.held(OFFERS) == words[-1]


def test_a_word_that_is_old_news_uses_nothing_up() -> None:
    node = AGossip("one", "other")
    node.know("home-1")
    new = KEYS.offers("home-1", "new", sequence=50)
    node.hear(new)
    node.hear(*sequences(10))

    newer = [KEYS.offers("home-1", sequence=each) for each in (51, 52)]
    node.hear(*newer)

    assert node.held(OFFERS) == newer[-1]
