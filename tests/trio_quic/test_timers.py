"""Deadlines: the earliest of those that count is waited for, and no dead one."""

import math

from attrs import define

from fabric.trio_quic.timers import Timers


@define(eq=False)
class Owner:
    entry: list | None = None


def armed(*times):
    timers, owners = Timers(), [Owner() for _ in times]
    for owner, at in zip(owners, times, strict=True):
        timers.arm(owner, at)
    return timers, owners


def test_a_deadline_that_was_taken_back_is_not_waited_for():
    timers, (first, second) = armed(1.0, 2.0)
    timers.disarm(first)
    assert (timers.next_due, timers.first) == (2.0, second)
    timers.disarm(second)
    assert (timers.next_due, timers.first, len(timers)) == (math.inf, None, 0)


def test_one_that_is_put_off_lets_others_go_first():
    timers, (first, second) = armed(1.0, 2.0)
    timers.put_off(first, 3.0)
    assert (timers.next_due, timers.first) == (2.0, second)
    assert list(timers.due(2.5)) == [second]
    assert list(timers.due(3.0)) == [first]


def test_one_that_is_put_off_for_good_is_never_due():
    timers, (first,) = armed(1.0)
    timers.put_off(first, math.inf)
    assert timers.next_due == math.inf
    assert list(timers.due(1e9)) == []
