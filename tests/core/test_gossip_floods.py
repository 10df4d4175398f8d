"""What a peer that sends too much, or what is false, may cost an honest node."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.codes import Code
from fabric.core.alarms import MOST_REMEMBERED, Alarms
from fabric.core.budgets import WINDOW, WINDOW_BURST
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.correspondents import CHECKED, CHECKED_AT_ONCE, MOST_AWAY
from fabric.core.directory import MOST_UNKNOWN_WORDS
from fabric.core.envelope import Envelope, Signature
from fabric.core.frames import MOST_RECORDS, Page
from fabric.core.gossip_events import (
    Bar,
    Effect,
    HeardRecords,
    HeardRoot,
    HeardRoots,
    HeardSync,
    Pause,
    PeerDown,
    PeerUp,
    Presented,
    Reissue,
    Store,
    Stream,
)
from fabric.core.identity import NodeId
from fabric.core.intake import KNOWN_COST, MOST_BARRED
from fabric.core.records import Key, KeyId, KeyState, Record, Role
from fabric.core.wave import Item, Send
from fabric.testing.records import id_of, payload_with, signed
from tests.core.a_gossip import (
    KEYS,
    WAVE,
    AGossip,
    codes,
    compare,
    counted_verifications,
    forged,
    next_root,
    only,
)

CONTROL = CHECKED[Stream.CONTROL]
MOST_IN_A_SECOND = CONTROL * (1 + CHECKED_AT_ONCE)


def frames(node: AGossip, envelopes: list[Envelope]) -> Iterator[tuple[Item, ...]]:
    """Return *envelopes* in frames as full as they may be."""
    items = [node.item(each) for each in envelopes]
    for start in range(0, len(items), MOST_RECORDS):
        yield tuple(items[start : start + MOST_RECORDS])


def test_what_one_peer_may_cost_is_200_signatures_a_second_in_all() -> None:
    assert sum(CHECKED.values()) == 200


# -- what is false --
def test_100_000_forged_records_a_second_cost_one_signature() -> None:
    node = AGossip("liar", "one")
    node.know("home-1")
    liar = KEYS.node_id("liar")
    bad = [forged(KEYS, KEYS.offers("home-1", sequence=each)) for each in range(1, 257)]
    (frame,) = frames(node, bad)
    effects: list[Effect] = []

    with counted_verifications() as count:
        for _ in range(100_000 // len(frame)):
            effects += node.say(HeardRecords(liar, frame))

    assert count == [1]
    assert [each.peer for each in only(effects, Bar)] == [liar]
    assert len(effects) < 10
    good = KEYS.offers("home-1", "demo")
    node.hear(good, by="one")
    assert node.held(good) == good


def half_known(number: int) -> Envelope:
    """Return what no known key has signed although fifteen seem to have, and one unknown."""
    known = [id_of(key) for role in Role for key in KEYS.keys(role)]
    signers = [*known, KeyId(f"unknown-{number}")]
    payload = KEYS.signed(KEYS.policy(generation=number)).payload
    return Envelope(payload, tuple(Signature(each, bytes(64)) for each in signers))


def test_envelopes_that_name_many_signers_are_counted_by_those() -> None:
    node = AGossip("liar")
    many = [half_known(number) for number in range(1, 200)]

    with counted_verifications() as count:
        for frame in frames(node, many):
            node.say(HeardRecords(KEYS.node_id("liar"), frame))

    assert 0 < count[0] <= CONTROL * CHECKED_AT_ONCE


def test_what_waits_unproved_is_bounded_and_so_is_its_second_look() -> None:
    node = AGossip("liar")
    for second in range(20):
        for frame in frames(node, [half_known(1 + second * 20 + each) for each in range(20)]):
            node.say(HeardRecords(KEYS.node_id("liar"), frame))
        node.after(1.0)

    with counted_verifications() as count:
        node.publish(KEYS.node("unrelated"))

    assert count == [1]


# -- what is too much --
def test_beyond_its_budget_nothing_of_a_wave_is_verified_and_the_stream_is_not_read() -> None:
    node = AGossip("one")
    many = [KEYS.signed(KEYS.node(f"n-{each}")) for each in range(200)]

    with counted_verifications() as count:
        (effects,) = (
            node.say(HeardRecords(KEYS.node_id("one"), each)) for each in frames(node, many)
        )

    assert count[0] == CONTROL * CHECKED_AT_ONCE
    assert codes(effects) == [Code.OVER_BUDGET]
    (pause,) = only(effects, Pause)
    assert (pause.peer, pause.stream) == (KEYS.node_id("one"), Stream.CONTROL)
    # probes ride on that stream: it is not read for a moment only
    assert pause.until == pytest.approx(node.now.steady + 1 / CONTROL)

    node.pass_time(pause.until - node.now.steady)
    late = KEYS.node("late")
    node.hear(late)
    assert node.held(late) == late


def test_a_flood_in_spite_of_the_pause_is_verified_no_faster() -> None:
    node = AGossip("one")
    many = [KEYS.signed(KEYS.node(f"n-{each}")) for each in range(256)]
    (frame,) = frames(node, many)

    with counted_verifications() as count:
        for _ in range(100):
            node.pass_time(0.01)
            node.say(HeardRecords(KEYS.node_id("one"), frame))

    assert count[0] <= MOST_IN_A_SECOND + 1


def test_copies_are_cheap_but_not_free() -> None:
    node = AGossip("one")
    home = KEYS.node("home-1")
    node.hear(home)
    taken = int(CONTROL * CHECKED_AT_ONCE / KNOWN_COST)
    (frame,) = frames(node, [KEYS.signed(home)] * 250)

    with counted_verifications() as count:
        effects = [
            effect
            for _ in range(taken // 250 + 1)
            for effect in node.say(HeardRecords(KEYS.node_id("one"), frame))
        ]

    assert count == [0]
    assert only(effects, Pause) != []


def test_what_was_refused_before_is_as_cheap_as_a_copy() -> None:
    node = AGossip("one")
    node.publish(next_root(KEYS, directory_0=KeyState.RETIRED))
    (frame,) = frames(node, [KEYS.signed(KEYS.node("home-1"))] * 250)

    with counted_verifications() as count:
        effects = node.say(HeardRecords(KEYS.node_id("one"), frame))

    assert count == [1]
    assert only(effects, Pause) == []


def test_what_the_disk_gave_back_is_as_cheap_as_a_copy() -> None:
    node = AGossip("one")
    home = KEYS.node("home-1")
    node.know("home-1")
    node.publish(next_root(KEYS))  # no verdict is remembered beyond another root
    (frame,) = frames(node, [KEYS.signed(home)] * 250)

    with counted_verifications() as count:
        effects = node.say(HeardRecords(KEYS.node_id("one"), frame))

    assert count == [0]
    assert only(effects, Pause) == []


def test_what_is_no_envelope_is_cheap_but_not_free() -> None:
    node = AGossip("one")
    frame = ((b"nonsense", 3, WAVE, 0),) * 250

    effects = [
        effect
        for _ in range(int(CONTROL * CHECKED_AT_ONCE / KNOWN_COST) // 250 + 1)
        for effect in node.say(HeardRecords(KEYS.node_id("one"), frame))
    ]

    assert only(effects, Pause) != []


def test_peers_have_budgets_of_their_own() -> None:
    node = AGossip("one", "other")
    many = [KEYS.signed(KEYS.node(f"n-{each}")) for each in range(200)]
    for frame in frames(node, many):
        node.say(HeardRecords(KEYS.node_id("one"), frame))

    home = KEYS.node("home-1")
    assert only(node.hear(home, by="other"), Pause) == []
    assert node.held(home) == home


def test_a_new_connection_brings_no_new_budget() -> None:
    node = AGossip("one")
    one = KEYS.node_id("one")
    many = [KEYS.signed(KEYS.node(f"n-{each}")) for each in range(200)]
    for frame in frames(node, many):
        node.say(HeardRecords(one, frame))

    node.say(PeerDown(one))
    node.say(PeerUp(one, "home", compares=False))

    assert only(node.hear(KEYS.node("home-1")), Pause) != []


def test_a_page_is_verified_to_its_end_and_the_stream_not_read_until_that_is_paid() -> None:
    one, other = AGossip("other", me="one"), AGossip("one", me="other")
    many = [KEYS.node(f"n-{each}") for each in range(400)]
    for each in many:
        one.publish(each)

    _, came = compare(one, other)

    assert one.gossip.root() == other.gossip.root()
    pauses = only(came, Pause)
    assert {each.stream for each in pauses} == {Stream.SYNC}
    sync = CHECKED[Stream.SYNC]
    debt = (400 - sync * CHECKED_AT_ONCE) / sync
    assert pauses[-1].until == pytest.approx(other.now.steady + debt)


def test_while_a_newcomer_takes_pages_in_it_hears_at_once_that_somebody_is_revoked() -> None:
    one, other = AGossip("other", me="one"), AGossip("one", me="other")
    for number in range(400):
        one.publish(KEYS.node(f"n-{number}"))
    compare(one, other)
    end = KEYS.node("n-1", generation=2, revoked=True)

    assert only(other.hear(end, by="one"), Pause) == []

    assert other.held(end) == end


# -- what is valid --
def test_1_000_valid_sequences_a_second_are_passed_on_once_in_five_seconds() -> None:
    peers = ("mint", "one", "two", "three")
    node = AGossip(*peers)
    node.know("mint", "home-1")
    effects: list[Effect] = []
    passed = 0
    seconds = 10

    with counted_verifications() as count:
        for second in range(seconds):
            start = 1000 * second + 1
            words = [
                KEYS.signed(KEYS.offers("mint", sequence=each))
                for each in range(start, start + 256)
            ]
            for peer in ("mint", "one"):  # it has an accomplice
                for frame in frames(node, words):
                    effects += node.say(HeardRecords(KEYS.node_id(peer), frame))
            other = KEYS.offers("home-1", "demo", sequence=second + 1)
            if second % 5 == 0:
                node.hear(other, by="two")
                passed += node.held(other) == other
            effects += node.after(1.0)

    taken = WINDOW_BURST + seconds / WINDOW
    mints = [each for each in only(effects, Store) if each.key.subject == KEYS.node_id("mint")]
    assert len(mints) <= taken
    assert len(only(effects, Send)) <= taken * len(peers)
    assert count[0] <= 2 * CONTROL * (seconds + CHECKED_AT_ONCE) + seconds
    assert passed == 2


def test_1_000_new_kinds_a_second_are_passed_on_no_more_often_than_one_unknown_kind() -> None:
    """Each is new to everybody, so that honest peers' budgets of each other would be used up."""
    node = AGossip("mint", "one", "two")
    node.know("mint")
    word = KEYS.offers("mint")
    effects: list[Effect] = []
    seconds = 10
    for second in range(seconds):
        for number in range(second * 1000, second * 1000 + 40):  # the lowest names are kept
            payload = payload_with(word, kind=f"x-{100_000 - number}", services=None)
            effects += node.hear(signed(payload, KEYS.node_key("mint")), by="mint")
        effects += node.after(1.0)

    taken = MOST_UNKNOWN_WORDS + 2 * seconds / WINDOW  # two that bear one number are kept
    assert MOST_UNKNOWN_WORDS <= len(only(effects, Store)) <= taken
    assert len(only(effects, Send)) <= taken * len(("one", "two"))


