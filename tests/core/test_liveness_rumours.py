"""One node's liveness: whose word it believes of whom, and what it passes on."""

from typing import get_args

import pytest
from attrs import evolve

from fabric.core.frames import (
    Alive,
    Dead,
    IndirectAck,
    IndirectProbe,
    Probe,
    ProbeAck,
    Suspect,
)
from fabric.core.identity import FabricId, NodeId
from fabric.core.liveness_events import (
    Connected,
    Disconnected,
    Effect,
    Forged,
    State,
    Wake,
)
from fabric.core.own_life import first_incarnation
from fabric.core.suspicion import least_silence
from fabric.core.testimony import Context, statement
from tests.core.a_seat import AREAS, ME, ROOT, A, B, Seat, X, alive, dead, left, signs, suspect


# -- whom it believes --
def test_three_accusers_in_other_areas_make_a_death_after_the_least_silence() -> None:
    seat = Seat()
    seat.meet("a", "b", "c")
    seat.hear("a", alive("x"))
    for accuser in ("a", "b", "c"):
        seat.hear(accuser, suspect("x", accuser, silent=2.0))
    wait = least_silence(len(AREAS)) - 2.0
    seat.run(wait - 0.2)
    assert seat.core.state_of(X) is State.SUSPECT

    seat.run(0.4)

    assert seat.core.state_of(X) is State.DEAD
    assert seat.core.view_of(X).accusers == ("a", "b", "c")


def test_two_accusers_take_longer_than_three() -> None:
    seat = Seat()
    seat.meet("a", "b", "c")
    for accuser in ("a", "b"):
        seat.hear(accuser, suspect("x", accuser, silent=2.0))
    seat.run(least_silence(len(AREAS)))
    assert seat.core.state_of(X) is State.SUSPECT
    seat.run(least_silence(len(AREAS)))
    assert seat.core.state_of(X) is State.DEAD


@pytest.mark.parametrize("accusers", ["a", "ay"])
def test_one_area_alone_is_believed_only_after_three_times_as_long(accusers: str) -> None:
    seat = Seat()
    seat.meet("a", "b", "c")
    for accuser in accusers:
        seat.hear("a", suspect("x", accuser, silent=1_000.0))
    seat.run(2.8 * least_silence(len(AREAS)))
    assert seat.core.state_of(X) is State.SUSPECT

    seat.run(0.4 * least_silence(len(AREAS)))
    assert seat.core.state_of(X) is State.DEAD, "nobody who hears it has contradicted"


def test_with_nobody_to_contradict_the_time_does_not_run_out() -> None:
    seat = Seat()
    seat.meet("a")
    seat.hear("a", suspect("x", "a"))
    seat.hush("a")
    seat.give(Disconnected(A, clean=True))
    seat.run(120, step=0.5)

    assert seat.core.state_of(X) is State.SUSPECT


def test_in_a_fleet_of_two_the_other_one_is_enough() -> None:
    seat = Seat({"m": "home", "x": "home"})
    seat.meet("x")
    seat.hush("x")
    seat.run(3)
    seat.give(Disconnected(X, clean=False))
    seat.run(6)

    assert seat.turned("x") == [State.ALIVE, State.SUSPECT, State.DEAD]


def test_the_last_of_three_has_nobody_to_confirm_that_it_is_alone() -> None:
    seat = Seat({"m": "home", "x": "north", "y": "south"})
    seat.meet("x", "y")
    seat.hear("x", dead("y", "x", "m"))
    seat.hush("y")
    seat.run(2.0)
    seat.hear("x", dead("y", "x", "m"))
    assert seat.core.state_of(NodeId("y")) is State.DEAD
    seat.give(Disconnected(NodeId("y"), clean=False))
    seat.hush("x")
    seat.give(Disconnected(X, clean=False))
    seat.run(90.0, step=0.5)

    assert seat.core.state_of(X) is State.SUSPECT


def test_who_accused_says_that_the_time_is_up() -> None:
    seat = Seat()
    seat.meet("a", "b", "x")
    seat.hush("x")
    seat.run(2.8)
    for accuser in ("a", "b"):
        seat.hear(accuser, suspect("x", accuser))
    effects = seat.run(8.0)

    assert seat.core.state_of(X) is State.DEAD
    assert {peer for peer, _ in seat.told(Dead, effects)} == {"a", "b", "x"}
    assert {frame.accusers for _, frame in seat.told(Dead, effects)} == {("a", "b", "m")}


def test_silence_begins_no_earlier_than_this_node_heard_the_subject_itself() -> None:
    seat = Seat()
    seat.meet("a", "b", "c", "x")
    seat.hush("x")
    seat.run(2.0)
    heard = seat.core.heard_at(X)
    for accuser in ("a", "b", "c"):
        seat.hear(accuser, suspect("x", accuser, silent=1_000.0))
    seat.run(heard + least_silence(len(AREAS)) - seat.now - 0.2)
    assert seat.core.state_of(X) is State.SUSPECT

    seat.run(0.4)
    assert seat.core.state_of(X) is State.DEAD


