"""The model of the net keeps the promises that QUIC makes, and no others."""

import random

import pytest

from fabric.core.frames import Page, Probe, Records
from fabric.core.identity import NodeId
from fabric.core.liveness_events import State
from fabric.testing.sim import Setting, Weather
from fabric.testing.sim.weather import Sky
from fabric.testing.sim.wire import DATAGRAM, Way

A, B = NodeId("a"), NodeId("b")


def a_wave(size: int) -> Records:
    return Records(items=((b"x" * size, 1, b"w" * 8, 0),))


def read_times(frames, weather: Weather, *, apart: float = 0.0) -> list[float]:
    way, rng = Way(A, B), random.Random(1)
    items = [way.put(each, apart * at, weather, rng) for at, each in enumerate(frames)]
    return [each.reads_at for each in items]


def test_what_is_behind_a_gap_waits_for_it() -> None:
    times = read_times([Probe(seq=seq) for seq in range(200)], Weather(loss=0.3), apart=0.01)

    assert times == sorted(times)
    assert len(set(times)) < 200, "some came together, after a gap"


def test_nothing_is_lost_but_late() -> None:
    way, rng, weather = Way(A, B), random.Random(2), Weather(loss=0.5)

    items = [way.put(Probe(seq=seq), float(seq), weather, rng) for seq in range(100)]

    assert [way.take().frame.seq for _ in items] == list(range(100))
    assert max(each.comes_at - each.leaves_at for each in items) > weather.again_after


def test_frames_of_one_moment_share_a_datagram_and_its_fate() -> None:
    way, rng = Way(A, B), random.Random(3)

    first, second = (way.put(Probe(seq=seq), 1.0, Weather(), rng) for seq in (1, 2))
    later = way.put(Probe(seq=3), 1.1, Weather(), rng)

    assert (first.datagrams, second.datagrams, later.datagrams) == (1, 0, 1)
    assert second.comes_at == pytest.approx(first.comes_at, abs=0.001)


def test_a_large_frame_takes_many_datagrams() -> None:
    page = Page(envelopes=(b"x" * 40_000,))

    assert Way(A, B, is_sync=True).put(page, 0.0, Weather(), random.Random(1)).datagrams == 34
    assert DATAGRAM * 33 < 40_000


def test_an_outbox_that_nobody_empties_drops_waves_and_takes_probes() -> None:
    way, rng = Way(A, B), random.Random(4)

    taken = [way.put(a_wave(60_000), 0.0, Weather(), rng) for _ in range(10)]

    assert [each is not None for each in taken] == [True] * 5 + [False] * 5
    assert way.dropped == 5
    probe = way.put(Probe(seq=1), 0.0, Weather(), rng)
    assert probe.leaves_at == 0.0, "before the waves that wait"


def test_only_who_stands_on_two_sides_is_cut_off() -> None:
    sky = Sky()
    sky.part((A,), (B,))

    assert sky.is_cut(A, B)
    assert not sky.is_cut(A, NodeId("c"))
    sky.clear()
    assert not sky.is_cut(A, B)


def test_both_ends_agree_which_connection_stands() -> None:
    fleet = Setting(nodes=14, weather=Weather(loss=0.2)).warm_fleet()
    fleet.run(5.0)

    for node in fleet.nodes.values():
        for peer, connection in node.links.items():
            assert fleet.nodes[peer].links[node.id] is connection


def test_a_cut_breaks_what_crosses_it_and_nothing_else() -> None:
    fleet = Setting(nodes=8, weather=Weather()).warm_fleet()
    here, there = fleet.ids[:4], fleet.ids[4:]
    fleet.part(here, there)
    fleet.run(4.0 + 1.0)

    for node in fleet.nodes.values():
        side = here if node.id in here else there
        assert set(node.links) == set(side) - {node.id}


def test_a_node_that_leaves_a_ghost_behind_is_taken_for_dead_not_for_linked() -> None:
    fleet = Setting(nodes=8, weather=Weather()).warm_fleet()
    gone = fleet.any_node()
    fleet.stop(gone)
    fleet.run(10.0)

    assert all(gone.id not in node.links for node in fleet.nodes.values())
    assert fleet.states_of(gone.id) == {State.DEAD}
