"""Liveness at both ends of a connection, and at those who hear of it: they come to agree."""

import itertools

import pytest

from fabric.core.frames import Alive, Probe, ProbeAck, RollCall, Suspect
from fabric.core.liveness_events import State, Tell
from tests.core.a_fleet import Sim, a_fleet, a_node


def states(sim: Sim) -> set:
    """Return what the running nodes hold of each other."""
    running = [node for node in sim.cores if node not in sim.stopped]
    return {sim.cores[one].state_of(other) for one in running for other in running}


def digests(sim: Sim) -> set[bytes]:
    return {core._lives.digest for node, core in sim.cores.items() if node not in sim.stopped}


def test_of_each_connected_pair_the_lower_node_id_sends_one_probe_a_second() -> None:
    sim = a_fleet(1, 6, 5, loss=0.0)
    sim.run(30.0)
    sim.counts_bytes = True
    sim.run(60.0)

    for lower, higher in itertools.combinations(sorted(sim.cores), 2):
        assert 29 <= sim.kinds[lower, higher, Probe] <= 31
        assert sim.kinds[lower, higher, Probe] == pytest.approx(
            sim.kinds[higher, lower, ProbeAck], abs=1
        )
        assert not sim.kinds[higher, lower, Probe]
    assert {kind for _, _, kind in sim.kinds} == {Probe, ProbeAck, RollCall}


@pytest.mark.parametrize("way", [(0, 1), (1, 0)])
def test_a_pair_that_cannot_hear_each_other_is_vouched_for_by_the_rest(way) -> None:
    sim = a_fleet(2, 6, 5, loss=0.0)
    sender, receiver = map(a_node, way)
    sim.muted.add((sender, receiver))
    sim.counts_bytes = True
    sim.run(sim.now + 60)

    assert states(sim) == {State.ALIVE}
    assert not [kind for _, _, kind in sim.kinds if kind is Suspect], "nobody was accused"
    assert len(digests(sim)) == 1


@pytest.mark.parametrize("way", [(0, 1), (1, 0)])
def test_two_that_have_nobody_else_are_dead_to_each_other_alike(way) -> None:
    sim = a_fleet(3, 2, 1, loss=0.0)
    one, other = sorted(sim.cores)
    sender, receiver = map(a_node, way)
    sim.muted.add((sender, receiver))
    sim.run(sim.now + 40)
    assert sim.cores[one].state_of(other) is sim.cores[other].state_of(one) is State.DEAD

    sim.muted.clear()
    sim.run(sim.now + 12)
    assert states(sim) == {State.ALIVE}
    assert len(digests(sim)) == 1


def test_the_accused_hears_of_it_and_its_answer_reaches_everybody_within_two_seconds() -> None:
    sim = a_fleet(4, 24, 8, loss=0.0)
    accuser, accused = next(iter(sim.links))
    word = sim.cores[accused].own.word()
    watch = sim.cores[accuser]._ears.watch_of(accused)
    sim.counts_bytes = True
    for effect in sim.cores[accuser]._rumours.accuse(watch, sim.now):
        if isinstance(effect, Tell):
            sim.send(accuser, effect.peer, effect.frame)
    assert sim.cores[accuser].state_of(accused) is State.SUSPECT
    sim.run(sim.now + 2.0)

    assert states(sim) == {State.ALIVE}
    assert {core.view_of(accused).incarnation for core in sim.cores.values()} == {
        word.incarnation + 1
    }
    assert [kind for sender, _, kind in sim.kinds if (sender, kind) == (accused, Alive)]


@pytest.mark.parametrize("seed", range(3))
def test_after_any_weather_all_who_run_come_to_hold_the_same(seed: int) -> None:
    sim = a_fleet(seed, 12, 6)
    rng, nodes = sim.rng, sorted(sim.cores)
    for _ in range(4):
        sim.pause(rng.choice(sorted(set(nodes) - sim.asleep.keys())), rng.uniform(1, 9))
        sim.part(set(rng.sample(nodes, rng.randrange(1, 6))))
        sim.run(sim.now + rng.uniform(2, 9))
        sim.muted.update(rng.sample(list(itertools.permutations(nodes, 2)), 10))
        sim.run(sim.now + rng.uniform(2, 9))
        sim.cut.clear()
        sim.muted.clear()
    gone = rng.choice(nodes)
    sim.stop(gone)
    sim.run(sim.now + 45)

    assert states(sim) == {State.ALIVE}
    assert sim.states(gone) == {State.DEAD}
    assert len(digests(sim)) == 1
