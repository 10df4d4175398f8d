"""Events are carried out one after the other, also those that follow from one."""

import pytest

from fabric.runtime.in_turn import InTurn


def test_what_follows_from_an_event_comes_after_the_whole_of_it():
    seen = []

    def take(event):
        seen.append(f"{event} begins")
        if event == "first":
            turns.put("second")
        seen.append(f"{event} ends")

    turns = InTurn(take)
    turns.put("first")
    assert seen == ["first begins", "first ends", "second begins", "second ends"]


def test_an_event_that_fails_keeps_none_from_its_turn():
    seen = []

    def take(event):
        if event == "bad":
            raise ValueError(event)
        seen.append(event)

    turns = InTurn(take)
    with pytest.raises(ValueError, match="bad"):
        turns.put("bad")
    turns.put("good")
    assert seen == ["good"]
