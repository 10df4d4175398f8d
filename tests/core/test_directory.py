"""What a node makes of the records it hears: the newest counts, in whatever order they came."""

from __future__ import annotations

import itertools

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.codes import Code
from fabric.core.digests import Digests
from fabric.core.directory import MOST_LEAP, MOST_UNKNOWN_WORDS, Directory
from fabric.core.envelope import Envelope
from fabric.core.holding import Heard, Outcome
from fabric.core.identity import NodeId
from fabric.core.lifetimes import forgotten_at
from fabric.core.records import DAY, FABRIC, Key, NodeRecord, Opaque, Record
from fabric.core.update_records import HeadState
from fabric.testing.records import BORN, AFabric

FABRIC_KEYS = AFabric()
NOW = float(BORN + 60)
HOME = FABRIC_KEYS.node_id("home-1")
NODE = Key("node", HOME)
OFFERS = Key("offers", HOME)
THEIRS = NodeId("x" * 32)

_signed: dict[str, Envelope] = {}


def envelope_of(record: Record) -> Envelope:
    """Signing takes longer than everything else here, so each record is signed once."""
    spelled = repr(record)
    if isinstance(record, Opaque):
        return Envelope(spelled.encode(), envelope_of(FABRIC_KEYS.policy()).signatures)
    if spelled not in _signed:
        _signed[spelled] = FABRIC_KEYS.signed(record)
    return _signed[spelled]


def told(
    directory: Directory, *records: Record, now: float = NOW, at: float = NOW
) -> list[Outcome]:
    return [
        directory.apply(each, envelope_of(each), Heard(THEIRS, at=at), now).outcome
        for each in records
    ]


def a_directory(*records: Record, now: float = NOW) -> Directory:
    directory = Directory()
    told(directory, *records, now=now)
    return directory


def used(directory: Directory, key: Key) -> Record | None:
    held = directory.get(key)
    return held.record if held else None


# -- which of two --
def test_the_highest_generation_counts() -> None:
    old, new = FABRIC_KEYS.node("home-1"), FABRIC_KEYS.node("home-1", generation=2, area="away")
    directory = Directory()

    assert told(directory, old, new, old) == [Outcome.NEWER, Outcome.NEWER, Outcome.SUPERSEDED]
    assert used(directory, NODE) == new


def test_an_epoch_goes_before_every_generation() -> None:
    restored = FABRIC_KEYS.node("home-1", epoch=1)

    directory = a_directory(FABRIC_KEYS.node("home-1", generation=900), restored)

    assert used(directory, NODE) == restored


def test_what_is_known_changes_nothing() -> None:
    directory = a_directory(FABRIC_KEYS.offers("home-1", "demo"))
    before = directory.digests.root()

    assert told(directory, FABRIC_KEYS.offers("home-1", "demo")) == [Outcome.KNOWN]
    assert directory.digests.root() == before


def test_a_change_says_whether_something_else_counts() -> None:
    directory = Directory()
    one, other = (FABRIC_KEYS.node("home-1", area=area) for area in ("home", "away"))

    first = directory.apply(one, envelope_of(one), Heard(), NOW)
    second = directory.apply(other, envelope_of(other), Heard(), NOW)
    third = directory.apply(one, envelope_of(one), Heard(), NOW)

    assert [each.is_changed for each in (first, second, third)] == [True, True, False]


# -- order never matters --
def every_record() -> list[Record]:
    """Tombstones, equivocations of every rule, words before and after, and kinds to come."""
    fabric = FABRIC_KEYS
    life = {"expires_at": BORN + 400 * DAY}
    return [
        fabric.node("home-1"),
        fabric.node("home-1", generation=2),
        fabric.node("home-1", generation=2, area="away"),
        fabric.node("home-1", generation=3, revoked=True, **life),
        fabric.node("home-1", generation=3, area="away"),
        fabric.node("home-1", generation=3, area="far"),
        fabric.node("away-1", generation=4, revoked=True, **life),
        fabric.node("away-1", generation=3),
        fabric.service("demo", generation=5),
        fabric.service("demo", generation=6),
        fabric.service("demo", generation=6, core=True),
        fabric.service("demo", generation=4),
        fabric.offers("home-1", "a", sequence=7),
        fabric.offers("home-1", "b", sequence=7),
        fabric.offers("home-1", "c", sequence=8),
        fabric.endpoint("home-1", "192.0.2.1:1", sequence=3),
        fabric.endpoint("home-1", "192.0.2.2:1", sequence=3),
        fabric.endpoint("home-1", "192.0.2.3:1", sequence=3),
        *(fabric.head(state=state, generation=9) for state in HeadState),
        fabric.head(state=HeadState.ABORT, generation=9, audit_head=b"z" * 32),
        fabric.lease("home-1"),
        fabric.lease("home-1", token=2),
        fabric.policy(fanout=3),
        *(a_mood(f"mood-{index:02}") for index in range(MOST_UNKNOWN_WORDS + 3)),
        a_mood("mood-00", own_word=False, ordered=(0, 1)),
    ]


