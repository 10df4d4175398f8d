"""The scenario of a fabric in which processes are replaced, with their disk and without."""

from __future__ import annotations

import math

from attrs import frozen

from fabric.core.liveness_events import State
from fabric.core.records import OffersRecord
from fabric.testing.sim.fleet import Fleet
from fabric.testing.sim.results import Figure, Unit
from fabric.testing.sim.setting import LOOK, PATIENCE, Setting


@frozen(kw_only=True)
class RestartsResult:
    """How long those that were replaced take to know everything again."""

    nodes: int
    seed: int
    kept: int
    """Nodes that came back with their disk."""
    lost: int
    """Nodes that came back with a trust root, their key and one seed address."""
    known: float
    """Seconds until all that came back hold what all others do, and the other way round."""
    alive: float
    """Seconds until everybody takes everybody for alive."""
    false_suspicions: int
    """Of those that went on."""
    false_deaths: int

    def figures(self) -> tuple[Figure, ...]:
        return (
            Figure("identical digests", self.known, Unit.SECONDS, 10.0),
            Figure("all alive to all", self.alive, Unit.SECONDS),
            Figure("false suspicions", self.false_suspicions),
            Figure("false deaths", self.false_deaths, most=0),
        )


def restarts(fleet: Fleet, setting: Setting) -> RestartsResult:
    """Replace one node of ten with its disk and one of ten without it, within two seconds."""
    some = max(1, setting.nodes // 10)
    numbers = [number for number in fleet.shuffled() if number]  # the seed itself stays
    replaced = {fleet.ids[number] for number in numbers[: 2 * some]}
    began, turns = fleet.now, len(fleet.turns)
    for place, number in enumerate(numbers[: 2 * some]):
        fleet.clock.after(2 * fleet.drawn(), _replace, fleet, number, place < some)
    fleet.run(2.0)
    known = alive = math.inf
    while math.inf in (known, alive) and fleet.now - began < PATIENCE:
        fleet.run(LOOK)
        if known == math.inf and len(fleet.roots()) == 1:
            known = fleet.now - began
        if alive == math.inf and all(fleet.states_of(each) == {State.ALIVE} for each in fleet.ids):
            alive = fleet.now - began
    return RestartsResult(
        nodes=setting.nodes,
        seed=fleet.seed,
        kept=some,
        lost=some,
        known=known,
        alive=alive,
        false_suspicions=sum(
            turn.state is State.SUSPECT and turn.node not in replaced
            for _, turn in fleet.turns[turns:]
        ),
        false_deaths=sum(turn.state is State.DEAD for _, turn in fleet.turns[turns:]),
    )


def _replace(fleet: Fleet, number: int, keeps_disk: bool) -> None:
    """Let the next process of a node say what it offers now, as a process does at its start."""
    node = fleet.restart(number, keeps_disk=keeps_disk)
    node.say(OffersRecord, services=("restarted",))
