"""One node's liveness: what it hears, how far it trusts its ears, what it says of itself."""

import pytest
from attrs import evolve

from fabric.core.frames import (
    Alive,
    IndirectAck,
    IndirectProbe,
    Left,
    Probe,
    ProbeAck,
    Suspect,
)
from fabric.core.liveness_events import (
    Connected,
    Disconnected,
    Joined,
    Leaving,
    Reason,
    RootHeard,
    State,
    Struck,
    Tell,
    Ticked,
    Turned,
)
from fabric.core.own_life import first_incarnation
from fabric.core.suspicion import least_silence
from fabric.core.testimony import Context
from tests.core.a_seat import AREAS, ME, ROOT, A, B, Seat, X, Y, alive, dead, left, signed, suspect


# -- own ears --
def test_the_lower_node_id_probes_each_second_and_the_other_end_does_not() -> None:
    seat = Seat()
    seat.meet("a", "x")
    probes = seat.told(Probe, seat.run(10))

    assert [peer for peer, _ in probes] == ["x"] * 10


def test_who_is_not_probed_for_one_and_a_half_intervals_probes_itself() -> None:
    seat = Seat()
    seat.meet("a")
    seat.hush("a")

    assert not seat.told(Probe, seat.run(1.4))
    assert [peer for peer, _ in seat.told(Probe, seat.run(0.2))] == ["a"]


def test_a_probe_is_answered_and_its_root_handed_on() -> None:
    seat = Seat()
    seat.meet("a")

    effects = seat.hear("a", Probe(seq=7, root=b"o" * 16))

    assert RootHeard(A, b"o" * 16) in effects
    assert Tell(A, ProbeAck(seq=7, root=ROOT)) in effects
    assert RootHeard(A, b"p" * 16) in seat.hear("a", ProbeAck(seq=1, root=b"p" * 16))
    assert RootHeard(A, b"p" * 16) in seat.hear("a", Probe(seq=8)), "it is still the same"


def test_no_root_is_heard_of_before_one_was_named_on_this_very_connection() -> None:
    seat = Seat()
    seat.meet("a")
    seat.hear("a", Probe(seq=1, root=b"o" * 16))
    seat.give(Connected(A))

    assert not [each for each in seat.hear("a", Probe(seq=2)) if isinstance(each, RootHeard)]


def test_a_root_is_named_at_once_where_it_changed_and_every_ten_seconds() -> None:
    seat = Seat()
    seat.give(Connected(X))
    assert [frame.root for _, frame in seat.told(Probe)] == [ROOT]
    seat.meet("x")
    first = [frame.root for _, frame in seat.told(Probe, seat.run(12))]
    assert first.count(ROOT) == 1, "after ten seconds"
    assert set(first) == {ROOT, None}

    seat.root = b"n" * 16
    after = [frame.root for _, frame in seat.told(Probe, seat.run(5))]
    assert after == [b"n" * 16, None, None, None, None]

    seat.give(Connected(X))
    assert [frame.root for _, frame in seat.told(Probe)][-1] == b"n" * 16, "a new connection"


def test_an_answer_names_the_root_as_sparingly() -> None:
    seat = Seat()
    seat.meet("a")
    roots = []
    for seq in range(3):
        roots += [frame.root for _, frame in seat.told(ProbeAck, seat.hear("a", Probe(seq=seq)))]

    assert roots == [ROOT, None, None]


def test_a_round_trip_is_measured_by_the_answer_to_the_probe_that_waits() -> None:
    seat = Seat()
    seat.give(Connected(X))
    ((_, probe),) = seat.told(Probe)
    seat.now += 0.25
    seat.hear("x", ProbeAck(seq=probe.seq + 1, root=ROOT))
    assert seat.core.rtt_of(X) is None

    seat.give(Disconnected(X, clean=True))
    seat.give(Connected(X))
    (*_, (_, probe)) = seat.told(Probe)
    seat.now += 0.25
    seat.hear("x", ProbeAck(seq=probe.seq, root=ROOT))
    assert seat.core.rtt_of(X) == pytest.approx(0.25)


