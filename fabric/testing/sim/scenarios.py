"""What is done to a simulated fabric, and how long it takes to get over it.

Each scenario is a function from :class:`Setting` to a result. Equal settings give equal results,
to the last bit, on every machine: time is virtual, and all that is left to chance is drawn from
the seed.
"""

from __future__ import annotations

import math

from attrs import frozen

from fabric.core.identity import NodeId
from fabric.core.liveness_events import State
from fabric.core.records import Key, OffersRecord, ServiceRecord
from fabric.testing.sim.fleet import Fleet, Spread
from fabric.testing.sim.results import Figure, Unit, quantile
from fabric.testing.sim.setting import AT_REST, LOOK, LOOKED_FOR, PATIENCE, WARM, Setting
from fabric.testing.sim.tally import Cost


# -- a wave --
@frozen(kw_only=True)
class WaveResult:
    """How one record got to everybody."""

    nodes: int
    seed: int
    reached: int
    repaired: int
    """Nodes to which anti-entropy brought it."""
    half: float
    """Seconds until half of the nodes held it."""
    most: float
    """Until 99 % did."""
    everybody: float
    sends: float
    """Copies sent per node, in waves."""
    most_sends: int
    most_hops: int
    false_suspicions: int
    """Nobody is gone."""

    def figures(self) -> tuple[Figure, ...]:
        small, large = self.nodes <= 100, self.nodes <= 1000
        last = 2.0 if small else 2.5 if large else None
        return (
            Figure("50 % of the nodes hold it", self.half, Unit.SECONDS),
            Figure("99 % do", self.most, Unit.SECONDS, 1.0 if small else None),
            Figure("all do", self.everybody, Unit.SECONDS, last),
            Figure("copies sent per node", self.sends, most=6),
            Figure("copies sent by one node", self.most_sends, most=6),
            Figure("hops", self.most_hops),
            Figure("nodes reached by repair", self.repaired),
            Figure("false suspicions", self.false_suspicions),
        )


def wave(fleet: Fleet, setting: Setting) -> WaveResult:
    """Hand one signed record to one node."""
    turns = len(fleet.turns)
    record = fleet.fabric.service(f"wave-{fleet.seed}")
    spread = fleet.publish(fleet.any_node(), record)
    fleet.run(PATIENCE, until=lambda: len(spread.reached) == setting.nodes)
    fleet.run(1.0)  # copies that are still on their way are copies too
    times = _padded(spread, setting.nodes)
    return WaveResult(
        nodes=setting.nodes,
        seed=fleet.seed,
        reached=len(spread.reached),
        repaired=spread.repaired,
        half=quantile(times, 0.5),
        most=quantile(times, 0.99),
        everybody=times[-1],
        sends=sum(spread.copies.values()) / setting.nodes,
        most_sends=max(spread.copies.values(), default=0),
        most_hops=max(_hops(fleet, spread.key)),
        false_suspicions=_turned(fleet, turns, State.SUSPECT),
    )


def _padded(spread: Spread, nodes: int) -> list[float]:
    times = spread.times()
    return times + [math.inf] * (nodes - len(times))


def _hops(fleet: Fleet, key: Key) -> list[int]:
    held = [node.directory.get(key) for node in fleet.nodes.values()]
    return [each.heard.hops for each in held if each is not None]


# -- a partition --
@frozen(kw_only=True)
class PartitionResult:
    """How long two halves of a fabric take to hold the same again."""

    nodes: int
    seed: int
    differed: bool
    """Whether they held different things when they met again."""
    same: float
    """Seconds until all digests are the same."""
    removals: float
    """Seconds until nobody counts what was removed."""
    alive: float
    """Seconds until everybody takes everybody for alive."""
    bytes_per_node: float
    """Sent by each until then."""

    def figures(self) -> tuple[Figure, ...]:
        return (
            Figure("held the same at the end of the cut", int(not self.differed), most=0),
            Figure("identical digests", self.same, Unit.SECONDS, 10.0),
            Figure("removals hold everywhere", self.removals, Unit.SECONDS, 10.0),
            Figure("all alive to all", self.alive, Unit.SECONDS),
            Figure("bytes sent per node meanwhile", self.bytes_per_node),
        )