def a_mood(kind: str, **fields: object) -> Opaque:
    usual = {
        "v": 1,
        "kind": kind,
        "fabric": FABRIC_KEYS.id,
        "subject": HOME,
        "issued_at": BORN,
        "expires_at": BORN + 7 * DAY,
        "ordered": (0, 5),
        "own_word": True,
    }
    return Opaque(**{**usual, **fields})


EVERY = every_record()


def state_of(directory: Directory) -> object:
    return directory.digests.root(), [
        (key, used(directory, key)) for key in sorted(directory.keys())
    ]


@settings(max_examples=150, deadline=None)
@given(st.permutations(EVERY), st.lists(st.sampled_from(EVERY), max_size=20), st.randoms())
def test_no_order_of_delivery_and_no_duplicate_changes_the_result(order, again, random) -> None:
    shuffled = [*order, *again]
    random.shuffle(shuffled)

    assert state_of(a_directory(*shuffled)) == state_of(a_directory(*EVERY))


def join(one: Directory, other: Directory) -> Directory:
    """What a node holds that heard of everything in both."""
    joined = Directory()
    for each in (one, other):
        for key in tuple(each.keys()):
            holding = each.holding(key)
            levels = [holding.top, *([holding.below] if holding.below else [])]
            told(joined, *(held.record for level in levels for held in level.held))
    return joined


some = st.lists(st.sampled_from(EVERY), max_size=12)


@settings(max_examples=100, deadline=None)
@given(some, some, some)
def test_merging_is_commutative_associative_and_idempotent(a, b, c) -> None:
    one, two, three = (a_directory(*each) for each in (a, b, c))

    assert state_of(join(one, two)) == state_of(join(two, one))
    assert state_of(join(join(one, two), three)) == state_of(join(one, join(two, three)))
    assert state_of(join(one, one)) == state_of(one)


@settings(max_examples=60, deadline=None)
@given(some)
def test_the_root_that_is_kept_up_to_date_is_the_root_counted_anew(records) -> None:
    directory = a_directory(*records)
    anew = Digests()
    for key in sorted(directory.keys(), reverse=True):
        anew.put(key, directory.holding(key).digest)

    assert directory.digests.root() == anew.root()


# -- equivocation --
def three_of_one_number(*, kind: str) -> list[Record]:
    fabric = FABRIC_KEYS
    if kind == "node":
        return [fabric.node("home-1", generation=5, area=area) for area in "abc"]
    return [fabric.offers("home-1", service, sequence=5) for service in "abc"]


@pytest.mark.parametrize("kind", ["node", "offers"])
def test_whichever_pair_proves_an_equivocation_all_hold_the_same(kind: str) -> None:
    three = three_of_one_number(kind=kind)

    roots = {a_directory(*pair).digests.root() for pair in itertools.permutations(three, 2)}

    assert len(roots) == 1
    assert roots == {a_directory(*three).digests.root()}
    assert a_directory(three[0]).digests.root() not in roots


def test_an_equivocation_is_told_once_and_a_third_payload_proves_nothing_more() -> None:
    three = three_of_one_number(kind="offers")

    assert told(Directory(), *three, *three)[1:] == [Outcome.EQUIVOCATED, *[Outcome.KNOWN] * 4]


def test_a_node_that_says_two_things_says_nothing_until_it_says_something_newer() -> None:
    one, other, _ = three_of_one_number(kind="offers")
    directory = a_directory(FABRIC_KEYS.offers("home-1", sequence=4), one, other)
    assert used(directory, OFFERS) is None
    assert directory.is_disputed(OFFERS)

    newer = FABRIC_KEYS.offers("home-1", "d", sequence=6)
    told(directory, newer)

    assert used(directory, OFFERS) == newer