def test_no_second_probe_is_sent_behind_one_that_is_unanswered() -> None:
    seat = Seat()
    seat.meet("x", "a", "b")
    seat.hush("x")

    assert len(seat.told(Probe, seat.run(4))) <= 1


def test_an_unanswered_probe_makes_others_be_asked_and_then_an_accusation() -> None:
    seat = Seat()
    seat.meet("a", "b", "x")
    seat.hush("x")
    effects = seat.run(2.05)
    asked = [peer for peer, _ in seat.told(IndirectProbe, effects)]
    assert sorted(asked) == ["a", "b"]
    assert not seat.told(Suspect, effects)

    effects = seat.run(1.0)

    assert seat.core.state_of(X) is State.SUSPECT
    accusations = seat.told(Suspect, effects)
    assert [peer for peer, _ in accusations if peer != "x"]
    frame = accusations[0][1]
    assert frame.accuser == ME
    assert frame.signature == signed(Context.SUSPECT, ME, "x", 5)
    assert 2_000 <= frame.silent <= 3_100


def test_neighbours_of_other_areas_are_asked_before_those_of_its_own() -> None:
    for seed in range(10):
        seat = Seat(areas=dict.fromkeys("cdefgmx", "home") | {"a": "north", "b": "south"})
        seat.core._ears.rng.seed(seed)
        seat.meet(*"abcdefgx")

        assert set(seat.core._ears.pick(2, excluding={X})) == {A, B}


def test_whom_another_reaches_is_not_accused() -> None:
    seat = Seat()
    seat.meet("a", "b", "x")
    seat.hush("x")
    (question, *_) = [frame for _, frame in seat.told(IndirectProbe, seat.run(2.05))]
    seat.hear("a", IndirectAck(seq=question.seq, target="x", reached=True))
    seat.run(0.9)

    assert seat.core.state_of(X) is State.ALIVE


def test_who_was_vouched_for_and_then_lost_is_left_to_those_who_hear_it() -> None:
    seat = Seat()
    seat.meet("a", "b", "x")
    seat.hush("x")
    seat.give(Disconnected(X, clean=False))
    (question, *_) = [frame for _, frame in seat.told(IndirectProbe)]
    seat.hear("b", IndirectAck(seq=question.seq, target="x", reached=True))
    seat.run(30)

    assert seat.turned("x") == [State.ALIVE]


@pytest.mark.parametrize("change", [{"reached": False}, {"target": "b"}, {"seq": 999_999}])
def test_a_voucher_for_something_else_changes_nothing(change) -> None:
    seat = Seat()
    seat.meet("a", "b", "x")
    seat.hush("x")
    (question, *_) = [frame for _, frame in seat.told(IndirectProbe, seat.run(2.05))]
    voucher = IndirectAck(seq=question.seq, target="x", reached=True)
    seat.hear("a", evolve(voucher, **change))
    seat.run(1.0)

    assert seat.core.state_of(X) is State.SUSPECT


def test_a_node_that_is_out_claims_nothing_of_those_it_does_not_hear() -> None:
    seat = Seat()
    seat.meet("x", "a")
    seat.hear("a", alive("b"))
    assert seat.core.state_of(B) is State.ALIVE

    seat.give(Struck(ME))
    assert [seat.core.state_of(each) for each in (X, A, B)] == [State.ALIVE, State.ALIVE, None]

    for peer in (X, A):
        seat.hush(peer)
        seat.give(Disconnected(peer, clean=False))
    seat.run(30)
    assert [seat.core.state_of(each) for each in (X, A)] == [None, None]
    assert seat.core.state_of(ME) is State.ALIVE


def test_a_node_that_is_in_again_holds_what_it_hears() -> None:
    seat = Seat()
    seat.give(Struck(ME))
    seat.give(Joined(ME, "home"))
    seat.meet("x", "a")
    seat.hear("a", alive("b"))
    seat.give(Disconnected(A, clean=True))

    assert [seat.core.state_of(each) for each in (A, B)] == [State.ALIVE, State.ALIVE]


