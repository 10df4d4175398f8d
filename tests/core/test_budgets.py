"""How much may be had per second, who goes without, and who pays afterwards."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fabric.core import budgets
from fabric.core.budgets import WINDOW, WINDOW_BURST, Allowance, Windows
from fabric.core.records import Key


# -- an allowance --
def test_a_burst_is_there_at_once_and_no_more() -> None:
    allowance = Allowance(1.0, 3.0)

    assert [allowance.take(7.0) for _ in range(4)] == [True, True, True, False]


def test_what_was_taken_comes_back_at_the_rate() -> None:
    allowance = Allowance(2.0, 3.0)
    allowance.take(0.0, 3.0)

    assert not allowance.take(0.25)
    assert allowance.take(0.5)
    assert not allowance.take(0.5)
    assert allowance.take(1.0)


def test_nothing_is_saved_up_beyond_the_burst() -> None:
    allowance = Allowance(1.0, 3.0)
    allowance.take(0.0, 3.0)

    assert not allowance.take(1e9, 3.5)
    assert allowance.take(1e9, 3.0)


def test_who_goes_without_pays_nothing() -> None:
    allowance = Allowance(1.0, 3.0)

    assert not allowance.take(0.0, 4.0)
    assert allowance.take(0.0, 3.0)


def test_it_is_ready_when_it_says_and_not_before() -> None:
    allowance = Allowance(4.0, 3.0)
    allowance.take(10.0, 3.0)

    assert allowance.ready_at(10.0) == 10.25
    assert allowance.ready_at(10.0, 2.0) == 10.5
    assert not allowance.take(10.2)
    assert allowance.take(10.25)


def test_it_is_ready_now_where_there_is_enough() -> None:
    assert Allowance(1.0, 3.0).ready_at(10.0, 3.0) == 10.0


def test_whoever_is_charged_may_get_into_debt_and_pays_it_off() -> None:
    allowance = Allowance(10.0, 20.0)

    assert allowance.charge(5.0, 15.0) == 5.0
    assert allowance.charge(5.0, 15.0) == 6.0
    assert allowance.charge(5.5, 0.0) == 6.0
    assert not allowance.take(6.0)
    assert allowance.take(6.1)


def test_debts_add_up() -> None:
    allowance = Allowance(10.0, 20.0)

    assert [allowance.charge(0.0, 20.0) for _ in range(3)] == [0.0, 2.0, 4.0]


def test_a_time_that_goes_back_gives_nothing() -> None:
    allowance = Allowance(1.0, 1.0)
    allowance.take(10.0)

    assert not allowance.take(5.0)
    assert not allowance.take(10.5)
    assert allowance.take(11.0)


RATES = st.sampled_from([0.2, 0.3, 1.0, 4.0, 7.0, 200.0])
WAITS = st.lists(st.floats(0.0, 3.0, allow_nan=False), max_size=40)


@given(rate=RATES, waits=WAITS)
def test_nobody_takes_more_than_the_rate_and_one_burst(rate: float, waits: list[float]) -> None:
    allowance = Allowance(rate, 3.0)
    now, taken = 0.0, 0
    for wait in (0.0, *waits):
        now += wait
        while allowance.take(now):
            taken += 1

    assert 3 <= taken <= 3.0 + rate * now + 1e-6


@given(rate=RATES, at=st.floats(0.0, 1e6), amount=st.integers(1, 3))
@example(rate=200.0, at=65536.0, amount=2)
def test_who_comes_when_told_is_never_sent_away(rate: float, at: float, amount: int) -> None:
    allowance = Allowance(rate, 3.0)
    allowance.take(at, 3.0)

    assert allowance.take(allowance.ready_at(at, amount), amount)


# -- windows: what is taken at once and what is held back --
OFFERS, ENDPOINT = Key("offers", "home-1"), Key("endpoint", "home-1")


def taken(windows: Windows[str], number: int, item: str = "", now: float = 0.0) -> bool:
    return windows.take(OFFERS, number, item or f"offers {number}", now)


def test_a_burst_of_words_is_taken_and_the_next_one_waits() -> None:
    windows = Windows[str]()

    assert [taken(windows, n) for n in range(5)] == [True] * WINDOW_BURST + [False] * 2
    assert windows.due(0.0) == []
    assert windows.wake_at(0.0) == WINDOW
    assert windows.due(WINDOW) == ["offers 4"]
    assert windows.due(2 * WINDOW) == []


def test_of_what_is_held_back_the_newest_is_kept() -> None:
    windows = Windows[str]()

    for number in (1, 2, 3, 9, 7, 8):
        taken(windows, number)

    assert windows.due(WINDOW) == ["offers 9"]


def test_two_that_contend_for_one_number_are_both_kept_and_a_third_is_not() -> None:
    windows = Windows[str]()
    for number in (1, 2, 3):
        taken(windows, number)

    for item in ("a", "b", "c"):
        taken(windows, 4, item)

    assert windows.due(WINDOW) == ["a", "b"]


def test_what_comes_behind_something_that_waits_waits_too() -> None:
    windows = Windows[str]()
    for number in (1, 2, 3, 4):
        taken(windows, number)

    assert not taken(windows, 5, now=WINDOW)
    assert windows.due(WINDOW) == ["offers 5"]


def test_each_author_and_kind_has_a_window_of_its_own() -> None:
    windows = Windows[str]()
    for number in range(5):
        taken(windows, number)

    assert windows.take(ENDPOINT, 1, "endpoint 1", 0.0)
    assert windows.take(Key("offers", "home-2"), 1, "theirs", 0.0)


def test_nothing_is_due_where_nothing_waits() -> None:
    windows = Windows[str]()
    taken(windows, 1)

    assert windows.wake_at(0.0) is None
    assert windows.due(WINDOW) == []


def test_a_wakeup_is_never_too_early() -> None:
    windows = Windows[str]()
    for number in range(4):
        taken(windows, number, now=0.1)

    at = windows.wake_at(3.3)

    assert at is not None
    assert windows.due(at) == ["offers 3"]


def test_no_more_windows_are_remembered_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "MOST_WINDOWS", 2)
    windows = Windows[str]()
    for number in range(4):
        taken(windows, number)

    for name in ("home-2", "home-3"):
        windows.take(Key("offers", name), 1, name, 0.0)

    assert len(windows) == 2
    assert windows.due(WINDOW) == []  # what was held back went with its window
    assert windows.wake_at(WINDOW) is None
