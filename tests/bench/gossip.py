"""`gossip.*`: how fast a fleet learns of an event and of a death, and what that costs each node.

Theory of operation. Twenty processes of one kind run at a time. They are left alone for a while,
and measured at rest. Then one of them after the other is told of an event, two a second; what
counts is the time from the request until each *other* one says that it knows. Then some are killed
one after the other; what counts is the time until each other one says that they are dead.
"""

from __future__ import annotations

import math
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from functools import partial

from tests.bench import gossip_fabric, gossip_serf
from tests.bench.catalogue import SERF
from tests.bench.contender import Contender
from tests.bench.ears import Ears, Expected
from tests.bench.fleet import Fleet, Start
from tests.bench.processes import Room
from tests.bench.report import OURS, Reading

NODES = tuple(f"n{number:02}" for number in range(20))
VICTIMS = 3
SETTLE = 10.0
"""Seconds in which a started fleet finishes what only its start needs."""
WATCHED = 10.0
"""Seconds over which CPU at rest is summed."""
EVENTS = 40
EVENT_EVERY = 0.5
HEARD_WITHIN = 20.0
FOUND_DEAD_WITHIN = 60.0

EVENT_FIGURES = frozenset({"gossip.event_p50", "gossip.event_p99", "gossip.event_cpu"})
DEATH_FIGURES = frozenset({"gossip.dead_first", "gossip.dead_all"})
REST_FIGURES = frozenset({"gossip.memory", "gossip.resident", "gossip.rest_cpu"})
FIGURES = EVENT_FIGURES | DEATH_FIGURES | REST_FIGURES


def contenders() -> list[Contender]:
    return [
        Contender(OURS, FIGURES, partial(measure, OURS, gossip_fabric.start)),
        Contender(SERF, FIGURES, partial(measure, SERF, gossip_serf.start), serf_needs),
    ]


def notes() -> dict[str, str]:
    return {SERF: "LAN profile; nothing encrypted, nothing signed"}


def serf_needs() -> str:
    install = "apt-get install --no-install-recommends serf"
    return "" if shutil.which("serf") else f"serf not found; {install}"


def measure(who: str, start: Start, wanted: Set[str], _seconds: float) -> Iterator[Reading]:
    with Ears() as ears, Room() as room:
        fleet = start(room, ears, NODES)
        for figure, value in figures_of(fleet, ears, wanted):
            if figure in wanted:
                yield Reading(who, figure, value)


def figures_of(fleet: Fleet, ears: Ears, wanted: Set[str]) -> Iterator[tuple[str, float]]:
    time.sleep(SETTLE)
    if wanted & REST_FIGURES:
        yield from at_rest(fleet).items()
    if wanted & EVENT_FIGURES:
        fleet.prepare()
        yield from with_events(fleet, ears).items()
    if wanted & DEATH_FIGURES:
        yield from with_deaths(fleet, ears).items()


def at_rest(fleet: Fleet) -> Mapping[str, float]:
    before = cpu_seconds(fleet)
    time.sleep(WATCHED)
    spent = cpu_seconds(fleet) - before
    memory = [process.memory_full_info() for process in fleet.processes.values()]
    return {
        "gossip.rest_cpu": spent / WATCHED / len(memory) * 100,
        "gossip.memory": statistics.mean(each.pss for each in memory) / 1e6,
        "gossip.resident": statistics.mean(each.rss for each in memory) / 1e6,
    }


def with_events(fleet: Fleet, ears: Ears) -> Mapping[str, float]:
    """The next event comes when it is due, wherever the one before has got to."""
    names = tuple(fleet.processes)
    told: list[tuple[float, Expected]] = []
    before, started = cpu_seconds(fleet), time.monotonic()
    for number in range(EVENTS):
        origin, tag = names[number % len(names)], f"event-{number:03}"
        request = fleet.event(tag)
        expected = ears.expect(fleet.heard(tag), set(names) - {origin})
        time.sleep(max(0.0, started + number * EVENT_EVERY - time.monotonic()))
        told.append((time.monotonic(), expected))
        fleet.tell(origin, request)
    spreads = [(at, expected.wait(HEARD_WITHIN)) for at, expected in told]
    lasted, spent = time.monotonic() - started, cpu_seconds(fleet) - before
    times = [heard - at for at, each in spreads for heard in each.values()]
    return {
        "gossip.event_p50": percentile(times, 0.5) * 1000,
        "gossip.event_p99": percentile(times, 0.99) * 1000,
        "gossip.event_cpu": spent / lasted / len(names) * 100,
    }


def with_deaths(fleet: Fleet, ears: Ears) -> Mapping[str, float]:
    """One at a time: the next is killed once all know of the one before."""
    names, deaths = list(fleet.processes), list[list[float]]()
    for _ in range(VICTIMS):
        victim = names.pop()
        expected = ears.expect(fleet.dead(victim), names)
        killed = time.monotonic()
        fleet.processes[victim].kill()
        found = expected.wait(FOUND_DEAD_WITHIN)
        deaths.append([at - killed for at in found.values()])
    return {
        "gossip.dead_first": statistics.mean(map(min, deaths)),
        "gossip.dead_all": statistics.mean(map(max, deaths)),
    }


def cpu_seconds(fleet: Fleet) -> float:
    """User and system time of all of them so far."""
    used = (process.cpu_times() for process in fleet.processes.values())
    return sum(each.user + each.system for each in used)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that so large a share of *values* does not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * share) - 1)]
