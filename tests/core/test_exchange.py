"""Anti-entropy between whole directories: what travels, in which order, and what does not."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.codes import Code
from fabric.core import exchange as exchange_module
from fabric.core.codec.envelopes import pack_envelope
from fabric.core.exchange import (
    AVOIDED_FOR,
    LEAST_DELAY,
    Rest,
)
from fabric.core.frames import Buckets, Listing, Page, Root, Want
from fabric.core.records import DAY, NODE
from fabric.core.roots import MOST_ROOTS
from fabric.core.sync import Broken, Done, Send, Take
from fabric.testing.factories import some_frames
from fabric.testing.records import BORN
from tests.core.an_end import (
    FABRIC,
    FIRST,
    STRANGER,
    Node,
    a_chain,
    a_fabric_of,
    compare,
    envelope_of,
    linked,
    run,
    wait,
    who_refuse,
)


# -- what travels --
def test_a_newcomer_is_given_everything_in_an_order_in_which_it_can_be_verified() -> None:
    names = [f"home-{n}" for n in range(30)]
    newcomer, old = linked(Node(), Node(*a_fabric_of(*names), roots=a_chain(3)))

    compare(newcomer, old)

    assert newcomer.root == old.root
    assert newcomer.refused == []
    kinds = [each.key.kind for each in newcomer.came]
    assert kinds[:2] == ["trust_root"] * 2
    assert kinds[2:32] == ["node"] * 30
    assert sorted(set(kinds[32:])) == ["offers", "policy", "service"]
    assert [each.version for each in newcomer.came[:2]] == [2, 3]


def test_each_gets_what_only_the_other_has() -> None:
    ours, theirs = a_fabric_of("home-1", "home-2"), a_fabric_of("home-2", "home-3")
    one, other = linked(Node(*ours), Node(*theirs))

    compare(one, other)

    assert one.root == other.root
    assert [one.used(each) for each in theirs] == theirs
    assert [other.used(each) for each in ours] == ours


def test_of_two_at_one_key_both_keep_the_newer() -> None:
    old, new = FABRIC.node("home-1"), FABRIC.node("home-1", generation=2, area="away")
    for ours, theirs in ((old, new), (new, old)):
        one, other = linked(Node(ours), Node(theirs))

        compare(one, other)

        assert one.used(new) == other.used(new) == new
        assert one.root == other.root


def test_a_tombstone_travels_as_all_else() -> None:
    node, word = FABRIC.node("home-1"), FABRIC.offers("home-1", "demo")
    end = FABRIC.node("home-1", generation=2, revoked=True, expires_at=BORN + 98 * DAY)
    one, other = linked(Node(node, word), Node(end))

    compare(one, other)

    assert one.used(node) == end
    assert one.root == other.root
    assert not one.directory.members()


def test_a_proof_of_two_words_under_one_number_travels_whole() -> None:
    words = [FABRIC.policy(generation=g, fanout=f) for g in (3, 4) for f in (3, 4)]
    one, other = linked(Node(), Node(*words))

    compare(one, other)

    assert one.directory.holding(words[0].key) == other.directory.holding(words[0].key)
    assert len(one.came) == 4


def test_a_directory_full_of_such_proofs_breaks_no_round() -> None:
    words = [
        FABRIC.service(f"s{n}", generation=g, core=core)
        for n in range(40)
        for g in (1, 2)
        for core in (True, False)
    ]
    one, other = linked(Node(), Node(*words))

    compare(one, other)

    assert len(one.came) == 160
    assert one.root == other.root


def test_expired_records_are_given_too() -> None:
    expired = FABRIC.service("demo", issued_at=BORN - 100 * DAY)
    one, other = linked(Node(), Node(expired))

    compare(one, other)

    assert one.used(expired) == expired


def test_each_node_begins_its_pages_somewhere_else() -> None:
    records = a_fabric_of(*(f"home-{n}" for n in range(12)))
    orders = []
    for offset in (0, 1 << 63):
        one, other = linked(Node(), Node(*records, offset=offset))
        compare(one, other)
        orders.append([each.key for each in one.came])

    nodes, rest = ([order[:12] for order in orders], [order[12:] for order in orders])
    for first, second in (nodes, rest):
        assert first != second
        assert set(first) == set(second)
    assert {key.kind for key in nodes[1]} == {"node"}


# -- trust roots --
def test_a_node_that_slept_is_led_along_sixteen_roots_at_a_time() -> None:
    roots = a_chain(40)
    sleeper, other = linked(Node(roots=roots[:5]), Node(FABRIC.policy(), roots=roots))

    versions = []
    for _ in range(3):
        assert sleeper.hear_root()  # who gains does not wait
        run(sleeper, other)
        wait(LEAST_DELAY, sleeper, other)
        versions.append(sleeper.trust.root.version)

    assert versions == [5 + MOST_ROOTS, 5 + 2 * MOST_ROOTS, 40]
    assert sleeper.root == other.root
    assert Code.ROOT_NOT_CONSECUTIVE not in sleeper.refused


def test_who_holds_no_root_in_its_directory_is_given_the_last_sixteen() -> None:
    roots = a_chain(20)
    newcomer = Node(roots=roots[:4], holds_root=False)
    linked(newcomer, Node(roots=roots))

    compare(newcomer, newcomer.other)

    assert newcomer.trust.root.version == 20
    assert [each.version for each in newcomer.came] == list(range(5, 21))


def test_a_chain_that_was_never_longer_than_one_is_given_whole() -> None:
    newcomer, other = linked(Node(holds_root=False), Node())

    compare(newcomer, other)

    assert newcomer.used(FIRST) == FIRST


def test_a_root_of_which_the_node_knows_nothing_is_answered_with_what_is_held() -> None:
    ahead, behind = linked(Node(roots=a_chain(9)), Node(roots=a_chain(2)))

    compare(behind, ahead)

    assert behind.trust.root.version == 9
    assert [each.version for each in ahead.came] == [1, 2]


def test_what_came_before_a_new_root_is_asked_for_again_at_once() -> None:
    late = FABRIC.policy()
    sleeper = Node(roots=a_chain(1))
    other = Node(roots=a_chain(2))
    other.hold(late, keys=[STRANGER])  # pretend that only the second root knows this key
    linked(sleeper, other)

    compare(sleeper, other)
    assert sleeper.trust.root.version == 2
    assert sleeper.refused == [Code.UNKNOWN_SIGNER]
    wait(LEAST_DELAY, sleeper, other)
    compare(sleeper, other)
    assert sleeper.wanted() == 1
    wait(LEAST_DELAY, sleeper, other)
    compare(sleeper, other)
    assert sleeper.wanted() == 0


# -- what came to no avail --
def test_what_was_refused_is_not_asked_for_again_for_a_while() -> None:
    one, other = who_refuse()

    wanted = []
    for pause in (1.0, 1.0, AVOIDED_FOR - 2.5, 0.5, 1.0):
        compare(one, other)
        wanted.append(one.wanted())
        wait(pause, one, other)

    assert wanted == [1, 0, 0, 0, 1]
    assert one.refused == [Code.UNKNOWN_SIGNER] * 2


def test_another_record_at_the_same_key_is_asked_for_at_once() -> None:
    one, other = who_refuse()
    compare(one, other)
    wait(LEAST_DELAY, one, other)
    good = FABRIC.service("s0", generation=2)

    other.hold(good)
    compare(one, other)

    assert one.used(good) == good


def test_another_trust_root_is_reason_enough_to_ask_again() -> None:
    one, other = who_refuse()
    compare(one, other)
    wait(LEAST_DELAY, one, other)

    assert not one.hear_root()
    one.exchange.forgive()
    assert one.hear_root()
    run(one, other)

    assert one.wanted() == 1


def test_no_more_is_remembered_as_refused_than_may_be(monkeypatch) -> None:
    monkeypatch.setattr(exchange_module, "MOST_AVOIDED", 3)
    one, other = who_refuse(8)

    compare(one, other)
    wait(LEAST_DELAY, one, other)
    compare(one, other)

    assert one.wanted() == 5


def test_what_came_is_not_remembered_as_refused(monkeypatch) -> None:
    monkeypatch.setattr(exchange_module, "MOST_AVOIDED", 1)
    one, other = who_refuse()
    other.hold(*(FABRIC.service(f"good-{n}") for n in range(20)))

    compare(one, other)
    wait(LEAST_DELAY, one, other)
    compare(one, other)

    assert one.wanted() == 0


# -- both ends, whatever they hold --
def every_record():
    life = {"expires_at": BORN + 98 * DAY}
    return [
        *(FABRIC.node(f"home-{n}") for n in range(4)),
        FABRIC.node("home-1", generation=2, area="away"),
        FABRIC.node("home-2", generation=2, revoked=True, **life),
        FABRIC.node("home-3", generation=1, area="far"),
        *(FABRIC.offers(f"home-{n}", "demo") for n in range(4)),
        FABRIC.offers("home-0", "other", sequence=2),
        FABRIC.offers("home-0", "third", sequence=2),
        FABRIC.endpoint("home-0", "192.0.2.1:1"),
        FABRIC.service("demo"),
        FABRIC.service("demo", generation=2, core=True),
        FABRIC.service("demo", generation=2),
        FABRIC.service("gone", generation=3, revoked=True, **life),
        FABRIC.service("gone", generation=2),
        FABRIC.policy(),
        FABRIC.policy(generation=2, fanout=3),
        FABRIC.control_endpoints(),
        FABRIC.head(),
        FABRIC.lease("home-0"),
    ]


EVERY = every_record()
HELD = st.sets(st.integers(0, len(EVERY) - 1))
STEPS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, len(EVERY) - 1)), max_size=30)


def step(nodes, choice, index):
    node = nodes[choice % 2]
    match choice // 2:
        case 0 if node.inbox:
            node.read()
        case 1 if node.is_writing:
            node.written()
        case 2 if index % 3 == 0:
            node.hold(*with_authors([EVERY[index]]))
        case 2:
            node.begin()


def with_authors(records):
    """Return *records*, and the node records without which no node's words are held."""
    authors = {each.subject for each in records if NODE in each.authors}
    return [*(each for each in EVERY[:4] if each.subject in authors), *records]


