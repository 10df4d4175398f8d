"""A TCP path under load: throughput each way, new and kept connections, their cost."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Set
from pathlib import Path

import psutil
from attrs import frozen

from tests.bench.processes import DidNotFinish, Room, free_port
from tests.bench.report import Reading
from tests.bench.route import Route, Start

TOOL = Path(__file__).parent / "load.py"
CHECK_WITHIN = 30
"""Seconds until bytes must have passed a new path unharmed, each way."""
SETTLE_WITHIN = 4.0
"""Seconds after a load for a path to be done with what it still holds; a slow one holds a lot."""
LOOK = 0.2
AT_REST = 0.2
"""Share of a core below which a path is done: beyond what its timers need."""


@frozen
class Load:
    """One call of the load tool, and the figures that it serves."""

    kind: str
    streams: int
    serves: frozenset[str]


LOADS = (
    Load(
        "up",
        1,
        frozenset(
            f"ingress.{name}" for name in ("up_1", "up_1_1200", "cpu_per_gb", "share_of_quic")
        ),
    ),
    Load("up", 8, frozenset({"ingress.up_8", "ingress.memory"})),
    Load("down", 1, frozenset({"ingress.down_1"})),
    Load("down", 8, frozenset({"ingress.down_8"})),
    Load("connect", 16, frozenset({"ingress.connections"})),
    Load("kept", 1, frozenset({"ingress.p50_1", "ingress.p99_1"})),
    Load("kept", 32, frozenset({"ingress.p50_32"})),
)
FIGURES = frozenset[str]().union(*(load.serves for load in LOADS))

Result = dict[str, float]


class LoadedPath:
    """A backend behind a route, and the load tool in front of it."""

    def __init__(self, room: Room, route: Route, port: int) -> None:
        """`room` holds the load's processes only, so that the path's own cost stays apart."""
        self._room = room
        self._route = route
        self._counter = room.folder / "total"
        self._counter.write_bytes(bytes(8))
        address = route.backend_host, str(port)
        room.start(*route.backend, sys.executable, TOOL, "serve", *address, self._counter)

    def begin(self, kind: str, streams: int, seconds: float) -> psutil.Popen:
        counter = [self._counter] if kind == "up" else []
        return self._start(kind, str(streams), str(seconds), *counter)

    def finish(self, running: psutil.Popen, seconds: float) -> Result:
        """Raises DidNotFinish for a path that broke, so that half a figure is never taken."""
        result: Result = json.loads(self._room.result_of(running, within=seconds + 20))
        if not result or result.get("failed"):
            raise DidNotFinish(f"{result.get('failed', 'all')} exchanges failed")
        return result

    def run(self, kind: str, streams: int, seconds: float) -> Result:
        return self.finish(self.begin(kind, streams, seconds), seconds)

    def check(self) -> None:
        """Blocks until 16 MiB passed each way with equal hashes."""
        self.finish(self._start("check", str(CHECK_WITHIN)), CHECK_WITHIN)

    def _start(self, kind: str, *words: str | Path) -> psutil.Popen:
        address = [self._route.host, str(self._route.port)]
        return self._room.start(
            *self._route.client, sys.executable, TOOL, kind, *address, *words, pipe=True
        )


def measure(who: str, start: Start, wanted: Set[str], seconds: float) -> Iterator[Reading]:
    """Starts the path, passes each load that a wanted figure needs, and ends it.

    A load that breaks voids its own figures; DidNotFinish tells of it once the others are taken.
    """
    port, broken = free_port(), []
    with Room() as room, Room() as load_room:
        path = LoadedPath(load_room, start(room, port), port)
        path.check()
        for load in (load for load in LOADS if wanted & load.serves):
            try:
                figures = _figures_of(load, path, room, seconds)
            except DidNotFinish as fault:
                broken.append(f"{load.kind} with {load.streams}: {fault}")
                continue
            for figure in wanted & figures.keys():
                yield Reading(who, figure, figures[figure])
            settle(room)
    if broken:
        raise DidNotFinish("\n".join(broken))


def settle(room: Room) -> None:
    """Blocks until the path is at rest, so that no load meets the end of the one before."""
    deadline, before = time.monotonic() + SETTLE_WITHIN, room.cpu_seconds()
    while time.monotonic() < deadline:
        time.sleep(LOOK)
        now = room.cpu_seconds()
        if now - before < LOOK * AT_REST:
            return
        before = now


def _figures_of(load: Load, path: LoadedPath, room: Room, seconds: float) -> Result:
    before = room.cpu_seconds()
    running = path.begin(load.kind, load.streams, seconds)
    memory = 0.0
    if "ingress.memory" in load.serves:
        time.sleep(seconds * 0.6)
        memory = room.memory_mb()
    result = path.finish(running, seconds)
    spent = room.cpu_seconds() - before
    match load.kind, load.streams:
        case "up", 1:
            bulk = dict.fromkeys(load.serves - {"ingress.cpu_per_gb"}, result["mb_per_s"])
            return bulk | {"ingress.cpu_per_gb": spent / result["mb"] * 1e3}
        case "connect", _:
            return {"ingress.connections": result["per_s"]}
        case "kept", streams:
            p50, p99 = result["p50_us"], result["p99_us"]
            return {f"ingress.p50_{streams}": p50, f"ingress.p99_{streams}": p99}
        case kind, streams:
            figures = {f"ingress.{kind}_{streams}": result["mb_per_s"]}
            return figures | ({"ingress.memory": memory} if memory else {})