def test_as_many_unknown_kinds_as_are_kept_of_a_node_are_taken_at_once() -> None:
    node = AGossip("later", "one")
    node.know("later")
    word = KEYS.offers("later")
    kinds = [f"x-{number}" for number in range(MOST_UNKNOWN_WORDS)]
    words = [signed(payload_with(word, kind=kind), KEYS.node_key("later")) for kind in kinds]
    node.hear(*words, by="one")
    assert all(node.held(Key(kind, KEYS.node_id("later"))) for kind in kinds)


def test_the_directorys_flood_does_not_hold_up_what_nodes_say() -> None:
    node = AGossip("one", "other")
    node.know("home-1")
    for number in range(200):
        node.publish(KEYS.node(f"n-{number}"))

    assert only(node.hear(KEYS.offers("home-1", "demo")), Send) != []


def test_the_newest_that_was_minted_counts_in_the_end() -> None:
    node = AGossip("mint", "one")
    node.know("mint")
    words: list[Record] = [KEYS.offers("mint", sequence=each) for each in range(1, 90)]

    node.hear(*words, by="mint")
    node.after(WINDOW)

    assert node.held(words[-1]) == words[-1]


def test_two_processes_with_one_key_answer_each_other_once_in_five_seconds_at_most() -> None:
    twins = [AGossip("other", seed=seed) for seed in (1, 2)]
    for twin in twins:
        twin.know("me")
    number = 1
    said: list[Record] = [KEYS.offers("me", "first", sequence=number)]
    twins[0].publish(said[0])
    for _ in range(60):
        for at, twin in enumerate(twins):
            effects = twin.hear(*said[-4:], by="other") + twin.after(0.5)
            for again in only(effects, Reissue):
                number = max(number, again.above) + 1
                said.append(KEYS.offers("me", f"twin-{at}", sequence=number))
                twin.publish(said[-1])

    assert len(said) > 2
    assert len(said) <= 2 * (WINDOW_BURST + 60 / WINDOW) + 1