def holding_node(indices, offset):
    return Node(*with_authors([EVERY[index] for index in sorted(indices)]), offset=offset)


def settle(nodes):
    for _ in range(12):
        run(*nodes)
        if nodes[0].root == nodes[1].root:
            return
        wait(1.0, *nodes)
        for node in nodes:
            node.hear_root()
    raise AssertionError("the two do not come to hold the same")


@settings(max_examples=60, deadline=None)
@given(one=HELD, other=HELD, steps=STEPS)
def test_any_two_nodes_come_to_hold_the_same(one, other, steps) -> None:
    nodes = linked(holding_node(one, 0), holding_node(other, 1 << 60))
    nodes[0].begin()
    for each in steps:
        step(nodes, *each)

    settle(nodes)

    assert all(nodes[0].used(each) == nodes[1].used(each) for each in EVERY)


@settings(max_examples=40, deadline=None)
@given(one=HELD, other=HELD, steps=STEPS)
def test_any_round_that_is_lost_midway_is_made_good_by_the_next(one, other, steps) -> None:
    nodes = linked(holding_node(one, 0), holding_node(other, 1 << 60))
    nodes[0].begin()
    for each in steps:
        step(nodes, *each)

    for node in nodes:
        node.restart()
    wait(LEAST_DELAY, *nodes)
    settle(nodes)

    assert not nodes[0].hear_root()


