"""Delays: full jitter under a bound, short and close after a loss."""

import random

from fabric.core.backoff import Backoff, Redial


def test_delays_grow_to_the_ceiling_and_never_beyond() -> None:
    backoff = Backoff(random.Random(1), floor=1, ceiling=8)
    delays = [backoff.next_delay() for _ in range(10_000)]

    assert delays[0] <= 1
    assert max(delays) <= 8
    assert max(delays[10:]) > 4


def test_a_reset_starts_over() -> None:
    backoff = Backoff(random.Random(1), floor=1, ceiling=60)
    for _ in range(10):
        backoff.next_delay()
    backoff.reset()

    assert backoff.next_delay() <= 1


def test_a_lost_peer_is_met_within_two_seconds_of_its_return() -> None:
    redial = Redial(random.Random(1))
    redial.lost(100.0)

    for now in range(100, 130):
        assert redial.next_delay(now) + 2 * redial.attempt_timeout(now) <= 2.5
        assert redial.next_delay(now) + redial.attempt_timeout(now) < 1.5


def test_a_peer_that_stays_away_is_dialled_patiently() -> None:
    redial = Redial(random.Random(1))
    redial.lost(0.0)
    delays = [redial.next_delay(1000.0) for _ in range(100)]

    assert redial.attempt_timeout(1000.0) == redial.timeout
    assert redial.eager_bound < sum(delays) / len(delays) <= redial.ceiling


def test_an_eager_delay_is_never_nothing() -> None:
    redial = Redial(random.Random(1))

    assert min(redial.next_delay(0.0) for _ in range(1000)) > 0.05


def test_a_peer_that_refuses_is_not_hammered() -> None:
    redial = Redial(random.Random(1))
    redial.lost(0.0)
    delays = [redial.next_delay(1.0, refused=True) for _ in range(100)]

    assert sum(delays) / len(delays) > 2 * redial.eager_bound
