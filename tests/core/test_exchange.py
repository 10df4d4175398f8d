"""Anti-entropy between whole directories: who asks whom, when, for what, and how often."""

from collections import deque

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.codes import Code
from fabric.core import exchange as exchange_module
from fabric.core.clocks import Times
from fabric.core.codec import encode
from fabric.core.codec.envelopes import pack_envelope, unpack_envelope
from fabric.core.directory import Directory
from fabric.core.exchange import (
    AVOIDED_FOR,
    GIVEN,
    LEAST_DELAY,
    MOST_DELAY,
    MOST_REST,
    ROUNDS,
    Exchange,
    Rest,
)
from fabric.core.frames import Buckets, Listing, Page, Root, Want
from fabric.core.holding import Heard
from fabric.core.identity import NodeId
from fabric.core.records import DAY, NODE, TrustRoot
from fabric.core.roots import MOST_ROOTS
from fabric.core.sync import PATIENCE, Broken, Done, Send, Take
from fabric.core.trust import Accepted, Adopted, Trust
from fabric.errors import RecordError
from fabric.testing.factories import some_frames
from fabric.testing.records import BORN, AFabric, a_key_of

FABRIC = AFabric()
CLOCK = Times(BORN + 60)
THEIRS = NodeId("x" * 32)
FIRST = FABRIC.root()
STRANGER = a_key_of("directory/of another root")

_signed = {}


def envelope_of(record, *keys):
    """Signing takes longer than all else here, so each record is signed once."""
    spelled = repr(record), keys
    if spelled not in _signed:
        _signed[spelled] = FABRIC.signed(record, *keys)
    return _signed[spelled]


def a_chain(length):
    """Return the trust roots of version 1 to *length*."""
    return [evolve(FIRST, version=version) for version in range(1, length + 1)]


class Node:
    """One end: an exchange over a directory of its own, and as much of gossip as it needs."""

    def __init__(self, *records, roots=(FIRST,), offset=0, holds_root=True):
        self.directory = Directory()
        self.trust = Trust(FABRIC.id, envelope_of(roots[0]))
        for root in roots:
            self.trust.adopt([envelope_of(root)], CLOCK)
        self.exchange = Exchange(self.directory, self.trust, offset=offset)
        self.now = 0.0
        self.restart()
        if holds_root:
            self.hold(roots[-1])
        self.hold(*records)

    def restart(self):
        """Whatever was on its way is lost."""
        self.exchange.restart()
        self.inbox, self.is_writing = deque(), False
        self.effects, self.sent, self.came, self.refused = [], [], [], []

    def hold(self, *records, keys=()):
        """Hold *records* without asking whether they may be."""
        for record in records:
            self.keep(record, envelope_of(record, *keys))

    def keep(self, record, envelope):
        outcome = self.directory.apply(record, envelope, Heard(THEIRS), CLOCK.now).outcome
        return outcome.is_kept

    # -- as gossip does --
    def take(self, packed):
        try:
            envelope = unpack_envelope(packed)
        except RecordError as error:
            self.refused.append(error.code)
            return
        match self.trust.judge(envelope, CLOCK, key_of=self.directory.key_of):
            case Accepted(record=record):
                self.came.append(record)
                self.follow(record, envelope)
                if self.keep(record, envelope):
                    self.exchange.gained()
            case rejected:
                self.refused.append(rejected.code)

    def follow(self, record, envelope):
        if isinstance(record, TrustRoot):
            adopted = self.trust.adopt([envelope], CLOCK)
            if any(isinstance(each, Adopted) for each in adopted):
                self.exchange.forgive()

    def tell(self, effects):
        for effect in effects:
            self.effects.append(effect)
            match effect:
                case Send(frame):
                    self.is_writing = True
                    self.sent.append(frame)
                    self.other.inbox.append(frame)
                case Take(envelopes):
                    for each in envelopes:
                        self.take(each)
                case Done():
                    self.tell(self.exchange.ended(effect, self.now))
        return effects

    def begin(self):
        return self.tell(self.exchange.begin(self.now))

    def hear_root(self):
        """Hear on a probe what the other holds; return whether a round began for it."""
        return bool(self.tell(self.exchange.hear_root(self.other.root, self.now)))

    def read(self):
        return self.tell(self.exchange.receive(self.inbox.popleft(), self.now))

    def written(self):
        self.is_writing = False
        return self.tell(self.exchange.written(self.now))

    def wait(self, seconds):
        self.now += seconds
        return self.tell(self.exchange.tick(self.now))

    # -- what there is to see --
    @property
    def root(self):
        return self.directory.digests.root()

    def of(self, kind):
        return [each for each in self.effects if isinstance(each, kind)]

    def used(self, record):
        held = self.directory.get(record.key)
        return held and held.record

    def wanted(self):
        """Return how many records it asked for in its last round."""
        return len(self.of(Done)[-1].wanted)


def linked(one, other):
    one.other, other.other = other, one
    return one, other


def run(*nodes):
    while busy := [each for each in nodes if each.inbox or each.is_writing]:
        for node in busy:
            if node.inbox:
                node.read()
            if node.is_writing:
                node.written()
    assert not any(each.of(Broken) for each in nodes)