def partition(fleet: Fleet, setting: Setting) -> PartitionResult:
    """Cut a fabric in two, let either half change, and let them meet again."""
    middle = setting.nodes // 2
    here, there = fleet.ids[:middle], fleet.ids[middle:]
    gone = [fleet.fabric.service("gone-here"), fleet.fabric.service("gone-there")]
    for record in gone:
        fleet.publish(fleet.any_node(), record)
    fleet.run(WARM)
    fleet.part(here, there)
    fleet.run(setting.cut / 2)
    for side, record in zip((here, there), gone, strict=True):
        _change(fleet, side, record)
    fleet.run(setting.cut / 2)
    return _meet_again(fleet, setting, [each.key for each in gone])


def _change(fleet: Fleet, side: tuple[NodeId, ...], gone: ServiceRecord) -> None:
    """Let one side say ten things that the other does not hear, and remove one that it knows."""
    now = fleet.papers.born + int(fleet.now)
    removed = fleet.fabric.service(gone.subject, generation=2, revoked=True, issued_at=now)
    fleet.publish(fleet.nodes[side[0]], removed)
    for node in side[1:6]:
        new = fleet.fabric.service(f"of-{node}", issued_at=now)
        fleet.publish(fleet.nodes[node], new)
    for node in side[-5:]:
        fleet.nodes[node].say(OffersRecord, services=(gone.subject,))


def _meet_again(fleet: Fleet, setting: Setting, gone: list[Key]) -> PartitionResult:
    differed = len(fleet.roots()) > 1
    mark = fleet.net.tally.mark()
    fleet.heal()
    met = fleet.now
    removed = same = math.inf
    while math.inf in (removed, same) and fleet.now - met < PATIENCE:
        fleet.run(LOOK)
        if removed == math.inf and _are_removed(fleet, gone):
            removed = fleet.now - met
        if same == math.inf and len(fleet.roots()) == 1:
            same = fleet.now - met
    cost = fleet.net.tally.since(mark).cost(fleet.ids, fleet.now - met)
    while not _all_alive(fleet) and fleet.now - met < PATIENCE:
        fleet.run(0.5)
    return PartitionResult(
        nodes=setting.nodes,
        seed=fleet.seed,
        differed=differed,
        same=same,
        removals=removed,
        alive=fleet.now - met if _all_alive(fleet) else math.inf,
        bytes_per_node=cost.bytes_out,
    )


def _are_removed(fleet: Fleet, keys: list[Key]) -> bool:
    held = (node.directory.get(key) for node in fleet.nodes.values() for key in keys)
    return all(each is not None and each.record.revoked for each in held)


def _all_alive(fleet: Fleet) -> bool:
    alive = {State.ALIVE}
    return all(fleet.states_of(node) == alive for node in fleet.ids)


# -- a death, a pause --
@frozen(kw_only=True)
class DeathResult:
    """How everybody learned that one node is gone."""

    nodes: int
    seed: int
    first: float
    """Seconds until the first took it for dead."""
    everybody: float
    false_suspicions: int
    """Of others, that were there."""
    false_deaths: int

    def figures(self) -> tuple[Figure, ...]:
        return (
            Figure("the first takes it for dead", self.first, Unit.SECONDS),
            Figure("all do", self.everybody, Unit.SECONDS, 10.0),
            Figure("false suspicions", self.false_suspicions),
            Figure("false deaths", self.false_deaths, most=0),
        )


def death(fleet: Fleet, setting: Setting) -> DeathResult:
    """End one process without a word."""
    fleet.run(fleet.drawn())
    node = fleet.any_node()
    began, turns = fleet.now, len(fleet.turns)
    fleet.stop(node)
    dead: set[NodeId] = set()
    fleet.on_turn = lambda by, turn: _note_death(dead, by, turn.node == node.id, turn.state)
    fleet.run(PATIENCE, until=lambda: len(dead) == setting.nodes - 1)
    times = [
        turn.at - began
        for _, turn in fleet.turns[turns:]
        if turn.node == node.id and turn.state is State.DEAD
    ]
    is_known = fleet.states_of(node.id) == {State.DEAD}
    return DeathResult(
        nodes=setting.nodes,
        seed=fleet.seed,
        first=min(times, default=math.inf),
        everybody=max(times) if is_known else math.inf,
        false_suspicions=_turned(fleet, turns, State.SUSPECT, without=node.id),
        false_deaths=_turned(fleet, turns, State.DEAD, without=node.id),
    )


