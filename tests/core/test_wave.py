"""Whom a record goes to next, and whom it does not."""

from __future__ import annotations

import random
from typing import Any

import attrs
import pytest

from fabric.core.holding import Heard
from fabric.core.identity import NodeId
from fabric.core.records import FABRIC, Key, Policy
from fabric.core.wave import MOST_RECENT, MOST_WAITING, PACE, Carried, Passing, Send, Wave

ME = NodeId("me")
KEY = Key("policy", FABRIC)


def a_wave(*peers: str, seed: int = 1, **fields: int) -> Wave:
    """Return a wave of ``me`` with *peers*, each in the area that its name begins with."""
    wave = Wave(ME, random.Random(seed), **fields)
    for peer in peers:
        wave.peer_up(NodeId(peer), peer.partition("-")[0])
    return wave


def carried(key: Key = KEY, *, hops: int = 4, at: float = 0.0, **fields: Any) -> Carried:
    usual = {"packed": (b"envelope",), "wave_id": b"a wave.."}
    return Carried(key=key, hops_left=hops, at=at, **(usual | fields))


def reached(sends: list[Send]) -> list[NodeId]:
    return [each.to for each in sends]


HOME = [f"home-{number}" for number in range(10)]


def test_it_goes_to_as_many_peers_as_the_fanout_says_and_to_none_twice() -> None:
    sends = reached(a_wave(*HOME, fanout=5).spread(carried(), 0.0))

    assert len(sends) == len(set(sends)) == 5


def test_more_areas_than_the_fanout_make_no_more_copies() -> None:
    peers = [f"area{number}-1" for number in range(9)]

    assert len(a_wave(*peers, fanout=5).spread(carried(), 0.0)) == 5


def test_fanout_and_hops_are_a_policys_unless_there_is_one() -> None:
    usual = attrs.fields(Policy)

    assert usual.fanout.default == Wave.FANOUT
    assert usual.hops.default == Wave.HOPS


def test_other_areas_come_before_a_second_peer_of_one() -> None:
    peers = [*HOME, "away-1", "away-2", "sea-1"]

    for seed in range(20):
        sends = reached(a_wave(*peers, seed=seed, fanout=3).spread(carried(), 0.0))
        assert {peer.partition("-")[0] for peer in sends} == {"home", "away", "sea"}


def test_a_peer_that_moved_counts_for_its_new_area() -> None:
    wave = a_wave("home-1", "home-2", "home-3", fanout=2)
    wave.peer_moved(NodeId("home-3"), "away")
    wave.peer_moved(NodeId("nobody"), "sea")

    assert NodeId("home-3") in reached(wave.spread(carried(), 0.0))


def test_one_seed_means_one_choice_in_whatever_order_the_peers_came() -> None:
    one, other = a_wave(*HOME, seed=7), a_wave(*reversed(HOME), seed=7)

    assert one.spread(carried(), 0.0) == other.spread(carried(), 0.0)


def test_it_does_not_go_back_nor_to_this_node_nor_to_its_author() -> None:
    wave = a_wave("home-1", "home-2", "home-3")
    wave.peer_up(ME, "home")

    sends = wave.spread(carried(without=(NodeId("home-1"), NodeId("home-2"), None)), 0.0)

    assert reached(sends) == ["home-3"]


def test_a_peer_that_is_gone_is_sent_nothing() -> None:
    wave = a_wave("home-1", "home-2")
    wave.peer_down(NodeId("home-1"))

    assert reached(wave.spread(carried(), 0.0)) == ["home-2"]


@pytest.mark.parametrize(("left", "sent"), [(3, [2]), (1, [0]), (0, [])])
def test_each_forwarding_takes_one_hop_and_the_last_is_the_last(
    left: int, sent: list[int]
) -> None:
    sends = a_wave("home-1").spread(carried(hops=left), 0.0)

    assert [each.item[1] for each in sends] == sent


def test_hops_beyond_the_policys_are_clamped() -> None:
    sends = a_wave("home-1", hops=6).spread(carried(hops=255), 0.0)

    assert sends[0].item[1] == 5


def test_the_age_counts_what_it_was_on_the_way_and_what_it_waited_here() -> None:
    sends = a_wave("home-1").spread(carried(age=1.5, at=10.0), 10.25)

    assert sends[0].item[3] == 1750


def test_an_age_that_no_frame_can_hold_is_capped() -> None:
    sends = a_wave("home-1").spread(carried(age=1e9), 0.0)

    assert sends[0].item[3] == 2**32 - 1


