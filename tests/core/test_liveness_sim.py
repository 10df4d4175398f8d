"""A fleet of liveness cores: deaths are seen in time, only deaths, and all come to one view."""

import pytest
from attrs import define

from fabric.core.frames import Dead, Suspect
from fabric.core.identity import NodeId
from fabric.core.liveness_events import (
    Leaving,
    State,
)
from fabric.core.testimony import Context
from tests.core.a_fleet import Sim, a_fleet, a_node


def time_to_see_a_death(seed: int, size: int, degree: int) -> float:
    sim = a_fleet(seed, size, degree)
    dead = a_node(sim.rng.randrange(size))
    began = sim.now + sim.rng.random()
    sim.at(began, sim.stop, dead)
    sim.run(began + 12)
    assert {turn.node for _, turn in sim.deaths()} == {dead}
    return sim.last_seen_dead(dead) - began


def deaths_after_a_pause(seed: int, size: int, degree: int, seconds: float = 5.0) -> list:
    sim = a_fleet(seed, size, degree)
    node = a_node(sim.rng.randrange(size))
    sim.at(sim.now + sim.rng.random(), sim.pause, node, seconds)
    sim.run(sim.now + 16)
    assert sim.states(node) == {State.ALIVE}, sim.history(node)
    return sim.deaths()


# -- how soon, and how falsely --
def test_twenty_nodes_see_a_death_within_seven_seconds() -> None:
    assert time_to_see_a_death(1, 20, 8) < 7.0


@pytest.mark.parametrize("seed", range(2))
def test_a_node_that_stops_for_five_seconds_is_dead_to_nobody(seed: int) -> None:
    assert deaths_after_a_pause(seed, 16, 8) == []


@pytest.mark.figures
@pytest.mark.parametrize(("size", "degree"), [(20, 19), (30, 8), (100, 8)])
def test_a_pause_of_five_seconds_is_nobodys_death_over_a_hundred_seeds(size, degree) -> None:
    assert [seed for seed in range(100) if deaths_after_a_pause(seed, size, degree)] == []


@pytest.mark.figures
@pytest.mark.parametrize(("size", "degree", "most"), [(20, 19, 7.5), (30, 8, 8.0), (100, 8, 9.0)])
def test_a_death_is_seen_in_time_over_a_hundred_seeds(size, degree, most) -> None:
    times = sorted(time_to_see_a_death(seed, size, degree) for seed in range(100))

    assert times[98] < most
    assert times[-1] < 10.0


@define
class Cost:
    """What a node sends and receives in a second, on average over the fleet."""

    neighbours: float
    frames: float
    size: float


def cost_at_rest(seed: int, size: int, degree: int, *, loss: float = 0.0) -> Cost:
    sim = a_fleet(seed, size, degree, loss=loss)
    sim.run(45.0)  # until nobody has anything to repair
    sim.counts_bytes = True
    sim.run(sim.now + 30)
    return Cost(
        neighbours=2 * len(sim.links) / size,
        frames=sum(frames for frames, _ in sim.sent.values()) / 30 / size,
        size=sum(octets for _, octets in sim.sent.values()) / 30 / size,
    )


def test_at_rest_a_pair_costs_one_probe_and_its_answer_a_second() -> None:
    cost = cost_at_rest(3, 16, 8)

    assert cost.frames < 2 * cost.neighbours + 0.5, "probes, answers and the roll call"
    assert cost.size * 8 / cost.neighbours < 1_400, "bytes, with eight neighbours"


@pytest.mark.figures
@pytest.mark.parametrize("loss", [0.0, 0.05])
def test_a_hundred_nodes_with_eight_neighbours_leave_a_quarter_of_two_kilobytes(loss) -> None:
    cost = cost_at_rest(3, 100, 8, loss=loss)

    assert cost.size * 8 / cost.neighbours < 1_500


def test_ten_per_cent_loss_makes_nobody_dead() -> None:
    sim = a_fleet(4, 20, 8)
    sim.run(45.0)

    assert sim.deaths() == []
    assert {core.state_of(node) for core in sim.cores.values() for node in sim.cores} == {
        State.ALIVE
    }