def _note_death(dead: set[NodeId], by: NodeId, is_it: bool, state: State) -> None:
    if is_it:
        (dead.add if state is State.DEAD else dead.discard)(by)


def _turned(fleet: Fleet, since: int, state: State, *, without: NodeId | None = None) -> int:
    turns = (turn for _, turn in fleet.turns[since:])
    return sum(turn.state is state and turn.node != without for turn in turns)


@frozen(kw_only=True)
class PauseResult:
    """What became of a node that did not run for a while."""

    nodes: int
    seed: int
    suspicions: int
    """Of anybody, by anybody: the one that paused was silent."""
    false_suspicions: int
    """Of those that ran."""
    false_deaths: int
    """Of anybody, for nobody was gone."""
    alive: float
    """Seconds after its return until all take it for alive."""

    def figures(self) -> tuple[Figure, ...]:
        return (
            Figure("false deaths", self.false_deaths, most=0),
            Figure("suspicions of those that ran", self.false_suspicions),
            Figure("suspicions of the one that paused", self.suspicions - self.false_suspicions),
            Figure("alive to all after its return", self.alive, Unit.SECONDS),
        )


def pause(fleet: Fleet, setting: Setting) -> PauseResult:
    """Let one process not run for some seconds."""
    fleet.run(fleet.drawn())
    node, turns = fleet.any_node(), len(fleet.turns)
    fleet.pause(node, setting.pause)
    fleet.run(setting.pause)
    back = fleet.now
    while fleet.states_of(node.id) != {State.ALIVE} and fleet.now - back < PATIENCE:
        fleet.run(0.1)
    alive = fleet.now - back
    fleet.run(back + 12.0 - fleet.now)  # as long as a suspicion may last
    is_alive = fleet.states_of(node.id) == {State.ALIVE}
    return PauseResult(
        nodes=setting.nodes,
        seed=fleet.seed,
        suspicions=_turned(fleet, turns, State.SUSPECT),
        false_suspicions=_turned(fleet, turns, State.SUSPECT, without=node.id),
        false_deaths=_turned(fleet, turns, State.DEAD),
        alive=alive if is_alive else math.inf,
    )


# -- at rest --
@frozen(kw_only=True)
class SteadyResult:
    """What a fabric costs in which nothing happens."""

    nodes: int
    seed: int
    links: float
    """Per node."""
    most_links: int
    cost: Cost
    false_suspicions: int

    def figures(self) -> tuple[Figure, ...]:
        most = 2000.0 if self.nodes <= 100 else None
        rate = self.cost.per_second()
        return (
            Figure("links per node", self.links),
            Figure("links of one node", self.most_links),
            Figure("frames sent per node", rate.frames, Unit.PER_SECOND),
            Figure("sent per node", rate.bytes_out, Unit.BYTES_PER_SECOND),
            Figure("sent and received per node", rate.both_ways, Unit.BYTES_PER_SECOND, most),
            Figure("sent and received by one node", rate.most_both_ways, Unit.BYTES_PER_SECOND),
            Figure("false suspicions", self.false_suspicions),
        )


def steady(fleet: Fleet, setting: Setting) -> SteadyResult:
    """Leave a fabric alone."""
    fleet.run(AT_REST - fleet.now)
    mark, turns = fleet.net.tally.mark(), len(fleet.turns)
    fleet.run(LOOKED_FOR)
    return SteadyResult(
        nodes=setting.nodes,
        seed=fleet.seed,
        links=sum(fleet.links()) / setting.nodes,
        most_links=fleet.links()[-1],
        cost=fleet.net.tally.since(mark).cost(fleet.ids, LOOKED_FOR),
        false_suspicions=_turned(fleet, turns, State.SUSPECT),
    )
