"""When a node contradicts what is said against it: at once, then ever more slowly, never twice."""

import math

import pytest

from fabric.core.own_life import CALM, GAP, LONGEST_GAP, PAUSE, OwnLife, first_incarnation
from fabric.core.testimony import Notary
from tests.core.a_seat import FABRIC, ME, A, B, signs

BEGAN = 1000.0


@pytest.fixture
def life() -> OwnLife:
    notary = Notary(
        me=ME,
        fabric_id=FABRIC,
        sign=lambda message: signs(ME, message),
        verify=lambda *_: True,
    )
    return OwnLife(notary, first_incarnation(1))


def answered(life: OwnLife, now: float, *accusers: str) -> float:
    """Accuse what it is now at *now*; return after how long it answers."""
    life.contradict(life.incarnation, set(accusers), now)
    at = life.refute_at
    life.refute(at)
    return at - now


def test_one_accuser_alone_waits_twice_as_long_each_time_up_to_a_bound(life: OwnLife) -> None:
    now, waits = BEGAN, []
    for _ in range(7):
        waits.append(answered(life, now, A))
        now += waits[-1]

    assert waits == [0, 2 * GAP, 4 * GAP, 8 * GAP, LONGEST_GAP, LONGEST_GAP, LONGEST_GAP]


def test_after_a_calm_it_answers_at_once_and_then_as_the_first_time(life: OwnLife) -> None:
    now = BEGAN
    for _ in range(6):
        now += answered(life, now, A)
    now += CALM

    assert answered(life, now, A) == 0
    assert answered(life, now, A) == 2 * GAP


def test_who_accused_an_earlier_word_is_no_second_accuser_of_the_next(life: OwnLife) -> None:
    now = BEGAN + answered(life, BEGAN, A, B)
    now += answered(life, now, A)

    assert answered(life, now, A) == 2 * GAP


def test_one_that_is_due_is_not_put_off_by_another_accusation(life: OwnLife) -> None:
    answered(life, BEGAN, A)
    life.contradict(life.incarnation, {A}, BEGAN)
    due = life.refute_at
    life.contradict(life.incarnation, {A}, BEGAN + CALM)

    assert life.refute_at == due


def test_a_long_sleep_makes_it_speak_a_short_one_does_not(life: OwnLife) -> None:
    life.overslept(PAUSE - 0.1, BEGAN)
    assert life.refute_at == math.inf

    life.overslept(PAUSE, BEGAN)
    assert life.refute_at == BEGAN


def test_who_has_left_contradicts_nothing_however_long_it_slept(life: OwnLife) -> None:
    life.leave()
    life.contradict(life.incarnation, {A, B}, BEGAN)
    life.overslept(PAUSE, BEGAN)

    assert life.refute_at == math.inf
