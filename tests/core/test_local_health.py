"""How far a node trusts its own ears: each sign, step by step."""

import pytest

from fabric.core.local_health import LATE, MOST, SLOW, LocalHealth


@pytest.mark.parametrize(
    ("silent", "peers", "step"),
    [(0, 0, -1), (0, 8, -1), (1, 1, -1), (1, 8, -1), (4, 8, -1), (5, 8, 1), (2, 2, 1), (2, 3, 1)],
)
def test_one_silent_peer_is_its_own_fault_and_most_of_several_are_mine(
    silent: int, peers: int, step: int
) -> None:
    health = LocalHealth()
    health.doubted()
    health.doubted()
    health.count(silent=silent, peers=peers)

    assert health.score == 2 + step


def test_patience_grows_to_ninefold_and_comes_back_second_by_second() -> None:
    health, stretches = LocalHealth(), []
    for _ in range(12):
        health.count(silent=8, peers=8)
        stretches.append(health.stretch)
    assert stretches == [2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9]
    assert health.score == MOST

    for _ in range(10):
        health.count(silent=0, peers=8)
    assert (health.score, health.stretch) == (0, 1)


@pytest.mark.parametrize(("late", "score"), [(LATE, 0), (0.6, 1), (1.2, 2), (5.0, 5), (60.0, 8)])
def test_a_late_timer_costs_its_seconds_rounded_up(late: float, score: int) -> None:
    health = LocalHealth()
    health.overslept(late)

    assert health.score == score
    assert health.is_slow is (score >= SLOW)
