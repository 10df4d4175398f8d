"""The scenario of a fabric in which three members flood the others."""

from __future__ import annotations

import math
from typing import Final

from attrs import frozen

from fabric.core.budgets import WINDOW, WINDOW_BURST
from fabric.core.identity import NodeId
from fabric.core.liveness_events import State
from fabric.core.records import Key, OffersRecord
from fabric.testing.sim.faults import Fault, Forger, Minter, Stranger
from fabric.testing.sim.fleet import Fleet, Spread
from fabric.testing.sim.results import Figure, Unit, quantile
from fabric.testing.sim.setting import PATIENCE, Setting

RATE: Final = 1000.0
"""Records a second to each peer. Of 100,000 forged ones a second no more would pass a link of
:data:`.wire.RATE`, and nothing is looked at after the first."""

EVERY: Final = 1.0
"""Seconds between two records that honest nodes publish meanwhile."""


@frozen(kw_only=True)
class FloodResult:
    """How a fabric bore three members that flood it."""

    nodes: int
    seed: int
    most: float
    """Seconds until 99 % of the honest nodes held a record that an honest one published."""
    everybody: float
    verified: float
    """Signatures that the busiest honest node verified per second."""
    heard: float
    """Frames that the busiest honest node read per second."""
    kept_out: float
    """Share of the forger's peers that barred it."""
    barred_wrongly: int
    """Honest nodes that any honest one barred."""
    minted: int
    """Changes of the minter's word that an honest node took meanwhile, at most."""
    most_minted: float
    """As many as it may take: what :mod:`fabric.core.budgets` lets through."""
    grown: int
    """Records that an honest node holds beyond those that honest nodes published."""
    false_suspicions: int
    """Of honest nodes, by such."""
    false_deaths: int
    """The same."""
    same: float
    """Seconds after the flood until all honest nodes hold the same."""

    def figures(self) -> tuple[Figure, ...]:
        return (
            Figure("99 % hold an honest record", self.most, Unit.SECONDS, 2.0),
            Figure("all do", self.everybody, Unit.SECONDS, 10.0),
            Figure("signatures verified by one node", self.verified, Unit.PER_SECOND, most=700),
            Figure("frames read by one node", self.heard, Unit.PER_SECOND),
            Figure("peers of the forger that let it in", 1 - self.kept_out, most=0),
            Figure("honest nodes barred", self.barred_wrongly, most=0),
            Figure("minted words taken by one node", self.minted, most=self.most_minted),
            Figure("records beyond the honest ones", self.grown, most=2),
            Figure("false suspicions", self.false_suspicions),
            Figure("honest nodes taken for dead", self.false_deaths, most=0),
            Figure("identical digests after it", self.same, Unit.SECONDS),
        )


def flood(fleet: Fleet, setting: Setting) -> FloodResult:
    """Let one member forge, one pass on strangers' words, and one change its mind all the time."""
    faults = _faults(fleet)
    faulty = {each.node.id for each in faults}
    honest = [node for node in fleet.ids if node not in faulty]
    peers_of_forger = set(fleet.nodes[faults[0].node.id].links)
    minted = dict.fromkeys(honest, 0)
    mint = Key(OffersRecord.KIND, faults[2].node.id)

    def note(node: NodeId, key: Key) -> None:
        if key == mint and node in minted:
            minted[node] += 1

    fleet.on_change = lambda node, key: note(node.id, key)
    turns, before = len(fleet.turns), _work(fleet, honest)
    for each in faults:
        each.begin(setting.flood)
    spreads = _publish_meanwhile(fleet, honest, setting.flood)
    after, taken = _work(fleet, honest), max(minted.values())
    same = _wait_for_the_same(fleet, honest)
    times = [each for spread in spreads for each in _times(spread, honest)]
    barred = {(by, whom) for _at, by, whom in fleet.bars if by not in faulty}
    return FloodResult(
        nodes=setting.nodes,
        seed=fleet.seed,
        most=quantile(times, 0.99),
        everybody=max(times),
        verified=max(after[each][0] - before[each][0] for each in honest) / setting.flood,
        heard=max(after[each][1] - before[each][1] for each in honest) / setting.flood,
        kept_out=_share(peers_of_forger - faulty, {by for by, whom in barred}),
        barred_wrongly=sum(whom not in faulty for _by, whom in barred),
        minted=taken,
        most_minted=WINDOW_BURST + setting.flood / WINDOW,
        grown=max(len(fleet.nodes[each].directory) for each in honest)
        - (2 * setting.nodes + 1 + len(spreads)),
        false_suspicions=_turned(fleet, turns, State.SUSPECT, faulty),
        false_deaths=_turned(fleet, turns, State.DEAD, faulty),
        same=same,
    )


def _turned(fleet: Fleet, since: int, state: State, faulty: set[NodeId]) -> int:
    return sum(
        turn.state is state and not {by, turn.node} & faulty for by, turn in fleet.turns[since:]
    )


def _faults(fleet: Fleet) -> tuple[Fault, Fault, Fault]:
    """Return what three nodes do wrong: a forger, a stranger's friend, a minter."""
    quarter = fleet.size // 4
    forger, friend, minter = (fleet.nodes[fleet.ids[quarter * each]] for each in (1, 2, 3))
    victim = fleet.ids[0]
    return (
        Forger(fleet, forger, RATE, victim=victim),
        Stranger(fleet, friend, RATE),
        Minter(fleet, minter, RATE),
    )


def _work(fleet: Fleet, nodes: list[NodeId]) -> dict[NodeId, tuple[int, int]]:
    every = {node: fleet.nodes[node] for node in nodes}
    return {node: (each.trust.verified, each.heard) for node, each in every.items()}


def _publish_meanwhile(fleet: Fleet, honest: list[NodeId], seconds: float) -> list[Spread]:
    ends = fleet.now + seconds
    spreads: list[Spread] = []
    while fleet.now < ends:
        record = fleet.fabric.service(f"honest-{len(spreads)}")
        publisher = fleet.nodes[honest[int(fleet.drawn() * len(honest))]]
        spreads.append(fleet.publish(publisher, record))
        fleet.run(EVERY)
    return spreads


def _times(spread: Spread, honest: list[NodeId]) -> list[float]:
    return [spread.reached.get(node, math.inf) - spread.began for node in honest]


def _wait_for_the_same(fleet: Fleet, honest: list[NodeId]) -> float:
    ended = fleet.now
    while len({fleet.nodes[node].gossip.root() for node in honest}) > 1:
        fleet.run(0.1)
        if fleet.now - ended > PATIENCE:
            return math.inf
    return fleet.now - ended


def _share(all_of: set[NodeId], some: set[NodeId]) -> float:
    return len(all_of & some) / len(all_of) if all_of else 1.0