def test_where_the_directory_says_two_things_the_last_good_generation_stays_in_use() -> None:
    good = FABRIC_KEYS.node("home-1", generation=4)

    directory = a_directory(good, *three_of_one_number(kind="node"))

    assert used(directory, NODE) == good
    assert directory.is_disputed(NODE)


def test_the_last_good_generation_may_come_after_the_two_that_contend() -> None:
    good, older = (FABRIC_KEYS.node("home-1", generation=each) for each in (4, 3))
    directory = a_directory(older, *three_of_one_number(kind="node"))

    assert told(directory, good) == [Outcome.BENEATH]
    assert used(directory, NODE) == good


def test_a_revoked_node_that_is_contended_about_stays_as_it_was() -> None:
    gone = FABRIC_KEYS.node("home-1", generation=4, revoked=True)

    directory = a_directory(gone, *three_of_one_number(kind="node"))

    assert used(directory, NODE) == gone


@pytest.mark.parametrize(
    "pair",
    [
        [FABRIC_KEYS.lease("home-1", token=token) for token in (1, 2)],
        [FABRIC_KEYS.intent("home-1", selector=text) for text in "ab"],
        [FABRIC_KEYS.head(audit_head=octet * 32) for octet in (b"a", b"b")],
        [FABRIC_KEYS.root(expires_at=BORN + years * 365 * DAY) for years in (1, 2)],
    ],
    ids=["lease", "update_intent", "update_head", "trust_root"],
)
def test_what_may_start_something_is_blocked_while_two_contend(pair: list[Record]) -> None:
    earlier = FABRIC_KEYS.lease("home-1", subject="another")

    directory = a_directory(earlier, *pair)

    assert used(directory, pair[0].key) is None


@pytest.mark.parametrize("order", list(itertools.permutations(HeadState)))
def test_of_heads_at_one_number_abort_goes_before_pause_before_run(order) -> None:
    heads = {state: FABRIC_KEYS.head(state=state, generation=9) for state in order}
    directory = Directory()

    outcomes = told(directory, *heads.values())

    assert used(directory, Key("update_head", "fabric")) == heads[HeadState.ABORT]
    assert Outcome.EQUIVOCATED not in outcomes, "orchestrator and recovery may both be right"


def test_two_aborts_at_one_number_still_abort() -> None:
    heads = [
        FABRIC_KEYS.head(state=HeadState.ABORT, audit_head=each * 32) for each in (b"a", b"b")
    ]

    head = used(a_directory(*heads), heads[0].key)

    assert head is not None
    assert head.state is HeadState.ABORT


# -- leaps --
def test_a_generation_far_beyond_the_one_held_is_refused() -> None:
    directory = a_directory(FABRIC_KEYS.node("home-1", generation=7))
    far = FABRIC_KEYS.node("home-1", generation=7 + MOST_LEAP + 1)

    assert told(directory, far) == [Outcome.LEAP]
    assert Outcome.LEAP.code is Code.GENERATION_LEAP
    assert told(directory, FABRIC_KEYS.node("home-1", generation=7 + MOST_LEAP)) == [Outcome.NEWER]


def test_the_next_epoch_may_begin_at_any_generation() -> None:
    directory = a_directory(FABRIC_KEYS.node("home-1", generation=7))
    next_epoch = FABRIC_KEYS.node("home-1", epoch=1, generation=8 + MOST_LEAP)

    assert told(directory, next_epoch) == [Outcome.NEWER]


def test_a_node_may_go_on_from_any_sequence() -> None:
    directory = a_directory(FABRIC_KEYS.offers("home-1", sequence=7))

    assert told(directory, FABRIC_KEYS.offers("home-1", sequence=BORN)) == [Outcome.NEWER]


def test_what_the_directory_says_in_a_kind_to_come_is_above_any_word_of_a_node() -> None:
    word = a_mood("mood", ordered=(0, 2**50))
    said = a_mood("mood", own_word=False, ordered=(0, 1))

    assert used(a_directory(said, word), word.key) == said
    assert used(a_directory(word, said), word.key) == said


# -- the end of a key --
def test_a_node_is_forgotten_sixty_days_after_its_end_when_the_utc_day_is_over() -> None:
    record = FABRIC_KEYS.node("home-1")
    directory = a_directory(record)
    last = forgotten_at(record)
    assert last % DAY == 0
    assert 0 <= last - (record.expires_at + 60 * DAY) < DAY

    assert directory.forget(last - 1) == []
    assert used(directory, NODE) == record, "expired records stay until then"
    assert directory.forget(last) == [NODE]
    assert used(directory, NODE) is None
    assert directory.digests.root() == Directory().digests.root()