def test_a_broken_connection_leads_to_one_accusation_and_no_more() -> None:
    seat = Seat()
    seat.meet("a", "b", "x")
    seat.hush("x")
    seat.give(Disconnected(X, clean=False))
    seat.run(1.2)
    assert seat.core.state_of(X) is State.SUSPECT
    seat.hear("a", alive("x", 6))

    effects = seat.run(60)

    assert seat.core.state_of(X) is State.ALIVE
    assert not seat.told(Suspect, effects)
    assert seat.core.heard_at(X) is None, "it is no neighbour any more"


def test_a_lost_neighbour_that_is_dead_is_wondered_about_no_more() -> None:
    seat = Seat()
    seat.meet("a", "b", "x")
    seat.hush("x")
    seat.give(Disconnected(X, clean=False))
    assert seat.core.heard_at(X) is not None
    seat.hear("a", dead("x", "a", "b"))

    assert seat.core.state_of(X) is State.DEAD
    assert seat.core.heard_at(X) is None


def test_a_connection_that_ended_as_meant_is_no_accusation() -> None:
    seat = Seat()
    seat.meet("a", "b", "x")
    seat.hush("x")
    seat.give(Disconnected(X, clean=True))
    seat.run(30)

    assert seat.turned("x") == [State.ALIVE]


def test_a_favour_is_done_for_a_target_that_is_connected_and_answered_either_way() -> None:
    seat = Seat()
    seat.meet("a", "x", "y")
    seat.hush("y")
    seat.hear("a", IndirectProbe(seq=3, target="x"))
    seat.hear("a", IndirectProbe(seq=4, target="y"))
    seat.run(1.0)

    assert seat.told(IndirectAck) == [
        ("a", IndirectAck(seq=3, target="x", reached=True)),
        ("a", IndirectAck(seq=4, target="y", reached=False)),
    ]


@pytest.mark.parametrize("target", ["b", "nobody", "m", "a"])
def test_no_favour_is_done_for_others(target: str) -> None:
    seat = Seat()
    seat.meet("a")
    seat.hear("a", IndirectProbe(seq=3, target=target))

    assert not seat.told(IndirectAck, seat.run(2))


def test_no_favour_is_done_for_a_neighbour_whose_connection_is_lost() -> None:
    seat = Seat()
    seat.meet("a", "x")
    seat.hush("x")
    seat.give(Disconnected(X, clean=False))
    effects = seat.hear("a", IndirectProbe(seq=3, target="x"))

    assert not [each for each in effects if isinstance(each, Tell)]
    assert not seat.told(IndirectAck, seat.run(2))


# -- how far it trusts its ears --
@pytest.mark.parametrize("breaks", [False, True], ids=["silent", "broken"])
def test_a_node_that_hears_nobody_doubts_itself_and_accuses_nobody(*, breaks: bool) -> None:
    seat = Seat()
    seat.meet("a", "b", "x", "y")
    seat.hush("a", "b", "x", "y")
    seat.run(4.0)
    if breaks:
        for peer in (A, B, X, Y):
            seat.give(Disconnected(peer, clean=False))
    seat.run(56.0)

    assert seat.core.is_slow
    assert {seat.core.state_of(each) for each in (A, B, X, Y)} == {State.ALIVE}
    assert not seat.told(Suspect)


def test_the_first_that_is_heard_again_is_asked_about_the_others() -> None:
    seat = Seat()
    seat.meet("a", "b", "x", "y")
    seat.hush("a", "b", "x", "y")
    seat.run(10.0)
    effects = seat.hear("a", Probe(seq=1, root=ROOT))
    seat.answering.add("a")

    questions = {frame.target: frame.seq for peer, frame in seat.told(IndirectProbe, effects)}
    assert questions.keys() == {"b", "x", "y"}
    for target in "bx":
        seat.hear("a", IndirectAck(seq=questions[target], target=target, reached=True))
        seat.answering.add(target)
    seat.run(30.0)
    assert {seat.core.state_of(each) for each in (A, B, X)} == {State.ALIVE}
    assert State.SUSPECT in seat.turned("y"), "whom nobody reaches is accused in the end"


def test_a_node_that_hears_nobody_takes_nobody_for_dead_on_what_was_said_before() -> None:
    seat = Seat()
    seat.meet("a", "b", "y")
    for accuser in ("a", "b", "c"):
        seat.hear("a", suspect("x", accuser))
    seat.hush("a", "b", "y")
    seat.run(40.0)
    assert seat.core.state_of(X) is State.SUSPECT

    seat.hear("a", alive("x", 6))
    assert seat.turned("x")[-1] is State.ALIVE