def test_a_claim_of_long_silence_is_counted_only_in_part() -> None:
    seat = Seat()
    seat.meet("a", "b", "c")
    for accuser in ("a", "b", "c"):
        seat.hear(accuser, suspect("x", accuser, silent=1_000.0))
    seat.run(2.5)

    assert seat.core.state_of(X) is State.SUSPECT


def test_whom_it_hears_itself_it_does_not_suspect_but_warns() -> None:
    seat = Seat()
    seat.meet("a", "b", "x")
    effects = seat.hear("a", suspect("x", "a"))

    assert seat.turned("x") == [State.ALIVE]
    assert seat.told(Suspect, effects) == [("x", suspect("x", "a"))]
    assert not seat.told(Suspect, seat.hear("b", suspect("x", "b"))), "once in an incarnation"


def test_a_suspect_that_is_heard_again_is_told_and_not_taken_for_dead() -> None:
    seat = Seat()
    seat.meet("a", "b", "c")
    for accuser in ("a", "b", "c"):
        seat.hear(accuser, suspect("x", accuser))
    seat.give(Connected(X))
    effects = seat.hear("x", alive("x", 5))
    assert [frame.subject for peer, frame in seat.told(Suspect, effects) if peer == X] == ["x"]
    seat.answering.add("x")
    seat.run(20)

    assert State.DEAD not in seat.turned("x")


def test_a_death_is_told_to_the_dead_that_speaks() -> None:
    seat = Seat()
    seat.meet("a", "b", "c")
    seat.hear("a", dead("x", "a", "b"))
    seat.give(Connected(X))
    effects = seat.hear("x", alive("x", 5))
    assert [peer for peer, _ in seat.told(Dead, effects)] == ["x"]
    assert seat.core.state_of(X) is State.DEAD, "of that incarnation"

    seat.hear("x", alive("x", 6))
    assert seat.core.state_of(X) is State.ALIVE


def test_a_death_by_two_areas_is_believed_at_once_and_passed_on() -> None:
    seat = Seat()
    seat.meet("a", "b", "c")
    effects = seat.hear("a", dead("x", "a", "b"))

    assert seat.core.state_of(X) is State.DEAD
    assert sorted(peer for peer, _ in seat.told(Dead, effects)) == ["b", "c"]
    assert not seat.hear("b", dead("x", "a", "b"))


@pytest.mark.parametrize("accusers", ["a", "ay"])
def test_a_death_by_one_area_counts_as_what_its_accusers_say(accusers: str) -> None:
    seat = Seat()
    seat.meet("a", "b", "c")
    seat.hear("a", dead("x", *accusers))

    assert seat.core.state_of(X) is State.SUSPECT
    assert seat.core.view_of(X).accusers == tuple(accusers)


def test_a_death_of_whom_it_hears_itself_is_not_believed() -> None:
    seat = Seat()
    seat.meet("a", "b", "x")
    effects = seat.hear("a", dead("x", "a", "b"))

    assert seat.core.state_of(X) is State.ALIVE
    assert [peer for peer, _ in seat.told(Dead, effects)] == ["x"]