def compare(one, other):
    """Let *one* begin a round now, and both end it."""
    assert one.begin()
    run(one, other)


def wait(seconds, *nodes):
    for node in nodes:
        node.wait(seconds)


def a_fabric_of(*names):
    nodes = [FABRIC.node(name) for name in names]
    words = [FABRIC.offers(name, "demo") for name in names]
    return [*nodes, *words, FABRIC.service("demo"), FABRIC.policy()]


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
def who_refuse(number=1):
    """Return a node, and another that holds *number* records which the first refuses."""
    other = Node()
    other.hold(*(FABRIC.service(f"s{n}") for n in range(number)), keys=[STRANGER])
    return linked(Node(), other)


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


# -- when --
def test_equal_roots_begin_nothing() -> None:
    one, _other = linked(Node(FABRIC.policy()), Node(FABRIC.policy()))

    assert not one.hear_root()


def test_a_root_that_differs_begins_a_round_at_once() -> None:
    one, other = linked(Node(), Node(FABRIC.policy()))

    assert one.hear_root()
    run(one, other)
    assert one.root == other.root
    assert not one.hear_root()


def test_no_second_round_begins_while_one_is_under_way() -> None:
    one, _other = linked(Node(), Node(FABRIC.policy()))

    assert one.hear_root()
    one.wait(10.0)
    assert not one.hear_root()
    assert one.sent == [Root(root=one.root)]


def times_of_rounds(one, other, seconds):
    """Probe four times a second, and return when *one* began a round."""
    times = []
    for _ in range(int(seconds * 4)):
        if one.hear_root():
            times.append(one.now)
            run(one, other)
        wait(0.25, one, other)
    return times


def test_rounds_that_bring_nothing_come_ever_more_rarely() -> None:
    one, other = who_refuse()

    times = times_of_rounds(one, other, 250)

    assert times == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243]
    assert MOST_DELAY == 60


def test_what_has_changed_at_either_end_is_compared_at_once() -> None:
    one, other = who_refuse()
    times_of_rounds(one, other, 20)
    assert not one.hear_root()

    other.hold(FABRIC.policy())
    assert one.hear_root()
    run(one, other)
    wait(LEAST_DELAY, one, other)
    one.hold(FABRIC.service("new"))
    assert one.hear_root()
    run(one, other)
    assert one.used(FABRIC.policy())
    assert other.used(FABRIC.service("new"))


def test_a_newcomer_that_gains_waits_for_nothing_but_the_next_probe() -> None:
    one, other = who_refuse()
    for number in range(6):
        other.hold(FABRIC.policy(generation=number + 1))
        assert times_of_rounds(one, other, 0.5)[:1] == [one.now - 0.5]


def test_a_round_that_brings_nothing_after_one_that_did_is_the_first_of_its_kind() -> None:
    one, other = who_refuse()
    other.hold(FABRIC.policy())

    assert times_of_rounds(one, other, 8) == [0, 0.25, 1.25, 3.25, 7.25]


def test_a_difference_that_comes_back_is_compared_at_once() -> None:
    one, other = who_refuse()
    times_of_rounds(one, other, 20)
    assert not one.hear_root()

    one.exchange.hear_root(one.root, one.now)

    assert one.hear_root()


def test_two_nodes_that_hold_the_same_again_begin_afresh() -> None:
    one, other = who_refuse()
    times_of_rounds(one, other, 20)
    one.hold(FABRIC.service("s0"), keys=[STRANGER])
    assert not one.hear_root()  # nothing differs

    other.hold(FABRIC.service("s1"), keys=[STRANGER])
    start = one.now
    assert [at - start for at in times_of_rounds(one, other, 8)] == [0, 1, 3, 7]


def test_two_rounds_of_one_beginning_are_some_time_apart() -> None:
    one, other = linked(Node(), Node(FABRIC.policy()))
    compare(one, other)

    other.hold(FABRIC.service("demo"))
    assert not one.hear_root()
    one.wait(LEAST_DELAY)
    assert one.hear_root()


# -- rounds that break --
def broken(node):
    return node.tell(node.exchange.receive(Page(envelopes=()), node.now))


def test_a_broken_round_is_told_and_ends_the_stream() -> None:
    one, _other = linked(Node(), Node(FABRIC.policy()))

    (effect,) = broken(one)

    assert isinstance(effect, Broken)
    assert effect.code is Code.UNEXPECTED_FRAME
    one.now = 100.0
    assert not one.hear_root()


def test_the_next_stream_after_a_broken_round_makes_it_good() -> None:
    one, other = linked(Node(), Node(*a_fabric_of("home-1", "home-2")))
    one.begin()
    other.read()
    one.written()
    broken(one)

    one.restart()
    other.restart()
    wait(1.0, one, other)
    compare(one, other)

    assert one.root == other.root


