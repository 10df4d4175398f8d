"""Anti-entropy with one peer: how often it is begun, and how much one peer may cost."""

from fabric.codes import Code
from fabric.core import exchange as exchange_module
from fabric.core.codec import encode
from fabric.core.exchange import (
    GIVEN,
    LEAST_DELAY,
    MOST_DELAY,
    MOST_REST,
    ROUNDS,
    Rest,
)
from fabric.core.frames import Page, Root
from fabric.core.sync import PATIENCE, Broken, Take
from tests.core.an_end import (
    FABRIC,
    STRANGER,
    Node,
    a_fabric_of,
    compare,
    linked,
    run,
    wait,
    who_refuse,
)


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