@pytest.mark.parametrize(
    "frame",
    [
        evolve(alive("x"), incarnation=2**60),
        evolve(left("x"), signature=alive("x").signature),
        evolve(alive("x"), signature=left("x").signature),
        evolve(suspect("x", "b"), accuser="c"),
        evolve(suspect("x", "b"), incarnation=9),
        evolve(suspect("x", "b"), alive=bytes(64)),
        evolve(dead("x", "a", "b"), accusers=("a", "c")),
        evolve(suspect("m", "a", 2**60)),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_what_nobody_signed_is_forged_and_goes_no_further(frame) -> None:
    seat = Seat()
    seat.meet("a", "b", "c")
    if frame.subject == "m":
        frame = evolve(frame, alive=bytes(64))
    effects = seat.hear("a", frame)

    assert [each for each in effects if not isinstance(each, Wake)] == [
        Forged(A, NodeId(frame.subject))
    ]
    assert seat.core.state_of(X) is None


@pytest.mark.parametrize(
    "frame", [alive("q"), suspect("q", "a"), suspect("x", "q"), dead("q", "a", "b"), left("q")]
)
def test_of_and_from_strangers_nothing_is_believed(frame) -> None:
    seat = Seat()
    seat.meet("a", "b")

    assert not seat.hear("a", frame)
    assert seat.core.state_of(NodeId("q")) is None


@pytest.mark.parametrize("accuser", ["x", ME], ids=["of-itself", "its-own-that-comes-back"])
def test_an_accusation_that_no_other_node_made_is_none(accuser) -> None:
    seat = Seat()
    seat.meet("a", "b")
    seat.hear("a", alive("x"))

    assert not seat.hear("a", suspect("x", accuser))
    assert seat.core.state_of(X) is State.ALIVE


def test_what_a_stranger_sends_changes_nothing() -> None:
    seat = Seat()
    assert not seat.give(Connected(NodeId("q")))
    assert not seat.hear("q", alive("x"))
    assert not seat.hear("a", alive("x")), "it is not connected"


def test_signatures_are_checked_no_faster_than_the_budget() -> None:
    seat = Seat()
    seat.meet("a", "b")
    seat.checked.clear()
    for incarnation in range(10, 3010):
        seat.hear("a", alive("x", incarnation))

    assert 900 < len(seat.checked) < 1_100


def test_a_rumour_goes_to_five_neighbours_once_and_one_that_ends_a_doubt_to_all() -> None:
    areas = {f"n{number:02d}": "north" for number in range(12)} | AREAS
    seat = Seat(areas)
    neighbours = [node for node in areas if node.startswith("n")]
    seat.meet(*neighbours)
    effects = seat.hear("n00", alive("x", 5))
    assert len(seat.told(Alive, effects)) == 5
    assert not seat.told(Alive, seat.hear("n01", alive("x", 5)))

    seat.hear("n00", suspect("x", "n00"))
    effects = seat.hear("n00", alive("x", 6))

    assert {peer for peer, _ in seat.told(Alive, effects)} == set(neighbours) - {"n00"}


def test_a_rumour_goes_to_every_other_area_first() -> None:
    areas = {f"h{number:02d}": "home" for number in range(12)} | AREAS
    seat = Seat(areas)
    seat.meet("a", "b", "c", *[node for node in areas if node.startswith("h")])
    effects = seat.hear("h00", alive("x", 5))

    assert {"a", "b", "c"} < {peer for peer, _ in seat.told(Alive, effects)}


def test_no_more_than_eight_accusers_are_held() -> None:
    areas = {f"n{number:02d}": f"area{number}" for number in range(12)} | AREAS
    seat = Seat(areas)
    seat.meet("a")
    for number in range(12):
        seat.hear("a", suspect("x", f"n{number:02d}"))

    assert len(seat.core.view_of(X).accusers) == 8


def test_who_is_behind_is_told() -> None:
    seat = Seat()
    seat.meet("a", "b")
    seat.hear("a", alive("x", 6))

    assert seat.told(Alive, seat.hear("b", suspect("x", "b", 5))) == [("b", alive("x", 6))]
    assert seat.core.state_of(X) is State.ALIVE


# -- what a death does --
def test_nothing_that_is_said_opens_or_closes_a_connection() -> None:
    assert {each.__name__ for each in get_args(Effect)} == {
        "Tell",
        "Turned",
        "RootHeard",
        "Forged",
        "Wake",
    }


def test_the_dead_that_is_connected_stays_a_neighbour_and_is_alive_by_its_next_word() -> None:
    seat = Seat()
    seat.meet("a", "b", "x")
    seat.hush("x")
    seat.run(2.6)
    seat.hear("a", dead("x", "a", "b"))
    assert seat.core.state_of(X) is State.DEAD

    seat.hear("b", IndirectProbe(seq=9, target="x"))
    effects = seat.hear("x", ProbeAck(seq=1, root=ROOT))
    assert seat.told(IndirectAck, effects) == [("b", IndirectAck(seq=9, target="x", reached=True))]
    assert seat.told(Dead, effects) == [("x", dead("x", "a", "b"))]
    seat.answering.add("x")
    assert "x" in [peer for peer, _ in seat.told(Probe, seat.run(1.5))]
    seat.hear("x", alive("x", 6))
    assert seat.core.state_of(X) is State.ALIVE


# -- floods --
def test_accusations_of_unknown_nodes_cost_neither_memory_nor_a_check_nor_a_frame() -> None:
    seat = Seat()
    seat.meet("a", "b")
    seat.checked.clear()
    for number in range(2_000):
        stranger = f"stranger{number}"
        for frame in (
            suspect(stranger, "a"),
            suspect("x", stranger),
            dead(stranger, "a", "b"),
            suspect(ME, stranger, first_incarnation(1)),
        ):
            assert not seat.hear("a", frame)

    assert not seat.checked
    assert {life.node for life in seat.core._lives} == {ME, A, B}


def test_what_strangers_say_of_a_member_in_its_death_notice_is_left_out() -> None:
    seat = Seat()
    seat.meet("a", "b")
    seat.hear("a", dead("x", "a", "q", "r"))

    assert seat.core.state_of(X) is State.SUSPECT
    assert seat.core.view_of(X).accusers == ("a",)


def test_an_accusation_that_is_repeated_is_checked_and_passed_on_once() -> None:
    seat = Seat()
    seat.meet("a", "b", "c")
    seat.hear("a", suspect("x", "a"))
    seat.checked.clear()
    for _ in range(1_000):
        assert not seat.hear("a", suspect("x", "a"))

    assert not seat.checked


def test_words_signed_for_another_fabric_are_forged() -> None:
    seat = Seat()
    seat.meet("a")
    elsewhere = statement(Context.ALIVE, FabricId(b"o" * 16), X, 5)
    word = evolve(alive("x"), signature=signs("x", elsewhere))

    assert Forged(A, X) in seat.hear("a", word)
    assert seat.core.state_of(X) is None
