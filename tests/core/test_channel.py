"""The channel's table: every path, and what no path reaches."""

import pytest

from fabric.core.channel import FINAL, TRANSITIONS, Event, State, after
from fabric.errors import LocalProtocolError


def test_bytes_flow_on_no_path_without_acceptance() -> None:
    reached, frontier = {State.OPENING}, [State.OPENING]
    while frontier:
        here = frontier.pop()
        for (source, event), target in TRANSITIONS.items():
            if source is here and event is not Event.ACCEPTED and target not in reached:
                reached.add(target)
                frontier.append(target)

    assert reached == {State.OPENING, State.REFUSED, State.BROKEN}


def test_done_takes_a_fin_of_each_end() -> None:
    paths = [(State.OPEN, ())]
    done = []
    while paths:
        here, path = paths.pop()
        if here is State.DONE:
            done.append(set(path))
        paths += [
            (target, (*path, event))
            for (source, event), target in TRANSITIONS.items()
            if source is here
        ]

    assert done == [{Event.SENT_EOF, Event.GOT_EOF}] * 2


def test_a_final_state_is_final_and_every_other_can_break() -> None:
    for state in State:
        leaving = {event for source, event in TRANSITIONS if source is state}
        assert (state in FINAL) == (not leaving)
        assert (Event.BROKE in leaving) == (state not in FINAL)


def test_an_illegal_event_is_a_bug_of_ours() -> None:
    with pytest.raises(LocalProtocolError, match="opening"):
        after(State.OPENING, Event.SENT_EOF)