# -- what is remembered of all that --
def test_so_many_are_barred_at_once_and_no_more() -> None:
    node = AGossip()
    bad = node.item(forged(KEYS, KEYS.policy()))
    for number in range(MOST_BARRED + 5):
        node.say(HeardRecords(NodeId(f"peer-{number}"), (bad,)))

    barred = node.gossip._intake._barred
    assert len(barred) == MOST_BARRED
    assert NodeId(f"peer-{MOST_BARRED + 4}") in barred


def test_peers_that_come_and_go_leave_little_behind() -> None:
    node = AGossip("one")
    for number in range(3 * MOST_AWAY):
        peer = NodeId(f"peer-{number}")
        node.say(PeerUp(peer, "home", compares=False))
        node.say(PeerDown(peer))

    assert len(node.gossip._peers) <= MOST_AWAY + 2
    home = KEYS.node("home-1")
    assert only(node.publish(home), Send) != []  # the one that stayed


def test_of_those_that_went_the_last_are_remembered() -> None:
    node = AGossip("one")
    one = KEYS.node_id("one")
    peers = [NodeId(f"peer-{number}") for number in range(MOST_AWAY)]
    for peer in peers:
        node.say(PeerUp(peer, "home", compares=False))
        node.say(PeerDown(peer))
    for frame in frames(node, [KEYS.signed(KEYS.node(f"n-{each}")) for each in range(200)]):
        node.say(HeardRecords(one, frame))

    node.say(PeerDown(one))
    node.say(PeerUp(NodeId("another"), "home", compares=False))

    assert only(node.hear(KEYS.node("home-1")), Pause) != []