def test_what_expired_is_in_the_digests_until_it_is_forgotten() -> None:
    record = FABRIC_KEYS.offers("home-1", "demo")
    directory = a_directory(FABRIC_KEYS.node("home-1"), record)
    before = directory.digests.root()

    directory.forget(record.expires_at + 29 * DAY)

    assert directory.digests.root() == before


def test_a_late_node_brings_nothing_back() -> None:
    live = FABRIC_KEYS.node("home-1")
    gone = FABRIC_KEYS.node(
        "home-1", generation=2, revoked=True, expires_at=live.expires_at + 7 * DAY
    )
    directory = a_directory(gone)
    last = float(forgotten_at(gone))
    directory.forget(last)

    assert told(directory, live, gone, now=last) == [Outcome.TOO_OLD, Outcome.TOO_OLD]
    assert Outcome.TOO_OLD.code is Code.RECORD_TOO_OLD
    assert len(directory) == 0


@pytest.mark.parametrize("first", ["live", "tombstone"])
def test_a_tombstone_outlives_the_latest_expiry_ever_seen_for_its_key(first: str) -> None:
    live = FABRIC_KEYS.node("home-1", expires_at=BORN + 170 * DAY)
    gone = FABRIC_KEYS.node("home-1", generation=2, revoked=True, expires_at=BORN + 20 * DAY)
    directory = a_directory(*((live, gone) if first == "live" else (gone, live)))

    directory.forget(forgotten_at(gone) + 10 * DAY)
    late = live.expires_at + 7.0 * DAY

    assert told(directory, live, now=live.expires_at - 1.0) == [Outcome.SUPERSEDED]
    assert told(directory, live, now=late) == [Outcome.SUPERSEDED]
    assert used(directory, NODE) is None
    assert directory.digests.root() == Directory().digests.root(), "others may not know of it"


def test_what_is_only_remembered_makes_room_for_something_newer() -> None:
    live = FABRIC_KEYS.node("home-1", expires_at=BORN + 170 * DAY)
    gone = FABRIC_KEYS.node("home-1", generation=2, revoked=True, expires_at=BORN + 20 * DAY)
    directory = a_directory(live, gone)
    now = forgotten_at(gone) + 10.0 * DAY
    directory.forget(now)
    again = FABRIC_KEYS.node("home-1", generation=3, expires_at=BORN + 170 * DAY)

    assert told(directory, again, now=now) == [Outcome.NEWER]
    assert used(directory, NODE) == again


def test_a_memory_ends_with_the_last_day_of_what_it_keeps_out() -> None:
    live = FABRIC_KEYS.node("home-1", expires_at=BORN + 170 * DAY)
    gone = FABRIC_KEYS.node("home-1", generation=2, revoked=True, expires_at=BORN + 20 * DAY)
    directory = a_directory(live, gone)
    directory.forget(forgotten_at(gone))
    directory.forget(forgotten_at(live))

    assert not directory._remembered


def test_the_words_of_a_node_go_with_its_record() -> None:
    node = FABRIC_KEYS.node("home-1", expires_at=BORN + DAY)
    directory = a_directory(node, FABRIC_KEYS.offers("home-1", "demo"), a_mood("mood"))

    gone = directory.forget(forgotten_at(node))

    assert sorted(gone) == sorted([NODE, OFFERS, Key("mood", HOME)])
    assert len(directory) == 0


def test_a_clock_that_was_ahead_for_a_while_stops_no_forgetting() -> None:
    record = FABRIC_KEYS.offers("home-1")
    directory = a_directory()
    directory.forget(NOW + 40_000 * DAY)
    directory.forget(NOW)
    told(directory, record)

    assert directory.forget(forgotten_at(record)) == [OFFERS]


# -- bounds --
def test_of_kinds_to_come_a_node_may_fill_only_a_few() -> None:
    moods = [a_mood(f"mood-{index:04}") for index in range(100)]

    directory = a_directory(*reversed(moods))

    assert len(directory) == MOST_UNKNOWN_WORDS
    assert told(directory, moods[50]) == [Outcome.FULL]
    assert used(directory, moods[0].key) == moods[0]


