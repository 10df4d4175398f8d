"""Our nodes with nothing to do: at rest with peers, and holding thousands of idle channels."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator, Set

from tests.bench.catalogue import NONE_IDLE
from tests.bench.contender import Contender
from tests.bench.own_nodes import start_path, start_resting
from tests.bench.processes import DidNotFinish, Room, free_port
from tests.bench.report import OURS, Reading
from tests.bench.tcp import TOOL, LoadedPath

PEERS = 10
SETTLE = 3.0
"""Seconds in which a started node finishes what only its start needs."""
WATCHED = 10.0
"""Seconds over which the CPU of a node at rest is summed: 1 % of them is ten clock ticks."""

CHANNELS = 20_000
SPARE = 200
"""Descriptors that a process needs beside one for each channel."""
TURNS = 3
"""Measurements of the request rate on each side."""
OPENED_WITHIN = 120.0


def idle_channels() -> int:
    """As many as wanted, or as the limit on descriptors lets one process hold."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(CHANNELS, soft - SPARE)


def contenders() -> list[Contender]:
    rest = frozenset({"node.rest_memory", "node.rest_cpu"})
    idle = frozenset({"ingress.idle_20000_memory", "ingress.idle_20000_rate"})
    return [
        Contender(OURS, rest, measure_rest, rounds=1),
        Contender(OURS, idle, measure_idle, rounds=1),
    ]


def notes() -> dict[str, str]:
    """By what our own readings are compared with."""
    return {NONE_IDLE: f"beside {idle_channels():,} idle channels, as descriptors allow"}


def measure_rest(wanted: Set[str], _: float) -> Iterator[Reading]:
    with Room() as room:
        resting = start_resting(room, PEERS)
        time.sleep(SETTLE)
        before = resting.cpu_times()
        time.sleep(WATCHED)
        after = resting.cpu_times()
        spent = after.user + after.system - before.user - before.system
        yield Reading(OURS, "node.rest_cpu", spent / WATCHED * 100)
        yield Reading(OURS, "node.rest_memory", resting.memory_info().rss / 1e6)


def measure_idle(_: Set[str], seconds: float) -> Iterator[Reading]:
    """Two equal paths, one of which holds the idle channels; their request rates by turns."""
    ports = free_port(), free_port()
    with Room() as idle_room, Room() as free_room, Room() as load, Room() as other_load:
        crowded, empty = start_path(idle_room, ports[0]), start_path(free_room, ports[1])
        beside = LoadedPath(load, crowded.route, ports[0])
        alone = LoadedPath(other_load, empty.route, ports[1])
        for path in (beside, alone):
            path.check()
        hold_open(load, crowded.route.port, idle_channels())
        for _turn in range(TURNS):
            rates = [path.run("kept", 32, seconds)["per_s"] for path in (alone, beside)]
            yield Reading(NONE_IDLE, "ingress.idle_20000_rate", rates[0])
            yield Reading(OURS, "ingress.idle_20000_rate", rates[1])
        memory = crowded.ingress.memory_info().rss / 1e6
        yield Reading(OURS, "ingress.idle_20000_memory", memory)


def hold_open(room: Room, port: int, channels: int) -> None:
    """Blocks until all are open and each has carried an exchange; they last as long as the room.

    The load tool holds them, so that its descriptors are not ours.
    """
    words = ["idle", "127.0.0.1", str(port), str(channels), "0"]
    holder = room.start(sys.executable, TOOL, *words, pipe=True)
    line = holder.stdout.readline()
    if not line or json.loads(line)["opened_in_s"] > OPENED_WITHIN:
        raise DidNotFinish(f"{channels:,} channels could not be opened")