def test_both_halves_of_an_equivocation_go_to_the_same_peers() -> None:
    sends = a_wave(*HOME, fanout=2).spread(carried(packed=(b"one", b"other")), 0.0)

    told = {peer: [each.item[0] for each in sends if each.to == peer] for peer in reached(sends)}
    assert list(told.values()) == [[b"one", b"other"]] * 2


# -- the pace of authority --
def keys(number: int) -> list[Key]:
    return [Key("node", f"n{each:05}") for each in range(number)]


def test_authoritys_records_go_out_no_faster_than_the_pace() -> None:
    wave = a_wave("home-1")
    every = keys(200)
    sent = [wave.spread(carried(each), 0.0, paced=True) for each in every]
    assert sum(map(bool, sent)) == PACE

    assert wave.due(0.0) == []
    assert len(wave.due(1.0)) == PACE
    assert len(wave.due(1.5)) == PACE / 2


def test_what_comes_later_does_not_overtake_what_waits() -> None:
    wave = a_wave("home-1")
    for each in keys(int(PACE) + 1):
        wave.spread(carried(each), 0.0, paced=True)

    assert wave.spread(carried(Key("node", "late")), 1.0, paced=True) == []
    assert len(wave.due(1.0)) == 2


def test_it_is_told_when_more_may_go_out() -> None:
    wave = a_wave("home-1")
    assert wave.wake_at(0.0) is None
    for each in keys(int(PACE) + 1):
        wave.spread(carried(each), 0.0, paced=True)

    at = wave.wake_at(0.0)
    assert at is not None
    assert at == pytest.approx(1 / PACE)
    assert len(wave.due(at)) == 1
    assert wave.wake_at(at) is None


def test_a_nodes_own_word_does_not_wait_behind_the_directory() -> None:
    wave = a_wave("home-1")
    for each in keys(200):
        wave.spread(carried(each), 0.0, paced=True)

    assert wave.spread(carried(Key("offers", "n1")), 0.0) != []


def test_of_what_waits_only_the_newest_of_each_key_goes_out() -> None:
    wave = a_wave("home-1")
    for each in keys(int(PACE)):
        wave.spread(carried(each), 0.0, paced=True)
    for said in (b"old", b"new"):
        wave.spread(carried(packed=(said,)), 0.0, paced=True)

    assert [each.item[0] for each in wave.due(60.0)] == [b"new"]


def test_no_more_keys_wait_than_may() -> None:
    wave = a_wave("home-1")
    every = keys(MOST_WAITING + int(PACE) + 10)
    for each in every:
        wave.spread(carried(each, packed=(str(each).encode(),)), 0.0, paced=True)

    late = [send.item[0] for second in range(1, 60) for send in wave.due(float(second))]
    assert len(late) == MOST_WAITING
    assert late[-1] == str(every[-1]).encode()


def test_who_sends_it_while_it_waits_is_left_out() -> None:
    wave = a_wave("home-1", "home-2")
    for each in keys(int(PACE)):
        wave.spread(carried(each), 0.0, paced=True)
    wave.spread(carried(), 0.0, paced=True)

    for _ in range(3):
        wave.heard_again(b"a wave..", KEY, NodeId("home-1"))
    wave.heard_again(b"another.", KEY, NodeId("home-2"))

    assert len(wave._waiting[KEY].without) == 1  # however often it repeats itself
    assert reached(wave.due(1.0)) == ["home-2"]


# -- for people --
def passing(number: int = 0) -> Passing:
    return Passing(KEY, Heard(NodeId("home-1"), 2, wave_id=number.to_bytes(8, "big")))


def test_a_wave_is_remembered_with_its_reach_and_its_duplicates() -> None:
    wave = a_wave("home-1", "home-2", "home-3")
    wave.note(passing())
    before = wave.recent()

    wave.spread(carried(wave_id=bytes(8), without=(NodeId("home-1"),)), 0.0)
    wave.heard_again(bytes(8), KEY, NodeId("home-2"))

    (seen,) = wave.recent()
    assert (seen.reach, seen.duplicates) == (2, 1)
    assert (before[0].reach, before[0].duplicates) == (0, 0)


def test_the_last_waves_are_remembered_and_no_more() -> None:
    wave = a_wave()
    for number in range(MOST_RECENT + 5):
        wave.note(passing(number))

    assert len(wave.recent()) == MOST_RECENT
    assert wave.recent()[-1] == passing(MOST_RECENT + 4)
