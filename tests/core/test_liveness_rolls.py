"""Two nodes' liveness: how they come to hold the same of everybody."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.core.frames import (
    Alive,
    RollCall,
)
from fabric.core.liveness_events import (
    State,
)
from tests.core.a_seat import AREAS, A, B, Seat, X, Y, alive, dead, left


# -- the roll call --
def test_equal_digests_are_met_with_silence() -> None:
    seat = Seat()
    seat.meet("a")

    assert not seat.told(RollCall, seat.hear("a", RollCall(digest=seat.core._lives.digest)))


def test_a_different_digest_is_answered_with_the_roll_once_a_second() -> None:
    seat = Seat()
    seat.meet("a")
    ((_, roll),) = seat.told(RollCall, seat.hear("a", RollCall(digest=b"d" * 8)))

    assert len(roll.entries) == 2 * 17, "this node and one more"
    assert not seat.told(RollCall, seat.hear("a", RollCall(digest=b"e" * 8)))


def test_what_a_roll_lacks_is_proved_once_a_second_and_in_part() -> None:
    areas = AREAS | {f"n{number:02d}": "north" for number in range(50)}
    seat = Seat(areas)
    seat.meet("a")
    for number in range(50):
        seat.hear("a", alive(f"n{number:02d}"))
    empty = RollCall(digest=b"d" * 8, entries=bytes(17))

    assert len(seat.told(Alive, seat.hear("a", empty))) == 32
    assert not seat.told(Alive, seat.hear("a", empty))
    seat.run(1.1)
    assert len(seat.told(Alive, seat.hear("a", empty))) == 32


def test_two_nodes_that_call_the_roll_come_to_hold_the_same() -> None:
    one, other = Seat(), Seat()
    one.meet("a")
    for frame in (alive("x", 6), dead("y", "a", "b"), left("c", 9)):
        one.hear("a", frame)
    other.meet("a")
    for frame in (alive("y", 4), alive("b", 9)):
        other.hear("a", frame)
    frames = [(other, RollCall(digest=one.core._lives.digest))]
    for _ in range(20):
        if not frames:
            break
        seat, frame = frames.pop()
        back = one if seat is other else other
        effects = seat.hear("a", frame)
        frames += [(back, each) for peer, each in seat.told(object, effects) if peer == A]

    assert not frames, "the exchange ends"
    # Each is "m" to itself and has the same word, so that both digests cover the same lives.
    assert one.core._lives.digest == other.core._lives.digest
    assert one.core.state_of(B) is other.core.state_of(B) is State.ALIVE
    assert other.core.state_of(Y) is State.DEAD


RUMOURS = (
    alive("x", 5),
    alive("x", 6),
    left("x", 5),
    left("x", 6),
    dead("x", "a", "b", incarnation=5),
    dead("x", "b", "c", incarnation=6),
    dead("x", "a", "c", incarnation=7),
)


@given(st.lists(st.sampled_from(RUMOURS), min_size=1, max_size=6, unique=True), st.randoms())
@settings(max_examples=60, deadline=None)
def test_no_order_of_arrival_changes_what_is_held(rumours, rng) -> None:
    ends = set()
    for _ in range(3):
        seat = Seat()
        seat.meet("a", "b", "c")
        rng.shuffle(rumours)
        for frame in rumours:
            seat.hear("a", frame)
        view = seat.core.view_of(X)
        ends.add((view.state, view.incarnation, seat.core._lives.digest))

    assert len(ends) == 1