def test_what_it_missed_while_it_was_deaf_has_time_to_come() -> None:
    seat = Seat()
    seat.meet("a", "b", "y")
    for accuser in ("a", "b", "c"):
        seat.hear("a", suspect("x", accuser, silent=2.0))
    seat.hush("a", "b", "y")
    seat.run(least_silence(len(AREAS)) - 2.2)
    seat.hear("b", Probe(seq=1, root=ROOT))
    seat.answering.add("b")
    seat.run(1.0)

    assert seat.core.state_of(X) is State.SUSPECT


def test_the_silence_of_most_makes_it_wait_longer_before_it_accuses_one() -> None:
    def waited(silent: str) -> float:
        seat = Seat()
        seat.meet("a", "b", "c", "x", "y")
        seat.hush(*silent)
        began = seat.now
        seat.run(20.0)
        assert State.SUSPECT in seat.turned("x")
        return next(each.at for each in seat.did if _is_suspicion(each, "x")) - began

    assert waited("x") < 3.2
    assert waited("bcxy") > 4.0


def _is_suspicion(effect, node: str) -> bool:
    return isinstance(effect, Turned) and (effect.node, effect.state) == (node, State.SUSPECT)


def test_time_in_which_it_did_not_run_is_nobodys_silence() -> None:
    seat = Seat()
    seat.meet("a", "b", "x", "y")
    seat.now += 7
    seat.hush("x")
    seat.give(Disconnected(X, clean=False))
    seat.give(Ticked())
    seat.run(2)
    seat.meet("x")
    seat.run(20)

    assert {seat.core.state_of(each) for each in (A, B, X, Y)} == {State.ALIVE}
    assert not seat.told(Suspect)


def test_after_a_pause_it_says_a_new_word_unasked_and_counts_as_slow() -> None:
    seat = Seat()
    seat.meet("a", "x")
    seat.now += 5
    effects = seat.give(Ticked())

    assert {peer for peer, _ in seat.told(Alive, effects)} == {"a", "x"}
    assert {frame.incarnation for _, frame in seat.told(Alive, effects)} == {
        first_incarnation(1) + 1
    }
    assert seat.core.is_slow
    seat.run(10)
    assert seat.core.health == 0


def test_after_a_short_pause_too_what_was_said_meanwhile_comes_first() -> None:
    seat = Seat()
    seat.meet("a", "b", "c")
    for accuser in ("a", "b", "c"):
        seat.hear("a", suspect("x", accuser, silent=2.0))
    seat.run(least_silence(len(AREAS)) - 2.2)
    seat.hear("a", Probe(seq=1, root=ROOT))
    seat.now += 1.0
    seat.give(Ticked())

    assert seat.core.state_of(X) is State.SUSPECT


def test_after_a_pause_nobody_is_dead_before_what_was_said_meanwhile_is_heard() -> None:
    seat = Seat()
    seat.meet("a", "b", "c")
    seat.hear("a", suspect("x", "a"))
    seat.hear("b", suspect("x", "b"))
    seat.hear("c", suspect("x", "c"))
    seat.now += 20
    seat.give(Ticked())
    seat.hear("a", alive("x", 6))

    assert State.DEAD not in seat.turned("x")


# -- leaving and coming back --
def test_who_left_stays_so_whatever_is_said_of_that_incarnation() -> None:
    seat = Seat()
    seat.meet("a", "b", "x")
    seat.hush("x")
    seat.hear("x", left("x", 5))
    seat.give(Disconnected(X, clean=False))
    assert not seat.told(IndirectProbe), "nobody need be asked about it"
    for frame in (alive("x", 5), suspect("x", "a"), dead("x", "a", "b"), alive("x", 4)):
        seat.hear("a", frame)
    seat.run(30)

    assert seat.turned("x") == [State.ALIVE, State.LEFT]
    seat.hear("a", alive("x", 6))
    assert seat.core.state_of(X) is State.ALIVE


