"""What streams may queue in their connection's engine, and who goes on first."""

from __future__ import annotations

import pytest
from attrs import define

from fabric.trio_quic import Settings
from fabric.trio_quic.room import QUEUED_MAX, SMALL, WINDOW_SHARE, Room

LIMITS = Settings()
WIDE = 100 * QUEUED_MAX


@define(eq=False)
class FakeEngine:
    """An engine after a flush."""

    window: int = WIDE
    waits: int = 0
    holds_events: bool = False

    def window_room(self, _enough):
        return self.window

    def queued(self, *, exact_above):
        assert exact_above < QUEUED_MAX
        return self.waits


@define(eq=False)
class Sender:
    """A stream whose sender waits."""

    name: str
    woken: list
    unsent: int = 0
    room: Room | None = None

    def wake_if_roomy(self):
        if not self.room.is_enough_beside(self.unsent):
            return False
        self.woken.append(self.name)
        return True


def a_room(**engine):
    room = Room(LIMITS)
    room.measure(FakeEngine(**engine))
    return room


def wake(room, *unsent):
    """Let as many senders wait as there are figures, and return who is woken."""
    woken = []
    for name, size in enumerate(unsent):
        room.waiting[Sender(name, woken, size, room)] = None
    room.wake()
    return woken


def test_a_stream_queues_at_most_its_own_share():
    assert a_room().beside(0) == LIMITS.unsent_high
    assert a_room().beside(LIMITS.unsent_high - 1) == 1


def test_all_together_queue_no_more_than_the_bound():
    room = a_room()
    taken = 0
    while size := room.beside(SMALL):
        room.take(size)
        taken += size
    assert taken == QUEUED_MAX


@pytest.mark.parametrize("full", [{"waits": QUEUED_MAX}, {"holds_events": True}])
def test_where_others_have_queued_enough_or_events_wait_a_request_still_passes(full):
    assert a_room(**full).beside(0) == SMALL
    assert a_room(**full).beside(SMALL) == 0


@pytest.mark.parametrize("full", [{"waits": QUEUED_MAX}, {"holds_events": True}, {"window": 0}])
def test_where_there_is_no_room_nobody_who_waits_is_woken(full):
    assert wake(a_room(**full), 0, 0) == []


def test_a_full_window_is_full_for_requests_too():
    assert a_room(window=0).beside(0) == 0
    assert a_room(window=100).beside(0) == 100


def test_those_that_waited_longest_go_on_as_many_as_find_room():
    assert wake(a_room(window=2 * WINDOW_SHARE), 0, 0, 0) == [0, 1]


def test_who_has_much_queued_is_passed_over():
    assert wake(a_room(window=2 * WINDOW_SHARE), LIMITS.unsent_high, 0, 0, 0) == [1, 2]
