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
    is_drained: bool = False

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
    header_bytes: int = 0

    def wake_if_roomy(self):
        if not self.room.is_enough_beside(self.unsent, self.header_bytes):
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
        room.wait(Sender(name, woken, size, room))
    room.wake()
    return woken


def test_a_stream_queues_at_most_its_own_share():
    assert a_room().beside(0, 0) == LIMITS.unsent_high
    assert a_room().beside(LIMITS.unsent_high - 1, 0) == 1


def test_all_together_queue_no_more_than_the_bound():
    room = a_room()
    taken = 0
    while size := room.beside(SMALL, 0):
        room.take(size, 0)
        taken += size
    assert taken == QUEUED_MAX


@pytest.mark.parametrize("full", [{"waits": QUEUED_MAX}, {"holds_events": True}])
def test_where_others_have_queued_enough_or_events_wait_a_request_still_passes(full):
    assert a_room(**full).beside(0, 0) == SMALL
    assert a_room(**full).beside(SMALL, 0) == 0


@pytest.mark.parametrize("full", [{"waits": QUEUED_MAX}, {"holds_events": True}, {"window": 0}])
def test_where_there_is_no_room_nobody_who_waits_is_woken(full):
    assert wake(a_room(**full), 0, 0) == []


def test_a_full_window_is_full_for_requests_too():
    assert a_room(window=0).beside(0, 0) == 0
    assert a_room(window=100).beside(0, 0) == 100


def test_those_that_waited_longest_go_on_as_many_as_find_room():
    assert wake(a_room(window=2 * WINDOW_SHARE), 0, 0, 0) == [0, 1]


def test_who_has_much_queued_is_passed_over():
    assert wake(a_room(window=2 * WINDOW_SHARE), LIMITS.unsent_high, 0, 0, 0) == [1, 2]


# ---- turns of streams whose headers differ in length ----
SHORT, LONG = 5, 6
BULK = SMALL + 1


def a_shared_room(*headers, is_drained=True):
    """A room with senders that wait, by the length of their headers, and the list of the woken."""
    room, woken = a_room(is_drained=is_drained), []
    for name, header_bytes in enumerate(headers):
        room.wait(Sender(name, woken, 0, room, header_bytes))
    return room, woken


def test_headers_of_another_length_wait_while_bulk_is_queued():
    room = a_room(is_drained=True)
    room.take(BULK, SHORT)
    assert room.beside(BULK, SHORT) > 0
    assert room.beside(BULK, LONG) == 0


def test_a_request_passes_whatever_its_header():
    room = a_room(is_drained=True)
    room.take(BULK, SHORT)
    assert room.beside(0, LONG) == SMALL


def test_a_request_says_nothing_of_whose_turn_it_is():
    room = a_room(is_drained=True)
    room.take(SMALL, LONG)
    assert room.beside(BULK, SHORT) > 0


def test_a_turn_begins_when_all_has_left_and_is_theirs_who_waited_longest():
    room, woken = a_shared_room(LONG, SHORT, LONG, is_drained=False)
    room.take(BULK, SHORT)
    room.wake()
    assert woken == []
    room.measure(FakeEngine(is_drained=True))
    room.wake()
    assert woken == [0, 2]


def test_a_turn_is_of_so_many_bytes_for_each_who_waited():
    room, _ = a_shared_room(LONG, SHORT, LONG)
    room.wake()
    room.take(2 * LIMITS.unsent_high - 1, LONG)
    assert room.beside(BULK, LONG) > 0
    room.take(1, LONG)
    assert room.beside(BULK, LONG) == 0


def test_a_turn_goes_on_while_nobody_else_waits():
    room, woken = a_shared_room(LONG, LONG)
    room.wake()
    assert woken == [0, 1]
    room.take(2 * LIMITS.unsent_high, LONG)
    assert room.beside(BULK, LONG) > 0


def test_where_the_window_binds_nobody_waits_for_a_turn():
    room = Room(LIMITS)
    room.measure(FakeEngine(window=2 * WINDOW_SHARE))
    room.take(BULK, SHORT)
    assert room.beside(BULK, LONG) > 0