def test_rounds_that_break_come_ever_more_rarely_whoever_opens_the_streams() -> None:
    one, _other = linked(Node(), Node(FABRIC.policy()))
    times = []
    for _ in range(10_000):
        if one.begin():
            times.append(one.now)
            broken(one)
        one.restart()
        one.now += 0.0625

    assert times[:7] == [0, 1, 3, 7, 15, 31, 63]
    assert times[8] - times[7] == MOST_DELAY


def test_a_round_that_ends_well_makes_good_for_those_that_broke() -> None:
    one, other = linked(Node(), Node(FABRIC.policy()))
    for pause in (1.0, 2.0, 4.0):
        broken(one)
        one.restart()
        wait(pause, one, other)
    compare(one, other)
    wait(LEAST_DELAY, one, other)

    broken(one)
    one.restart()
    wait(1.0, one, other)

    assert one.begin()


def test_a_round_that_is_silent_breaks_and_is_begun_again_later() -> None:
    one, _other = linked(Node(), Node(FABRIC.policy()))
    one.begin()

    (effect,) = one.wait(PATIENCE)

    assert effect.code is Code.SYNC_STALLED
    one.restart()
    assert not one.begin()
    one.wait(1.0)
    assert one.begin()


def test_what_a_broken_round_brought_stays() -> None:
    fabric = a_fabric_of(*(f"home-{n}" for n in range(4)))
    one, other = linked(Node(), Node(*fabric))
    one.begin()
    while not one.came:
        for node in (one, other):
            if node.inbox:
                node.read()
            if node.is_writing:
                node.written()
    came = len(one.came)

    one.restart()
    other.restart()
    wait(1.0, one, other)
    one.hold(FABRIC.service("meanwhile"))
    compare(one, other)

    assert one.root == other.root
    assert len(one.came) < came


# -- how much --
def test_a_peer_that_begins_too_many_rounds_is_not_read_for_a_while() -> None:
    one, _other = linked(Node(), Node())
    root = Root(root=one.root)
    rests = []
    for _ in range(10):
        effects = one.exchange.receive(root, 0.0)
        rests.append([each for each in effects if isinstance(each, Rest)])
        one.exchange.written(0.0)

    assert rests[: int(2 * ROUNDS)] == [[]] * 8
    assert rests[8:] == [[Rest(0.25)], [Rest(0.5)]]


def test_a_peer_that_begins_as_often_as_an_honest_one_never_rests() -> None:
    one, other = who_refuse()

    for _ in range(40):
        compare(one, other)
        wait(LEAST_DELAY, one, other)

    assert not one.of(Rest)
    assert not other.of(Rest)


def test_rounds_that_this_node_begins_cost_the_peer_nothing() -> None:
    one, _other = linked(Node(), Node())

    for _ in range(40):
        one.begin()
        effects = one.exchange.receive(Root(root=one.root), one.now)
        assert not any(isinstance(each, Rest) for each in effects)
        one.exchange.written(one.now)


def a_giver(monkeypatch, burst, *records):
    monkeypatch.setattr(exchange_module, "GIVEN_BURST", burst)
    return linked(Node(), Node(*records))


def test_a_peer_that_is_given_too_much_pays_before_its_next_round(monkeypatch) -> None:
    records = a_fabric_of(*(f"home-{n}" for n in range(40)))
    one, other = a_giver(monkeypatch, 10_000.0, *records)

    compare(one, other)

    (rest,) = other.of(Rest)
    given = sum(len(encode(each)) for each in other.sent)
    assert given > 15_000
    assert (given - 10_000) / GIVEN < rest.until < (1.2 * given - 10_000) / GIVEN


def test_nobody_rests_longer_than_the_other_waits(monkeypatch) -> None:
    monkeypatch.setattr(exchange_module, "GIVEN", 1.0)
    one, other = a_giver(monkeypatch, 1.0, *a_fabric_of("home-1"))

    compare(one, other)

    assert set(other.of(Rest)) == {Rest(MOST_REST)}
    assert MOST_REST <= PATIENCE / 2


def test_who_is_at_rest_begins_no_round_of_its_own(monkeypatch) -> None:
    monkeypatch.setattr(exchange_module, "GIVEN", 1000.0)
    one, other = a_giver(monkeypatch, 1.0, *a_fabric_of("home-1"))
    compare(one, other)
    rest = other.of(Rest)[-1]
    one.hold(FABRIC.service("new"))

    other.now = rest.until - 0.01
    assert not other.hear_root()
    other.now = rest.until
    assert other.hear_root()


def test_what_is_taken_in_rounds_that_do_not_end_is_paid_for_too(monkeypatch) -> None:
    monkeypatch.setattr(exchange_module, "GIVEN", 1000.0)
    records = a_fabric_of(*(f"home-{n}" for n in range(10)))
    _one, other = a_giver(monkeypatch, 20_000.0, *records)
    rests = []
    for _ in range(6):
        thief = Node()
        linked(thief, other)
        other.restart()
        thief.begin()
        while not thief.of(Take):
            for node in (thief, other):
                if node.inbox:
                    node.read()
                if node.is_writing and not (node is thief and node.of(Take)):
                    node.written()
        rests += other.of(Rest)

    assert rests
    assert rests[-1].until > 5.0


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
