"""Of two connections to one peer, both ends keep the same one."""

import pytest

from fabric.codes import Code
from fabric.core.identity import Instance, NodeId
from fabric.core.standing import Claim, Standings, Verdict, compare, next_boot_seq

LOW, HIGH = NodeId("aaaa"), NodeId("zzzz")
FIRST, SECOND = Instance(b"1" * 16), Instance(b"2" * 16)


def a_claim(
    *, peer: NodeId = HIGH, instance: Instance = FIRST, boot_seq: int = 100, dialler: NodeId = LOW
) -> Claim:
    return Claim(peer=peer, instance=instance, boot_seq=boot_seq, dialler=dialler)


def test_the_first_claim_stands() -> None:
    standings, claim = Standings(LOW), a_claim()

    assert standings.judge(claim, 0.0).stands
    assert standings.of(HIGH) is claim


def test_a_quick_restart_replaces_the_old_process_at_once() -> None:
    standings, old, new = Standings(LOW), a_claim(), a_claim(boot_seq=101, instance=SECOND)
    standings.judge(old, 0.0)

    judgement = standings.judge(new, 1.0)

    assert judgement.verdict is Verdict.REPLACE
    assert judgement.displaced is old
    assert standings.of(HIGH) is new


def test_an_older_process_is_refused_and_the_newer_stays() -> None:
    standings, newer = Standings(LOW), a_claim(boot_seq=101, instance=SECOND)
    standings.judge(newer, 0.0)

    assert standings.judge(a_claim(), 1.0).refusal is Code.STALE_INSTANCE
    assert standings.of(HIGH) is newer


def test_an_older_process_that_comes_twice_in_a_minute_is_a_duplicate() -> None:
    standings = Standings(LOW)
    standings.judge(a_claim(boot_seq=101, instance=SECOND), 0.0)

    refusals = [standings.judge(a_claim(), now).refusal for now in (1.0, 61.0, 122.0, 130.0)]

    assert refusals == [
        Code.STALE_INSTANCE,
        Code.DUPLICATE_IDENTITY,
        Code.STALE_INSTANCE,
        Code.DUPLICATE_IDENTITY,
    ]


def test_two_processes_with_one_key_and_one_boot_seq_are_a_duplicate_identity() -> None:
    standings, standing = Standings(LOW), a_claim()
    standings.judge(standing, 0.0)

    assert standings.judge(a_claim(instance=SECOND), 1.0).refusal is Code.DUPLICATE_IDENTITY
    assert standings.of(HIGH) is standing


def test_the_same_end_dialling_twice_means_that_it_lost_the_first() -> None:
    standings, old, new = Standings(LOW), a_claim(), a_claim()
    standings.judge(old, 0.0)

    judgement = standings.judge(new, 1.0)

    assert judgement.verdict is Verdict.SUPERSEDE
    assert judgement.displaced is old


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("other_order", [(0, 1), (1, 0)])
def test_both_ends_keep_the_lower_node_ids_dial(
    order: tuple[int, int], other_order: tuple[int, int]
) -> None:
    at_low, at_high = Standings(LOW), Standings(HIGH)
    seen_by_low = [a_claim(peer=HIGH, dialler=LOW), a_claim(peer=HIGH, dialler=HIGH)]
    seen_by_high = [a_claim(peer=LOW, dialler=LOW), a_claim(peer=LOW, dialler=HIGH)]

    for at in order:
        at_low.judge(seen_by_low[at], 0.0)
    for at in other_order:
        at_high.judge(seen_by_high[at], 0.0)

    assert at_low.of(HIGH) is seen_by_low[0]
    assert at_high.of(LOW) is seen_by_high[0]


def test_a_spare_connection_is_not_refused_but_does_not_stand() -> None:
    standings = Standings(LOW)
    standings.judge(a_claim(dialler=LOW), 0.0)

    judgement = standings.judge(a_claim(dialler=HIGH), 0.0)

    assert judgement.verdict is Verdict.SPARE
    assert not judgement.stands
    assert judgement.refusal is None


def test_an_ended_claim_makes_room_even_for_an_older_process() -> None:
    standings, newer, older = Standings(LOW), a_claim(boot_seq=101, instance=SECOND), a_claim()
    standings.judge(newer, 0.0)
    standings.ended(newer)

    assert standings.judge(older, 1.0).verdict is Verdict.ADMIT


def test_the_end_of_a_displaced_claim_does_not_touch_the_one_that_stands() -> None:
    standings, old, new = Standings(LOW), a_claim(), a_claim(boot_seq=101, instance=SECOND)
    standings.judge(old, 0.0)
    standings.judge(new, 1.0)
    standings.ended(old)

    assert standings.of(HIGH) is new


def test_peers_do_not_disturb_each_other() -> None:
    standings, one = Standings(LOW), a_claim(peer=HIGH)
    standings.judge(one, 0.0)
    standings.judge(a_claim(peer=NodeId("mmmm"), boot_seq=999, instance=SECOND), 0.0)

    assert standings.of(HIGH) is one


def test_compare_changes_nothing_about_what_it_compares() -> None:
    old, new = a_claim(), a_claim(boot_seq=101)

    assert compare(old, new) is Verdict.REPLACE
    assert compare(new, old) is Verdict.STALE


@pytest.mark.parametrize(
    ("stored", "clock", "expected"),
    [
        (0, 1_800_000_000.9, 1_800_000_000),
        (1_800_000_000, 1_800_000_000.2, 1_800_000_001),
        (9, 3.0, 10),
    ],
)
def test_boot_seq_rises_even_when_the_clock_does_not(
    stored: int, clock: float, expected: int
) -> None:
    assert next_boot_seq(stored, clock) == expected


def test_the_higher_end_keeps_its_spare_claim_until_the_lower_says_bye() -> None:
    """The lower one may have given up the dial that displaced it, and never know."""
    standings = Standings(HIGH)
    first, late = a_claim(peer=LOW, dialler=LOW), a_claim(peer=LOW, dialler=LOW)
    standings.judge(first, 0.0)
    standings.judge(late, 0.0)

    assert standings.ended(late) is first
    assert standings.of(LOW) is first


def test_a_spare_claim_that_was_said_bye_to_does_not_stand_again() -> None:
    standings = Standings(HIGH)
    first, second = a_claim(peer=LOW), a_claim(peer=LOW)
    standings.judge(first, 0.0)
    standings.judge(second, 0.0)
    standings.ended(first)

    assert standings.ended(second) is None
    assert standings.of(LOW) is None


def test_the_lower_end_which_says_bye_keeps_no_spare_claims() -> None:
    standings = Standings(LOW)
    first, second = a_claim(), a_claim()
    standings.judge(first, 0.0)
    standings.judge(second, 0.0)

    assert standings.ended(second) is None


def test_no_claim_of_an_older_process_stands_again() -> None:
    standings = Standings(HIGH)
    old = [a_claim(peer=LOW), a_claim(peer=LOW)]
    new = a_claim(peer=LOW, boot_seq=101, instance=SECOND)
    for claim in (*old, new):
        standings.judge(claim, 0.0)

    assert standings.ended(new) is None