# -- a peer that says anything at all --
GOOD = [pack_envelope(envelope_of(each)) for each in EVERY]
FRAMES = st.one_of(
    st.sampled_from(some_frames()),
    st.sampled_from([Root(root=b"r" * 16), Buckets(digests=b"d" * 2048), Want(keys=())]),
    st.integers(0, 255).map(lambda bucket: Listing(bucket=bucket, entries=b"", is_last=True)),
    st.lists(st.one_of(st.sampled_from(GOOD), st.binary(max_size=40)), max_size=4).map(
        lambda envelopes: Page(envelopes=tuple(envelopes))
    ),
)


@settings(max_examples=60, deadline=None)
@given(frames=st.lists(FRAMES, max_size=12), walks=st.booleans())
def test_whatever_a_peer_sends_comes_out_as_effects(frames, walks) -> None:
    one, _other = linked(Node(*EVERY[:4]), Node())
    path = [Root(root=b"r" * 16), Buckets(digests=b"d" * 2048)]
    path += [Listing(bucket=each, entries=bytes([each]) * 32, is_last=True) for each in range(256)]
    for frame in [*(path if walks else ()), Want(keys=()), *frames]:
        effects = one.tell(one.exchange.receive(frame, one.now))
        assert all(isinstance(each, Send | Take | Done | Broken | Rest) for each in effects)
        one.written()