def test_what_a_word_displaces_is_told() -> None:
    first, *others = (a_mood(f"mood-{index}") for index in range(MOST_UNKNOWN_WORDS + 1))
    directory = a_directory(*others)

    applied = directory.apply(first, envelope_of(first), Heard(), NOW)

    assert applied.dropped == (others[-1].key,)


def test_no_more_keys_are_held_than_may_be(monkeypatch) -> None:
    monkeypatch.setattr("fabric.core.directory.MOST_KEYS", 2)
    directory = a_directory(FABRIC_KEYS.service("a"), FABRIC_KEYS.service("b"))

    assert told(directory, FABRIC_KEYS.service("c")) == [Outcome.FULL]
    assert told(directory, FABRIC_KEYS.service("a", generation=2)) == [Outcome.NEWER]


# -- another trust root --
def test_what_is_not_good_any_more_goes_out_of_use_at_once() -> None:
    bad, good = FABRIC_KEYS.node("home-1", generation=2), FABRIC_KEYS.service("demo")
    directory = a_directory(bad, good)

    changed = directory.recheck(lambda _envelope, record: record != bad)

    assert changed == [NODE]
    assert used(directory, NODE) is None
    assert used(directory, good.key) == good
    assert directory.digests.root() == a_directory(good).digests.root()


def test_a_nodes_words_go_with_its_record_when_that_is_not_good_any_more() -> None:
    node, word = FABRIC_KEYS.node("home-1"), FABRIC_KEYS.offers("home-1", "demo")
    directory = a_directory(node, word, FABRIC_KEYS.policy())

    changed = directory.recheck(lambda _envelope, record: record != node)

    assert changed == [NODE, OFFERS]
    assert directory.digests.root() == a_directory(FABRIC_KEYS.policy()).digests.root()


def test_the_generation_below_one_that_is_not_good_any_more_counts_again() -> None:
    bad, good = FABRIC_KEYS.node("home-1", generation=2), FABRIC_KEYS.node("home-1")
    directory = a_directory(good, bad)

    directory.recheck(lambda _envelope, record: record != bad)

    assert used(directory, NODE) == good


def test_an_equivocation_ends_when_one_of_the_two_is_not_good_any_more() -> None:
    one, other, _ = three_of_one_number(kind="node")
    directory = a_directory(one, other)

    directory.recheck(lambda _envelope, record: record != one)

    assert used(directory, NODE) == other


# -- asking --
def renamed(node: NodeRecord, name: str) -> NodeRecord:
    return evolve(node, name=name)


def test_members_are_found_by_id_and_by_name_until_they_are_revoked() -> None:
    node = FABRIC_KEYS.node("home-1")
    directory = a_directory(node)
    assert directory.members() == {HOME: node}
    assert directory.member_named("home-1") == node

    another = renamed(FABRIC_KEYS.node("home-1", generation=2), "home-2")
    told(directory, another)
    assert directory.member_named("home-1") is None
    assert directory.member_named("home-2") == another

    told(directory, renamed(FABRIC_KEYS.node("home-1", generation=3, revoked=True), "home-2"))
    assert directory.members() == {}
    assert directory.member_named("home-2") is None


def test_of_two_nodes_with_one_name_everybody_finds_the_same() -> None:
    nodes = [renamed(FABRIC_KEYS.node(each), "twin") for each in ("home-1", "home-2")]
    lowest = min(nodes, key=lambda node: node.node_id)

    for order in itertools.permutations(nodes):
        assert a_directory(*order).member_named("twin") == lowest


def test_the_words_of_a_revoked_node_can_still_be_verified() -> None:
    live = FABRIC_KEYS.node("home-1")
    directory = a_directory(FABRIC_KEYS.node("home-1", generation=2, revoked=True))

    assert directory.key_of(HOME) == live.key_bytes
    assert directory.key_of(THEIRS) is None


def test_the_next_sequence_is_above_what_is_held_and_not_before_the_clock() -> None:
    directory = a_directory(FABRIC_KEYS.offers("home-1", sequence=BORN + 900))

    assert directory.next_sequence(OFFERS, NOW) == BORN + 901
    assert directory.next_sequence(Key("endpoint", HOME), NOW) == int(NOW) + 1


def test_what_came_from_disk_is_unconfirmed_until_somebody_sends_it() -> None:
    record = FABRIC_KEYS.policy()
    directory = Directory()
    directory.apply(record, envelope_of(record), Heard(), NOW)
    directory.unconfirmed.add(record.key)

    told(directory, record)

    assert not directory.unconfirmed
    assert record.subject == FABRIC
