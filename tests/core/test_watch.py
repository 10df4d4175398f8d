"""One neighbour as a node hears it: each turn of the table, and none besides."""

import itertools

import pytest

from fabric.core.identity import NodeId
from fabric.core.watch import (
    ASK_TIMEOUT,
    FRESH,
    PROBE_TIMEOUT,
    ROOT_AGAIN,
    TURNS,
    UNPROBED,
    Phase,
    Sign,
    Watch,
)


def a_watch(*, is_prober: bool = True, phase: Phase = Phase.HEARING) -> Watch:
    return Watch(NodeId("x"), is_prober=is_prober, heard_at=100.0, quiet_since=100.0, phase=phase)


@pytest.mark.parametrize(("phase", "sign"), list(itertools.product(Phase, Sign)))
def test_a_sign_turns_a_phase_as_the_table_says_and_no_other_does(phase, sign) -> None:
    watch = a_watch(phase=phase)
    changed = watch.take(sign)

    assert watch.phase is TURNS.get((phase, sign), phase)
    assert changed is ((phase, sign) in TURNS)


def test_only_what_asking_did_not_answer_is_accused() -> None:
    assert [turn for turn, to in TURNS.items() if to is Phase.ACCUSING] == [
        (Phase.ASKING, Sign.UNVOUCHED)
    ]


@pytest.mark.parametrize("phase", Phase)
def test_any_frame_ends_in_hearing(phase: Phase) -> None:
    watch = a_watch(phase=phase)
    watch.take(Sign.FRAME)

    assert watch.phase is Phase.HEARING


@pytest.mark.parametrize("stretch", [1, 9])
def test_patience_is_stretched_for_answers_and_for_help_and_not_for_probes(stretch: int) -> None:
    prober, other = a_watch(), a_watch(is_prober=False)
    prober.probe_due = 101.0
    assert prober.due(stretch) == 101.0
    assert other.due(stretch) == 100.0 + UNPROBED

    prober.probe = (1, 101.0)
    assert prober.due(stretch) == 101.0 + stretch * PROBE_TIMEOUT
    prober.take(Sign.UNANSWERED)
    prober.asked = (2, 102.0)
    assert prober.due(stretch) == 102.0 + stretch * ASK_TIMEOUT


def test_it_is_heard_for_a_moment_while_it_is_connected() -> None:
    watch = a_watch()
    assert watch.is_fresh(100.0 + FRESH - 0.01)
    assert not watch.is_fresh(100.0 + FRESH)

    watch.is_connected = False
    assert not watch.is_fresh(100.0)


def test_a_root_is_told_once_and_again_after_a_while_or_a_change() -> None:
    watch = a_watch()
    told = [watch.tell_root(root, now) for root, now in [(b"r", 0.0), (b"r", 1.0), (b"n", 2.0)]]
    assert told == [b"r", None, b"n"]

    assert watch.tell_root(b"n", 2.0 + ROOT_AGAIN - 0.1) is None
    assert watch.tell_root(b"n", 2.0 + ROOT_AGAIN) == b"n"