def test_who_only_probes_leaves_little_behind() -> None:
    node = AGossip()
    for number in range(3 * MOST_AWAY):
        node.say(HeardRoot(NodeId(f"peer-{number}"), bytes(16)))

    assert len(node.gossip._peers) <= MOST_AWAY + 1


def test_alarms_are_remembered_of_so_many_peers_and_no_more() -> None:
    alarms = Alarms()
    for number in range(2 * MOST_REMEMBERED):
        assert alarms.say(Code.FORGED, "", NodeId(f"peer-{number}"), 0.0)

    assert len(alarms._said) == MOST_REMEMBERED
    first = NodeId(f"peer-{MOST_REMEMBERED}")
    assert alarms.say(Code.FORGED, "", first, 90.0)
    assert alarms.say(Code.FORGED, "", NodeId("another"), 91.0)
    assert alarms.say(Code.FORGED, "", first, 92.0) == []
    assert alarms.say(Code.FORGED, "", NodeId(f"peer-{2 * MOST_REMEMBERED - 1}"), 1.0) == []


# -- whatever it is --
def mutilated(draw: st.DrawFn) -> bytes:
    """Return an envelope of which some bytes are others, or fewer."""
    record = draw(st.sampled_from([KEYS.node("home-1"), KEYS.offers("home-1"), KEYS.root()]))
    packed = bytearray(pack_envelope(KEYS.signed(record)))
    for at, byte in draw(
        st.lists(st.tuples(st.integers(0, len(packed) - 1), st.integers(0, 255)))
    ):
        packed[at] = byte
    return bytes(packed[: draw(st.integers(0, len(packed)))])


ITEMS = st.binary(max_size=64) | st.composite(mutilated)()


@settings(max_examples=50, deadline=None)
@given(st.lists(ITEMS, max_size=8))
def test_whatever_bytes_come_by_whatever_way_nothing_is_raised_and_little_held(
    packed: list[bytes],
) -> None:
    node = AGossip("one")
    node.know("home-1")
    one = KEYS.node_id("one")

    node.say(HeardRecords(one, tuple((each, 3, WAVE, 0) for each in packed)))
    node.say(HeardRoots(tuple(packed), KEYS.node_id("two")))
    for each in packed:
        node.say(Presented(bytes(32), each))
        node.say(HeardSync(KEYS.node_id("three"), Page(envelopes=(each,))))

    assert len(node.directory) <= 3
