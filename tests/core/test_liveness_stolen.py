"""One node's liveness: what a thief of some node's key says in that node's name."""

from attrs import define

from fabric.core.frames import Alive
from fabric.core.liveness_events import State
from fabric.core.own_life import BOOT_SHIFT, first_incarnation, latest_boot_at
from fabric.core.shapes import UINT64
from tests.core.a_seat import ME, Seat, X, alive, left, suspect

NOW = 1_800_000_000
LATEST = latest_boot_at(NOW)
LAST = first_incarnation(LATEST + 1) - 1
"""The highest incarnation that is believed at NOW."""


@define
class Dated(Seat):
    """It knows ``x``, and what time it is."""

    boot_seq: int = NOW
    unix_now: int = NOW

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.core.latest_boot = lambda: latest_boot_at(self.unix_now)
        self.meet("a", "b")
        self.hear("a", alive("x", first_incarnation(NOW)))


def test_a_farewell_under_the_highest_number_there_is_is_not_believed() -> None:
    seat = Dated()
    for incarnation in (UINT64, LAST + 1):
        seat.hear("a", left("x", incarnation))

    assert seat.core.state_of(X) is State.ALIVE


def test_an_accusation_of_an_incarnation_that_nobody_can_outbid_does_not_count() -> None:
    seat = Dated()
    seat.hear("a", suspect("x", "a", incarnation=UINT64))

    assert seat.core.state_of(X) is State.ALIVE


def test_whatever_is_believed_its_subject_outbids_a_second_later() -> None:
    seat = Dated()
    seat.hear("a", left("x", LAST))
    assert seat.core.state_of(X) is State.LEFT
    seat.hear("a", alive("x", LAST + 1))
    assert seat.core.state_of(X) is State.LEFT

    seat.unix_now += 1
    seat.hear("a", alive("x", LAST + 1))
    assert seat.core.state_of(X) is State.ALIVE


def test_its_own_farewell_under_the_highest_number_takes_no_node_there() -> None:
    seat = Dated()
    said = seat.told(Alive, seat.hear("a", left(str(ME), UINT64)))

    assert said == []
    assert seat.core.own.incarnation < LAST


def test_its_own_farewell_under_a_number_that_is_believed_it_outbids() -> None:
    seat = Dated()
    said = seat.told(Alive, seat.hear("a", left(str(ME), LAST)))

    assert {frame.incarnation for _, frame in said} == {LAST + 1}


def test_a_clock_of_2099_is_within() -> None:
    seat = Dated()
    seat.hear("a", alive("x", first_incarnation(4_070_908_800)))
    seat.hear("a", suspect("x", "b", incarnation=first_incarnation(4_070_908_800)))

    assert seat.core.state_of(X) is State.SUSPECT
    assert LAST >> BOOT_SHIFT == LATEST