# -- coming to one view --
def digests(sim: Sim) -> set[bytes]:
    return {core._lives.digest for node, core in sim.cores.items() if node not in sim.stopped}


def test_after_a_partition_all_hold_each_other_alive_again() -> None:
    sim = a_fleet(5, 18, 8)
    one = {node for node in sim.cores if sim.area_of(node) != "area2"}
    sim.part(one)
    sim.run(sim.now + 40)
    across = {sim.cores[a_node(0)].state_of(a_node(2)), sim.cores[a_node(2)].state_of(a_node(0))}
    assert across == {State.DEAD}

    sim.cut.clear()
    sim.run(sim.now + 12)

    assert {core.state_of(node) for core in sim.cores.values() for node in sim.cores} == {
        State.ALIVE
    }
    assert len(digests(sim)) == 1


def test_who_leaves_has_left_for_everybody_and_stays_so() -> None:
    sim = a_fleet(6, 16, 8)
    gone = a_node(7)
    sim.give(gone, Leaving())
    sim.run(sim.now + 0.5)
    sim.stop(gone)
    sim.run(sim.now + 20)

    assert sim.states(gone) == {State.LEFT}
    assert not [turn for _, turn in sim.turned if turn.node == gone and turn.state is State.DEAD]
    assert not [
        turn for _, turn in sim.turned if turn.state is State.SUSPECT and turn.node == gone
    ]


@pytest.mark.parametrize("seen", ["dead", "left"])
def test_who_restarts_is_alive_whatever_was_said_of_it(seen: str) -> None:
    sim = a_fleet(7, 12, 11)
    node = a_node(3)
    if seen == "left":
        sim.give(node, Leaving())
        sim.run(sim.now + 0.5)
    sim.stop(node)
    sim.run(sim.now + 10)
    assert sim.states(node) == {State(seen)}

    sim.stopped.remove(node)
    sim.cores[node] = sim.a_core(node, 2)
    for pair, _link in sim.links_of(node):
        sim.connect(pair)
    sim.run(sim.now + 3)

    assert sim.states(node) == {State.ALIVE}
    assert {sim.cores[node].state_of(each) for each in sim.cores} == {State.ALIVE}


def test_a_newcomer_learns_of_everybody_from_one_neighbour() -> None:
    sim = a_fleet(8, 20, 8)
    newcomer = a_node(19)
    sim.stop(newcomer)
    sim.run(sim.now + 10)
    sim.stopped.remove(newcomer)
    sim.cores[newcomer] = sim.a_core(newcomer, 2)
    sim.connect(sim.links_of(newcomer)[0][0])
    sim.run(sim.now + 12)

    assert {sim.cores[newcomer].state_of(node) for node in sim.cores} == {State.ALIVE}


# -- a liar --
def shout(sim: Sim, liar: NodeId) -> None:
    """Accuse everybody to every neighbour, in their present incarnations."""
    for subject, core in sim.cores.items():
        if subject == liar or core.own.has_left:
            continue
        word = core.own.word()
        lie = sim.cores[liar].own.notary.attest(Context.SUSPECT, subject, word.incarnation)
        about = {"subject": subject, "incarnation": word.incarnation, "alive": word.signature}
        for pair, _link in sim.links_of(liar):
            (peer,) = set(pair) - {liar}
            sim.send(liar, peer, Suspect(**about, accuser=liar, signature=lie, silent=1_000_000))
            sim.send(liar, peer, Dead(**about, accusers=(liar,), signatures=(lie,)))
    if sim.now < 35:
        sim.at(sim.now + 0.5, shout, sim, liar)


def test_a_liar_that_accuses_everybody_gets_nobody_marked_dead() -> None:
    sim, liar = a_fleet(9, 12, 6), a_node(4)
    shout(sim, liar)
    sim.counts_bytes = True
    sim.run(37.0)

    assert sim.deaths() == []
    del sim.said[liar]
    assert max(sim.said.values()) / 25 < 100, "frames a second that it makes an honest node send"