def test_a_farewell_is_told_to_all_and_nothing_is_contradicted_after_it() -> None:
    seat = Seat()
    seat.meet("a", "x")
    effects = seat.give(Leaving())
    assert {peer for peer, _ in seat.told(Left, effects)} == {"a", "x"}

    assert not seat.told(Alive, seat.hear("a", suspect(ME, "a", first_incarnation(1))))
    assert seat.core.state_of(ME) is State.LEFT


def test_a_process_that_was_restarted_outbids_its_earlier_self() -> None:
    assert first_incarnation(2) > first_incarnation(1) + 60_000
    seat = Seat(boot_seq=7)
    seat.give(Connected(X))

    ((_, word),) = seat.told(Alive)
    assert word == alive(ME, 7 << 16)


def test_struck_members_are_forgotten_with_what_they_said() -> None:
    seat = Seat()
    seat.meet("a", "b", "c")
    seat.hear("a", suspect("x", "a"))
    seat.give(Struck(A))

    assert seat.core.state_of(A) is None
    assert seat.core.state_of(X) is State.ALIVE
    assert Turned(X, State.ALIVE, Reason.WITHDRAWN, seat.now) in seat.did
    seat.give(Struck(X))
    assert seat.core.view_of(X).state is None


# -- itself --
def test_what_is_said_against_itself_it_contradicts_at_once_to_all() -> None:
    seat = Seat()
    seat.meet("a", "b", "x")
    mine = first_incarnation(1)
    effects = seat.hear("a", suspect(ME, "b", mine))

    assert sorted(seat.told(Alive, effects)) == [
        (peer, alive(ME, mine + 1)) for peer in ("a", "b", "x")
    ] or {frame for _, frame in seat.told(Alive, effects)} == {alive(ME, mine + 1)}


def test_the_doubt_of_two_others_is_a_reason_to_doubt_itself() -> None:
    seat = Seat()
    seat.meet("a", "b")
    mine = first_incarnation(1)
    seat.hear("a", suspect(ME, "a", mine))
    assert seat.core.health == 0

    seat.run(0.2)
    seat.hear("a", dead(ME, "a", "b", incarnation=mine + 1))
    seat.run(0.4)
    assert seat.core.own.incarnation == mine + 2
    assert seat.core.health == 1


def test_its_own_farewell_or_death_from_another_time_it_outbids() -> None:
    seat = Seat()
    seat.meet("a")
    later = first_incarnation(3)
    effects = seat.hear("a", left(ME, later))

    assert seat.told(Alive, effects) == [("a", alive(ME, later + 1))]


def test_one_accuser_that_repeats_itself_is_answered_ever_more_slowly() -> None:
    seat = Seat()
    seat.meet("a", "b")
    answers = []
    for _ in range(400):
        seat.hear("a", suspect(ME, "a", seat.core.own.incarnation))
        answers += seat.told(Alive, seat.run(0.1))

    assert len({frame for _, frame in answers}) <= 8
    assert seat.core.state_of(ME) is State.ALIVE


def test_a_second_accuser_is_answered_without_waiting() -> None:
    seat = Seat()
    seat.meet("a", "b")
    for _ in range(4):
        seat.hear("a", suspect(ME, "a", seat.core.own.incarnation))
        seat.run(8)
    mine = seat.core.own.incarnation
    seat.hear("a", suspect(ME, "a", mine))
    seat.hear("a", suspect(ME, "b", mine))
    seat.run(0.6)

    assert seat.core.own.incarnation == mine + 1


def test_who_knows_an_older_incarnation_of_it_is_told() -> None:
    seat = Seat(boot_seq=5)
    seat.meet("a")

    assert seat.told(Alive, seat.hear("a", dead(ME, "a", "b", incarnation=3))) == [
        ("a", alive(ME, 5 << 16))
    ]


@pytest.mark.parametrize(("away", "accused"), [(5.0, False), (1.0, True)])
def test_connections_that_broke_because_this_node_slept_accuse_nobody(away, accused) -> None:
    seat = Seat()
    seat.meet("a", "x", "y")
    seat.run(3)
    seat.now += away  # this process does not run, and x hangs up
    seat.hush("x")
    seat.give(Disconnected(X, clean=False))
    seat.run(10)

    assert (State.SUSPECT in seat.turned("x")) is accused
