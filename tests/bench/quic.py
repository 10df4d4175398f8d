"""`quic.*`: our driver and aioquic, each in two processes of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Set
from functools import partial

from tests.bench.catalogue import AIOQUIC, NONE_STALLED, OWN_QUIC
from tests.bench.contender import Contender
from tests.bench.processes import Room, Word
from tests.bench.report import OURS, Reading
from tests.bench.rivals import aioquic_needs

WITHIN = 30.0
"""Seconds beyond a task's own that it may take to start, to drain and to end."""

TASKS = {
    "bulk 1452": frozenset({"quic.bulk_1452"}),
    "bulk 1200": frozenset({"quic.bulk_1200"}),
    "requests 1452": frozenset({"quic.requests_1", "quic.requests_32"}),
    "handshakes 1452": frozenset({"quic.handshakes_16"}),
}
OWN_TASKS = TASKS | {
    "stalled 1452": frozenset({"quic.stalled_rate_20", "quic.stalled_rate_200"}),
    "ticker 1452": frozenset({"quic.ticker_max_ms"}),
}
"""A task of a program and its datagram size, and the figures that it yields."""


def contenders() -> list[Contender]:
    ours = partial(measure, OURS, "quic_fabric", OWN_TASKS)
    theirs = partial(measure, AIOQUIC, "quic_aioquic", TASKS)
    return [
        Contender(OURS, _all(OWN_TASKS), ours),
        Contender(AIOQUIC, _all(TASKS), theirs, aioquic_needs),
    ]


def own_bulk() -> Contender:
    """The driver alone, for the share of its rate that a whole path keeps."""

    def measure_bulk(_: Set[str], seconds: float) -> Iterator[Reading]:
        tasks = {"bulk 1452": TASKS["bulk 1452"]}
        for reading in measure(OWN_QUIC, "quic_fabric", tasks, TASKS["bulk 1452"], seconds):
            yield reading._replace(figure="ingress.share_of_quic")

    return Contender(OWN_QUIC, frozenset({"ingress.share_of_quic"}), measure_bulk)


def _all(tasks: dict[str, frozenset[str]]) -> frozenset[str]:
    return frozenset().union(*tasks.values())


def measure(
    who: str, program: str, tasks: dict[str, frozenset[str]], wanted: Set[str], seconds: float
) -> Iterator[Reading]:
    """A fresh acceptor for each task: none inherits what another left behind."""
    for task, figures in tasks.items():
        if wanted & figures:
            for figure, value in run_task(program, task, seconds).items():
                name = figure.removesuffix("_alone")
                if f"quic.{name}" in wanted:
                    yield Reading(who if name == figure else NONE_STALLED, f"quic.{name}", value)


def run_task(program: str, task: str, seconds: float) -> dict[str, float]:
    name, datagram_bytes = task.split()
    call = [sys.executable, "-m", f"tests.bench.{program}"]
    with Room() as room:
        if name != "ticker":
            ready = (room.folder / "port").exists
            room.start(*call, "serve", datagram_bytes, room.folder, until=ready)
        words: list[Word] = [name, datagram_bytes, room.folder, str(seconds)]
        told = room.output(*call, *words, within=4 * seconds + WITHIN)
        figures: dict[str, float] = json.loads(told)
        return figures
